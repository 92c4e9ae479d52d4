# shellcheck shell=bash
# What the two commands need from the machine, and how they get it. Sourced by scripts/test and scripts/bench.
#
#   tern_need <set>...     base libraries tsan lint tool aarch64 bench peers programs load
#
# On Debian 12 and Ubuntu 24.04 or later whatever is missing is listed with its reason, then installed, as root or
# with sudo. Nothing is printed or touched when nothing is missing. Elsewhere the missing commands are named.
# TERN_NO_INSTALL=1 (or --no-install) only lists.

# <package>|<what for>. Marked with '?': may be absent, CMake then takes the pinned release or does without. Marked with '!': the
# same, and it is unpacked into $TERN_BUILD_DIR/packages, not installed.
tern_unpacked=${TERN_BUILD_DIR:-build}/packages
tern_package_set() {
  case $1 in
    base)
      printf '%s\n' \
        'cmake|configures the build (3.25 or later)' \
        'ninja-build|runs the build' \
        'g++|the compiler (12 or later)' \
        'git|names the revision in results' \
        'python3|runs the lints and checks JSON' \
        'ccache|keeps compiled objects between builds'
      ;;
    libraries)
      printf '%s\n' \
        'libgtest-dev?|googletest, the test framework' \
        'libbenchmark-dev?|Google Benchmark, under the bench binaries' \
        'libfmt-dev?|text formatting in the tool' \
        'nlohmann-json3-dev?|JSON in the tool and the harness' \
        'libcli11-dev?|the command line of the tool' \
        'libvalijson-dev!|JSON schemas in the tool; only unpacked in the build folder, as its package wants Qt'
      ;;
    tsan)
      printf '%s\n' \
        'clang-19|the second compiler; its ThreadSanitizer' \
        'libclang-rt-19-dev|the runtime of its sanitizers'
      ;;
    lint)
      printf '%s\n' \
        'clang-format-19|checks the layout of the code' \
        'clang-19|every header must compile with it too' \
        'shellcheck|checks the scripts'
      ;;
    tool)
      # The report's test also opens a browser where there are Chromium (Debian: chromium) and Playwright (pip install playwright);
      # both are large, so it is left to you to have them. actionlint is installed by Go, where there is one, for the lint.
      printf '%s\n' \
        'valgrind?|counts instructions: ternbench count' \
        'python3-jsonschema|a second opinion on the JSON schemas, for the tests of the tool' \
        'libbenchmark-tools|compare.py of Google Benchmark, which must read our results' \
        'python3-scipy|compare.py computes with it' \
        'gdb|tests of the fiber commands for it' \
        'google-perftools?|google-pprof, which must read our heap profiles'
      ;;
    aarch64)
      printf '%s\n' \
        'g++-aarch64-linux-gnu|the cross compiler for ARM64' \
        'qemu-user|runs ARM64 binaries' \
        'googletest|sources of googletest, built for ARM64'
      # Ubuntu keeps ARM64 packages in another archive than x86-64 ones; CMake takes the pinned releases there.
      if [[ $tern_distribution == debian && $(dpkg --print-architecture) == amd64 ]]; then
        printf '%s\n' \
          'libstdc++6:arm64|C and C++ libraries of ARM64, for qemu' \
          'libbenchmark-dev:arm64?|Google Benchmark for ARM64' \
          'libfmt-dev:arm64?|text formatting for ARM64'
      fi
      ;;
    bench)
      printf '%s\n' 'util-linux|pins processes, reads the processor table'
      ;;
    load)
      # For bench/harness/wrk.sh, when somebody asks for it.
      printf '%s\n' 'wrk|loads the HTTP server of the examples'
      ;;
    programs)
      # For bench/harness/real_programs.py, when somebody asks for them.
      printf '%s\n' \
        'sqlite3?|a program to run under each allocator' \
        'redis-server?|the same, with redis-benchmark' \
        'stress-ng?|the same' \
        'nodejs?|the same' \
        "libpython$(tern_python)-testsuite?|python3's own test suites, which are run so too"
      ;;
    peers)
      # Unpacked: one release's development files cannot be installed beside another's, and this one must not drive out yours.
      printf '%s\n' \
        "libboost-fiber$(tern_boost)-dev!|Boost.Fiber, a peer in the benchmarks; only unpacked in the build folder" \
        "libboost-context$(tern_boost)-dev!|the switch under it; only unpacked" \
        "libboost$(tern_boost)-dev!|its headers; only unpacked" \
        "$(tern_mimalloc)!|mimalloc, a peer in the benchmarks; only unpacked, for no program is to run with it unasked" \
        'libjemalloc2!|jemalloc, the same' \
        "libgc-dev!|Boehm's collector, a peer in the benchmarks; only unpacked in the build folder" \
        "$(tern_tcmalloc)!|tcmalloc of gperftools, the same"
      ;;
    *)
      printf 'tern: no package set is called %s\n' "$1" >&2
      return 1
      ;;
  esac
}

