#!/usr/bin/env python3
"""Every header compiles alone without a warning, and can be included twice: the faces with both compilers, the others with GCC.

What a header forgets to include does not depend on the compiler, GCC takes half of clang's time, and clang builds the tests under TSan.

A header for one CPU (by its name: *_x86_64.hpp, *_aarch64.hpp) is compiled for that CPU, where a compiler for it is here.
"""

import concurrent.futures
import os
import pathlib
import platform
import shutil

import lint

COMPILERS = ["g++", "clang++-19"]
# Beyond the warnings of our own builds: those that users turn on and a header can be without, and no run-time type information.
FLAGS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wundef", "-Wformat=2", "-fno-rtti", "-Werror"]


def compile_one(root, compiler, header):
    code = f"#include <{header}>\n#include <{header}>\nint main() {{}}\n"
    command = [compiler, *FLAGS, f"-I{pathlib.Path(root) / 'include'}", "-x", "c++", "/dev/stdin"]
    try:
        done = lint.subprocess.run(command, capture_output=True, text=True, check=False, input=code)
    except FileNotFoundError as error:
        raise lint.Missing(compiler) from error
    if done.returncode == 0:
        return None
    errors = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr.strip()]
    return f"include/{header}:1: {compiler}: " + "\n    ".join(errors[:4])


def compilers_for(header):
    cpu = lint.cpu_of(header)
    if cpu in ("", platform.machine()):
        return COMPILERS if header.count("/") == 1 else COMPILERS[:1]
    cross = f"{cpu}-linux-gnu-g++"
    return [cross] if shutil.which(cross) else []


def check(root):
    headers = [name.removeprefix("include/") for name in lint.files(root, ".hpp", under="include/")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda pair: compile_one(root, *pair), [(c, h) for h in headers for c in compilers_for(h)])
        return [result for result in results if result]


EXAMPLES = [
    ("clean", {"include/tern/ds/a.hpp": "#pragma once\n#include <vector>\ninline std::vector<int> f() { return {}; }\n"}, None),
    ("needs another header", {"include/tern/a.hpp": "#pragma once\ninline std::vector<int> f() { return {}; }\n"},
     "a.hpp:1: g++"),
    ("needs another header, not a face", {"include/tern/ds/a.hpp": "#pragma once\ninline std::vector<int> f() { return {}; }\n"},
     "a.hpp:1: g++"),
    ("a face, with clang too", {"include/tern/a.hpp": "#pragma once\ninline std::vector<int> f() { return {}; }\n"},
     "a.hpp:1: clang++-19"),
    ("no guard", {"include/tern/ds/a.hpp": "struct a {};\n"}, "redefinition"),
    ("for this CPU", {f"include/tern/arch/a_{platform.machine()}.hpp": "struct a {};\n"}, "redefinition"),
    ("a macro that is not defined", {"include/tern/ds/a.hpp": "#pragma once\n#if TERN_NOWHERE\n#endif\n"}, "not defined"),
    ("needs RTTI", {"include/tern/ds/a.hpp": "#pragma once\nstruct a { virtual ~a(); };\nstruct b : a {};\ninline b* f(a& x) { return dynamic_cast<b*>(&x); }\n"},
     "-fno-rtti"),
    ("narrowing", {"include/tern/ds/a.hpp": "#pragma once\ninline int f(long x) { return x; }\n"}, "conversion"),
]

if __name__ == "__main__":
    lint.main(check, EXAMPLES, __doc__)
