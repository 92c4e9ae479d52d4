#include "duet.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <set>

#include "child.hpp"
#include "collect.hpp"
#include "format.hpp"
#include "judge.hpp"
#include "planner.hpp"
#include "progress.hpp"
#include "schema_id.hpp"
#include "session.hpp"
#include "sha256.hpp"

namespace ternbench {
namespace {

namespace fs = std::filesystem;

/// A build: its binaries once per link, and the rows of its first link.
struct side {
  std::vector<std::vector<bench_binary>> links;
  std::vector<std::vector<std::string>> hashes;
  std::vector<std::vector<ordered_json>> contexts;  // null until a process has told
  ordered_json recorded;                            // of the duet that goes on: what its binaries told then
  std::vector<listed_row> rows;

  [[nodiscard]] const listed_row* find(const std::string& name) const {
    const auto at =
        std::find_if(rows.begin(), rows.end(), [&](const listed_row& r) { return r.name == name; });
    return at == rows.end() ? nullptr : &*at;
  }
};

side open_side(const std::vector<fs::path>& folders, const std::vector<std::string>& launcher) {
  side out;
  for (const fs::path& folder : folders) {
    std::error_code error;
    const fs::path place = fs::is_directory(folder / "bench", error) ? folder / "bench" : folder;
    out.links.push_back(find_binaries(place));
    std::vector<fs::path> salts;
    for (const auto& entry : fs::directory_iterator(place, error)) {
      if (entry.is_directory(error) && entry.path().filename().string().starts_with("salt-"))
        salts.push_back(entry.path());
    }
    std::sort(salts.begin(), salts.end());
    for (const fs::path& salt : salts) out.links.push_back(find_binaries(salt));
  }
  for (const auto& link : out.links) {
    if (link.size() != out.links.front().size())
      throw tool_error(fmt::format("{}: its links do not have the same binaries", folders.front().string()));
    std::vector<std::string>& hashes = out.hashes.emplace_back();
    for (const bench_binary& binary : link) hashes.push_back(sha256(read_file(binary.file)));
    out.contexts.emplace_back(link.size());
  }
  for (std::size_t i = 0; i < out.links.front().size(); ++i) {
    for (listed_row& row : list_rows(out.links.front()[i], i, launcher)) out.rows.push_back(std::move(row));
  }
  return out;
}

/// A row of the duet. Operations are 0 where it is not measured.
struct plan_row {
  std::string name;
  std::string role;
  std::int64_t operations = 0;
  const listed_row* base = nullptr;
  const listed_row* head = nullptr;

  [[nodiscard]] bool shared() const { return base != nullptr && head != nullptr; }
};

class duet_session {
 public:
  explicit duet_session(const duet_options& options)
      : options_(options),
        base_(open_side(options.base, options.launcher)),
        head_(open_side(options.head, options.launcher)) {
    if (options.resume.empty()) {
      begin();
    } else {
      resume();
    }
  }

  duet_result measure();

 private:
  void begin();
  void resume();
  void add_row(const std::string& name);
  void require_turns() const;
  void start_session();
  void find_operations(progress& bar);
  void run_triplet(std::size_t block, std::size_t row, progress& bar);
  [[nodiscard]] std::size_t link_of(slot where, std::size_t block) const;
  struct outcome {
    child_result child;
    std::vector<ordered_json> entries;  // one per turn
    std::string text;
  };
  /// One of the three processes of a block's row; none where the row was given up.
  struct runner {
    slot where = slot::base;
    side* of = nullptr;
    const listed_row* listed = nullptr;
    std::size_t link = 0;
    std::size_t padding = 0;
    fs::path raw;
    std::optional<child_process> process;

    ~runner() {
      process.reset();
      std::error_code error;
      fs::remove(raw, error);
    }
  };
  void start_triplet(std::array<runner, slot_count>& runners, std::size_t block, std::size_t row);
  std::optional<ordered_json> end_slot(runner& r, std::size_t block, std::size_t row,
                                       const std::function<void()>& tick);
  [[nodiscard]] child_command command_of(const side& of, std::size_t link, const listed_row& row,
                                         const std::string& amount, const fs::path& raw) const;
  outcome outcome_of(side& of, std::size_t link, const listed_row& row, child_result child,
                     const fs::path& raw);
  static void add_turns(ordered_json& line, const std::vector<ordered_json>& entries,
                        const std::string& label);
  void write_files(const char* status);
  [[nodiscard]] static ordered_json links_record(const side& of);
  [[nodiscard]] double cost_seconds() const;
  [[nodiscard]] std::size_t blocks_done() const;

