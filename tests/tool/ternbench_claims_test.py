#!/usr/bin/env python3
"""`ternbench claims`: each verdict, and that it follows the numbers of the run; files of users; the committed claims against the suite and
the committed run; and mutants of every file that is read, each with its line and exit code."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "data"))
import gate_files as files  # noqa: E402
from gate_files import at, drop, edit  # noqa: E402

TOOL = os.environ["TERNBENCH"]
ROOT = HERE.parents[1]
CLAIMS = ROOT / "results" / "claims.json"
BASELINE = ROOT / "results" / "baselines" / "x86_64"
ROW = "sched/yield/tern"
VERDICTS = ("holds here", "holds under a condition: ", "does not hold here", "not measurable on this host: ", "not resolved: ",
            "no such row in this run: ", "skipped in this run: ", "failed in this run: ")


class claims_test(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ternbench-claims-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, name, document):
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(document if isinstance(document, str) else json.dumps(document, indent=1))
        return name

    def tool(self, *arguments, code=0):
        done = subprocess.run([TOOL, *map(str, arguments)], cwd=self.folder, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertEqual(done.stderr == "", code == 0, done.stderr)
        return done

    def verdicts(self, run, *some):
        """{id: verdict} of a run, or of claims given as documents"""
        arguments = []
        if some:
            arguments = ["--claims", self.write("c.json", files.claims(*some))]
        out = self.tool("claims", run, *arguments).stdout
        self.assertLessEqual(max(map(len, out.splitlines())), 100)
        self.assertNotIn("\x1b", out)
        heads = re.findall(r"^([a-z0-9-]+): (\S.*(?:\n  [^ ].*)?)$", out, re.M)
        return {name: re.sub(r"\s+", " ", text) for name, text in heads}

    def verdict(self, claim, **how):
        self.write("run.json", files.summary(**how))
        return self.verdicts("run.json", claim)["switch"]


class verdicts(claims_test):
    def test_each_operator_against_the_same_figure(self):
        for op, bound, holds in (("<", 25, True), ("<", 15, False), ("<=", 25, True), ("<=", 15, False), (">", 15, True),
                                 (">", 25, False), (">=", 15, True), (">=", 25, False)):
            with self.subTest(op=op, bound=bound):
                said = self.verdict(files.claim(test=files.test(op=op, bound=bound)))
                self.assertTrue(said.startswith("holds here" if holds else "does not hold here"), said)

    def test_a_changed_number_changes_the_verdict(self):
        for factor, said in ((1, "holds here"), (2, "does not hold here"), (1.25, "not resolved")):
            self.assertTrue(self.verdict(files.claim(), factors={ROW: factor}).startswith(said), factor)

    def test_a_ratio_is_of_the_same_run(self):
        claim = files.claim(test=files.test(op=">=", bound=2, versus="alloc/pair/tern/size:64"))  # 20 ns to 4
        self.assertTrue(self.verdict(claim).startswith("holds here"))
        self.assertTrue(self.verdict(claim, factors={"alloc/pair/tern/size:64": 5}).startswith("does not hold"))
        self.assertTrue(self.verdict(files.claim(test=files.test(versus="gc/none/tern"))).startswith("no such row in this run: gc/none/tern"))

    def test_all_tests_must_hold(self):
        slow = files.test(row="alloc/pair/tern/size:64", op=">=", bound=10)
        self.assertTrue(self.verdict(files.claim(also=[slow])).startswith("does not hold here"))
        self.assertTrue(self.verdict(files.claim(also=[slow]), factors={slow["row"]: 10}).startswith("holds here"))

    def test_a_condition_counts_where_the_claim_fails(self):
        conditions = [{"when": "never", "test": files.test(bound=1)}, {"when": "of a fib", "test": files.test(bound=21)},
                      {"when": "of another", "test": files.test(bound=22)}]
        claim = files.claim(test=files.test(bound=2), conditions=conditions)
        self.assertEqual(self.verdict(claim).split(" A switch")[0], "holds under a condition: of a fib")
        self.assertTrue(self.verdict(claim, factors={ROW: 3}).startswith("does not hold here"))
        self.assertTrue(self.verdict(claim, factors={ROW: 0.05}).startswith("holds here"))

    def test_needs(self):
        for needs, host, part in ((["cpus>=3"], {}, "needs cpus>=3; it has 2"), (["cpus>=2"], {}, None),
                                  (["memory>=6GB"], {"tern_memory_bytes": "5900000000"}, "needs memory>=6GB; it has 5.49 GiB"),
                                  (["memory>=6GB"], {"tern_memory_bytes": "6000000000"}, None),
                                  (["memory>=10MB"], {"tern_memory_bytes": "9999999"}, "needs memory>=10MB"),
                                  (["hardware_counters"], {"tern_hardware_counters": "false"}, "needs hardware_counters; it has none"),
                                  (["hardware_counters"], {"tern_hardware_counters": "true"}, None),
                                  (["real_aarch64"], {}, "needs real_aarch64; it is x86_64"),
                                  (["real_aarch64"], {"tern_arch": "aarch64"}, None),
                                  (["cpus>=9", "real_aarch64"], {}, "needs cpus>=9; it has 2; needs real_aarch64; it is x86_64")):
            with self.subTest(needs=needs, host=host):
                said = self.verdict(files.claim(needs=needs), **host)
                if part is None:
                    self.assertTrue(said.startswith("holds here"), said)
                else:
                    self.assertTrue(said.startswith("not measurable on this host: " + part), said)

    def test_an_unknown_fact_decides_nothing(self):
        """A figure is a figure; and where there is none, the need that is not known is named"""
        self.assertTrue(self.verdict(files.claim(needs=["hardware_counters"])).startswith("holds here"))
        said = self.verdict(files.claim(needs=["memory>=1GB"], test=files.test(row="gc/none/tern")))
        self.assertIn("no such row in this run: gc/none/tern; needs memory>=1GB, of which this run does not tell", said)

    def test_no_figure_is_no_verdict(self):
        for test, said in ((files.test(row="sched/none/tern"), "no such row in this run: sched/none/tern"),
                           (files.test(metric="p99"), f"{ROW} has no p99 in this run")):
            self.assertTrue(self.verdict(files.claim(test=test)).startswith(said), said)
        for message, said in (("skipped: not here", "skipped in this run: sched/yield/tern: not here"),
                              ("it broke", "failed in this run: sched/yield/tern: 8 of 8 repetitions: it broke")):
            document = files.summary()
            for row in document["benchmarks"]:
                if row["name"] == ROW:
                    row.update(error_occurred=True, error_message=message, real_time=0.0)
            self.assertTrue(self.verdicts(self.write("r.json", document), files.claim())["switch"].startswith(said))

    def test_counters_and_their_units(self):
        document = files.summary()
        for row in document["benchmarks"]:
            if row["name"] == ROW:
                row.update(max=5000.0, rss_bytes=4096.0, errors=0.0, hit_rate=0.97)
        self.write("r.json", document)
        for metric, bound, part in (("max", 5000, "max <= 5.00 us"), ("rss", 4096, "rss <= 4.00 KiB"), ("rss_bytes", 5000, "rss_bytes <= 4.88 KiB"),
                                    ("errors", 0, "errors <= 0"), ("hit_rate", 0.97, "hit_rate <= 0.970")):
            claims = self.write("c.json", files.claims(files.claim(test=files.test(metric=metric, bound=bound))))
            out = self.tool("claims", "r.json", "--claims", claims).stdout
            self.assertIn("switch: holds here", out)
            self.assertIn(part, out)

    def test_few_repetitions_say_so(self):
        claims = self.write("c.json", files.claims())
        self.write("r.json", files.summary(repetitions=3))
        self.assertRegex(self.tool("claims", "r.json", "--claims", claims).stdout, r"yes +\S+ ns  ~\S+ \.\. ")
        self.write("r.json", files.summary(repetitions=1))
        self.assertIn("switch: holds here", self.tool("claims", "r.json", "--claims", claims).stdout)

    def test_tern_baseline_and_go_stand_beside(self):
        rows = {"sched/x/tern/n:1": 10.0, "sched/x/pthread/n:1": 1000.0, "sched/x/go/n:1": 100.0, "sched/x/pthread_pool/n:1": 50.0,
                "sched/x/tern/n:2": 20.0, "sched/x/pthread/n:2": 4000.0, "sched/x/go/n:2": 300.0}
        self.write("r.json", files.summary(rows=rows, noise=0))

        def beside(**test):
            claims = self.write("c.json", files.claims(files.claim(test=files.test(**test))))
            return self.tool("claims", "r.json", "--claims", claims).stdout.splitlines()

        self.assertTrue(any(line.endswith("  pthread 1.00 us, go 100 ns") for line in beside(row="sched/x/tern/n:1")))
        self.assertTrue(any(line.endswith("  tern 10.0 ns, go 100 ns") for line in beside(row="sched/x/pthread/n:1")))
        self.assertTrue(any(line.endswith("  pthread 4.00, go 3.00") for line in beside(row="sched/x/tern/n:2", versus="sched/x/tern/n:1")))
        lines = beside(row="sched/x/tern/n:1", versus="sched/x/pthread_pool/n:1")
        self.assertTrue(any(line.endswith("  tern 10.0 ns, pthread_pool 50.0 ns, go 100 ns") for line in lines), lines)


class forms(claims_test):
    def setUp(self):
        super().setUp()
        self.write("run.json", files.summary())

    def test_own_claims_are_added_by_name(self):
        self.write("results/claims.json", files.claims())
        self.write("mine.json", files.claims(files.claim(id="mine")))
        self.assertEqual(list(self.verdicts("run.json")), ["switch"])
        out = self.tool("claims", "run.json", "--claims", "mine.json").stdout
        self.assertIn("1 claim: holds here 1", out)
        out = self.tool("claims", "run.json", "--claims", "results/claims.json", "--claims", "mine.json").stdout
        self.assertIn("2 claims: holds here 2", out)
        self.write("mine.json", files.claims())
        done = self.tool("claims", "run.json", "--claims", "results/claims.json", "--claims", "mine.json", code=1)
        self.assertEqual(done.stderr, 'ternbench claims: mine.json:5: /claims/0/id: "switch" stands twice, first in results/claims.json\n')
        done = self.tool("claims", "run.json", "--claims", "mine.json", "--claims", "./mine.json", code=1)
        self.assertEqual(done.stderr, "ternbench claims: ./mine.json: is named twice\n")

    def test_markdown(self):
        some = [files.claim(claim="<b> of a|b"), files.claim(id="dear", test=files.test(bound=1), conditions=[
            {"when": "half", "test": files.test(bound=2)}, {"when": "whole", "test": files.test(bound=30)}])]
        claims = self.write("c.json", files.claims(*some))
        lines = self.tool("claims", "run.json", "--claims", claims, "--format", "markdown").stdout.splitlines()
        self.assertEqual(lines[0], "2 claims: holds here 1, holds under a condition 1")
        table = [line for line in lines if line.startswith("|")]
        self.assertEqual({len(re.findall(r"(?<!\\)\|", line)) for line in table}, {6})
        self.assertIn("| \\<b> of a\\|b (an article) | holds here | sched/yield/tern: time <= 25.0 ns |", table[2])
        self.assertEqual(len(table), 2 + 1 + 2)  # of the conditions the one that holds

    def test_surprises_are_the_farthest(self):
        misses = {"near": 10, "far": 0.1, "middle": 2}  # of 20 ns
        some = [files.claim(), *(files.claim(id=name, test=files.test(bound=bound)) for name, bound in misses.items())]
        some[2]["conditions"] = [{"when": "of a fib", "test": files.test()}]
        claims = self.write("c.json", files.claims(*some))
        out = self.tool("claims", "run.json", "--claims", claims, "--surprises", 2).stdout
        self.assertEqual(re.findall(r"^([a-z]+): (does not|holds under)", out, re.M), [("far", "holds under"), ("middle", "does not")])
        self.assertIn("4 claims: holds here 1", out)  # the line above is of all
        lines = self.tool("claims", "run.json", "--claims", claims, "--surprises", 9, "--format", "markdown").stdout.splitlines()
        self.assertEqual(len([line for line in lines if line.startswith("| A switch")]), 3)

    def test_an_area_alone(self):
        claims = self.write("c.json", files.claims(files.claim(id="one", area="sched"), files.claim(id="two", area="gc")))
        for areas, expected in ((["gc"], ["two"]), (["sched", "gc"], ["one", "two"])):
            words = [word for area in areas for word in ("--area", area)]
            out = self.tool("claims", "run.json", "--claims", claims, *words).stdout
            self.assertEqual(re.findall(r"^(one|two):", out, re.M), expected)
            self.assertIn(f"{len(expected)} claim", out)
        self.assertEqual(self.tool("claims", "run.json", "--claims", claims, "--area", "net", code=1).stderr,
                         'ternbench claims: no claim is of the area "net"\n')

    def test_claims_by_their_ids(self):
        claims = self.write("c.json", files.claims(*(files.claim(id=name) for name in ("switch-one", "switch-two", "other"))))
        out = self.tool("claims", "run.json", "--claims", claims, "--id", "^switch-").stdout
        self.assertEqual(re.findall(r"^([a-z-]+): holds", out, re.M), ["switch-one", "switch-two"])
        for wanted, line in (("none", 'no claim has an id that matches "none"'), ("[", '--id: "[" is not a regular expression')):
            self.assertEqual(self.tool("claims", "run.json", "--claims", claims, "--id", wanted, code=1).stderr, f"ternbench claims: {line}\n")

    def test_help_completion_and_usage(self):
        self.assertIn("example: ternbench claims ", self.tool("claims", "--help").stdout)
        self.assertIn("claims", self.tool("--help").stdout)
        script = self.tool("completion").stdout
        self.assertRegex(script, r"\n    claims\) words=\"[^\"]*--claims [^\"]*--surprises")
        self.assertRegex(script, r"\n    report\) words=\"[^\"]*--claims ")
        self.assertIn("--surprises", self.tool("claims", "run.json", "--surprises", "0", code=1).stderr)
        self.assertEqual(self.tool("claims", "run.json", code=1).stderr,
                         "ternbench claims: results/claims.json: No such file or directory\n")

    def test_the_table_of_the_report_is_whole(self):
        """Each line covers the five columns, by its own cells and by those that reach down into it"""
        conditions = [{"when": "half", "test": files.test(bound=2), "also": [files.test(bound=3)]}, {"when": "quarter", "test": files.test(bound=4)}]
        self.write("c.json", files.claims(files.claim(also=[files.test(), files.test()]),
                                          files.claim(id="far", test=files.test(bound=1), conditions=conditions)))
        self.tool("report", "run.json", "--claims", "c.json", "--out", "r.html")
        table = re.search(r'<section class="claims".*?</section>', (self.folder / "r.html").read_text(), re.S)[0]
        bodies = re.findall(r"<tbody>(.*?)</tbody>", table, re.S)
        self.assertEqual([body.count("<tr>") for body in bodies], [3, 4])
        for body in bodies:
            rows = re.findall(r"<tr>(.*?)</tr>", body, re.S)
            width = [0] * len(rows)
            for at, row in enumerate(rows):
                for cell in re.findall(r"<t[dh]([^>]*)>", row):
                    span = re.search(r'rowspan="(\d+)"', cell)
                    for line in range(at, at + (int(span[1]) if span else 1)):
                        width[line] += 1
            self.assertEqual(set(width), {5})

    def test_the_report_has_them(self):
        self.write("c.json", files.claims(files.claim(claim="<script>alert(1)</script>"), files.claim(id="far", test=files.test(bound=1))))
        self.tool("report", "run.json", "--claims", "c.json", "--out", "r.html", "--markdown", "r.md")
        page = (self.folder / "r.html").read_text()
        self.assertIn("2 claims: holds here 1, does not hold here 1", page)
        self.assertIn("sched/yield/tern: time &lt;= 25.0 ns", page)
        self.assertNotIn("<script>alert", page)
        self.assertIn("<details><summary>2 claims: holds here 1, does not hold here 1</summary>", (self.folder / "r.md").read_text())
        self.tool("report", "run.json", "--out", "r.html")
        self.assertNotIn("Published claims", (self.folder / "r.html").read_text())  # there is no results/claims.json here
        self.write("results/claims.json", files.claims())
        self.tool("report", "run.json", "--out", "r.html")
        self.assertIn("1 claim: holds here 1", (self.folder / "r.html").read_text())
        self.write("e.json", files.summary(tern_emulated="true"))
        self.tool("report", "e.json", "--out", "r.html")
        self.assertNotIn("Published claims", (self.folder / "r.html").read_text())


class committed(claims_test):
    """results/claims.json and the committed run"""

    def setUp(self):
        super().setUp()
        shutil.copytree(ROOT / "results", self.folder / "results")
        self.claims = json.loads(CLAIMS.read_text())["claims"]
        self.document = json.loads((BASELINE / "summary.json").read_text())

    def parts_of(self, claim):
        return [claim["test"], *claim.get("also", [])]

    def scaled(self, factors):
        """The committed run with every figure of some rows multiplied; what is zero becomes the factor where that is a large one"""
        document = json.loads(json.dumps(self.document))
        for row in document["benchmarks"]:
            factor = factors.get(row["name"])
            for key, value in row.items() if factor is not None else ():
                if isinstance(value, float) and key != "checksum":
                    row[key] = value * factor or (factor if factor > 1 else 0.0)
        return self.write("scaled.json", document)

    def test_every_claim_is_answered_or_says_why_not(self):
        said = self.verdicts("results/baselines/x86_64")
        self.assertEqual(set(said), {c["id"] for c in self.claims})
        for name, text in said.items():
            self.assertTrue(text.startswith(VERDICTS) or " in this run" in text, f"{name}: {text}")

    def test_verdicts_follow_the_numbers(self):
        said = self.verdicts("results/baselines/x86_64")
        flipped = 0
        for claim in self.claims:
            was = said[claim["id"]]
            if not was.startswith(("holds", "does not", "not resolved")):
                continue
            flipped += 1
            with self.subTest(claim["id"]):
                small, large = 1e-6, 1e6
                good = {t["row"]: large if t["op"][0] == ">" else small * (t["bound"] != 0) for t in self.parts_of(claim)}
                self.assertTrue(self.verdicts(self.scaled(good))[claim["id"]].startswith("holds here"))
                bad = {t["row"]: small if t["op"][0] == ">" else large for t in self.parts_of(claim)}
                self.assertFalse(self.verdicts(self.scaled(bad))[claim["id"]].startswith("holds here"))
        self.assertGreaterEqual(flipped, 10)

    def test_rows_are_rows_of_the_suite(self):
        """Of a case that the suite has, the row must be one that it has: a name that is mistyped would never get a verdict"""
        cases = {f"{path.parent.name}/{name}" for path in (ROOT / "bench/cases").glob("*/*.cpp")
                 for name in re.findall(r'\.name = "(\w+)"', path.read_text())}
        binaries = pathlib.Path(os.environ["TERN_BUILD_DIR"]) / "bench"
        known = set()
        for area in {case.split("/")[0] for case in cases}:
            if not (binaries / f"bench_{area}").exists():
                self.skipTest("the bench binaries are not built")
            listed = subprocess.run([binaries / f"bench_{area}", "--tern_list"], capture_output=True, text=True, timeout=60, check=True)
            known |= {json.loads(line)["name"] for line in listed.stdout.splitlines()}
        tests = [(c["id"], t) for c in self.claims for part in [c, *c.get("conditions", [])] for t in self.parts_of(part)]
        missing = {name for name, t in tests for row in (t["row"], t.get("versus")) if row and row not in known
                   and "/".join(row.split("/")[:2]) in cases}
        self.assertEqual(missing, NOT_IN_THE_SUITE)


# Claims that ask a case of the suite for a row which it does not have: more processors, more threads, another tier.
NOT_IN_THE_SUITE = {"dynamic-procs", "cpu-bound", "heap-lock-p99", "stw-by-tier", "large-objects-tlb"}


CLAIM = ("claims", 0)
TEST = (*CLAIM, "test")
# What is done to the file of claims (a document, or its text), the line that is named, and a part of it. The exit code is 1, but for a newer
# schema.
MUTANTS = {
    "an unknown operator": (edit(*TEST, "op", value="=="), 16, "/claims/0/test/op"),
    "text for a bound": (edit(*TEST, "bound", value="25 ns"), 17, "/claims/0/test/bound"),
    "no bound": (drop(*TEST, "bound"), 13, "/claims/0/test"),
    "a bound of null": (edit(*TEST, "bound", value=None), 17, "/claims/0/test/bound"),
    "an unknown key of a test": (edit(*TEST, "unit", value="ns"), 18, "/claims/0/test/unit: unknown key"),
    "an unknown key of a claim": (edit(*CLAIM, "claims", value=1), 20, "/claims/0/claims: unknown key"),
    "an unknown key at the top": (edit("claim", value=1), 22, "/claim: unknown key"),
    "no test": (drop(*CLAIM, "test"), 4, "/claims/0"),
    "a list of tests": (edit(*CLAIM, "test", value=[files.test()]), 13, "/claims/0/test"),
    "no needs": (drop(*CLAIM, "needs"), 4, "/claims/0"),
    "an unknown need": (edit(*CLAIM, "needs", value=["gpus>=1"]), 20, "/claims/0/needs/0"),
    "a need of none": (edit(*CLAIM, "needs", value=["cpus>=0"]), 20, "/claims/0/needs/0"),
    "a need without a unit": (edit(*CLAIM, "needs", value=["memory>=6"]), 20, "/claims/0/needs/0"),
    "a row of another claim": (edit(*TEST, "row", value="net/echo/tern"), 14, '"net/echo/tern" is none of the claim\'s rows'),
    "a pattern for a row": (edit(*TEST, "row", value="sched/*"), 14, '"sched/*" is not the name of a row'),
    "a row against itself": (edit(*TEST, "versus", value=ROW), 18, "is the row itself"),
    "an id twice": (lambda d: d["claims"].append(files.claim()), 22, '"switch" stands twice'),
    "an id of words": (edit(*CLAIM, "id", value="a switch"), 5, "/claims/0/id"),
    "no claims": (edit("claims", value=[]), 3, "/claims"),
    "claims by name": (edit("claims", value={"switch": files.claim()}), 3, "/claims"),
    "a condition without a name": (edit(*CLAIM, "conditions", value=[{"test": files.test()}]), 21, "/claims/0/conditions/0"),
    "figures of text": (edit(*CLAIM, "figures", value={"ns": "few"}), 21, "/claims/0/figures/ns"),
    "another schema": (edit("schema", value="tern.claim/1"), None, 'unknown schema "tern.claim/1"'),
    "an older schema": (edit("schema", value="tern.claims/0"), None, "is older than tern.claims/1"),
    "a newer schema": (edit("schema", value="tern.claims/2"), None, "is newer than tern.claims/1"),
    "no schema": (drop("schema"), None, "names no schema"),
    "a gate.json": (lambda d: (d.clear(), d.update(files.config())), None, "is not a file of claims"),
}
TEXT_MUTANTS = {
    "NaN": (lambda t: t.replace('"bound": 25', '"bound": NaN'), "holds nan at line 17"),
    "Infinity": (lambda t: t.replace('"bound": 25', '"bound": Infinity'), "holds infinity at line 17"),
    "a number beyond a double": (lambda t: t.replace('"bound": 25', '"bound": 1e999'), "that no double can hold"),
    "a key twice": (lambda t: t.replace('"bound": 25', '"op": "<", "bound": 25'), 'has the key "op" twice'),
    "truncated": (lambda t: t[:len(t) // 2], "is truncated"),
    "empty": (lambda t: "", "is empty"),
    "no JSON": (lambda t: "claims: 1", "is not JSON"),
    "something behind it": (lambda t: t + "{}", "is not valid JSON at line"),
    "not UTF-8": (lambda t: t.replace("switch", "sw\udcffitch", 1), "is not valid JSON at line"),
}


class mutants(claims_test):
    def one_line(self, command, code, *parts):
        done = self.tool(*command, code=code)
        self.assertEqual((done.stdout, done.stderr.count("\n")), ("", 1), done.stderr)
        for part in parts:
            self.assertIn(part, done.stderr)

    def test_of_a_file_of_claims(self):
        self.write("run.json", files.summary())
        for name, (change, line, part) in MUTANTS.items():
            with self.subTest(name):
                document = files.claims()
                change(document)
                self.write("c.json", document)
                where = "c.json: " if line is None else f"c.json:{line}: "
                self.one_line(["claims", "run.json", "--claims", "c.json"], 4 if "newer" in name else 1, where, part)
                if name != "a gate.json":
                    self.one_line(["validate", "c.json"], 1, where, part)
        for name, (change, part) in TEXT_MUTANTS.items():
            with self.subTest(name):
                text = change(json.dumps(files.claims(), indent=1))
                (self.folder / "c.json").write_bytes(text.encode("utf-8", "surrogateescape"))
                self.one_line(["claims", "run.json", "--claims", "c.json"], 1, part)
                self.one_line(["validate", "c.json"], 1, part)
        self.one_line(["claims", "run.json", "--claims", "none.json"], 1, "none.json: No such file")
        self.one_line(["claims", "run.json", "--claims", "."], 1, "ternbench claims: .")

    def test_of_a_run(self):
        self.write("c.json", files.claims())
        command = ["claims", "run.json", "--claims", "c.json"]
        self.one_line(command, 1, "run.json: No such file")
        whole = json.dumps(files.summary())
        for text, code, part in ((whole[:500], 1, "is truncated"), ("{}", 1, "is not a Google Benchmark file"),
                                 (json.dumps(files.summary(tern_emulated="true")), 4, "made under emulation"),
                                 (whole.replace("tern.summary/1", "tern.summary/2"), 4, "is newer than"),
                                 (whole.replace('"real_time": ', '"real_time": NaN, "x": ', 1), 1, "holds nan"),
                                 (json.dumps(files.claims()), 1, "is not a Google Benchmark file")):
            self.write("run.json", text)
            self.one_line(command, code, part)


if __name__ == "__main__":
    unittest.main()
