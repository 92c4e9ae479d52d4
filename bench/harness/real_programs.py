#!/usr/bin/env python3
"""Whole programs under libtern-malloc.so, under glibc's malloc and under the peers.

    real_programs.py BUILD [--rounds N] [--only REGEX] [--out FILE]   run them; the result is a file of schema tern.programs/1
    real_programs.py --table FILE                                     its table, as Markdown

A round runs a program once under each allocator, in an order that the seed decides. A program that fails is recorded with what it said, one that
is not installed as skipped. Time is user and system time of the program with its children. With --only, what FILE has of other programs stays.
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


def environment_of(library):
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    return {**plain, "LD_PRELOAD": library} if library else plain


def waited(process, begin):
    """What the program used, once it has ended. Its standard error is read by then, if it is a pipe."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {"wall_s": round(time.monotonic() - begin, 4), "cpu_s": round(used.ru_utime + used.ru_stime, 4), "peak_mib": round(used.ru_maxrss / 1024, 2)}


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
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder, subprocess.Popen(
                self.command, env=environment_of(library), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            said = process.stderr.read().decode(errors="replace")
            used = waited(process, begin)
        if process.returncode != 0:
            raise Failed(f"exit {process.returncode}: {said.strip()[-300:]}")
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
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder, subprocess.Popen(
                ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder],
                env=environment_of(library), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
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
            used = waited(server, begin)
        if load.returncode != 0 or server.returncode != 0:
            raise Failed(f"redis-benchmark {load.returncode}, redis-server {server.returncode}")
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
        "sort, a million lines": Command("bash", "-c", "seq 1000000 | sort -R --random-source=/bin/true | sort -n | tail -1"),
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
    order, entries = random.Random(seed), []
    with tempfile.TemporaryDirectory() as folder:
        for name, program in programs(pathlib.Path(folder)).items():
            if not re.search(only, name):
                continue
            entry = {"name": name, "runs": []}
            entries.append(entry)
            if reason := program.missing():
                entry["skipped"] = reason
                print(f"{name}: skipped: {reason}", file=sys.stderr)
                continue
            for number in range(min(rounds, program.most_rounds or rounds)):
                for library in order.sample(list(libraries), len(libraries)):
                    run = {"round": number, "allocator": library}
                    try:
                        run.update(program.run(libraries[library]))
                    except Failed as error:
                        run["failed"] = str(error)
                        print(f"{name}: {library}: {error}", file=sys.stderr)
                    entry["runs"].append(run)
            print(f"{name}: done", file=sys.stderr, flush=True)
    return {"schema": "tern.programs/1", "date_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "seed": seed, "host": host_of(build),
            "allocators": list(libraries), "programs": entries}


def table(document):
    """A line per program: the medians under each allocator, and tern's ratio to glibc's over the rounds."""
    names = document["allocators"]
    lines = ["| program | " + " | ".join(f"{n}: CPU s, peak MiB" for n in names) + " | tern / glibc: CPU (range), wall, peak | rounds |",
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
            ratios = {k: [t[k] / g[k] for t, g in zip(good["tern_preload"], good["glibc"])] for k in ("cpu_s", "wall_s", "peak_mib")}
            ratio = (f"{statistics.median(ratios['cpu_s']):.2f} ({min(ratios['cpu_s']):.2f} to {max(ratios['cpu_s']):.2f}), "
                     f"{statistics.median(ratios['wall_s']):.2f}, {statistics.median(ratios['peak_mib']):.2f}")
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
    parser.add_argument("--rounds", type=int, default=8)
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
