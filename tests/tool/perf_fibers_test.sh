#!/bin/sh
# perf record -g on the software clock sees a fiber's callers up to its entry: by frame pointers, and by the unwind tables.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
compiler=${CXX:-c++}
for tool in perf "$compiler"; do command -v "$tool" > /dev/null || { echo "skipped: $tool is not here" && exit 77; }; done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
if ! perf record -q -e cpu-clock -g -o "$dir/data" true > "$dir/said" 2>&1; then
  echo "skipped: nothing can be recorded here: $(tail -n 1 "$dir/said")"
  exit 77
fi
cat > "$dir/program.cpp" << 'TEXT'
#include <tern/sched.hpp>
[[gnu::noinline]] void inner_place(long n) {
  for (volatile long i = 0; i < n; i = i + 1) {  // on the stack: a function that needs no frame has none
  }
}
[[gnu::noinline]] void outer_place(long n) {
  inner_place(n);
  asm volatile("");
}
int main() {
  tern::run(tern::runtime_options{.processors = 1}, [] {
    for (int i = 0; i < 2; ++i)
      tern::thread{[] {
        for (int k = 0; k < 20; ++k) {
          outer_place(4'000'000);
          tern::this_thread::yield();
        }
      }}.join();
  });
}
TEXT
"$compiler" -std=c++20 -O2 -g1 -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer -pthread -I"$root/include" "$dir/program.cpp" -o "$dir/program"
for way in fp dwarf; do
  perf record -q -e cpu-clock --call-graph "$way" -o "$dir/data" "$dir/program" > /dev/null
  # A sample is a paragraph, innermost function first. The few that hit a prologue may lack a caller.
  perf script -i "$dir/data" -F ip,sym 2> /dev/null | awk -v RS= -v way="$way" '
    /inner_place/ {
      ++all
      outer = index($0, "outer_place")
      if (index($0, "inner_place") < outer && outer < index($0, "fiber_entry")) ++whole
    }
    END {
      printf "%s: %d of %d samples lead to the fiber'"'"'s entry\n", way, whole, all
      exit !(all > 0 && whole >= 0.9 * all)
    }'
done