# Objects are shared by all checkouts of this machine: what ccache compares has no path of the tree in it. The sloppiness is what it
# asks for where precompiled headers are used.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$PWD} CCACHE_NOHASHDIR=${CCACHE_NOHASHDIR:-true}
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros}

# The release of Boost whose fibers are measured: the newest that Debian 12 has, or what later systems share.
tern_boost() {
  if [[ $tern_distribution == debian && $tern_release == 12 ]]; then echo 1.81; else echo 1.83; fi
}

# Names that carry a version of the library, or the mark of the 64-bit time_t transition.
tern_mimalloc() { if [[ $tern_distribution == debian && $tern_release == 12 ]]; then echo libmimalloc2.0; else echo libmimalloc2.1; fi; }
tern_tcmalloc() {
  if [[ $tern_distribution == debian && $tern_release == 12 ]]; then echo libtcmalloc-minimal4; else echo libtcmalloc-minimal4t64; fi
}

# The version of the distribution's own python3.
tern_python() { if [[ $tern_distribution == debian && $tern_release == 12 ]]; then echo 3.11; else echo 3.12; fi; }

tern_say() { printf 'tern: %s\n' "$*"; }
tern_die() {
  printf 'tern: %s\n' "$*" >&2
  exit 1
}

# Sets tern_distribution to debian, ubuntu or other, tern_release to its major version, and tern_system to a name for people.
tern_find_distribution() {
  tern_distribution=other
  tern_release=0
  tern_system='this system'
  [[ -r /etc/os-release ]] || return 0
  local id version
  # shellcheck source=/dev/null
  id=$(. /etc/os-release && printf '%s' "${ID:-}")
  # shellcheck source=/dev/null
  version=$(. /etc/os-release && printf '%s' "${VERSION_ID:-}")
  # shellcheck source=/dev/null
  tern_system=$(. /etc/os-release && printf '%s' "${PRETTY_NAME:-$ID}")
  [[ $version =~ ^[0-9]+ ]] || return 0
  tern_release=${BASH_REMATCH[0]}
  if [[ $id == debian && $tern_release -ge 12 ]] || [[ $id == ubuntu && $tern_release -ge 24 ]]; then
    tern_distribution=$id
  fi
}

tern_is_installed() {
  [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed* ]]
}

tern_as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    tern_die "installing packages needs root, and there is no sudo; run as root: $*"
  fi
}

