#!/bin/sh
# Valgrind on fibers: it takes no switch between two stacks for a push or a pop, and what one fiber gets wrong it still finds.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
compiler=${CXX:-c++}
for tool in valgrind "$compiler"; do command -v "$tool" > /dev/null || { echo "skipped: $tool is not here" && exit 77; }; done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat > "$dir/program.cpp" << 'TEXT'
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

// Frames deep enough that what lies on one stack reaches far below the top of the next.
[[gnu::noinline]] int deep(int n, tern::channel<int>& c) {
  volatile char frame[200] = {};
  frame[199] = static_cast<char>(n);
  if (n == 0) {
    c.send(1);
    tern::this_thread::yield();
    return 0;
  }
  return deep(n - 1, c) + (frame[199] == n ? 1 : 0);
}

[[gnu::noinline]] void planted(bool wanted) {
  volatile int never_set[4];
  if (!wanted) never_set[2] = 1;
  if (never_set[2] == 3) std::puts("three");
}

int main(int count, char**) {
  tern::run(tern::runtime_options{.processors = 2}, [count] {
    tern::channel<int> c;
    std::vector<tern::thread> all;
    for (int i = 0; i < 20; ++i)
      all.emplace_back([&c, i] {
        for (int k = 0; k < 10; ++k) {
          const std::vector<int> some(static_cast<std::size_t>(100 + i), k);
          try {
            if (deep(i, c) != i || some[99] != k) std::abort();
            throw std::runtime_error(std::to_string(k));
          } catch (const std::runtime_error& e) {
            tern::this_thread::yield();
            if (e.what() != std::to_string(k)) std::abort();
          }
          if (k == 5) tern::blocking([] {});
        }
      });
    for (int i = 0; i < 200; ++i) c.receive();
    for (tern::thread& t : all) t.join();
    tern::thread{[&] { planted(count > 1); }}.join();
    tern::thread large{{.stack_size = 1 << 20}, [&] { deep(1000, c); }};
    c.receive();
    large.join();
  });
}
TEXT
"$compiler" -std=c++20 -O1 -g -pthread -I"$root/include" "$dir/program.cpp" -o "$dir/program"
# Fair: else a thread that waits for another one may be the only one that is run. Quiet as a whole: no error, and no system call that it does not know.
valgrind -q --fair-sched=yes --error-exitcode=9 "$dir/program" > "$dir/said" 2>&1 || { cat "$dir/said" && exit 1; }
if [ -s "$dir/said" ]; then head -n 40 "$dir/said" && exit 1; fi
valgrind -q --fair-sched=yes --error-exitcode=9 "$dir/program" wanted > "$dir/said" 2>&1 && { echo "the planted error was not found" && exit 1; }
grep -q 'planted(bool)' "$dir/said" || { cat "$dir/said" && exit 1; }
echo "nothing but the planted error"
