#!/usr/bin/env python3
"""Links the bench binaries of a build again with their objects in another order: relink.py BUILD [--salts N] [--seed S] [--out FOLDER]

Where a function lies decides how its branches and cache lines collide, which moves a benchmark by some percent without any change
of the code. Each BUILD/bench/salt-<n>/ (or FOLDER/salt-<n>/) holds the binaries linked in an order of its own; `ternbench duet` takes them in turn.
Only for Ninja builds. Needs that the binaries are built.
"""
import argparse
import pathlib
import random
import re
import shlex
import subprocess
import sys


def link_command(build, target):
    """The words of the command that links `target`"""
    listed = subprocess.run(["ninja", "-C", str(build), "-t", "commands", target], check=True, capture_output=True, text=True)
    line = listed.stdout.strip().splitlines()[-1]
    for part in line.split(" && "):
        words = shlex.split(part)
        if "-o" in words and words[words.index("-o") + 1] == target:
            return words
    raise ValueError(f"{target}: no link command found in: {line}")


def relink(build, name, salt, seed, out):
    words = link_command(build, f"bench/{name}")
    places = [i for i, word in enumerate(words) if re.search(r"\.o(bj)?$", word) and words[i - 1] != "-o"]
    if len(places) < 2:
        raise ValueError(f"{name}: one object alone has no other order")
    objects = [words[i] for i in places]
    shuffled = objects[:]
    random.Random(f"{seed} {name} {salt}").shuffle(shuffled)
    for place, word in zip(places, shuffled):
        words[place] = word
    folder = out / f"salt-{salt}"
    folder.mkdir(parents=True, exist_ok=True)
    words[words.index("-o") + 1] = str(folder / name)
    subprocess.run(words, check=True, cwd=build)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--salts", type=int, default=2, help="further links (2)")
    parser.add_argument("--seed", type=int, default=1, help="of the orders (1)")
    parser.add_argument("--out", type=pathlib.Path, help="where they go (BUILD/bench)")
    options = parser.parse_args()
    build = options.build.resolve()
    names = sorted(p.name for p in (build / "bench").glob("bench_*") if p.is_file())
    if not names:
        raise ValueError(f"{build}: holds no bench binary")
    for salt in range(1, options.salts + 1):
        for name in names:
            relink(build, name, salt, options.seed, (options.out or build / "bench").resolve())
    print(f"{options.salts} further links of {', '.join(names)}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"relink.py: {error}", file=sys.stderr)
        sys.exit(1)
