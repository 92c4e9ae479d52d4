# What our own binaries are built with; nothing here reaches a user of tern::tern.
#
#   tern_defaults(<target>)           warnings and tern::tern for one of our own targets, bound at its start: tiny fibers need that
#   tern_compile_together(<target>)   some of its files are one translation unit, but in the debug preset: half as long to compile, since
#                                     in a library of headers each unit has the whole of it
#
# Sanitizers are set for the whole directory tree, so that a dependency built from source gets them as well.

set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()

find_program(TERN_CCACHE ccache)
mark_as_advanced(TERN_CCACHE)
if(TERN_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${TERN_CCACHE}")
endif()

# File names in assertions are relative to the tree, the same on every machine; also where ccache has made the paths relative to the
# build directory (CCACHE_BASEDIR, see scripts/packaging/packages.sh).
file(RELATIVE_PATH tern_way_back "${CMAKE_BINARY_DIR}" "${PROJECT_SOURCE_DIR}")
add_compile_options("-fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=" "-fmacro-prefix-map=${tern_way_back}=")

# Without vptr: by contract a type's trace() runs once on zeroed storage, where no object and no vtable pointer is yet.
# Beside ASan without the checks of every access either: they cost 40% of the compile time, and the ARM64 build has them. There a
# failed check is a trap, which saves a quarter; -DTERN_UBSAN_TRAP=OFF says what failed.
option(TERN_UBSAN_TRAP "With TERN_SANITIZE=undefined: a failed check traps, without a message" ON)
if(TERN_SANITIZE STREQUAL "address")
  set(tern_sanitizers -fsanitize=address,undefined -fno-sanitize=vptr,null,alignment,object-size,pointer-overflow
                      -fno-sanitize-recover=all -fno-omit-frame-pointer)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND tern_sanitizers "SHELL:--param asan-instrumentation-with-call-threshold=0")  # a quarter less to compile
  endif()
elseif(TERN_SANITIZE STREQUAL "undefined")
  set(tern_sanitizers -fsanitize=undefined -fno-sanitize=vptr -fno-sanitize-recover=all -fno-omit-frame-pointer)
  if(TERN_UBSAN_TRAP AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND tern_sanitizers -fsanitize-undefined-trap-on-error)
  endif()
elseif(TERN_SANITIZE STREQUAL "thread")
  set(tern_sanitizers -fsanitize=thread -fno-omit-frame-pointer)
elseif(NOT TERN_SANITIZE STREQUAL "")
  message(FATAL_ERROR "TERN_SANITIZE is '${TERN_SANITIZE}'; it can be address, undefined, thread or empty")
endif()
if(tern_sanitizers)
  add_compile_options(${tern_sanitizers})
  add_link_options(${tern_sanitizers})
endif()

add_library(tern_warnings INTERFACE)
target_compile_options(tern_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion)
if(TERN_WERROR)
  target_compile_options(tern_warnings INTERFACE -Werror)
endif()

function(tern_defaults target)
  target_link_libraries(${target} PRIVATE tern::tern tern_warnings)
  target_link_options(${target} PRIVATE LINKER:-z,now)
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}")
endfunction()

function(tern_compile_together target)
  if(CMAKE_BUILD_TYPE STREQUAL "Debug")
    return()
  endif()
  get_target_property(sources ${target} SOURCES)
  list(LENGTH sources count)
  math(EXPR units "(${count} + 5) / 6")
  math(EXPR batch "(${count} + ${units} - 1) / ${units}")
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${batch})
endfunction()
