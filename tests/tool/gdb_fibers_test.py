#!/usr/bin/env python3
"""scripts/gdb/tern_gdb.py on a live process: the list of fibers, a parked fiber's stack, and the way back. The same on its core file."""

import glob
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

PROGRAM = os.path.join(os.environ["TERN_BUILD_DIR"], "tests", "unit_sched")
SCRIPT = os.path.join(os.environ["TERN_SOURCE_DIR"], "scripts", "gdb", "tern_gdb.py")
ARGUMENTS = ["--gtest_also_run_disabled_tests", "--gtest_filter=SchedDump.DISABLED_HoldStillForADebugger", "--gtest_brief=1"]


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


# What a process of some fibers may leave in a core file: not what it has reserved, which is beyond a terabyte.
CORE_BYTES = 1 << 30


def allow_cores():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)


def cores_are_files():
    with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as pattern:
        return re.fullmatch(r"core[%\w.-]*", pattern.read().strip()) and resource.getrlimit(resource.RLIMIT_CORE)[1] != 0


def gdb(*commands, core=None):
    line = ["gdb", "-nx", "-batch", "-ex", "set pagination off", "-ex", "set width 0", "-ex", "set debuginfod enabled off"]
    for command in (f"source {SCRIPT}",) + commands:
        line += ["-ex", command]
    line += ["--args", PROGRAM] + ARGUMENTS if core is None else [PROGRAM, core]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, preexec_fn=allow_cores)
    return done.stdout + done.stderr


def expect(condition, text, output):
    if not condition:
        sys.exit(f"expected {text} in:\n{output}")


def section(output, begin, end=None):
    """What was printed between the two echoes."""
    return output.split(f"== {begin}\n", 1)[1].split(f"== {end}\n", 1)[0]


def states(output):
    """Each fiber's number, name and what it does, without addresses: they differ between processes."""
    return re.findall(r"fiber (\d+) '(.*?)': ([a-z ]+)", output)


def main():
    if shutil.which("gdb") is None:
        skip("gdb is not here")
    if "HAS_PYTHON" not in gdb("python print('HAS_' + 'PYTHON')"):
        skip("this gdb has no Python")
    at_the_stop = ["break dump_cases::hold_still", "run"]
    listed = gdb(*at_the_stop, "echo == list\\n", "info fibers")
    if re.search(r"ptrace|could not (run|start)|not permitted", listed, re.I):
        skip("processes cannot be traced here")
    expect("== list" in listed, "the stop", listed)
    expect(re.search(r"fiber \d+ 'main': running\n", listed), "the running fiber", listed)
    expect(re.search(r"fiber \d+ 'fresh': not started\n", listed), "the new fiber", listed)
    expect("3 fiber(s)\n" in listed, "three fibers", listed)
    parked = re.search(r"fiber (\d+) 'waiting': waiting for channel receive 0x[0-9a-f]+, in (.*)", listed)
    expect(parked, "the waiting fiber", listed)
    expect("tern::" in parked[2], "the function that it parked in", listed)

    # Ids are given out in the same order in each run.
    number = parked[1]
    output = gdb(*at_the_stop, "echo == one\\n", f"fiber {number}", "bt", "echo == off\\n", "fiber off", "bt",
                 "echo == all\\n", "fiber apply all bt", "echo == on\\n", "continue", "echo == end\\n")
    one = section(output, "one", "off")
    expect(re.search(r"wait_at_the_inner_place.*\n(.*\n)*.*wait_at_the_outer_place.*\n(.*\n)*.*fiber_entry", one),
           "the stack of the parked fiber", output)
    expect("hold_still" not in one, "no frame of the thread itself", output)
    off = section(output, "off", "all")
    expect("hold_still" in off and "outer_place" not in off, "the thread's own stack", output)
    every = section(output, "all", "on")
    for wanted in ("'waiting'", "outer_place", "'main'", "hold_still", "'fresh'", "no frames yet"):
        expect(wanted in every, wanted, output)
    # The program goes on as if nothing had been done to it.
    expect("exited normally" in section(output, "on", "end"), "the end of the program", output)

    def expect_the_same(core):
        output = gdb("echo == list\\n", "info fibers", "echo == one\\n", f"fiber {number}", "bt", "echo == end\\n", core=core)
        expect(states(section(output, "list", "one")) == states(listed), "the list of the live process", output)
        expect(re.search(r"wait_at_the_inner_place.*\n(.*\n)*.*wait_at_the_outer_place", section(output, "one", "end")),
               "the stack of the parked fiber", output)

    # Of gdb: gcore alone leaves out each mapping that has a guard in it, before gdb 14.
    with tempfile.TemporaryDirectory() as directory:
        whole, plain = (os.path.join(directory, name) for name in ("whole", "plain"))
        output = gdb(*at_the_stop, f"fiber gcore {whole}", f"gcore {plain}", "fiber gcore /nowhere/core", "continue")
        expect(os.path.exists(whole) and os.path.exists(plain), "two core files", output)
        expect("exited normally" in output, "the end of the program", output)
        expect(os.stat(whole).st_blocks * 512 < CORE_BYTES, f"a core file of what is in use, not of {os.stat(whole).st_blocks} blocks", output)
        expect_the_same(whole)
        output = gdb("info fibers", core=plain)
        expect("\n3 fiber(s)\n" in output or "not in this core" in output, "all fibers, or the reason why there are none", output)

    # Of the kernel.
    if not cores_are_files():
        print("skipped: core files go elsewhere here")
        return
    with tempfile.TemporaryDirectory() as directory:
        # Without gdb, which may lose a process of several threads while it dies.
        done = subprocess.run([PROGRAM] + ARGUMENTS, capture_output=True, text=True, timeout=120, check=False, cwd=directory,
                              env=dict(os.environ, TERN_TEST_ABORT="1"), preexec_fn=allow_cores)
        cores = glob.glob(os.path.join(directory, "core*"))
        output = done.stdout + done.stderr
        expect(done.returncode == -signal.SIGABRT and len(cores) == 1, "a core file", output)
        core = cores[0]
        expect(os.path.getsize(core) < CORE_BYTES, f"a core file of what is in use, not of {os.path.getsize(core)} bytes", output)
        expect_the_same(core)


main()
