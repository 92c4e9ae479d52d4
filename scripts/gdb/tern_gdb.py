"""gdb commands for tern: the fibers of a live process or of a core.

    (gdb) source tern_gdb.py
    info fibers               id, state, name, what it waits for, innermost function
    fiber N                   the selected thread shows fiber N's stack: bt, frame, info locals, up, down
    fiber                     which fiber is shown
    fiber off                 the thread's own stack again; so does letting the program run
    fiber apply all COMMAND   the command for each fiber (or for some: fiber apply 3 7 COMMAND)
    fiber gcore FILE          gdb's gcore, with the fibers' stacks: gdb before 14 leaves out each mapping that has a guard in it

A parked fiber's stack is shown by an unwinder: gdb is told that the thread's innermost frame was called by the suspended
fiber, and a frame filter leaves that innermost frame (#0) out of bt. No register and no memory changes. A fiber that runs is
shown by switching to its thread. Needs no debug information of the program, only the symbol tern_debugger_layout.
"""

import itertools
import os
import struct

import gdb
from gdb.unwinder import Unwinder, register_unwinder

LAYOUT = (
    "version", "region_base", "region_class_shift", "pools", "pool_count", "pool_bytes", "pool_created", "pool_free", "min_shift",
    "control_bytes", "context", "stack_state", "flags", "wait_what", "wait_object", "id", "name", "name_bytes",
    "state_free", "state_on_cpu", "flag_has_name", "flag_started", "flag_in_blocking",
    "tiny_class", "tiny_shift",
)

# The context's words after sp and pc, and the names of all four.
REGISTERS = {"i386:x86-64": ("rsp", "rip", "rbp", "rbx"), "aarch64": ("sp", "pc", "x29", "x19")}


PAGE = 4096  # the least of an OS page
COPIED = 4 * PAGE


def read(address, size):
    return bytes(gdb.selected_inferior().read_memory(address, size))


def word(address, size=8):
    return int.from_bytes(read(address, size), "little")


def text(address, most=200):
    data = b""
    while len(data) < most:
        byte = read(address + len(data), 1)
        if byte == b"\0":
            break
        data += byte
    return data.decode("utf-8", "replace")


def registers():
    name = gdb.selected_inferior().architecture().name()
    found = REGISTERS.get(name)
    if found is None:
        raise gdb.GdbError(f"tern: fibers on {name} are not known")
    return found


class Layout:
    """The program's own table, see include/tern/sched/debugger.hpp."""

    def __init__(self):
        try:
            address = int(gdb.parse_and_eval("(unsigned long)&tern_debugger_layout"))
            values = struct.unpack(f"<{len(LAYOUT)}Q", read(address, 8 * len(LAYOUT)))
        except (gdb.error, gdb.MemoryError) as error:
            raise gdb.GdbError("tern: no tern_debugger_layout here: the program does not use tern, or has no symbols, "
                               "or does not run yet") from error
        for key, value in zip(LAYOUT, values):
            setattr(self, key, value)
        if self.version != 3:
            raise gdb.GdbError(f"tern: layout {self.version} of the program is not known to this script")


class Fiber:
    def __init__(self, layout, control, low):
        self.control = control
        self.low = low
        self.id = word(control + layout.id)
        self.state = word(control + layout.stack_state, 4)
        self.flags = word(control + layout.flags, 4)
        self.name = text(control + layout.name, layout.name_bytes) if self.flags & layout.flag_has_name else ""
        what = word(control + layout.wait_what) & ~(1 << 63)
        self.waits_for = f"{text(what)} {word(control + layout.wait_object):#x}" if what else ""
        self.context = [word(control + layout.context + 8 * i) for i in range(4)]
        self.runs = self.state == layout.state_on_cpu
        self.in_blocking = not self.runs and bool(self.flags & layout.flag_in_blocking)
        self.started = bool(self.flags & layout.flag_started)

    def state_text(self):
        if self.runs:
            return "running"
        if self.in_blocking:
            return "in blocking"
        if self.waits_for:
            return "waiting"
        return "runnable" if self.started else "not started"

    def title(self):
        named = f" '{self.name}'" if self.name else ""
        waits = f" for {self.waits_for}" if self.waits_for else ""
        return f"fiber {self.id}{named}: {self.state_text()}{waits}"

    def thread(self):
        """The thread that runs on this fiber's stack, or None."""
        stack_pointer = registers()[0]
        before = gdb.selected_thread()
        frame = gdb.selected_frame() if before is not None else None
        found = None
        try:
            for thread in gdb.selected_inferior().threads():
                if not thread.is_valid():
                    continue
                thread.switch()
                sp = int(gdb.newest_frame().read_register(stack_pointer)) & (2**64 - 1)
                if self.low <= sp <= self.control:
                    found = thread
                    break
        finally:
            if before is not None:
                before.switch()
                frame.select()
        return found


