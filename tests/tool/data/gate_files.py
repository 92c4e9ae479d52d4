"""Makes gate configurations, duets, runs and claims for the tests of the tool, with the noise that a test asks for."""
import json
import math
import random

HOST = {"arch": "x86_64", "aslr": True, "build_type": "Release", "compiler": "gcc 12", "cpu_model": "Fake CPU", "cpu_quota": None,
        "dirty": False, "emulated": False, "flags": "-O2", "git_sha": "0" * 40, "governor": None, "hypervisor": None,
        "kernel": "6.1", "libc": "glibc 2.36", "memory_bytes": 1 << 33, "mhz": 2000.0, "os_page_size": 4096, "smt": False,
        "thp": "madvise", "turbo": None, "usable_vcpus": 2, "vcpus": 2, "virtualized": True}
ROWS = {"sched/yield/tern": 20.0, "sched/spawn/tern/n:8": 300.0, "alloc/pair/tern/size:64": 4.0, "alloc/pair/tern/size:1024": 9.0,
        "gc/alloc/tern": 40.0, "alloc/pair/malloc/size:64": 12.0}


def role_of(row):
    return "subject" if "tern" in row.split("/")[2] else "baseline"


def config(**changes):
    document = {"schema": "tern.gate/1", "settings": {}, "set": list(ROWS), "floors": {}, "allowed": [], "waivers": []}
    document.update(changes)
    return document


def waiver(**changes):
    return {"row": "sched/yield/tern", "metric": "time", "arch": "x86_64", "ceiling": 1.2, "expires": "2026-12-31",
            "reason": "a fair exchange"} | changes


def test(**changes):
    """A test of a claim, which holds for summary()"""
    return {"row": "sched/yield/tern", "metric": "time", "op": "<=", "bound": 25} | changes


def claim(**changes):
    return {"id": "switch", "source": "an article", "claim": "A switch takes about 25 ns", "rows": ["sched/*", "alloc/*", "gc/*"],
            "test": test(), "needs": []} | changes


def claims(*some):
    return {"schema": "tern.claims/1", "claims": list(some) or [claim()]}


def entry(row, ns, **more):
    return {"name": row + "/iterations:1000/manual_time", "run_name": row, "run_type": "iteration", "repetitions": 1,
            "repetition_index": 0, "threads": 1, "iterations": 1000, "real_time": ns, "cpu_time": ns, "time_unit": "ns",
            "checksum": 7} | more


def lines(rows=ROWS, blocks=30, noise=0.01, head=None, again=None, seed=1):
    """The lines of raw.jsonl; `head` and `again` are factors by row"""
    rng = random.Random(seed)
    out = []
    for block in range(blocks):
        for row, ns in rows.items():
            drift = math.exp(rng.gauss(0, 0.1))  # common to the slots of a block
            for slot, factors in (("base", {}), ("again", again or {}), ("head", head or {})):
                value = ns * drift * factors.get(row, 1) * math.exp(rng.gauss(0, noise))
                out.append({"block": block, "row": row, "slot": slot, "link": 0, "padding": 0, "wall_ms": 50,
                            "outcome": "ok", "entry": entry(row, value)})
    return out


def document(rows=ROWS, blocks=30, **changes):
    def link(digit):
        return [{"name": "bench_sched", "sha256": digit * 64, "git_sha": None, "dirty": None, "compiler": "gcc 12",
                 "flags": "-O2", "build_type": "Release"}]

    session = {"started_utc": "2026-11-26T01:00:00Z", "ended_utc": "2026-11-26T01:10:00Z", "host": dict(HOST)}
    return {"schema": "tern.duet/1", "status": "complete", "tool": {"name": "ternbench", "version": "0.1.0"}, "machine": "box",
            "seed": 1, "blocks": blocks, "blocks_done": blocks, "time_ms": 30, "filter": None, "confirms": None,
            "sessions": [session], "base": [link("a"), link("b")], "head": [link("c")],
            "rows": [{"name": r, "role": role_of(r), "operations": 1000, "in_base": True, "in_head": True} for r in rows],
            } | changes


def write_duet(folder, duet=None, samples=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "duet.json").write_text(json.dumps(duet or document(), indent=1))
    (folder / "raw.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (samples if samples is not None else lines())))
    return folder


def summary(rows=ROWS, repetitions=8, noise=0.01, factors=None, seed=1, **context):
    """A summary.json of a run"""
    rng = random.Random(seed)
    head = {"date": "2026-11-26T01:00:00Z", "tern_schema": "tern.summary/1", "tern_machine": "box", "tern_mode": "quick",
            "tern_seed": "1", "tern_arch": "x86_64", "tern_cpu_model": "Fake CPU", "tern_vcpus": "2", "tern_emulated": "false",
            "library_version": "1.7.1", "library_build_type": "release"} | context
    benchmarks = []
    for row, ns in rows.items():
        for repetition in range(repetitions):
            value = ns * (factors or {}).get(row, 1) * math.exp(rng.gauss(0, noise))
            benchmarks.append({"name": row, "run_name": row, "run_type": "iteration", "repetitions": repetitions,
                               "repetition_index": repetition, "threads": 1, "iterations": 1000, "real_time": value,
                               "cpu_time": value, "time_unit": "ns", "tern_role": role_of(row), "checksum": 7})
    return {"context": head, "benchmarks": benchmarks}


def at(document, *path):
    for step in path:
        document = document[step]
    return document


def edit(*path, value):
    """Sets the value at a path"""
    def change(document):
        at(document, *path[:-1])[path[-1]] = value
    return change


def drop(*path):
    def change(document):
        del at(document, *path[:-1])[path[-1]]
    return change
