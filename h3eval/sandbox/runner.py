"""The runner's side of a jail: start a zygote, send it programs, hear outputs, keep time. Compares nothing.

Inputs go one at a time: the next is sent when the output to the last has come, so that what is used in between was used
for it. Time is the processor's, as the kernel counts it (`clock`): a program is not failed for being run on a busy
machine, nor passed for what it says of its time. Wall time is only a guard, three times as long, for an input and for
all of them, against programs that sleep: that neither have a processor nor queue for one.
"""

import fcntl
import io
import json
import os
import select
import socket
import subprocess
import tempfile
import termios
import time
from contextlib import suppress
from types import TracebackType
from typing import IO, Self

from h3eval.errors import NoSandbox
from h3eval.sandbox.clock import Gone, Meter, Sleeper, starved_s
from h3eval.sandbox.jobs import End, Hear, Job, Outcome
from h3eval.sandbox.jobs import Limits as Limits  # those who run jobs need it with them
from h3eval.sandbox.tiers import Tier

START_S = 20.0
"""How long a zygote may take to start."""
PIPE = 1 << 20
"""Bytes a pipe holds, and are read at once: outputs of a hundred megabytes are not rare."""
PAUSE_S = 0.05


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

    def begin(self, job: Job) -> tuple[int, int, Meter]:
        """Have a candidate forked; our ends of its pipes, to it and from it, and what measures it. Raise NoSandbox as
        `run` does."""
        self.runs += 1
        job_read, job_write = os.pipe()
        result_read, result_write = os.pipe()
        try:
            message = json.dumps({"limits": job.limits.resources()}).encode()
            socket.send_fds(self.control, [message], [job_read, result_write])
            _, (forked, *_), _, _ = socket.recv_fds(self.control, 64, 1)
            return job_write, result_read, Meter(forked)
        except (OSError, ValueError) as error:
            os.close(job_write)
            os.close(result_read)
            raise NoSandbox(f"{self.tier.name}: the jail has died: {error}") from error
        finally:
            os.close(job_read)
            os.close(result_write)

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


