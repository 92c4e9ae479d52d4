#!/usr/bin/env python3
"""bench/harness/real_programs.py, with programs that end well, fail, and are not there."""
import contextlib
import importlib.util
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("TERN_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ["TERN_BUILD_DIR"])
SCRIPT = ROOT / "bench/harness/real_programs.py"
spec = importlib.util.spec_from_file_location("real_programs", SCRIPT)
real_programs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real_programs)


class real_programs_test(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not (BUILD / "src/libtern-malloc.so").exists() or not (BUILD / "bench/bench_alloc").exists():
            raise unittest.SkipTest("libtern-malloc.so or bench_alloc is not built")
        under = 'test "${LD_PRELOAD##*/}" = libtern-malloc.so && exit 3; exit 0'
        real_programs.programs = lambda folder: {
            "good": real_programs.Command("sh", "-c", "seq 20000 | sort -r | tail -1"),
            "small": real_programs.Command("sleep", "0.01"),
            "once": real_programs.Command("true", rounds=1),
            "fails under tern": real_programs.Command("sh", "-c", f"{{ {under}; }} 2>&1"),
            "absent": real_programs.Command("no-such-program"),
            "not asked for": real_programs.Command("false"),
        }
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            cls.own = bytearray(os.urandom(64)) * (1 << 20)  # this process has 64 MiB, which are nobody else's
            cls.document = real_programs.measure(BUILD, 2, 1, "good|small|once|fails|absent")
        cls.said = said.getvalue()

    def of(self, name):
        return next(p for p in self.document["programs"] if p["name"] == name)

    def test_every_allocator_has_every_round(self):
        self.assertEqual([p["name"] for p in self.document["programs"]], ["good", "small", "once", "fails under tern", "absent"])
        names = self.document["allocators"]
        self.assertEqual(names[:2], ["tern_preload", "glibc"])
        for name, rounds in (("good", 2), ("once", 1)):
            runs = self.of(name)["runs"]
            self.assertEqual(sorted((r["allocator"], r["round"]) for r in runs), sorted((n, i) for n in names for i in range(rounds)))
            for run in runs:
                self.assertGreater(run["wall_s"], 0)
                self.assertGreater(run["peak_mib"], 0.2)

    def test_the_peak_is_the_programs_own(self):
        self.assertGreater(len(self.own), 60 << 20)
        for run in self.of("small")["runs"]:
            self.assertLess(run["peak_mib"], 20)

    def test_rounds_are_spread_over_programs(self):
        """Two programs that write down their order."""
        with tempfile.TemporaryDirectory() as folder:
            notes = pathlib.Path(folder) / "notes"
            real_programs_of, real_programs.programs = real_programs.programs, lambda _: {
                n: real_programs.Command("sh", "-c", f"echo {n} >> {notes}") for n in ("one", "two")}
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    document = real_programs.measure(BUILD, 3, 1, "")
            finally:
                real_programs.programs = real_programs_of
            n = len(document["allocators"])
            self.assertEqual(notes.read_text().split(), (["one"] * n + ["two"] * n) * 3)

    def test_failures_and_absent_programs_are_told(self):
        for run in self.of("fails under tern")["runs"]:
            self.assertEqual(run.get("failed", ""), "exit 3: " if run["allocator"] == "tern_preload" else "")
        self.assertEqual(self.of("absent")["skipped"], "no-such-program is not installed")
        self.assertIn("fails under tern: tern_preload: exit 3", self.said)
        lines = real_programs.table(self.document).splitlines()
        self.assertEqual(len(lines), 7)
        self.assertRegex(lines[2], r"\| \d\.\d\d \(\d+\.\d\d to \d+\.\d\d\), ")
        self.assertEqual(len({line.count("|") for line in lines}), 1)
        self.assertIn("| failed 2 of 2 |", lines[5])
        self.assertIn("skipped: no-such-program is not installed", lines[6])

    def test_the_file_is_valid_and_its_table_is_printed(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "programs.json"
            file.write_text(json.dumps(self.document))
            if "TERNBENCH" in os.environ:
                checked = subprocess.run([os.environ["TERNBENCH"], "validate", file], capture_output=True, text=True, check=False)
                self.assertEqual(checked.returncode, 0, checked.stderr)
            printed = subprocess.run([sys.executable, "-B", SCRIPT, "--table", file], capture_output=True, text=True, check=True)
            self.assertEqual(printed.stdout.rstrip("\n"), real_programs.table(self.document))

    def test_other_programs_of_a_file_stay(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "programs.json"
            only_good = {**self.document, "programs": [self.of("good")]}
            self.assertEqual(real_programs.merged(only_good, file), only_good)
            file.write_text(json.dumps(self.document))
            names = [p["name"] for p in real_programs.merged(only_good, file)["programs"]]
            self.assertEqual(names, ["small", "once", "fails under tern", "absent", "good"])
            for text in ("{", json.dumps({**self.document, "allocators": ["glibc"]})):
                file.write_text(text)
                with self.assertRaises(SystemExit) as end:
                    real_programs.merged(only_good, file)
                self.assertIn(str(file), str(end.exception))

    def test_committed_files_are_valid(self):
        for file in (ROOT / "results/baselines").glob("*/programs.json"):
            document = json.loads(file.read_text())
            self.assertIn("tern_preload", real_programs.table(document))
            self.assertEqual([r["failed"] for p in document["programs"] for r in p["runs"] if r["allocator"] == "tern_preload" and "failed" in r], [])


if __name__ == "__main__":
    unittest.main()
