#!/usr/bin/env python3
"""The reading verbs over the fixtures of data/runs/ (made by data/make_runs.py): show, compare, validate, doctor, usage."""
import json
import os
import pathlib
import pty
import re
import subprocess
import sys
import tempfile
import unittest

TOOL = os.environ["TERNBENCH"]
RUNS = pathlib.Path(__file__).resolve().parent / "data" / "runs"
LAUNCHER = os.environ.get("TERN_LAUNCHER", "").split()


def tool(*arguments, **environment):
    return subprocess.run([*LAUNCHER, TOOL, *map(str, arguments)], cwd=RUNS, env={**os.environ, **environment},
                          capture_output=True, text=True, timeout=120, check=False)


class read_test(unittest.TestCase):
    def good(self, *arguments):
        done = tool(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stderr)
        return done.stdout

    def assert_line(self, done, code, *parts):
        """One clear line on stderr, nothing on stdout, and the documented exit code"""
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("ternbench"), done.stderr)
        for part in parts:
            self.assertIn(part, done.stderr)

    # show

    def test_show_fits_100_columns_and_has_every_row(self):
        text = self.good("show", "a")
        self.assertLessEqual(max(map(len, text.splitlines())), 100)
        for part in ("sched/wake_latency", "alloc/pair/size:8", "gc/binary_trees/depth:16", "p99", "shared_ptr",
                     "skipped: one worker cannot yield to another", "order-statistic interval"):
            self.assertIn(part, text)
        self.assertNotIn("\x1b", text)
        # the ratio of a row, recomputed here from the file
        document = json.loads((RUNS / "a/summary.json").read_text())
        times = {(r["name"], r["repetition_index"]): r["real_time"] for r in document["benchmarks"]}
        ratios = sorted(times["sched/yield/tern", i] / times["sched/yield/pthread", i] for i in range(8))
        line = next(line for line in text[text.index("sched/yield"):].splitlines() if line.startswith("  pthread "))
        wanted = [(ratios[3] + ratios[4]) / 2, ratios[0], ratios[7]]
        for got, value in zip(re.findall(r"0\.\d+", line.split("%")[1]), wanted, strict=True):
            self.assertAlmostEqual(float(got), value, delta=0.00006)

    def test_show_selects(self):
        self.assertNotIn("gc/", self.good("show", "a", "--area", "alloc"))
        text = self.good("show", "a", "--case", "alloc/pair")
        self.assertIn("alloc/pair/size:1024", text)
        self.assertNotIn("sched", text)
        text = self.good("show", "a", "--select", "gc,alloc/pair/size:8")
        self.assertLess(text.index("gc/binary_trees"), text.index("alloc/pair/size:8"))  # in the order asked for
        self.assertNotIn("size:1024", text)
        self.assert_line(tool("show", "a", "--select", "gc/nothing"), 1, 'no row of this run is in "gc/nothing"')

    def test_show_markdown(self):
        lines = self.good("show", "a", "--format", "markdown", "--select", "sched").splitlines()
        table = [line for line in lines if line.startswith("|")]
        self.assertEqual({line.count("|") for line in table}, {9})
        self.assertEqual(len(table), 2 + 3 + 1)
        self.assertIn("| sched/yield | time | tern |", "\n".join(table))
        self.assertIn("- `sched/yield/pthread_pool`: skipped: one worker cannot yield to another", lines)

    def test_show_compact(self):
        pairs = self.good("show", "a", "--format", "markdown", "--select", "sched").splitlines()
        lines = self.good("show", "a", "--format", "compact", "--select", "sched").splitlines()
        table = [line for line in lines if line.startswith("|")]
        self.assertEqual({line.count("|") for line in table}, {6})
        subjects = dict.fromkeys(tuple(line.split(" | ")[:3]) for line in pairs if line.startswith("| sched"))
        self.assertEqual([tuple(line.split(" | ")[:3]) for line in table[2:]], list(subjects))
        for line in pairs:
            if line.startswith("| sched") and " | - | " not in line:
                lead, cells = line.split(" | ")[:3], line.strip("| ").split(" | ")
                short = next(t for t in table if t.split(" | ")[:3] == lead)
                self.assertIn(f"{cells[4]} **{cells[6]}** ({cells[7]})", short)
        self.assertIn("- `sched/yield/pthread_pool`: skipped: one worker cannot yield to another", lines)

    def test_show_sets_instructions_beside_times(self):
        document = json.loads((RUNS / "a/summary.json").read_text())
        counted = {"alloc/pair/tern/size:8": (20, 22), "alloc/pair/malloc/size:8": (42, 42)}
        rows = []
        for name, values in counted.items():
            rows += [{"name": name, "run_name": name, "run_type": "iteration", "repetition_index": i, "iterations": 9, "real_time": 0.0,
                      "cpu_time": 0.0, "time_unit": "ns", "instructions_per_op": value} for i, value in enumerate(values)]
        rows.append({"name": "sched/yield/tern", "run_name": "sched/yield/tern", "run_type": "iteration", "repetition_index": 0,
                     "error_occurred": True, "error_message": "skipped: not stable to 0.1%", "iterations": 0, "real_time": 0.0,
                     "cpu_time": 0.0, "time_unit": "ns"})
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "count.json"
            path.write_text(json.dumps({"context": document["context"], "benchmarks": rows}))
            text = self.good("show", "a", "--counts", path)
            self.assertTrue(all(len(line) <= 100 for line in text.splitlines()))
            pair = text[text.index("alloc/pair/size:8"):]
            self.assertRegex(pair, r"tern +time .*\n +(\S+ .*\n +)*instructions +21\.0 +0\.0%\n")
            self.assertRegex(pair, r"malloc +time .*\n +(\S+ .*\n +)*instructions +42\.0 +0\.0% +0\.50")
            self.assertEqual(text.count(" instructions "), 2)
            self.assertIn("| alloc/pair/size:8 | instructions | tern | 21.0", self.good("show", "a", "--counts", path, "--format", "markdown"))
            self.assert_line(tool("show", "aarch64", "--counts", path), 4, "instructions of another architecture")
            path.write_text(json.dumps({"context": document["context"], "benchmarks": rows[-1:]}))
            self.assert_line(tool("show", "a", "--counts", path), 1, "of no row of a")
            self.assert_line(tool("show", "a", "--counts", "nowhere.json"), 1, "nowhere.json")

    def test_show_sets_several_processors_beside_one(self):
        document = json.loads((RUNS / "a/summary.json").read_text())
        rows = [dict(r) for r in document["benchmarks"] if r["name"] == "sched/yield/tern"]
        document["benchmarks"] = []
        for processors, factor in ((1, 1), (2, 3)):
            name = f"sched/yield/tern/processors:{processors}"
            document["benchmarks"] += [
                r | {"name": name, "run_name": name, "real_time": r["real_time"] * factor} for r in rows
            ]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "scaled.json"
            path.write_text(json.dumps(document))
            text = self.good("show", path)
            markdown = self.good("show", path, "--format", "markdown")
        own = text[text.index("at several processors / at one"):].splitlines()
        self.assertEqual(own[1].strip(), "sched/yield/processors:2")
        self.assertRegex(own[2], r"^ +tern +2 / 1 +3\.00")
        self.assertIn("| sched/yield/processors:2 | tern | 2 / 1 | 3.00", markdown)
        self.assertNotIn("at several processors", self.good("show", "a"))

    def test_show_reads_a_plain_google_benchmark_file(self):
        text = self.good("show", "plain.json")
        self.assertIn("BM_copy/64", text)
        self.assertIn("1.51 us", text)
        self.assertNotIn("mean", text)

    def test_a_file_without_a_context_is_read(self):
        document = json.loads((RUNS / "plain.json").read_text())
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "bare.json"
            path.write_text(json.dumps({"benchmarks": document["benchmarks"]}))
            self.assertIn("BM_copy/64", self.good("compare", "plain.json", path))
            path.write_text(json.dumps({"benchmarks": {}}))
            self.assert_line(tool("show", path), 1, "is not a Google Benchmark file")

    def test_a_file_of_aggregates_alone_is_read(self):
        """As --benchmark_report_aggregates_only leaves it: the median stands for a repetition"""
        def aggregate(name, kind, ns):
            return {"name": f"{name}_{kind}", "run_name": name, "run_type": "aggregate", "aggregate_name": kind, "aggregate_unit": "time",
                    "repetitions": 5, "threads": 1, "iterations": 5, "real_time": ns, "cpu_time": ns, "time_unit": "ns"}

        with tempfile.TemporaryDirectory() as folder:
            a, b = (pathlib.Path(folder) / name for name in ("a.json", "b.json"))
            a.write_text(json.dumps({"context": {}, "benchmarks": [aggregate("BM_x/8", k, ns) for k, ns in (("mean", 90), ("median", 80), ("stddev", 1))]}))
            b.write_text(json.dumps({"context": {}, "benchmarks": [aggregate("BM_x/8", "mean", 120), aggregate("BM_y", "mean", 1)]}))
            text = self.good("compare", a, b)
            self.assertRegex(text, r"BM_x/8 +80\.0 ns +120 ns +1\.50 +-")
            self.assertIn("new in B (1)\n  BM_y", text)
            b.write_text(json.dumps({"benchmarks": [aggregate("BM_x/8", "stddev", 1)]}))
            self.assert_line(tool("compare", a, b), 1, "b.json: has aggregates only, and no median or mean among them")
            b.write_text(json.dumps({"benchmarks": [{"name": "97 family 0", "run_type": "iteration"}]}))
            self.assert_line(tool("show", b), 1, 'row "97 family 0" has no number "real_time"')

    def test_no_text_of_a_file_commands_the_terminal(self):
        document = json.loads((RUNS / "a/summary.json").read_text())
        entry = next(r for r in document["benchmarks"] if r["name"] == "sched/yield/tern")
        command = "\x1b]0;x\x07\u009b31m\n"
        entry.update(error_occurred=True, error_message="broke" + command, name="sched/yi" + command + "eld/tern")
        for key in ("date", "tern_machine", "tern_mode", "tern_arch", "tern_cpu_model", "library_version"):
            document["context"][key] = "v" + command
        entry["hits" + command] = 1
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "r.json"
            path.write_text(json.dumps(document))
            for verb in (["show", path], ["show", path, "--format", "markdown"], ["compare", "a", path], ["cross", "a", path],
                         ["export", path, "--format", "csv"], ["gate", "a", path], ["validate", path]):
                done = tool(*verb)
                self.assertNotRegex(done.stdout + done.stderr, "[\x00-\x09\x0b-\x1f\x7f-\x9f]", verb)
                self.assertIn(done.returncode, (0, 1, 4))
            document["benchmarks"][0]["time_unit"] = "n" + command
            path.write_text(json.dumps(document))
            self.assert_line(tool("show", path), 1, "unknown time unit")

    def test_colour_only_on_a_terminal_and_never_with_no_color(self):
        def on_terminal(**environment):
            try:
                ours, theirs = pty.openpty()
            except OSError as error:
                self.skipTest(f"no terminal is to be had here: {error}")
            with subprocess.Popen([*LAUNCHER, TOOL, "show", "a"], cwd=RUNS, stdout=theirs,
                                  env={**os.environ, "TERM": "xterm", **environment}) as process:
                os.close(theirs)
                text = b""
                while True:
                    try:
                        part = os.read(ours, 65536)
                    except OSError:
                        break
                    if not part:
                        break
                    text += part
                self.assertEqual(process.wait(timeout=60), 0)
            os.close(ours)
            return text

        self.assertIn(b"\x1b[32m", on_terminal(NO_COLOR=""))
        self.assertNotIn(b"\x1b", on_terminal(NO_COLOR="1"))
        self.assertNotIn(b"\x1b", on_terminal(TERM="dumb", NO_COLOR=""))

    # compare

    def test_compare_names_everything(self):
        text = self.good("compare", "a", "b")
        self.assertLessEqual(max(map(len, text.splitlines())), 100)
        sections = {}
        for line in text.splitlines():
            head = re.fullmatch(r"(\S.*) \((\d+)\)", line)
            if head:
                name = head[1]
                sections[name] = [int(head[2])]
            elif line.startswith("  ") and sections:
                sections[name].append(line.strip())
        self.assertEqual(sections["missing in B"], [1, "alloc/pair/malloc/size:1024"])
        self.assertEqual(sections["new in B"], [1, "sched/skynet/tern"])
        self.assertEqual(sections["renamed, by the look of it; not compared"],
                         [1, "gc/binary_trees/tern/depth:16", "-> gc/binary_trees/tern/depth:18"])
        self.assertEqual(sections["errored"][1:], ["sched/yield/tern",
                                                   "A measured; B 1 of 8 repetitions: signal 11 (Segmentation fault)"])
        self.assertEqual(sections["skipped"][1], "sched/yield/pthread_pool")
        slower = sections["higher in B: slower or larger"]
        self.assertEqual(slower[0], 1)
        self.assertRegex(slower[1], r"^alloc/pair/tern/size:8 +6\.\d\d ns +7\.\d\d ns +1\.\d\d  1\.\d\d \.\. 1\.\d\d$")
        self.assertEqual(sections["no difference shown"][0], 11)
        self.assertIn("host or build differs: kernel: 6.1.0 -> 6.6.0", text)

    def test_compare_swapped_turns_the_verdict_round(self):
        text = self.good("compare", "b", "a")
        self.assertIn("lower in B: faster or smaller (1)", text)
        self.assertIn("missing in B (1)\n  sched/skynet/tern", text)

    def test_compare_names_a_metric_that_a_row_has_lost(self):
        document = json.loads((RUNS / "a/summary.json").read_text())
        for row in document["benchmarks"]:
            if row["name"] == "sched/wake_latency/tern":
                del row["p99"]
        with tempfile.TemporaryDirectory() as directory:
            lost = pathlib.Path(directory) / "summary.json"
            lost.write_text(json.dumps(document))
            self.assertIn("metrics missing in B (1)\n  sched/wake_latency/tern [p99]\n", self.good("compare", "a", lost))
            self.assertIn("metrics new in B (1)\n  sched/wake_latency/tern [p99]\n", self.good("compare", lost, "a"))
        self.assertNotIn("metrics", self.good("compare", "a", "b"))  # rows that failed are not named twice

    def test_compare_refuses(self):
        self.assert_line(tool("compare", "a", "emulated"), 4, "emulated: true")
        self.assert_line(tool("compare", "emulated", "emulated"), 4, "emulated: true")
        self.assert_line(tool("compare", "a", "aarch64"), 4, "x86_64", "aarch64")
        self.assert_line(tool("compare", "a", "newer"), 4, "tern.summary/2", "newer")
        self.assert_line(tool("compare", "a", "disjoint"), 4, "no row in common")

    def test_compare_cannot_read(self):
        self.assert_line(tool("compare", "a", "older"), 1, "older/summary.json", "tern.summary/0 is older")
        self.assert_line(tool("compare", "truncated.json", "a"), 1, "truncated.json: is truncated")
        self.assert_line(tool("compare", "a", "not_json.txt"), 1, "not_json.txt: is not JSON")
        self.assert_line(tool("compare", "a", "nan.json"), 1, "holds nan at line")
        self.assert_line(tool("compare", "a", "nowhere"), 1, "nowhere: No such file or directory")
        self.assert_line(tool("compare", "a", "."), 1, "not a run directory")
        with tempfile.TemporaryDirectory() as folder:
            deep = pathlib.Path(folder) / "deep.json"
            for left, right in (("[", "]"), ('{"a":', "}")):
                deep.write_text('{"benchmarks":' + left * 200_000 + "0" + right * 200_000 + "}")
                for verb in ("show", "validate"):
                    self.assert_line(tool(verb, deep), 1, "deep.json: is nested more than 100 deep")

    def test_google_benchmarks_own_compare_reads_a_summary(self):
        script = pathlib.Path("/usr/share/benchmark/compare.py")
        if not script.exists():
            self.skipTest("Google Benchmark's compare.py is not installed (Debian: libbenchmark-tools)")
        for python in (os.environ.get("TERN_SCIPY_PYTHON"), sys.executable, "/usr/bin/python3"):
            if python and subprocess.run([python, "-c", "import scipy.stats"], capture_output=True, check=False).returncode == 0:
                break
        else:
            self.skipTest("Google Benchmark's compare.py needs scipy (Debian: python3-scipy)")
        done = subprocess.run([python, script, "--no-color", "benchmarks", "a/summary.json", "b/summary.json"], cwd=RUNS,
                              capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        slower = [line for line in done.stdout.splitlines() if line.startswith("alloc/pair/tern/size:8 ")]
        self.assertEqual(len(slower), 8, done.stdout)
        for line in slower:
            self.assertAlmostEqual(float(line.split()[1]), 0.3, delta=0.05)

    # validate

    def test_validate(self):
        self.assertIn("a/summary.json: valid (summary)", self.good("validate", "a", "b", "emulated"))
        self.assertIn("plain.json: valid (google-benchmark)", self.good("validate", "plain.json"))
        with tempfile.TemporaryDirectory() as folder:  # of a release that wrote neither run_name nor run_type, with what it says of complexity
            old = pathlib.Path(folder) / "old.json"
            rows = [{"name": "BM_x", "iterations": 1, "real_time": 1, "cpu_time": 1, "time_unit": "ns"},
                    {"name": "BM_BigO", "cpu_coefficient": 4.3, "real_coefficient": 6.5, "big_o": "N", "time_unit": "ns"},
                    {"name": "BM_RMS", "rms": 0.1}]
            old.write_text(json.dumps({"context": {"date": "2016", "num_cpus": 4}, "benchmarks": rows}))
            self.good("validate", old)
            del rows[0]["cpu_time"]
            old.write_text(json.dumps({"context": {"date": "2016", "num_cpus": 4}, "benchmarks": rows}))
            self.assert_line(tool("validate", old), 1, "/benchmarks/0: Missing required property 'cpu_time'")
        for name, part in (("truncated.json", "is truncated"), ("not_json.txt", "is not JSON"), ("nan.json", "holds nan"),
                           ("older", "older"), ("newer", "newer"), ("nowhere", "No such file")):
            self.assert_line(tool("validate", name), 1, part)
        done = tool("validate", "not_json.txt", "a", "nan.json")
        self.assertEqual((done.returncode, done.stderr.count("\n"), done.stdout.count("\n")), (1, 2, 1))

    # output

    def test_a_full_disk_is_no_success(self):
        for arguments in (("show", "a"), ("compare", "a", "b"), ("cross", "a", "b"), ("export", "a", "--format", "csv"), ("validate", "a"), ("doctor",),
                          ("completion",), ("--help",), ("show", "--help"), ("--version",)):
            with self.subTest(arguments=arguments), open("/dev/full", "w", encoding="ascii") as full:
                done = subprocess.run([*LAUNCHER, TOOL, *arguments], cwd=RUNS, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertRegex(done.stderr, r"^ternbench( \w+)?: standard output cannot be written: .*\n$")

    def test_closed_output_does_not_end_in_another_file(self):
        with tempfile.TemporaryDirectory() as folder:
            page = pathlib.Path(folder) / "r.html"
            done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *LAUNCHER, TOOL, "report", "a", "--out", page], cwd=RUNS, stderr=subprocess.PIPE,
                                  text=True, timeout=120, check=False)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
            self.assertTrue(page.read_text().endswith("</html>\n"))

    def test_what_is_no_file_is_written_to_and_not_replaced(self):
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            pipe, link, page = place / "pipe", place / "link", place / "deep" / "page.html"
            os.mkfifo(pipe)
            page.parent.mkdir()
            page.write_text("before")
            link.symlink_to(page)
            with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
                self.good("report", "a", "--out", pipe)
                self.assertTrue(pipe.is_fifo())
                text, _ = reader.communicate(timeout=60)
            self.good("report", "a", "--out", link)
            self.assertTrue(link.is_symlink())
            self.assertEqual(page.read_text(), text)
            self.assertTrue(text.endswith("</html>\n"))
            self.assert_line(tool("report", "a", "--out", place), 1, "cannot write: Is a directory")
            self.assertEqual(sorted(path.name for path in place.rglob("*")), ["deep", "link", "page.html", "pipe"])

    # doctor and usage

    def test_doctor(self):
        text = self.good("doctor")
        for check in ("emulation", "virtual machine", "steal time", "governor", "turbo", "SMT", "vCPUs", "cgroup quota",
                      "load average", "ASLR", "huge pages", "swap", "perf counters"):
            self.assertRegex(text, rf"(?m)^(OK|WARN|unknown) +{check} ")
        lines = text.splitlines()
        for i, line in enumerate(lines):
            if line.startswith("WARN"):
                self.assertIn("cure: ", lines[i + 1])
        if not LAUNCHER:
            self.assertIn("WARN     emulation", tool("doctor", TERN_EMULATED="1").stdout)

    def test_usage_errors(self):
        for arguments in ((), ("nonsense",), ("show",), ("show", "a", "b"), ("show", "a", "--format", "pdf"), ("compare", "a"),
                          ("validate",), ("run", "--quick", "--full"), ("run", "--repetitions", "0"), ("run", "--seed", "x"),
                          ("doctor", "--fast"), ("show", "a", "--select", ""), ("show", "a", "--area", ""), ("show", "a", "--case", "")):
            with self.subTest(arguments=arguments):
                self.assert_line(tool(*arguments), 1)
        self.assert_line(tool("nonsense", "a"), 1, 'there is no verb "nonsense"')

    def test_help_has_an_example_for_each_verb_and_the_exit_codes(self):
        self.assertIn("exit codes (one meaning each, for every verb):", self.good("--help"))
        for verb in ("run", "show", "compare", "duet", "gate", "calibrate", "cross", "count", "report", "export", "claims", "rates", "validate",
                     "doctor"):
            self.assertIn(f"example: ternbench {verb}", self.good(verb, "--help"))
        page = (pathlib.Path(__file__).resolve().parents[2] / "src/ternbench/README.md").read_text()
        told = set(re.findall(r"^\| (\d+) \|", page, re.M))
        self.assertEqual(told, set(re.findall(r"^  (\d+) ", self.good("--help"), re.M)))
        self.assertIn('example: eval "$(ternbench completion)"', self.good("completion", "--help"))
        self.assertRegex(self.good("--version"), r"^ternbench \d+\.\d+\.\d+$")


if __name__ == "__main__":
    unittest.main()
