#!/usr/bin/env python3
"""`ternbench report` in headless Chromium: draws every plot, filters, has no error and asks for nothing; and the forms of `export`,
`cross` and `completion`. The browser's part is skipped, with the reason, where there is no Playwright or no Chromium.

TERN_SCREENSHOTS=<folder> keeps pictures of the committed baseline at 1280 and 390 px, light and dark.
"""
import csv
import io
import json
import math
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "data"))
import gate_files as files  # noqa: E402

TOOL = os.environ["TERNBENCH"]
BASELINE = HERE.parents[1] / "results" / "baselines" / "x86_64"
CLAIMS = HERE.parents[1] / "results" / "claims.json"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def tool(*arguments, code=0):
    done = subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != code:
        raise AssertionError(done.stdout + done.stderr)
    return done.stdout


class folder_test(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ternbench-report-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def run_file(self, name, **how):
        (self.folder / name).write_text(json.dumps(files.summary(**how)))
        return self.folder / name


class page(folder_test):
    def page(self, *arguments):
        out = self.folder / "r.html"
        tool("report", *arguments, "--out", out)
        return out

    def test_same_runs_give_the_same_bytes_and_no_address(self):
        first = self.page(BASELINE).read_bytes()
        self.assertEqual(first, self.page(BASELINE).read_bytes())
        self.assertLess(len(first), 400_000)
        rest = first.decode().split("</script>", 1)[0]  # all but the library, which names its licence and the SVG namespace
        self.assertNotRegex(rest, r"(src|href)=\"(?!data:|#)")
        self.assertIn(b"Copyright (c) 2013 Gion Kunz", first)

    def test_text_of_a_file_is_only_text(self):
        rows = {"sched/yield/tern": 20.0, "sched/yield/<script>alert(1)</script>": 30.0}
        text = self.page(self.run_file("a.json", rows=rows, tern_machine="</title><b>&")).read_text()
        self.assertNotIn("<script>alert", text)
        self.assertNotIn("<b>&", text)

    def test_in_a_browser(self):
        try:
            from playwright.sync_api import sync_playwright
        except ImportError:
            self.skipTest("Playwright is not here (pip install playwright)")
        if CHROMIUM is None:
            self.skipTest("there is no Chromium (Debian: chromium)")
        runs = [self.run_file(f"{i}.json", seed=i, date=f"2026-11-2{i}T01:00:00Z") for i in range(3)]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[
                "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
            for name, path in (("baseline", self.page(BASELINE, "--claims", CLAIMS).rename(self.folder / "baseline.html")), ("history", self.page(*runs))):
                for width in (1280, 390):
                    for scheme in ("light", "dark"):
                        with self.subTest(name=name, width=width, scheme=scheme):
                            self.look(browser, name, path, width, scheme)
            browser.close()

    def bars_are_where_they_belong(self, tab, plot):
        """From top to bottom in the order of the labels; each with its own title, and its interval across its end"""
        bars = sorted(tab.eval_on_selector_all(f"#{plot['id']} .ct-bar", """nodes => nodes.map(n => [+n.getAttribute('y1'),
            +n.getAttribute('x2'), n.querySelector('title').textContent])"""))
        self.assertEqual([title.split(":")[0] for _, _, title in bars], [bar["name"] for bar in plot["bars"]])
        whiskers = {y: (low, high) for y, low, high in tab.eval_on_selector_all(
            f"#{plot['id']} .whisker", "nodes => nodes.map(n => ['y1', 'x1', 'x2'].map(a => +n.getAttribute(a)))")}
        for y, end, title in bars:
            if y in whiskers:
                self.assertLessEqual(whiskers[y][0], end + 0.5, title)
                self.assertGreaterEqual(whiskers[y][1], end - 0.5, title)

    def look(self, browser, name, path, width, scheme):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab = context.new_page()
        errors, requests = [], []
        tab.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(path.as_uri())
        plots = tab.evaluate("JSON.parse(document.getElementById('data').textContent).plots")
        self.assertGreater(len(plots), 4)
        for plot in plots:
            marks = tab.evaluate("""id => { const p = document.getElementById(id);
                return [p.querySelectorAll('.ct-bar').length, p.querySelectorAll('.ct-point').length,
                        p.querySelectorAll('.whisker').length, p.getBoundingClientRect().width,
                        [...p.querySelectorAll('line, path')].some(e => /NaN|Infinity/.test(e.outerHTML))]; }""", plot["id"])
            if plot["kind"] == "lines":
                self.assertEqual(marks[1], sum(v is not None for s in plot["series"] for v in s["values"]), plot["id"])
            else:
                self.assertEqual(marks[0], len(plot["bars"]), plot["id"])
                self.assertEqual(marks[2], sum("low" in bar for bar in plot["bars"]), plot["id"])
                self.bars_are_where_they_belong(tab, plot)
            self.assertGreater(marks[3], 200)
            self.assertFalse(marks[4], f"{plot['id']} has a mark at no place")
        if name == "history":
            lines = [p for p in plots if p["kind"] == "lines"]
            self.assertEqual({len(p["labels"]) for p in lines}, {3})
            self.assertEqual(sum(len(p["series"]) for p in lines), len(files.ROWS))  # a line per row
        self.assertLessEqual(tab.evaluate("document.documentElement.scrollWidth"), width)  # only tables scroll sideways
        if name == "baseline":  # and not that of the claims, whose every cell can be read
            cells = tab.eval_on_selector_all(".claims td, .claims tbody th", """nodes => nodes.filter(n => n.textContent).map(n => {
                const b = n.getBoundingClientRect(); return [b.left, b.right, b.width, n.scrollWidth - n.clientWidth]; })""")
            self.assertGreater(len(cells), 100)
            for left, right, wide, hidden in cells:
                self.assertTrue(left >= 0 and right <= width and wide >= 100 and hidden <= 0, (left, right, wide, hidden))
        paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        self.assertEqual(paper, "rgb(255, 255, 255)" if scheme == "light" else "rgb(13, 17, 23)")
        if folder := os.environ.get("TERN_SCREENSHOTS"):
            tab.screenshot(path=pathlib.Path(folder) / f"{name}-{width}-{scheme}.png")
            tab.screenshot(path=pathlib.Path(folder) / f"{name}-{width}-{scheme}-whole.png", full_page=True, clip={
                "x": 0, "y": 0, "width": width, "height": 5000})
        # without a mouse: the first Tab reaches the link to the cases, the filter is labelled, the count is spoken
        tab.keyboard.press("Tab")
        self.assertEqual(tab.evaluate("document.activeElement.className"), "skip")
        tab.keyboard.press("Enter")  # the form that stays in sight does not hide where it leads
        tab.wait_for_function("scrollY > 0")
        bounds = tab.evaluate("['form', 'main h2'].map(s => document.querySelector(s).getBoundingClientRect()).map(r => [r.top, r.bottom])")
        self.assertGreaterEqual(bounds[1][0], bounds[0][1])
        cases = tab.locator("section.case").count()
        tab.get_by_label("Rows that contain").focus()
        tab.keyboard.type("alloc PAIR")
        shown = tab.locator("section.case:visible").count()
        self.assertTrue(0 < shown < cases)
        self.assertEqual(tab.get_by_role("status").inner_text(), f"{shown} of {cases} cases")
        tab.get_by_label("Rows that contain").fill("")
        tab.get_by_label("Area").select_option("gc")
        self.assertEqual(tab.locator("section.case:visible").count(), tab.locator("section.case[data-area=gc]").count())
        for region in tab.get_by_role("region").all()[:3]:
            self.assertTrue(region.get_attribute("aria-labelledby"))
        self.assertTrue(all(tab.locator(f"[id='{i}']").count() for label in tab.eval_on_selector_all(
            "[aria-labelledby]", "nodes => nodes.slice(0, 40).map(n => n.getAttribute('aria-labelledby'))") for i in label.split()))
        self.assertEqual((errors, requests), ([], [path.as_uri()]))
        context.close()


class forms(folder_test):
    def test_export(self):
        document = json.loads((BASELINE / "summary.json").read_text())
        table = list(csv.DictReader(io.StringIO(tool("export", BASELINE, "--format", "csv"))))
        times = {(r["row"], int(r["repetition"])): float(r["value"]) for r in table if r["metric"] == "time"}
        wanted = {(b["name"], b["repetition_index"]): b["real_time"] for b in document["benchmarks"] if "error_occurred" not in b}
        self.assertEqual(times, wanted)
        lines = [json.loads(line) for line in tool("export", BASELINE, "--format", "jsonl").splitlines()]
        self.assertEqual(len(lines), len(table))
        self.assertEqual({line["row"] for line in lines}, {b["name"] for b in document["benchmarks"]})
        action = json.loads(tool("export", BASELINE, "--format", "github-action-benchmark"))
        for entry in action:
            self.assertIsInstance(entry["value"], float)
            self.assertTrue({"name", "unit", "value"} <= set(entry))
        self.assertEqual(len({e["name"] for e in action}), len(action))

    def test_cross(self):
        rows = {"alloc/pair/tern/size:64": 4.0, "alloc/pair/malloc/size:64": 12.0}
        a = self.run_file("a.json", rows=rows, noise=0.001)
        b = self.run_file("b.json", rows={"alloc/pair/tern/size:64": 12.0, "alloc/pair/malloc/size:64": 18.0}, noise=0.001,
                          tern_arch="aarch64", tern_machine="n1", tern_cpu_model="N1")
        c = self.run_file("c.json", rows=rows, tern_arch="aarch64", tern_emulated="true", tern_machine="qemu")
        out = tool("cross", a, b, c)
        self.assertRegex(out, r"alloc/pair/size:64: tern / malloc\n  A x86_64 box +0\.33\d .*\n  B aarch64 n1 +0\.66\d .* (2\.00|1\.99\d?) ")
        self.assertRegex(out, r"emulated, so its times are not rated: \S+c\.json \(aarch64 qemu\): 2 of 2\s+rows ran")
        self.assertLessEqual(max(len(line) for line in out.splitlines() if str(self.folder) not in line), 100)

    def test_completion(self):
        script = tool("completion")
        for verb in ("run", "show", "compare", "duet", "gate", "calibrate", "cross", "count", "report", "export", "validate", "doctor"):
            self.assertRegex(script, rf"1:\*\) words=\"[^\"]*\b{verb}\b")
        asked = script + '\nCOMP_WORDS=(ternbench gate --co) COMP_CWORD=2; _ternbench; printf "%s " "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=60, check=True)
        self.assertEqual(done.stdout.split(), ["--confirm", "--config"])
        self.assertNotRegex(script, re.escape(str(self.folder)))

    def rates(self, trials, code=0):
        path = self.folder / "trials.jsonl"
        path.write_text("".join(json.dumps(trial) + "\n" for trial in trials))
        return tool("rates", path, code=code)

    def test_rates(self):
        def trial(found=False, percent=0, sd=0.01, floor="2.0%", **more):
            # the interval of 30 blocks lies between the 10th and the 21st value
            half = sd * statistics.NormalDist().inv_cdf((21 - 0.375) / 30.25)
            row = ["1.00", f"{math.exp(-half):.4f} .. {math.exp(half):.4f}", floor, "ok"]
            return {"kind": "slow" if percent else "null", "primitive": "alloc" if percent else None, "percent": percent,
                    "row": "a/b/tern" if percent else None, "found": found, "decided": True, "exit": 2 if found else 0, "blocks": 30,
                    "rows": {"a/b/tern": row}} | more

        table = self.rates([])
        self.assertEqual(table.count("no trial yet"), 3, table)  # false red, and quiet rows
        self.assertEqual(table.count("no trial on such a row yet"), 2, table)
        self.assertIn("| - | the longest of 0 | no trial has its time |", table)

        null = [trial()] * 297 + [trial(decided=False, exit=3)] * 2
        table = self.rates(null + [trial(True, 10)] * 60 + [trial(percent=3)])
        self.assertRegex(table, r"\| false red.* \| 0.0% \| 0.0% \.\. 1.2% \| 299 trials \| not claimed: 300 trials are needed \|")
        self.assertIn("| 100% | 94% .. 100% | 60 trials (0 more on rows that are noisier) | not claimed: too few trials |", table)
        self.assertIn("| nothing (linked anew) | 299 | 0 | 2 | - | 0.0% | 0.0% .. 1.2% |", table)
        self.assertIn("| alloc made 10% slower in one row | 60 | 60 | 0 | 60 | 100% | 94% .. 100% |", table)
        self.assertIn("| alloc made 3% slower in one row | 1 | 0 | 0 | 0 |", table)
        self.assertIn("| 300 trials | held |", self.rates(null + [trial(True)]))  # one of 300
        self.assertIn("| 300 trials | missed |", self.rates(null[:296] + [trial(True)] * 4))
        self.assertIn("| 100 trials | missed |", self.rates([trial()] * 90 + [trial(True)] * 10))  # so few are enough for that

        self.assertIn("| 99% .. 100% | 400 trials (0 more on rows that are noisier) | held |", self.rates([trial(True, 10)] * 400))
        self.assertIn("| 40 trials (0 more on rows that are noisier) | missed |", self.rates([trial(True, 5)] * 20 + [trial(percent=5)] * 20))
        # a row counts where its noise and its floor are what the goal is about
        for percent, sd, floor, counts in ((10, 0.039, "3.0%", True), (10, 0.041, "2.0%", False), (10, 0.01, "3.1%", False),
                                           (5, 0.019, "2.0%?", True), (5, 0.021, "2.0%", False), (5, 0.01, "2.1%", False)):
            with self.subTest(percent=percent, sd=sd, floor=floor):
                table = self.rates([trial(True, percent, sd, floor)])
                self.assertIn("| 1 trials (0 more" if counts else "| 0 trials (1 more", table)
        table = self.rates([trial(rows=trial()["rows"] | {"c/d/tern": trial(sd=0.03)["rows"]["a/b/tern"]})])
        self.assertRegex(table, r"line of 10% \| at least 80% \| 100% \| - \| 2 rows, median sd of 1 null trials \| held \|")
        self.assertRegex(table, r"line of 5% \| at least 80% \| 50% \| - \| 2 rows, .* \| missed \|")
        table = self.rates([trial(build_seconds=300, duet_seconds=90), trial(build_seconds=300, duet_seconds=420)])
        self.assertIn("| at most 15 min | 17.0 min | - | the longest of 2 | missed |", table)

        table = self.rates([trial(), {"kind": "slow", "primitive": "gc", "percent": 3, "made": False}])
        self.assertIn("Not made: 1 trials", table)
        self.assertNotIn("gc made", table)
        self.rates([trial(), {"kind": "null"}], code=1)
        self.rates([trial(kind="fast")], code=1)


if __name__ == "__main__":
    unittest.main()
