"""Programs that are spoken with by turns: a line to the program, then a line from it.

Two such programs can talk with each other through the runner, which lets each have its turn, and its time. What a
program says out of its turn ends it.
"""

from contextlib import suppress
from types import TracebackType
from typing import Self

from h3eval.errors import NoSandbox
from h3eval.sandbox.jobs import Job, Outcome
from h3eval.sandbox.runner import Jail, Watch


class Turns(Watch):
    """One program, from its first line to its end. Raises NoSandbox where the zygote itself has died."""

    def __init__(self, jail: Jail, job: Job) -> None:
        super().__init__(jail, job, self._keep)
        self.said: bytes | None = None
        self.loading = False
        self._prepare()

    def ask(self, line: bytes | None = None) -> bytes | None:
        """Send a line, which may be empty, and wait for the program's next; None where it has ended instead."""
        self.said = None
        self._wait()
        if line is not None:
            # What it is asked is no program's to know while it is loaded.
            self.loading = True
            self._watch()
            self.loading = False
            if self.verdict is None and self.ended is None and self.feed >= 0:
                self._say(line + b"\n")
        self._watch()
        return self.said if self.verdict is None else None

    def finish(self) -> Outcome:
        """Say that there are no more lines, and wait for the program's end."""
        self._hang_up()
        return self._last()

    def stop(self) -> Outcome:
        """Kill the program, unless it has ended."""
        if self.verdict is None and self.ended is None:
            self._stop("stopped")
        return self._last()

    def _last(self) -> Outcome:
        self.said = None
        self._wait()
        self._watch()
        return self._found()

    def _keep(self, index: int, text: bytes, used: float) -> bool:
        if self.said is not None or self.feed < 0:
            self._stop("protocol", "it spoke out of its turn")
        else:
            self.said = text
        return True

    def _waiting(self) -> bool:
        heard = self.next >= 0 if self.loading else self.said is not None
        return self.ended is None and (not heard or self.verdict is not None)

    def _next_input(self) -> None:
        """Nothing: what it is asked next is not known yet."""

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
