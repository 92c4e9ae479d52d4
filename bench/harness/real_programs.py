#!/usr/bin/env python3
"""Whole programs under libtern-malloc.so, under glibc's malloc and under the peers.

    real_programs.py BUILD [--rounds N] [--only REGEX] [--out FILE]   run them; the result is a file of schema tern.programs/1
    real_programs.py --table FILE                                     its table, as Markdown

A round runs each program once under each allocator, in an order that the seed decides, so that all of a program's runs are spread over the whole
time. A program that fails is recorded with what it said, one that is not installed as skipped. Time is user and system time of the program with
its children, the peak is that of the largest of them. With --only, what FILE has of other programs stays.
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

SQL = """create table t(a integer primary key, b text, c real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000)
insert into t select i, hex(i * 7919) || i, i / 3.0 from n;
create index x on t(b); select count(*), min(b), max(b) from t where c > 1000 order by b;
select sum(length(b)) from (select b from t order by b desc limit 500000);"""

NODE = """const { Worker, isMainThread, parentPort } = require('worker_threads');
if (isMainThread) for (let i = 0; i < 4; ++i) new Worker(__filename);
else { const m = new Map(); for (let i = 0; i < 400000; ++i) m.set('k' + i, { i, s: String(i).repeat(3) });
  let n = 0; for (const v of m.values()) n += Buffer.from(v.s).length; parentPort.postMessage(n); }"""

PYTHON = """import json, re
rows = [{'id': i, 'name': 'n%d' % i, 'tags': [str(k) for k in range(i % 20)]} for i in range(60000)]
text = json.dumps(rows); rows = json.loads(text); words = re.findall(r'[a-z]\\\\d+', text)
tree = {}
for w in words * 3: tree.setdefault(w[:3], []).append(w + '!')
print(len(text), len(words), sum(map(len, tree.values())))"""

PYTHON_TESTS = ("test_json", "test_re", "test_threading", "test_subprocess", "test_multiprocessing_fork")


class Failed(Exception):
    pass


class Measured(subprocess.Popen):
    """A program under run_measured, which has next to no memory of its own: a child of this process would never have had less than it."""

    launcher = None

    def __init__(self, command, library, **how):
        self.told, tell = os.pipe()
        preload = [f"LD_PRELOAD={library}"] if library else []
        plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        try:
            super().__init__([self.launcher, str(tell), *preload, "--", *command], env=plain, pass_fds=(tell,), stdout=subprocess.DEVNULL, **how)
        finally:
            os.close(tell)

    def used(self):
        """What it used and its exit status, once it has ended. Its standard error is read by then, if it is a pipe."""
        with os.fdopen(self.told) as told:
            words = told.read().split()
        self.wait()
        if len(words) != 4:
            raise Failed(f"run_measured: exit {self.returncode}")
        return {"wall_s": round(float(words[0]), 4), "cpu_s": round(float(words[1]), 4), "peak_mib": round(int(words[2]) / 1024, 2)}, int(words[3])


class Command:
    """A program that runs to its end."""

    def __init__(self, *command, rounds=None, needs=None):
        self.command, self.most_rounds, self.needs = [str(c) for c in command], rounds, needs

    def missing(self):
        if shutil.which(self.command[0]) is None:
            return f"{self.command[0]} is not installed"
        if self.needs and subprocess.run(self.needs[0], capture_output=True, check=False).returncode:
            return self.needs[1]
        return None

    def run(self, library):
        with tempfile.TemporaryDirectory() as folder, Measured(self.command, library, cwd=folder, stderr=subprocess.PIPE) as process:
            said = process.stderr.read().decode(errors="replace")
            used, status = process.used()
        if status != 0:
            raise Failed(f"exit {status}: {said.strip()[-300:]}")
        return used


class Redis:
    """redis-server alone has the allocator; what redis-benchmark sends is every command that it knows, 16 in flight on each of 50 connections."""

    most_rounds, requests = None, 20000

    def missing(self):
        absent = [p for p in ("redis-server", "redis-benchmark", "redis-cli") if shutil.which(p) is None]
        return f"{absent[0]} is not installed" if absent else None

    def run(self, library):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        with tempfile.TemporaryDirectory() as folder, Measured(
                ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder], library, stderr=subprocess.DEVNULL) as server:
            cli = ["redis-cli", "-p", port]
            for _ in range(200):
                if subprocess.run([*cli, "ping"], capture_output=True, check=False).stdout.strip() == b"PONG":
                    break
                time.sleep(0.05)
            load = subprocess.run(["redis-benchmark", "-p", port, "-q", "-n", str(self.requests), "-P", "16", "-c", "50", "-d", "100"],
                                  capture_output=True, check=False)
            subprocess.run([*cli, "shutdown", "nosave"], capture_output=True, check=False)
            if load.returncode != 0:
                server.kill()
            used, status = server.used()
        if load.returncode != 0 or status != 0:
            raise Failed(f"redis-benchmark {load.returncode}, redis-server {status}")
        return used


def programs(folder):
    sql, node, python, cpp = (folder / n for n in ("a.sql", "a.js", "a.py", "a.cpp"))
    sql.write_text(SQL, encoding="utf-8")
    node.write_text(NODE, encoding="utf-8")
    python.write_text(PYTHON, encoding="utf-8")
    cpp.write_text("#include <tern/tern.hpp>\nint main() { return tern::allocate(1) == nullptr; }\n", encoding="utf-8")
    # The distribution's: its test suites come as a package of their own.
    system_python = "/usr/bin/python3"
    has_tests = ([system_python, "-c", "import test.test_re, test.test_multiprocessing_fork"], "this python3 has no test suites")
    return {
        "sqlite3, a million rows": Command("sqlite3", ":memory:", f".read {sql}"),
        "redis-server, every command, pipelined": Redis(),
        "g++ -O2 of tern.hpp": Command("g++", "-std=c++20", "-O2", f"-I{ROOT / 'include'}", "-c", cpp, "-o", folder / "a.o"),
        "python3, json and strings": Command(system_python, python),
        "node, four workers": Command("node", node),
        "git log --stat": Command("git", "-C", ROOT, "log", "--stat", "-n", "300"),
        "sort, a million lines": Command("bash", "-c", "seq 1000000 | sort -S 256M -R --random-source=/bin/true | sort -S 256M -n | tail -1"),
        "stress-ng --malloc": Command("stress-ng", "--malloc", "2", "--malloc-ops", "20000", "--malloc-bytes", "64M", "--verify"),
        **{f"python3 -m test {t}": Command(system_python, "-m", "test", "-q", t, rounds=1, needs=has_tests) for t in PYTHON_TESTS},
    }


def host_of(build):
    """The host's facts as the benchmark programs write them."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        subprocess.run([build / "bench/bench_alloc", "--smoke", "--benchmark_filter=^alloc/pair/tern/", f"--benchmark_out={out.name}",
                        "--benchmark_out_format=json"], check=True, capture_output=True)
        context = json.loads(pathlib.Path(out.name).read_text(encoding="utf-8"))["context"]
    return {k.removeprefix("tern_"): v for k, v in context.items() if k.startswith("tern_")}


