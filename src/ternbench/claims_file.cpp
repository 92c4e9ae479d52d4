#include "claims_file.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <utility>

#include "error.hpp"
#include "json_io.hpp"
#include "mistakes.hpp"
#include "row_name.hpp"
#include "schema_check.hpp"

namespace ternbench {
namespace {

using relation = claim_test::relation;
constexpr std::array relations{std::pair{"<", relation::below}, std::pair{"<=", relation::at_most},
                               std::pair{">", relation::above}, std::pair{">=", relation::at_least}};

relation relation_of(const std::string& op) {
  return std::find_if(relations.begin(), relations.end(), [&](const auto& r) { return op == r.first; })
      ->second;
}

claim_test to_test(const ordered_json& t) {
  return {t["row"].get<std::string>(), t["metric"].get<std::string>(), relation_of(text_at(t, "op")),
          t["bound"].get<double>(), text_at(t, "versus")};
}

/// The schema has seen to the form: "cpus>=4", "memory>=6GB", "hardware_counters", "real_aarch64".
claim_need to_need(const std::string& text) {
  if (text == "hardware_counters") return {text, claim_need::kind::counters, 0};
  if (text == "real_aarch64") return {text, claim_need::kind::real_aarch64, 0};
  const char* const end = text.data() + text.size();
  claim_need need{text, claim_need::kind::cpus, 0};
  const auto unit =
      std::from_chars(text.data() + text.find('=') + 1, end, need.least).ptr;  // at most 6 digits
  if (text.starts_with("memory")) {
    need.of = claim_need::kind::memory;
    need.least *= *unit == 'M' ? 1'000'000 : 1'000'000'000;
  }
  return need;
}

class reader {
 public:
  reader(const ordered_json& document, mistakes& wrong, std::map<std::string, std::string>& known,
         const std::string& label)
      : document_(document), wrong_(wrong), known_(known), label_(label) {}

  void read(std::vector<claim>& out) {
    for (std::size_t i = 0; i < document_["claims"].size(); ++i)
      out.push_back(read_claim(document_["claims"][i], fmt::format("/claims/{}", i)));
  }

 private:
  claim read_claim(const ordered_json& c, const std::string& at) {
    claim out{text_at(c, "id"),
              text_at(c, "area"),
              text_at(c, "source"),
              text_at(c, "claim"),
              text_at(c, "note"),
              {},
              {},
              {}};
    if (const auto [first, added] = known_.emplace(out.id, label_); !added) {
      wrong_.add(at + "/id", fmt::format("\"{}\" stands twice{}", out.id,
                                         first->second == label_ ? "" : ", first in " + first->second));
    }
    out.tests = read_tests(c, at, c);
    if (c.contains("conditions")) {
      for (std::size_t i = 0; i < c["conditions"].size(); ++i) {
        const ordered_json& condition = c["conditions"][i];
        out.conditions.push_back(
            {text_at(condition, "when"), read_tests(condition, fmt::format("{}/conditions/{}", at, i), c)});
      }
    }
    for (const ordered_json& need : c["needs"]) out.needs.push_back(to_need(need.get<std::string>()));
    return out;
  }

  /// `test` and `also` of a claim or of one of its conditions.
  std::vector<claim_test> read_tests(const ordered_json& holder, const std::string& at,
                                     const ordered_json& c) {
    std::vector<claim_test> out{to_test(holder["test"])};
    check(out.back(), at + "/test", c);
    if (!holder.contains("also")) return out;
    for (std::size_t i = 0; i < holder["also"].size(); ++i) {
      out.push_back(to_test(holder["also"][i]));
      check(out.back(), fmt::format("{}/also/{}", at, i), c);
    }
    return out;
  }

  void check(const claim_test& test, const std::string& at, const ordered_json& c) {
    for (const auto& [key, name] : {std::pair{"/row", &test.row}, {"/versus", &test.versus}}) {
      if (!name->empty() && !parse_row_name(*name).in_grammar())
        wrong_.add(at + key, fmt::format("\"{}\" is not the name of a row", *name));
    }
    if (test.versus == test.row) wrong_.add(at + "/versus", "is the row itself");
    const ordered_json& rows = c["rows"];
    const bool in_rows = std::any_of(rows.begin(), rows.end(), [&](const ordered_json& pattern) {
      return fnmatch(pattern.get<std::string>().c_str(), test.row.c_str(), 0) == 0;
    });
    if (!in_rows) wrong_.add(at + "/row", fmt::format("\"{}\" is none of the claim's rows", test.row));
  }

  const ordered_json& document_;
  mistakes& wrong_;
  std::map<std::string, std::string>& known_;  // id -> file
  const std::string& label_;
};

}  // namespace

const char* name_of(relation op) {
  return std::find_if(relations.begin(), relations.end(), [&](const auto& r) { return op == r.second; })
      ->first;
}

bool claim_test::accepts(double v) const {
  switch (op) {
    case relation::below: return v < bound;
    case relation::at_most: return v <= bound;
    case relation::above: return v > bound;
    case relation::at_least: return v >= bound;
  }
  return false;
}

std::vector<claim> load_claims(const std::vector<std::filesystem::path>& files) {
  std::vector<claim> out;
  std::map<std::string, std::string> known;
  for (const std::filesystem::path& file : files) {
    const std::string label = file.string();
    const bool again = std::any_of(&files.front(), &file, [&](const std::filesystem::path& other) {
      std::error_code ignored;
      return std::filesystem::equivalent(other, file, ignored);
    });
    if (again) throw tool_error(fmt::format("{}: is named twice", label));
    const std::string text = read_file(file);
    ordered_json document = parse_json(text, label);
    make_printable(document);
    if (schema_of(document, label) != "claims")
      throw tool_error(fmt::format("{}: is not a file of claims (schema tern.claims/1)", label));
    mistakes wrong(label, text);
    wrong.add_schema_errors(schema_errors("claims", document));
    wrong.end();
    reader(document, wrong, known, label).read(out);
    wrong.end();
  }
  return out;
}

}  // namespace ternbench
