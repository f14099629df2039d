"""How often the published tool reads a judge's replies otherwise than we do, and what its numbers would be.

A judge that can tell says so in the details of its reading, or of why there is none: `published` is the score that
the tool would give, None where it gives none.
"""

import math
from dataclasses import dataclass, field

from h3eval.types import Failure, Item, Json

PUBLISHED = "published"


@dataclass
class _Role:
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    differing: int = 0
    unread: int = 0
    """Of those that differ: replies that we don't read."""


@dataclass
class Otherwise:
    """Counts one task's items."""

    roles: dict[str, _Role] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        """Take the item's verdicts into account."""
        for name, verdict in item.verdicts.items():
            role = self.roles.setdefault(name, _Role())
            silent = isinstance(verdict, Failure)
            details = verdict.details if isinstance(verdict, Failure) else verdict.reading.details
            score = None if isinstance(verdict, Failure) else verdict.reading.score
            theirs = details.get(PUBLISHED, score)
            role.differing += PUBLISHED in details
            role.unread += silent and PUBLISHED in details
            role.ours += [] if score is None else [score]
            role.theirs += [] if theirs is None else [float(theirs)]

    def blocks(self) -> dict[str, dict[str, Json]]:
        """For each role where the two differ: how often, of how many, and both means."""
        return {
            name: {
                "differing": role.differing, "unread": role.unread, "n": len(role.ours), "mean": _mean(role.ours),
                "published_n": len(role.theirs), "published_mean": _mean(role.theirs),
            }
            for name, role in sorted(self.roles.items())
            if role.differing
        }  # fmt: skip


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def sentence(task: str, role: str, block: dict[str, Json]) -> str:
    """What a reader is told of it."""
    means = " and ".join(
        f"{name} {'—' if block[key] is None else f'{block[key]:.4g}'} (n = {block[number]})"
        for name, key, number in (("a mean of", "mean", "n"), ("the tool's", "published_mean", "published_n"))
    )
    silent = f", {block['unread']} of them not read here" if block["unread"] else ""
    return (
        f"{task}: {block['differing']} replies of {role} are read otherwise by the tool that published its wording"
        f"{silent}. It takes the first verdict it finds, quoted or not; here a verdict is what the judge says for "
        f"itself. That gives {means}."
    )
