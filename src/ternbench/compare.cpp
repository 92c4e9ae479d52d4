#include "compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace ternbench {
namespace {

constexpr std::size_t name_width = 46;

/// Pairs up rows that are gone with rows that are new, where case and subject agree and there is one of each.
void find_renamed(comparison& c) {
  const auto like = [](const row_data* x, const row_data* y) {
    const row_name& p = x->parts;
    const row_name& q = y->parts;
    if (!p.in_grammar() || !q.in_grammar() || p.area != q.area) return false;
    const bool same_case = p.case_name == q.case_name && p.subject == q.subject;  // parameters changed
    const bool same_params = p.params == q.params;
    const bool case_changed = same_params && p.subject == q.subject;
    const bool subject_changed = same_params && p.case_name == q.case_name;
    return same_case || case_changed || subject_changed;
  };
  const std::vector<const row_data*> gone = c.missing;
  const std::vector<const row_data*> fresh = c.added;
  for (const row_data* old : gone) {
    const row_data* match = nullptr;
    std::size_t matches = 0;
    for (const row_data* candidate : fresh) {
      if (!like(old, candidate)) continue;
      match = candidate;
      ++matches;
    }
    const auto rivals =
        std::count_if(gone.begin(), gone.end(), [&](const row_data* g) { return match && like(g, match); });
    if (matches != 1 || rivals != 1) continue;
    c.renamed.emplace_back(old, match);
    std::erase(c.missing, old);
    std::erase(c.added, match);
  }
}

bool has_error(const row_data& row) { return !row.error_text().empty(); }
bool has_skip(const row_data& row) { return !row.skip_reason().empty(); }

std::string state_of(const row_data& row) {
  if (has_error(row)) return row.error_text();
  if (has_skip(row)) return "skipped: " + row.skip_reason();
  return "measured";
}

std::string title(std::string_view text, std::size_t count) { return fmt::format("{} ({})", text, count); }

void print_rows(std::string& out, std::string_view heading, const std::vector<const compared_row*>& rows,
                const palette& colours, std::string (palette::*paint)(std::string_view) const) {
  if (rows.empty()) return;
  out += (colours.*paint)(title(heading, rows.size())) + "\n";
  for (const compared_row* row : rows) {
    std::string name = row->a->name;
    if (!row->what->counter.empty()) name += fmt::format(" [{}]", row->what->name);
    const auto value = [&](const row_data& r) {
      return format_value(median(r.values(*row->what)), row->what->in);
    };
    if (width_of(name) > name_width) {
      out += "  " + name + "\n";
      name.clear();
    }
    out += "  " + pad_right(name, name_width) + pad_left(value(*row->a), 9) + pad_left(value(*row->b), 10) +
           pad_left(format_ratio(row->ratio.estimate), 9) + "  " + format_interval(row->ratio) + "\n";
  }
}

void print_names(std::string& out, std::string_view heading, const std::vector<const row_data*>& rows,
                 const palette& colours) {
  if (rows.empty()) return;
  out += colours.warn(title(heading, rows.size())) + "\n";
  for (const row_data* row : rows) {
    const std::string state = state_of(*row);
    out += "  " + row->name + (state == "measured" ? "" : ": " + state) + "\n";
  }
}

void print_metrics(std::string& out, std::string_view heading, const std::vector<lone_metric>& metrics,
                   const palette& colours) {
  if (metrics.empty()) return;
  out += colours.warn(title(heading, metrics.size())) + "\n";
  for (const lone_metric& m : metrics) out += fmt::format("  {} [{}]\n", m.row->name, m.what->name);
}

void print_states(std::string& out, std::string_view heading,
                  const std::vector<std::pair<const row_data*, const row_data*>>& rows,
                  const palette& colours) {
  if (rows.empty()) return;
  out += colours.warn(title(heading, rows.size())) + "\n";
  for (const auto& [a, b] : rows) {
    const std::string before = state_of(*a);
    const std::string after = state_of(*b);
    const std::string text = before == after ? "both " + before : fmt::format("A {}; B {}", before, after);
    out += "  " + a->name + "\n    " + wrap(text, table_width - 4, "    ") + "\n";
  }
}

}  // namespace

compared_row::verdict compared_row::judge() const {
  constexpr double wanted = 0.95;
  if (ratio.coverage + 1e-9 < wanted) return verdict::not_judged;
  if (ratio.low > 1) return verdict::slower;
  if (ratio.high < 1) return verdict::faster;
  return verdict::not_resolved;
}

std::string why_not_comparable(const run_data& a, const run_data& b) {
  for (const run_data* run : {&a, &b}) {
    if (run->host.emulated == std::optional<bool>(true)) {
      return fmt::format("{}: made under emulation (emulated: true); its times are not judged", run->label);
    }
  }
  if (a.host.arch && b.host.arch && *a.host.arch != *b.host.arch) {
    return fmt::format("{} is {} and {} is {}: times of different architectures are not judged", a.label,
                       *a.host.arch, b.label, *b.host.arch);
  }
  const bool shared =
      std::any_of(a.rows.begin(), a.rows.end(), [&](const row_data& r) { return b.find(r.name) != nullptr; });
  if (!shared) return fmt::format("{} and {} have no row in common", a.label, b.label);
  return {};
}