def measure(build, rounds, seed, only):
    libraries = {"tern_preload": build / "src/libtern-malloc.so", "glibc": "",
                 **{n: build / f"bench/peers/lib{f}.so" for n, f in
                    (("mimalloc", "mimalloc"), ("jemalloc", "jemalloc"), ("tcmalloc", "tcmalloc_minimal"))}}
    libraries = {n: str(p) for n, p in libraries.items() if not p or p.exists()}
    if "tern_preload" not in libraries:
        sys.exit(f"real_programs: {build} has no src/libtern-malloc.so")
    Measured.launcher = build / "bench/run_measured"
    if not Measured.launcher.exists():
        sys.exit(f"real_programs: {build} has no bench/run_measured")
    order, entries, present = random.Random(seed), [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, program in programs(pathlib.Path(folder)).items():
            if not re.search(only, name):
                continue
            entry = {"name": name, "runs": []}
            entries.append(entry)
            if reason := program.missing():
                entry["skipped"] = reason
                print(f"{name}: skipped: {reason}", file=sys.stderr)
            else:
                present.append((entry, program))
        for number in range(rounds):
            for entry, program in present:
                if number >= (program.most_rounds or rounds):
                    continue
                for library in order.sample(list(libraries), len(libraries)):
                    run = {"round": number, "allocator": library}
                    try:
                        run.update(program.run(libraries[library]))
                    except Failed as error:
                        run["failed"] = str(error)
                        print(f"{entry['name']}: {library}: {error}", file=sys.stderr)
                    entry["runs"].append(run)
            print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    return {"schema": "tern.programs/1", "date_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "seed": seed, "host": host_of(build),
            "allocators": list(libraries), "programs": entries}


def with_spread(values):
    middle = f"{statistics.median(values):.2f}"
    if len(values) < 2:
        return middle
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle} ({low:.2f} to {high:.2f})"


