#!/usr/bin/env python3
"""Every header compiles alone without a warning, and can be included twice: the faces with both compilers, the others with GCC.

What a header forgets to include does not depend on the compiler, GCC takes half of clang's time, and clang builds the tests under TSan.

One compilation looks at a chain of headers, of which each includes the one before: what that one brings, the next one brings by itself,
so it is alone in effect, and a quarter of the compilations do. A chain that fails is looked at header by header.

A header for one CPU (by its name: *_x86_64.hpp, *_aarch64.hpp) is compiled for that CPU, where a compiler for it is here.
"""

import concurrent.futures
import os
import pathlib
import platform
import re
import shutil

import lint

COMPILERS = ["g++", "clang++-19"]
# Beyond the warnings of our own builds: those that users turn on and a header can be without, and no run-time type information.
FLAGS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wundef", "-Wformat=2", "-fno-rtti", "-Werror"]


def included_always(root, header):
    """What a header includes of ours under no condition, before anything else in it."""
    found = set()
    depth = 0
    for line in lint.read(root, f"include/{header}").splitlines():
        if re.match(r"\s*[^\s#/]", line):
            break
        if directive := re.match(r"\s*#\s*(if|endif|include\s*<(tern/[^>]+)>)", line):
            depth += {"if": 1, "endif": -1}.get(directive[1], 0)
            if directive[2] and depth == 0:
                found.add(directive[2])
    return found


def chains_of(root, headers):
    """The headers, each once, in lists of which each header includes the one before, by way of others or not."""
    direct = {header: included_always(root, header) for header in headers}
    whole = {}

    def closure(header):
        if header not in whole:
            whole[header] = set()  # also where headers include each other in a ring
            for other in direct.get(header, ()):
                whole[header] |= {other} | closure(other)
        return whole[header]

    chains = []
    for header in sorted(headers, key=lambda name: (len(closure(name)), name)):
        fitting = [chain for chain in chains if chain[-1] in closure(header)]
        if fitting:
            max(fitting, key=lambda chain: len(closure(chain[-1]))).append(header)
        else:
            chains.append([header])
    return chains


def errors_of(root, compiler, headers):
    code = "".join(f"#include <{header}>\n#include <{header}>\n" for header in headers) + "int main() {}\n"
    command = [compiler, *FLAGS, f"-I{pathlib.Path(root) / 'include'}", "-x", "c++", "/dev/stdin"]
    try:
        done = lint.subprocess.run(command, capture_output=True, text=True, check=False, input=code)
    except FileNotFoundError as error:
        raise lint.Missing(compiler) from error
    if done.returncode == 0:
        return []
    return [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr.strip()]


def compile_chain(root, compiler, chain):
    if not errors_of(root, compiler, chain):
        return []
    alone = [(header, errors_of(root, compiler, [header])) for header in chain]
    complaints = [f"include/{header}:1: {compiler}: " + "\n    ".join(errors[:4]) for header, errors in alone if errors]
    return complaints or [f"include/{chain[-1]}:1: {compiler}: only together with {', '.join(chain[:-1])}"]


def compilers_for(header):
    cpu = lint.cpu_of(header)
    if cpu in ("", platform.machine()):
        return COMPILERS if header.count("/") == 1 else COMPILERS[:1]
    cross = f"{cpu}-linux-gnu-g++"
    return [cross] if shutil.which(cross) else []


def check(root):
    headers = [name.removeprefix("include/") for name in lint.files(root, ".hpp", under="include/")]
    of_compiler = {}
    for header in headers:
        for compiler in compilers_for(header):
            of_compiler.setdefault(compiler, []).append(header)
    work = [(compiler, chain) for compiler, some in of_compiler.items() for chain in chains_of(root, some)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda pair: compile_chain(root, *pair), work)
        return [complaint for result in results for complaint in result]


EXAMPLES = [
    ("clean", {"include/tern/ds/a.hpp": "#pragma once\n#include <vector>\ninline std::vector<int> f() { return {}; }\n"}, None),
    ("needs another header", {"include/tern/a.hpp": "#pragma once\ninline std::vector<int> f() { return {}; }\n"},
     "a.hpp:1: g++"),
    ("needs another header, not a face", {"include/tern/ds/a.hpp": "#pragma once\ninline std::vector<int> f() { return {}; }\n"},
     "a.hpp:1: g++"),
    ("a face, with clang too", {"include/tern/a.hpp": "#pragma once\ninline std::vector<int> f() { return {}; }\n"},
     "a.hpp:1: clang++-19"),
    ("needs what it includes too late",
     {"include/tern/ds/a.hpp": "#pragma once\n#include <vector>\n",
      "include/tern/ds/b.hpp": "#pragma once\ninline std::vector<int> f() { return {}; }\n#include <tern/ds/a.hpp>\n"}, "b.hpp:1: g++"),
    ("needs what it includes under a condition",
     {"include/tern/ds/a.hpp": "#pragma once\n#include <vector>\n",
      "include/tern/ds/b.hpp": "#pragma once\n#ifdef TERN_NOWHERE\n#include <tern/ds/a.hpp>\n#endif\ninline std::vector<int> f() { return {}; }\n"},
     "b.hpp:1: g++"),
    ("the first of a chain", {"include/tern/ds/a.hpp": "#pragma once\ninline std::vector<int> f() { return {}; }\n",
      "include/tern/ds/b.hpp": "#pragma once\n#include <vector>\n#include <tern/ds/a.hpp>\n"}, "a.hpp:1: g++"),
    ("no guard", {"include/tern/ds/a.hpp": "struct a {};\n"}, "redefinition"),
    ("for this CPU", {f"include/tern/arch/a_{platform.machine()}.hpp": "struct a {};\n"}, "redefinition"),
    ("a macro that is not defined", {"include/tern/ds/a.hpp": "#pragma once\n#if TERN_NOWHERE\n#endif\n"}, "not defined"),
    ("needs RTTI", {"include/tern/ds/a.hpp": "#pragma once\nstruct a { virtual ~a(); };\nstruct b : a {};\ninline b* f(a& x) { return dynamic_cast<b*>(&x); }\n"},
     "-fno-rtti"),
    ("narrowing", {"include/tern/ds/a.hpp": "#pragma once\ninline int f(long x) { return x; }\n"}, "conversion"),
]

if __name__ == "__main__":
    lint.main(check, EXAMPLES, __doc__)
