#include "bench/harness/reporter.hpp"

#include <cmath>
#include <sstream>
#include <vector>

namespace tern_bench {
namespace {

// The value of `"key": "value"` in the library's JSON context: where it begins and ends.
std::pair<std::size_t, std::size_t> find_value(const std::string& text, const std::string& key) {
  const std::string opening = "\"" + key + "\": \"";
  const std::size_t at = text.find(opening);
  if (at == std::string::npos) return {0, 0};
  const std::size_t begin = at + opening.size();
  std::size_t end = begin;
  while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
  return {begin, end};
}

class correcting_reporter final : public benchmark::BenchmarkReporter {
 public:
  correcting_reporter(std::unique_ptr<benchmark::BenchmarkReporter> inner, bool is_json)
      : inner_(std::move(inner)), is_json_(is_json) {}

  bool ReportContext(const Context& context) override {
    inner_->SetErrorStream(&GetErrorStream());
    if (!is_json_) {
      inner_->SetOutputStream(&GetOutputStream());
      return inner_->ReportContext(context);
    }
    std::ostringstream text;
    inner_->SetOutputStream(&text);
    const bool go_on = inner_->ReportContext(context);
    inner_->SetOutputStream(&GetOutputStream());
    std::string shown = text.str();
    if (const auto [begin, end] = find_value(shown, "host_name"); end > begin) {
      shown.replace(begin, end - begin, "");
    }
    GetOutputStream() << shown;
    return go_on;
  }

  void ReportRuns(const std::vector<Run>& runs) override {
    std::vector<Run> fixed = runs;
    for (Run& run : fixed) {
      if (const auto cpu = run.counters.find(cpu_counter); cpu != run.counters.end()) {
        run.cpu_accumulated_time = cpu->second.value;
        run.counters.erase(cpu);
      }
      std::erase_if(run.counters, [](const auto& entry) { return !std::isfinite(entry.second.value); });
    }
    inner_->ReportRuns(fixed);
  }

  void Finalize() override { inner_->Finalize(); }

 private:
  std::unique_ptr<benchmark::BenchmarkReporter> inner_;
  bool is_json_;
};

}  // namespace

std::unique_ptr<benchmark::BenchmarkReporter> corrected(std::unique_ptr<benchmark::BenchmarkReporter> inner,
                                                        bool is_json) {
  return std::make_unique<correcting_reporter>(std::move(inner), is_json);
}

std::unique_ptr<benchmark::BenchmarkReporter> make_file_reporter(const std::string& format) {
  if (format == "json") return std::make_unique<benchmark::JSONReporter>();
  if (format == "console") {
    return std::make_unique<benchmark::ConsoleReporter>(benchmark::ConsoleReporter::OO_None);
  }
// The library marks its CSV form as deprecated and still offers it as a flag value.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  if (format == "csv") return std::make_unique<benchmark::CSVReporter>();
#pragma GCC diagnostic pop
  return nullptr;
}

std::string library_build_type() {
  benchmark::JSONReporter probe;
  std::ostringstream text;
  probe.SetOutputStream(&text);
  probe.SetErrorStream(&text);
  probe.ReportContext(benchmark::BenchmarkReporter::Context());
  const std::string context = text.str();
  const auto [begin, end] = find_value(context, "library_build_type");
  return context.substr(begin, end - begin);
}

}  // namespace tern_bench