def slots(layout):
    """Control block and lowest address of each slot that was ever handed out."""
    base = word(layout.region_base)
    if base == 0:
        return
    class_shift = word(layout.region_class_shift, 4)
    for pool in range(layout.pool_count):
        is_tiny = pool == layout.tiny_class
        shift = layout.tiny_shift if is_tiny else layout.min_shift + pool
        start = base + (pool << class_shift)
        for index in range(word(layout.pools + pool * layout.pool_bytes + layout.pool_created, 4)):
            number = (start >> shift) + index
            yield ((number + 1) << shift) - layout.control_bytes - (0 if is_tiny else (number & 31) * 64), number << shift


def fibers():
    layout = Layout()
    for control, low in slots(layout):
        try:
            if word(control + layout.stack_state, 4) != layout.state_free:
                yield Fiber(layout, control, low)
        except gdb.MemoryError:
            pass  # a core leaves out pages that were never written


def are_missing():
    """A core in which slots are in use, and no control block was ever written: the stacks are not in it."""
    if "core dump file" not in gdb.execute("info target", to_string=True):
        return False
    layout = Layout()
    in_use = 0
    for pool in range(layout.pool_count):
        at = layout.pools + pool * layout.pool_bytes
        in_use += word(at + layout.pool_created, 4) - word(at + layout.pool_free)
    return in_use > 0 and all(word(control + layout.id) == 0 for control, _ in slots(layout))


