"""sweep.html: the merges of a sweep, and which of them no other beats.

Made from sweep.json, beside which it lies. Reads without JavaScript, fetches nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _made, _sweeps

NAME = "sweep.html"


@dataclass(frozen=True)
class Sweep:
    """Writes the page of a sweep. `of` keeps it from the reports of a run."""

    name: str = "sweep"
    of: str = "sweep"

    def write(self, sweep: Mapping[str, Any], folder: Path) -> tuple[Path, ...]:
        """The page, from the content of sweep.json. Raise UsageError where it can't be written."""
        points = _sweeps.table(sweep, folder)
        return _made.publish(
            folder, NAME, "sweep.j2", sweep=sweep, points=points, plots=_sweeps.plots(sweep, points),
            axes=[_sweeps.spoken(axis) for axis in sweep["axes"]], recipe=_sweeps.recipe(sweep),
            # Sweeps of before have none.
            rescaled=sweep.get("rescaled", ()),
            best=sum(point.front for point in points),
            gaps=sum(any(cell.value is None for cell in point.cells) for point in points),
        )  # fmt: skip


REPORT = Sweep()
