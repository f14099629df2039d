"""What a person sees while a run works: how far each stage is, how long the whole may still take; or plain lines."""

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment
from rich.text import Text

from h3eval.text import visible
from h3eval.types import Fault

PLAIN_EVERY_S = 10.0
PIPE_WIDTH = 120
WHOLE = "whole run"
MEASURING = "measuring"


class Screen(Console):
    """A console that shows what others wrote as it is: no control characters but newline and tab, nothing that hides
    or turns letters round, no markup and no emoji codes. Colours and cursor moves of our own pass."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def say(line: str) -> None:
    """One line for the person at the terminal, on standard error."""
    Screen(stderr=True, highlight=False, soft_wrap=True).print(Text(visible(line)))


def output() -> Console:
    """Standard output. A pipe has no width of its own, so lines are folded for a reader."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Screen(width=width, highlight=False, markup=False, emoji=False)


def progress_console() -> Console:
    """Standard error, for bars."""
    return Screen(stderr=True)


class Rate(TextColumn):
    """Samples a second; nothing for the whole run, whose samples are of many kinds."""

    def __init__(self) -> None:
        super().__init__("{task.speed}")

    def render(self, task: Task) -> Text:
        if task.description == WHOLE:
            return Text("")
        # Over all of the stage: what a batch has answered at once says little.
        speed = task.completed / task.elapsed if task.elapsed else None
        return Text(f"{speed:.1f}/s" if speed else "–/s", style="dim")


class Done(MofNCompleteColumn):
    """Samples done of all; of the whole run, the share of its work."""

    def render(self, task: Task) -> Text:
        if task.description == WHOLE:
            return Text(f"{task.completed:.0%}", style="progress.percentage")
        return super().render(task)


class BarMeter:
    """Progress bars, for a terminal."""

    def __init__(self) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            Done(),
            Rate(),
            TimeElapsedColumn(),
            TextColumn("[red]{task.fields[failed]}[/red]{task.fields[left]}"),
            console=progress_console(),
        )
        self.bars: dict[str, TaskID] = {}
        self.failed: dict[str, int] = {}
        self.began = time.monotonic()
        self.share, self.words = 0.0, MEASURING

    def __enter__(self) -> "BarMeter":
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def begin(self, stage: str, total: int) -> None:
        self.failed[stage] = 0
        # The whole run's bar stays below the stages'.
        if WHOLE in self.bars:
            self.progress.remove_task(self.bars.pop(WHOLE))
        self.bars[stage] = self.progress.add_task(stage, total=total, failed="", left="")
        self.outlook(self.share, self.words)

    def say(self, line: str) -> None:
        """A line above the bars."""
        self.progress.console.print(Text(line), soft_wrap=True)

    def outlook(self, share: float, words: str) -> None:
        """How much of the whole run's work is behind, and how long the rest may take."""
        self.share, self.words = share, words
        if WHOLE not in self.bars:
            made = self.progress.add_task(WHOLE, total=1.0, failed="", left="")
            self.progress.tasks[-1].start_time = self.began
            self.bars[WHOLE] = made
        self.progress.update(self.bars[WHOLE], completed=share, left=f"time left: {words}" if share < 1 else "")

    def step(self, stage: str, fault: Fault | None) -> None:
        if fault:
            self.failed[stage] += 1
            self.progress.update(self.bars[stage], failed=f"{self.failed[stage]} failed")
        self.progress.advance(self.bars[stage])

    def end(self, stage: str) -> None:
        self.progress.stop_task(self.bars[stage])


@dataclass
class Count:
    """How far one stage has come."""

    total: int
    began: float
    done: int = 0
    failed: int = 0
    told: float = 0.0


@dataclass
class LineMeter:
    """A line now and then, for logs."""

    counts: dict[str, Count] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    left: str = ""
    """Of the whole run, in words; empty until somebody knows."""

    def __enter__(self) -> "LineMeter":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def begin(self, stage: str, total: int) -> None:
        now = time.monotonic()
        self.counts[stage] = Count(total, now, told=now)
        say(f"{stage}: {total} samples")

    def step(self, stage: str, fault: Fault | None) -> None:
        with self.lock:
            count = self.counts[stage]
            count.done += 1
            count.failed += fault is not None
            if time.monotonic() - count.told >= PLAIN_EVERY_S:
                self._tell(stage, count)

    def end(self, stage: str) -> None:
        self._tell(stage, self.counts[stage])

    def say(self, line: str) -> None:
        """A line among the others."""
        say(line)

    def outlook(self, share: float, words: str) -> None:
        """How much of the whole run's work is behind, and how long the rest may take."""
        self.left = f"; whole run {share:.0%}, time left: {words}" if share < 1 else ""

    def _tell(self, stage: str, count: Count) -> None:
        count.told = time.monotonic()
        spent = max(count.told - count.began, 1e-9)
        rate = count.done / spent
        failed = f", {count.failed} failed" if count.failed else ""
        say(f"{stage}: {count.done}/{count.total}, {rate:.1f}/s{failed}{self.left}")


def meter() -> BarMeter | LineMeter:
    """Bars at a terminal, plain lines elsewhere."""
    return BarMeter() if sys.stderr.isatty() else LineMeter()
