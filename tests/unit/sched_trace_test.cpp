// Traces: the file is JSON, slices pair, arrows match, every fiber appears, what does not fit is counted; start and stop under load.
#include <gtest/gtest.h>

#include <atomic>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/emulation.hpp"
#include "tests/support/stderr_tap.hpp"

namespace {

using namespace std::chrono_literals;

// ---- a reader of JSON: as much as it takes to reject what is none ----

struct value {
  enum kind_type { null, boolean, number, string, array, object } kind = null;
  double n = 0;
  std::string s;
  std::vector<value> items;
  std::map<std::string, value> members;

  bool has(const std::string& key) const { return members.count(key) != 0; }
  const value& operator[](const std::string& key) const {
    static const value none;
    const auto at = members.find(key);
    return at == members.end() ? none : at->second;
  }
};

class reader {
 public:
  explicit reader(const std::string& text) : at_{text.c_str()}, end_{at_ + text.size()} {}

  bool read(value& v) { return read_value(v) && (skip(), at_ == end_); }

 private:
  void skip() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n')) ++at_;
  }
  bool take(char c) {
    skip();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  bool read_string(std::string& s) {
    if (!take('"')) return false;
    while (at_ != end_ && *at_ != '"') {
      if (static_cast<unsigned char>(*at_) < 0x20) return false;
      if (*at_ != '\\') {
        s += *at_++;
        continue;
      }
      if (++at_ == end_) return false;
      if (*at_ == 'u') {
        if (end_ - at_ < 5) return false;
        s += static_cast<char>(std::strtol(std::string(at_ + 1, 4).c_str(), nullptr, 16));
        at_ += 5;
      } else if (*at_ == '"' || *at_ == '\\') {
        s += *at_++;
      } else {
        return false;
      }
    }
    return take('"');
  }
  bool read_value(value& v) {
    skip();
    if (at_ == end_) return false;
    if (*at_ == '"') return v.kind = value::string, read_string(v.s);
    if (take('[')) {
      v.kind = value::array;
      if (take(']')) return true;
      do
        if (!read_value(v.items.emplace_back())) return false;
      while (take(','));
      return take(']');
    }
    if (take('{')) {
      v.kind = value::object;
      if (take('}')) return true;
      do {
        std::string key;
        if (!read_string(key) || !take(':') || v.has(key) || !read_value(v.members[key])) return false;
      } while (take(','));
      return take('}');
    }
    char* after = nullptr;
    v.kind = value::number;
    v.n = std::strtod(at_, &after);
    if (after == at_) return false;
    at_ = after;
    return true;
  }

  const char* at_;
  const char* end_;
};

value parsed(const std::string& text) {
  value v;
  EXPECT_TRUE(reader{text}.read(v)) << text.substr(0, 2000);
  return v;
}

value stop_trace(tern::trace::summary* s = nullptr) {
  char* text = nullptr;
  std::size_t bytes = 0;
  std::FILE* out = ::open_memstream(&text, &bytes);
  const tern::trace::summary sum = tern::trace::stop(out);
  if (s != nullptr) *s = sum;
  EXPECT_NE(bytes, 0u) << "not flushed: a fork child that ends by exit() would write it once more";
  std::fclose(out);
  const std::string all{text, bytes};
  std::free(text);
  return parsed(all);
}

struct seen {
  std::set<std::string> ran;
  std::map<std::string, int> instants;
  std::set<std::string> left;
  std::set<std::string> waited_for;
  std::size_t slices = 0;
  std::size_t arrows = 0;
};

// What every trace owes, whatever was dropped.
seen check(const value& trace) {
  seen r;
  std::map<std::pair<int, int>, std::string> open;
  std::map<std::pair<int, int>, double> last;
  std::map<int, double> begun;
  std::set<int> ended;
  for (const value& e : trace["traceEvents"].items) {
    const std::string& phase = e["ph"].s;
    if (phase == "M") continue;
    const std::pair<int, int> track{static_cast<int>(e["pid"].n), static_cast<int>(e["tid"].n)};
    const double ts = e["ts"].n;
    EXPECT_GE(ts, last[track]) << "time runs backwards on a track";
    last[track] = ts;
    if (phase == "B") {
      EXPECT_EQ(open.count(track), 0u) << e["name"].s << " begins while another runs";
      open[track] = e["name"].s;
      r.ran.insert(e["name"].s);
      ++r.slices;
    } else if (phase == "E") {
      EXPECT_EQ(open.erase(track), 1u) << "an end without a beginning";
      r.left.insert(e["args"]["left"].s);
      if (e["args"].has("for")) r.waited_for.insert(e["args"]["for"].s);
    } else if (phase == "i") {
      ++r.instants[e["name"].s];
    } else if (phase == "s") {
      EXPECT_TRUE(begun.emplace(static_cast<int>(e["id"].n), ts).second);
    } else if (phase == "f") {
      const auto from = begun.find(static_cast<int>(e["id"].n));
      EXPECT_NE(from, begun.end()) << "an arrow from nowhere";
      if (from != begun.end()) {
        EXPECT_LE(from->second, ts);
      }
      EXPECT_TRUE(ended.insert(static_cast<int>(e["id"].n)).second);
      EXPECT_EQ(open.count(track), 1u) << "an arrow ends in a slice";
      ++r.arrows;
    } else {
      EXPECT_EQ(phase, "X");
    }
  }
  EXPECT_TRUE(open.empty()) << "a slice without an end";
  EXPECT_EQ(begun.size(), ended.size()) << "an arrow to nowhere";
  return r;
}

TEST(SchedTrace, EveryFiberSliceArrowAndReason) {
  constexpr int fibers = 40;
  ASSERT_TRUE(tern::trace::start());
  EXPECT_FALSE(tern::trace::start()) << "one at a time";
  {
    tern::runtime rt{{.processors = 2, .name = "traced"}};
    rt.run([] {
      tern::channel<int> c;
      tern::nursery n;
      for (int i = 0; i < fibers; ++i)
        n.spawn([&c, i] {
          tern::this_thread::yield();
          if (i % 2 == 0)
            c.send(i);
          else
            static_cast<void>(c.receive());
          if (i % 10 == 0) tern::this_thread::sleep_for(100us);
          if (i % 10 == 5) tern::blocking([] { std::this_thread::sleep_for(1ms); });
        });
      n.wait();
      tern::thread{{.name = "a \"name\"\n\xc3"}, [] {}}.join();
    });
  }
  tern::trace::summary sum;
  const value trace = stop_trace(&sum);
  EXPECT_EQ(sum.dropped, 0u);
  EXPECT_EQ(trace["otherData"]["events"].n, static_cast<double>(sum.events));
  const seen r = check(trace);
  // "main", the workers of the nursery, and the one with the name.
  EXPECT_EQ(r.ran.size(), static_cast<std::size_t>(fibers + 2));
  EXPECT_EQ(r.instants.at("spawn"), fibers + 2);
  EXPECT_GE(r.instants.at("timer"), fibers / 10);
  for (const char* reason : {"end", "park", "yield", "blocking"})
    EXPECT_EQ(r.left.count(reason), 1u) << reason;
  EXPECT_EQ(r.waited_for.count("sleep"), 1u);
  // Whichever side of the channel comes first.
  EXPECT_GE(r.waited_for.count("channel receive") + r.waited_for.count("channel send"), 1u);
  bool found = false;
  for (const std::string& name : r.ran) found |= name.rfind("a \"name\"\n\xc3 #", 0) == 0;
  EXPECT_TRUE(found);
  // Each fiber was spawned or woken before it ran for the first time.
  EXPECT_GE(r.arrows, static_cast<std::size_t>(fibers + 2));
  EXPECT_GE(r.slices, r.arrows);
  bool runtime_named = false;
  for (const value& e : trace["traceEvents"].items) runtime_named |= e["args"]["name"].s == "traced";
  EXPECT_TRUE(runtime_named);
}

TEST(SchedTrace, WhatDoesNotFitIsCounted) {
  ASSERT_TRUE(tern::trace::start({.events_per_processor = 100}));
  std::uint64_t processors = 0;
  {
    tern::runtime rt{{.processors = 1}};
    rt.run([] {
      for (int i = 0; i < 200; ++i) tern::thread{[] {}}.join();
    });
    processors = 1 + rt.statistics().extra_processors_added;
  }
  tern::trace::summary sum;
  const value trace = stop_trace(&sum);
  EXPECT_GT(sum.dropped, 100u);
  EXPECT_LE(sum.events, 100u * (processors + 1)) << "of each processor, and of the others";
  EXPECT_EQ(trace["otherData"]["dropped"].n, static_cast<double>(sum.dropped));
  check(trace);
}

// Sessions begin and end while two runtimes work, so switches, wakes and steals meet both edges of each.
TEST(SchedTrace, StartAndStopUnderLoad) {
  std::atomic<bool> done{false};
  const auto load = [&done] {
    tern::run(tern::runtime_options{.processors = 2}, [&done] {
      tern::channel<int> c{4};
      tern::nursery n;
      for (int i = 0; i < 6; ++i)
        n.spawn([&, i] {
          while (!done) {
            if (i % 2 == 0)
              static_cast<void>(c.try_send(i));
            else
              static_cast<void>(c.try_receive());
            if (i == 1) tern::this_thread::sleep_for(50us);
            if (i == 3) tern::thread{[] {}}.join();
            tern::this_thread::yield();
          }
        });
      n.wait();
    });
  };
  std::thread one{load};
  std::thread two{load};
  const int sessions = tern_test::is_emulated() || tern::detail::tsan_build ? 6 : 20;
  std::uint64_t events = 0;
  for (int i = 0; i < sessions || events == 0; ++i) {  // a slow machine's runtimes are late
    ASSERT_TRUE(
        tern::trace::start({.events_per_processor = static_cast<std::size_t>(i % 2 == 0 ? 2000 : 300)}));
    std::this_thread::sleep_for(2ms);
    tern::trace::summary sum;
    check(stop_trace(&sum));
    events += sum.events;
  }
  done = true;
  one.join();
  two.join();
  EXPECT_EQ(tern::detail::hooks_armed.load(), 0u);
  check(stop_trace());  // none is on: an empty one
}

TEST(SchedTrace, FromTheEnvironment) {
  std::string path = testing::TempDir() + "tern-trace-" + std::to_string(::getpid()) + ".json";
  ::setenv("TERN_DEBUG", ("schedtrace=0,trace=" + path).c_str(), 1);
  for (int i = 0; i < 2; ++i) tern::run([] { tern::thread{{.name = "child"}, [] {}}.join(); });
  ::unsetenv("TERN_DEBUG");
  std::string text;
  std::FILE* in = std::fopen(path.c_str(), "r");
  ASSERT_NE(in, nullptr);
  for (int c; (c = std::fgetc(in)) != EOF;) text += static_cast<char>(c);
  std::fclose(in);
  std::remove(path.c_str());
  EXPECT_EQ(check(parsed(text)).ran.size(), 4u) << "of both runtimes";
  static_cast<void>(tern::trace::stop(static_cast<std::FILE*>(nullptr)));
  EXPECT_THROW(tern::trace::stop("/proc/no such folder/trace"), std::system_error);
}

// The other one that the environment asks for: a line per so many ms.
TEST(SchedTrace, LinesOfSchedtrace) {
  ::setenv("TERN_DEBUG", "schedtrace=20", 1);
  std::string text;
  {
    tern_test::stderr_tap said;
    std::atomic<bool> told{false};
    std::thread reader{[&] {
      // Lines come for as long as they are waited for: one of a period in which the fiber slept and nothing was spawned.
      text = said.wait_for(" live=1 blocking=0 timers=1 inject=0 | spawned=0 ");
      told = true;
    }};
    tern::run(tern::runtime_options{.processors = 1, .name = "lines"}, [&] {
      tern::thread{[] {}}.join();
      while (!told) tern::this_thread::sleep_for(50ms);
    });
    reader.join();
  }
  ::unsetenv("TERN_DEBUG");
  EXPECT_NE(text.find("tern: sched 'lines' "), std::string::npos) << text;
  int spawned = 0;
  for (std::size_t at = 0; (at = text.find(" | spawned=", at)) != std::string::npos; ++at)
    spawned += std::atoi(text.c_str() + at + 11);
  EXPECT_EQ(spawned, 2) << "each line since the last: " << text;
}

}  // namespace
