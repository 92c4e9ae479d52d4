#!/bin/sh
# Builds and runs tests/unit/arch_context_cases.hpp alone for every compiler, optimisation level and option that changes the code
# around an inlined switch. Usage: context_matrix_test.sh [compiler...] (default: those that are here). A cross compiler's
# binary runs under qemu-aarch64.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
printf '#include "%s/tests/unit/arch_context_cases.hpp"\nint main() { context_cases::run_all(); }\n' "$root" > "$dir/main.cpp"
if [ $# -eq 0 ]; then
  for compiler in g++ clang++-19 aarch64-linux-gnu-g++; do
    command -v "$compiler" > /dev/null || continue
    case $compiler in aarch64*) command -v qemu-aarch64 > /dev/null || continue ;; esac
    set -- "$@" "$compiler"
  done
  [ $# -gt 0 ] || exit 77
fi
failed=0
count=0
for compiler in "$@"; do
  case $compiler in
    aarch64*) run="qemu-aarch64"; link="-static"; wide="-march=armv8.2-a+sve -mbranch-protection=standard" ;;
    *) run=""; link=""; wide="-march=native -fcf-protection=full -mshstk" ;;
  esac
  for level in -O0 -O1 -O2 -O3 -Os; do
    for option in "" "-fPIC" "-fomit-frame-pointer" "-fno-omit-frame-pointer -fPIE" "$wide"; do
      # shellcheck disable=SC2086
      if "$compiler" -std=c++20 $level $option -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -Wno-psabi $link \
           -I"$root/include" "$dir/main.cpp" -o "$dir/main" && timeout 60 $run "$dir/main"; then :; else
        echo "FAILED: $compiler $level $option" >&2
        failed=$((failed + 1))
      fi
      count=$((count + 1))
    done
  done
done
echo "$count builds, $failed failed"
[ "$failed" -eq 0 ]
