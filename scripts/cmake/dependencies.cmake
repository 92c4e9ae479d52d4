# The third-party libraries of tests, benches and tools. The library under include/ needs none of them.
#
# Each is taken from the first of these that serves:
#   1. a source directory that the user names: -DFETCHCONTENT_SOURCE_DIR_<NAME>=<dir>
#   2. an installed package that is new enough
#   3. the release archive of the project, pinned by version and hash
#      (-DFETCHCONTENT_TRY_FIND_PACKAGE_MODE=NEVER goes straight to it)
# A status line per library says which one it was.
include(FetchContent)

set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)  # our settings below reach the projects' own options
set(INSTALL_GTEST OFF)
set(BUILD_GMOCK OFF)
set(BENCHMARK_ENABLE_TESTING OFF)
set(BENCHMARK_ENABLE_GTEST_TESTS OFF)
set(BENCHMARK_ENABLE_INSTALL OFF)
set(BENCHMARK_ENABLE_WERROR OFF)
set(BENCHMARK_INSTALL_DOCS OFF)
set(FMT_INSTALL OFF)
set(FMT_DOC OFF)
set(FMT_TEST OFF)
set(JSON_BuildTests OFF)
set(JSON_Install OFF)
set(CLI11_BUILD_TESTS OFF)
set(CLI11_BUILD_EXAMPLES OFF)
set(CLI11_BUILD_DOCS OFF)
set(CLI11_INSTALL OFF)

# Debian and Ubuntu ship the sources of googletest (package googletest) but no ARM64 build that a cross compiler sees.
if(CMAKE_CROSSCOMPILING AND EXISTS "/usr/src/googletest/CMakeLists.txt" AND NOT FETCHCONTENT_SOURCE_DIR_GOOGLETEST)
  set(FETCHCONTENT_SOURCE_DIR_GOOGLETEST "/usr/src/googletest" CACHE PATH "googletest, as the distribution ships it")
endif()

# tern_dependency(<name> <package> <minimum> <target> <version> <url> <sha256>)
macro(tern_dependency name package minimum target version url sha256)
  string(TOUPPER "${name}" tern_upper)
  FetchContent_Declare(
    ${name}
    URL "${url}"
    URL_HASH "SHA256=${sha256}"
    DOWNLOAD_EXTRACT_TIMESTAMP OFF
    SYSTEM
    FIND_PACKAGE_ARGS ${minimum} CONFIG NAMES ${package})
  set(tern_log_level "${CMAKE_MESSAGE_LOG_LEVEL}")
  set(CMAKE_MESSAGE_LOG_LEVEL NOTICE)  # one line of ours, none of theirs
  FetchContent_MakeAvailable(${name})
  set(CMAKE_MESSAGE_LOG_LEVEL "${tern_log_level}")
  if(FETCHCONTENT_SOURCE_DIR_${tern_upper})
    message(STATUS "tern: ${name} from the source directory ${FETCHCONTENT_SOURCE_DIR_${tern_upper}}")
  elseif(${name}_FOUND)
    message(STATUS "tern: ${name} ${${name}_VERSION} from the installed package (at least ${minimum} is needed)")
  else()
    message(STATUS "tern: ${name} ${version} from its release archive (no installed package of at least ${minimum})")
  endif()
  if(NOT TARGET ${target})
    message(FATAL_ERROR "tern: ${name} gives no target ${target}")
  endif()
endmacro()

if(TERN_BUILD_TESTS)
  tern_dependency(
    googletest GTest 1.12 GTest::gtest 1.14.0
    https://github.com/google/googletest/archive/refs/tags/v1.14.0.tar.gz
    8ad598c73ad796e0d8280b082cebd82a630d73e73cd3c70057938a6501bba5d7)
endif()
if(TERN_BUILD_BENCH)
  tern_dependency(
    benchmark benchmark 1.7 benchmark::benchmark 1.8.3
    https://github.com/google/benchmark/archive/refs/tags/v1.8.3.tar.gz
    6bc180a57d23d4d9515519f92b0c83d61b05b5bab188961f36ac7b06b0d9e9ce)
endif()
tern_dependency(
  fmt fmt 9 fmt::fmt 10.2.1
  https://github.com/fmtlib/fmt/archive/refs/tags/10.2.1.tar.gz
  1250e4cc58bf06ee631567523f48848dc4596133e163f02615c97f78bab6c811)
tern_dependency(
  nlohmann_json nlohmann_json 3.11 nlohmann_json::nlohmann_json 3.11.3
  https://github.com/nlohmann/json/releases/download/v3.11.3/json.tar.xz
  d6c65aca6b1ed68e7a182f4757257b107ae403032760ed6ef121c9d55e81757d)
if(TERN_BUILD_TOOLS)
  tern_dependency(
    cli11 CLI11 2.1 CLI11::CLI11 2.4.2
    https://github.com/CLIUtils/CLI11/archive/refs/tags/v2.4.2.tar.gz
    f2d893a65c3b1324c50d4e682c0cdc021dd0477ae2c048544f39eed6654b699a)
endif()
