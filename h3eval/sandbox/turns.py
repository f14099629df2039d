"""Programs that are spoken with by turns: a line to the program, then a line from it.

Two such programs can talk with each other through the runner, which lets each have its turn, and its time. What a
program says out of its turn ends it.
"""

import os
import select
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from h3eval.errors import NoSandbox
from h3eval.sandbox.runner import Jail, Job, Outcome, Watch


class Turns(Watch):
    """One program, from its first line to its end. Raises NoSandbox where the zygote itself has died."""

    def __init__(self, jail: Jail, job: Job) -> None:
        super().__init__(jail, job, self._keep)
        self.said: bytes | None = None
        self._prepare()

    def ask(self, line: bytes | None = None) -> bytes | None:
        """Send a line, which may be empty, and wait for the program's next; None where it has ended instead."""
        if line is not None and self.feed >= 0:
            self.poll.register(self.feed, select.POLLOUT)
            self.unsent = memoryview(bytes(self.unsent) + line + b"\n")
        self.said, self.since, self.overdue = None, time.monotonic(), None
        self._watch()
        return self.said if self.verdict is None else None

    def finish(self) -> Outcome:
        """Say that there are no more lines, and wait for the program's end."""
        if self.feed >= 0:
            with suppress(KeyError):
                self.poll.unregister(self.feed)
            os.close(self.feed)
            self.feed = -1
        return self._last()

    def stop(self) -> Outcome:
        """Kill the program, unless it has ended."""
        if self.verdict is None and self.ended is None:
            self._stop("stopped")
        return self._last()

    def _last(self) -> Outcome:
        self.said, self.since, self.overdue = None, time.monotonic(), None
        self._watch()
        return self._found()

    def _keep(self, index: int, text: bytes, claimed: float) -> bool:
        if self.said is not None or self.feed < 0:
            self._stop("protocol", "it spoke out of its turn")
        else:
            self.said = text
        return True

    def _waiting(self) -> bool:
        return self.ended is None and (self.said is None or self.verdict is not None)

    def _sent(self) -> None:
        self.poll.unregister(self.feed)

    def _due(self, what: bytes) -> bytes:
        # Tests end when they have done; a program under test, when it is told that there are no more calls.
        over = what == b"done" and (self.job.mode == "tests" or self.feed < 0)
        return what if over else b"%d" % self.next

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # A zygote that has died has taken the program with it.
            with suppress(OSError, NoSandbox):
                self.stop()
        finally:
            self._close()
