"""What a candidate uses, as the kernel counts it: measured by the runner, outside of the jail.

A program's own word on its time is not asked for, so that there is nothing to forge. A process's clock may be read by
anybody who knows its number, which the runner gets through a pidfd from the zygote.
"""

import os
import re
import select
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

WALL = 3.0
"""A program that sleeps may take so many times its time by the clock on the wall."""
ASLEEP = 0.1
"""Where the kernel does not say how long a program was kept waiting for a processor, one that had it for a tenth of
the time counts as starved."""


class Gone(Exception):
    """The process has ended: its clock can't be read any more."""


@dataclass(frozen=True)
class Reading:
    """Seconds of processor time; seconds of waiting for a processor, None where the kernel does not say; and whether a
    thread is ready to run now, whose waiting the kernel adds when it ends."""

    cpu_s: float
    queued_s: float | None
    ready: bool

    def asleep(self, waited: float, since: "Reading") -> float:
        """Of the seconds that have passed since another reading, how many the program neither had a processor in, nor
        was kept waiting for one."""
        cpu = self.cpu_s - since.cpu_s
        if self.queued_s is None or since.queued_s is None:
            return 0.0 if cpu >= ASLEEP * waited else waited
        return waited - cpu - max(0.0, self.queued_s - since.queued_s)


START = Reading(0.0, 0.0, False)


@dataclass
class Sleeper:
    """Whether a program sleeps away three times what it may take, for an input or for all of them. Only twice in a row
    counts: one that is ending then can't be read."""

    since: tuple[float, Reading] | None = None
    """How long its output had been waited for when it was first late, and what it had used then."""
    last: Literal["input", "all"] | None = None

    def asleep(
        self, reading: Reading, waited: float, waited_in_all: float, allowed: float, in_all: float
    ) -> Literal["input", "all"] | None:
        """What it has slept away, seen twice in a row. Both kinds of waiting are seconds by the clock on the wall."""
        before, self.last = self.last, self._seen(reading, waited, waited_in_all, allowed, in_all)
        return self.last if before is not None else None

    def _seen(
        self, reading: Reading, waited: float, waited_in_all: float, allowed: float, in_all: float
    ) -> Literal["input", "all"] | None:
        if waited >= allowed:
            began, then = self.since = self.since or (waited, reading)
            if not reading.ready and reading.asleep(waited - began, then) >= (WALL - 1) * allowed:
                return "input"
        slept = reading.asleep(waited_in_all, START)
        # It may have been kept waiting ever since its last output came.
        unknown = waited if reading.ready else 0.0
        return "all" if reading.cpu_s + slept - unknown >= WALL * in_all else None


def starved_s() -> float:
    """Seconds that this thread itself has been kept waiting for a processor: while it was, no output could be read.
    Nothing where the kernel does not say."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


class Meter:
    """One process, by its pidfd, which this owns."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.poll = select.poll()
        self.poll.register(descriptor, select.POLLIN)
        found = re.search(r"^Pid:\s*(-?\d+)$", Path(f"/proc/self/fdinfo/{descriptor}").read_text(), re.MULTILINE)
        self.pid = int(found[1]) if found else -1

    def cpu(self) -> float:
        """Seconds of processor time of all its threads, those that have ended too. Raise Gone."""
        try:
            # The number that clock_getcpuclockid(3) makes.
            seconds = time.clock_gettime((~self.pid << 3) | 2)
        except OSError as error:
            raise Gone from error
        # Of a process that has ended the number may be another's by now.
        if self.pid <= 0 or self.poll.poll(0):
            raise Gone
        return seconds

    def read(self) -> Reading:
        """All of it. Raise Gone."""
        queued, ready = self._queued()
        return Reading(self.cpu(), queued, ready)

    def _queued(self) -> tuple[float | None, bool]:
        """The longest that one of its threads has waited: threads that take turns may not add up their waiting."""
        waited, ready = 0.0, False
        try:
            for each in Path(f"/proc/{self.pid}/task").iterdir():
                waited = max(waited, int((each / "schedstat").read_text().split()[1]) / 1e9)
                ready |= (each / "stat").read_text().rpartition(")")[2].split()[0] == "R"
        except (OSError, ValueError, IndexError):
            return None, False
        return waited, ready

    def close(self) -> None:
        os.close(self.descriptor)
