// A duet as the judging verbs see it: three runs whose repetitions are its blocks.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "model.hpp"

namespace ternbench {

enum class slot { base, again, head };
inline constexpr std::size_t slot_count = 3;
[[nodiscard]] const char* to_string(slot s);

struct duet_data {
  std::string label;
  std::string status;  // running, complete or interrupted
  std::string machine;
  std::string date;        // when its last session ended (or began)
  std::string confirms;    // name of the duet whose flagged rows it measured again; empty
  std::size_t blocks = 0;  // planned
  std::size_t blocks_done = 0;
  bool same_link = false;                 // base again is the very binary that base is
  std::vector<std::string> hosts;         // how the host changed between sessions; empty: it did not
  std::vector<std::string> builds;        // how the builds differ: "compiler: gcc 12 -> clang 19"
  std::vector<std::string> new_binaries;  // which base does not have
  std::vector<std::string> absent;        // rows that were asked for and neither build has
  run_data base;
  run_data again;
  run_data head;

  [[nodiscard]] bool complete() const { return status == "complete"; }
};

/// Whether `path` is a directory with a duet in it.
[[nodiscard]] bool is_duet(const std::filesystem::path& path);

/// Reads duet.json and raw.jsonl. A last line that was cut off is passed over. Throws tool_error.
[[nodiscard]] duet_data load_duet(const std::filesystem::path& directory);

/// One line of raw.jsonl, in the order of writing.
struct duet_line {
  std::size_t block = 0;
  std::size_t row = 0;
  slot where = slot::base;
  std::string outcome;
  ordered_json entry;            // null: the process wrote none
  std::vector<double> turns_ns;  // the time of each turn; empty where one failed
};
[[nodiscard]] std::vector<duet_line> read_duet_lines(const std::filesystem::path& directory,
                                                     const std::vector<std::string>& rows);

}  // namespace ternbench
