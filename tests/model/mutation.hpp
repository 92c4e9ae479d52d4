// Mutation: breaks every atomic operation of the code under test, one at a time, and asks the checker to notice.
//
// A checker that cannot fail is worthless, and an order that nothing needs is either waste or a hole in the models. Each call
// site of a model atomic that a model reaches is found by its std::source_location and then
//   weaken          its order becomes relaxed
//   weaken_seq_cst  seq_cst becomes acquire, release or acq_rel
//   tear            a read-modify-write becomes a load and a store, between which others may run
//   drop            a store or read-modify-write does not happen (a failed or a lost one)
// Survivors are listed; a test names those that it expects, and why.
#pragma once

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "checker.hpp"

namespace tern_model {

struct mutant {
  change kind{};
  site where{};
  const char* operation = "";
  std::string text{};  // the source line
  bool caught = false;
  std::string message{};
  std::uint64_t schedules = 0;
};

inline const char* name_of(change k) noexcept {
  switch (k) {
    case change::weaken: return "weaken";
    case change::weaken_seq_cst: return "weaken_seq_cst";
    case change::tear: return "tear";
    case change::drop: return "drop";
  }
  return "";
}

inline std::string source_line(const site& s) {
  std::ifstream in{s.file_name()};
  std::string line;
  for (unsigned i = 0; i < s.line() && std::getline(in, line); ++i) {
  }
  const std::size_t first = line.find_first_not_of(' ');
  return first == std::string::npos ? std::string{} : line.substr(first);
}

/// Runs Model once per mutant and adds the mutants to `all`; one that an earlier model caught is not run again. `o` bounds each
/// run; sites whose file name does not contain `file` are left alone.
template <class Model>
void mutate(const options& o, const char* file, std::vector<mutant>& all) {
  std::vector<seen_site> sites;
  {
    options few = o;
    few.max_schedules = std::min<std::uint64_t>(o.max_schedules, 20'000);
    checker c{few};
    c.collect_sites(&sites);
    const result whole = c.check<Model>();
    if (whole.failed) {
      all.push_back(
          {change::weaken, site::current(), "", "the model fails without a mutant", false, whole.message, 0});
      return;
    }
  }
  for (const seen_site& s : sites) {
    if (std::strstr(s.where.file_name(), file) == nullptr) continue;
    const bool is_load = std::strcmp(s.operation, "load") == 0;
    const bool is_store = std::strcmp(s.operation, "store") == 0;
    std::vector<change> kinds;
    if (s.order != memory_order_relaxed) kinds.push_back(change::weaken);
    if (s.order == memory_order_seq_cst) kinds.push_back(change::weaken_seq_cst);
    if (!is_load && !is_store) kinds.push_back(change::tear);
    if (!is_load) kinds.push_back(change::drop);
    for (const change k : kinds) {
      const auto known = std::find_if(all.begin(), all.end(), [&](const mutant& x) {
        return x.kind == k && x.where.line() == s.where.line() && x.where.column() == s.where.column() &&
               std::strcmp(x.where.file_name(), s.where.file_name()) == 0;
      });
      if (known != all.end() && known->caught) continue;
      const mutation m{k, s.where.file_name(), s.where.line(), s.where.column()};
      checker c{o};
      c.set_mutation(&m);
      const result r = c.check<Model>();
      if (known == all.end()) {
        all.push_back({k, s.where, s.operation, source_line(s.where), r.failed, r.message, r.schedules});
      } else if (r.failed) {
        known->caught = true;
        known->message = r.message;
        known->schedules = r.schedules;
      }
    }
  }
}

template <class Model>
std::vector<mutant> mutate(const options& o, const char* file) {
  std::vector<mutant> all;
  mutate<Model>(o, file, all);
  return all;
}

/// A line per mutant, survivors marked.
inline std::string report(const std::vector<mutant>& all) {
  std::string text;
  for (const mutant& m : all) {
    text += std::string{m.caught ? "caught   " : "SURVIVED "} + name_of(m.kind) + " " + m.operation +
            " at line " + std::to_string(m.where.line()) + " `" + m.text + "`";
    text += m.caught ? " after " + std::to_string(m.schedules) + ": " + m.message + "\n" : "\n";
  }
  return text;
}

/// The survivors that `expected` does not explain, as text; empty is good. `expected` gets each survivor.
inline std::string unexplained(const std::vector<mutant>& all,
                               const std::function<bool(const mutant&)>& expected) {
  std::string text;
  for (const mutant& m : all) {
    if (!m.caught && !expected(m)) text += report({m});
  }
  return text;
}

}  // namespace tern_model
