// Measurements outside this process: in a fresh child of it, or by another program.
//
// Context     Memory rows must not see what earlier rows left behind, and a row that leaks by design must not burden later
//             ones. The tool starts a process per repetition; within it such a row gets a process of its own here.
// Structure   main() forks a nursery process before anything else runs: no thread, no runtime and no heap of note exist
//             then. For each request the nursery forks a child, which measures one row and writes one line of JSON.
//             A fork (and not an exec of ourselves) also works under qemu-user without binfmt.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bench/harness/row.hpp"

namespace tern_bench {

/// Forks the nursery process. Call it once, from main(), while no other thread exists.
void start_fresh_processes();

/// Measures all_rows()[index] in a fresh process.
[[nodiscard]] measurement measure_fresh(std::size_t index, const row_params& params, run_budget budget);

/// Runs `arguments` (the first is a path) and reads one measurement from the last line that it prints. `preload`: the value of
/// LD_PRELOAD there, if not empty.
[[nodiscard]] measurement measure_program(const std::vector<std::string>& arguments,
                                          const std::string& preload = "");

/// Measures the row of this name in this program started anew, with the library `file` (from this program's folder; "" for none): an error
/// if its malloc is not the one that is called there.
[[nodiscard]] measurement measure_preloaded(const std::string& file, const std::string& row_name,
                                            run_budget budget);

/// Whether there is such a file.
[[nodiscard]] bool is_beside_us(const std::string& file);

/// What main() does in such a child; the exit status.
[[nodiscard]] int measure_as_child(const std::string& request);

/// The folder of the running program, for programs that are built beside it.
[[nodiscard]] std::string program_folder();

}  // namespace tern_bench
