# Target tern_build_facts: the header tern_build_facts.hpp (flags, build type, git sha) for host_facts.cpp.
# The sha is looked up at every build; the header, and what includes it, changes only when it does.
include_guard(GLOBAL)
set(facts_dir "${PROJECT_BINARY_DIR}/build_facts")
get_property(facts_options DIRECTORY "${PROJECT_SOURCE_DIR}" PROPERTY COMPILE_OPTIONS)
string(TOUPPER "${CMAKE_BUILD_TYPE}" facts_type)
separate_arguments(facts_flags NATIVE_COMMAND "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${facts_type}}")
list(APPEND facts_flags ${facts_options})
list(FILTER facts_flags EXCLUDE REGEX "/")
list(JOIN facts_flags " " facts_flags)
add_custom_target(
  tern_build_facts_header
  COMMAND
    "${CMAKE_COMMAND}" "-DSOURCE_DIR=${PROJECT_SOURCE_DIR}" "-DOUTPUT=${facts_dir}/tern_build_facts.hpp"
    "-DFLAGS=${facts_flags}" "-DBUILD_TYPE=${CMAKE_BUILD_TYPE}" -P "${CMAKE_CURRENT_LIST_DIR}/write_build_facts.cmake"
  BYPRODUCTS "${facts_dir}/tern_build_facts.hpp"
  COMMENT "Looking up the tree's revision"
  VERBATIM)
add_library(tern_build_facts INTERFACE)
target_include_directories(tern_build_facts INTERFACE "${facts_dir}")
add_dependencies(tern_build_facts tern_build_facts_header)
