"""The runner's side of a jail: start a zygote, send it programs, hear outputs, keep time. Compares nothing.

Time is the processor's: a program is not failed for being run on a busy machine. Wall time is only a guard, three
times as long, for programs that sleep: that neither have a processor nor queue for one, as the kernel counts both.
"""

import fcntl
import json
import os
import re
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from h3eval.errors import NoSandbox
from h3eval.sandbox.tiers import Tier

START_S = 20.0
"""How long a zygote may take to start."""
PIPE = 1 << 20
"""Bytes a pipe holds, and are read at once: outputs of a hundred megabytes are not rare."""
PAUSE_S = 0.05
WALL, ASLEEP = 3.0, 0.1
"""A program that has had three times its time by the clock on the wall sleeps if it was running, or ready to run, for
less than a tenth of the last two. Any other is merely starved by others, and ends by its processor time."""
MEGABYTE = 1 << 20

Mode = Literal["inputs", "calls", "tests"]
"""What a program is run for: `inputs` are its function's positional arguments; `calls` have keyword arguments too;
`tests` are a program whose function under test is a stub."""
End = Literal["done", "stopped", "timeout", "memory", "output", "protocol", "signal", "died"]


@dataclass(frozen=True)
class Limits:
    """What a program may use. `seconds` of processor time in all; `memory` is of address space, as EvalPlus's."""

    seconds: float = 60.0
    memory: int = 4096 * MEGABYTE
    line: int = 256 * MEGABYTE
    output: int = 1024 * MEGABYTE

    def resources(self) -> dict[str, int]:
        """The kernel's limits, by their names."""
        # The kernel's own clock is the last resort: it ends what a runner that has gone can't.
        return {
            "AS": self.memory, "CPU": int(self.seconds) + 2, "FSIZE": 0, "NOFILE": 64, "CORE": 0, "NPROC": 64,
            "MEMLOCK": 0,
        }  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A program, its function's name, and its inputs, one encoded line each, with the seconds each may take."""

    code: str
    entry: str
    lines: bytes
    allowed: Sequence[float]
    present: bool = False
    """Send only whether there is an output: for outputs that can't be sent."""
    limits: Limits = field(default_factory=Limits)
    mode: Mode = "inputs"

    def sent(self) -> bytes:
        """What the candidate reads."""
        head = {"code": self.code, "entry": self.entry, "present": self.present, "mode": self.mode}
        return json.dumps(head).encode() + b"\n" + self.lines


Hear = Callable[[int, bytes, float], bool]
"""Takes an output's index, its text (an error's name after `!`), and the processor seconds that the program says it
has used; False to hear no more."""


@dataclass
class Outcome:
    """How a program ended. `cpu_s` and `wall_s` were measured outside of it."""

    end: End
    heard: int = 0
    detail: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    memory_kb: int = 0


