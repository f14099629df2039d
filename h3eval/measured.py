"""Numbers, and how sure we are of them: a metric's estimate, and what is made of several."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric's value and how sure we are of it, all in `unit`. `value` is None where nothing could be scored; `note`
    then says why. `bounds` are the worst and best value there could be, had the `n_failed` items been scored."""

    metric: str
    value: float | None
    n: int
    n_failed: int
    se: float | None = None
    ci: tuple[float, float] | None = None
    bounds: tuple[float, float] | None = None
    unit: str = "proportion"
    direction: Literal["higher", "lower", "none"] = "higher"
    version: int = 1
    method: str = ""
    """How interval and standard error were computed."""
    note: str = ""
    judge: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    calibration: str = ""
    """What is known of its judges' errors: a card's line, or `uncalibrated`; empty where no judge has an opinion."""


@dataclass(frozen=True, slots=True)
class Composite:
    """A number made of several tasks' estimates; missing when a part is missing."""

    name: str
    about: str
    value: float | None
    unit: str = "percent"
    se: float | None = None
    ci: tuple[float, float] | None = None
    missing: tuple[str, ...] = ()
    """The parts that were not there, as `task/protocol: metric`."""
    parts: Mapping[str, float | None] = field(default_factory=dict)
    """Dimension or part to its value, in the composite's unit."""
