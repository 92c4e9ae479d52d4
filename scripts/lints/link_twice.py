#!/usr/bin/env python3
"""Two translation units that include every header link into one program, with both compilers."""

import concurrent.futures
import pathlib
import platform
import tempfile

import lint

COMPILERS = ["g++", "clang++-19"]


def link(root, compiler, headers):
    includes = "".join(f"#include <{header}>\n" for header in headers)
    with tempfile.TemporaryDirectory() as directory:
        place = pathlib.Path(directory)
        (place / "one.cpp").write_text(includes + "int two();\nint main() { return two(); }\n", encoding="utf-8")
        (place / "two.cpp").write_text(includes + "int two();\nint two() { return 0; }\n", encoding="utf-8")
        command = [compiler, "-std=c++20", "-O0", f"-I{pathlib.Path(root) / 'include'}", str(place / "one.cpp"),
                   str(place / "two.cpp"), "-pthread", "-o", str(place / "program")]
        built = lint.run(command)
        if built.returncode != 0:
            lines = [line for line in built.stderr.splitlines() if "error" in line or "multiple" in line or "undefined" in line]
            return f"{compiler}: two units that include everything do not link: " + "\n    ".join(lines[:8])
        ran = lint.run([str(place / "program")])
        if ran.returncode != 0:
            return f"{compiler}: the program that includes everything twice exits with {ran.returncode}"
    return None


def check(root):
    headers = [name.removeprefix("include/") for name in lint.files(root, ".hpp", under="include/")]
    headers = [header for header in headers if lint.cpu_of(header) in ("", platform.machine())]
    if not headers:
        return ["there are no headers under include/"]
    with concurrent.futures.ThreadPoolExecutor(len(COMPILERS)) as pool:
        return [result for result in pool.map(lambda compiler: link(root, compiler, headers), COMPILERS) if result]


EXAMPLES = [
    ("clean", {"include/tern/ds/a.hpp": "#pragma once\ninline int f() { return 1; }\ninline int v = 2;\n"}, None),
    ("function not inline", {"include/tern/ds/a.hpp": "#pragma once\nint f() { return 1; }\n"}, "do not link"),
    ("variable not inline", {"include/tern/ds/a.hpp": "#pragma once\nint v = 2;\n"}, "clang++-19: two units"),
    ("work before main", {"include/tern/ds/a.hpp":
                          "#pragma once\n#include <cstdlib>\ninline int v = (std::_Exit(3), 0);\n"}, "exits with 3"),
]

if __name__ == "__main__":
    lint.main(check, EXAMPLES, __doc__)