tern_apt() {
  local log
  log=$(mktemp)
  if ! tern_as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

# tern_unpack <package>: its files under $tern_unpacked/<package>, without its dependencies and without root.
tern_unpack() {
  local place
  place=$(mktemp -d)
  if (cd "$place" && apt-get -q download "$1" >log 2>&1 </dev/null && dpkg -x ./*.deb files); then
    mkdir -p "$tern_unpacked" && rm -rf "${tern_unpacked:?}/$1" && cp -r "$place/files" "$tern_unpacked/$1"
  fi
  rm -rf "$place"
  [[ -d $tern_unpacked/$1 ]]
}

# Prints the options that tell CMake of unpacked packages.
tern_unpacked_options() {
  local headers=$tern_unpacked/libvalijson-dev/usr/include
  [[ ! -d $headers ]] || printf -- '-DVALIJSON_INCLUDE_DIR=%s\n' "$(realpath "$headers")"
  local part folder hints=()
  tern_find_distribution
  for part in '' -fiber -context; do
    folder=$tern_unpacked/libboost$part$(tern_boost)-dev/usr
    [[ -d $folder ]] && hints+=("$(realpath "$folder")")
  done
  local package peers=()
  for package in "$(tern_mimalloc)" libjemalloc2 "$(tern_tcmalloc)" libgc-dev; do
    folder=$tern_unpacked/$package/usr
    [[ ! -d $folder ]] || peers+=("$(realpath "$folder")")
  done
  [[ ${#peers[@]} == 0 ]] || (IFS=';' && printf -- '-DTERN_PEER_HINTS=%s\n' "${peers[*]}")
  # All three or none: headers of one release must not meet libraries of another.
  [[ ${#hints[@]} != 3 ]] || printf -- '-DTERN_BOOST_HINTS=%s;%s;%s\n' "${hints[@]}"
}

# On a system whose packages we do not know: name the commands that are missing, and what they are for.
tern_need_elsewhere() {
  local missing=0 command_name why set
  tern_say "$tern_system is not Debian 12 or Ubuntu 24.04 (or later): nothing is installed here."
  for set in "$@"; do
    while IFS='|' read -r command_name why; do
      [[ -n $command_name ]] || continue
      if ! command -v "$command_name" >/dev/null; then
        tern_say "  missing: $command_name  ($why)"
        missing=1
      fi
    done < <(case $set in
      base) printf '%s\n' 'cmake|3.25 or later' 'ninja|the build' 'g++|12 or later' 'python3|lints' 'git|revision' ;;
      tsan) printf '%s\n' 'clang++-19|clang 19 under this name' ;;
      lint) printf '%s\n' 'clang-format-19|clang-format 19 under this name' 'shellcheck|script checks' ;;
      load) printf '%s\n' 'wrk|the load' ;;
      aarch64) printf '%s\n' 'aarch64-linux-gnu-g++|cross compiler' 'qemu-aarch64|user-mode emulation' ;;
    esac)
  done
  tern_say "  libraries that are not found (googletest 1.12, benchmark 1.7, fmt 9, nlohmann-json 3.11, CLI11 2.1)"
  tern_say "  are downloaded by CMake as pinned releases."
  [[ $missing == 0 ]] || tern_die 'install what is missing and start again'
}

tern_need() {
  local entry name why optional set
  local -a names=() reasons=() optionals=()
  tern_find_distribution
  if [[ $tern_distribution == other ]]; then
    tern_need_elsewhere "$@"
    return
  fi
  for set in "$@"; do
    while IFS= read -r entry; do
      name=${entry%%|*}
      why=${entry#*|}
      optional=0
      [[ $name == *\? ]] && optional=1
      [[ $name == *\! ]] && optional=2
      name=${name%[?!]}
      [[ " ${names[*]} " == *" $name "* ]] && continue
      tern_is_installed "$name" && continue
      [[ $optional == 2 && -d $tern_unpacked/$name ]] && continue
      names+=("$name")
      reasons+=("$why")
      optionals+=("$optional")
    done < <(tern_package_set "$set")
  done
  [[ ${#names[@]} -gt 0 ]] || return 0

  local i foreign=0
  tern_say "${#names[@]} packages are missing on $tern_system:"
  for i in "${!names[@]}"; do
    printf '        %-24s %s\n' "${names[i]}" "${reasons[i]}"
    [[ ${names[i]} == *:arm64 ]] && foreign=1
  done
  if [[ ${TERN_NO_INSTALL:-0} == 1 ]]; then
    tern_say 'not installed, as asked (--no-install)'
    return 0
  fi
  if [[ $foreign == 1 && $(dpkg --print-foreign-architectures) != *arm64* ]]; then
    tern_say 'adding the architecture arm64 to dpkg, for the ARM64 libraries'
    tern_as_root dpkg --add-architecture arm64
  fi
  tern_say 'installing them with apt-get ...'
  tern_apt update || tern_die 'apt-get update failed'

  local -a wanted=()
  for i in "${!names[@]}"; do
    if apt-cache show --no-all-versions "${names[i]}" >/dev/null 2>&1; then
      if [[ ${optionals[i]} == 2 ]]; then
        tern_unpack "${names[i]}" ||
          tern_say "${names[i]} cannot be unpacked: CMake takes the pinned release or does without"
      else
        wanted+=("${names[i]}")
      fi
    elif [[ ${optionals[i]} != 0 ]]; then
      tern_say "${names[i]} is not offered here: CMake takes the pinned release or does without"
    else
      tern_die "${names[i]} is needed (${reasons[i]}) and not offered by the package sources of this machine"
    fi
  done
  [[ ${#wanted[@]} -eq 0 ]] || tern_apt install -y --no-install-recommends "${wanted[@]}" ||
    tern_die 'apt-get install failed'
  tern_say 'installed'
}
