// Files that ternbench reads, mutated at random: whatever is in them, they are taken, or refused in one printable line, for a
// configuration in one for each mistake.
#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tern/base/random.hpp>

#include "claims_file.hpp"
#include "compare.hpp"
#include "cross.hpp"
#include "error.hpp"
#include "gate_config.hpp"
#include "json_io.hpp"
#include "model.hpp"
#include "tests/support/seed.hpp"

namespace {

using ternbench::ordered_json;

// Values that a reader may not have thought of, each in the place of any other.
const std::vector<ordered_json>& odd_values() {
  static const std::vector<ordered_json> values{nullptr,
                                                true,
                                                0,
                                                -1,
                                                0.5,
                                                1e308,
                                                -1e308,
                                                5e-324,
                                                INT64_MIN,
                                                UINT64_MAX,
                                                "",
                                                "x",
                                                "sched/yield/tern",
                                                std::string("\0\n\t\x1b", 4),
                                                std::string(10'000, 'a'),
                                                ordered_json::array(),
                                                ordered_json::object(),
                                                ordered_json::array({ordered_json::array()}),
                                                ordered_json::object({{"name", 1}})};
  return values;
}

class mutator {
 public:
  explicit mutator(std::uint64_t seed) : random_{seed} {}

  std::string operator()(const std::string& text) {
    return random_.below(4) == 0 ? change_bytes(text) : change_values(ordered_json::parse(text));
  }

 private:
  std::size_t below(std::size_t n) { return random_.below(static_cast<std::uint32_t>(n)); }

  std::string change_bytes(std::string text) {
    for (std::size_t n = 1 + below(4); n-- > 0 && !text.empty();) {
      const std::size_t at = below(text.size());
      switch (below(4)) {
        case 0: text[at] = static_cast<char>(below(256)); break;
        case 1: text.erase(at, 1 + below(50)); break;
        case 2: text.insert(at, text.substr(at, below(40))); break;
        default: text.resize(at); break;
      }
    }
    return text;
  }

  // A value of the document at random: down from its root, at each step on with three chances in four.
  std::string change_values(ordered_json document) {
    for (std::size_t n = 1 + below(3); n-- > 0;) {
      ordered_json* at = &document;
      while (at->is_structured() && !at->empty()) {
        const auto child = std::next(at->begin(), static_cast<std::ptrdiff_t>(below(at->size())));
        if (child->is_structured() && below(4) != 0) {
          at = &*child;
          continue;
        }
        change_child(*at, child);
        break;
      }
    }
    return document.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  }

  void change_child(ordered_json& parent, ordered_json::iterator child) {
    switch (below(5)) {
      case 0: parent.erase(child); break;
      case 1:
        if (parent.is_array())
          parent.push_back(ordered_json(*child));
        else
          parent[child.key() + "x"] = ordered_json(*child);
        break;
      case 2:
        if (child->is_number()) {
          constexpr std::array factors{-1.0, 0.0, 1e300, 1e-300, 1e-9, 3.0};
          *child = child->get<double>() * factors[below(factors.size())];
          break;
        }
        [[fallthrough]];
      default: *child = odd_values()[below(odd_values().size())]; break;
    }
  }

  tern::detail::fast_random random_;
};

class scratch_file {
 public:
  explicit scratch_file(const char* name)
      : path_{std::filesystem::temp_directory_path() /
              ("tern-fuzz-" + std::to_string(::getpid()) + "-" + name)} {}
  ~scratch_file() { std::filesystem::remove(path_); }
  scratch_file(const scratch_file&) = delete;
  scratch_file& operator=(const scratch_file&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

bool is_printable(std::string_view line) {
  return !line.empty() && std::all_of(line.begin(), line.end(), [](char c) {
    return static_cast<unsigned char>(c) >= ' ' && c != 127;
  });
}

// read(path) over that many mutants of a text.
template <class Read>
void expect_taken_or_refused(const std::string& text, double mutants, Read&& read) {
  mutator mutate{tern_test::seed()};
  const scratch_file file{"mutant.json"};
  int taken = 0, refused = 0;
  // One in twenty is taken, at least: 200 are enough for both kinds at any scale.
  for (int left = std::max(200, static_cast<int>(mutants * tern_test::scale())); left-- > 0;) {
    const std::string mutant = mutate(text);
    ternbench::write_file(file.path(), mutant);
    try {
      read(file.path());
      ++taken;
    } catch (const ternbench::tool_error& e) {
      ++refused;
      std::string_view lines = e.what();
      for (;;) {
        const std::size_t end = lines.find('\n');
        const std::string_view line = lines.substr(0, end);
        ASSERT_TRUE(is_printable(line)) << line << '\n' << mutant;
        ASSERT_TRUE(line.starts_with(file.path().native() + ":")) << line << '\n' << mutant;
        if (end == lines.npos) break;
        lines.remove_prefix(end + 1);
      }
    } catch (const std::exception& e) {
      FAIL() << e.what() << " instead of a line of the tool's\n" << mutant;
    }
  }
  // Both, or the mutations are too tame or too wild to tell anything.
  EXPECT_NE(taken, 0);
  EXPECT_NE(refused, 0);
}

TEST(ternbench_read_fuzz, GateConfigurations) {
  expect_taken_or_refused(ternbench::read_file("results/gate.json"), 400,
                          [](const auto& path) { static_cast<void>(ternbench::load_gate_config(path)); });
}

TEST(ternbench_read_fuzz, Claims) {
  expect_taken_or_refused(ternbench::read_file("results/claims.json"), 400,
                          [](const auto& path) { static_cast<void>(ternbench::load_claims({path})); });
}

TEST(ternbench_read_fuzz, Runs) {
  ordered_json run = ternbench::read_json("results/targets/x86_64-two-processors/summary.json");
  ordered_json& samples = run["benchmarks"];
  while (samples.size() > 24) samples.erase(samples.size() - 1);
  const scratch_file whole{"whole.json"};
  ternbench::write_json(whole.path(), run);
  const ternbench::run_data original = ternbench::load_run(whole.path());
  expect_taken_or_refused(run.dump(), 300, [&](const auto& path) {
    const ternbench::run_data mutant = ternbench::load_run(path);
    static_cast<void>(ternbench::compare_runs(original, mutant));
    static_cast<void>(ternbench::host_differences(original, mutant));
    static_cast<void>(ternbench::why_not_comparable(original, mutant));
    static_cast<void>(ternbench::cross_runs({original, mutant}));
  });
}

}  // namespace
