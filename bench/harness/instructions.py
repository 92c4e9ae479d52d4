#!/usr/bin/env python3
"""Instructions per operation beside the time: bench/harness/instructions.py <bench binary> [row regex...]

Each row is run natively, and twice under callgrind over different numbers of operations: the difference has neither the start nor the
warm-up in it. For rows on one processor; on several, those that look for work count as well. Needs valgrind.
"""
import argparse
import csv
import io
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

OPERATIONS = 200_000  # many times the batch of a row
DEFAULT_ROWS = ["sched/(spawn_one|yield)/tern", "sched/(spawn_join|ping_pong)/tern/(batch:1024/)?processors:1"]


def rows_of(binary, pattern):
    listed = subprocess.run([binary, "--benchmark_list_tests", f"--benchmark_filter={pattern}"], check=True,
                            capture_output=True, text=True)
    return [name.removesuffix("/manual_time") for name in listed.stdout.split()]


def measure(binary, row, operations, *launcher):
    """(operations, ns of one) of a run of one row: what was done is a multiple of the row's batch"""
    done = subprocess.run([*launcher, binary, f"--benchmark_filter=^{re.escape(row)}/iterations", f"--tern_operations={operations}",
                           "--benchmark_format=csv"], check=True, capture_output=True, text=True)
    line = next(csv.DictReader(io.StringIO(done.stdout[done.stdout.index("name,"):])))
    if line["error_occurred"] == "true":
        raise ValueError(f"{row}: {line['error_message']}")
    return int(line["iterations"]), float(line["real_time"])


def count(binary, row, operations):
    """(operations, instructions) of a run of one row under callgrind"""
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "log"
        done, _ = measure(binary, row, operations, "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                          f"--log-file={log}")
        return done, int(re.search(r"Collected : (\d+)", log.read_text()).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("rows", nargs="*", default=DEFAULT_ROWS)
    options = parser.parse_args()
    binary = str(options.binary.resolve())
    print(f"{'row':<48}{'instructions':>14}{'ns':>9}")
    for pattern in options.rows:
        rows = rows_of(binary, pattern)
        if not rows:
            raise ValueError(f"no row matches {pattern}")
        for row in rows:
            (few, few_cost), (many, many_cost) = (count(binary, row, n) for n in (OPERATIONS, 3 * OPERATIONS))
            ns = statistics.median(measure(binary, row, 10 * OPERATIONS)[1] for _ in range(5))
            each = (many_cost - few_cost) / (many - few)
            print(f"{row:<48}{each:>14.1f}{ns:>9.1f}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, AttributeError, StopIteration, subprocess.CalledProcessError, ZeroDivisionError) as error:
        print(f"instructions.py: {error}", file=sys.stderr)
        sys.exit(1)
