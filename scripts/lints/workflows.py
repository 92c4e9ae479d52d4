#!/usr/bin/env python3
"""Workflows pass actionlint, and what a step of theirs (or of the GitLab template) runs is a script of this repository.

actionlint is taken from PATH, else from build/packages/actionlint, where Go, if there is one, installs the pinned release.
"""

import os
import pathlib
import re
import shutil

import lint

MODULE = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
PLACE = pathlib.Path(os.environ.get("TERN_BUILD_DIR", pathlib.Path(__file__).resolve().parents[2] / "build")) / "packages/actionlint"


def actionlint():
    found = shutil.which("actionlint") or shutil.which("actionlint", path=PLACE)
    if not found:
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
        if not go:
            raise lint.Unreachable("actionlint, nor Go to fetch it with,")
        done = lint.run([go, "install", MODULE], env={**os.environ, "GOBIN": str(PLACE.resolve())})
        if done.returncode != 0:
            raise lint.Unreachable(f"actionlint ({done.stderr.strip().splitlines()[-1]})")
        found = str(PLACE / "actionlint")
    return found


def steps(text, github):
    """(line, command) of each step that runs something"""
    inside = None
    for number, line in enumerate(text.split("\n"), 1):
        indent = len(line) - len(line.lstrip())
        if inside is not None and line.strip() and indent <= inside:
            inside = None
        if github and (found := re.match(r"\s*(- )?run: *(.*)", line)):
            yield number, found[2]
        elif not github and re.match(r"\s*(before_|after_)?script:", line):
            inside = indent
        elif inside is not None and (found := re.match(r"\s*- (.*)", line)):
            yield number, found[1]


def check(root):
    github = lint.files(root, ".yml", ".yaml", under=".github/workflows/")
    complaints = []
    if github:
        done = lint.run([actionlint(), "-no-color", "-oneline", *github], cwd=root)
        complaints = [line for line in done.stdout.splitlines() if line]
        if done.returncode not in (0, 1):
            complaints.append(f"actionlint failed: {done.stderr.strip()}")
    for name in github + lint.files(root, ".yml", under=".gitlab/"):
        for number, command in steps(lint.read(root, name), name in github):
            script = command.split()[0] if command.split() else ""
            if not (script.startswith("scripts/") and os.access(pathlib.Path(root) / script, os.X_OK)):
                complaints.append(f"{name}:{number}: runs \"{command}\", which is no script of this repository")
    return complaints


WORKFLOW = "on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: {}\n"
EXAMPLES = [
    ("no such script", {".github/workflows/a.yml": WORKFLOW.format("scripts/none")}, "no script of this repository"),
    ("a command", {".github/workflows/a.yml": WORKFLOW.format("make")}, "no script of this repository"),
    ("an error", {".github/workflows/a.yml": WORKFLOW.format("x").replace("ubuntu-24.04", "${{ nothing.here }}")}, "undefined variable"),
    ("GitLab", {".gitlab/a.yml": "a:\n  script:\n    - make\n"}, "a.yml:3: runs \"make\""),
]

if __name__ == "__main__":
    lint.main(check, EXAMPLES, __doc__)
