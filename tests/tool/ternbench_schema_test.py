#!/usr/bin/env python3
"""`ternbench validate` against an independent validator (python3-jsonschema) over good documents and thousands of faults in them.

The documents are those of a run over data/fake_bench.py. Each fault removes, adds, retypes or shifts one value. Skipped, with
the reason, where python3-jsonschema is not installed.
"""
import copy
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

try:
    import jsonschema
except ImportError:
    # CMake may have found another Python than the one that the distribution's packages belong to.
    system = "/usr/bin/python3"
    if os.path.exists(system) and not os.path.samefile(system, sys.executable) and "TERN_SYSTEM_PYTHON" not in os.environ:
        os.environ["TERN_SYSTEM_PYTHON"] = "1"
        os.execv(system, [system, "-B", *sys.argv])
    print("skipped: python3-jsonschema is not installed")
    sys.exit(77)

TOOL = os.environ["TERNBENCH"]
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "data"))
import gate_files  # noqa: E402
SCHEMAS = HERE.parents[1] / "results" / "schema"
LAUNCHER = os.environ.get("TERN_LAUNCHER", "").split()
# Keywords that the tool's validator is known to check; another one in a schema would be passed over in silence.
KEYWORDS = {"$schema", "$ref", "title", "definitions", "type", "required", "properties", "additionalProperties",
            "patternProperties", "items", "enum", "const", "pattern", "minimum", "maximum", "exclusiveMinimum", "minLength",
            "maxLength", "minItems", "maxItems", "oneOf", "anyOf"}


def places(node, path=()):
    """Every path in a document; of a long list only the first and the last item"""
    yield path
    if isinstance(node, dict):
        for key, value in node.items():
            yield from places(value, path + (key,))
    elif isinstance(node, list):
        for index in sorted({0, len(node) - 1} & set(range(len(node)))):
            yield from places(node[index], path + (index,))


def faults(document):
    for path in places(document):
        if not path:
            continue
        value = gate_files.at(document, *path)
        replacements = [None, "text", "", -1, 0, 1.5, True, [], {}, [None], {"x": 1}]
        if isinstance(value, str):
            replacements += [value + "/x", value.upper(), "x" + value]
        for replacement in replacements:
            if replacement == value and type(replacement) is type(value):
                continue
            changed = copy.deepcopy(document)
            gate_files.at(changed, *path[:-1])[path[-1]] = replacement
            yield f"{path} = {replacement!r}", changed
        removed = copy.deepcopy(document)
        del gate_files.at(removed, *path[:-1])[path[-1]]
        yield f"{path} removed", removed
        if isinstance(value, dict):
            for extra in ({"surplus": "x"}, {"surplus": 1}):
                added = copy.deepcopy(document)
                gate_files.at(added, *path).update(extra)
                yield f"{path} + {extra}", added


