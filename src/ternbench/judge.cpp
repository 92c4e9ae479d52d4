#include "judge.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

namespace ternbench {
namespace {

bool is_exact(const metric& m) { return m.counter == "bytes_per_op" || m.counter == "instructions_per_op"; }

/// Values of both rows, by block where there are blocks.
paired_values values_of(const row_data& a, const row_data& b, const metric& m, bool paired) {
  return paired ? pair_by_repetition(a, b, m) : paired_values{a.values(m), b.values(m)};
}

std::vector<double> log_ratios(const paired_values& pairs) {
  std::vector<double> out;
  for (std::size_t i = 0; i < pairs.a.size(); ++i) out.push_back(std::log(pairs.b[i] / pairs.a[i]));
  return out;
}

std::set<double> counter_values(const row_data& row, const char* counter) {
  std::set<double> out;
  for (const sample& s : row.samples) {
    if (const auto at = s.counters.find(counter); at != s.counters.end()) out.insert(at->second);
  }
  return out;
}

/// One judgement in the making.
class judging {
 public:
  judging(const run_data& base, const run_data* again, const run_data& head, const gate_config& config)
      : base_(base), again_(again), head_(head), config_(config) {
    result_.paired = again != nullptr;
    result_.date = head.date;
    result_.arch = head.host.arch.value_or("unknown");
    if (const auto at = config.floors.find(result_.arch); at != config.floors.end()) floors_ = &at->second;
  }

  judgement finish() {
    check_waivers();
    const comparison c = compare_runs(base_, head_);
    take_inventory(c);
    for (const compared_row& row : c.rows) {
      if (row.what->counter.empty() || is_exact(*row.what)) judge_row(row);
    }
    adjust();
    for (std::size_t i = 0; i < result_.rows.size(); ++i) decide(result_.rows[i], raw_p_[i]);
    apply_waivers();
    conclude();
    return std::move(result_);
  }

  judgement& result() { return result_; }

 private:
  void fault(const std::string& row, const std::string& change, const std::string& text) {
    result_.faults.push_back({row, change, text, change == "new" || config_.allows(row, change)});
  }

  void take_inventory(const comparison& c) {
    for (const row_data* row : c.missing) fault(row->name, "missing", "base has it, head does not");
    for (const auto& [old, fresh] : c.renamed)
      fault(old->name, "renamed", fmt::format("is {} in head, by the look of it", fresh->name));
    for (const row_data* row : c.added) fault(row->name, "new", "base does not have it");
    for (const auto& [a, b] : c.errored) {
      if (const std::string text = b->error_text(); !text.empty()) {
        fault(b->name, "errored", text);
      } else {
        result_.notes.push_back(fmt::format("{}: base failed: {}", a->name, a->error_text()));
      }
    }
    for (const auto& [a, b] : c.skipped) {
      const bool was_measured = a->skip_reason().empty();
      if (was_measured && !b->skip_reason().empty()) {
        fault(b->name, "skipped", b->skip_reason());
      } else {
        result_.notes.push_back(
            fmt::format("{}: skipped: {}", a->name, was_measured ? b->skip_reason() : a->skip_reason()));
      }
    }
    for (const lone_metric& m : c.missing_metrics)
      fault(m.row->name, "unmeasured", fmt::format("head has no {}", m.what->name));
    for (const row_data& row : base_.rows) {
      if (const row_data* other = head_.find(row.name)) inspect(row, *other);
    }
  }

  /// What a row of both says of itself: whether it measured something, and the same thing.
  void inspect(const row_data& ours, const row_data& theirs) {
    const metric& time = shown_metrics().front();
    const auto whole = [](const row_data& r) { return r.error_text().empty() && r.skip_reason().empty(); };
    const auto mute = [&](const row_data& r) {
      const auto& all = shown_metrics();
      return whole(r) && std::none_of(all.begin(), all.end(), [&](const metric& m) { return r.has(m); });
    };
    if (mute(ours) || mute(theirs)) {
      fault(ours.name, "unmeasured",
            fmt::format("{} has no time above zero", mute(theirs) ? "head" : "base"));
    } else if (theirs.has(time) && theirs.samples.size() > theirs.values(time).size() && whole(theirs)) {
      fault(ours.name, "errored", "a time of head is not above zero");
    }
    std::set<double> sums = counter_values(ours, "checksum");
    sums.merge(counter_values(theirs, "checksum"));
    if (sums.size() > 1) {
      fault(ours.name, "checksum",
            fmt::format("{:.0f} and {:.0f}: it no longer computes the same", *sums.begin(), *sums.rbegin()));
    }
  }

