"""Stands between a command and the process that has it run: when that process goes, the command goes, and all that the
command has started, in whatever session.

Run as a script, with the number of a pipe's reading end and the command; needs the standard library alone. The other
end of the pipe closes when its owner dies, however it dies. What the command has left behind becomes this process's
child, and so is found. Signals that ask to stop are handed on.
"""

import ctypes
import os
import select
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36
HANDED_ON = (signal.SIGINT, signal.SIGTERM)
LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """The command's exit code; 128 and the signal's number where one has killed it."""
    alive, command = int(sys.argv[1]), sys.argv[2:]
    early: list[int] = []
    to: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        if not to:
            early.append(number)
        else:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(to[0], number)

    before = {number: signal.signal(number, hand_on) for number in HANDED_ON}
    prctl(SET_CHILD_SUBREAPER, 1)
    me = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(alive)
        become(command, me, before)
    to.append(os.pidfd_open(child))
    for number in early:
        hand_on(number, None)
    code = watched(child, to[0], alive)
    if code < 0:
        end_children()
    return code if code >= 0 else 128 - code


def become(command: list[str], parent: int, handlers: Mapping[signal.Signals, Any]) -> NoReturn:
    """The command, which dies with this process's parent."""
    prctl(SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    # It may write to a terminal that it is not in the foreground of.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.execv(command[0], command)


def watched(child: int, ended: int, alive: int) -> int:
    """The child's exit code, once it has ended by itself, or been killed because the pipe's other end is closed; a
    signal's number, negative."""
    poll = select.poll()
    poll.register(alive, select.POLLIN)
    poll.register(ended, select.POLLIN)
    while not any(descriptor == ended for descriptor, _ in poll.poll()):
        signal.pidfd_send_signal(ended, signal.SIGKILL)
        poll.unregister(alive)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def end_children() -> None:
    """Kill all processes that are this one's children, and those that become so as their parents die."""
    while found := children():
        for each in found:
            os.kill(each, signal.SIGKILL)
        for each in found:
            os.waitpid(each, 0)


def children() -> list[int]:
    """Numbers of this process's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile
        if parent == os.getpid():
            found.append(int(stat.parent.name))
    return found


def prctl(option: int, value: int) -> None:
    """Raise OSError where the kernel refuses."""
    if LIBC.prctl(option, *[ctypes.c_ulong(each) for each in (value, 0, 0, 0)]) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


if __name__ == "__main__":
    sys.exit(main())
