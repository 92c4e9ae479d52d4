# Installs tern where that is the way, then configures, builds and runs the program against it.
file(REMOVE_RECURSE "${WORK}")
set(options "-DTERN_WAY=${WAY}")
if(WAY STREQUAL "find_package")
  execute_process(COMMAND "${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${WORK}/prefix" OUTPUT_QUIET
                  COMMAND_ERROR_IS_FATAL ANY)
  # Only tern is installed, with its commands for gdb: no test framework, no benchmark library, and nothing that depends on the architecture.
  file(GLOB_RECURSE installed RELATIVE "${WORK}/prefix" "${WORK}/prefix/*")
  foreach(file IN LISTS installed)
    if(NOT file MATCHES "^(include/tern/|share/cmake/tern/|share/tern/tern_gdb\\.py$)")
      message(FATAL_ERROR "installed besides the library: ${file}")
    endif()
  endforeach()
  list(APPEND options "-DCMAKE_PREFIX_PATH=${WORK}/prefix" "-DTERN_WANTED=${VERSION}")
else()
  list(APPEND options "-DTERN_SOURCE=${SOURCE}")
endif()
execute_process(
  COMMAND "${CMAKE_COMMAND}" -S "${CMAKE_CURRENT_LIST_DIR}/program" -B "${WORK}/build" -G "${GENERATOR}"
          "-DCMAKE_CXX_COMPILER=${COMPILER}" ${options} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${CMAKE_COMMAND}" --build "${WORK}/build" COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${WORK}/build/consumer" COMMAND_ERROR_IS_FATAL ANY)
