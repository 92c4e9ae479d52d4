// Allocators by preloading: this program again, as a child, with the library before libc; there the row is that of the subject `malloc`.
//
// Context     tern_preload is libtern-malloc.so of this build, glibc no library at all; the others are put beside this program
//             by CMake where it found them. All five run the same machine code of the case: the calls go through the dynamic
//             linker, and constants and sizes of frees are of no use to any of them.
//             Where a library is absent its rows are recorded as skipped.
#pragma once

#include <string>

#include "bench/harness/fresh.hpp"
#include "bench/subjects/malloc.hpp"

namespace tern_bench {

template <class Library>
struct preloaded : Library {
  static constexpr std::int64_t extra_ms = 40;  // some four children for each row

  static std::string version() {
    if (Library::file[0] == 0) return malloc_subject::version();
    return is_beside_us(Library::file) ? Library::version_text : "";
  }
  static measurement measure_external(const std::string& area, const std::string& case_name,
                                      const row_params& params, run_budget budget) {
    return measure_preloaded(Library::file, area + "/" + case_name + "/malloc" + params.suffix(), budget);
  }
};

struct tern_malloc_library {
  static constexpr const char* name = "tern_preload";
  static constexpr role subject_role = role::subject;
  static constexpr const char* file = "../src/libtern-malloc.so";
  static constexpr const char* version_text = tern_version;
};
struct no_library {
  static constexpr const char* name = "glibc";
  static constexpr role subject_role = role::baseline;
  static constexpr const char* file = "";
  static constexpr const char* version_text = "";
};
struct mimalloc_library {
  static constexpr const char* name = "mimalloc";
  static constexpr role subject_role = role::peer;
  static constexpr const char* file = "peers/libmimalloc.so";
  static constexpr const char* version_text = TERN_BENCH_MIMALLOC_VERSION;
};
struct jemalloc_library {
  static constexpr const char* name = "jemalloc";
  static constexpr role subject_role = role::peer;
  static constexpr const char* file = "peers/libjemalloc.so";
  static constexpr const char* version_text = TERN_BENCH_JEMALLOC_VERSION;
};
struct tcmalloc_library {
  static constexpr const char* name = "tcmalloc";
  static constexpr role subject_role = role::peer;
  static constexpr const char* file = "peers/libtcmalloc_minimal.so";
  static constexpr const char* version_text = TERN_BENCH_TCMALLOC_VERSION;
};

using tern_preload = preloaded<tern_malloc_library>;
using glibc = preloaded<no_library>;
using mimalloc = preloaded<mimalloc_library>;
using jemalloc = preloaded<jemalloc_library>;
using tcmalloc = preloaded<tcmalloc_library>;

}  // namespace tern_bench
