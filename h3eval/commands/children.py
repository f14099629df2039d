"""Commands of h3eval's own, each in a process of its own, that do not outlive the command that has them run."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

GUARDIAN = Path(__file__).with_name("guardian.py")
STOP = (signal.SIGINT, signal.SIGTERM)


def h3eval(*arguments: str) -> int:
    """The exit code of one command; what it prints is shown.

    Ctrl-C and SIGTERM are handed on to it, so that it stores what it has, and stops; a second one ends it at once. It
    is waited for, and then KeyboardInterrupt is raised. Where this process is killed, the command dies with it, and all
    that the command has started.
    """
    return run([sys.executable, "-m", "h3eval.cli", *arguments])


def run(command: list[str]) -> int:
    """The exit code of any command, which is a whole path and arguments; 128 and a signal's number where it was killed.

    It is not the terminal's foreground: Ctrl-C reaches it once, from here. Raise KeyboardInterrupt as `h3eval` does.
    """
    # Closes when this process ends, however it ends.
    theirs, ours = os.pipe()
    try:
        with _handed_on() as stopping:
            process = subprocess.Popen(
                [*_guarded(theirs), *command],
                stdin=subprocess.DEVNULL, pass_fds=(theirs,), process_group=0,
            )  # fmt: skip
            stopping.watch(process)
            code = process.wait()
    finally:
        os.close(theirs)
        os.close(ours)
    if stopping.told:
        raise KeyboardInterrupt
    return code


def _guarded(pipe: int) -> list[str]:
    """What the guardian is started by. Elsewhere than on Linux there is none: commands outlive a kill there."""
    return [sys.executable, "-I", "-S", str(GUARDIAN), str(pipe)] if sys.platform == "linux" else []


class _Stopping:
    """What this process was told, for the one that it waits for."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.process: subprocess.Popen[bytes] | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.told.append(number)
        if self.process is not None:
            self.process.send_signal(number)

    def watch(self, process: "subprocess.Popen[bytes]") -> None:
        """Hand on to this process, also what came before."""
        early = list(self.told)
        self.process = process
        for number in early:
            process.send_signal(number)


@contextmanager
def _handed_on() -> Iterator[_Stopping]:
    found = _Stopping()
    if threading.current_thread() is not threading.main_thread():
        # Signals are the main thread's.
        yield found
        return
    # What was started to ignore Ctrl-C (`nohup`, `&` in a script) goes on doing so.
    heard = [number for number in STOP if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, found.handle) for number in heard}
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
