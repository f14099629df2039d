"""Which model answered, as its endpoint says: a swap that the endpoint says nothing else about is seen and reported.

An endpoint is asked for a model by name, and its answers name one. A gateway may send a smaller one, or another
snapshot from one day to the next; the numbers are then of that model. Calls no model.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from h3eval.types import Reply

ENDPOINTS = ("openai", "anthropic")
"""Backends whose replies name the model in the endpoint's own words; a local engine's name is ours."""
SUBJECT = ""
MOST_NAMES, LONGEST_NAME = 20, 200
"""An endpoint may name a new one in each reply, and at any length."""
TAGS = ("latest", "free", "nitro", "floor", "online", "extended", "beta")
"""What gateways hang on a name with a colon to say how it is to be served."""
MONTH, DAY = r"(0[1-9]|1[0-2])", r"(0[1-9]|[12]\d|3[01])"
SNAPSHOT = re.compile(rf"[-@](20\d\d-?{MONTH}-?{DAY}|{MONTH}-?{DAY}|2\d{MONTH}|00[1-9])\Z")
"""A date or a version's number at a name's end, as providers write them: -2025-04-14, -20241022, -0613, -2407, -001."""
ALIAS = re.compile(r"-latest\Z")

AS_ASKED, SNAPSHOT_OF, UNDATED = "as asked", "a snapshot of what was asked for", "not said which snapshot"
ANOTHER, SEVERAL, UNNAMED = "another model", "several models", "not named"


@dataclass
class Answered:
    """The names in replies, counted by seat: `''` is the model under test, all others are judges."""

    names: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, seat: str, replies: Iterable[object]) -> None:
        """Count the names that replies bear; faults have none."""
        found = self.names.setdefault(seat, Counter())
        found.update(reply.model.strip()[:LONGEST_NAME] for reply in replies if isinstance(reply, Reply))

    def table(self, identities: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """For each seat that an endpoint fills: what was asked for, which names came, and what that means."""
        made = {}
        for seat, identity in sorted(identities.items()):
            named = self.names.get(seat)
            if named and identity.get("backend") in ENDPOINTS:
                asked = str(identity.get("model", "")).strip()[:LONGEST_NAME]
                made[seat] = {"asked": asked, "meaning": meaning(asked, named), "answered": _listed(named)}
        return made


def _listed(named: Counter[str]) -> dict[str, int]:
    """The names with their counts, most frequent first; what is beyond the most frequent is one sum."""
    ordered = sorted(named.items(), key=lambda pair: (-pair[1], pair[0]))
    kept = {name or f"({UNNAMED})": count for name, count in ordered[:MOST_NAMES]}
    rest = ordered[MOST_NAMES:]
    return kept | ({f"({len(rest)} more names)": sum(count for _, count in rest)} if rest else {})


def meaning(asked: str, named: Iterable[str]) -> str:
    """What the names in a seat's replies say about the model that was asked for."""
    names = {name for name in named if name}
    if not names:
        return UNNAMED
    kinds = {compared(asked, name) for name in names}
    if ANOTHER in kinds:
        return ANOTHER
    # Names of one model in different dress are one; a new snapshot is another model under the same alias.
    first = min(names)
    if any(compared(first, name) != AS_ASKED for name in names):
        return SEVERAL
    return kinds.pop() if len(kinds) == 1 else SEVERAL


def compared(asked: str, named: str) -> str:
    """What one name is to the one asked for."""
    ours, theirs = _parts(asked), _parts(named)
    if not _same_owner(ours[:-1], theirs[:-1]):
        return ANOTHER
    wanted, found = _untagged(ours[-1], theirs[-1])
    if wanted == found:
        return AS_ASKED
    if not _dated(wanted) and _stem(found) == ALIAS.sub("", wanted) and _dated(found):
        return SNAPSHOT_OF
    if not _dated(found) and _stem(wanted) == ALIAS.sub("", found):
        return UNDATED
    return ANOTHER


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.strip().casefold().split("/") if part) or ("",)


def _same_owner(ours: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    """Gateways put a provider in front of a name, or take it off: the shorter path must end the longer one."""
    shorter, longer = sorted((ours, theirs), key=len)
    return longer[len(longer) - len(shorter) :] == shorter


def _untagged(ours: str, theirs: str) -> tuple[str, str]:
    """Both names without a tag that says how they are served, where only one of them bears it."""
    (wanted, _, our_tag), (found, _, their_tag) = ours.partition(":"), theirs.partition(":")
    if our_tag != their_tag and {our_tag, their_tag} <= {"", *TAGS}:
        return wanted, found
    return ours, theirs


def _dated(name: str) -> bool:
    return bool(SNAPSHOT.search(name))


def _stem(name: str) -> str:
    return ALIAS.sub("", SNAPSHOT.sub("", name))


def warnings(table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each seat whose answers may not be those of the model that was asked for."""
    found = []
    for seat, entry in table.items():
        who = f"the judge {seat}" if seat else "the model under test"
        named = ", ".join(f"{name} ({count:,})" for name, count in entry["answered"].items())
        told = f"{entry['asked']} was asked for as {who}, and the endpoint's answers name {named}"
        if entry["meaning"] == ANOTHER:
            found.append(f"ANOTHER MODEL ANSWERED: {told}. The numbers are of what answered.")
        elif entry["meaning"] == SEVERAL:
            found.append(f"THE MODEL CHANGED within the run: {told}. The numbers mix them.")
    return found
