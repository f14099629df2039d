"""The jail's inside: a zygote that forks a candidate for each program. Run as a script; needs the standard library
alone.

The zygote hears one message a program, with two pipes; it never reads what is in them. The candidate reads code and
inputs from the one and writes a line an output to the other, until it ends or is killed. Nothing here is believed
by the runner.
"""

import base64
import builtins
import ctypes
import fcntl
import gc
import importlib
import itertools
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from h3eval.sandbox.wire import decode, encode

SET_PDEATHSIG, SET_DUMPABLE, SET_SECCOMP, SET_NO_NEW_PRIVS = 1, 4, 22, 38
FILTER = 2
JOB, RESULT, MOST = 3, 4, 4096
"""Descriptors in a candidate: its two pipes; and how high descriptors may go."""
READY = b"ready"
TESTS = "tests"
"""The file's name that tests' own lines have."""
LIKE = {
    name: (getattr(builtins, name),)
    for name in (
        "ArithmeticError", "AttributeError", "IndexError", "KeyError", "LookupError", "NotImplementedError",
        "OverflowError", "RecursionError", "RuntimeError", "TypeError", "ValueError", "ZeroDivisionError",
    )
}  # fmt: skip
"""Errors of a program that tests may expect by class. Not StopIteration, which would end a test's loop without
failing it."""
LIBC = ctypes.CDLL(None, use_errno=True)


class ProgramError(Exception):
    """Raised in tests where the program under test has raised something, or answered what is no plain data."""


def main() -> None:
    """Confine this process for good, then serve until the runner goes."""
    settings = json.loads(sys.argv[1])
    # Moved up, where a candidate's own descriptors never are.
    control = socket.socket(fileno=fcntl.fcntl(settings["control"], fcntl.F_DUPFD_CLOEXEC, 100))
    os.close(settings["control"])
    sys.path += settings["site"]
    confine(settings)
    for name in settings["preload"]:
        importlib.import_module(name)
    # Where Python lies has been read by now; it is no program's business.
    os.environ.clear()
    program = base64.b64decode(settings["seccomp"])
    gc.collect()
    gc.freeze()
    control.send(READY + json.dumps([os.getuid(), sys.version_info[:3]]).encode())
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 65536, 2)
        if not message:
            return
        if len(descriptors) == 2:
            supervise(control, {**json.loads(message), "keep": settings["keep"]}, descriptors, program)


def confine(settings: dict[str, Any]) -> None:
    """Give up root, then every file but those that are named, then every way to get more."""
    allowed = rules(settings["read"], settings["list"]) if settings["landlock"] else None
    if os.getuid() == 0 and settings["user"]:
        os.setgroups([])
        os.setresgid(*[settings["user"]] * 3)
        os.setresuid(*[settings["user"]] * 3)
        # Python's folders may be reached through /proc/self/fd, which an undumpable process does not own.
        prctl(SET_DUMPABLE, 1)
    prctl(SET_NO_NEW_PRIVS, 1)
    if allowed is not None:
        allowed.apply()


def rules(read: list[str], listed: list[str]) -> Any:
    """Landlock's rules: files may be read below some folders, and nothing may be written anywhere."""
    landlock = importlib.import_module("landlock")
    found = landlock.Ruleset()
    for path in filter(os.path.exists, read):
        folder = landlock.FSAccess.READ_DIR if os.path.isdir(path) else landlock.FSAccess(0)
        found.allow(path, rules=landlock.FSAccess.READ_FILE | folder)
    # Where programs' standard streams lead; it keeps nothing.
    found.allow(os.devnull, rules=landlock.FSAccess.READ_FILE | landlock.FSAccess.WRITE_FILE)
    for path in filter(os.path.isdir, listed):
        found.allow(path, rules=landlock.FSAccess.READ_DIR)
    return found


def prctl(option: int, *arguments: int) -> None:
    """Raise OSError where the kernel refuses."""
    if LIBC.prctl(option, *[ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)][:4]) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def supervise(control: socket.socket, job: dict[str, Any], descriptors: list[int], program: bytes) -> None:
    """Fork a candidate; kill it when told to, or when the runner goes; say how it ended."""
    zygote = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            candidate(zygote, job, descriptors, program)
        finally:
            os._exit(70)
    for each in descriptors:
        os.close(each)
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(ended, select.POLLIN)
    # The runner reads the child's clock through it.
    socket.send_fds(control, [b"forked"], [ended])
    while not any(descriptor == ended for descriptor, _ in poll.poll()):
        message = control.recv(65536)
        os.kill(child, signal.SIGKILL)
        if not message:
            os._exit(0)
    _, status, usage = os.wait4(child, 0)
    os.close(ended)
    control.send(b"end %d %f %d" % (status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss))


