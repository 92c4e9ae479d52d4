// googletest's side of the model checker.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include <tern/base/config.hpp>

#include "model_atomics.hpp"
#include "mutation.hpp"

namespace tern_model {

// Sanitizers and emulation are 10 to 50 times slower: there one preemption less is explored and the time is cut.
inline options affordable(options o) {
  const char* scale = std::getenv("TERN_STRESS_SCALE");
  const bool slow = tern::detail::asan_build || tern::detail::tsan_build ||
                    (scale != nullptr && std::strtod(scale, nullptr) < 1.0);
  if (slow) {
    o.preemptions = std::min(o.preemptions, 2U);
    o.max_seconds = std::min(o.max_seconds, 20.0);
  }
  return o;
}

template <class Model>
void expect_holds(const options& o, const char* what = "") {
  const options used = affordable(o);
  const result r = check<Model>(used);
  EXPECT_FALSE(r.failed) << what << ' ' << r.message << '\n' << r.trace << "replay: " << r.schedule;
  // Where it is slow the schedules may be cut off by time; elsewhere the bound must have been exhausted.
  if (used.max_seconds == o.max_seconds) {
    EXPECT_TRUE(r.failed || r.complete) << what << " stopped after " << r.schedules << " schedules";
  }
  testing::Test::RecordProperty("schedules", std::to_string(r.schedules));
  std::printf("  %s%s%llu schedules, %.2f s\n", what, *what == '\0' ? "" : ": ",
              static_cast<unsigned long long>(r.schedules), r.seconds);
}

/// The checker must find a failure whose message contains `why`.
template <class Model>
void expect_caught(const options& o, const char* why = "") {
  const result r = check<Model>(o);
  EXPECT_TRUE(r.failed) << "the checker missed a bug that it was given, in " << r.schedules << " schedules";
  EXPECT_NE(r.message.find(why), std::string::npos) << r.message << '\n' << r.trace;
  if (!r.failed) return;
  // The schedule alone reproduces it.
  options again = o;
  again.replay = r.schedule;
  const result second = check<Model>(again);
  EXPECT_TRUE(second.failed);
  EXPECT_EQ(second.message, r.message);
  std::printf("  caught after %llu schedules: %s\n", static_cast<unsigned long long>(r.schedules),
              r.message.c_str());
}

/// Every mutant of `file` must be caught by one of the models, but for those that `expected` explains. Put the small models first.
template <class... Models>
void expect_mutants_caught(const options& o, const char* file,
                           const std::function<bool(const mutant&)>& expected) {
  std::vector<mutant> all;
  (mutate<Models>(o, file, all), ...);
  EXPECT_FALSE(all.empty()) << "no site of " << file << " was reached";
  EXPECT_EQ(unexplained(all, expected), "");
  const auto caught = std::count_if(all.begin(), all.end(), [](const mutant& m) { return m.caught; });
  std::printf("  %d of %d mutants of %s caught\n%s", static_cast<int>(caught), static_cast<int>(all.size()),
              file, std::getenv("TERN_MODEL_VERBOSE") != nullptr ? report(all).c_str() : "");
}

}  // namespace tern_model
