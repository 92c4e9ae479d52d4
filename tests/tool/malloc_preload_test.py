#!/usr/bin/env python3
"""libtern-malloc.so under programs that know nothing of it: each must do what it does without."""
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest

LIBRARY = os.path.join(os.environ["TERN_BUILD_DIR"], "src", "libtern-malloc.so")
SOURCE = os.environ["TERN_SOURCE_DIR"]

PYTHON_WORK = """
import hashlib, json, re, subprocess, sys, threading
def work(n, out):
    for i in range(n):
        text = json.dumps({str(k): [k] * (k % 50) for k in range(i % 300)})
        out.append(hashlib.sha256(re.sub('1', 'one', text).encode()).hexdigest())
outs = [[] for _ in range(4)]
threads = [threading.Thread(target=work, args=(150, out)) for out in outs]
for t in threads: t.start()
for t in threads: t.join()
print([x[-1] for x in outs])
print(subprocess.run([sys.executable, '-c', 'print(len(bytearray(50_000_000)))'], capture_output=True, text=True).stdout)
"""

FORKING = """
import multiprocessing
if __name__ == '__main__':
    with multiprocessing.get_context('fork').Pool(4) as pool:
        print(sum(pool.map(len, [('x' * i) for i in range(2000)])))
"""

CPP = """
#include <algorithm>
#include <iostream>
#include <map>
#include <new>
#include <string>
#include <vector>
int main() {
  std::map<std::string, std::vector<int>> m;
  for (int i = 0; i < 20000; ++i) m[std::to_string(i % 997)].push_back(i);
  std::size_t n = 0;
  for (auto& [k, v] : m) { std::reverse(v.begin(), v.end()); n += v.size() * k.size(); }
  try { std::string s(std::size_t(-1) / 4, 'x'); } catch (const std::bad_alloc&) { n += 1; }
  std::cout << n << '\\n';
}
"""

# One function keeps 4,096 blocks of 1,000 bytes, another frees what it takes.
PROFILED = """
#include <stdlib.h>
#include <string.h>
__attribute__((noinline)) void* keeps(void) {
  void** all = malloc(4096 * sizeof(void*));
  for (int i = 0; i < 4096; ++i) memset(all[i] = malloc(1000), 1, 1000);
  return all;
}
__attribute__((noinline)) void drops(void) {
  for (int i = 0; i < 100000; ++i) {
    void* volatile p = malloc(1000);
    free(p);
  }
}
void* volatile kept;
int main() {
  kept = keeps();
  drops();
  return kept == 0;
}
"""


class preload_test(unittest.TestCase):
    def run_with(self, command, library="", limit=0, debug="", check=True):
        environment = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "TERN_DEBUG")}
        if library:
            environment["LD_PRELOAD"] = library
        if debug:
            environment["TERN_DEBUG"] = debug

        def limited():
            if limit:
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False,
                              preexec_fn=limited)
        if check:
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        return done

    def same(self, *command, limit=0):
        if shutil.which(command[0]) is None:
            self.skipTest(f"{command[0]} is not here")
        self.assertEqual(self.run_with(command, LIBRARY, limit).stdout, self.run_with(command).stdout)

    def test_it_is_loaded(self):
        done = self.run_with([sys.executable, "-c", ""], LIBRARY, debug="allocstats=1")
        self.assertRegex(done.stderr, r"tern: allocstats: live \d+ cached \d+ .* caches 1\n")

    def test_c_programs_load_no_runtime_for_it(self):
        text = self.run_with(["ldd", LIBRARY]).stdout
        self.assertNotIn("libstdc++", text)
        self.assertNotIn("libgcc_s", text)

    def test_python(self):
        self.same(sys.executable, "-c", PYTHON_WORK)

    def test_python_that_forks(self):
        self.same(sys.executable, "-c", FORKING)

    def test_shell_and_sort(self):
        self.same("bash", "-c", "for i in $(seq 3000); do echo $((i * 7919 % 3001)) line $i; done | sort -n | md5sum")

    def test_git(self):
        self.same("git", "-C", SOURCE, "log", "--stat", "-n", "20")

    def test_sqlite(self):
        self.same("sqlite3", ":memory:", "create table t(a integer primary key, b text);"
                  "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000) "
                  "insert into t select i, hex(i * 7919) from n; create index x on t(b);"
                  "select count(*), min(b), max(b), sum(length(b)) from t;")

    def test_compiler_and_what_it_compiled(self):
        if shutil.which("g++") is None:
            self.skipTest("g++ is not here")
        with tempfile.TemporaryDirectory() as folder:
            source, program = os.path.join(folder, "a.cpp"), os.path.join(folder, "a")
            with open(source, "w", encoding="utf-8") as f:
                f.write(CPP)
            self.run_with(["g++", "-std=c++17", "-O1", source, "-o", program], LIBRARY)
            self.same(program)

    def test_a_limit_of_256_mib_on_addresses(self):
        limit = 256 << 20
        self.same("bash", "-c", "seq 20000 | sort -rn | tail -1", limit=limit)
        self.same(sys.executable, "-c", "import json, re; print(len(json.dumps(list(range(200000)))))", limit=limit)

    def test_exhaustion_is_an_error_like_any(self):
        program = """
try:
    blocks = [bytes(1000) for _ in range(10_000_000)]
except MemoryError:
    blocks = None
    print('MemoryError', len(bytes(1_000_000)))
"""
        done = self.run_with([sys.executable, "-c", program], LIBRARY, limit=400 << 20)
        self.assertEqual(done.stdout, "MemoryError 1000000\n")

    def test_a_heap_profile_that_pprof_reads(self):
        # scripts/test installs both; by hand, and where a distribution has no google-perftools, there may be none to ask.
        for tool in ("google-pprof", "gcc"):
            if shutil.which(tool) is None:
                self.skipTest(f"{tool} is not here")
        with tempfile.TemporaryDirectory() as folder:
            source, program, profile = (os.path.join(folder, name) for name in ("a.c", "a", "a.heap"))
            with open(source, "w", encoding="utf-8") as f:
                f.write(PROFILED)
            self.run_with(["gcc", "-O1", "-g", source, "-o", program])
            self.run_with([program], LIBRARY, debug=f"heapprofile={profile},sampleinterval=16384")
            table = self.run_with(["google-pprof", "--text", program, profile]).stdout
        # flat, share, sum, with what it calls, share, function: the first is who allocates, not what of the library he calls.
        first = table.splitlines()[1].split()
        self.assertEqual(first[5], "keeps", table)
        # 4,096 blocks of 1,024 bytes and 32 KiB are 4.03 MiB; some 250 samples tell of them, so that a third is five deviations.
        self.assertAlmostEqual(float(first[0]), 4.03, delta=1.35, msg=table)
        self.assertNotIn("drops", table)

    def test_a_heap_profile_that_cannot_be_written_has_a_line(self):
        done = self.run_with([sys.executable, "-c", ""], LIBRARY, debug="heapprofile=/nowhere/a.heap")
        self.assertEqual(done.stderr, "tern: the heap profile cannot be written to /nowhere/a.heap: No such file or directory\n")

    def test_misuse_ends_with_one_message(self):
        program = "import ctypes; c = ctypes.CDLL(None); c.free(ctypes.c_void_p(id(object()) & ~15 | 1 << 44))"
        done = self.run_with([sys.executable, "-c", program], LIBRARY, check=False)
        self.assertEqual(done.returncode, -6)
        self.assertRegex(done.stderr, r"tern: fatal: deallocate: not a live block")


if __name__ == "__main__":
    unittest.main()
