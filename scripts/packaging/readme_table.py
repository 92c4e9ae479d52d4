#!/usr/bin/env python3
"""Writes the tables of README.md from the committed baseline run, or checks that they are what it gives.

    readme_table.py TERNBENCH          rewrite README.md
    readme_table.py --check TERNBENCH  exit 1 where a table differs

A table stands between `<!-- table: RUN SELECTION -->` and `<!-- end -->`: RUN is the run's directory, SELECTION what
`ternbench show --select` is given. Between `<!-- claims: RUN COUNT -->` and `<!-- end -->` stand the COUNT verdicts of
`ternbench claims` that are farthest from what was claimed.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = re.compile(r"(<!-- (table|claims): (\S+) (\S+) -->\n).*?(<!-- end -->)", re.S)


def rendered(ternbench, match):
    what, run, argument = match.group(2, 3, 4)
    verb, option = ("show", "--select") if what == "table" else ("claims", "--surprises")
    command = [ternbench, verb, run, "--format", "markdown", option, argument]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if result.returncode != 0:
        sys.exit(f"readme_table: {result.stderr.strip()}")
    return match.group(1) + result.stdout.strip() + "\n" + match.group(5)


def main(arguments):
    check = arguments[:1] == ["--check"]
    paths = arguments[1:] if check else arguments
    if len(paths) != 1:
        sys.exit(__doc__)
    readme = ROOT / "README.md"
    before = readme.read_text()
    if TABLE.search(before) is None:
        sys.exit("readme_table: README.md has no table")
    after = TABLE.sub(lambda match: rendered(paths[0], match), before)
    if not check:
        readme.write_text(after)
    elif after != before:
        sys.exit(f"readme_table: a table in README.md is not what the run gives: scripts/packaging/{pathlib.Path(__file__).name}")


if __name__ == "__main__":
    main(sys.argv[1:])
