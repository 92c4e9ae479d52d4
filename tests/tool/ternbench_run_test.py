#!/usr/bin/env python3
"""`ternbench run` over a stand-in for the bench binaries (data/fake_bench.py): order, records, faults, interruption.

TERNBENCH names the tool, TERN_SOURCE_DIR the tree.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

TOOL = os.environ["TERNBENCH"]
DATA = pathlib.Path(__file__).resolve().parent / "data"


def launcher():
    """How the tool itself is started: through an emulator when it is built for another machine."""
    return os.environ.get("TERN_LAUNCHER", "").split()


class run_test(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ternbench-run-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        shutil.copy(DATA / "fake_bench.py", self.bin / "bench_sched")
        (self.bin / "bench_sched").chmod(0o755)
        self.out = self.folder / "out"

    def command(self, *options):
        return [*launcher(), TOOL, "run", "--bin", str(self.bin), "--out", str(self.out), *options]

    def run_tool(self, *options, fault="", code=0, **environment):
        environment = {**os.environ, "FAKE_FAULT": fault, **environment}
        done = subprocess.run(self.command(*options), env=environment, capture_output=True, text=True, errors="replace", timeout=120,
                              check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def only_run(self):
        runs = sorted(self.out.iterdir())
        self.assertEqual(len(runs), 1, runs)
        return runs[0]

    def load(self, name):
        return json.loads((self.only_run() / name).read_text(), parse_constant=self.fail)

    def assert_valid(self):
        done = subprocess.run([*launcher(), TOOL, "validate", str(self.only_run())], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertFalse(list(self.only_run().rglob("*.tmp")))

    def rows(self):
        table = {}
        for row in self.load("summary.json")["benchmarks"]:
            table.setdefault(row["name"], {})[row["repetition_index"]] = row
        return table

    def test_the_rows_that_claims_ask_for(self):
        def test(row, versus=None):
            return {"row": row, "metric": "time", "op": "<=", "bound": 1} | ({"versus": versus} if versus else {})

        claim = {"id": "one", "area": "sched", "source": "an article", "claim": "it is so", "figures": {}, "rows": ["sched/*"],
                 "kind": "absolute", "note": "a note", "test": test("sched/spawn/tern/fibers:1000"), "needs": [],
                 "conditions": [{"when": "at times", "test": test("sched/memory/pthread", "sched/memory/tern")}]}
        file = self.folder / "claims.json"
        file.write_text(json.dumps({"schema": "tern.claims/1", "claims": [claim]}))
        self.run_tool("--quick", "--repetitions", "2", "--claims", str(file))
        self.assert_valid()
        rows = self.rows()
        self.assertEqual(len(rows), 9 + 3 + 3)  # each of all subjects
        self.assertIn("sched/spawn/pthread_pool/fibers:1000", rows)
        self.assertIn("sched/memory/tern", rows)
        self.assertEqual(self.load("manifest.json")["plan"]["claims"], [str(file)])
        shutil.rmtree(self.out)
        self.run_tool("--quick", "--repetitions", "2", "--claims", str(file), "--only-claims")
        self.assert_valid()
        asked = {"sched/spawn/*/fibers:1000", "sched/memory/*"}
        self.assertEqual({re.sub("^([^/]*/[^/]*)/[^/]*", r"\1/*", name) for name in self.rows()}, asked)
        self.assertIs(self.load("manifest.json")["plan"]["only_claims"], True)
        shutil.rmtree(self.out)
        done = self.run_tool("--quick", "--only-claims", code=1)
        self.assertIn("--claims", done.stderr)
        done = self.run_tool("--quick", "--claims", str(self.folder / "none.json"), code=1)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertFalse(self.out.exists())

    def test_a_good_run(self):
        done = self.run_tool("--quick", "--repetitions", "4", "--seed", "11", "--machine", "Test Box (1)")
        run = self.only_run()
        self.assertRegex(run.name, r"^\d{8}T\d{6}Z-[a-z0-9_]+-test-box-1$")
        self.assert_valid()
        manifest = self.load("manifest.json")
        self.assertEqual(manifest["status"], "complete")
        self.assertEqual(manifest["seed"], 11)
        self.assertEqual(manifest["repetitions_done"], 4)
        self.assertEqual(manifest["host"]["cpu_model"], "Fake CPU")  # as the binary saw it
        self.assertIsNone(manifest["host"]["kernel"])
        self.assertEqual(len(manifest["rows"]), 9)  # the quick tier only
        # a fresh process per repetition and case, each case once per repetition
        self.assertEqual(len(manifest["schedule"]), 4 * 3)
        for repetition in range(4):
            cases = [s["case"] for s in manifest["schedule"] if s["repetition"] == repetition]
            self.assertEqual(sorted(cases), ["sched/spawn", "sched/wake", "sched/yield"])
        self.assertEqual(len({s["order_seed"] for s in manifest["schedule"]}), 12)
        rows = self.rows()
        self.assertEqual(sorted(rows), sorted(r["name"] for r in manifest["rows"]))
        for name, samples in rows.items():
            self.assertEqual(sorted(samples), [0, 1, 2, 3], name)
        sample = rows["sched/spawn/pthread/fibers:10"][0]
        self.assertAlmostEqual(sample["real_time"], 750, delta=40)  # us became ns
        self.assertEqual((sample["time_unit"], sample["checksum"], sample["repetitions"]), ("ns", 42, 4))
        self.assertEqual(sample["tern_role"], "baseline")
        self.assertIn("p99", rows["sched/wake/tern"][0])
        self.assertEqual(rows["sched/wake/pthread_pool"][0]["error_message"], "skipped: no such thing here")
        self.assertEqual(len(list((run / "raw").glob("*.hist.json"))), 4)
        self.assertFalse((run / "hist.tmp").exists())
        # raw files are untouched: the library's suffixes and units are still there
        raw = json.loads((run / manifest["schedule"][0]["raw"]).read_text())
        self.assertTrue(all(r["name"].endswith("/iterations:7/manual_time") for r in raw["benchmarks"]))
        self.assertIn("sched/yield", done.stdout)
        self.assertIn("skipped: no such thing here", done.stdout)
        self.assertIn(f"run directory: {run}", done.stdout)
        self.assertIn("left: 1/4", done.stderr)  # progress, as plain lines
        self.assertNotIn("\r", done.stderr)

    def test_no_path_and_no_host_name_is_recorded(self):
        self.run_tool("--quick", "--repetitions", "1")
        for name in ("manifest.json", "summary.json"):
            text = (self.only_run() / name).read_text()
            self.assertNotIn(str(self.folder), text)
            self.assertNotIn("host_name", text)
            self.assertNotIn(f'"{socket.gethostname()}"', text)

    def test_the_same_seed_gives_the_same_order(self):
        orders = []
        for seed in ("5", "5", "6"):
            self.run_tool("--repetitions", "3", "--seed", seed, "--machine", "m")
            orders.append([(s["case"], s["order_seed"]) for s in self.load("manifest.json")["schedule"]])
            shutil.rmtree(self.out)
        self.assertEqual(orders[0], orders[1])
        self.assertNotEqual(orders[0], orders[2])

    def test_tiers_suites_and_filters(self):
        self.run_tool("--repetitions", "1")
        self.assertEqual(len(self.load("manifest.json")["rows"]), 12)
        shutil.rmtree(self.out)
        self.run_tool("--full", "--repetitions", "1", "--filter", "yield|memory")
        self.assertEqual(len(self.load("manifest.json")["rows"]), 6)
        self.assertIn("bytes_per_op", self.rows()["sched/memory/tern"][0])
        for options, line in ((("--suite", "gc"), 'no binary has the suite "gc"'), (("--filter", "("), "not a regular expression"),
                              (("--quick", "--filter", "memory"), "no row of the quick tier matches --filter memory")):
            self.assert_one_line(self.run_tool(*options, code=1), line)

    def assert_one_line(self, done, part):
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(part, done.stderr)

    def test_a_crash_loses_no_row(self):
        done = self.run_tool("--quick", "--repetitions", "2", fault="crash", code=5)
        self.assert_valid()
        rows = self.rows()
        self.assertEqual(len(rows), 9)
        samples = [s for by_repetition in rows.values() for s in by_repetition.values()]
        self.assertEqual(len(samples), 18)
        crashed = [s for s in samples if "signal 11" in s.get("error_message", "")]
        measured = [s for s in samples if "error_occurred" not in s]
        self.assertEqual(len(crashed), 12)  # in each process the first row was whole, the other two were lost
        self.assertTrue(measured)           # ... and whole rows were saved from the cut files
        self.assertIn("about to crash", crashed[0]["error_message"])
        self.assertEqual(len(list((self.only_run() / "raw").glob("*.json.partial"))), 6)
        self.assertEqual(len(list((self.only_run() / "raw").glob("*.stderr.txt"))), 6)
        self.assertEqual(len(self.load("manifest.json")["errors"]), 12)
        self.assertIn("signal 11", done.stderr)

    def test_a_process_that_hangs_is_ended_and_not_tried_again(self):
        started = time.monotonic()
        self.run_tool("--quick", "--repetitions", "3", "--filter", "yield", "--timeout", "1", fault="hang", code=5)
        self.assertLess(time.monotonic() - started, 60)
        self.assert_valid()
        messages = [s["error_message"] for s in self.rows()["sched/yield/tern"].values()]
        self.assertEqual(len(messages), 3)
        self.assertIn("timed out after 1 s", messages[0])
        self.assertIn("not run: its process timed out", messages[1])
        self.assertEqual(len(self.load("manifest.json")["schedule"]), 1)

    def test_other_faults(self):
        for fault, code, name, message in (
            ("error", 5, "sched/yield/pthread", "it went wrong"),
            ("silent", 5, "sched/yield/pthread", "the binary did not report this row"),
        ):
            self.run_tool("--quick", "--repetitions", "2", fault=fault, code=code)
            self.assert_valid()
            self.assertEqual({s.get("error_message") for s in self.rows()[name].values()}, {message})
            shutil.rmtree(self.out)
        done = self.run_tool("--quick", "--repetitions", "1", fault="status", code=5)
        self.assertIn("sched/yield (repetition 0): exit status 3: a last word", done.stderr)
        self.assertIn("exit status 3", {s["outcome"] for s in self.load("manifest.json")["schedule"]})
        self.assertEqual(len([s for r in self.rows().values() for s in r.values() if "checksum" in s]), 8)  # none lost
        shutil.rmtree(self.out)
        self.assert_one_line(self.run_tool("--quick", fault="garbage", code=1), "bench_sched --tern_list: is not JSON")
        self.run_tool("--quick", "--repetitions", "1", fault="nan", code=5)
        self.assert_valid()  # the file with the NaN is kept, as *.partial
        self.assertEqual(len(list((self.only_run() / "raw").glob("*.json.partial"))), 3)

    def test_last_words_of_any_bytes_lose_no_measurement(self):
        done = self.run_tool("--quick", "--repetitions", "1", fault="bytes", code=5)
        self.assertNotIn("\x1b", done.stderr)
        self.assert_valid()
        self.assertEqual(self.load("manifest.json")["status"], "complete")
        self.assertEqual(len([s for r in self.rows().values() for s in r.values() if "checksum" in s]), 8)
        for line in self.load("manifest.json")["errors"]:
            self.assertTrue(line.endswith("exit status 3: \ufffd \ufffd" + "\u00e9" * 78), line)

    def test_checksums_must_agree(self):
        done = self.run_tool("--quick", "--repetitions", "1", "--filter", "yield", fault="checksum", code=6)
        self.assertEqual(done.stderr.count("checksums of sched/yield differ: "), 1, done.stderr)
        self.assert_valid()
        self.assertEqual(len(self.load("manifest.json")["checksum_mismatches"]), 1)

    def test_an_interruption_keeps_what_was_measured(self):
        environment = {**os.environ, "FAKE_SLEEP": "0.2"}
        with subprocess.Popen(self.command("--quick", "--repetitions", "500"), env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as tool:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                if self.out.exists() and len(list(self.out.glob("*/raw/*.json"))) >= 4:
                    break
                time.sleep(0.05)
            tool.send_signal(signal.SIGINT)
            out, err = tool.communicate(timeout=60)
        self.assertEqual(tool.returncode, 130, out + err)
        self.assert_valid()
        manifest = self.load("manifest.json")
        self.assertEqual(manifest["status"], "interrupted")
        self.assertIsNotNone(manifest["ended_utc"])
        self.assertEqual(len(self.rows()), 9)
        self.assertIn("interrupted; what was measured is kept", err)

    def test_files_are_valid_even_after_a_kill(self):
        environment = {**os.environ, "FAKE_SLEEP": "0.1"}
        with subprocess.Popen(self.command("--quick", "--repetitions", "500"), env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as tool:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and len(list(self.out.glob("*/raw/r01.*.json"))) < 2:
                time.sleep(0.05)
            tool.kill()
            tool.communicate(timeout=60)
        manifest = self.load("manifest.json")
        self.assertEqual(manifest["status"], "running")
        self.assertGreaterEqual(manifest["repetitions_done"], 1)
        self.assertGreaterEqual(len(self.load("summary.json")["benchmarks"]), 9)

    def begin(self, count, signal_number, *options, **environment):
        """A run that gets the signal while its process after `count` others waits"""
        held = self.folder / "held"
        environment = {**os.environ, "FAKE_HOLD": f"{held}:{count}", **environment}
        with subprocess.Popen(self.command("--quick", "--repetitions", "4", *options), env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as run:
            while not held.exists() or held.stat().st_size <= count:
                self.assertIsNone(run.poll())
                time.sleep(0.02)
            run.send_signal(signal_number)
            held.unlink()
            _, err = run.communicate(timeout=60)
        return run.returncode, err

    def resume(self, code=0, **environment):
        # --out and the like are those of the run
        done = subprocess.run([*launcher(), TOOL, "run", "--bin", str(self.bin), "--resume", str(self.only_run())],
                              env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def raw_files(self):
        return {path.name: path.read_bytes() for path in (self.only_run() / "raw").iterdir()}

    def assert_whole(self):
        """Four repetitions of three cases, each measured once, in the order that the seed gives"""
        self.assert_valid()
        manifest = self.load("manifest.json")
        self.assertEqual((manifest["status"], manifest["repetitions_done"]), ("complete", 4))
        order = [(s["repetition"], s["sequence"], s["case"]) for s in manifest["schedule"]]
        self.assertEqual(order, sorted(order))
        self.assertEqual(len({(r, c) for r, _, c in order}), 12)
        self.assertEqual({len(by_repetition) for by_repetition in self.rows().values()}, {4})
        names = {s["raw"].removeprefix("raw/") for s in manifest["schedule"]}
        left = {n for n in self.raw_files() if not n.endswith((".hist.json", ".stderr.txt"))}
        self.assertEqual(left, names)
        self.assertFalse((self.only_run() / "schedule.jsonl").exists())
        return manifest

    def test_an_interrupted_run_goes_on(self):
        for signal_number in (signal.SIGINT, signal.SIGKILL):
            for count in (1, 7):  # in the midst of the first repetition, and of the third
                with self.subTest(signal=signal_number, count=count):
                    code, err = self.begin(count, signal_number, "--seed", "5", "--machine", "m")
                    self.assertEqual(code, 130 if signal_number == signal.SIGINT else -signal_number, err)
                    self.assertIn(str(self.only_run()), err)
                    with (self.only_run() / "schedule.jsonl").open("a") as file:
                        file.write('{"repetition": 3, "ca')  # as a power cut leaves it
                    before = self.raw_files()
                    self.resume()
                    manifest = self.assert_whole()
                    self.assertEqual((manifest["seed"], manifest["machine"], manifest["plan"]["asked"]), (5, "m", 4))
                    self.assertEqual(len(manifest["resumed_utc"]), 1)
                    after = self.raw_files()
                    kept = [name for name in before if before[name] == after.get(name)]
                    self.assertEqual(len([n for n in kept if not n.endswith(".hist.json")]), count)
                    self.assertIn("is complete", self.resume(code=1).stderr)
                    # what was read again from its files is what was measured
                    fresh = {s["raw"]: json.loads((self.only_run() / s["raw"]).read_text()) for s in manifest["schedule"]}
                    for line in manifest["schedule"]:
                        for entry in fresh[line["raw"]]["benchmarks"]:
                            name = entry["name"].split("/iterations")[0]
                            ours = self.rows()[name][line["repetition"]]
                            if "error_occurred" not in entry:
                                self.assertAlmostEqual(ours["real_time"], entry["real_time"] * 1000)
                    shutil.rmtree(self.out)

    def test_a_run_is_interrupted_again_and_again(self):
        self.begin(2, signal.SIGKILL)
        for count, signal_number in ((3, signal.SIGKILL), (2, signal.SIGINT)):
            held = self.folder / "held"
            command = [*launcher(), TOOL, "run", "--bin", str(self.bin), "--resume", str(self.only_run())]
            with subprocess.Popen(command, env={**os.environ, "FAKE_HOLD": f"{held}:{count}"}, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL) as run:
                while not held.exists() or held.stat().st_size <= count:
                    self.assertIsNone(run.poll())
                    time.sleep(0.02)
                run.send_signal(signal_number)
                held.unlink()
                run.wait(timeout=60)
        manifest = self.load("manifest.json")
        self.assertEqual(len([s for s in manifest["schedule"] if s["outcome"] == "ok"]), 2 + 3 + 2)
        self.assertEqual(manifest["status"], "interrupted")
        self.resume()
        self.assertEqual(len(self.assert_whole()["resumed_utc"]), 3)

    def test_errors_outlive_an_interruption(self):
        self.begin(4, signal.SIGKILL, FAKE_FAULT="status")
        self.resume(code=5, FAKE_FAULT="status")
        errors = self.load("manifest.json")["errors"]
        self.assertEqual(len(errors), 12)
        self.assertTrue(all(error.endswith("exit status 3: a last word") for error in errors), errors)
        self.assert_whole()

    def test_only_the_same_binaries_and_host_go_on(self):
        self.begin(4, signal.SIGINT)
        place = self.only_run()
        done = self.resume(code=4, FAKE_CPU="Other CPU")
        self.assertIn("was begun on another host (cpu_model: Fake CPU -> Other CPU)", done.stderr)
        with (self.bin / "bench_sched").open("a") as file:
            file.write("\n")
        self.assert_one_line(self.resume(code=1), "manifest.json: was begun with another bench_sched")
        for options in (("--quick",), ("--out", "elsewhere"), ("--repetitions", "3"), ("--filter", "yield")):
            done = subprocess.run([*launcher(), TOOL, "run", "--resume", str(place), *options], capture_output=True, text=True,
                                  timeout=60, check=False)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
        shutil.rmtree(place / "raw")
        (place / "manifest.json").write_text("{}")
        self.assert_one_line(self.resume(code=1), "manifest.json: ")

    def test_nothing_is_overwritten(self):
        self.out.mkdir()
        for ahead in range(20):
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + ahead))
            for arch in ("x86_64", "aarch64"):
                (self.out / f"{stamp}-{arch}-m").mkdir()
        done = self.run_tool("--quick", "--machine", "m", code=1)
        self.assert_one_line(done, "exists; nothing is overwritten")

    def test_a_run_of_an_emulated_binary_says_so(self):
        self.run_tool("--quick", "--repetitions", "1", FAKE_EMULATED="true", FAKE_ARCH="aarch64")
        manifest = self.load("manifest.json")
        self.assertEqual((manifest["host"]["arch"], manifest["host"]["emulated"]), ("aarch64", True))
        self.assertEqual(self.load("summary.json")["context"]["tern_emulated"], "true")

    def test_missing_binaries(self):
        (self.bin / "bench_sched").unlink()
        self.assert_one_line(self.run_tool(code=1), "holds no bench binary")
        self.assertFalse(self.out.exists())


class script_test(unittest.TestCase):
    """scripts/bench looks at the options before there is a tool to ask."""

    SCRIPT = pathlib.Path(os.environ["TERN_SOURCE_DIR"]) / "scripts/bench"

    def test_it_knows_the_options_of_the_tool(self):
        told = subprocess.run([*launcher(), TOOL, "run", "--help"], capture_output=True, text=True, check=True).stdout
        options = dict(re.findall(r"^  (?:-h,)?(--[a-z-]+)( TEXT| INT| UINT| FLOAT)?", told, re.M))
        text = self.SCRIPT.read_text()
        for name, takes_value in (("alone", False), ("with_value", True)):
            known = re.search(rf"^{name}='([^']*)'", text, re.M)[1].split()
            self.assertEqual(set(known), {option for option, value in options.items() if bool(value) == takes_value} - {"--help"})

    def test_a_slip_is_told_before_anything_is_built(self):
        with tempfile.TemporaryDirectory() as folder:
            for options, line in ((["--quik"], "unknown option --quik"), (["--filter"], "--filter needs a value")):
                done = subprocess.run([self.SCRIPT, "--no-install", *options], env={**os.environ, "TERN_BUILD_DIR": folder},
                                      capture_output=True, text=True, timeout=60, check=False)
                self.assertEqual((done.returncode, done.stderr), (1, f"tern: {line}\n"))
            self.assertEqual(os.listdir(folder), [])


if __name__ == "__main__":
    unittest.main()