class schema_test(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="ternbench-schema-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        binary = cls.folder / "bench_sched"
        shutil.copy(HERE / "data" / "fake_bench.py", binary)
        binary.chmod(0o755)
        subprocess.run([*LAUNCHER, TOOL, "run", "--quick", "--repetitions", "1", "--bin", cls.folder, "--out", cls.folder / "out"],
                       capture_output=True, timeout=120, check=True)
        run = next((cls.folder / "out").iterdir())
        subprocess.run([*LAUNCHER, TOOL, "duet", "--base", cls.folder, "--head", cls.folder, "--blocks", "1", "--filter", "yield",
                        "--out", cls.folder / "duets"], capture_output=True, timeout=120, check=True)
        gate = cls.folder / "gate.json"
        waiver = gate_files.waiver()
        gate.write_text(json.dumps(gate_files.config(
            settings={"least_floor": 0.02, "exact_limit": 0.01}, waivers=[waiver],
            floors={"x86_64": {"machine": "m", "runs": 3, "rows": {waiver["row"]: 0.03}}},
            allowed=[{"row": waiver["row"], "change": "missing", "reason": "it is done with"}])))
        claims = cls.folder / "claims.json"
        claims.write_text(json.dumps(gate_files.claims(gate_files.claim(
            figures={"ns": 15, "range": [1, 2]}, needs=["cpus>=2", "memory>=6GB"], also=[gate_files.test(op=">")],
            conditions=[{"when": "x", "test": gate_files.test(), "also": [gate_files.test()]}]))))
        programs = cls.folder / "programs.json"
        run_of = {"round": 0, "allocator": "glibc"}
        programs.write_text(json.dumps({
            "schema": "tern.programs/1", "date_utc": "2026-01-02T03:04:05Z", "seed": 7, "host": {"arch": "x86_64"},
            "allocators": ["tern_preload", "glibc"],
            "programs": [{"name": "a", "runs": [{**run_of, "wall_s": 1.5, "cpu_s": 0.5, "peak_mib": 2.5}, {**run_of, "failed": "exit 1"}]},
                         {"name": "b", "runs": [], "skipped": "not installed"}]}))
        cls.documents = {
            "claims": claims,
            "duet": next((cls.folder / "duets").glob("*/duet.json")),
            "gate": gate,
            "manifest": run / "manifest.json",
            "programs": programs,
            "summary": run / "summary.json",
            "google-benchmark": next(run.glob("raw/*.yield.json")),
            "hist": next(run.glob("raw/*.hist.json")),
        }

    def test_schemas_are_schemas_of_known_keywords(self):
        def walk(schema, is_schema=True):
            if isinstance(schema, dict):
                for key, value in schema.items():
                    if is_schema:
                        self.assertIn(key, KEYWORDS)
                    if key not in ("enum", "const", "required"):
                        walk(value, key not in ("properties", "patternProperties", "definitions") or not is_schema)
            elif isinstance(schema, list):
                for item in schema:
                    walk(item)

        names = {p.name.removesuffix(".schema.json") for p in SCHEMAS.glob("*.schema.json")}
        self.assertEqual(names, set(self.documents))
        for name in names:
            schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
            jsonschema.Draft7Validator.check_schema(schema)
            walk(schema)
            self.assertIn(f"**{name}**", (SCHEMAS / "README.md").read_text())

    def test_verdicts_agree_with_an_independent_validator(self):
        for name, file in self.documents.items():
            with self.subTest(schema=name):
                self.compare_verdicts(name, json.loads(file.read_text()))

    def compare_verdicts(self, name, document):
        judge = jsonschema.Draft7Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))
        self.assertTrue(judge.is_valid(document))
        folder = self.folder / f"faults-{name}"
        folder.mkdir()
        wanted, what = {}, {}
        for i, (label, changed) in enumerate(faults(document)):
            file = folder / f"{i:05}.json"
            file.write_text(json.dumps(changed))
            wanted[str(file)] = judge.is_valid(changed)
            what[str(file)] = label
        self.assertGreater(len(wanted), 50)
        self.assertIn(False, wanted.values())
        done = subprocess.run([*LAUNCHER, TOOL, "validate", str(folder)], capture_output=True, text=True, timeout=250, check=False)
        self.assertEqual(done.returncode, 1)
        got = {line.split(": valid (")[0]: line.endswith(f": valid ({name})") for line in done.stdout.splitlines()}
        complaints = {re.split(r"(?<=\.json):", line)[0].removeprefix("ternbench validate: ") for line in done.stderr.splitlines()}
        self.assertEqual(complaints | set(got), set(wanted), "each file is named")
        self.assertFalse(complaints & set(got))
        stricter = name in ("claims", "gate")  # which are also checked for what no schema can say, with a line per mistake
        if not stricter:
            self.assertEqual(len(done.stdout.splitlines()) + len(done.stderr.splitlines()), len(wanted), "one line per file")
        for file, valid in wanted.items():
            # A document that no longer says what it is counts as another kind, or as none: never as a valid one of this kind.
            if not stricter or not valid:
                self.assertEqual(got.get(file, False), valid, what[file])
        self.assertIn(True, got.values())


if __name__ == "__main__":
    unittest.main()
