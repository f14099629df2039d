"""Judge cards on disk: which card is a judge's, and the line of it that stands beside a score.

`h3eval calibrate RUN` puts a card into the run's folder as `cards/ROLE.json`; one made elsewhere is named with
`--card`. A card is a judge's only where judge, wording and engine are the same.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from h3eval.config import read_json
from h3eval.errors import ConfigError
from h3eval.text import canonical, digest
from h3eval.types import Json

FOLDER = "cards"
SCHEMA_VERSION = 1
NEEDED = ("schema_version", "role", "voice", "line")
FILES = ("file", "files")
"""Parts of an imported judge's identity that say where its judgments came from, not who judged."""
UNCALIBRATED = "uncalibrated"
DEMONSTRATION = "demonstration: the demo model judges"
"""What stands beside every number of such a judge."""
Card = Mapping[str, Any]


def read_card(path: Path) -> Card:
    """A card that `h3eval calibrate` wrote. Raise ConfigError for any other file."""
    card = read_json(path)
    if not set(NEEDED) <= card.keys() or not isinstance(card["line"], str):
        raise ConfigError(f"{path}: not a judge card: h3eval calibrate writes them")
    if card["schema_version"] != SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: a card of schema {card['schema_version']}, known is {SCHEMA_VERSION}: calibrate anew"
        )
    return card


def of_folder(folder: Path) -> list[Card]:
    """The cards in a run's folder."""
    return [read_card(path) for path in sorted((folder / FOLDER).glob("*.json"))]


def voice(role: str, judges: Mapping[str, Mapping[str, Json]]) -> str:
    """Who judges in the role, and how: the digest of judge, version, wording and engine, or of a panel's members."""
    entry = judges[role]
    if members := entry.get("members"):
        return digest(canonical([entry["rule"], sorted(voice(member, judges) for member in members)]))
    return digest(canonical(who(entry)))


def who(entry: Mapping[str, Json]) -> Json:
    """What tells one judge's verdicts from another's: judge, version, wording and engine, whatever the role."""
    identity = {key: value for key, value in (entry.get("identity") or {}).items() if key not in FILES}
    return [*(entry.get(key) for key in ("judge", "version", "template_sha256", "parameters")), identity]


def line_for(role: str, judges: Mapping[str, Mapping[str, Json]], cards: Sequence[Card]) -> str:
    """The line of the judge's card; `uncalibrated` without one, with the reason where there is another judge's.

    Empty for a judge whose verdict is what the score means: people's labels are not what it could be wrong by.
    """
    shown = f"{DEMONSTRATION}; " if judges[role].get("demonstration") else ""
    return shown + _line(role, judges, cards)


def _line(role: str, judges: Mapping[str, Mapping[str, Json]], cards: Sequence[Card]) -> str:
    mine = voice(role, judges)
    if found := [card["line"] for card in cards if card["voice"] == mine]:
        return str(found[-1])
    if judges[role].get("by_definition"):
        return ""
    other = any(card["role"] == role for card in cards)
    return f"{UNCALIBRATED} (the card is of another judge)" if other else UNCALIBRATED
