#!/usr/bin/env python3
"""Layers of include/tern: who may include whom, no cycles, and where platform #ifdefs live."""

import re

import lint

LAYERS = ["base", "arch", "os", "ds", "alloc", "sched", "sync", "net", "gc"]
TOP = len(LAYERS)

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
CONDITIONAL = re.compile(r"^\s*#\s*(?:if|ifdef|ifndef|elif|elifdef|elifndef)\b(.*)")
CPU = re.compile(r"\b(__x86_64__|__amd64__|__i386__|__aarch64__|__arm__|__SSE\w*|__AVX\w*|__ARM_\w+)\b")
OS = re.compile(r"\b(__linux__|__unix__|__APPLE__|__ANDROID__|__GLIBC__|_WIN32|MADV_\w+|MAP_\w+|SYS_\w+|__NR_\w+)\b")
SANITIZER = re.compile(r"\b(__SANITIZE_\w+|address_sanitizer|thread_sanitizer)\b")
# C++ and libc headers have no folder, or one of these.
SYSTEM_FOLDERS = ("sys/", "linux/", "asm/", "netinet/", "arpa/", "sanitizer/")


def layer_of(path):
    """(rank, name) of a header given as tern/...: faces belong to their layer, tern/tern.hpp is above all."""
    parts = path.split("/")
    if len(parts) == 2:
        stem = parts[1].removesuffix(".hpp")
        if stem == "tern":
            return TOP, "tern"
        return (LAYERS.index(stem), stem) if stem in LAYERS else (None, stem)
    return (LAYERS.index(parts[1]), parts[1]) if parts[1] in LAYERS else (None, parts[1])


def find_cycle(graph):
    state = {}

    def visit(node, trail):
        state[node] = "open"
        for target in sorted(graph.get(node, ())):
            if state.get(target) == "open":
                return trail[trail.index(target):] + [target] if target in trail else [node, target]
            if target not in state and target in graph:
                found = visit(target, trail + [target])
                if found:
                    return found
        state[node] = "done"
        return None

    for start in sorted(graph):
        if start not in state:
            found = visit(start, [start])
            if found:
                return found
    return None


def check(root):
    complaints = []
    graph = {}
    headers = lint.files(root, ".hpp", under="include/tern/")
    known = {name.removeprefix("include/") for name in headers}
    for name in headers:
        path = name.removeprefix("include/")
        rank, layer = layer_of(path)
        if rank is None:
            complaints.append(f"{name}:1: '{layer}' is no layer ({' '.join(LAYERS)})")
            continue
        graph[path] = set()
        for number, line in enumerate(lint.read(root, name).splitlines(), 1):
            where = f"{name}:{number}"
            condition = CONDITIONAL.match(line)
            if condition and path != "tern/base/config.hpp":
                if layer != "arch" and CPU.search(condition[1]):
                    complaints.append(f"{where}: a CPU #ifdef outside arch/ and base/config.hpp")
                if layer != "os" and OS.search(condition[1]):
                    complaints.append(f"{where}: an OS #ifdef outside os/ and base/config.hpp")
                if SANITIZER.search(condition[1]):
                    complaints.append(f"{where}: a sanitizer is detected in base/config.hpp alone (TERN_ASAN, TERN_TSAN)")
            include = INCLUDE.match(line)
            if not include:
                continue
            target = include[2]
            if target == "atomic" and path != "tern/base/atomic.hpp":
                complaints.append(f"{where}: only base/atomic.hpp includes <atomic>")
            if not target.startswith("tern/"):
                if include[1] == '"':
                    complaints.append(f"{where}: write <tern/...>, not \"{target}\"")
                elif "/" in target and not target.startswith(SYSTEM_FOLDERS):
                    complaints.append(f"{where}: <{target}> is not C++20, libc or Linux")
                continue
            if include[1] == '"':
                complaints.append(f"{where}: write <{target}>, not \"{target}\"")
            if target not in known:
                complaints.append(f"{where}: <{target}> does not exist")
                continue
            graph[path].add(target)
            target_rank, target_layer = layer_of(target)
            if target_rank is not None and target_rank > rank:
                complaints.append(f"{where}: layer {layer} includes <{target}> of the higher layer {target_layer}")
    cycle = find_cycle(graph)
    if cycle:
        complaints.append("include cycle: " + " -> ".join(cycle))
    return complaints


EXAMPLES = [
    ("clean", {"include/tern/base/a.hpp": "#include <cstdint>\n",
               "include/tern/os/b.hpp": "#include <sys/mman.h>\n#include <tern/base/a.hpp>\n#ifdef MADV_FREE\n#endif\n",
               "include/tern/alloc.hpp": "#include <tern/os/b.hpp>\n",
               "include/tern/tern.hpp": "#include <tern/alloc.hpp>\n"}, None),
    ("upward include", {"include/tern/base/a.hpp": "#include <tern/os/b.hpp>\n", "include/tern/os/b.hpp": "\n"},
     "a.hpp:1: layer base includes <tern/os/b.hpp> of the higher layer os"),
    ("everything from below", {"include/tern/gc/a.hpp": "#include <tern/tern.hpp>\n", "include/tern/tern.hpp": "\n"},
     "higher layer tern"),
    ("cycle in one layer", {"include/tern/ds/a.hpp": "#include <tern/ds/b.hpp>\n",
                            "include/tern/ds/b.hpp": "#include <tern/ds/c.hpp>\n",
                            "include/tern/ds/c.hpp": "#include <tern/ds/a.hpp>\n"}, "include cycle: "),
    ("cycle through a face", {"include/tern/ds/a.hpp": "#include <tern/ds.hpp>\n",
                              "include/tern/ds.hpp": "#include <tern/ds/a.hpp>\n"}, "include cycle: "),
    ("unknown layer", {"include/tern/util/a.hpp": "\n"}, "'util' is no layer"),
    ("missing header", {"include/tern/ds/a.hpp": "#include <tern/ds/none.hpp>\n"}, "does not exist"),
    ("atomic", {"include/tern/ds/a.hpp": "#include <atomic>\n"}, "only base/atomic.hpp"),
    ("quotes", {"include/tern/ds/a.hpp": "#include \"b.hpp\"\n"}, "write <tern/...>"),
    ("foreign library", {"include/tern/ds/a.hpp": "#include <boost/config.hpp>\n"}, "is not C++20"),
    ("CPU", {"include/tern/ds/a.hpp": "#if defined(__x86_64__)\n#endif\n"}, "CPU #ifdef"),
    ("OS", {"include/tern/alloc/a.hpp": "#ifdef MADV_HUGEPAGE\n#endif\n"}, "OS #ifdef"),
    ("sanitizer", {"include/tern/arch/a.hpp": "#if defined(__SANITIZE_ADDRESS__)\n#endif\n"}, "base/config.hpp alone"),
]

if __name__ == "__main__":
    lint.main(check, EXAMPLES, __doc__)