def complete_core(path):
    """Writes to a core file what gdb left out of the mappings of stacks. They have their room in it, as zeros."""
    layout = Layout()
    base = word(layout.region_base)
    end = base + (layout.pool_count << word(layout.region_class_shift, 4)) if base != 0 else 0
    with open(path, "r+b") as core:
        header = core.read(64)
        programs, sections = struct.unpack_from("<QQ", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        if count == 0xffff:  # more than fit: the first section header has their number
            core.seek(sections + 44)
            count = struct.unpack("<I", core.read(4))[0]
        core.seek(programs)
        table = core.read(size * count)
        for i in range(count):
            kind, _, offset, address, _, bytes_there = struct.unpack_from("<IIQQQQ", table, i * size)
            if kind == 1 and base <= address < end:
                copy_readable(core, offset, address, bytes_there)


def copy_readable(core, offset, address, size):
    for at in range(0, size, COPIED):
        try:
            pieces = [(at, read(address + at, min(COPIED, size - at)))]
        except gdb.MemoryError:  # a guard begins or ends in here
            pieces = []
            for page in range(at, min(at + COPIED, size), PAGE):
                try:
                    pieces.append((page, read(address + page, PAGE)))
                except gdb.MemoryError:
                    pass
        for place, data in pieces:
            if any(data):  # the file stays sparse
                core.seek(offset + place)
                core.write(data)


def find(number):
    for fiber in fibers():
        if fiber.id == number:
            return fiber
    raise gdb.GdbError(f"tern: no fiber {number}")


class Selection:
    """The parked fiber that stands for the caller of one thread's innermost frame."""

    fiber = None
    thread = None
    innermost = None  # (sp, pc) of that frame

    @classmethod
    def clear(cls, *_):
        if cls.fiber is not None:
            cls.fiber = None
            gdb.invalidate_cached_frames()

    @classmethod
    def show(cls, fiber):
        cls.clear()
        if fiber.runs or fiber.in_blocking:
            thread = fiber.thread()
            if thread is None:
                raise gdb.GdbError(f"tern: {fiber.title()}: no thread is on its stack")
            thread.switch()
            return
        if not fiber.started:
            raise gdb.GdbError(f"tern: {fiber.title()}: it has no frames yet")
        sp, pc = registers()[:2]
        if gdb.selected_thread() is None:
            raise gdb.GdbError("tern: no thread is selected")
        frame = gdb.newest_frame()
        cls.innermost = (unsigned(frame.read_register(sp)), unsigned(frame.read_register(pc)))
        cls.thread = gdb.selected_thread().ptid
        cls.fiber = fiber
        gdb.invalidate_cached_frames()
        above = gdb.newest_frame().older()
        if above is None:
            cls.clear()
            raise gdb.GdbError("tern: gdb does not unwind from here")
        above.select()


def unsigned(value):
    return int(value) & (2**64 - 1)


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class FiberUnwinder(Unwinder):
    def __init__(self):
        super().__init__("tern fiber")

    def __call__(self, pending):
        if Selection.fiber is None or gdb.selected_thread() is None or gdb.selected_thread().ptid != Selection.thread:
            return None
        names = registers()
        sp = pending.read_register(names[0])
        pc = pending.read_register(names[1])
        if (unsigned(sp), unsigned(pc)) != Selection.innermost:
            return None
        info = pending.create_unwind_info(FrameId(sp, pc))
        for name, value in zip(names, Selection.fiber.context):
            info.add_saved_register(name, gdb.Value(value).cast(pending.read_register(name).type))
        return info


class InnermostFilter:
    """Leaves the thread's own frame out while a parked fiber is shown."""

    name = "tern fiber"
    priority = 1000
    enabled = True

    def filter(self, frames):
        return itertools.islice(frames, 1, None) if Selection.fiber is not None else frames


class InfoFibers(gdb.Command):
    """Lists the fibers: id, state, name, what each waits for, where it is."""

    def __init__(self):
        super().__init__("info fibers", gdb.COMMAND_STACK)

    def invoke(self, _argument, _from_tty):
        count = 0
        for fiber in fibers():
            count += 1
            mark = "*" if Selection.fiber is not None and Selection.fiber.id == fiber.id else " "
            where = ""
            if not fiber.runs and not fiber.in_blocking and fiber.started:
                where = gdb.execute(f"info symbol {fiber.context[1]}", to_string=True).split(" + ")[0].strip()
                where = f", in {where}"
            gdb.write(f"{mark} {fiber.title()}{where}\n")
        gdb.write(f"{count} fiber(s)\n")
        if count == 0 and are_missing():
            gdb.write("tern: the fibers' stacks are not in this core; to write one that has them from gdb: fiber gcore FILE\n")


class FiberCommand(gdb.Command):
    """fiber N: show this fiber's stack. fiber off: the thread's own. fiber apply all|N... COMMAND. fiber gcore FILE."""

    def __init__(self):
        super().__init__("fiber", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = argument.split()
        if not words:
            shown = Selection.fiber.title() if Selection.fiber is not None else "none"
            gdb.write(f"fiber shown: {shown}\n")
        elif words[0] == "off":
            Selection.clear()
        elif words[0] == "apply":
            self.apply(words[1:], from_tty)
        elif words[0] == "gcore" and len(words) == 2:
            Selection.clear()
            try:
                gdb.execute(f"gcore {words[1]}", from_tty)
                complete_core(os.path.expanduser(words[1]))
            except OSError as error:
                raise gdb.GdbError(f"tern: {error}") from error
        elif words[0].isdigit():
            fiber = find(int(words[0]))
            Selection.show(fiber)
            gdb.write(f"[{fiber.title()}]\n")
            gdb.execute("frame")
        else:
            raise gdb.GdbError("tern: fiber N, fiber off, fiber apply all|N... COMMAND, or fiber gcore FILE")

    def apply(self, words, from_tty):
        numbers = list(itertools.takewhile(str.isdigit, words))
        rest = words[len(numbers):]
        if not numbers and rest[:1] == ["all"]:
            chosen = list(fibers())
            rest = rest[1:]
        else:
            chosen = [find(int(n)) for n in numbers]
        if not chosen or not rest:
            raise gdb.GdbError("tern: fiber apply all|N... COMMAND")
        thread = gdb.selected_thread()
        for fiber in chosen:
            gdb.write(f"\n[{fiber.title()}]\n")
            try:
                Selection.show(fiber)
                gdb.execute(" ".join(rest), from_tty)
            except (gdb.error, gdb.GdbError) as error:
                gdb.write(f"{error}\n")
            finally:
                Selection.clear()
                thread.switch()


register_unwinder(None, FiberUnwinder(), replace=True)
gdb.frame_filters[InnermostFilter.name] = InnermostFilter()
gdb.events.cont.connect(Selection.clear)
gdb.events.exited.connect(Selection.clear)
InfoFibers()
FiberCommand()
