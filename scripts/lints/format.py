#!/usr/bin/env python3
"""Layout: clang-format 19 with the tree's .clang-format would change nothing."""

import pathlib

import lint

FORMATTER = "clang-format-19"
STYLE = pathlib.Path(__file__).resolve().parents[2] / ".clang-format"


def check(root):
    names = lint.files(root, ".hpp", ".cpp")
    complaints = []
    for start in range(0, len(names), 100):
        command = [FORMATTER, f"--style=file:{STYLE}", "--dry-run", "-Werror", *names[start:start + 100]]
        done = lint.run(command, cwd=root)
        found = [line for line in done.stderr.splitlines() if "error:" in line]
        if done.returncode != 0 and not found:
            found = [f"{FORMATTER} failed: {done.stderr.strip()}"]
        complaints += found
    return complaints


EXAMPLES = [
    ("clean", {"src/a.cpp": "int f(int x) { return x; }\n"}, None),
    ("bad layout", {"src/a.cpp": "int   f( int x ){return x;}\n"}, "src/a.cpp:1"),
    ("bad layout in a header", {"include/tern/ds/a.hpp": "#pragma once\nstruct a\n{\n};\n"}, "a.hpp:2"),
]

if __name__ == "__main__":
    lint.main(check, EXAMPLES, __doc__)
