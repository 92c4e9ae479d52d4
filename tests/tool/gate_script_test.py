#!/usr/bin/env python3
"""scripts/gate in the steps that the workflows run (measure, verdict --provisional, confirm), with the real tool over builds of
data/fake_bench.py. What it builds itself is not in this test."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "data"))
import gate_files as files  # noqa: E402

ROOT = HERE.parents[1]
ROW = "sched/yield/tern"


class gate_script(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gate-script-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "scripts/packaging").mkdir(parents=True)
        shutil.copy(ROOT / "scripts/gate", self.folder / "scripts/gate")
        shutil.copy(ROOT / "scripts/packaging/packages.sh", self.folder / "scripts/packaging/packages.sh")
        (self.folder / "results").mkdir()
        (self.folder / "results/gate.json").write_text(json.dumps(files.config(set=[ROW, "sched/yield/pthread"])))
        self.place = self.folder / "build/gate"
        for name in ("base", "head"):
            self.build(name)
        (self.place / "head/src").mkdir()
        (self.place / "head/src/ternbench").symlink_to(os.environ["TERNBENCH"])

    def build(self, name, **how):
        place = self.place / name / "bench"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "data/fake_bench.py", place / "bench_sched")
        (place / "bench_sched").chmod(0o755)
        (place / "build.json").write_text(json.dumps(how))

    def gate(self, *arguments, code=0):
        environment = {key: value for key, value in os.environ.items() if key != "TERN_BUILD_DIR"}
        done = subprocess.run([self.folder / "scripts/gate", *arguments], env=environment | {"FAKE_NOISE": "0.003"}, capture_output=True,
                              text=True, timeout=240, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout

    def measure(self, blocks=8):
        self.gate("measure", "--", "--blocks", str(blocks))

    def result(self, name):
        return (self.place / "results" / name).read_text().strip()

    def test_a_slower_head_is_stopped_by_the_second_duet_alone(self):
        self.build("head", factors={ROW: 1.3})
        self.measure()
        self.assertIn("REGRESSION: 1 row", self.gate("verdict", "--provisional"))
        self.assertEqual(self.result("status"), "2")
        self.assertIn("second duet: 1.3", self.gate("confirm", "--", "--blocks", "8", code=2))
        self.assertIn("REGRESSION: 1 row", self.result("summary.md"))
        self.assertNotEqual(self.result("first"), self.result("second"))
        (self.place / "results/second").unlink()
        shutil.move(self.place / "base", self.place / "away")
        self.gate("confirm", code=2)  # the second duet fails, which leaves the first verdict
        self.assertEqual(self.result("status"), "2")
        shutil.move(self.place / "away", self.place / "base")
        self.build("head")
        self.assertIn("1 not confirmed", self.gate("confirm", "--", "--blocks", "8"))
        self.assertEqual(self.result("status"), "0")

    def test_no_change_passes_and_has_nothing_to_confirm(self):
        self.measure()
        document = json.loads(next((self.place / "results").glob("*-duet/duet.json")).read_text())
        self.assertEqual(document["blocks"], 8)  # what follows -- wins
        self.assertIn("PASS: 2 rows judged", self.gate("verdict", "--provisional"))
        self.gate("confirm")
        self.assertFalse((self.place / "results/second").exists())

    def test_a_row_that_crashes_is_an_inventory_fault_and_is_not_measured_again(self):
        self.build("head", fault="status")
        self.measure(blocks=1)
        self.assertIn("errored: " + ROW, self.gate("verdict", "--provisional"))
        self.gate("confirm", code=2)
        self.assertFalse((self.place / "results/second").exists())

    def test_a_step_too_early_and_words_it_does_not_know(self):
        self.gate("verdict", code=1)
        self.gate("confirm", code=1)
        self.gate("--base", code=1)
        self.gate("measure", "--fast", code=1)
        self.gate("measure", "--", "--no-such-option", code=1)
        self.gate("cross", code=1)
        self.assertIn("Exit codes", self.gate("--help"))


if __name__ == "__main__":
    unittest.main()
