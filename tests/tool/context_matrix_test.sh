#!/bin/sh
# Builds and runs two sets of cases alone for every compiler, optimisation level and option that changes the code around an inlined
# switch: tests/unit/arch_context_cases.hpp (what a switch keeps) and tests/unit/sched_migration_cases.hpp (thread-locals and exceptions
# after a migration, at -O3 and with link-time optimisation). A cross compiler's binary runs under qemu-aarch64.
# Usage: context_matrix_test.sh [--full] [compiler...] (default: the compilers that are here; without --full each level and each option once
# or twice, not all pairs, and fewer migrations).
set -eu
strict='-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -Wno-psabi'
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
full=
patience=300  # seconds for a program
if [ "${1:-}" = --full ]; then full=1 patience=3600 && shift; fi
printf '#include "%s/tests/unit/arch_context_cases.hpp"\nint main() { context_cases::run_all(); }\n' "$root" > "$dir/context.cpp"
cat > "$dir/migration.cpp" << TEXT
#include "$root/tests/unit/sched_migration_cases.hpp"
int run(unsigned long long n) {
  migration_cases::handlers_interleave(200);
  return migration_cases::migrate(n).migrations >= n ? 0 : 1;
}
TEXT
printf '#include <cstdlib>\nint run(unsigned long long);\nint main(int, char** v) { return run(std::strtoull(v[1], nullptr, 10)); }\n' \
  > "$dir/main.cpp"

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
# tell <outcome>: one line as soon as a build is over, so that a run which is cut tells how far it came.
tell() {
  echo "$compiler $((builds + 1)): $(basename "$source" .cpp) $options: $1, $(($(date +%s) - begin)) s"
}
# build_and_run <options> <argument> <source>...: for $compiler; the words of <options> are split.
build_and_run() {
  options=$1 argument=$2 source=$3
  shift 2
  begin=$(date +%s)
  run=''
  outcome=passed
  case $compiler in aarch64*) run=qemu-aarch64 options="$options -static" ;; esac
  case $options in *avx512*) grep -q avx512vl /proc/cpuinfo || run=true outcome='only built (this CPU lacks AVX-512)' ;; esac
  # shellcheck disable=SC2086
  if ! "$compiler" -std=c++20 -pthread $strict -I"$root/include" $options "$@" -o "$dir/main"; then
    outcome='FAILED to build'
  else
    status=0
    timeout $patience $run "$dir/main" "$argument" || status=$?
    [ "$status" -eq 0 ] || outcome="FAILED with status $status"
  fi
  tell "$outcome"
  builds=$((builds + 1))
  case $outcome in FAILED*) bad=$((bad + 1)) ;; only*) unrun=$((unrun + 1)) ;; esac
}
can_link() {
  # shellcheck disable=SC2086
  printf 'int main() {}\n' | "$1" -x c++ $2 - -o "$dir/main" 2> "$dir/errors"
}

for compiler in "$@"; do
  builds=0 bad=0 unrun=0
  lto=-flto=1
  case $compiler in
    aarch64*) wide='-march=armv8.2-a+sve -mbranch-protection=standard' native= ;;
    *) wide='-mavx512f -mavx512vl -mavx512bw' native='-march=native -fcf-protection=full -mshstk' ;;
  esac
  case $compiler in clang*) lto='-flto -fuse-ld=gold' ;; esac
  # clang 19 warns of what it itself makes of some CPUs.
  if [ -n "$native" ] && ! can_link "$compiler" "-Werror $native"; then native="$native -Wno-invalid-feature-combination"; fi
  context=$dir/context.cpp
  if [ -n "$full" ]; then
    for level in -O0 -O1 -O2 -O3 -Os; do
      for option in "" -fPIC -fomit-frame-pointer '-fno-omit-frame-pointer -fPIE' "$wide" ${native:+"$native"}; do
        build_and_run "$level $option" 0 "$context"
      done
    done
  else
    for options in -O0 -O1 '-O2 -fno-omit-frame-pointer -fPIE' "-O2 $native" '-O3 -fPIC' "-O3 $wide" "-O0 $wide" \
      '-Os -fomit-frame-pointer'; do
      build_and_run "$options" 0 "$context"
    done
  fi
  case $compiler in
    aarch64*) ;;
    *)
      for sanitizer in address,undefined thread; do
        # The TSan runtime of GCC 12 dies in its second fiber.
        case $compiler-$sanitizer in g++*thread) continue ;; esac
        can_link "$compiler" "-fsanitize=$sanitizer" || continue
        # Its fiber switches are called, at every level.
        for level in ${full:+-O0 -O2} -O1; do build_and_run "$level -fsanitize=$sanitizer" 0 "$context"; done
      done
      ;;
  esac

  # Migrations: non-PIC, PIE, and as a part of a shared object, where thread-locals are reached by a call.
  if ! can_link "$compiler" "$lto"; then
    echo "no link-time optimisation: $compiler cannot link with $lto"
    lto=
  fi
  migrations=20000
  sources="$dir/migration.cpp $dir/main.cpp"
  case $compiler in aarch64*) migrations=400 ;; esac
  if [ -n "$full" ]; then migrations=1000000; fi
  # shellcheck disable=SC2086
  case ${full:-quick}$compiler in
    quickg++) build_and_run "-O3 $lto -fPIC" "$migrations" $sources ;;
    quick*) build_and_run "-O3 $lto" "$migrations" $sources ;;
    *)
      for link in '' $lto; do
        case $link in -fuse*) continue ;; -flto*) link=$lto ;; esac
        for pic in '-fno-pie -no-pie' '-fPIE -pie' -fPIC; do
          case $compiler in aarch64*) pic=${pic#* -pie} pic=${pic% -pie} ;; esac
          build_and_run "-O3 $link $pic" "$migrations" $sources
        done
        case $compiler in
          aarch64*) ;;
          *)
            # A library that cannot be built fails the program that needs it.
            rm -f "$dir/libmigration.so"
            # shellcheck disable=SC2086
            "$compiler" -std=c++20 -pthread $strict -O3 $link -fPIC -shared -I"$root/include" "$dir/migration.cpp" \
              -o "$dir/libmigration.so" || true
            build_and_run "-O3 $link -L$dir -Wl,-rpath,$dir" "$migrations" "$dir/main.cpp" -lmigration
            ;;
        esac
      done
      ;;
  esac
  echo "$compiler: $builds builds, $bad failed, $unrun only built"
  count=$((count + builds)) failed=$((failed + bad))
done
echo "$count builds, $failed failed"
[ "$failed" -eq 0 ]
