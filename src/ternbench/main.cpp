// ternbench: the command line. Each verb's work is in the file of its name.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <utility>

#include "claims.hpp"
#include "compare.hpp"
#include "count.hpp"
#include "cross.hpp"
#include "doctor.hpp"
#include "duet.hpp"
#include "error.hpp"
#include "export.hpp"
#include "gate.hpp"
#include "json_io.hpp"
#include "rates.hpp"
#include "report.hpp"
#include "run.hpp"
#include "show.hpp"
#include "validate.hpp"

namespace ternbench {
namespace {

constexpr const char* exit_codes =
    "exit codes (one meaning each, for every verb):\n"
    "  0    done (compare, claims: all was read, whatever it says; gate: pass; doctor: always)\n"
    "  1    usage error, unreadable or invalid input, or the tool could not do its work\n"
    "  2    gate: a regression, or a row that is missing, renamed or broken; it wins over 3\n"
    "  3    gate: no verdict: the duet is incomplete or too noisy, a baseline moved, or the host changed\n"
    "  4    the inputs must not be compared (emulated, other architecture or host, newer schema, no common "
    "row)\n"
    "  5    run, duet, count: a row crashed, timed out or reported an error; all else is there\n"
    "  6    run: checksums differ between subjects or processes of one case\n"
    "  130  run, duet, count: interrupted; of run and duet what was measured is kept, and --resume goes on\n";

constexpr const char* lost_output = "standard output cannot be written: what it shows is not whole";

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
  std::string counts;
  std::string a;
  std::string b;
  std::vector<std::filesystem::path> files;
  duet_options duet;
  gate_options gate;
  calibrate_options calibrate;
  report_options report;
  count_options count;
  claims_options claims;
};

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

exit_code do_run(arguments& args, const CLI::App& verb) {
  args.run.mode = args.quick ? run_mode::quick : args.full ? run_mode::full : run_mode::standard;
  if (verb.count("--seed") > 0) args.run.seed = args.seed;
  args.run.launcher = words_of(args.launcher);
  return run(args.run);
}

exit_code do_show(const arguments& args, const CLI::App& verb) {
  show_options options;
  options.form = args.format == "compact"    ? table_form::compact
                 : args.format == "markdown" ? table_form::markdown
                                             : table_form::text;
  if (verb.count("--select") > 0) options.selected = selection::parse(args.select);
  for (const auto& [option, value] : {std::pair{"--area", &args.area}, {"--case", &args.case_name}}) {
    if (verb.count(option) == 0) continue;
    if (value->empty())
      throw tool_error(fmt::format("{}: selects nothing", option));  // an unset variable of a script
    options.selected.add(*value);
  }
  run_data data = load_run(args.shown);
  if (!args.counts.empty()) add_counts(data, load_run(args.counts));
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

exit_code do_duet(arguments& args, const CLI::App& verb) {
  if (verb.count("--seed") > 0) args.duet.seed = args.seed;
  args.duet.launcher = words_of(args.launcher);
  return duet(args.duet).code;
}

exit_code do_calibrate(arguments& args, const CLI::App& verb) {
  if (verb.count("--seed") > 0) args.duet.seed = args.seed;
  if (args.calibrate.runs > 0 && args.duet.base.empty()) throw tool_error("--runs needs --base BUILD");
  args.calibrate.measure = args.duet;
  return calibrate(args.calibrate);
}

exit_code do_cross(const arguments& args) {
  std::vector<run_data> runs;
  for (const auto& file : args.files) runs.push_back(load_run(file));
  std::fputs(render(runs, cross_runs(runs), palette::for_descriptor(STDOUT_FILENO)).c_str(), stdout);
  return exit_code::ok;
}

exit_code do_claims(arguments& args) {
  args.claims.markdown = args.format == "markdown";
  return claims(args.claims);
}

exit_code do_export(const arguments& args) {
  const run_data run = load_run(args.shown);
  const std::string text = args.format == "csv"     ? to_csv(run)
                           : args.format == "jsonl" ? to_jsonl(run)
                                                    : to_github_action_benchmark(run);
  std::fputs(text.c_str(), stdout);
  return exit_code::ok;
}

/// A completion script: verbs, the options of the verb that was typed, and file names. zsh reads it through bashcompinit.
exit_code do_completion(const CLI::App& app) {
  std::string verbs;
  std::string cases;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    verbs += verb->get_name() + " ";
    std::string options;
    for (const CLI::Option* option : verb->get_options()) {
      for (const std::string& name : option->get_lnames()) options += "--" + name + " ";
    }
    cases += fmt::format("    {}) words=\"{}\" ;;\n", verb->get_name(), options);
  }
  fmt::print(
      "# ternbench completion: eval \"$(ternbench completion)\" in bash; in zsh after: autoload bashcompinit "
      "&& bashcompinit\n"
      "_ternbench() {{\n  local word=${{COMP_WORDS[COMP_CWORD]}} words=\n  case "
      "${{COMP_CWORD}}:${{COMP_WORDS[1]}} in\n"
      "    1:*) words=\"{}--help --version\" ;;\n  esac\n  [[ $COMP_CWORD -eq 1 ]] || case "
      "${{COMP_WORDS[1]}} in\n{}  esac\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
      "  [[ $word == -* || $COMP_CWORD -eq 1 ]] || COMPREPLY=($(compgen -f -- \"$word\"))\n}}\n"
      "complete -o filenames -F _ternbench ternbench\n",
      verbs, cases);
  return exit_code::ok;
}

exit_code do_doctor() {
  const auto findings = diagnose(tern_bench::collect_host_facts(), collect_live_facts());
  std::fputs(render(findings, palette::for_descriptor(STDOUT_FILENO)).c_str(), stdout);
  return exit_code::ok;
}

void add_config(CLI::App* verb, std::filesystem::path& config) {
  verb->add_option("--config", config, "the set, floors, allowed changes and waivers")->capture_default_str();
}

/// CLI11 takes -1 for the largest unsigned number.
CLI::Validator is_seed() {
  return CLI::Validator(
      [](std::string& text) {
        const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
        return digits ? std::string() : "\"" + text + "\" is not a whole number of at least 0";
      },
      "UINT");
}

CLI::App* add_run(CLI::App& app, arguments& args) {
  CLI::App* verb = app.add_subcommand("run", "Measure, and write a run directory");
  auto* quick = verb->add_flag("--quick", args.quick, "the quick tier, about 2 minutes");
  auto* full = verb->add_flag("--full", args.full, "every row, about an hour")->excludes(quick);
  auto* suite = verb->add_option("--suite", args.run.suites, "only these areas: sched, alloc, gc, scenario")
                    ->delimiter(',');
  auto* filter =
      verb->add_option("--filter", args.run.filter, "only rows whose name matches this regular expression");
  auto* claims = verb->add_option(
      "--claims", args.run.claims,
      "also the rows that the claims of this file ask for, whatever their tier; again for more files");
  auto* only = verb->add_flag("--only-claims", args.run.only_claims, "only the rows that the claims ask for")
                   ->needs(claims);
  auto* machine =
      verb->add_option("--machine", args.run.machine, "name of the machine (default: its CPU model)");
  auto* out =
      verb->add_option("--out", args.run.out, "folder that gets the run directory")->capture_default_str();
  verb->add_option("--bin", args.run.bin, "folder of the bench binaries (default: beside ternbench)");
  auto* repetitions =
      verb->add_option("--repetitions", args.run.repetitions, "process repetitions (default: what fits)")
          ->check(CLI::Range(1, 1000));
  auto* seed = verb->add_option("--seed", args.seed,
                                "of the order of cases and rows (default: random; always recorded)")
                   ->check(is_seed());
  verb->add_option("--timeout", args.run.timeout_seconds,
                   "seconds for one process (default: 60 or more, by the plan)")
      ->check(CLI::Range(0.1, 86400.0));
  verb->add_option("--launcher", args.launcher,
                   "command put before each binary, e.g. \"qemu-aarch64 -L /usr/aarch64-linux-gnu\"");
  auto* resume = verb->add_option("--resume", args.run.resume, "go on with this run, which was interrupted");
  for (CLI::Option* fixed : {quick, full, suite, filter, claims, only, machine, out, repetitions, seed})
    resume->excludes(fixed);
  verb->footer("example: ternbench run --quick --suite sched,gc --machine build-box");
  return verb;
}

CLI::App* add_show(CLI::App& app, arguments& args) {
  CLI::App* verb = app.add_subcommand("show", "The table of a run: each subject against its baselines");
  verb->add_option("RUN", args.shown, "run directory, summary.json or Google Benchmark file")->required();
  verb->add_option("--format", args.format,
                   "text, markdown, or compact: Markdown with a line per subject, not per pair")
      ->check(CLI::IsMember({"text", "markdown", "compact"}))
      ->capture_default_str();
  verb->add_option("--select", args.select,
                   "a file with, or a list of, areas, cases or area/case/param:value");
  verb->add_option("--area", args.area, "only this area");
  verb->add_option("--case", args.case_name, "only this case, as area/case");
  verb->add_option("--counts", args.counts, "a file that `count` wrote: its instructions beside the times");
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

CLI::App* add_report(CLI::App& app, arguments& args) {
  CLI::App* verb = app.add_subcommand("report", "Runs as one HTML page with plots, and as Markdown");
  verb->add_option("RUN", args.report.runs, "runs, oldest first; the last one has the tables")->required();
  verb->add_option("--out", args.report.out, "the page")->capture_default_str();
  verb->add_option("--markdown", args.report.markdown, "write a Markdown summary there as well");
  verb->add_option(
          "--claims", args.report.claims,
          "answer the claims of this file (default: results/claims.json where there is one); again for more")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->footer("example: ternbench report results/before results/after --out report.html");
  return verb;
}

CLI::App* add_cross(CLI::App& app, arguments& args) {
  CLI::App* verb =
      app.add_subcommand("cross", "Machines side by side: each subject against its baseline there");
  verb->add_option("RUN", args.files, "runs, one per machine")->required()->expected(2, 26);
  verb->footer("example: ternbench cross results/baselines/x86_64 results/20260102T030405Z-aarch64-n1");
  return verb;
}

CLI::App* add_claims(CLI::App& app, arguments& args) {
  CLI::App* verb =
      app.add_subcommand("claims", "Published claims beside what a run measured, with a verdict");
  verb->add_option("RUN", args.claims.run, "run directory, summary.json or Google Benchmark file")
      ->required();
  verb->add_option("--claims", args.claims.files,
                   "a file of claims (default: results/claims.json); again for more of them")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->add_option("--format", args.format, "text or markdown")
      ->check(CLI::IsMember({"text", "markdown"}))
      ->capture_default_str();
  verb->add_option("--area", args.claims.areas, "only claims of this area; again for more")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->add_option("--id", args.claims.ids, "only claims whose id matches this regular expression");
  verb->add_option("--surprises", args.claims.surprises,
                   "only so many: the claims that do not hold, the farthest first")
      ->check(CLI::Range(1, 1000));
  verb->footer(
      "example: ternbench claims results/baselines/x86_64 --claims results/claims.json --claims mine.json");
  return verb;
}

CLI::App* add_count(CLI::App& app, arguments& args) {
  CLI::App* verb = app.add_subcommand("count", "Instructions per operation, under callgrind");
  verb->add_option("--bin", args.count.bin, "folder of the bench binaries (default: beside ternbench)");
  verb->add_option("--filter", args.count.filter, "rows whose name matches, instead of gate.json's set");
  verb->add_option("--operations", args.count.operations, "over so many, and three times as many")
      ->check(CLI::Range(1, 1000000000))
      ->capture_default_str();
  verb->add_option("--machine", args.count.machine, "name of the machine (default: its CPU model)");
  verb->add_option("--out", args.count.out, "the file that it leaves")->capture_default_str();
  add_config(verb, args.count.config);
  verb->footer("example: ternbench count --filter '^sched/yield/tern$' --out count.json");
  return verb;
}

CLI::App* add_export(CLI::App& app, arguments& args) {
  CLI::App* verb = app.add_subcommand("export", "A run in the forms that other tools read");
  verb->add_option("RUN", args.shown, "run directory, summary.json or Google Benchmark file")->required();
  verb->add_option("--format", args.format, "csv, jsonl or github-action-benchmark")
      ->check(CLI::IsMember({"csv", "jsonl", "github-action-benchmark"}))
      ->required();
  verb->footer("example: ternbench export results/before --format csv");
  return verb;
}

CLI::App* add_rates(CLI::App& app, arguments& args) {
  CLI::App* verb =
      app.add_subcommand("rates", "How often the gate is wrong, from trials whose truth is known");
  verb->add_option("TRIALS", args.shown, "what bench/harness/gate_trials.py leaves")->required();
  verb->footer("example: ternbench rates results/gate-evaluation/trials.jsonl");
  return verb;
}

CLI::App* add_completion(CLI::App& app, arguments&) {
  CLI::App* verb =
      app.add_subcommand("completion", "A script that completes verbs and options in bash and zsh");
  verb->footer("example: eval \"$(ternbench completion)\"");
  return verb;
}

CLI::App* add_validate(CLI::App& app, arguments& args) {
  CLI::App* verb = app.add_subcommand("validate", "Check files or run directories against results/schema/");
  verb->add_option("FILE", args.files, "JSON files or run directories")->required();
  verb->footer("example: ternbench validate results/20260102T030405Z-x86_64-epyc results/gate.json");
  return verb;
}

CLI::App* add_doctor(CLI::App& app, arguments&) {
  CLI::App* verb = app.add_subcommand("doctor", "What here makes timing unreliable, and how to mend it");
  verb->footer("example: ternbench doctor");
  return verb;
}

/// Its options say what is measured: what a duet that goes on has of its own.
std::vector<CLI::Option*> add_measuring(CLI::App* verb, arguments& args) {
  std::vector<CLI::Option*> fixed;
  const auto add = [&](CLI::Option* option) {
    fixed.push_back(option);
    return option;
  };
  add(verb->add_option("--blocks", args.duet.blocks,
                       "blocks; each has base, base again and head once per row"))
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  add(verb->add_option("--turns", args.duet.turns, "turns of each process of a block, each set up anew"))
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  add(verb->add_option("--time-ms", args.duet.time_ms, "what one turn measures, about"))
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  add(verb->add_option("--filter", args.duet.filter, "rows whose name matches, instead of gate.json's set"));
  add(verb->add_option("--machine", args.duet.machine, "name of the machine (default: its CPU model)"));
  add(verb->add_option("--out", args.duet.out, "folder that gets the duet directory"))->capture_default_str();
  add(verb->add_option("--seed", args.seed, "of orders and paddings (default: random; always recorded)"))
      ->check(is_seed());
  verb->add_option("--timeout", args.duet.timeout_seconds, "seconds for one process")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  return fixed;
}

CLI::App* add_duet(CLI::App& app, arguments& args) {
  CLI::App* verb = app.add_subcommand("duet", "Base, base again and head, interleaved in one run");
  verb->add_option("--base", args.duet.base,
                   "build folder of base; again for another link of it (or bench/salt-*/ in it)")
      ->required();
  verb->add_option("--head", args.duet.head, "build folder of head, in the same way")->required();
  const std::vector<CLI::Option*> fixed = add_measuring(verb, args);
  verb->add_option("--launcher", args.launcher, "command put before each binary");
  add_config(verb, args.duet.config);
  auto* resume =
      verb->add_option("--resume", args.duet.resume, "go on with this duet, which was interrupted");
  verb->add_option("--confirm", args.duet.confirm,
                   "only the rows that gate flags in this duet, with a new seed")
      ->excludes(resume);
  for (CLI::Option* option : fixed) resume->excludes(option);
  verb->footer("example: ternbench duet --base build/base --head build/head");
  return verb;
}

CLI::App* add_gate(CLI::App& app, arguments& args) {
  CLI::App* verb = app.add_subcommand("gate", "The verdict of a duet, or of two runs");
  verb->add_option("RUN", args.gate.runs, "a duet directory, or the runs of base and head")
      ->required()
      ->expected(1, 2);
  verb->add_option("--confirm", args.gate.confirm, "a duet of the flagged rows: red needs both");
  add_config(verb, args.gate.config);
  verb->add_option("--markdown", args.gate.markdown, "write the summary for a pull request there");
  verb->add_flag("--all", args.gate.all, "list the rows that are ok as well");
  verb->footer("example: ternbench gate results/20260102T030405Z-x86_64-epyc-duet --markdown summary.md");
  return verb;
}

CLI::App* add_calibrate(CLI::App& app, arguments& args) {
  CLI::App* verb = app.add_subcommand("calibrate", "Each row's noise floor, from base against base");
  verb->add_option("DUET", args.calibrate.duets, "duets of this machine; each has base against base in it");
  verb->add_option("--runs", args.calibrate.runs, "make so many duets of --base against itself first")
      ->check(CLI::Range(1, 10000));
  verb->add_option("--base", args.duet.base, "build folder for --runs");
  static_cast<void>(add_measuring(verb, args));
  add_config(verb, args.duet.config);
  verb->add_flag("--write", args.calibrate.write, "write the floors into the configuration");
  verb->footer("example: ternbench calibrate --runs 4 --base build/base --write");
  return verb;
}

/// A standard descriptor that is closed would be that of the next file that is opened, which would get what was meant for it. Output
/// that was closed stays one that cannot be written.
void hold_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) == -1)
      static_cast<void>(open("/dev/null", descriptor == STDOUT_FILENO ? O_RDONLY : O_RDWR));
  }
}

