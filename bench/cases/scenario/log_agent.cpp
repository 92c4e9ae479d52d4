// scenario/log_agent/strings:views|owned
//
// One operation  one line of a log (JSON, some 300 bytes) that is read, parsed, changed (a member less, one more; the level "debug" is dropped),
//                serialised and written. A batch is the whole lines of what one pread(2) of 64 KiB brings: all are parsed, then all are
//                written by one write(2), then all of it is given back.
// Kept equal     parser, tree and serialiser (subjects/json_lines.hpp), system calls (a file in memory to /dev/null), one thread. With strings:views
//                strings and numbers of the tree point into the line, with strings:owned each has bytes of its own, as in most libraries.
// Best form      tern: one tern::arena per batch, with the lines, the trees and the output in it, reset when it is written. malloc: each node,
//                each string, each buffer by malloc, freed one by one. The preloaded ones are malloc's code: tern_preload is tern's
//                allocator without an arena.
// Also           bytes_copied: of each line, from one place in the agent's memory to another, by the agent itself: decoded escapes, strings of
//                their own, and what the serialiser copies of strings and numbers.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

#include <tern/alloc.hpp>

#include "bench/subjects/json_lines.hpp"
#include "bench/subjects/preloaded.hpp"

namespace tern_bench {
namespace {

// An arena for each batch; nothing is freed one by one.
class arena_memory {
 public:
  json_value* node() { return arena_.create<json_value>(); }
  char* bytes(std::size_t n) { return static_cast<char*>(arena_.allocate(n, 1)); }
  void free_bytes(const char*) noexcept {}
  void drop(json_value*) noexcept {}
  void end_batch() noexcept { arena_.reset(); }

