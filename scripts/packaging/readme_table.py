#!/usr/bin/env python3
"""Writes the tables of README.md and results/targets/README.md from committed runs, and those of results/gate-evaluation/README.md from
the committed trials; or checks that they are what those give.

    readme_table.py TERNBENCH          rewrite all
    readme_table.py --check TERNBENCH  exit 1 where a table differs

A table stands between `<!-- table: RUN SELECTION -->` and `<!-- end -->`: RUN is the run's directory, SELECTION what
`ternbench show --select` is given. Between `<!-- claims: RUN COUNT -->` and `<!-- end -->` stand the COUNT verdicts of
`ternbench claims` that are farthest from what was claimed; between `<!-- answers: RUN FILE AREA,AREA -->` and `<!-- end -->` those on
all claims of FILE that are of one of these areas, or with `AREA,AREA REGEX` those of them whose id matches. Between
`<!-- rates: TRIALS -->` and `<!-- end -->` stands what `ternbench rates` makes of TRIALS.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = tuple(ROOT / name for name in ("README.md", "results/targets/README.md", "results/gate-evaluation/README.md"))
TABLE = re.compile(r"(<!-- (table|claims|answers|rates): (\S+) (?:(\S+) )?(?:(\S+) )?(?:(\S+) )?-->\n).*?(<!-- end -->)", re.S)


def rendered(ternbench, match):
    what, source, argument, areas, ids = match.group(2, 3, 4, 5, 6)
    chosen = [word for area in (areas or "").split(",") if area for word in ("--area", area)]
    chosen += ["--id", ids] if ids else []
    command = {"table": ["show", source, "--format", "compact", "--select", argument],
               "claims": ["claims", source, "--format", "markdown", "--surprises", argument],
               "answers": ["claims", source, "--format", "markdown", "--claims", argument, *chosen],
               "rates": ["rates", source]}[what]
    result = subprocess.run([ternbench, *command], capture_output=True, text=True, cwd=ROOT)
    if result.returncode != 0:
        sys.exit(f"readme_table: {result.stderr.strip()}")
    return match.group(1) + result.stdout.strip() + "\n" + match.group(7)


def main(arguments):
    check = arguments[:1] == ["--check"]
    paths = arguments[1:] if check else arguments
    if len(paths) != 1:
        sys.exit(__doc__)
    tool = pathlib.Path(paths[0]).resolve()
    for page in PAGES:
        name = page.relative_to(ROOT)
        before = page.read_text()
        if TABLE.search(before) is None:
            sys.exit(f"readme_table: {name} has no table")
        after = TABLE.sub(lambda match: rendered(tool, match), before)
        if not check:
            page.write_text(after)
        elif after != before:
            sys.exit(f"readme_table: a table in {name} is not what its source gives: scripts/packaging/{pathlib.Path(__file__).name}")


if __name__ == "__main__":
    main(sys.argv[1:])