def table(document):
    """A line per program: the medians under each allocator, and tern's ratios to glibc's: the medians over the rounds, and the range of the
    middle half of them."""
    names = document["allocators"]
    lines = ["| program | " + " | ".join(f"{n}: CPU s, peak MiB" for n in names) + " | tern / glibc: CPU, wall, peak, each (middle half) | rounds |",
             "|---|" + "--:|" * (len(names) + 2)]
    for entry in document["programs"]:
        if "skipped" in entry:
            lines.append(f"| {entry['name']} | skipped: {entry['skipped']} |" + " |" * (len(names) + 1))
            continue
        runs = {n: sorted((r for r in entry["runs"] if r["allocator"] == n), key=lambda r: r["round"]) for n in names}
        good = {n: [r for r in of if "failed" not in r] for n, of in runs.items()}

        def middle(name, key):
            return statistics.median(r[key] for r in good[name])

        cells = [f"{middle(n, 'cpu_s'):.2f}, {middle(n, 'peak_mib'):.1f}" if len(good[n]) == len(runs[n]) else
                 f"failed {len(runs[n]) - len(good[n])} of {len(runs[n])}" for n in names]
        ratio = ""
        if all(len(good[n]) == len(runs[n]) for n in ("tern_preload", "glibc")):
            ratio = ", ".join(with_spread([t[k] / g[k] for t, g in zip(good["tern_preload"], good["glibc"])]) for k in ("cpu_s", "wall_s", "peak_mib"))
        lines.append(f"| {entry['name']} | " + " | ".join(cells) + f" | {ratio} | {len(runs['glibc'])} |")
    return "\n".join(lines)


def merged(document, file):
    """What was measured now, and what the file has of other programs."""
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return document
    except ValueError as error:
        sys.exit(f"real_programs: {file}: {error}")
    if before.get("schema") != document["schema"] or before.get("allocators") != document["allocators"]:
        sys.exit(f"real_programs: {file} is of other allocators or of another schema")
    now = {p["name"] for p in document["programs"]}
    return {**document, "programs": [p for p in before["programs"] if p["name"] not in now] + document["programs"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", nargs="?", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="programs whose name has this in it")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--table", type=pathlib.Path)
    given = parser.parse_args()
    if given.table is not None:
        with contextlib.suppress(BrokenPipeError):
            print(table(json.loads(given.table.read_text(encoding="utf-8"))))
        return
    if given.build is None:
        parser.error("BUILD or --table FILE")
    # What a shell starts in the background ignores these, and its children then do; python3's own tests send them.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    document = measure(given.build.resolve(), given.rounds, given.seed, given.only)
    if given.out is not None and given.only:
        document = merged(document, given.out)
    if given.out is not None:
        given.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(document))


if __name__ == "__main__":
    main()
