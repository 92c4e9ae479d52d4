#!/usr/bin/env bash
# wrk against the example's HTTP server, at many connections:
#
#   bench/harness/wrk.sh BUILD [CONNECTIONS [SECONDS]]      10,000 and 10 if not said
#
# BUILD/src/example_file_server serves one small file over loopback; wrk, with two threads, keeps CONNECTIONS connections and asks on each again as soon as
# it has its answer. Both need a descriptor per connection: the limit of open files is raised for this script and what it starts, as far
# as that is allowed. Prints wrk's own report, what the server used, and the errors. Exit status: 0 no error, 1 errors, 2 it could not be run.
# The client is on the server's machine, so that the times say little; errors do.
set -euo pipefail

fail() {
  printf 'wrk.sh: %s\n' "$*" >&2
  exit 2
}

[[ $# -ge 1 && $# -le 3 ]] || fail 'usage: bench/harness/wrk.sh BUILD [CONNECTIONS [SECONDS]]'
build=$(realpath "$1")
connections=${2:-10000}
seconds=${3:-10}
[[ $connections =~ ^[1-9][0-9]*$ && $seconds =~ ^[1-9][0-9]*$ ]] || fail 'CONNECTIONS and SECONDS are numbers'
server=$build/src/example_file_server
[[ -x $server ]] || fail "there is no $1/src/example_file_server: build the target example_file_server"

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/packaging/packages.sh
. scripts/packaging/packages.sh
tern_need load
command -v wrk >/dev/null || fail 'there is no wrk'

# Beside the connections the server has files open for as long as it reads them.
need=$((connections + 1024))
had=$(ulimit -Sn)
if [[ $had != unlimited && $had -lt $need ]]; then
  most=$(ulimit -Hn)
  if [[ $most != unlimited && $most -lt $need ]]; then
    ulimit -Hn "$need" 2>/dev/null ||
      fail "needs $need open files per process, the limit is $most and may not be raised"
  fi
  ulimit -Sn "$need"
  printf 'wrk.sh: raised the limit of open files from %s to %s, for this script and what it starts\n' "$had" "$need"
fi

folder=$(mktemp -d)
pid=''
cleanup() {
  [[ -z $pid ]] || kill "$pid" 2>/dev/null || true
  rm -rf "$folder"
}
trap cleanup EXIT
mkdir "$folder/files"
printf 'hello, world\n' >"$folder/files/index.html"
: >"$folder/out"  # it is read before the server has opened it, perhaps
"$server" "$folder/files" 127.0.0.1:0 >"$folder/out" 2>"$folder/errors" &
pid=$!
address=''
for ((i = 0; i < 200; ++i)); do
  address=$(sed -n 's/^listening on //p' "$folder/out")
  [[ -z $address ]] || break
  kill -0 "$pid" 2>/dev/null || fail "the server did not start: $(cat "$folder/errors")"
  sleep 0.05
done
[[ -n $address ]] || fail 'the server did not start'

wrk --threads 2 --connections "$connections" --duration "${seconds}s" --timeout 10s --latency "http://$address/index.html" |
  tee "$folder/report"
kill -0 "$pid" 2>/dev/null || fail "the server has ended: $(cat "$folder/errors")"
awk '/^(VmHWM|Threads):/ { printf "server %s %s %s\n", $1, $2, $3 }' "/proc/$pid/status"
[[ ! -s $folder/errors ]] || cat "$folder/errors"

# wrk names errors only where there are some.
if grep -E 'Socket errors|Non-2xx' "$folder/report" >/dev/null; then
  printf 'wrk.sh: errors at %s connections\n' "$connections"
  exit 1
fi
grep -E '^ +[1-9][0-9]* requests in' "$folder/report" >/dev/null || fail 'wrk has had no answer'
printf 'wrk.sh: no error at %s connections\n' "$connections"
