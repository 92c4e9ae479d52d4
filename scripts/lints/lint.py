"""What the lints share: the files of the tree, and a main that can prove a lint able to fail.

A lint is a module with `check(root) -> list of complaints` and examples: small trees, each with a piece of the complaint
it must cause (None: must cause none). `--self-test` runs check() over every example.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

SKIPPED = 77  # what CTest reads as skipped


class Missing(Exception):
    """A tool that the lint needs is not installed."""


class Unreachable(Missing):
    """The same of a tool that no distribution packages, and that could not be fetched: a clone without a network can do nothing about it."""


def files(root, *suffixes, under=""):
    """Paths relative to root, sorted: those git knows or would add; every file where there is no git."""
    root = pathlib.Path(root)
    listed = None
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode == 0:
            listed = [name for name in done.stdout.decode().split("\0") if name]
    if listed is None:
        listed = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
        listed = [name for name in listed if not name.startswith(("build/", ".git/"))]
    chosen = []
    for name in sorted(set(listed)):
        if under and not name.startswith(under):
            continue
        if suffixes and not name.endswith(suffixes):
            continue
        if (root / name).is_file():
            chosen.append(name)
    return chosen


def read(root, name):
    return (pathlib.Path(root) / name).read_text(encoding="utf-8", errors="replace")


def run(command, **options):
    """Runs a command; Missing when there is no such command."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **options)
    except FileNotFoundError as error:
        raise Missing(command[0]) from error


def cpu_of(name):
    """x86_64 or aarch64 for a header that is for one CPU by its name (context_aarch64.hpp), else an empty string."""
    for cpu in ("x86_64", "aarch64"):
        if name.endswith(f"_{cpu}.hpp"):
            return cpu
    return ""


def self_test(check, examples):
    wrong = 0
    for title, tree, expected in examples:
        with tempfile.TemporaryDirectory() as directory:
            for name, text in tree.items():
                path = pathlib.Path(directory) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            complaints = check(directory)
        if expected is None:
            good = not complaints
        else:
            good = any(expected in complaint for complaint in complaints)
        if not good:
            wrong += 1
            print(f"self-test: {title}: expected {expected!r}, got {complaints}")
    print(f"self-test: {len(examples) - wrong} of {len(examples)} examples as expected")
    return 1 if wrong else 0


def main(check, examples, description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", default=str(pathlib.Path(__file__).resolve().parents[2]))
    parser.add_argument("--self-test", action="store_true", help="show that the lint fails on bad examples")
    options = parser.parse_args()
    try:
        if options.self_test:
            sys.exit(self_test(check, examples))
        complaints = check(options.root)
    except Missing as error:
        print(f"skipped: {error} is not installed")
        # A continuous-integration run must not pass because a tool is absent that it could have installed.
        sys.exit(1 if os.environ.get("CI") and not isinstance(error, Unreachable) else SKIPPED)
    for complaint in complaints:
        print(complaint)
    print(f"{len(complaints)} complaints")
    sys.exit(1 if complaints else 0)