  void judge_row(const compared_row& row) {
    judged_row out;
    out.name = row.a->name;
    out.role = row.a->role;
    out.what = row.what;
    out.exact = is_exact(*row.what);
    const paired_values values = values_of(*row.a, *row.b, *row.what, result_.paired);
    if (values.a.empty()) return;
    out.base_value = median(values.a);
    out.head_value = median(values.b);
    out.change = result_.paired ? paired_ratio(values.a, values.b) : unpaired_ratio(values.a, values.b);
    double p = 1;
    if (out.exact) {
      out.floor = config_.settings.exact_limit;
    } else {
      set_floor(out);
      const double bound = std::log1p(out.floor);
      if (result_.paired) {
        p = sign_test_above(log_ratios(values), bound);
        look_again(out, *row.a);
      } else {
        std::vector<double> raised = values.a;
        for (double& v : raised) v *= 1 + out.floor;
        p = mann_whitney_above(raised, values.b);
      }
    }
    result_.blocks = std::max(result_.blocks, values.a.size());
    result_.rows.push_back(std::move(out));
    raw_p_.push_back(p);
  }

  void set_floor(judged_row& row) const {
    row.floor = config_.settings.least_floor;
    if (floors_ != nullptr) {
      if (const auto at = floors_->rows.find(row.name); at != floors_->rows.end()) {
        row.learnt = true;
        row.floor = std::max(row.floor, std::expm1(at->second));
      }
    }
    if (row.floor > config_.settings.advisory_above) row.is = verdict::advisory;
    if (row.base_value < 1) {
      row.floor = std::max(row.floor, config_.settings.least_ns / row.base_value);
      row.note = fmt::format("below 1 ns: judged by {} ns", config_.settings.least_ns);
    }
  }

  /// A'/A of the row, and whether its processes did the same work.
  void look_again(judged_row& row, const row_data& a) {
    const row_data* other = again_->find(row.name);
    const paired_values pairs = pair_by_repetition(a, *other, *row.what);
    if (!pairs.a.empty()) row.again = paired_ratio(pairs.a, pairs.b);
    if (row.again && std::fabs(std::log(row.again->estimate)) > std::log1p(row.floor) &&
        row.is != verdict::advisory) {
      row.is = verdict::invalid;
      row.note = "base against base moved beyond the floor";
    }
    std::set<double> work = counter_values(a, "iterations");
    work.merge(counter_values(*other, "iterations"));
    work.merge(counter_values(*head_.find(row.name), "iterations"));
    if (work.size() > 1) {
      row.is = verdict::invalid;
      row.note = fmt::format("unequal iteration counts, {:.0f} and {:.0f}", *work.begin(), *work.rbegin());
    }
    logs_.insert_or_assign(row.name, log_ratios(pairs));
  }

  [[nodiscard]] bool in_family(const judged_row& row) const {
    return !row.exact && row.is != verdict::advisory;
  }

  void adjust() {
    std::vector<double> family;
    for (std::size_t i = 0; i < result_.rows.size(); ++i) {
      if (in_family(result_.rows[i])) family.push_back(raw_p_[i]);
    }
    const std::size_t judged = std::max<std::size_t>(family.size(), 1);
    family = holm(family);
    std::size_t next = 0;
    for (std::size_t i = 0; i < result_.rows.size(); ++i) {
      judged_row& row = result_.rows[i];
      if (in_family(row)) raw_p_[i] = family[next++];
      if (!row.exact) row.detectable = detectable(row, judged);
    }
  }

  /// The slow-down with which as many blocks would lie above the floor as Holm's hardest step wants, if head's noise is that of A'/A.
  std::optional<double> detectable(const judged_row& row, std::size_t judged) const {
    const auto at = logs_.find(row.name);
    if (at == logs_.end() || at->second.empty()) return std::nullopt;
    std::vector<double> noise = at->second;
    std::sort(noise.begin(), noise.end());
    const std::size_t n = noise.size();
    std::size_t wanted = n / 2 + 1;
    const auto allowed = config_.settings.family_error / static_cast<double>(judged);
    while (wanted <= n && sign_test_tail(n, wanted) > allowed) ++wanted;
    if (wanted > n) return std::nullopt;
    return std::expm1(std::max(0.0, std::log1p(row.floor) - noise[n - wanted]));
  }

