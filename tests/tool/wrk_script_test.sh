#!/usr/bin/env bash
# bench/harness/wrk.sh: what it makes of wrk's reports (a wrk of this test's own writes them), the limit that it raises, its usage; and wrk itself
# over 50 connections, where there is one.
set -euo pipefail
script=$TERN_SOURCE_DIR/bench/harness/wrk.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export TERN_NO_INSTALL=1

# expect <status> <text> <command>...
expect() {
  local wanted=$1 text=$2 status=0
  shift 2
  "$@" >"$folder/out" 2>&1 || status=$?
  if [[ $status != "$wanted" ]] || ! grep -qF -- "$text" "$folder/out"; then
    printf '%s: status %s, wanted %s and "%s":\n' "$*" "$status" "$wanted" "$text" >&2
    cat "$folder/out" >&2
    exit 1
  fi
}

expect 2 usage "$script"
expect 2 'are numbers' "$script" "$TERN_BUILD_DIR" many
expect 2 'build the target example_file_server' "$script" "$folder"
if [[ ! -x $TERN_BUILD_DIR/src/example_file_server ]]; then
  echo 'the examples are not built: nothing more is looked at'
  exit 0
fi
if command -v wrk >/dev/null; then
  expect 0 'no error at 50 connections' "$script" "$TERN_BUILD_DIR" 50 1
fi

mkdir "$folder/bin"
says() {
  printf '#!/bin/sh\nulimit -n\ncat <<END\n%s\nEND\n' "$1" >"$folder/bin/wrk"
  chmod +x "$folder/bin/wrk"
}
export PATH=$folder/bin:$PATH
says '  1000 requests in 1.00s, 50.00KB read'
expect 0 'no error at 50 connections' "$script" "$TERN_BUILD_DIR" 50 1
expect 0 'raised the limit of open files from 256 to 1074' bash -c 'ulimit -Sn 256; exec "$@"' - "$script" "$TERN_BUILD_DIR" 50 1
# Root may raise a hard limit, where it has that right.
if ! (ulimit -Hn 512 && ulimit -Hn 1024) 2>/dev/null; then
  expect 2 'may not be raised' bash -c 'ulimit -n 512; exec "$@"' - "$script" "$TERN_BUILD_DIR" 50 1
fi
says '  1000 requests in 1.00s, 50.00KB read
  Socket errors: connect 0, read 3, write 0, timeout 0'
expect 1 'errors at 50 connections' "$script" "$TERN_BUILD_DIR" 50 1
says '  1000 requests in 1.00s, 50.00KB read
  Non-2xx or 3xx responses: 7'
expect 1 'errors at 50 connections' "$script" "$TERN_BUILD_DIR" 50 1
says '  0 requests in 1.00s, 0.00B read'
expect 2 'no answer' "$script" "$TERN_BUILD_DIR" 50 1
