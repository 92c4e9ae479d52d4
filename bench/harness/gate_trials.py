#!/usr/bin/env python3
"""Measures how often the gate is wrong: gate_trials.py [--trials N] [--work FOLDER] [--blocks N]

A trial is a change whose truth is known, put through the same `ternbench duet` and `ternbench gate` as a pull request, with the
second duet for what is flagged:

  null   head is the code of base, linked in an order that no other trial has: red is a false alarm
  slow   head waits some processor cycles in the primitive's own path under include/, which makes one row 3, 5 or 10% slower

A processor hides a part of a wait, all of it where the wait is off the longest chain. So how much slower the row has become is measured
before the trial, by a duet of the two builds over that row, and the number of cycles is changed until that is what the trial asks for.

What a trial is (kind, primitive, row, percent, link order) follows from SEED and its number alone, and both stood here before the
first one ran. Trials are appended to results/gate-evaluation/trials.jsonl as they end, so the script may be stopped and started
again at any time, over days; the duets themselves stay in the work folder. `scripts/packaging/readme_table.py` then makes the tables
of results/gate-evaluation/README.md anew, by `ternbench rates`. Trials of a busy machine say nothing of the gate: it waits while
others compute (--even-if-busy).
"""
import argparse
import json
import os
import pathlib
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "results" / "gate-evaluation" / "trials.jsonl"
SEED = 20261126
PERCENTS = (3, 5, 10)
SIZING_BLOCKS = 20
BENCHES = sorted({"bench_" + row.split("/")[0] for row in json.loads((ROOT / "results" / "gate.json").read_text())["set"]})
# Where the wait goes: a line of the primitive's path, and what stands there instead. Each makes the next step depend on the wait. One time
# in 16 is waited, so that a sixteenth of a cycle can be added to an operation of a few; a period that short is predicted.
EVERY = 16
WAIT = ('static thread_local constinit unsigned turn = 0; if ((++turn & {mask}) == 0) '
        'asm volatile(".rept {cycles}\\n\\t{add}\\n\\t.endr" : "+r"({what}) : : "cc");')
PLACES = {
    "alloc": ("include/tern/alloc/thread_cache.hpp", "  TERN_ALWAYS_INLINE void* try_pop(unsigned c) noexcept {\n",
              "    void** const top = level.load(memory_order_relaxed);", "    void** top = level.load(memory_order_relaxed); {wait}",
              "top", ("alloc/pair/tern/size:64", "alloc/pair/tern/size:1024", "alloc/random/tern/slots:4096")),
    "sched": ("include/tern/sched/dispatch.hpp", "TERN_SWITCHES inline void yield_fiber(worker& w) noexcept {\n",
              "  fiber& self = *w.current;", "  fiber* waiting = w.current; {wait} fiber& self = *waiting;", "waiting", ("sched/yield/tern",)),
    "gc": ("include/tern/gc/make.hpp", "inline void* take_cell(mutator& m, shape& k) noexcept {\n",
           "  char* p = b.cursor;", "  char* p = b.cursor; {wait}", "p", ("gc/alloc_drop/tern/size:32",)),
}
ADD = {"x86_64": "add $0, %0", "aarch64": "add %0, %0, #0"}[platform.machine()]


class NotMade(Exception):
    """There is no such change; the trial is recorded as that, and counts for nothing"""


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)
    return done


