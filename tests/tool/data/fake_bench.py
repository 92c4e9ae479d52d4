#!/usr/bin/env python3
"""Stands in for a bench binary: the same flags and files, made-up times, and faults on request (FAKE_FAULT).

    crash     ends by SIGSEGV in the middle of an entry      hang      never ends
    checksum  one subject gives another checksum             error     one row reports an error
    silent    leaves one row out                             status    ends with exit status 3 and a message
    garbage   lists something that is not JSON               nan       writes a NaN
    bytes     ends with exit status 3 and words that command a terminal, are not UTF-8, and too long

A file `build.json` beside it makes it another build: {"factors": {row: factor}, "gone": [row], "renamed": {row: row},
"checksum": n, "fault": as above, "turns": whether it can take turns}. FAKE_NOISE is the half width of the noise (0.05).
FAKE_TURNS names a file that gets a line per turn: the row and the name of the output file.
"""
import json
import os
import pathlib
import random
import re
import signal
import sys
import time

BUILD_FILE = pathlib.Path(__file__).with_name("build.json")
BUILD = json.loads(BUILD_FILE.read_text()) if BUILD_FILE.exists() else {}
FAULT = BUILD.get("fault", os.environ.get("FAKE_FAULT", ""))
NOISE = float(os.environ.get("FAKE_NOISE", "0.05"))
SUBJECTS = (("tern", "subject", 10.0), ("pthread", "baseline", 50.0), ("pthread_pool", "baseline", 20.0))


def rows():
    for subject, role, base in SUBJECTS:
        for case, tier, params in (
            ("yield", "quick", {}),
            ("spawn", "quick", {"fibers": 10}),
            ("spawn", "default", {"fibers": 1000}),
            ("wake", "quick", {}),
            ("memory", "full", {}),
        ):
            name = f"sched/{case}/{subject}" + "".join(f"/{k}:{v}" for k, v in params.items())
            if name in BUILD.get("gone", []):
                continue
            ns = base * (len(case) + sum(params.values())) * BUILD.get("factors", {}).get(name, 1)
            yield BUILD.get("renamed", {}).get(name, name), tier, case, subject, role, params, ns


def options():
    flags = {}
    for argument in sys.argv[1:]:
        key, _, value = argument.lstrip("-").partition("=")
        flags[key] = value
    return flags


def list_rows(flags):
    if FAULT == "garbage":
        print("Running nothing")
        return
    for name, tier, case, subject, role, params, _ in rows():
        print(json.dumps({"name": name, "tier": tier, "area": "sched", "case": case, "subject": subject, "role": role,
                          "params": params, "gate": tier == "quick", "turns": BUILD.get("turns", True), "est_ms": 1 + 0.01 * float(flags.get("tern_time_ms", 100))}))


def entry(name, case, subject, ns):
    row = {"name": name + "/iterations:7/manual_time", "run_name": name + "/iterations:7/manual_time",
           "run_type": "iteration", "repetitions": 1, "repetition_index": 0, "threads": 1}
    if case == "wake" and subject == "pthread_pool":
        return row | {"error_occurred": True, "error_message": "skipped: no such thing here", "iterations": 0,
                      "real_time": 0.0, "cpu_time": 0.0, "time_unit": "us"}
    if FAULT == "error" and case == "yield" and subject == "pthread":
        return row | {"error_occurred": True, "error_message": "it went wrong", "iterations": 0, "real_time": 0.0,
                      "cpu_time": 0.0, "time_unit": "us"}
    row |= {"iterations": 7, "real_time": ns / 1000, "cpu_time": ns / 1100, "time_unit": "us",
            "checksum": 99 if FAULT == "checksum" and subject == "pthread" else BUILD.get("checksum", 42)}
    if case == "wake":
        row |= {"p50": ns, "p99": 3 * ns, "p999": 4 * ns, "max": 9 * ns}
    if case == "memory":
        row |= {"bytes_per_op": 64 * ns}
    return row


