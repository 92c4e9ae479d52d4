#!/usr/bin/env python3
"""duet, gate and calibrate: measuring over data/fake_bench.py, verdicts over duets that data/gate_files.py makes, and mutants of
every file that they read, each with its line and exit code."""
import collections
import itertools
import json
import math
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "data"))
import gate_files as files  # noqa: E402
from gate_files import at, drop, edit  # noqa: E402

TOOL = os.environ["TERNBENCH"]
ROOT = HERE.parents[1]


class tool_test(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ternbench-gate-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.config()

    def tool(self, *arguments, code=0, **environment):
        done = subprocess.run([TOOL, *map(str, arguments)], cwd=self.folder, env={**os.environ, **environment}, capture_output=True,
                              text=True, timeout=240, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def config(self, **changes):
        (self.folder / "gate.json").write_text(json.dumps(files.config(**changes), indent=1))

    def duet(self, name="one-duet", **how):
        document = files.document(**how.pop("document", {}))
        return files.write_duet(self.folder / name, document, how.pop("samples", None) or files.lines(**how))

    def gate(self, *arguments, code=0):
        return self.tool("gate", *arguments, "--config", "gate.json", code=code)


class verdicts(tool_test):
    def test_no_change_passes(self):
        out = self.gate(self.duet(), "--all").stdout
        self.assertTrue(out.startswith("PASS: 6 rows judged\n"), out)
        self.assertLessEqual(max(map(len, out.splitlines())), 100)
        self.assertIn("ok (6)", out)
        self.assertIn("no noise was learnt of 6 rows on x86_64", out)

    def test_a_slower_row_is_red_and_named(self):
        for factor in (1.06, 1.1, 2):
            out = self.gate(self.duet(head={"alloc/pair/tern/size:64": factor}), code=2).stdout
            self.assertTrue(out.startswith("REGRESSION: 1 row\n"), out)
            self.assertRegex(out, r"REGRESSION: slower[^\n]*\(1\)\n  alloc/pair/tern/size:64 ")
            self.assertIn("--confirm", out)

    def test_a_faster_row_and_a_change_below_the_floor_pass(self):
        self.gate(self.duet(head={"sched/yield/tern": 0.7, "gc/alloc/tern": 1.005}))

    def test_a_learnt_floor_is_kept(self):
        self.config(floors={"x86_64": {"machine": "box", "runs": 4, "rows": {"sched/yield/tern": 0.08, "gc/alloc/tern": 0.2}}})
        duet = self.duet(head={"sched/yield/tern": 1.06, "gc/alloc/tern": 1.5})
        out = self.gate(duet).stdout
        self.assertRegex(out, r"advisory[^\n]*\(1\)\n  gc/alloc/tern .*22%\n.*a slow-down of \d+% would show")
        self.gate(self.duet(head={"sched/yield/tern": 1.15}), code=2)

    def test_a_machine_too_noisy_for_every_row_gives_no_verdict(self):
        self.config(floors={"x86_64": {"machine": "box", "runs": 4, "rows": {row: 0.2 for row in files.ROWS}}})
        out = self.gate(self.duet(head={"sched/yield/tern": 2}), code=3).stdout
        self.assertTrue(out.startswith("INCONCLUSIVE: nothing was judged: all 6 rows are too noisy here\n"), out)

    def test_base_that_moves_against_itself_is_invalid(self):
        out = self.gate(self.duet(again={"sched/yield/tern": 1.06}, head={"sched/yield/tern": 1.3})).stdout
        self.assertRegex(out, r"INVALID[^\n]*\(1\)\n  sched/yield/tern ")
        out = self.gate(self.duet(again={"sched/yield/tern": 1.06, "gc/alloc/tern": 0.9}), code=3).stdout
        self.assertIn("2 of 6 rows are invalid, above the share of 20%", out)

    def test_a_red_row_wins_over_an_invalid_run(self):
        again = {"sched/yield/tern": 1.06, "gc/alloc/tern": 0.9}
        self.gate(self.duet(again=again, head={"alloc/pair/tern/size:64": 1.2}), code=2)

    def test_a_baseline_that_moves_makes_the_run_invalid(self):
        out = self.gate(self.duet(head={"alloc/pair/malloc/size:64": 1.2}), code=3).stdout
        self.assertIn("the control alloc/pair/malloc/size:64 moved", out)

    def test_noise_is_inconclusive(self):
        out = self.gate(self.duet(blocks=8, noise=0.06, document={"blocks": 8}), code=3).stdout
        self.assertIn("INCONCLUSIVE", out)

    def test_below_a_nanosecond_the_floor_is_in_nanoseconds(self):
        rows = {"gc/local_copy/tern": 0.4}
        self.config(set=list(rows))
        duet = self.duet(rows=rows, head={"gc/local_copy/tern": 1.15}, document={"rows": rows})
        self.assertIn("PASS", self.gate(duet).stdout)
        out = self.gate(self.duet(rows=rows, head={"gc/local_copy/tern": 1.5}, document={"rows": rows}), code=2).stdout
        self.assertIn("below 1 ns: judged by 0.1 ns", out)

    def test_a_second_duet_confirms_or_does_not(self):
        head = {"alloc/pair/tern/size:64": 1.1, "sched/yield/tern": 1.1}
        first = self.duet(head=head)
        rows = {r: files.ROWS[r] for r in head}
        second = self.duet("two-duet", rows=rows, head={"sched/yield/tern": 1.09}, seed=2,
                           document={"rows": rows, "confirms": "one-duet"})
        out = self.gate(first, "--confirm", second, code=2).stdout
        self.assertTrue(out.startswith("REGRESSION: 1 row\n"), out)
        self.assertRegex(out, r"not by the second duet \(1\)\n  alloc/pair/tern/size:64 ")
        self.assertIn("second duet: 1.09", out)
        neither = self.duet("three-duet", rows=rows, seed=3, document={"rows": rows, "confirms": "one-duet"})
        self.gate(first, "--confirm", neither)
        stranger = self.duet("four-duet", rows=rows, document={"rows": rows})
        self.assertIn("does not confirm one-duet", self.gate(first, "--confirm", stranger, code=4).stderr)

    def test_waivers(self):
        duet = self.duet(head={"sched/yield/tern": 1.1})
        self.config(waivers=[files.waiver()])
        self.assertIn("waived until 2026-12-31, up to 1.2: a fair exchange", self.gate(duet).stdout)
        self.config(waivers=[files.waiver(ceiling=1.05)])
        self.assertIn("above the waiver's ceiling of 1.05", self.gate(duet, code=2).stdout)
        self.config(waivers=[files.waiver(arch="aarch64")])
        self.gate(duet, code=2)
        self.config(waivers=[files.waiver(row="gc/alloc/tern")])
        self.assertIn("gate.json:15: the waiver of gc/alloc/tern [time] is not needed", self.gate(duet, code=2).stdout)
        self.config(waivers=[files.waiver(expires="2026-11-26")])
        self.gate(duet)  # its last day

    def test_markdown_has_the_verdict_first(self):
        self.gate(self.duet(head={"sched/yield/tern": 1.3}), "--markdown", "m.md", code=2)
        text = (self.folder / "m.md").read_text()
        self.assertTrue(text.startswith("### ❌ REGRESSION: 1 row\n"), text)
        self.assertEqual(text.count("| `sched/yield/tern` |"), 2)  # among what changed, and in the folded table
        self.assertEqual(text.count("| `gc/alloc/tern` |"), 1)
        self.assertIn("<details><summary>All 6 rows, x86_64, 30 blocks</summary>", text)

    def test_two_runs(self):
        def run(name, **how):
            (self.folder / name).write_text(json.dumps(files.summary(**how)))
            return name

        base = run("a.json")
        self.gate(base, run("b.json", seed=2))
        out = self.gate(base, run("c.json", seed=3, factors={"gc/alloc/tern": 1.12}), code=2).stdout
        self.assertRegex(out, r"REGRESSION[^\n]*\(1\)\n  gc/alloc/tern ")
        self.assertIn("two separate runs", out)
        out = self.gate(base, run("d.json", factors={"alloc/pair/malloc/size:64": 1.2}), code=3).stdout
        self.assertIn("the control alloc/pair/malloc/size:64 moved", out)

    def test_exact_metrics_have_their_own_limit(self):
        def counted(factor):
            document = files.summary(rows={"gc/alloc/tern": 40.0})
            for row in document["benchmarks"]:
                row["instructions_per_op"] = 200 * factor
            name = f"i{factor}.json"
            (self.folder / name).write_text(json.dumps(document))
            return name

        self.config(set=["gc/alloc/tern"])
        self.gate(counted(1), counted(1.009))
        self.assertIn("gc/alloc/tern [instructions]", self.gate(counted(1), counted(1.011), code=2).stdout)


class measuring(tool_test):
    def setUp(self):
        super().setUp()
        self.build("base")
        self.build("head")

    def build(self, name, **how):
        place = self.folder / name
        place.mkdir(exist_ok=True)
        shutil.copy(HERE / "data" / "fake_bench.py", place / "bench_sched")
        (place / "bench_sched").chmod(0o755)
        (place / "build.json").write_text(json.dumps(how))

    def command(self, *arguments):
        return ["duet", "--base", "base", "--head", "head", "--filter", "yield", "--out", "out", *arguments]

    def only(self):
        return next((self.folder / "out").iterdir())

    def raw(self, place):
        return [json.loads(line) for line in (place / "raw.jsonl").read_text().splitlines()]

    def test_a_duet_and_its_verdict(self):
        self.build("head", factors={"sched/yield/tern": 1.5})
        log = self.folder / "turns"
        done = self.tool(*self.command("--blocks", 12, "--turns", 4, "--seed", 5, "--machine", "m"), FAKE_NOISE="0.005", FAKE_TURNS=str(log))
        place = self.only()
        self.assertEqual(done.stdout, f"out/{place.name}\n")
        self.assertRegex(place.name, r"^\d{8}T\d{6}Z-x86_64-m-duet$|^\d{8}T\d{6}Z-aarch64-m-duet$")
        self.tool("validate", place)
        document = json.loads((place / "duet.json").read_text())
        self.assertEqual([document[key] for key in ("status", "blocks_done", "turns", "seed")], ["complete", 12, 4, 5])
        self.assertEqual(document["sessions"][0]["host"]["cpu_model"], "Fake CPU")
        self.assertEqual({r["operations"] for r in document["rows"]}, {7})
        self.assertNotIn(str(self.folder), (place / "duet.json").read_text())
        lines = self.raw(place)
        self.assertEqual(len(lines), 12 * 3 * 3)
        rows = sorted({line["row"] for line in lines})
        self.assertEqual({len(line["turns_ns"]) for line in lines}, {4})
        for line in lines:
            self.assertLess(min(abs(line["entry"]["real_time"] * 1000 / ns - 1) for ns in line["turns_ns"]), 1e-6)
        turns = [line.split() for line in log.read_text().splitlines()]
        orders = collections.defaultdict(list)
        for at in range(0, len(turns), 3):  # the turns of a round follow one another
            trio = turns[at:at + 3]
            self.assertEqual(len({row for row, _ in trio}), 1)
            orders[trio[0][0]].append(tuple(slot for _, slot in trio))
        self.assertEqual(sorted(orders), rows)
        for order in orders.values():
            counts = collections.Counter(order)
            self.assertEqual(set(counts), set(itertools.permutations(("base", "again", "head"))))
            self.assertEqual(set(counts.values()), {8})  # each of the six orders as often
        self.assertGreater(len({t["padding"] for t in lines}), 100)
        self.config(set=rows)
        out = self.gate(place, code=2).stdout
        self.assertRegex(out, r"REGRESSION[^\n]*\(1\)\n  sched/yield/tern ")
        again = self.tool(*self.command("--blocks", 12, "--confirm", place, "--config", "gate.json"), FAKE_NOISE="0.005")
        second = self.folder / again.stdout.strip()
        self.assertEqual({line["row"] for line in self.raw(second)}, {"sched/yield/tern"})
        self.assertIn("second duet: 1.5", self.gate(place, "--confirm", second, code=2).stdout)

    def test_an_interrupted_duet_is_valid_and_goes_on(self):
        runs = self.folder / "runs"
        environment = {**os.environ, "FAKE_HOLD": f"{runs}:14"}
        command = [TOOL, *self.command("--blocks", "4")]
        with subprocess.Popen(command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as tool:
            while not runs.exists() or runs.stat().st_size <= 14:
                self.assertIsNone(tool.poll())
                time.sleep(0.02)
            tool.send_signal(signal.SIGINT)
            runs.unlink()
            _, err = tool.communicate(timeout=60)
        self.assertEqual(tool.returncode, 130, err)
        self.assertIn("--resume", err)
        place = self.only()
        self.tool("validate", place)
        self.assertEqual({file.name for file in place.iterdir()}, {"duet.json", "raw.jsonl"})
        kept = self.raw_lines()
        self.config(set=["sched/yield/tern"])
        self.assertIn("the duet is not complete", self.gate(place, code=3).stdout)
        with (place / "raw.jsonl").open("a") as file:
            file.write('{"block": 3, "row": "sch')  # as a power cut leaves it
        resume = ["duet", "--base", "base", "--head", "head", "--resume", place]
        self.assertIn("--blocks excludes --resume", self.tool(*resume, "--blocks", 8, code=1).stderr)
        self.tool(*resume)
        document = json.loads((place / "duet.json").read_text())
        self.assertEqual((document["status"], document["blocks_done"], len(document["sessions"])), ("complete", 4, 2))
        lines = self.raw_lines()
        self.assertEqual(lines[:len(kept)], kept)
        triples = {(t["block"], t["row"], t["slot"]) for t in map(json.loads, lines)}
        self.assertEqual(len(triples), 4 * 3 * 3)
        self.assertLess(len(lines), 4 * 3 * 3 + 3)  # at most one row of a block was measured again
        self.assertIn("is complete", self.tool(*resume, code=1).stderr)

    def raw_lines(self):
        return (self.only() / "raw.jsonl").read_text().splitlines()

    def test_other_binaries_do_not_go_on_with_it(self):
        self.tool(*self.command("--blocks", 1))
        place = self.only()
        document = json.loads((place / "duet.json").read_text())
        (place / "duet.json").write_text(json.dumps(document | {"status": "interrupted"}))
        (self.folder / "head" / "bench_sched").write_text((self.folder / "head" / "bench_sched").read_text() + "\n")
        resume = ["duet", "--base", "base", "--head", "head", "--resume", place]
        self.assertIn("was begun with other binaries of head", self.tool(*resume, code=1).stderr)

    def test_a_seed_is_a_number(self):
        self.assertIn("at least 0", self.tool(*self.command("--seed", "-1"), code=1).stderr)

    def test_a_build_that_takes_no_turns_is_not_compared(self):
        self.build("base", turns=False)
        self.assertIn("the base of sched/yield/", self.tool(*self.command(), code=4).stderr)

    def test_what_is_compared_are_the_turns_of_a_round(self):
        rows = {"sched/yield/tern": 20.0}
        drift = [1.0, 2.0, 1.5, 4.0, 1.0]  # of the machine, from round to round
        spike = [1.0, 1.0, 1.0, 1.0, 9.0]
        samples = []
        for block in range(30):
            for slot, factor in (("base", 1), ("again", 1), ("head", 1.3)):
                turns = [20.0 * factor * d * (s if slot == "head" else 1) for d, s in zip(drift, spike)]
                samples.append({"block": block, "row": "sched/yield/tern", "slot": slot, "link": 0, "padding": 0, "wall_ms": 50, "outcome": "ok",
                                "entry": files.entry("sched/yield/tern", sorted(turns)[2]), "turns_ns": turns})
        self.config(set=list(rows))
        duet = files.write_duet(self.folder / "turns-duet", files.document(rows=rows, turns=5), samples)
        self.assertRegex(self.gate(duet, code=2).stdout, r"sched/yield/tern .* 1\.30  1\.30 \.\. 1\.30 ")

    def test_links_take_turns(self):
        for name in ("base/salt-1", "base/salt-2"):
            self.build(name)
        self.tool(*self.command("--blocks", 6))
        pairs = collections.Counter()
        links = {}
        for line in self.raw(self.only()):
            links[line["block"], line["row"], line["slot"]] = line["link"]
        for (block, row, slot), link in links.items():
            if slot == "base":
                pairs[link, links[block, row, "again"]] += 1
        self.assertEqual(set(pairs.values()), {3})  # each ordered pair of two different links, equally often
        self.assertEqual(len(pairs), 6)

    def test_what_is_missing_or_broken_is_named(self):
        self.build("head", gone=["sched/yield/pthread_pool"], renamed={"sched/yield/pthread": "sched/yield2/pthread"})
        self.tool(*self.command("--blocks", 8), FAKE_NOISE="0.005")
        self.config(set=["sched/yield/tern", "sched/yield/pthread_pool"])
        out = self.gate(self.only(), code=2).stdout
        self.assertIn("missing: sched/yield/pthread_pool: base has it, head does not", out)
        self.assertIn("renamed: sched/yield/pthread: is sched/yield2/pthread in head", out)
        self.config(set=["sched/yield/tern", "sched/yield/pthread_pool", "sched/yield/pthread"],
                    allowed=[{"row": "sched/yield/pthread_pool", "change": "missing", "reason": "it is done with"},
                             {"row": "sched/yield/pthread", "change": "renamed", "reason": "a better name"}])
        self.assertIn("(allowed)", self.gate(self.only()).stdout)

    def test_a_row_that_crashes_is_red(self):
        self.build("head", fault="status")
        done = self.tool(*self.command("--blocks", 2), code=5)
        self.assertIn("6 processes failed", done.stderr)
        self.tool("validate", self.only())
        self.config(set=["sched/yield/tern"])
        out = self.gate(self.only(), code=2).stdout
        self.assertIn("errored: sched/yield/tern: 2 of 2 repetitions: exit status 3: a last word", out)

    def test_another_checksum_is_red(self):
        self.build("head", checksum=43)
        self.tool(*self.command("--blocks", 8), FAKE_NOISE="0.005")
        self.config(set=["sched/yield/tern"])
        self.assertIn("checksum: sched/yield/tern: 42 and 43", self.gate(self.only(), code=2).stdout)

    def test_calibrate_learns_floors(self):
        self.config(set=["sched/yield/tern", "sched/yield/pthread"])
        self.tool("calibrate", "--runs", 2, "--base", "base", "--blocks", 6, "--out", "out", "--config", "gate.json", "--write",
                  "--machine", "m", "--seed", 3, FAKE_NOISE="0.2")
        document = json.loads((self.folder / "gate.json").read_text())
        (arch,) = document["floors"]
        self.assertEqual((document["floors"][arch]["runs"], document["floors"][arch]["machine"]), (2, "m"))
        self.assertEqual(set(document["floors"][arch]["rows"]), {"sched/yield/tern", "sched/yield/pthread"})
        self.tool("validate", "gate.json")

        def move(place, row):
            slots = collections.defaultdict(dict)
            for line in self.raw(place):
                if line["row"] == row:
                    slots[line["block"]][line["slot"]] = line["turns_ns"]
            ratios = sorted(statistics.median(a / b for a, b in zip(s["again"], s["base"])) for s in slots.values())
            return abs(math.log((ratios[2] + ratios[3]) / 2))

        for row, floor in document["floors"][arch]["rows"].items():
            low, high = sorted(move(place, row) for place in (self.folder / "out").iterdir())
            self.assertAlmostEqual(floor, low + 0.99 * (high - low), delta=1.01e-4)


class trials(tool_test):
    """bench/harness: other links of a build, and the slow-downs of the evaluation"""

    def setUp(self):
        super().setUp()
        sys.path.insert(0, str(ROOT / "bench" / "harness"))

    def test_slow_downs_find_their_place(self):
        import gate_trials
        (self.folder / "include/tern").mkdir(parents=True)
        for primitive, (name, *_) in gate_trials.PLACES.items():
            copy = self.folder / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy)
            gate_trials.inject(self.folder, primitive, 7)
            self.assertEqual(copy.read_text().count(".rept 7"), 1)
        plans = [gate_trials.plan(number) for number in range(400)]
        self.assertEqual(plans, [gate_trials.plan(number) for number in range(400)])
        drawn = {(p["primitive"], p["percent"]) for p in plans if p["kind"] == "slow"}
        self.assertEqual(drawn, {(p, n) for p in ("alloc", "sched", "gc") for n in (3, 5, 10)})
        rows = json.loads((ROOT / "results/gate.json").read_text())["set"]
        self.assertTrue({p["row"] for p in plans if p["row"]} <= set(rows))

    def test_another_link_runs_and_is_another(self):
        build = pathlib.Path(os.environ["TERN_BUILD_DIR"])
        if not (build / "bench/bench_alloc").exists() or not (build / "build.ninja").exists():
            self.skipTest("the bench binaries are not built, or not by Ninja")
        import relink
        relink.relink(build.resolve(), "bench_alloc", 1, 5, self.folder)
        ours = self.folder / "salt-1/bench_alloc"
        self.assertNotEqual(ours.read_bytes(), (build / "bench/bench_alloc").read_bytes())
        done = subprocess.run([ours, "--benchmark_filter=^alloc/pair/tern/size:64/", "--tern_operations=1000"], capture_output=True,
                              text=True, timeout=60, check=True)
        self.assertIn("alloc/pair/tern/size:64", done.stdout)

    def test_our_binaries_take_turns(self):
        build = pathlib.Path(os.environ["TERN_BUILD_DIR"]).resolve()
        if not (build / "bench/bench_sched").exists():
            self.skipTest("the bench binaries are not built")
        # The second measures in a process that it forks, the third in one that it starts.
        rows = "^sched/(yield/tern|parked_memory/tern/count:1000)$|^alloc/pair/(tern|glibc)/size:64$"
        done = self.tool("duet", "--base", build, "--head", build, "--filter", rows, "--blocks", 1, "--turns", 3, "--time-ms", 1,
                         "--out", self.folder)
        lines = [json.loads(line) for line in (pathlib.Path(done.stdout.strip()) / "raw.jsonl").read_text().splitlines()]
        self.assertEqual(len(lines), 4 * 3)
        for line in lines:
            self.assertEqual((line["outcome"], len(line["turns_ns"])), ("ok", 3), line)

    def test_instructions_are_counted(self):
        build = pathlib.Path(os.environ["TERN_BUILD_DIR"])
        if not (build / "bench/bench_alloc").exists() or shutil.which("valgrind") is None:
            self.skipTest("there is no valgrind, or the bench binaries are not built")
        self.tool("count", "--bin", build.resolve() / "bench", "--filter", "^alloc/pair/tern/size:64$", "--operations", 20000, "--out", "count.json")
        self.tool("validate", "count.json")
        document = json.loads((self.folder / "count.json").read_text())
        one, two = (row["instructions_per_op"] for row in document["benchmarks"])
        self.assertTrue(5 < one < 500, one)
        self.assertLess(abs(one / two - 1), 0.001)
        self.config(set=["alloc/pair/tern/size:64"])
        self.gate("count.json", "count.json")
        self.assertIn(" [instructions]", self.tool("compare", "count.json", "count.json").stdout)

    def test_instructions_of_a_row_in_a_process_of_its_own(self):
        row = "sched/yield/boost_fiber"
        bench = pathlib.Path(os.environ["TERN_BUILD_DIR"]).resolve() / "bench"
        if not (bench / "bench_sched").exists() or shutil.which("valgrind") is None:
            self.skipTest("there is no valgrind, or the bench binaries are not built")
        self.tool("count", "--bin", bench, "--filter", f"^{row}$", "--operations", 20000, "--out", "count.json")
        first = json.loads((self.folder / "count.json").read_text())["benchmarks"][0]
        if first.get("error_message", "").startswith("skipped: Boost"):
            self.skipTest(first["error_message"])
        self.assertTrue(20 < first["instructions_per_op"] < 5000, first)

    def test_instructions_of_a_preloaded_row(self):
        bench = pathlib.Path(os.environ["TERN_BUILD_DIR"]).resolve() / "bench"
        if not (bench / "bench_alloc").exists() or shutil.which("valgrind") is None:
            self.skipTest("there is no valgrind, or the bench binaries are not built")
        self.tool("count", "--bin", bench, "--filter", "^alloc/pair/(tern_preload|glibc)/size:64$", "--operations", 200000, "--out", "count.json")
        for row in json.loads((self.folder / "count.json").read_text())["benchmarks"]:
            self.assertTrue(20 < row["instructions_per_op"] < 1000, row)


def each_row(row_name, **fields):
    """Sets fields of each entry of a row"""
    def change(document):
        for row in document["benchmarks"]:
            if row["name"] == row_name:
                row.update(fields)
    return change


def without_row(name):
    def change(document):
        document["benchmarks"] = [r for r in document["benchmarks"] if r["name"] != name]
    return change


def text(old, new, count=1):
    """Replaces in the text of the file"""
    return lambda content: content.replace(old, new, count)


def as_text(function):
    function.of_text = True
    return function


def failed(message):
    return {"error_occurred": True, "error_message": message, "real_time": 0.0, "cpu_time": 0.0, "iterations": 0}


ROW = "sched/yield/tern"
ENTRY = ("benchmarks", 3)
# What is done to the head's summary.json, the exit code of `gate base head`, and a part of the line.
HEAD_MUTANTS = {
    "a missing row": (without_row(ROW), 2, f"missing: {ROW}: base has it, head does not"),
    "a renamed row": (each_row("alloc/pair/tern/size:64", name="alloc/pair/tern/size:65", run_name="x"), 2,
                      "renamed: alloc/pair/tern/size:64: is alloc/pair/tern/size:65"),
    "a time of a thousandth in another unit": (each_row(ROW, time_unit="us"), 2, "REGRESSION: 1 row"),
    "an unknown unit": (each_row(ROW, time_unit="parsec"), 1, 'unknown time unit "parsec"'),
    "another CPU": (edit("context", "tern_cpu_model", value="Other CPU"), 4, "different hosts (CPU model: Fake CPU and Other CPU)"),
    "another machine": (edit("context", "tern_machine", value="bench-2"), 4, "different hosts (machine: box and bench-2)"),
    "another architecture": (edit("context", "tern_arch", value="aarch64"), 4, "times of different architectures are not judged"),
    "an emulated host": (edit("context", "tern_emulated", value="true"), 4, "made under emulation"),
    "another library": (edit("context", "library_version", value="1.9.0"), 0, "differs: library_version: 1.7.1 -> 1.9.0"),
    "a library with assertions": (edit("context", "library_build_type", value="debug"), 0, "library_build_type: release -> debug"),
    "no repetitions": (edit("benchmarks", value=[]), 4, "have no row in common"),
    "no repetitions of a row": (each_row(ROW, iterations=0, real_time=0.0, repetitions=0), 2, f"unmeasured: {ROW}: head has no time above zero"),
    "a repetition twice": (edit(*ENTRY, "repetition_index", value=2), 1, f'row "{ROW}" has repetition 2 twice'),
    "a negative time": (edit(*ENTRY, "real_time", value=-20.0), 2, f"errored: {ROW}: a time of head is not above zero"),
    "a time of zero": (each_row(ROW, real_time=0.0), 2, f"unmeasured: {ROW}: head has no time above zero"),
    "text for a number": (edit(*ENTRY, "real_time", value="fast"), 1, 'has no number "real_time"'),
    "no name": (drop(*ENTRY, "name"), 1, 'an entry of "benchmarks" has no name'),
    "an error": (lambda d: at(d, *ENTRY).update(failed("it broke")), 2, f"errored: {ROW}: 1 of 8 repetitions: it broke"),
    "a skip": (each_row(ROW, **failed("skipped: not here")), 2, f"skipped: {ROW}: not here"),
    "another checksum": (each_row(ROW, checksum=8), 2, f"checksum: {ROW}: 7 and 8"),
    "a new row": (lambda d: d["benchmarks"].append(d["benchmarks"][0] | {"name": "sched/new/tern"}), 0, "new: sched/new/tern"),
    "an older schema": (edit("context", "tern_schema", value="tern.summary/0"), 1, "is older than tern.summary/1"),
    "a newer schema": (edit("context", "tern_schema", value="tern.summary/2"), 4, "is newer than tern.summary/1"),
    "no benchmarks": (drop("benchmarks"), 1, "head.json"),
    "NaN": (as_text(text('"real_time": 2', '"real_time": NaN, "x": 2')), 1, "holds nan at line"),
    "Infinity": (as_text(text('"real_time": 2', '"real_time": -Infinity, "x": 2')), 1, "holds -infinity at line"),
    "a number beyond a double": (as_text(text('"real_time": 2', '"real_time": 1e999, "x": 2')), 1, "that no double can hold"),
    "a key twice": (as_text(text('"real_time": 2', '"iterations": 2, "real_time": 2')), 1, 'has the key "iterations" twice'),
    "a truncated file": (as_text(lambda t: t[:len(t) // 2]), 1, "is truncated"),
    "an empty file": (as_text(lambda t: ""), 1, "is empty"),
    "no JSON": (as_text(lambda t: "Running it\n" + t), 1, "is not JSON"),
    "something behind it": (as_text(lambda t: t + "{}"), 1, "is not valid JSON at line"),
    "not UTF-8": (as_text(lambda t: t.replace("sched/yield", "sched/yi\udcffld", 1)), 1, "is not valid JSON at line"),
    "nested a hundred thousand deep": (as_text(lambda t: "[" * 100_000), 1, "is nested more than 100 deep"),
    "a huge file": (as_text(lambda t: t.rstrip()[:-1] + ', "more": [' + "0, " * 5_000_000 + "0]}"), 0, "PASS"),
}
# What is done to gate.json, the line that is named, and a part of it; `validate` and `gate` both end with 1.
CONFIG_MUTANTS = {
    "an unknown key": (edit("settings", "flor", value=1), 4, "flor"),
    "an unknown key at the top": (edit("flors", value={}), 15, "flors"),
    "a missing key": (drop("allowed"), 1, "allowed"),
    "another schema": (edit("schema", value="tern.gates/1"), None, 'unknown schema "tern.gates/1"'),
    "text for a number": (edit("settings", "least_floor", value="2%"), 4, "/settings/least_floor"),
    "a share above one": (edit("settings", "invalid_share", value=20), 4, "/settings/invalid_share"),
    "advisory below the floor": (edit("settings", value={"least_floor": 0.05, "advisory_above": 0.01}), 5, "every row would be advisory"),
    "an empty set": (edit("set", value=[]), 4, "/set"),
    "a row twice": (lambda d: d["set"].append(ROW), 11, f'"{ROW}" stands twice'),
    "a floor of no row": (edit("floors", value={"x86_64": {"machine": "m", "runs": 1, "rows": {"a/b/c": 0.1}}}), 17, '"a/b/c" is not in the set'),
    "a negative floor": (edit("floors", value={"x86_64": {"machine": "m", "runs": 1, "rows": {ROW: -0.1}}}), 17, "/floors/x86_64/rows"),
    "an unknown change": (edit("allowed", value=[{"row": ROW, "change": "slower", "reason": "r"}]), 16, "/allowed/0/change"),
    "a change of no row": (edit("allowed", value=[{"row": "a/b/c", "change": "missing", "reason": "r"}]), 15, '"a/b/c" is not in the set'),
    "a waiver of no row": (edit("waivers", value=[files.waiver(row="a/b/c")]), 16, '"a/b/c" is not in the set'),
    "a waiver without a reason": (edit("waivers", value=[files.waiver(reason="")]), 21, "/waivers/0/reason"),
    "a waiver for ever": (edit("waivers", value=[files.waiver(expires="never")]), 20, "/waivers/0/expires"),
    "a waiver to no day": (edit("waivers", value=[files.waiver(expires="2027-02-29")]), 20, '"2027-02-29" is not a day'),
    "a ceiling below one": (edit("waivers", value=[files.waiver(ceiling=0.9)]), 19, "/waivers/0/ceiling"),
    "two waivers of one thing": (edit("waivers", value=[files.waiver(), files.waiver()]), 23, "a second waiver of"),
}
# What is done to a duet (its document, its lines), the exit code of `gate`, and a part of the line.
DUET_MUTANTS = {
    "not complete": (lambda d, s: d.update(status="interrupted", blocks_done=7), 3, "not complete: 7 of 30 blocks"),
    "a host that changed": (lambda d, s: d["sessions"].append(json.loads(json.dumps(d["sessions"][0]).replace('"6.1"', '"6.2"'))), 3,
                            "the host changed: kernel: 6.1 -> 6.2"),
    "emulated": (lambda d, s: d["sessions"][0]["host"].update(emulated=True), 4, "made under emulation"),
    "an unknown status": (lambda d, s: d.update(status="done"), 1, "not a valid duet file: /status"),
    "no sessions": (lambda d, s: d.update(sessions=[]), 1, "not a valid duet file: /sessions"),
    "another compiler": (lambda d, s: d["head"][0][0].update(compiler="clang 19"), 0, "the builds differ: compiler of bench_sched"),
    "a line of no row": (lambda d, s: s[4].update(row="a/b/c"), 1, "raw.jsonl:5: is of a row that duet.json does not have"),
    "an unknown slot": (lambda d, s: s[4].update(slot="tail"), 1, 'raw.jsonl:5: unknown slot "tail"'),
    "no slot": (lambda d, s: s[4].pop("slot"), 1, "raw.jsonl:5: is not a line of a duet"),
    "no lines": (lambda d, s: s.clear(), 2, f"unmeasured: {ROW}"),
    "a process that failed": (lambda d, s: s[2].update(outcome="signal 11 (Segmentation fault)", entry=None), 2,
                              f"errored: {ROW}: 1 of 30 repetitions: signal 11"),
    "a time of zero": (lambda d, s: s[2]["entry"].update(real_time=0.0), 2, "no time above zero was measured"),
    "unequal iteration counts": (lambda d, s: [x["entry"].update(iterations=999) for x in s if x["slot"] == "head" and x["row"] == ROW], 0,
                                 "unequal iteration counts, 999 and 1000"),
    "a row that neither build has": (lambda d, s: d["rows"].append(d["rows"][0] | {"name": "a/b/c", "in_base": False, "in_head": False}), 2,
                                     "missing: a/b/c: in the set, but neither build has it"),
}


class mutants(tool_test):
    """Each mistake has its line and its exit code"""

    def check(self, command, code, part, clean=True):
        done = self.tool(*command, code=code)
        said = done.stderr if code in (1, 4) else done.stdout
        self.assertIn(part, " ".join(said.split()))
        if code in (1, 4):
            self.assertEqual(done.stdout, "")
            self.assertTrue(all(line.startswith("ternbench ") for line in done.stderr.splitlines()), done.stderr)

    def test_as_many_as_are_told(self):
        page = (ROOT / "results/gate-evaluation/README.md").read_text()
        counts = [len(HEAD_MUTANTS), len(CONFIG_MUTANTS), len(DUET_MUTANTS)]
        self.assertIn("{} of a result, {} of `gate.json`, {} of a duet".format(*counts), page)
        self.assertIn(f"| {sum(counts)} of {sum(counts)} mutants |", page)

    def test_of_a_result(self):
        self.assertGreaterEqual(len(HEAD_MUTANTS), 25)
        (self.folder / "base.json").write_text(json.dumps(files.summary()))
        for name, (change, code, part) in HEAD_MUTANTS.items():
            with self.subTest(name):
                document = files.summary(seed=2)
                if not hasattr(change, "of_text"):
                    change(document)
                content = json.dumps(document, indent=1)
                if hasattr(change, "of_text"):
                    content = change(content)
                (self.folder / "head.json").write_bytes(content.encode("utf-8", "surrogateescape"))
                self.check(["gate", "base.json", "head.json", "--config", "gate.json"], code, part)

    def test_of_the_configuration(self):
        duet = self.duet()
        for name, (change, line, part) in CONFIG_MUTANTS.items():
            with self.subTest(name):
                document = files.config()
                change(document)
                (self.folder / "gate.json").write_text(json.dumps(document, indent=1))
                where = "gate.json: " if line is None else f"gate.json:{line}: "
                for command in (["gate", duet, "--config", "gate.json"], ["validate", "gate.json"]):
                    done = self.tool(*command, code=1)
                    self.assertIn(part, done.stderr)
                    self.assertTrue(any(where in row and part in row for row in done.stderr.splitlines()), done.stderr)
        self.config(waivers=[files.waiver(expires="2026-11-25")])
        done = self.tool("gate", duet, "--config", "gate.json", code=1)
        self.assertIn("gate.json:15: the waiver of sched/yield/tern [time] expired on 2026-11-25", done.stderr)
        self.config(waivers=[files.waiver(row="a/b/c", ceiling=1.5), files.waiver(expires="2026-13-01")])
        self.assertEqual(self.tool("validate", "gate.json", code=1).stderr.count("\n"), 2)  # each mistake has its line

    def test_of_a_duet(self):
        for name, (change, code, part) in DUET_MUTANTS.items():
            with self.subTest(name):
                document, lines = files.document(), files.lines()
                change(document, lines)
                duet = files.write_duet(self.folder / "mutant-duet", document, lines)
                self.check(["gate", duet, "--config", "gate.json"], code, part)
        duet = files.write_duet(self.folder / "mutant-duet")
        with (duet / "raw.jsonl").open("a") as file:
            file.write('{"block": 3')  # cut off while it was written
        self.gate(duet)
        (duet / "raw.jsonl").write_text('{"block": NaN}\n')
        self.check(["gate", duet, "--config", "gate.json"], 1, "raw.jsonl:1: holds nan")
        self.check(["gate", self.folder, "--config", "gate.json"], 1, "is not a duet")
        self.check(["gate", duet, "--config", "none.json"], 1, "none.json: No such file")


if __name__ == "__main__":
    unittest.main()
