#!/usr/bin/env python3
"""Whole programs under each allocator: bench/harness/real_programs.py <build directory> [rounds]

Each program runs with libtern-malloc.so, with nothing and with the peers, in turns; printed are the medians of CPU time (user and system) and of peak
resident memory, and their ratios to glibc's. What is not installed is left out, and said so.
"""
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

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


def programs(folder, root):
    sql, node, python, cpp = (folder / n for n in ("a.sql", "a.js", "a.py", "a.cpp"))
    sql.write_text(SQL, encoding="utf-8")
    node.write_text(NODE, encoding="utf-8")
    python.write_text(PYTHON, encoding="utf-8")
    cpp.write_text("#include <tern/tern.hpp>\nint main() { return tern::allocate(1) == nullptr; }\n", encoding="utf-8")
    return {
        "sqlite3, a million rows": ["sqlite3", ":memory:", f".read {sql}"],
        "g++ -O2 of tern.hpp": ["g++", "-std=c++20", "-O2", f"-I{root / 'include'}", "-c", str(cpp), "-o", str(folder / "a.o")],
        "python3, json and strings": ["python3", str(python)],
        "python3, its tests of json and re": ["/usr/bin/python3", "-m", "test", "-q", "test_json", "test_re"],
        "node, four workers": ["node", str(node)],
        "git log --stat": ["git", "-C", str(root), "log", "--stat", "-n", "300"],
        "sort, a million lines": ["bash", "-c", "seq 1000000 | sort -R --random-source=/bin/true | sort -n | tail -1"],
    }


def run(command, library):
    """(CPU seconds, peak MiB) of a run; an exception if it fails."""
    environment = {**os.environ, "LD_PRELOAD": library} if library else {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        errors = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} under {library or 'glibc'}: {process.returncode}: {errors[-500:]}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main():
    build, rounds = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 8
    root = pathlib.Path(__file__).resolve().parents[2]
    libraries = {"tern": build / "src/libtern-malloc.so", "glibc": "",
                 **{n: build / f"bench/peers/lib{f}.so" for n, f in
                    (("mimalloc", "mimalloc"), ("jemalloc", "jemalloc"), ("tcmalloc", "tcmalloc_minimal"))}}
    libraries = {n: str(p) for n, p in libraries.items() if not p or p.exists()}
    print("| program | " + " | ".join(f"{n}: CPU s, peak MiB" for n in libraries) + " | tern / glibc: CPU (range), peak |")
    print("|---|" + "--:|" * (len(libraries) + 1))
    with tempfile.TemporaryDirectory() as folder:
        for name, command in programs(pathlib.Path(folder), root).items():
            if shutil.which(command[0]) is None:
                print(f"{name}: not installed here", file=sys.stderr)
                continue
            results = {n: [] for n in libraries}
            for _ in range(rounds):
                for n, library in libraries.items():
                    results[n].append(run(command, library))
            middle = {n: tuple(statistics.median(column) for column in zip(*r)) for n, r in results.items()}
            ratios = [t[0] / g[0] for t, g in zip(results["tern"], results["glibc"])]
            print(f"| {name} | " + " | ".join(f"{c:.2f}, {m:.1f}" for c, m in middle.values()) +
                  f" | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), "
                  f"{middle['tern'][1] / middle['glibc'][1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