 private:
  tern::arena arena_;
};

class malloc_memory {
 public:
  json_value* node() { return new (bytes(sizeof(json_value))) json_value; }
  char* bytes(std::size_t n) {
    auto* const p = static_cast<char*>(std::malloc(n));
    if (p == nullptr) throw std::bad_alloc();
    return p;
  }
  void free_bytes(const char* p) noexcept { std::free(const_cast<char*>(p)); }
  void free_node(json_value* v) noexcept { std::free(v); }
  void drop(json_value* v) noexcept { drop_json(*this, v); }
  void end_batch() noexcept {}
};

struct log_tern {
  static constexpr const char* name = "tern";
  static constexpr role subject_role = role::subject;
  static std::string version() { return tern_version; }
  using memory = arena_memory;
  template <class F>
  static void run(const row_params&, F&& fn) {
    become_threaded();
    fn();
  }
};
struct log_malloc : malloc_subject {
  using memory = malloc_memory;
};

// Lines as services write them: nested fields, numbers, a few escapes.
std::string log_lines(std::size_t count) {
  static constexpr const char* levels[] = {"debug", "info", "info", "info", "warn", "error"};
  static constexpr const char* services[] = {"gateway", "bidding", "accounts", "search"};
  static constexpr const char* said[] = {"request done", "cache miss", "retry after timeout",
                                         "bad field \\\"name\\\": wanted text\\n\\tat line 3",
                                         "user wrote \\u20ac 5"};
  sequence random(3);
  std::string text;
  // One after the other: the order in which an expression calls is the compiler's.
  const auto add = [&](std::string_view part) { text += part; };
  const auto add_number = [&](std::uint64_t below) { text += std::to_string(random.below(below)); };
  for (std::size_t i = 0; i < count; ++i) {
    add(R"({"ts":"2026-01-02T03:04:)");
    add_number(50);
    add(R"(Z","level":")");
    add(levels[random.below(6)]);
    add(R"(","service":")");
    add(services[random.below(4)]);
    add(R"(","pid":)");
    add_number(65536);
    add(R"(,"msg":")");
    add(said[random.below(5)]);
    add(R"(","took_ms":)");
    add_number(500);
    add(".");
    add_number(1000);
    add(R"(,"ok":)");
    add(random.below(2) != 0 ? "true" : "false");
    add(R"(,"trace":null,"tags":[)");
    for (std::uint64_t tag = random.below(5); tag-- > 0;) {
      add("\"tag-");
      add_number(100);
      add(tag != 0 ? "\"," : "\"");
    }
    add(R"(],"http":{"status":)");
    add_number(600);
    add(R"(,"path":"/users/)");
    add_number(100'000);
    add(R"(/orders","bytes":)");
    add_number(1'000'000);
    add("}");
    for (std::uint64_t more = random.below(4); more-- > 0;) {
      add(",\"field");
      add_number(10);
      add("\":\"");
      add(std::string(random.below(60), 'x'));
      add("\"");
    }
    add("}\n");
  }
  return text;
}

template <class S>
class log_agent {
 public:
  explicit log_agent(const row_params& p) : owns_(p.word("strings") == "owned") {
    const std::string text = log_lines(lines);
    input_ = memfd_create("log", MFD_CLOEXEC);
    output_ = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (input_ < 0 || output_ < 0 ||
        write(input_, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
      throw std::runtime_error("the log cannot be written");
  }
  log_agent(const log_agent&) = delete;
  log_agent& operator=(const log_agent&) = delete;
  ~log_agent() {
    close(input_);
    close(output_);
  }
  std::uint64_t operations() const { return lines; }
  std::uint32_t run() {
    std::uint64_t seen = 0;
    std::uint32_t sum = 0;
    for (off_t at = 0;;) {
      char* const buffer = memory_.bytes(chunk);
      const ssize_t got = pread(input_, buffer, chunk, at);
      if (got > 0) {
        const std::string_view text{buffer, static_cast<std::size_t>(got)};
        const std::string_view whole = text.substr(0, text.rfind('\n') + 1);
        seen += one_batch(whole, sum);
        at += static_cast<off_t>(whole.size());
      }
      memory_.free_bytes(buffer);
      memory_.end_batch();
      if (got <= 0) break;
    }
    if (seen != lines) throw std::runtime_error("lines were lost");
    ++runs_;
    return sum;
  }
  void finish(measurement& m) {
    m.counters["bytes_copied"] = static_cast<double>(copied_) / static_cast<double>(runs_ * lines);
  }

 private:
  using memory = typename S::memory;
  static constexpr std::size_t lines = 4096;
  static constexpr std::size_t chunk = std::size_t{64} << 10;

  std::uint64_t one_batch(std::string_view text, std::uint32_t& sum) {
    json_parser<memory> parser(memory_, owns_);
    std::uint64_t count = 0;
    json_value* first = nullptr;
    for (json_value** where = &first; !text.empty(); where = &(*where)->next, ++count) {
      const std::size_t end = text.find('\n');
      if (parser.parse(text.substr(0, end), *where) == nullptr)
        throw std::runtime_error("a line is not what was written");
      text.remove_prefix(end + 1);
    }
    json_output<memory> out(memory_, chunk);
    for (const json_value* v = first; v != nullptr; v = v->next) write_line(out, *v);
    if (write(output_, out.text().data(), out.text().size()) != static_cast<ssize_t>(out.text().size()))
      throw std::runtime_error("a batch cannot be written");
    for (std::string_view left = out.text(); left.size() >= 8; left.remove_prefix(8)) {
      std::uint64_t word = 0;
      std::memcpy(&word, left.data(), sizeof word);
      sum = fold(sum, word);
    }
    copied_ += parser.copied() + out.copied();
    memory_.free_bytes(out.text().data());
    memory_.drop(first);
    return count;
  }
  static void write_line(json_output<memory>& out, const json_value& line) {
    for (const json_value* v = line.first; v != nullptr; v = v->next)
      if (v->key == "level" && v->text == "debug") return;
    out.raw("{\"host\":\"a1\"");
    for (const json_value* v = line.first; v != nullptr; v = v->next) {
      if (v->key == "pid") continue;
      out.raw(",");
      out.member(*v);
    }
    out.raw("}\n");
  }

  int input_ = -1;
  int output_ = -1;
  bool owns_;
  memory memory_;
  std::uint64_t copied_ = 0;
  std::uint64_t runs_ = 0;
};

const registration<log_agent,
                   subjects<log_tern, log_malloc, tern_preload, glibc, mimalloc, jemalloc, tcmalloc>>
    log_agent_registered{{
        .area = "scenario",
        .name = "log_agent",
        .smoke = {{"strings", "views"}},
        .points = {{{{"strings", "views"}}, tier::quick}, {{{"strings", "owned"}}, tier::quick}},
    }};

}  // namespace
}  // namespace tern_bench
