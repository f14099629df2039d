"""merge_report.html: what a merged model was made of, how, and where its parents agree.

Made from merge_report.json, beside which it lies. Reads without JavaScript, fetches nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _layers, _made

NAME = "merge_report.html"


@dataclass(frozen=True)
class Merge:
    """Writes the page of a merge. `of` keeps it from the reports of a run."""

    name: str = "merge"
    of: str = "merge"

    def write(self, report: Mapping[str, Any], folder: Path) -> tuple[Path, ...]:
        """The page, from the content of merge_report.json. Raise UsageError where it can't be written."""
        labels, tensors = _layers.labels(report), _layers.tensors(report)
        return _made.publish(
            folder, NAME, "merge.j2", report=report, title=f"{report['recipe']['method']}: {' + '.join(labels)}",
            labels=labels, parents=_layers.parents(report), method=_layers.method(report),
            whole=_layers.row("all", report["summary"], labels), kinds=_layers.kinds(report),
            tensors=tensors, chooses=any(row.chosen for row in tensors), count=_layers.count(report),
            figures=_layers.figures(report), changes=_layers.has_base(report),
        )  # fmt: skip


REPORT = Merge()
