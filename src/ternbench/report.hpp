// The verb `report`: runs as one HTML page that needs no network, and as Markdown.
//
// Structure  The tables are written here, so the page tells all without its script; the script draws the plots (Chartist, SVG,
//            so that they take the page's colours in light and dark and stay sharp) and filters the cases.
// Output     is a function of the input files alone: the same runs and claims give the same bytes.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "claims.hpp"
#include "error.hpp"
#include "model.hpp"

namespace ternbench {

/// Defined in a source file that CMake makes from page/.
namespace page {
extern const std::string_view chartist_js;
extern const std::string_view LICENSE_chartist;
extern const std::string_view page_css;
extern const std::string_view page_js;
}  // namespace page

struct report_options {
  std::vector<std::filesystem::path> runs;  // oldest first; the last one has the tables
  std::filesystem::path out = "report.html";
  std::filesystem::path markdown;             // empty: none
  std::vector<std::filesystem::path> claims;  // empty: claims_file where there is one
};
[[nodiscard]] exit_code report(const report_options& options);

/// `answers` are those of the last run; without any the page has no section of claims.
[[nodiscard]] std::string render_html(const std::vector<run_data>& runs,
                                      const std::vector<answered_claim>& answers);

}  // namespace ternbench