class Watch:
    """One program's run: feeds it, hears it, times it, and ends it."""

    def __init__(self, jail: Jail, job: Job, hear: Hear) -> None:
        self.jail, self.job, self.hear = jail, job, hear
        self.feed, self.result, self.meter = jail.begin(job)
        self.poll = select.poll()
        self.lines = io.BytesIO(job.lines)
        self.unsent = memoryview(job.head())
        self.unread = bytearray()
        self.more = False
        """Has it said more than the line that is being looked at?"""
        self.total = 0
        self.next = -1
        """Index of the output that is waited for; -1 while the program is being loaded."""
        self.began = self.since = time.monotonic()
        self.waited = 0.0
        """Seconds that were spent waiting for it before `since`."""
        self.cpu_s = 0.0
        """Processor seconds that it had used when its last line came."""
        self.checked = 0.0
        self.sleeper = Sleeper()
        self.starved = starved_s()
        self.verdict: End | None = None
        self.detail = ""
        self.whole = False
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
        self._hang_up()
        if self.result >= 0:
            os.close(self.result)
            self.result = -1
        self.meter.close()

    def _hang_up(self) -> None:
        """There are no more lines."""
        if self.feed >= 0:
            self._rest()
            os.close(self.feed)
            self.feed = -1

    def _rest(self) -> None:
        """Nothing is to be sent for now."""
        with suppress(KeyError):
            self.poll.unregister(self.feed)

    def _found(self) -> Outcome:
        status, cpu_s, memory = self.ended or (0, 0.0, 0)
        heard = max(self.next, 0)
        end = self.verdict or self._why(status)
        return Outcome(end, heard, self.detail, cpu_s, time.monotonic() - self.began, memory, self.whole)

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

    def _say(self, line: bytes) -> None:
        """Send one line, the rest of it as the program reads. What it has said by now can't answer it."""
        if self.more or self._pending():
            self._stop("protocol", "it spoke out of its turn")
            return
        self.unsent = memoryview(bytes(self.unsent) + line)
        self._send()
        if self.unsent and self.feed >= 0:
            self.poll.register(self.feed, select.POLLOUT)

    def _pending(self) -> bool:
        """Is there something to be read from it?"""
        return self.result >= 0 and any(fcntl.ioctl(self.result, termios.FIONREAD, bytes(4)))

    def _send(self) -> None:
        try:
            self.unsent = self.unsent[os.write(self.feed, self.unsent[:PIPE]) :]
        except BlockingIOError:
            return
        except OSError:
            # It has closed its pipe, or ended.
            self.unsent = self.unsent[:0]
        if not self.unsent:
            self._rest()

    def _next_input(self) -> None:
        """The next input, now that the last has its output."""
        if line := self.lines.readline():
            self._say(line)
        else:
            self._hang_up()

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
        for left, line in zip(reversed(range(len(lines))), lines, strict=True):
            self.more = left > 0 or bool(self.unread)
            self._line(line)
            if self.verdict is not None:
                return

    def _line(self, line: bytes) -> None:
        """One line of the program's: what it is, content. All of it may be forged."""
        what, _, content = line.partition(b" ")
        expected = b"load" if self.next < 0 else self._due(what)
        if what != expected or self.unsent:
            self._stop("protocol", f"expected {expected.decode()}" if what != expected else "it spoke out of its turn")
            return
        self.waited += time.monotonic() - self.since
        now_s = self._cpu()
        if self._late(now_s):
            return
        self.cpu_s = now_s
        if what == b"done":
            self._stop("done")
        elif content.startswith(b"!") and self.next < 0:
            self._stop("stopped", content[1:80].decode("ascii", "replace"))
        elif self.next >= 0 and not self.hear(self.next, content, self.cpu_s):
            self._stop("stopped")
        self.next += 1
        if self.verdict is None:
            self._next_input()
        self._wait()

    def _wait(self) -> None:
        """From now on it is waited for."""
        self.since = time.monotonic()
        self.sleeper.since = None

    def _due(self, what: bytes) -> bytes:
        """What a line must begin with, now that the program is loaded."""
        return b"done" if self.next == len(self.job.allowed) else b"%d" % self.next

    def _told(self) -> None:
        try:
            message = self.jail.control.recv(4096)
        except OSError:
            message = b""  # it died with something of ours unread
        if not message:
            raise NoSandbox(f"{self.jail.tier.name}: the jail has died")
        what, *rest = message.split()
        if what == b"end":
            self.ended = (int(rest[0]), float(rest[1]), int(rest[2]))

    def _allowed(self) -> float:
        """Seconds of processor time for what is waited for now."""
        return (
            self.job.allowed[min(max(self.next, 0), len(self.job.allowed) - 1)]
            if self.job.allowed
            else self.job.limits.seconds
        )

    def _patience(self) -> int:
        """Milliseconds until time must be looked at again."""
        waited = time.monotonic() - self.since
        due = min(self._allowed() - waited, self.job.limits.seconds - self.waited - waited)
        return int(1000 * max(due, PAUSE_S)) + 1

    def _cpu(self) -> float:
        """Processor seconds that it has used, those that it had when it ended if it has."""
        try:
            return self.meter.cpu()
        except Gone:
            while self.ended is None:
                self._told()
            return self.ended[1]

    def _late(self, cpu_s: float) -> bool:
        """Has it used too much by now? Then it is stopped."""
        if cpu_s >= self.job.limits.seconds:
            self._stop("timeout", "of processor time", whole=True)
        elif cpu_s - self.cpu_s >= self._allowed():
            self._stop("timeout", "of processor time")
        return self.verdict is not None

    def _time(self) -> None:
        now = time.monotonic()
        waited, allowed, in_all = now - self.since, self._allowed(), self.job.limits.seconds
        late = waited >= allowed or self.waited + waited >= in_all
        if not late or self.verdict is not None or self.ended is not None or now - self.checked <= PAUSE_S:
            # A program can't have used more processor time than has passed, threads aside: only now is it worth asking.
            return
        self.checked = now
        try:
            reading = self.meter.read()
        except Gone:
            return
        if not self._late(reading.cpu_s):
            in_time = self.waited + waited - (starved_s() - self.starved)
            asleep = self.sleeper.asleep(reading, waited, in_time, allowed, in_all)
            if asleep is not None:
                self._stop("timeout", "by the clock on the wall", whole=asleep == "all")

    def _stop(self, end: End, detail: str = "", whole: bool = False) -> None:
        self.verdict, self.detail, self.whole = end, detail, whole
        # A zygote that has died is met where its socket is read.
        with suppress(OSError):
            self.jail.control.send(b"kill")
