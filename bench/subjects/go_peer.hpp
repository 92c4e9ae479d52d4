// Go, as a program of its own (bench/peers/go) that is built beside the bench binaries where a Go toolchain is found.
//
// A row starts the program anew for every call. Where it is absent the row is recorded as skipped.
#pragma once

#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

#include "bench/harness/fresh.hpp"
#include "bench/subjects/pthread.hpp"

namespace tern_bench {

struct go_peer {
  static constexpr const char* name = "go";
  static constexpr role subject_role = role::peer;
  static std::string version() { return TERN_BENCH_GO_VERSION; }

  static measurement measure_external(const std::string& area, const std::string& case_name,
                                      const row_params& params, run_budget budget) {
    const std::string program = program_folder() + "/go_peer";
    measurement m;
    if (access(program.c_str(), X_OK) != 0) {
      m.error =
          "skipped: no Go program beside this one: there was no Go toolchain for this machine at build time";
      return m;
    }
    if (const std::string why = on_processors::unfit(params); !why.empty()) {
      m.error = "skipped: " + why;
      return m;
    }
    std::vector<std::string> arguments = {
        program, "-area", area, "-case", case_name, "-operations", std::to_string(budget.operations)};
    if (budget.warm) arguments.emplace_back("-warm");
    for (const auto& [key, value] : params.all()) {
      arguments.emplace_back("-p");
      arguments.push_back(key + "=" + value.text());
    }
    // As the other schedulers: the row's threads stay on its processors. The waker of wake_latency needs one more.
    std::optional<confine> here;
    if (area == "sched" && case_name != "wake_latency") here.emplace(on_processors::count(params));
    return measure_program(arguments);
  }
};

}  // namespace tern_bench