class Turns:
    """The other end of bench/harness/turns.hpp"""

    def __init__(self, flags):
        self.fd = int(flags["tern_turns"]) if "tern_turns" in flags else None
        self.output = pathlib.Path(flags["benchmark_out"]).stem
        self.ready = False

    def take(self, row):
        if self.fd is None:
            return
        if not self.ready:
            os.write(self.fd, b"t")
        self.ready = True
        if not os.read(self.fd, 1):
            sys.exit(1)
        if log := os.environ.get("FAKE_TURNS"):
            with open(log, "a", encoding="ascii") as file:
                file.write(f"{row} {self.output}\n")

    def give(self):
        if self.fd is not None:
            os.write(self.fd, b"t")


def hold():
    """FAKE_HOLD=file:n: once n processes have measured, the next waits until the file is removed."""
    file, _, count = os.environ.get("FAKE_HOLD", "").rpartition(":")
    if not file:
        return
    with open(file, "ab") as f:
        f.write(b".")
    while os.path.exists(file) and os.path.getsize(file) > int(count):
        time.sleep(0.02)


def main():
    flags = options()
    if "tern_list" in flags:
        return list_rows(flags)
    if FAULT == "hang":
        time.sleep(600)
    hold()
    wanted = re.compile(flags["benchmark_filter"])
    chosen = [r for r in rows() if wanted.search(r[0])]
    shuffler = random.Random(int(flags.get("tern_order", "1")))
    shuffler.shuffle(chosen)
    if FAULT == "silent":
        chosen = [r for r in chosen if r[0] != "sched/yield/pthread"]
    noise = random.Random(os.getpid())
    with open(flags["benchmark_out"], "w", encoding="ascii") as out:
        context = {"date": "2026-01-02T03:04:05+00:00", "host_name": "", "executable": sys.argv[0], "num_cpus": 2,
                   "mhz_per_cpu": 2000, "library_build_type": "release", "tern_arch": os.environ.get("FAKE_ARCH", "x86_64"),
                   "tern_cpu_model": os.environ.get("FAKE_CPU", "Fake CPU"), "tern_vcpus": "2", "tern_emulated": os.environ.get("FAKE_EMULATED", "false")}
        out.write('{\n  "context": ' + json.dumps(context) + ',\n  "benchmarks": [\n')
        turns = Turns(flags)
        chosen = [row for row in chosen for _ in range(int(flags.get("benchmark_repetitions", 1)))]
        for i, (name, _, case, subject, _, _, base) in enumerate(chosen):
            turns.take(name)
            if FAULT == "crash" and i == 1:
                out.write('    {\n      "name": "sch')
                out.flush()
                print("about to crash", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGSEGV)
            time.sleep(float(os.environ.get("FAKE_SLEEP", "0")))
            fields = ",\n".join(f"      {json.dumps(k)}: {json.dumps(v)}"
                                for k, v in entry(name, case, subject, base * noise.uniform(1 - NOISE, 1 + NOISE)).items())
            if FAULT == "nan" and i == 0:
                fields += ',\n      "ratio": NaN'
            out.write("    {\n" + fields + "\n    }" + (",\n" if i + 1 < len(chosen) else "\n"))
            out.flush()
            turns.give()
            if case == "wake" and subject == "tern" and "tern_hist_dir" in flags:
                hist = {"schema": "tern.hist/1", "row": name, "unit": "ns", "count": 3, "min": 1, "max": 9, "mean": 4.0,
                        "buckets": [[1, 1, 2], [9, 9, 1]]}
                path = os.path.join(flags["tern_hist_dir"], name.replace("/", "_") + ".hist.json")
                with open(path, "w", encoding="ascii") as h:
                    json.dump(hist, h)
        out.write("  ]\n}\n")
    if FAULT == "status":
        print("a last word", file=sys.stderr)
        return 3
    if FAULT == "bytes":
        sys.stderr.buffer.write(b"\xff\x1b\xfe" + "é".encode() * 200 + b"\n")
        return 3
    return 0


sys.exit(main())
