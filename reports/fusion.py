"""fusion_report.html: what a fused model was made of, how it was trained, and what its router does.

Made from fusion_report.json, beside which it lies: of fusions, of ensembles and of aligned experts. Reads without
JavaScript, fetches nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _made, _routers
from ._page import facts

NAME = "fusion_report.html"
TITLES = {
    "h3fusion": "H3Fusion: a mixture of aligned experts",
    "mocae": "MoCaE: task vectors on a shared base, weighed by a router",
    "instruct": "H3Fusion-Instruct: trained on prompts that carry other models' answers",
    "summary": "H3Fusion-Summary: fuses several answers into one",
}
ALIGNED = "An aligned expert"


@dataclass(frozen=True)
class Fusion:
    """Writes the page of a fusion. `of` keeps it from the reports of a run."""

    name: str = "fusion"
    of: str = "fusion"

    def write(self, report: Mapping[str, Any], folder: Path) -> tuple[Path, ...]:
        """The page, from the content of fusion_report.json. Raise UsageError where it can't be written."""
        names, steps = _routers.history(report)
        drawn = {
            "training": _routers.training(report), "dimensions": _routers.by_dimension(report),
            "sources": _routers.by_dimension(report, "source"), "layers": _routers.by_layer(report),
            "diagram": _routers.diagram(report),
        }  # fmt: skip
        return _made.publish(
            folder, NAME, "fusion.j2", report=report, title=TITLES.get(report.get("method", ""), ALIGNED),
            warnings=_routers.warnings(report), parents=_routers.parents(report), made=_routers.facts(report),
            names=[_routers.STATISTICS[name] for name in names], steps=steps, calibration=_routers.calibration(report),
            bins=_routers.bins(report), activation=_routers.activation(report), costs=_routers.costs(report),
            settings=list(facts(report["settings"])), experts=report.get("experts", []), **drawn,
        )  # fmt: skip


REPORT = Fusion()
