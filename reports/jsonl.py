"""samples.jsonl and estimates.jsonl: every sample with its verdicts, every estimate, one a line.

The columns stand in docs/results.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from h3eval.types import Run

from ._rows import ESTIMATES, SAMPLES, Column, Row, encodable, estimates, samples
from ._shared import line, write
from .results import content


@dataclass(frozen=True)
class Jsonl:
    """Writes both files; `samples` and `estimates` give rows to a program, their texts fit for UTF-8."""

    name: str = "jsonl"
    on_request: bool = True
    sample_columns: tuple[Column, ...] = SAMPLES
    estimate_columns: tuple[Column, ...] = ESTIMATES

    def write(self, run: Run, folder: Path) -> tuple[Path, ...]:
        """Both files; memory does not grow with the samples. Raise UsageError where they can't be written."""
        return (
            write(folder, "samples.jsonl", (f"{line(row)}\n" for row in samples(run))),
            write(folder, "estimates.jsonl", (f"{line(found)}\n" for found in content(run)["estimates"])),
        )

    def samples(self, run: Run) -> Iterator[Row]:
        """A row for each verdict of each sample."""
        return map(encodable, samples(run))

    def estimates(self, run: Run) -> list[Row]:
        """A row for each estimate, intervals and bounds in two columns each."""
        return list(map(encodable, estimates(run)))


REPORT = Jsonl()