/// A table that did not reach its file, as on a full disk, must not look like success.
bool output_is_lost() { return std::fflush(stdout) != 0 || std::ferror(stdout) != 0; }

int main_of(int argc, char** argv) {
  CLI::App app{"ternbench: runs tern's benchmarks, shows and compares what they measured", "ternbench"};
  app.set_version_flag("--version", "ternbench " TERNBENCH_VERSION);
  app.footer(exit_codes);
  app.require_subcommand(1);
  arguments args;
  std::map<const CLI::App*, std::function<exit_code()>> work;
  const auto add = [&](CLI::App* (*make)(CLI::App&, arguments&),
                       exit_code (*act)(arguments&, const CLI::App&)) {
    const CLI::App* verb = make(app, args);
    work[verb] = [&args, verb, act] { return act(args, *verb); };
  };
  add(add_run, do_run);
  add(add_show, [](arguments& a, const CLI::App& verb) { return do_show(a, verb); });
  add(add_compare, [](arguments& a, const CLI::App&) { return do_compare(a); });
  add(add_duet, do_duet);
  add(add_gate, [](arguments& a, const CLI::App&) { return gate(a.gate); });
  add(add_calibrate, do_calibrate);
  add(add_report, [](arguments& a, const CLI::App&) { return report(a.report); });
  add(add_claims, [](arguments& a, const CLI::App&) { return do_claims(a); });
  add(add_cross, [](arguments& a, const CLI::App&) { return do_cross(a); });
  add(add_count, [](arguments& a, const CLI::App&) { return count(a.count); });
  add(add_export, [](arguments& a, const CLI::App&) { return do_export(a); });
  add(add_rates, [](arguments& a, const CLI::App&) { return rates(a.shown); });
  add(add_completion, [](arguments&, const CLI::App& verb) { return do_completion(*verb.get_parent()); });
  add(add_validate, [](arguments& a, const CLI::App&) { return validate(a.files); });
  add(add_doctor, [](arguments&, const CLI::App&) { return do_doctor(); });
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    const int code = app.exit(e);
    std::cout.flush();
    if (std::cout && !output_is_lost()) return code;
    fmt::print(stderr, "ternbench: {}\n", lost_output);
    return static_cast<int>(exit_code::failed);
  } catch (const CLI::ParseError& e) {
    std::string line = e.what();
    line = line.substr(0, line.find('\n'));
    const bool other_word = argc > 1 && argv[1][0] != '-' && app.get_subcommands().empty();
    if (other_word) line = fmt::format("there is no verb \"{}\"", printable(argv[1]));
    fmt::print(stderr, "ternbench: {} (see ternbench --help)\n", line);
    return static_cast<int>(exit_code::failed);
  }
  const CLI::App* verb = app.get_subcommands().front();
  try {
    const exit_code code = work.at(verb)();
    if (!output_is_lost()) return static_cast<int>(code);
    fmt::print(stderr, "ternbench {}: {}\n", verb->get_name(), lost_output);
    return static_cast<int>(code == exit_code::ok ? exit_code::failed : code);
  } catch (const tool_error& e) {
    std::istringstream lines(e.what());
    for (std::string line; std::getline(lines, line);)
      fmt::print(stderr, "ternbench {}: {}\n", verb->get_name(), printable(line));
    return static_cast<int>(e.code());
  } catch (const std::exception& e) {
    const std::string line = output_is_lost() ? lost_output : fmt::format("internal error: {}", e.what());
    fmt::print(stderr, "ternbench {}: {}\n", verb->get_name(), line);
    return static_cast<int>(exit_code::failed);
  }
}

}  // namespace
}  // namespace ternbench

int main(int argc, char** argv) {
  ternbench::hold_standard_descriptors();
  return ternbench::main_of(argc, argv);
}
