#!/usr/bin/env python3
"""Makes the run fixtures under tests/tool/data/runs/. Made-up numbers, fixed by a seed.

    python3 tests/tool/data/make_runs.py
"""
import copy
import json
import pathlib
import random

HERE = pathlib.Path(__file__).resolve().parent / "runs"
REPETITIONS = 8


def context(**changes):
    base = {"date": "2026-01-02T03:04:05+00:00", "num_cpus": 2, "mhz_per_cpu": 2600, "library_build_type": "release",
            "tern_arch": "x86_64", "tern_cpu_model": "Fixture CPU", "tern_vcpus": "2", "tern_emulated": "false",
            "tern_kernel": "6.1.0", "tern_compiler": "gcc 12.2.0", "tern_schema": "tern.summary/1",
            "tern_machine": "fixture", "tern_mode": "quick", "tern_seed": "1"}
    base.update(changes)
    return {k: v for k, v in base.items() if v is not None}


def measured(name, repetition, ns, role, **counters):
    return {"name": name, "run_name": name, "run_type": "iteration", "repetitions": REPETITIONS,
            "repetition_index": repetition, "threads": 1, "iterations": 1000, "real_time": ns, "cpu_time": ns,
            "time_unit": "ns", "tern_role": role, "checksum": 7, **counters}


def errored(name, repetition, role, message):
    return {"name": name, "run_name": name, "run_type": "iteration", "repetitions": REPETITIONS,
            "repetition_index": repetition, "threads": 1, "error_occurred": True, "error_message": message,
            "iterations": 0, "real_time": 0.0, "cpu_time": 0.0, "time_unit": "ns", "tern_role": role}


def rows_of(rng, factor=1.0, changed=()):
    """Rows with 1% noise; those in `changed` are `factor` times as slow."""
    out = []
    for name, role, ns in (
        ("alloc/pair/tern/size:8", "subject", 6.0),
        ("alloc/pair/tern/size:1024", "subject", 7.0),
        ("alloc/pair/malloc/size:8", "baseline", 12.0),
        ("alloc/pair/malloc/size:1024", "baseline", 14.0),
        ("gc/binary_trees/tern/depth:16", "subject", 5e6),
        ("gc/binary_trees/shared_ptr/depth:16", "baseline", 9e6),
        ("sched/wake_latency/tern", "subject", 8000.0),
        ("sched/wake_latency/pthread", "baseline", 31000.0),
        ("sched/yield/tern", "subject", 20.0),
        ("sched/yield/pthread", "baseline", 400.0),
    ):
        for repetition in range(REPETITIONS):
            value = round(ns * rng.uniform(0.99, 1.01) * (factor if name in changed else 1), 4)
            counters = {"p50": 0.9 * value, "p99": 3 * value} if "latency" in name else {}
            out.append(measured(name, repetition, value, role, **counters))
    return out


def write(name, document):
    path = HERE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document, indent=1) + "\n", encoding="ascii")


def main():
    rng = random.Random(2)
    a = {"context": context(), "benchmarks": rows_of(rng)}
    a["benchmarks"].append(errored("sched/yield/pthread_pool", 0, "baseline", "skipped: one worker cannot yield to another"))
    write("a/summary.json", a)

    b = {"context": context(tern_kernel="6.6.0"),
         "benchmarks": rows_of(rng, 1.3, ("alloc/pair/tern/size:8",))}
    rows = [r for r in b["benchmarks"] if r["name"] != "alloc/pair/malloc/size:1024"]          # missing
    for row in rows:
        row["name"] = row["run_name"] = row["name"].replace("depth:16", "depth:18") \
            if row["name"].startswith("gc/binary_trees/tern") else row["name"]                 # renamed
    rows = [r for r in rows if not (r["name"] == "sched/yield/tern" and r["repetition_index"] == 3)]
    rows.append(errored("sched/yield/tern", 3, "subject", "signal 11 (Segmentation fault)"))   # errored once
    rows += [measured("sched/skynet/tern", r, 1e6, "subject") for r in range(REPETITIONS)]     # new
    rows.append(errored("sched/yield/pthread_pool", 0, "baseline", "skipped: one worker cannot yield to another"))
    b["benchmarks"] = rows
    write("b/summary.json", b)

    for name, changes in (("emulated", {"tern_arch": "aarch64", "tern_emulated": "true", "tern_cpu_model": None}),
                          ("aarch64", {"tern_arch": "aarch64"}), ("older", {"tern_schema": "tern.summary/0"}),
                          ("newer", {"tern_schema": "tern.summary/2"})):
        write(f"{name}/summary.json", {"context": context(**changes), "benchmarks": a["benchmarks"][:16]})
    other = copy.deepcopy(a["benchmarks"][:8])
    for row in other:
        row["name"] = row["run_name"] = "alloc/other/tern/size:8"
    write("disjoint/summary.json", {"context": context(), "benchmarks": other})

    text = json.dumps(a, indent=1)
    write("truncated.json", text[: len(text) // 2])
    write("not_json.txt", "Run on (2 X 2600 MHz CPU s)\n")
    write("nan.json", text.replace('"real_time": ', '"real_time": NaN, "x": ', 1))
    write("plain.json", {"context": {"date": "2026-01-02T03:04:05+00:00", "num_cpus": 2}, "benchmarks": [
        {"name": "BM_copy/64/real_time", "run_name": "BM_copy/64/real_time", "run_type": "iteration", "repetitions": 3,
         "repetition_index": i, "threads": 1, "iterations": 10, "real_time": 1.5 + i / 100, "cpu_time": 1.5,
         "time_unit": "us"} for i in range(3)] + [
        {"name": "BM_copy/64/real_time_mean", "run_name": "BM_copy/64/real_time", "run_type": "aggregate",
         "aggregate_name": "mean", "repetitions": 3, "threads": 1, "iterations": 3, "real_time": 1.51, "cpu_time": 1.5,
         "time_unit": "us"}]})


main()
