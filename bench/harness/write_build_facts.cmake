# Writes OUTPUT from FLAGS, BUILD_TYPE and the git state of SOURCE_DIR. Without git both git facts stay empty (unknown).
set(sha "")
set(dirty "")
find_program(git_program git)
if(git_program)
  execute_process(
    COMMAND "${git_program}" -C "${SOURCE_DIR}" rev-parse --show-toplevel
    OUTPUT_VARIABLE top OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  file(REAL_PATH "${SOURCE_DIR}" source)
  if(top)
    file(REAL_PATH "${top}" top)
  endif()
  if(top STREQUAL source)  # else the tree lies inside somebody else's repository
    execute_process(
      COMMAND "${git_program}" -C "${SOURCE_DIR}" rev-parse HEAD
      RESULT_VARIABLE failed OUTPUT_VARIABLE sha OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(failed)
      set(sha "")
    endif()
    execute_process(
      COMMAND "${git_program}" -C "${SOURCE_DIR}" status --porcelain --untracked-files=no
      RESULT_VARIABLE failed OUTPUT_VARIABLE changes ERROR_QUIET)
    if(NOT failed AND sha)
      if(changes)
        set(dirty "true")
      else()
        set(dirty "false")
      endif()
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT "${OUTPUT}" @ONLY CONTENT [[
// Made by write_build_facts.cmake at every build.
#pragma once
namespace tern_bench::build {
inline constexpr const char* flags = "@FLAGS@";
inline constexpr const char* build_type = "@BUILD_TYPE@";
inline constexpr const char* git_sha = "@sha@";
inline constexpr const char* dirty = "@dirty@";
}  // namespace tern_bench::build
]])