class Jail:
    """One zygote. Runs one program at a time."""

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.runs = 0
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the jail)
        settings = {**tier.settings, "control": theirs.fileno()}
        with theirs:
            self.process = subprocess.Popen(
                [*tier.command, json.dumps(settings)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=self.errors, env=tier.environment, cwd="/", start_new_session=True,
                pass_fds=(theirs.fileno(), *tier.descriptors),
            )  # fmt: skip
        self.user = self._ready()

    def _ready(self) -> int:
        self.control.settimeout(START_S)
        try:
            message = self.control.recv(4096)
        except (TimeoutError, ConnectionError):
            message = b""
        if not message.startswith(b"ready"):
            why = self._complaint()
            self.close()
            raise NoSandbox(f"{self.tier.name}: the jail did not start: {why}")
        user: int = json.loads(message.removeprefix(b"ready"))[0]
        return user

    def _complaint(self) -> str:
        self.process.kill()
        self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read(20_000).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with {self.process.returncode} and said nothing"

    def run(self, job: Job, hear: Hear) -> Outcome:
        """Run one program. Raise NoSandbox where the zygote itself has died."""
        return Watch(self, job, hear).outcome()

    def begin(self, job: Job) -> tuple[int, int]:
        """Have a candidate forked; our ends of its pipes, to it and from it. Raise NoSandbox as `run` does."""
        self.runs += 1
        job_read, job_write = os.pipe()
        result_read, result_write = os.pipe()
        try:
            message = json.dumps({"limits": job.limits.resources()}).encode()
            socket.send_fds(self.control, [message], [job_read, result_write])
        except OSError as error:
            os.close(job_write)
            os.close(result_read)
            raise NoSandbox(f"{self.tier.name}: the jail has died: {error}") from error
        finally:
            os.close(job_read)
            os.close(result_write)
        return job_write, result_read

    def close(self) -> None:
        """End the zygote, and with it all it has forked."""
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass
class Overdue:
    """When a program was first asked for its time while an output is waited for, how long it had been active then, and
    whether it seemed idle the last time. Only twice in a row counts: one that is ending then can't be read."""

    began: float
    active: float
    idle: bool = False


class Watch:
    """One program's run: feeds it, hears it, times it, and ends it."""

    def __init__(self, jail: Jail, job: Job, hear: Hear) -> None:
        self.jail, self.job, self.hear = jail, job, hear
        self.feed, self.result = jail.begin(job)
        self.poll = select.poll()
        self.unsent = memoryview(job.sent())
        self.unread = bytearray()
        self.total = 0
        self.next = -1
        """Index of the output that is waited for; -1 while the program is being loaded."""
        self.began = self.since = time.monotonic()
        self.claimed = 0.0
        self.checked = 0.0
        self.overdue: Overdue | None = None
        self.verdict: End | None = None
        self.detail = ""
        self.ended: tuple[int, float, int] | None = None

    def outcome(self) -> Outcome:
        """Watch the program to its end."""
        try:
            self._prepare()
            self._watch()
        finally:
            self._close()
        return self._found()

    def _prepare(self) -> None:
        for each in (self.feed, self.result):
            os.set_blocking(each, False)
            # An ordinary user's pipes may be refused to grow: they work as they are.
            with suppress(OSError):
                fcntl.fcntl(each, fcntl.F_SETPIPE_SZ, PIPE)
        self.poll.register(self.jail.control, select.POLLIN)
        self.poll.register(self.result, select.POLLIN)
        self.poll.register(self.feed, select.POLLOUT)

    def _close(self) -> None:
        for each in (self.feed, self.result):
            if each >= 0:
                os.close(each)
        self.feed = self.result = -1

    def _found(self) -> Outcome:
        status, cpu_s, memory = self.ended or (0, 0.0, 0)
        heard = max(self.next, 0)
        end = self.verdict or self._why(status)
        return Outcome(end, heard, self.detail, cpu_s, time.monotonic() - self.began, memory)

    def _why(self, status: int) -> End:
        if os.WIFSIGNALED(status):
            self.detail = f"signal {os.WTERMSIG(status)}"
            # SIGXCPU, and the SIGKILL of the kernel's own limit on processor time.
            return "timeout" if os.WTERMSIG(status) in (24, 9) else "signal"
        self.detail = f"exit status {os.waitstatus_to_exitcode(status)}"
        return "died"

    def _watch(self) -> None:
        while self._waiting():
            for descriptor, _ in self.poll.poll(self._patience()):
                if descriptor == self.feed:
                    self._send()
                elif descriptor == self.result:
                    self._receive()
                else:
                    self._told()
            self._time()
        if self.ended is not None and self.result >= 0:
            self._receive()

    def _waiting(self) -> bool:
        return self.ended is None

    def _send(self) -> None:
        try:
            self.unsent = self.unsent[os.write(self.feed, self.unsent[:PIPE]) :]
        except BlockingIOError:
            return
        except OSError:
            self.unsent = self.unsent[:0]
        if not self.unsent:
            self._sent()

    def _sent(self) -> None:
        """All lines are on their way: there are no more."""
        self.poll.unregister(self.feed)
        os.close(self.feed)
        self.feed = -1

    def _receive(self) -> None:
        while self.verdict is None:
            try:
                data = os.read(self.result, PIPE)
            except BlockingIOError:
                return
            if not data:
                break
            self.total += len(data)
            self._lines(data)
            if self.total > self.job.limits.output or len(self.unread) > self.job.limits.line:
                self._stop("output", "more output than is allowed")
        self.poll.unregister(self.result)
        os.close(self.result)
        self.result = -1

    def _lines(self, data: bytes) -> None:
        first, *others = data.split(b"\n")
        self.unread += first
        if not others:
            return
        lines = [bytes(self.unread), *others[:-1]]
        self.unread = bytearray(others[-1])
        for line in lines:
            self._line(line)
            if self.verdict is not None:
                return

    def _line(self, line: bytes) -> None:
        """One line of the program's: what, processor time in microseconds, content. All of it may be forged."""
        what, clock, content = (*line.split(b" ", 2), b"", b"")[:3]
        expected = b"load" if self.next < 0 else self._due(what)
        if what != expected or not clock.isdigit() or len(clock) > 15:
            self._stop("protocol", f"expected {expected.decode()}")
            return
        self.claimed, self.since, self.overdue = int(clock) / 1e6, time.monotonic(), None
        if what == b"done":
            self._stop("done")
        elif content.startswith(b"!") and self.next < 0:
            self._stop("stopped", content[1:80].decode("ascii", "replace"))
        elif self.next >= 0 and not self.hear(self.next, content, self.claimed):
            self._stop("stopped")
        self.next += 1

    def _due(self, what: bytes) -> bytes:
        """What a line must begin with, now that the program is loaded."""
        return b"done" if self.next == len(self.job.allowed) else b"%d" % self.next

    def _told(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self.jail.control, 4096, 1)
        except ConnectionError:
            message, descriptors = b"", []  # it died with something of ours unread
        queued = [queue(each) for each in descriptors]
        for each in descriptors:
            os.close(each)
        if not message:
            raise NoSandbox(f"{self.jail.tier.name}: the jail has died")
        what, *rest = message.split()
        if what == b"end":
            self.ended = (int(rest[0]), float(rest[1]), int(rest[2]))
        elif what == b"cpu":
            self._spent(float(rest[0]), *(queued[0] if queued else (0.0, False)))

    def _allowed(self) -> float:
        """Seconds of processor time for what is waited for now."""
        return (
            self.job.allowed[min(max(self.next, 0), len(self.job.allowed) - 1)]
            if self.job.allowed
            else self.job.limits.seconds
        )

    def _patience(self) -> int:
        """Milliseconds until time must be looked at again."""
        now = time.monotonic()
        due = min(self.since + self._allowed(), self.began + self.job.limits.seconds)
        return int(1000 * max(due - now, PAUSE_S)) + 1

    def _time(self) -> None:
        now = time.monotonic()
        late = now - self.since >= self._allowed() or now - self.began >= self.job.limits.seconds
        if late and self.verdict is None and self.ended is None and now - self.checked > PAUSE_S:
            # A program can't have used more processor time than has passed, threads aside: only now is it worth asking.
            self.checked = now
            self.jail.control.send(b"cpu")

    def _spent(self, cpu_s: float, queued_s: float, ready: bool) -> None:
        now, active = time.monotonic(), cpu_s + queued_s
        if self.verdict is not None:
            return
        if cpu_s - self.claimed >= self._allowed() or cpu_s >= self.job.limits.seconds:
            self._stop("timeout", "of processor time")
            return
        since = self.overdue = self.overdue or Overdue(now, active)
        waited = now - since.began
        idle = not ready and active - since.active < ASLEEP * waited and waited >= (WALL - 1) * self._allowed()
        if idle and since.idle:
            self._stop("timeout", "by the clock on the wall")
        since.idle = idle

    def _stop(self, end: End, detail: str = "") -> None:
        self.verdict, self.detail = end, detail
        self.jail.control.send(b"kill")


def queue(process: int) -> tuple[float, bool]:
    """Seconds that the threads of a process, a pidfd, were ready to run and had no processor, and whether one is ready
    now, whose waiting the kernel adds when it ends. Nothing where the kernel does not say: a starved program is then
    told from a sleeping one by its processor time alone."""
    try:
        (pid,) = re.findall(r"^Pid:\s*(\d+)$", Path(f"/proc/self/fdinfo/{process}").read_text(), re.MULTILINE)
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        queued = sum(int((each / "schedstat").read_text().split()[1]) for each in threads)
        return queued / 1e9, any((each / "stat").read_text().rpartition(")")[2].split()[0] == "R" for each in threads)
    except (OSError, ValueError, IndexError):
        return 0.0, False