  const duet_options& options_;
  side base_;
  side head_;
  std::vector<plan_row> rows_;
  std::uint64_t seed_ = 0;
  std::size_t blocks_ = 0;
  int time_ms_ = 0;
  std::size_t turns_ = 1;
  std::string machine_;
  std::string filter_;
  std::string confirms_;
  fs::path directory_;
  ordered_json sessions_ = ordered_json::array();
  std::set<std::pair<std::size_t, std::size_t>> done_;  // (block, row) with all three slots
  std::map<std::size_t, std::string> given_up_;         // by row
  std::size_t failures_ = 0;
};

void duet_session::add_row(const std::string& name) {
  plan_row row;
  row.name = name;
  row.base = base_.find(name);
  row.head = head_.find(name);
  row.role = row.head != nullptr ? row.head->role : row.base != nullptr ? row.base->role : "subject";
  rows_.push_back(std::move(row));
}

void duet_session::require_turns() const {
  for (const plan_row& row : rows_) {
    if (row.shared() && !(row.base->turns && row.head->turns))
      throw tool_error(fmt::format("the {} of {} is older than --tern_turns and cannot take turns",
                                   row.base->turns ? "head" : "base", row.name),
                       exit_code::not_comparable);
  }
}

void duet_session::begin() {
  if (options_.filter.empty() || !options_.confirm.empty()) {
    const gate_config config = load_gate_config(options_.config);
    std::vector<std::string> names = config.set;
    if (!options_.confirm.empty()) {
      names = judge(load_duet(options_.confirm), config).flagged();
      if (names.empty())
        throw tool_error(fmt::format("{}: has no flagged row to confirm", options_.confirm.string()));
      confirms_ = fs::absolute(options_.confirm).lexically_normal().filename().string();
    }
    for (const std::string& name : names) add_row(name);
  } else {
    const auto filter = parse_filter(options_.filter);
    std::set<std::string> names;
    for (const side* s : {&base_, &head_}) {
      for (const listed_row& row : s->rows) {
        if (std::regex_search(row.name, *filter)) names.insert(row.name);
      }
    }
    for (const std::string& name : names) add_row(name);
    filter_ = options_.filter;
  }
  if (std::none_of(rows_.begin(), rows_.end(), [](const plan_row& r) { return r.shared(); }))
    throw tool_error("the builds have no row in common to measure", exit_code::not_comparable);
  require_turns();
  seed_ = options_.seed.value_or(std::random_device{}());
  blocks_ = static_cast<std::size_t>(options_.blocks);
  time_ms_ = options_.time_ms;
  turns_ = static_cast<std::size_t>(options_.turns);
  const tern_bench::host_facts host = host_of(base_.links.front().front());
  machine_ = machine_of(options_.machine, host);
  directory_ = make_directory(options_.out, host, machine_, "-duet");
  start_session();
}

void duet_session::start_session() {
  sessions_.push_back({{"started_utc", utc_now()},
                       {"ended_utc", nullptr},
                       {"host", ordered_json(tern_bench::to_json(host_of(base_.links.front().front())))}});
}

void duet_session::resume() {
  directory_ = options_.resume;
  const std::string label = (directory_ / "duet.json").string();
  const duet_data before = load_duet(directory_);  // checks the file
  const ordered_json document = read_json(directory_ / "duet.json");
  if (before.complete())
    throw tool_error(fmt::format("{}: is complete; there is nothing to go on with", label));
  for (const auto& [key, ours] : {std::pair{"base", &base_}, {"head", &head_}}) {
    std::vector<std::vector<std::string>> theirs;
    for (const ordered_json& link : document[key]) {
      std::vector<std::string>& hashes = theirs.emplace_back();
      for (const ordered_json& binary : link) hashes.push_back(binary["sha256"].get<std::string>());
    }
    if (theirs != ours->hashes)
      throw tool_error(fmt::format("{}: was begun with other binaries of {}", label, key));
    ours->recorded = document[key];
  }
  seed_ = document["seed"].get<std::uint64_t>();
  blocks_ = before.blocks;
  time_ms_ = document["time_ms"].get<int>();
  turns_ = document.value("turns", std::size_t{1});
  machine_ = before.machine;
  if (!document["filter"].is_null()) filter_ = document["filter"].get<std::string>();
  confirms_ = before.confirms;
  sessions_ = document["sessions"];
  std::vector<std::string> names;
  for (const ordered_json& row : document["rows"]) {
    names.push_back(row["name"].get<std::string>());
    add_row(names.back());
    rows_.back().operations = row["operations"].get<std::int64_t>();
  }
  require_turns();
  std::map<std::pair<std::size_t, std::size_t>, std::set<slot>> seen;
  for (const duet_line& line : read_duet_lines(directory_, names)) {
    auto& slots = seen[{line.block, line.row}];
    slots.insert(line.where);
    if (slots.size() == slot_count) done_.insert({line.block, line.row});
  }
  drop_cut_line(directory_ / "raw.jsonl");
  start_session();
}

std::size_t duet_session::link_of(slot where, std::size_t block) const {
  if (where == slot::head) return block % head_.links.size();
  const std::size_t count = base_.links.size();
  if (where == slot::base || count == 1) return block % count;
  return (block + 1 + (block / count) % (count - 1)) % count;
}

child_command duet_session::command_of(const side& of, std::size_t link, const listed_row& row,
                                       const std::string& amount, const fs::path& raw) const {
  std::error_code error;
  fs::remove(raw, error);
  return {of.links[link][row.binary].file,
          options_.launcher,
          {"--benchmark_filter=" + filter_for({row.name}), amount, "--benchmark_out=" + raw.string(),
           "--benchmark_out_format=json"},
          options_.timeout_seconds};
}

duet_session::outcome duet_session::outcome_of(side& of, std::size_t link, const listed_row& row,
                                               child_result child, const fs::path& raw) {
  outcome out;
  out.child = std::move(child);
  const raw_output output = read_raw(raw);
  std::error_code error;
  fs::remove(raw, error);
  if (of.contexts[link][row.binary].is_null() && !output.context.empty())
    of.contexts[link][row.binary] = output.context;
  for (const ordered_json& entry : output.entries) {
    if (entry.value("run_type", "iteration") == "iteration" &&
        match_known(entry.value("name", ""), {row.name}) == row.name)
      out.entries.push_back(entry);
  }
  out.text = "ok";
  if (!out.child.succeeded()) {
    out.text = out.child.describe();
    if (const std::string last = out.child.last_error_line(); !last.empty()) out.text += ": " + last;
  } else if (!output.complete) {
    out.text = "what it wrote is not JSON, or not whole";
  }
  return out;
}

void duet_session::find_operations(progress& bar) {
  const fs::path raw = fs::absolute(directory_ / "slot.json");
  for (plan_row& row : rows_) {
    if (!row.shared() || row.operations > 0 || interrupted()) continue;
    bar.update(0, 1, "sizing " + row.name);
    const child_command command =
        command_of(base_, 0, *row.base, fmt::format("--tern_time_ms={}", time_ms_), raw);
    const outcome out = outcome_of(base_, 0, *row.base, run_child(command, [&] { bar.tick(); }), raw);
    if (out.child.how == child_result::ending::interrupted) return;
    if (out.text == "ok" && !out.entries.empty())
      row.operations = out.entries.front().value("iterations", std::int64_t{0});
    row.operations =
        std::max<std::int64_t>(row.operations, 1);  // one that fails is asked again in each block
  }
}

/// What a slot of a row says: the entry of the first turn that failed, else that of its median turn, and the times of all turns.
void duet_session::add_turns(ordered_json& line, const std::vector<ordered_json>& entries,
                             const std::string& label) {
  line["entry"] = nullptr;
  line["turns_ns"] = ordered_json::array();
  if (entries.empty()) return;
  std::vector<std::pair<double, std::size_t>> times;
  for (const ordered_json& entry : entries) {
    const sample s = to_sample(entry, label);
    if (!s.ok()) {
      line["entry"] = entry;
      line["turns_ns"] = ordered_json::array();
      return;
    }
    line["turns_ns"].push_back(s.real_ns);
    times.emplace_back(s.real_ns, times.size());
  }
  std::sort(times.begin(), times.end());
  line["entry"] = entries[times[(times.size() - 1) / 2].second];
}

void duet_session::start_triplet(std::array<runner, slot_count>& runners, std::size_t block,
                                 std::size_t row) {
  constexpr std::size_t most_padding = 4096;
  for (std::size_t i = 0; i < slot_count; ++i) {
    runner& r = runners[i];
    r.where = static_cast<slot>(i);
    r.of = r.where == slot::head ? &head_ : &base_;
    r.listed = r.where == slot::head ? rows_[row].head : rows_[row].base;
    r.link = link_of(r.where, block);
    r.padding = derive_seed(~seed_, (block * rows_.size() + row) * slot_count + i) % most_padding;
    r.raw = fs::absolute(directory_ / fmt::format("{}.json", to_string(r.where)));
    if (given_up_.contains(row)) continue;
    child_command command = command_of(*r.of, r.link, *r.listed,
                                       fmt::format("--tern_operations={}", rows_[row].operations), r.raw);
    command.arguments.push_back(fmt::format("--benchmark_repetitions={}", turns_));
    command.environment = {"TERN_PADDING=" + std::string(r.padding, 'x')};
    r.process.emplace(command, true);
  }
}

/// The line of raw.jsonl; nothing when the tool is interrupted.
std::optional<ordered_json> duet_session::end_slot(runner& r, std::size_t block, std::size_t row,
                                                   const std::function<void()>& tick) {
  ordered_json line = {{"block", block},
                       {"row", rows_[row].name},
                       {"slot", to_string(r.where)},
                       {"link", r.link},
                       {"padding", r.padding}};
  if (!r.process) {
    line["wall_ms"] = 0;
    line["outcome"] = "not run: " + given_up_[row];
    line["entry"] = nullptr;
    line["turns_ns"] = ordered_json::array();
    return line;
  }
  const outcome out = outcome_of(*r.of, r.link, *r.listed, r.process->finish(tick), r.raw);
  if (out.child.how == child_result::ending::interrupted) return std::nullopt;
  line["wall_ms"] = std::lround(out.child.seconds * 1000);
  line["outcome"] = out.text;
  add_turns(line, out.entries, rows_[row].name);
  if (out.text != "ok") ++failures_;
  if (out.child.how == child_result::ending::timed_out)
    given_up_[row] = fmt::format("its process {} before", out.child.describe());
  return line;
}

void duet_session::run_triplet(std::size_t block, std::size_t row, progress& bar) {
  const std::function<void()> tick = [&] { bar.tick(); };
  std::array<runner, slot_count> runners;
  start_triplet(runners, block, row);
  const auto cpu = static_cast<unsigned char>(block);
  for (runner& r : runners) {
    if (r.process) static_cast<void>(r.process->wait_ready(tick));
  }
  for (std::size_t turn = 0; turn < turns_; ++turn) {
    for (const slot where : slot_order(seed_, row, block * turns_ + turn)) {
      runner& r = runners[static_cast<std::size_t>(where)];
      if (r.process)
        static_cast<void>(r.process->take_turn(cpu, tick));  // of one that has ended this is nothing
    }
  }
  std::string text;
  for (runner& r : runners) {
    const std::optional<ordered_json> line = end_slot(r, block, row, tick);
    if (!line) return;
    text += to_text(*line) + '\n';
  }
  std::ofstream file(directory_ / "raw.jsonl", std::ios::binary | std::ios::app);
  file << text;
  file.flush();
  if (!file) throw tool_error(fmt::format("{}: cannot be written", (directory_ / "raw.jsonl").string()));
  done_.insert({block, row});
}

double duet_session::cost_seconds() const {
  constexpr double start = 0.06;  // process, host facts, warm-up
  double sum = 0;
  for (const plan_row& row : rows_) {
    if (row.shared())
      sum += slot_count * (start + static_cast<double>(turns_) * row.base->cost_ms(time_ms_) / 1000);
  }
  return sum * static_cast<double>(blocks_);
}

std::size_t duet_session::blocks_done() const {
  std::size_t whole = 0;
  for (std::size_t block = 0; block < blocks_; ++block) {
    bool all = true;
    for (std::size_t row = 0; row < rows_.size(); ++row)
      all = all && (!rows_[row].shared() || done_.contains({block, row}));
    whole += all ? 1 : 0;
  }
  return whole;
}

duet_result duet_session::measure() {
  const auto shared = static_cast<std::size_t>(
      std::count_if(rows_.begin(), rows_.end(), [](const plan_row& r) { return r.shared(); }));
  fmt::print(
      stderr,
      "ternbench: {} rows, {} blocks of base, base again and head, {} and {} links, about {}; seed {}\n",
      shared, blocks_, base_.links.size(), head_.links.size(), format_duration(cost_seconds()), seed_);
  fmt::print(stderr, "duet directory: {}\n", directory_.string());
  write_files("running");
  {
    progress bar(cost_seconds());
    find_operations(bar);
    write_files("running");
    const std::size_t total = blocks_ * shared;
    for (std::size_t block = 0; block < blocks_ && !interrupted(); ++block) {
      for (const std::size_t row : shuffled(rows_.size(), derive_seed(seed_, block))) {
        if (interrupted() || !rows_[row].shared() || done_.contains({block, row})) continue;
        bar.update(static_cast<double>(done_.size()), static_cast<double>(total),
                   fmt::format("{}/{} {}", block + 1, blocks_, rows_[row].name));
        run_triplet(block, row, bar);
      }
      write_files("running");
    }
  }
  sessions_.back()["ended_utc"] = utc_now();
  const bool cut = interrupted();
  write_files(cut ? "interrupted" : "complete");
  fmt::print("{}\n", directory_.string());
  std::fflush(stdout);
  if (cut) {
    fmt::print(
        stderr,
        "ternbench duet: interrupted after {} of {} blocks; what was measured is kept, --resume {} goes on\n",
        blocks_done(), blocks_, directory_.string());
    return {exit_code::interrupted, directory_};
  }
  if (failures_ > 0) {
    fmt::print(stderr, "ternbench duet: {} processes failed; `ternbench gate {}` names their rows\n",
               failures_, directory_.string());
    return {exit_code::rows_errored, directory_};
  }
  return {exit_code::ok, directory_};
}

ordered_json duet_session::links_record(const side& of) {
  ordered_json links = ordered_json::array();
  for (std::size_t link = 0; link < of.links.size(); ++link) {
    ordered_json binaries = ordered_json::array();
    for (std::size_t i = 0; i < of.links[link].size(); ++i)
      binaries.push_back(of.contexts[link][i].is_null() && !of.recorded.is_null()
                             ? of.recorded[link][i]
                             : binary_record(of.links[link][i], of.hashes[link][i], of.contexts[link][i]));
    links.push_back(std::move(binaries));
  }
  return links;
}

void duet_session::write_files(const char* status) {
  ordered_json rows = ordered_json::array();
  for (const plan_row& row : rows_) {
    rows.push_back({{"name", row.name},
                    {"role", row.role},
                    {"operations", row.operations},
                    {"in_base", row.base != nullptr},
                    {"in_head", row.head != nullptr}});
  }
  if (const ordered_json& context = base_.contexts[0][0];
      !context.is_null()) {  // the binaries' own view of the host
    const auto told = tern_bench::from_context(json(context));
    if (told.arch) sessions_.back()["host"] = ordered_json(tern_bench::to_json(told));
  }
  write_json(directory_ / "duet.json",
             {{"schema", duet_schema},
              {"status", status},
              {"tool", {{"name", "ternbench"}, {"version", TERNBENCH_VERSION}}},
              {"machine", machine_},
              {"seed", seed_},
              {"blocks", blocks_},
              {"blocks_done", blocks_done()},
              {"time_ms", time_ms_},
              {"turns", turns_},
              {"filter", filter_.empty() ? ordered_json(nullptr) : ordered_json(filter_)},
              {"confirms", confirms_.empty() ? ordered_json(nullptr) : ordered_json(confirms_)},
              {"sessions", sessions_},
              {"base", links_record(base_)},
              {"head", links_record(head_)},
              {"rows", rows}});
}

}  // namespace

std::array<slot, slot_count> slot_order(std::uint64_t seed, std::size_t row, std::size_t block) {
  constexpr std::size_t orders = 6;
  const std::uint64_t own = derive_seed(seed, 0x10000 + row);
  const std::size_t which = shuffled(orders, derive_seed(own, block / orders))[block % orders];
  std::array<slot, slot_count> order{slot::base, slot::again, slot::head};
  for (std::size_t i = 0; i < which; ++i) std::next_permutation(order.begin(), order.end());
  return order;
}

duet_result duet(const duet_options& options) {
  catch_interrupts();
  duet_session session(options);
  return session.measure();
}

}  // namespace ternbench
