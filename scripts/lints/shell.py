#!/usr/bin/env python3
"""Shell scripts pass shellcheck, and are executable where they have a #! line."""

import os
import pathlib

import lint


def scripts_of(root):
    for name in lint.files(root):
        if name.endswith((".sh", ".bash")):
            yield name
        elif "." not in name.rsplit("/", 1)[-1]:
            first = lint.read(root, name).split("\n", 1)[0]
            if first.startswith("#!") and first.rstrip().endswith("sh"):
                yield name


def check(root):
    complaints = []
    names = list(scripts_of(root))
    if names:
        done = lint.run(["shellcheck", "-x", "-f", "gcc", *names], cwd=root)
        complaints = [line for line in done.stdout.splitlines() if line]
        if done.returncode not in (0, 1):
            complaints.append(f"shellcheck failed: {done.stderr.strip()}")
    for name in names:
        if lint.read(root, name).startswith("#!") and not os.access(pathlib.Path(root) / name, os.X_OK):
            complaints.append(f"{name}:1: has a #! line and is not executable")
    return complaints


EXAMPLES = [
    ("clean", {"scripts/a.sh": "# shellcheck shell=bash\nprintf '%s\\n' \"$1\"\n"}, None),
    ("unquoted", {"scripts/a.sh": "# shellcheck shell=bash\nrm $1\n"}, "SC2086"),
    ("command without suffix", {"scripts/a": "#!/usr/bin/env bash\nrm $1\n"}, "SC2086"),
    ("not executable", {"scripts/a": "#!/usr/bin/env bash\nrm \"$1\"\n"}, "not executable"),
]

if __name__ == "__main__":
    lint.main(check, EXAMPLES, __doc__)
