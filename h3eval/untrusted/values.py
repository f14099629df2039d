"""JSON and TOML from outside: bounded in size, depth and numbers, and each key once."""

import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from h3eval.errors import ConfigError
from h3eval.untrusted import files
from h3eval.untrusted.messages import cut, first_line

DEEPEST = 100
DIGITS = 300
"""A whole number with more digits fits into no float: nothing could be computed with it."""
CONFIGURATION = 256 * files.MIB
"""Bytes of a JSON file of settings or results."""
SETTINGS = files.MIB
"""Bytes of a TOML file."""
DOTTED = 100
"""Parts of a dotted key; tomllib takes time in the square of them."""
WIDEST = 1 << 63
NO_KEY = re.compile(r"[\s,=\[\]{}]|^$")


def parsed(text: str | bytes, constants: str = "refuse", repeated: bool = False, python: bool = False) -> Any:
    """A JSON value. Raise ValueError of one line.

    `constants` says what NaN and infinities mean, which JSON has not: nothing (`refuse`), what Python has (`keep`), or
    that there is no number (`missing`, which makes NaN None, as pandas and json.dump mean it). `repeated`: a key may
    come twice, and its last value counts. `python`: whole numbers of any length.
    """
    hooks: dict[str, Any] = {} if constants == "keep" else {"parse_float": _finite}
    hooks |= {"missing": {"parse_constant": _missing}, "refuse": {"parse_constant": _constant}}.get(constants, {})
    hooks |= {} if python else {"parse_int": _whole}
    hooks |= {} if repeated else {"object_pairs_hook": _object}
    try:
        found = json.loads(text, **hooks)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} (character {error.pos + 1})") from error
    if deep(found):
        raise ValueError(f"nested more than {DEEPEST} deep")
    return found


def reply(body: bytes) -> Any:
    """The JSON of a reply that was paid for: what is absurd in it costs a number, not the reply. Raise ValueError.

    A whole number that nothing could hold is None; a key that comes twice has its last value.
    """
    try:
        found = json.loads(body, parse_int=lambda digits: int(digits) if len(digits) <= DIGITS else None)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if deep(found):
        raise ValueError(f"nested more than {DEEPEST} deep")
    return found


def deep(value: Any, most: int = DEEPEST) -> bool:
    """Is the value nested deeper than that?"""
    level = [value]
    for _ in range(most):
        inner = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level = [each for values in inner for each in values if isinstance(each, dict | list)]
        if not level:
            return False
    return True


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _missing(name: str) -> Any:
    return None if name == "NaN" else _constant(name)


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits ({digits[:12]}…)")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{cut(digits, 20)} is too large for a number")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError(f"the key {twice(key for key, _ in pairs)!r} comes twice")
    return made


def twice(keys: Iterable[str]) -> str:
    """The first key that comes a second time."""
    seen: set[str] = set()
    return next((key for key in keys if key in seen or seen.add(key)), "")  # type: ignore[func-returns-value]


def json_file(path: Path, most: int = CONFIGURATION) -> Any:
    """The JSON value in a file of settings or results. Raise ConfigError naming the file.

    Configurations of some models hold Infinity.
    """
    return _of(path, most, "JSON", lambda text: parsed(text, constants="keep"))


def toml_file(path: Path) -> dict[str, Any]:
    """A TOML file's table. Raise ConfigError naming the file, and the line of a mistake."""
    made: dict[str, Any] = _of(path, SETTINGS, "TOML", toml)
    return made


def _of(path: Path, most: int, kind: str, parse: Callable[[str], Any]) -> Any:
    text = files.text(path, most)
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"{path}: can't be read as {kind}: {first_line(error)}") from error


def toml(text: str) -> dict[str, Any]:
    """A TOML table. Raise ValueError of one line."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > DOTTED and _dotted(line) > DOTTED:
            raise ValueError(f"line {number}: a key of more than {DOTTED} parts")
    try:
        made = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if deep(made):
        raise ValueError(f"nested more than {DEEPEST} deep")
    _check_numbers(made)
    return made


def _dotted(line: str) -> int:
    """Most parts that follow one another with a dot between and nothing inside that stands in no key."""
    longest = run = 0
    for part in line.split("."):
        run = 1 if NO_KEY.search(part.strip()) else run + 1
        longest = max(longest, run)
    return longest


def _check_numbers(value: Any) -> None:
    """Raise ValueError for numbers that TOML has and no setting means."""
    if isinstance(value, dict):
        for each in value.values():
            _check_numbers(each)
    elif isinstance(value, list):
        for each in value:
            _check_numbers(each)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a number that can be used")
    elif isinstance(value, int) and not -WIDEST <= value < WIDEST:
        raise ValueError("a whole number of more than 64 bits")
