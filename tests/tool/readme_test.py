"""README.md is true: its tables are what the committed run gives, its examples compile and run, its links lead somewhere."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("TERN_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
README = (ROOT / "README.md").read_text()


class Readme(unittest.TestCase):
    def test_tables_are_what_the_run_gives(self):
        script = ROOT / "scripts/packaging/readme_table.py"
        result = subprocess.run([sys.executable, "-B", script, "--check", os.environ["TERNBENCH"]], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_examples_compile_and_run(self):
        examples = [block for block in re.findall(r"```cpp\n(.*?)```", README, re.S) if "int main" in block]
        self.assertGreaterEqual(len(examples), 3)
        compiler = os.environ.get("CXX", "c++")
        with tempfile.TemporaryDirectory() as folder:
            for number, text in enumerate(examples):
                source = pathlib.Path(folder) / f"example{number}.cpp"
                source.write_text(text)
                program = source.with_suffix("")
                build = [compiler, "-std=c++20", "-O1", f"-I{ROOT / 'include'}", source, "-o", program, "-pthread"]
                built = subprocess.run(build, capture_output=True, text=True)
                self.assertEqual(built.returncode, 0, built.stderr)
                ran = subprocess.run([program], capture_output=True, text=True, timeout=60)
                self.assertEqual(ran.returncode, 0, ran.stderr)
                expected = re.findall(r"// prints: (.*)", text)
                for line in expected:
                    self.assertIn(line, ran.stdout)

    def test_links_lead_somewhere(self):
        prose = re.sub(r"```.*?```", "", README, flags=re.S)
        for target in re.findall(r"\]\(([^)#]+)\)", prose):
            if "://" not in target:
                self.assertTrue((ROOT / target).exists(), target)


if __name__ == "__main__":
    unittest.main()
