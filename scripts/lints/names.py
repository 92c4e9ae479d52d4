#!/usr/bin/env python3
"""Names and forms: files, types, macros, header guards, lengths, left-over notes, paths of a machine, hosts."""

import re

import lint

CODE = (".hpp", ".cpp")
TEXT = CODE + (".py", ".sh", ".cmake", ".txt", ".json", ".yml", ".md", ".in", ".go", "/bench", "/test", "/run")
# fields.hpp: structured bindings of each length, which only macros can spell; it undefines them.
MACRO_HOMES = ("include/tern/base/config.hpp", "include/tern/base/assert.hpp", "include/tern/arch/",
               "include/tern/gc/fields.hpp")
LONGEST_HEADER = 600

SNAKE_FILE = re.compile(r"^[a-z][a-z0-9_]*$")
DEFINE = re.compile(r"^\s*#\s*define\s+(\w+)")
GUARD = re.compile(r"^\s*#\s*ifndef\s+\w+_(?:HPP|H)_?\s*$", re.M)
PRAGMA = re.compile(r"^#pragma once$", re.M)
TYPE = re.compile(r"^\s*(?:(?:export|inline)\s+)*(?:enum\s+class|enum|class|struct|union|concept)\s+"
                  r"(?:\[\[[^\]]*\]\]\s*|alignas\s*\([^)]*\)\s*)*([A-Za-z_]\w*)\s*(?:final\b|[:{=;]|$)")
ALIAS = re.compile(r"^\s*using\s+([A-Za-z_]\w*)\s*=")
UPPER = re.compile(r"[A-Z]")
LEFT_OVER = re.compile(r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.$}~/-])/(?:" + "|".join(["ho" + "me", "ro" + "ot", "wo" + "rk", "tm" + "p", "Us" + "ers"])
                          + r")/[\w.]")
URL = re.compile(r"\bhttps?://([\w.-]+)", re.I)
# Where a link may lead. Not here: anything that serves packages; builds must not depend on one by name.
HOSTS = {
    "abseil.io", "arxiv.org", "creativecommons.org", "dl.acm.org", "doi.org", "docs.github.com", "en.cppreference.com",
    "git.kernel.org", "github.com", "gist.github.com", "go.dev", "json-schema.org", "keepachangelog.com", "lwn.net",
    "man7.org", "semver.org", "tokio.rs", "www.apache.org", "www.open-std.org", "www.w3.org", "example.com",
}


def without_comments(line):
    return line.split("//", 1)[0]


def check(root):
    complaints = []
    for name in lint.files(root):
        stem = name.rsplit("/", 1)[-1].split(".", 1)[0]
        if name.endswith(CODE + (".py",)) and not SNAKE_FILE.match(stem):
            complaints.append(f"{name}:1: the name of a file is snake_case")
        if not name.endswith(TEXT):
            continue
        text = lint.read(root, name)
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            where = f"{name}:{number}"
            if LEFT_OVER.search(line):
                complaints.append(f"{where}: a left-over note; finish it or write an issue")
            if MACHINE_PATH.search(line):
                complaints.append(f"{where}: a path of one machine")
            for host in URL.findall(line):
                if host.lower() not in HOSTS:
                    complaints.append(f"{where}: host {host} is not in the list of this lint")
        if name.endswith(".hpp"):
            if len(PRAGMA.findall(text)) != 1 or GUARD.search(text):
                complaints.append(f"{name}:1: one '#pragma once' is the guard")
            if len(lines) > LONGEST_HEADER:
                complaints.append(f"{name}:{LONGEST_HEADER}: {len(lines)} lines; a header has at most {LONGEST_HEADER}")
        if not name.startswith("include/") or not name.endswith(".hpp"):
            continue
        for number, line in enumerate(lines, 1):
            where = f"{name}:{number}"
            define = DEFINE.match(line)
            if define:
                if not define[1].startswith("TERN_"):
                    complaints.append(f"{where}: macro {define[1]} does not begin with TERN_")
                if not name.startswith(MACRO_HOMES):
                    complaints.append(f"{where}: macros are defined in base/config.hpp, base/assert.hpp, gc/fields.hpp and arch/ alone")
            code = without_comments(line)
            for pattern in (TYPE, ALIAS):
                found = pattern.match(code)
                if found and UPPER.search(found[1]):
                    complaints.append(f"{where}: {found[1]} is not snake_case")
    return complaints


_GOOD = "#pragma once\n"
EXAMPLES = [
    ("clean", {"include/tern/ds/ring_2.hpp": _GOOD + "template <class Atomics>\nclass ring;\nstruct alignas(64) line {\n};\n",
               "include/tern/base/config.hpp": _GOOD + "#define TERN_X 1\n",
               "CMakeLists.txt": "# https://github.com/a/b\n"}, None),
    ("file name", {"include/tern/ds/RunQueue.hpp": _GOOD}, "snake_case"),
    ("no guard", {"include/tern/ds/a.hpp": "struct a {};\n"}, "pragma once"),
    ("old guard", {"include/tern/ds/a.hpp": "#ifndef A_HPP\n#define A_HPP\n#endif\n"}, "pragma once"),
    ("long header", {"include/tern/ds/a.hpp": _GOOD + "\n" * LONGEST_HEADER}, "601 lines"),
    ("macro name", {"include/tern/base/config.hpp": _GOOD + "#define LIKELY(x) x\n"}, "does not begin with TERN_"),
    ("macro place", {"include/tern/ds/a.hpp": _GOOD + "#define TERN_X 1\n"}, "base/config.hpp, base/assert.hpp"),
    ("macro neighbour", {"include/tern/gc/type.hpp": _GOOD + "#define TERN_X 1\n"}, "gc/fields.hpp and arch/ alone"),
    ("type", {"include/tern/ds/a.hpp": _GOOD + "class RunQueue {\n};\n"}, "RunQueue is not snake_case"),
    ("aligned type", {"include/tern/ds/a.hpp": _GOOD + "struct alignas(64) RunQueue {\n};\n"}, "RunQueue is not snake_case"),
    ("alias", {"include/tern/ds/a.hpp": _GOOD + "using Index = int;\n"}, "Index is not snake_case"),
    ("left-over", {"src/a.cpp": "// TO" + "DO: later\n"}, "left-over"),
    ("machine path", {"src/a.cpp": "open(\"/ho" + "me/me/x\");\n"}, "a path of one machine"),
    ("host", {"scripts/test": "fetch https:" + "//packages.invalid/x\n"}, "host packages.invalid"),
]

if __name__ == "__main__":
    lint.main(check, EXAMPLES, __doc__)