std::vector<std::string> host_differences(const run_data& a, const run_data& b) {
  std::vector<std::string> out;
  const auto left = tern_bench::to_json(a.host);
  const auto right = tern_bench::to_json(b.host);
  for (const char* key :
       {"arch", "cpu_model", "vcpus", "cpu_quota", "smt", "governor", "turbo", "kernel", "libc",
        "os_page_size", "thp", "hypervisor", "emulated", "compiler", "flags", "build_type"}) {
    const auto text = [](const json& v) {
      return v.is_null() ? std::string("unknown") : v.is_string() ? v.get<std::string>() : v.dump();
    };
    if (left[key] != right[key])
      out.push_back(fmt::format("{}: {} -> {}", key, text(left[key]), text(right[key])));
  }
  for (const auto& [key, version] : a.versions) {
    const auto other = b.versions.find(key);
    if (other != b.versions.end() && other->second != version)
      out.push_back(fmt::format("{}: {} -> {}", key, version, other->second));
  }
  return out;
}

comparison compare_runs(const run_data& a, const run_data& b) {
  comparison c;
  for (const row_data& row : a.rows) {
    const row_data* other = b.find(row.name);
    if (other == nullptr) {
      c.missing.push_back(&row);
      continue;
    }
    if (has_error(row) || has_error(*other)) {
      c.errored.emplace_back(&row, other);
    } else if (has_skip(row) || has_skip(*other)) {
      c.skipped.emplace_back(&row, other);
    }
    for (const metric& m : shown_metrics()) {
      const std::vector<double> x = row.values(m);
      const std::vector<double> y = other->values(m);
      if (x.empty() != y.empty()) {
        // A row that failed or was skipped on one side is named as such.
        const row_data& without = x.empty() ? row : *other;
        if (std::any_of(without.samples.begin(), without.samples.end(),
                        [](const sample& s) { return s.ok(); }))
          (x.empty() ? c.added_metrics : c.missing_metrics).push_back({&row, &m});
      }
      if (x.empty() || y.empty()) continue;
      c.rows.push_back({&row, other, &m, unpaired_ratio(x, y)});
    }
  }
  for (const row_data& row : b.rows) {
    if (a.find(row.name) == nullptr) c.added.push_back(&row);
  }
  find_renamed(c);
  return c;
}

std::string render(const run_data& a, const run_data& b, const comparison& c, const palette& colours) {
  std::string out = wrap("A  " + a.label + ": " + describe(a), table_width, "   ") + "\n";
  out += wrap("B  " + b.label + ": " + describe(b), table_width, "   ") + "\n";
  for (const std::string& difference : host_differences(a, b)) {
    out += colours.warn(wrap("host or build differs: " + difference, table_width, "   ")) + "\n";
  }
  out += "\n  " + pad_right("", name_width) + pad_left("A", 9) + pad_left("B", 10) + pad_left("B/A", 9) +
         "  95% interval\n";
  using verdict = compared_row::verdict;
  const auto of = [&](verdict v) {
    std::vector<const compared_row*> rows;
    for (const compared_row& row : c.rows) {
      if (row.judge() == v) rows.push_back(&row);
    }
    const bool down = v == verdict::faster;
    std::sort(rows.begin(), rows.end(), [&](const compared_row* x, const compared_row* y) {
      if (x->ratio.estimate != y->ratio.estimate) return (x->ratio.estimate < y->ratio.estimate) == down;
      return x->a->name != y->a->name ? x->a->name < y->a->name : x->what < y->what;
    });
    return rows;
  };
  print_rows(out, "higher in B: slower or larger", of(verdict::slower), colours, &palette::bad);
  print_rows(out, "lower in B: faster or smaller", of(verdict::faster), colours, &palette::good);
  print_rows(out, "no difference shown", of(verdict::not_resolved), colours, &palette::strong);
  print_rows(out, "not judged: too few repetitions for a 95% interval", of(verdict::not_judged), colours,
             &palette::strong);
  print_names(out, "missing in B", c.missing, colours);
  print_names(out, "new in B", c.added, colours);
  print_metrics(out, "metrics missing in B", c.missing_metrics, colours);
  print_metrics(out, "metrics new in B", c.added_metrics, colours);
  if (!c.renamed.empty()) {
    out += colours.warn(title("renamed, by the look of it; not compared", c.renamed.size())) + "\n";
    for (const auto& [old, fresh] : c.renamed) out += "  " + old->name + "\n    -> " + fresh->name + "\n";
  }
  print_states(out, "errored", c.errored, colours);
  print_states(out, "skipped", c.skipped, colours);
  out += "\n" +
         wrap(
             "B/A: Hodges-Lehmann ratio over all pairs of process repetitions, with its exact Mann-Whitney "
             "interval. The "
             "interval covers the noise within the two runs, not a drift of the machine between them.",
             table_width, "") +
         "\n";
  return out;
}

}  // namespace ternbench
