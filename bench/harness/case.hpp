// How a case becomes rows: a workload template, a list of subjects, points of the parameter grid; and the loop that times it.
//
// Context     bench/cases/<area>/<case>.cpp holds one workload template and one `registration` of it; bench/subjects/*.hpp
//             hold the subjects. The harness alone times, checks and counts.
// Structure   A workload is a class template over a subject:
//
//               template <class S> class workload {
//                explicit workload(const row_params&);    set-up, untimed, inside the subject's world (S::run)
//                std::uint64_t operations() const;        operations of one batch
//                std::uint32_t run();                     one batch, timed as a whole; returns its checksum
//                std::uint32_t run(histogram&);           instead: a latency case, which records ns from the intended start
//                void after_batch(measurement&);          optional: untimed, after each batch
//                void finish(measurement&);               optional: untimed, once, may add counters
//                static std::uint64_t fixed_operations(const row_params&, std::int64_t time_ms);
//                                                         optional: the row's length is this, not found by the harness
//                static std::string unfit(const row_params&);
//                                                         optional: why this subject cannot run these parameters, or ""
//                static constexpr bool evolves = true;    optional: batches after the first differ in their checksum
//                static constexpr bool cold = true;       optional: no untimed batch first
//                static constexpr bool reports_cpu = true; optional: the CPU time of all threads is a figure of its own
//               };
//
//             A subject has `name`, `subject_role`, `version()`, `run(params, fn)`, and may have `unfit(params)`, and
//             `one_world_per_process` if run() can be called once: then each call gets a fresh process. A subject that runs outside
//             this process has `measure_external(area, case, params, budget)` instead of run().
// Invariants  Every batch does the same fixed work; its checksum must equal that of the first batch (unless the workload
//             evolves), and that of every other subject with the same parameters.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "bench/harness/clock.hpp"
#include "bench/harness/keep.hpp"
#include "bench/harness/latency.hpp"
#include "bench/harness/process.hpp"
#include "bench/harness/row.hpp"

namespace tern_bench {

/// One point of a case's parameter grid.
struct point {
  row_params params;
  tern_bench::tier tier = tier::quick;
  bool gate = false;          ///< in the gate's set: the rows of subjects, and of the case's control
  std::int64_t extra_ms = 0;  ///< a call costs about so much beside the measured time
};

struct case_info {
  const char* area;
  const char* name;
  row_params smoke;  ///< the smallest parameters, for --smoke
  std::vector<point> points;
  const char* control = "";  ///< the baseline whose rows no change of the library can touch
  bool isolated = false;     ///< measure each call in a fresh process
};

namespace detail {

template <class W>
concept records_latency = requires(W& w, histogram& h) {
  { w.run(h) } -> std::same_as<std::uint32_t>;
};
template <class W>
concept has_evolves = requires { W::evolves; };
template <class W>
concept has_cold = requires { W::cold; };

template <class W>
concept has_reports_cpu = requires { W::reports_cpu; };

template <class W>
void measure_inside(const row_params& params, run_budget budget, measurement& m) {
  W work(params);
  if constexpr (records_latency<W>) {
    auto latencies = std::make_shared<histogram>();
    if (budget.warm && !has_cold<W>) static_cast<void>(work.run(*latencies));
    latencies->reset();
    const std::int64_t cpu = process_cpu_ns();
    while (m.operations < budget.operations) {
      const std::uint32_t checksum = work.run(*latencies);
      if (m.operations == 0) m.checksum = checksum;
      m.operations += work.operations();
    }
    m.cpu_seconds = static_cast<double>(process_cpu_ns() - cpu) * 1e-9;
    // The time of a latency row is the mean latency: the pace is given, so elapsed time would say nothing.
    m.seconds = latencies->mean() * 1e-9 * static_cast<double>(m.operations);
    add_latencies(m, *latencies);
  } else {
    bool first = true;
    const auto check = [&](std::uint32_t checksum) {
      if (first) m.checksum = checksum;
      if (!has_evolves<W> && checksum != m.checksum)
        m.error = "checksum differs between two batches of one row";
      first = false;
    };
    const auto settle = [&] {
      if constexpr (requires { work.after_batch(m); }) work.after_batch(m);
    };
    if (budget.warm && !has_cold<W>) {
      check(work.run());
      settle();
    }
    do {
      const std::int64_t cpu = process_cpu_ns();
      const std::int64_t begin = now_ns();
      const std::uint32_t checksum = work.run();
      const std::int64_t end = now_ns();
      m.cpu_seconds += static_cast<double>(process_cpu_ns() - cpu) * 1e-9;
      m.seconds += static_cast<double>(end - begin) * 1e-9;
      m.operations += work.operations();
      check(checksum);
      settle();
    } while (m.operations < budget.operations && m.error.empty());
  }
  if constexpr (requires { work.finish(m); }) work.finish(m);
}

template <class W, class S>
measurement measure_row(const row_params& params, run_budget budget) {
  measurement m;
  if constexpr (requires { S::unfit(params); }) m.error = S::unfit(params);
  if constexpr (requires { W::unfit(params); }) {
    if (m.error.empty()) m.error = W::unfit(params);
  }
  if (!m.error.empty()) {
    m.error = "skipped: " + m.error;
    return m;
  }
  S::run(params, [&] { measure_inside<W>(params, budget, m); });
  return m;
}

template <class S>
concept external = requires(const std::string& text, const row_params& params, run_budget budget) {
  { S::measure_external(text, text, params, budget) } -> std::same_as<measurement>;
};

template <template <class> class Workload, class First, class S>
void add_rows(const case_info& info) {
  bool in_smoke = true;
  for (const point& at : info.points) {
    row r;
    r.area = info.area;
    r.case_name = info.name;
    r.subject = S::name;
    r.version = &S::version;
    r.subject_role = S::subject_role;
    r.params = at.params;
    r.smoke_params = info.smoke;
    r.in_smoke = std::exchange(in_smoke, false);
    r.tier = at.tier;
    r.gate = at.gate && (r.subject_role == role::subject || r.subject == info.control);
    r.isolated = info.isolated && !external<S>;
    if constexpr (requires { S::one_world_per_process; }) r.isolated = true;
    r.extra_ms = at.extra_ms;
    r.reports_cpu = has_reports_cpu<Workload<First>>;
    if constexpr (external<S>) {
      // A child for each call. In a quick run only where the point is a headline.
      if constexpr (requires { S::extra_ms; }) {
        r.extra_ms += S::extra_ms;
        if (!at.gate && r.tier == tier::quick) r.tier = tier::standard;
      }
    }
    if constexpr (requires { Workload<First>::fixed_operations(at.params, std::int64_t{1}); }) {
      r.fixed_operations = &Workload<First>::fixed_operations;
    }
    if constexpr (external<S>) {
      r.measure = [area = r.area, name = r.case_name](const row_params& params, run_budget budget) {
        return S::measure_external(area, name, params, budget);
      };
    } else {
      r.measure = &measure_row<Workload<S>, S>;
    }
    all_rows().push_back(std::move(r));
  }
}

}  // namespace detail

/// A list of subjects.
template <class... S>
struct subjects {};

/// `const registration<workload, subjects<a, b>> registered{{...}};` at namespace scope adds the case's rows.
template <template <class> class Workload, class List>
struct registration;

template <template <class> class Workload, class First, class... Rest>
struct registration<Workload, subjects<First, Rest...>> {
  explicit registration(const case_info& info) {
    detail::add_rows<Workload, First, First>(info);
    (detail::add_rows<Workload, First, Rest>(info), ...);
  }
};

}  // namespace tern_bench
