// ternbench: the command line. Each verb's work is in the file of its name.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <sstream>

#include "compare.hpp"
#include "doctor.hpp"
#include "error.hpp"
#include "run.hpp"
#include "show.hpp"
#include "validate.hpp"

namespace ternbench {
namespace {

constexpr const char* exit_codes =
    "exit codes:\n"
    "  0  done (compare: both were read, whatever the difference)\n"
    "  1  usage error, unreadable or invalid input, or the tool could not do its work\n"
    "  4  compare: the two must not be compared (emulated, other architecture, newer schema, no common row)\n"
    "  5  run: a row crashed, timed out or reported an error; all else is there\n"
    "  6  run: checksums differ between subjects or processes of one case\n"
    "  130  run: interrupted; what was measured is kept\n";

struct arguments {
  run_options run;
  bool quick = false;
  bool full = false;
  std::string launcher;
  std::uint64_t seed = 0;
  std::string shown;
  std::string format = "text";
  std::string select;
  std::string area;
  std::string case_name;
  std::string a;
  std::string b;
  std::vector<std::filesystem::path> files;
};

exit_code do_run(arguments& args, const CLI::App& verb) {
  args.run.mode = args.quick ? run_mode::quick : args.full ? run_mode::full : run_mode::standard;
  if (verb.count("--seed") > 0) args.run.seed = args.seed;
  std::istringstream words(args.launcher);
  for (std::string word; words >> word;) args.run.launcher.push_back(word);
  return run(args.run);
}

exit_code do_show(const arguments& args, const CLI::App& verb) {
  show_options options;
  options.markdown = args.format == "markdown";
  if (verb.count("--select") > 0) options.selected = selection::parse(args.select);
  if (!args.area.empty()) options.selected.add(args.area);
  if (!args.case_name.empty()) options.selected.add(args.case_name);
  const run_data data = load_run(args.shown);
  std::fputs(render(data, options, palette::for_descriptor(STDOUT_FILENO)).c_str(), stdout);
  return exit_code::ok;
}

exit_code do_compare(const arguments& args) {
  const run_data a = load_run(args.a);
  const run_data b = load_run(args.b);
  if (const std::string reason = why_not_comparable(a, b); !reason.empty()) {
    throw tool_error(reason, exit_code::not_comparable);
  }
  const comparison c = compare_runs(a, b);
  std::fputs(render(a, b, c, palette::for_descriptor(STDOUT_FILENO)).c_str(), stdout);
  return exit_code::ok;
}

exit_code do_doctor() {
  const auto findings = diagnose(tern_bench::collect_host_facts(), collect_live_facts());
  std::fputs(render(findings, palette::for_descriptor(STDOUT_FILENO)).c_str(), stdout);
  return exit_code::ok;
}

CLI::App* add_run(CLI::App& app, arguments& args) {
  CLI::App* verb = app.add_subcommand("run", "Measure, and write a run directory");
  auto* quick = verb->add_flag("--quick", args.quick, "the quick tier, about 2 minutes");
  verb->add_flag("--full", args.full, "every row, about an hour")->excludes(quick);
  verb->add_option("--suite", args.run.suites, "only these areas: sched, alloc, gc, scenario")
      ->delimiter(',');
  verb->add_option("--filter", args.run.filter, "only rows whose name matches this regular expression");
  verb->add_option("--machine", args.run.machine, "name of the machine (default: its CPU model)");
  verb->add_option("--out", args.run.out, "folder that gets the run directory")->capture_default_str();
  verb->add_option("--bin", args.run.bin, "folder of the bench binaries (default: beside ternbench)");
  verb->add_option("--repetitions", args.run.repetitions, "process repetitions (default: what fits)")
      ->check(CLI::Range(1, 1000));
  verb->add_option("--seed", args.seed, "of the order of cases and rows (default: random; always recorded)");
  verb->add_option("--timeout", args.run.timeout_seconds,
                   "seconds for one process (default: 60 or more, by the plan)")
      ->check(CLI::Range(0.1, 86400.0));
  verb->add_option("--launcher", args.launcher,
                   "command put before each binary, e.g. \"qemu-aarch64 -L /usr/aarch64-linux-gnu\"");
  verb->footer("example: ternbench run --quick --suite sched,gc --machine build-box");
  return verb;
}

CLI::App* add_show(CLI::App& app, arguments& args) {
  CLI::App* verb = app.add_subcommand("show", "The table of a run: each subject against its baselines");
  verb->add_option("RUN", args.shown, "run directory, summary.json or Google Benchmark file")->required();
  verb->add_option("--format", args.format, "text or markdown")
      ->check(CLI::IsMember({"text", "markdown"}))
      ->capture_default_str();
  verb->add_option("--select", args.select,
                   "a file with, or a list of, areas, cases or area/case/param:value");
  verb->add_option("--area", args.area, "only this area");
  verb->add_option("--case", args.case_name, "only this case, as area/case");
  verb->footer("example: ternbench show results/20260102T030405Z-x86_64-epyc --case alloc/pair");
  return verb;
}

CLI::App* add_compare(CLI::App& app, arguments& args) {
  CLI::App* verb = app.add_subcommand("compare", "Two runs, row by row; nothing is dropped");
  verb->add_option("A", args.a, "the first run: directory, summary.json or Google Benchmark file")
      ->required();
  verb->add_option("B", args.b, "the second")->required();
  verb->footer("example: ternbench compare results/before results/after");
  return verb;
}

int main_of(int argc, char** argv) {
  CLI::App app{"ternbench: runs tern's benchmarks, shows and compares what they measured", "ternbench"};
  app.set_version_flag("--version", "ternbench " TERNBENCH_VERSION);
  app.footer(exit_codes);
  app.require_subcommand(1);
  arguments args;
  const CLI::App* run_verb = add_run(app, args);
  const CLI::App* show_verb = add_show(app, args);
  const CLI::App* compare_verb = add_compare(app, args);
  CLI::App* validate_verb =
      app.add_subcommand("validate", "Check files or run directories against results/schema/");
  validate_verb->add_option("FILE", args.files, "JSON files or run directories")->required();
  validate_verb->footer("example: ternbench validate results/20260102T030405Z-x86_64-epyc");
  CLI::App* doctor_verb =
      app.add_subcommand("doctor", "What here makes timing unreliable, and how to mend it");
  doctor_verb->footer("example: ternbench doctor");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    std::string line = e.what();
    line = line.substr(0, line.find('\n'));
    fmt::print(stderr, "ternbench: {} (see ternbench --help)\n", line);
    return static_cast<int>(exit_code::failed);
  }
  const CLI::App* verb = app.get_subcommands().front();
  try {
    if (verb == run_verb) return static_cast<int>(do_run(args, *run_verb));
    if (verb == show_verb) return static_cast<int>(do_show(args, *show_verb));
    if (verb == compare_verb) return static_cast<int>(do_compare(args));
    if (verb == validate_verb) return static_cast<int>(validate(args.files));
    return static_cast<int>(do_doctor());
  } catch (const tool_error& e) {
    fmt::print(stderr, "ternbench {}: {}\n", verb->get_name(), e.what());
    return static_cast<int>(e.code());
  } catch (const std::exception& e) {
    fmt::print(stderr, "ternbench {}: internal error: {}\n", verb->get_name(), e.what());
    return static_cast<int>(exit_code::failed);
  }
}

}  // namespace
}  // namespace ternbench

int main(int argc, char** argv) { return ternbench::main_of(argc, argv); }