def candidate(zygote: int, job: dict[str, Any], descriptors: list[int], program: bytes) -> None:
    """Set the limits, then run the program. Nothing that is done before the program runs may depend on it."""
    prctl(SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != zygote:
        os._exit(70)
    os.setsid()
    # Both are moved up first, so that neither is overwritten by the other.
    high = [fcntl.fcntl(each, fcntl.F_DUPFD, 200) for each in descriptors]
    for source, place in zip(high, (JOB, RESULT), strict=True):
        os.dup2(source, place)
    for low in range(JOB):
        # Descriptors that are inherited share their place and flags with every other program's: a memory.
        own = os.open(os.devnull, os.O_RDWR)
        os.dup2(own, low)
        os.close(own)
    kept = sorted(job["keep"])
    for low, top in zip([RESULT, *kept], [*kept, MOST], strict=True):
        os.closerange(low + 1, top)
    for name, value in job["limits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    if program:
        load(program)
    if "random" in sys.modules:
        # Forking has seeded it from the system's numbers: every program starts with the same ones.
        sys.modules["random"].seed(0)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    serve(os.fdopen(JOB, "rb"), os.fdopen(RESULT, "wb"))
    os._exit(0)


def load(program: bytes) -> None:
    """Have the kernel refuse the system calls that the filter does not allow."""
    # Both buffers must live until the call has returned.
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HL", len(program) // struct.calcsize("HBBI"), ctypes.addressof(code))
    filtered = ctypes.create_string_buffer(head, len(head))
    prctl(SET_SECCOMP, FILTER, ctypes.addressof(filtered))


def serve(job: BinaryIO, result: BinaryIO) -> None:
    """Run the program, then its function on each input as they come. The runner hears of each output at once."""

    def say(what: str, value: bytes) -> None:
        result.write(b"%b %b\n" % (what.encode(), value))
        result.flush()

    head = json.loads(job.readline())
    if head["mode"] == "tests":
        examine(head, job, say)
        return
    answer = present if head["present"] else encode
    scope: dict[str, Any] = {}
    try:
        exec(head["code"], scope)
        call = scope[head["entry"]] if head["mode"] == "inputs" else by_name(scope[head["entry"]])
    except BaseException as error:  # noqa: BLE001
        say("load", b"!" + named(error))
        return
    say("load", b"")
    for index, line in enumerate(job):
        try:
            value = answer(call(*decode(line))).encode()
        except BaseException as error:  # noqa: BLE001
            value = b"!" + named(error)
        say(str(index), value)
    say("done", b"")


def by_name(call: Callable[..., Any]) -> Callable[..., Any]:
    """The function, taking its positional arguments in a list and its keyword arguments in a dictionary."""
    return lambda given, named: call(*given, **named)


def examine(head: dict[str, Any], job: BinaryIO, say: Callable[[str, bytes], None]) -> None:
    """Run tests. The function under test is a stub, which has the runner ask the program in the other jail."""
    calls = itertools.count()

    def stub(*given: Any, **named: Any) -> Any:
        asked = encode([list(given), named]).encode()
        say(str(next(calls)), asked)
        return answered(job.readline())

    scope: dict[str, Any] = {head["entry"]: stub}
    say("load", b"")
    try:
        exec(compile(head["code"], TESTS, "exec"), scope)
        # Tests that bring along a problem's prompt define the function anew, without a body.
        scope[head["entry"]] = stub
        if head["entry"] != "check" and callable(scope.get("check")):
            scope["check"](stub)
    except BaseException as error:  # noqa: BLE001
        say(str(next(calls)), b"!" + named(error) + place(error))
        return
    say("done", b"")


def answered(line: bytes) -> Any:
    """The program's answer. Raise a ProgramError that is named as what the program has raised."""
    name = "NotPlain"
    if line.startswith(b"!"):
        name = line[1:61].strip().decode("ascii", "replace")
    else:
        try:
            return decode(line)
        except ValueError:
            pass
    raise type(name if name.isidentifier() else "error", (ProgramError, *LIKE.get(name, ())), {})(name)


def place(error: BaseException) -> bytes:
    """Whose error it is, and the innermost of the tests' lines that it came through."""
    line, step = 0, error.__traceback__
    while step:
        line = step.tb_lineno if step.tb_frame.f_code.co_filename == TESTS else line
        step = step.tb_next
    whose = b" of the program" * isinstance(error, ProgramError)
    return whose + (b" at line %d of the tests" % line if line else b" of the tests")


def present(value: Any) -> str:
    """For outputs that can't be sent: is there one? A truth value stands for itself."""
    return encode(value if type(value) is bool else value is not None)


def named(error: BaseException) -> bytes:
    """The error's class, if its name is one."""
    name = type(error).__name__
    return name.encode()[:60] if type(name) is str and name.isidentifier() and name.isascii() else b"error"


if __name__ == "__main__":
    main()