  void decide(judged_row& row, double p) const {
    row.p = p;
    if (row.is == verdict::invalid || row.is == verdict::advisory) return;
    if (row.exact) {
      row.is = row.change.estimate > 1 + row.floor ? verdict::regression : verdict::ok;
    } else if (p <= config_.settings.family_error) {
      row.is = verdict::regression;
    } else if (row.change.bounded() && row.change.coverage > 0.949 && row.change.high < 1 + row.floor) {
      row.is = verdict::ok;
    } else {
      row.is = verdict::inconclusive;
    }
  }

  void check_waivers() const {
    std::string expired;
    for (const waiver& w : config_.waivers) {
      if (result_.date.size() < 10 || w.expires >= result_.date.substr(0, 10)) continue;
      expired +=
          fmt::format("{}{}:{}: the waiver of {} [{}] expired on {}; renew or remove it",
                      expired.empty() ? "" : "\n", config_.file.string(), w.line, w.row, w.metric, w.expires);
    }
    if (!expired.empty()) throw tool_error(expired);
  }

  void apply_waivers() {
    for (const waiver& w : config_.waivers) {
      if (w.arch != result_.arch) continue;
      bool used = false;
      for (judged_row& row : result_.rows) {
        if (row.name != w.row || row.what->name != w.metric || row.is != verdict::regression) continue;
        used = true;
        if (row.change.estimate <= w.ceiling) {
          row.is = verdict::waived;
          row.note = fmt::format("waived until {}, up to {}: {}", w.expires, w.ceiling, w.reason);
        } else {
          row.note = fmt::format("above the waiver's ceiling of {}", w.ceiling);
        }
      }
      if (!used) {
        result_.notes.push_back(fmt::format("{}:{}: the waiver of {} [{}] is not needed any more",
                                            config_.file.string(), w.line, w.row, w.metric));
      }
    }
  }

  void conclude() {
    std::size_t judged = 0;
    std::size_t unknown = 0;
    for (judged_row& row : result_.rows) {
      judged += in_family(row) ? 1 : 0;
      unknown += !row.learnt && !row.exact ? 1 : 0;
      if (row.control() && row.is == verdict::regression && !row.exact) {
        row.is = verdict::invalid;
        row.note = "a baseline, which no change here can touch";
        result_.invalid.push_back(fmt::format("the control {} moved", row.name));
      }
    }
    const auto share = [&](verdict v, double limit, const char* what) {
      const std::size_t count = result_.count(v);
      if (judged == 0 || static_cast<double>(count) <= limit * static_cast<double>(judged)) return;
      result_.invalid.push_back(
          fmt::format("{} of {} rows are {}, above the share of {:.0f}%", count, judged, what, 100 * limit));
    };
    share(verdict::invalid, config_.settings.invalid_share, "invalid");
    share(verdict::inconclusive, config_.settings.inconclusive_share, "inconclusive");
    const bool any_time = std::any_of(result_.rows.begin(), result_.rows.end(),
                                      [](const judged_row& row) { return !row.exact; });
    if (judged == 0 && (any_time || result_.rows.empty())) {
      result_.invalid.push_back(any_time ? fmt::format("nothing was judged: all {} rows are too noisy here",
                                                       result_.count(verdict::advisory))
                                         : "nothing was judged");
    }
    if (unknown > 0) {
      result_.notes.push_back(
          fmt::format("no noise was learnt of {} rows on {}: their floor is {:.0f}% (ternbench calibrate)",
                      unknown, result_.arch, 100 * config_.settings.least_floor));
    }
  }

