"""Numbers that differ from tensor to tensor: over a model's depth, or by a part of the tensor's name.

As mergekit's configurations have them (https://github.com/arcee-ai/mergekit#parameter-specification): numbers in a list
lie at equal distances over the layers, with straight lines between them, and the first holds outside of layers; of
mappings with `filter` and `value`, the first whose filter is part of the tensor's name counts.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from h3eval.errors import ConfigError

EVERY = ("", "*")
"""Filters that every name has."""


@dataclass(frozen=True)
class Gradient:
    """Rules of a part of a name and the points that hold for it; the last is for every name."""

    rules: tuple[tuple[str, tuple[float, ...]], ...]

    def at(self, name: str, depth: float) -> float:
        """The number for the tensor of this name, from 0 (the first layer) to 1 (the last) deep in the model."""
        points = next(points for part, points in self.rules if part in name)
        place = depth * (len(points) - 1)
        low = min(int(place), len(points) - 1)
        high = min(low + 1, len(points) - 1)
        return (1 - (place - low)) * points[low] + (place - low) * points[high]

    def setting(self) -> list[Any]:
        """As it was given."""
        if len(self.rules) == 1:
            return list(self.rules[0][1])
        return [
            {**({"filter": part} if part else {}), "value": list(points) if len(points) > 1 else points[0]}
            for part, points in self.rules
        ]


def number(where: str, value: Any, check: Callable[[str, Any], float]) -> float | Gradient:
    """One number or many, each checked. Raise ConfigError for a list that says nothing of some tensors."""
    if not isinstance(value, list):
        return check(where, value)
    if not any(isinstance(each, dict) for each in value):
        return Gradient((("", _points(where, value, check)),))
    rules = tuple(_rule(where, each, check) for each in value)
    if rules[-1][0]:
        raise ConfigError(f"{where}: the last entry needs to be without a filter, for all other tensors")
    return Gradient(rules)


def _rule(where: str, entry: Any, check: Callable[[str, Any], float]) -> tuple[str, tuple[float, ...]]:
    if not isinstance(entry, dict) or "value" not in entry or set(entry) - {"filter", "value"}:
        raise ConfigError(f"{where}: {entry!r}: each is a mapping with `value`, and `filter` in all but the last")
    part = str(entry.get("filter") or "")
    return "" if part in EVERY else part, _points(where, entry["value"], check)


def _points(where: str, value: Any, check: Callable[[str, Any], float]) -> tuple[float, ...]:
    many = value if isinstance(value, list) else [value]
    if not many:
        raise ConfigError(f"{where}: an empty list")
    return tuple(check(where, each) for each in many)


def depths(names: Iterable[str]) -> dict[str, float]:
    """How deep in its own stack of layers each tensor lies: 0 first, 1 last or only one; 0 outside of layers."""
    places = {name: _place(name) for name in names}
    last: dict[str, int] = {}
    for stack, layer in places.values():
        last[stack] = max(last.get(stack, 0), layer or 0)
    return {
        name: 0.0 if layer is None else layer / last[stack] if last[stack] else 1.0
        for name, (stack, layer) in places.items()
    }


def _place(name: str) -> tuple[str, int | None]:
    """The stack and the layer: `model.layers` and 3 of `model.layers.3.mlp.up_proj.weight`."""
    parts = name.split(".")
    at = next((at for at, part in enumerate(parts) if part.isdecimal()), None)
    return (name, None) if at is None else (".".join(parts[:at]), int(parts[at]))