def need(done, what):
    if done.returncode != 0:
        raise RuntimeError(f"{what}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    return done


def plan(number):
    rng = random.Random(f"{SEED} {number}")
    kind = "null" if number % 2 == 0 else "slow"
    primitive = rng.choice(sorted(PLACES))
    return {"trial": number, "kind": kind, "primitive": primitive if kind == "slow" else None,
            "percent": rng.choice(PERCENTS) if kind == "slow" else 0,
            "row": rng.choice(PLACES[primitive][5]) if kind == "slow" else None}


def build(source, folder, *targets, env=None):
    need(run("cmake", "-S", source, "--preset", "release", "-B", folder, "-DTERN_BUILD_TESTS=OFF",
             *(["-DVALIJSON_INCLUDE_DIR=" + str(headers)] if (headers := ROOT / "build/packages/libvalijson-dev/usr/include").is_dir() else []),
             cwd=source, env=env), "configure")
    need(run("cmake", "--build", folder, *(["--target", *targets] if targets else []), env=env), "build")


def nanoseconds_per_cycle():
    """Of a chain of dependent additions, which is what is injected"""
    log = need(run("lscpu"), "lscpu").stdout
    mhz = [float(m) for m in re.findall(r"MHz:\s*([0-9.]+)", log)]
    if not mhz:
        mhz = [float(m) for m in re.findall(r"cpu MHz\s*:\s*([0-9.]+)", pathlib.Path("/proc/cpuinfo").read_text())]
    if not mhz:
        raise RuntimeError("the clock of this machine is not known")
    return 1000 / max(mhz)


def inject(source, primitive, cycles):
    name, start, line, changed, what, _ = PLACES[primitive]
    file = source / name
    text = file.read_text()
    at = text.index(start)
    place = text.index(line, at)
    wait = WAIT.format(mask=EVERY - 1, cycles=cycles, add=ADD, what=what)
    file.write_text(text[:place] + changed.replace("{wait}", wait) + text[place + len(line):])


def verdict(tool, duet, confirm, work):
    summary = work / "summary.md"
    done = run(tool, "gate", duet, *(["--confirm", confirm] if confirm else []), "--markdown", summary, cwd=ROOT)
    if done.returncode not in (0, 2, 3):
        raise RuntimeError(f"gate: {done.stderr.strip()}")
    whole = summary.read_text().split("<details>", 1)[1]
    rows = {}
    for cells in re.findall(r"^\| `([^`]+)` \| [^|]+\| [^|]+\| ([^ |]+) \| ([^|]+) \| ([^ |]+) \| ([^|]+) \|$", whole, re.M):
        rows[cells[0]] = [cells[1], cells[2].strip(), cells[3], cells[4]]
    return done.returncode, rows


def wait_for_quiet(even_if_busy):
    while not even_if_busy and os.getloadavg()[0] > 0.3 * os.cpu_count():
        print(f"waiting: the load is {os.getloadavg()[0]:.1f}", flush=True)
        time.sleep(60)


def trial(number, options, revision):
    work = options.work
    base, tool = work / "base", work / "base" / "src" / "ternbench"
    what = plan(number)
    if what["kind"] == "null":
        links = work / "null"
        need(run(sys.executable, "-B", ROOT / "bench/harness/relink.py", base, "--salts", 3, "--seed", f"{SEED + number}", "--out", links), "relink")
        heads = sorted(links.glob("salt-*"))
    else:
        try:
            what |= sized_wait(work, revision, what["primitive"], what["row"], what["percent"], options.even_if_busy)
        except NotMade as error:
            return what | {"made": False, "reason": str(error), "revision": revision}
        build(work / "source", work / "slow", *BENCHES)
        need(run(sys.executable, "-B", ROOT / "bench/harness/relink.py", work / "slow", "--salts", 2, "--seed", f"{SEED + number}"), "relink")
        heads = [work / "slow"]
    wait_for_quiet(options.even_if_busy)
    command = [tool, "duet", "--base", base, "--blocks", options.blocks, "--out", work / "duets", "--seed", SEED + number]
    for head in heads:
        command += ["--head", head]
    begun = time.monotonic()
    duet = need(run(*command, cwd=ROOT), "duet").stdout.strip()
    duet_seconds = round(time.monotonic() - begun)
    code, rows = verdict(tool, duet, None, work)
    second = None
    if code == 2 and any(r[3] == "REGRESSION" for r in rows.values()):
        command[-2 * len(heads) - 1] = SEED - number - 1
        second = need(run(*command, "--confirm", duet, cwd=ROOT), "second duet").stdout.strip()
        code, rows = verdict(tool, duet, second, work)
    found = code == 2 if what["kind"] == "null" else rows.get(what["row"], ["", "", "", ""])[3] == "REGRESSION"
    return what | {"found": found, "decided": code != 3, "exit": code, "date": time.strftime("%Y-%m-%d", time.gmtime()),
                   "revision": revision, "blocks": options.blocks, "load": round(os.getloadavg()[0], 1),
                   **settings_of(duet), **known_build(work), "duet_seconds": duet_seconds,
                   "duet": pathlib.Path(duet).name, "second": pathlib.Path(second).name if second else None, "rows": rows}


def settings_of(duet):
    document = json.loads((pathlib.Path(duet) / "duet.json").read_text())
    return {key: document[key] for key in ("turns", "time_ms")}


def time_of(folder, row):
    bench = folder / "bench" / f"bench_{row.split('/', 1)[0]}"
    done = need(run(bench, f"--benchmark_filter=^{row}/manual_time$", "--tern_time_ms=40", "--benchmark_format=json"), row)
    entry = json.loads(done.stdout)["benchmarks"][0]
    return entry["real_time"] * {"ns": 1, "us": 1e3, "ms": 1e6}[entry["time_unit"]]


def slower_by(work, row):
    """Percent, as a duet of that row alone has it, and the standard error of that"""
    tool = work / "base" / "src" / "ternbench"
    done = need(run(tool, "duet", "--base", work / "base", "--head", work / "slow", "--filter", f"^{re.escape(row)}$", "--blocks", SIZING_BLOCKS,
                    "--out", work / "sizing", cwd=ROOT), "sizing duet")
    turns = {}
    for line in (pathlib.Path(done.stdout.strip()) / "raw.jsonl").read_text().splitlines():
        line = json.loads(line)
        turns.setdefault(line["block"], {})[line["slot"]] = line["turns_ns"]
    ratios = [100 * (statistics.median(h / b for h, b in zip(slots["head"], slots["base"])) - 1) for slots in turns.values()]
    quarters = statistics.quantiles(ratios, n=4)
    return statistics.median(ratios), 1.2533 * (quarters[2] - quarters[0]) / 1.349 / len(ratios)**0.5


def sized_wait(work, revision, primitive, row, percent, even_if_busy):
    """Leaves the source and the build of the wait that makes `row` slower by `percent`, and tells what it is"""
    known_file = work / "cycles.json"
    known = json.loads(known_file.read_text()) if known_file.exists() else {}
    key = f"{row} {percent}"
    allowed = max(0.5, percent / 10)
    cycles = known.get(key) or max(1, round(EVERY * percent / 100 * time_of(work / "base", row) / nanoseconds_per_cycle()))
    tried = {0: 0.0}
    for _ in range(8):
        need(run("git", "-C", work / "source", "checkout", "--quiet", "--force", "--detach", revision), "checkout")
        inject(work / "source", primitive, cycles)
        build(work / "source", work / "slow", f"bench_{row.split('/', 1)[0]}")
        for stale in (work / "slow" / "bench").glob("salt-*"):  # links of an earlier trial
            shutil.rmtree(stale)
        wait_for_quiet(even_if_busy)
        measured, error = slower_by(work, row)
        print(f"  {row}: {cycles} cycles make it {measured:.2f}% slower (standard error {error:.2f}), {percent}% is wanted", flush=True)
        if abs(measured - percent) <= allowed:
            known[key] = cycles
            known_file.write_text(json.dumps(known))
            return {"cycles": cycles, "measured": round(measured, 2), "measured_error": round(error, 2)}
        tried[cycles] = measured
        below = max((c for c in tried if tried[c] < percent), default=0)
        above = min((c for c in tried if tried[c] >= percent), default=None)
        if above is None:
            cycles = min(2 * below, round(below * percent / max(measured, percent / 2))) or 1
            cycles = max(cycles, below + 1)
        elif above - below <= 1:
            break
        else:
            share = (percent - tried[below]) / max(tried[above] - tried[below], 1e-9)
            cycles = min(max(below + round(share * (above - below)), below + 1), above - 1)
    raise NotMade(f"no number of cycles makes it {percent}% slower, within {allowed}: {tried}")


def known_build(work):
    """How long one build and its links took, as prepare() measured it"""
    file = work / "build_seconds"
    return {"build_seconds": int(file.read_text())} if file.exists() else {}


def prepare(options, revision):
    """Base, and how long its rows take, once per revision"""
    stamp = options.work / "revision"
    if stamp.exists() and stamp.read_text() == revision:
        return
    options.work.mkdir(parents=True, exist_ok=True)
    source = options.work / "source"
    if not source.exists():
        need(run("git", "-C", ROOT, "worktree", "add", "--quiet", "--detach", source, revision), "worktree")
    need(run("git", "-C", source, "checkout", "--quiet", "--force", "--detach", revision), "checkout")
    seconds = options.work / "build_seconds"
    seconds.unlink(missing_ok=True)
    whole = not (options.work / "base").exists()  # a build that goes on with another one's objects tells less than a job of CI takes
    begun = time.monotonic()
    build(source, options.work / "base", *BENCHES, "ternbench", env={**os.environ, "CCACHE_DISABLE": "1"})  # as scripts/gate does
    need(run(sys.executable, "-B", ROOT / "bench/harness/relink.py", options.work / "base", "--salts", 2), "relink")
    if whole:
        seconds.write_text(f"{time.monotonic() - begun:.0f}")
    (options.work / "cycles.json").unlink(missing_ok=True)
    stamp.write_text(revision)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1, help="make so many more (1)")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "gate-trials", help="builds and duets (build/gate-trials)")
    parser.add_argument("--blocks", type=int, default=30)
    parser.add_argument("--even-if-busy", action="store_true", help="do not wait for a quiet machine")
    options = parser.parse_args()
    options.work = options.work.resolve()
    revision = need(run("git", "-C", ROOT, "rev-parse", "HEAD"), "git").stdout.strip()
    prepare(options, revision)
    DATA.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(options.trials):
        number = len(DATA.read_text().splitlines()) if DATA.exists() else 0
        result = trial(number, options, revision)
        with DATA.open("a") as file:
            file.write(json.dumps(result) + "\n")
        end = f"{'red' if result['found'] else 'not red'}, exit {result['exit']}" if result.get("made", True) else result["reason"]
        print(f"trial {number}: {result['kind']} {result['row'] or ''} {result['percent']}%: {end}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        print(f"gate_trials.py: {error}", file=sys.stderr)
        sys.exit(1)