  const run_data& base_;
  const run_data* again_;
  const run_data& head_;
  const gate_config& config_;
  const learnt_floors* floors_ = nullptr;
  judgement result_;
  std::vector<double> raw_p_;                        // beside result_.rows
  std::map<std::string, std::vector<double>> logs_;  // of A'/A
};

void refuse_emulated(const run_data& run) {
  if (run.host.emulated == std::optional<bool>(true))
    throw tool_error(fmt::format("{}: made under emulation; its times are not judged", run.label),
                     exit_code::not_comparable);
}

/// Of `run` the rows in the set, and those that `other` does not have.
run_data only_set(const run_data& run, const gate_config& config, const run_data* other) {
  run_data out = run;
  std::erase_if(out.rows, [&](const row_data& row) {
    const bool in_set = std::find(config.set.begin(), config.set.end(), row.name) != config.set.end();
    return !in_set && (other == nullptr || other->find(row.name) != nullptr);
  });
  return out;
}

}  // namespace

const char* to_string(verdict v) {
  constexpr std::array names{"REGRESSION",   "not confirmed", "waived", "INVALID",
                             "inconclusive", "advisory",      "ok"};
  return names[static_cast<std::size_t>(v)];
}

std::size_t judgement::count(verdict v) const {
  return static_cast<std::size_t>(
      std::count_if(rows.begin(), rows.end(), [&](const judged_row& r) { return r.is == v; }));
}

std::vector<std::string> judgement::flagged() const {
  std::vector<std::string> out;
  for (const judged_row& row : rows) {
    if (row.is == verdict::regression && !row.exact) out.push_back(row.name);
  }
  return out;
}

bool judgement::failed() const {
  return count(verdict::regression) > 0 ||
         std::any_of(faults.begin(), faults.end(), [](const inventory_fault& f) { return !f.allowed; });
}

exit_code judgement::code() const {
  if (failed()) return exit_code::regression;
  return invalid.empty() ? exit_code::ok : exit_code::inconclusive;
}

judgement judge(const duet_data& duet, const gate_config& config) {
  refuse_emulated(duet.base);
  judging work(duet.base, &duet.again, duet.head, config);
  judgement& out = work.result();
  out.label = duet.label;
  if (!duet.complete()) {
    out.invalid.push_back(fmt::format("the duet is not complete: {} of {} blocks; go on with --resume",
                                      duet.blocks_done, duet.blocks));
  }
  for (const std::string& change : duet.hosts) out.invalid.push_back("the host changed: " + change);
  for (const std::string& change : duet.builds) out.notes.push_back("the builds differ: " + change);
  for (const std::string& binary : duet.new_binaries)
    out.notes.push_back(fmt::format("base predates {}: its rows are new", binary));
  if (duet.same_link)
    out.notes.emplace_back("base again is the same link as base: what the layout does is not sampled");
  for (const std::string& row : duet.absent) {
    out.faults.push_back(
        {row, "missing", "in the set, but neither build has it", config.allows(row, "missing")});
  }
  return work.finish();
}

judgement judge(const run_data& base, const run_data& head, const gate_config& config) {
  refuse_emulated(base);
  refuse_emulated(head);
  if (const std::string reason = why_not_comparable(base, head); !reason.empty())
    throw tool_error(reason, exit_code::not_comparable);
  for (const auto& [what, a, b] : {std::tuple{"CPU model", base.host.cpu_model, head.host.cpu_model},
                                   {"machine", std::optional(base.machine), std::optional(head.machine)}}) {
    if (a && b && *a != *b) {
      throw tool_error(fmt::format("{} and {} are of different hosts ({}: {} and {})", base.label, head.label,
                                   what, *a, *b),
                       exit_code::not_comparable);
    }
  }
  const run_data ours = only_set(base, config, nullptr);
  const run_data theirs = only_set(head, config, &base);
  judging work(ours, nullptr, theirs, config);
  judgement& out = work.result();
  out.label = base.label + " -> " + head.label;
  for (const std::string& row : config.set) {
    if (base.find(row) == nullptr && head.find(row) == nullptr) {
      out.faults.push_back(
          {row, "missing", "in the set, but neither run has it", config.allows(row, "missing")});
    }
  }
  out.notes.emplace_back(
      "two separate runs: a drift of the machine between them looks like a change; a duet does not have "
      "that");
  for (const std::string& change : host_differences(base, head)) out.notes.push_back("differs: " + change);
  return work.finish();
}

void confirm(judgement& first, const judgement& again) {
  for (judged_row& row : first.rows) {
    if (row.is != verdict::regression || row.exact) continue;
    const auto other = std::find_if(again.rows.begin(), again.rows.end(), [&](const judged_row& r) {
      return r.name == row.name && r.what == row.what;
    });
    const bool twice = other != again.rows.end() && other->is == verdict::regression;
    if (!twice) row.is = verdict::not_confirmed;
    row.note =
        other == again.rows.end()
            ? "the second duet did not measure it"
            : fmt::format("second duet: {} ({})", format_ratio(other->change.estimate), to_string(other->is));
  }
  for (const std::string& reason : again.invalid) first.invalid.push_back("second duet: " + reason);
}

}  // namespace ternbench
