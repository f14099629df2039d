"""Rows of a file from outside: JSON lines, a JSON list, or a table. Which of them, its content says, not its name."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from h3eval.errors import ConfigError
from h3eval.untrusted import files, tables, values
from h3eval.untrusted.messages import first_line

Row = dict[str, Any]
TABLES = (".csv", ".tsv", ".tab")
JSON = (".json", ".jsonl", ".ndjson")
MOST_EMPTY = 100_000
SNIFFED = 1 << 20
"""Characters of the first line that are looked at."""


def numbered(path: Path, constants: str = "refuse") -> Iterator[tuple[int, Row]]:
    """The file's rows with their numbers: of a line, of a list's item, or of a table's row (its heading is row 1).

    `constants` says what NaN and infinities in JSON mean (see `values.parsed`). Raise ConfigError naming file and line
    for anything that is not what it seems.
    """
    kind = _kind(path)
    if kind == "table":
        yield from tables.rows(path)
    elif kind == "lines":
        yield from _lines(path, constants)
    elif kind == "list":
        yield from enumerate(_list(path, constants), 1)


def _kind(path: Path) -> str:
    """`table`, `lines`, `list`, or nothing where the file is empty."""
    name = path.name.casefold().removesuffix(".gz")
    start = islice(files.lines(path), MOST_EMPTY)
    begun = list(islice((line.strip() for line in start if line.strip()), 2))
    if not begun and len(list(islice(files.lines(path), MOST_EMPTY))) == MOST_EMPTY:
        raise ConfigError(f"{path}: its first {MOST_EMPTY} lines are empty")
    first = begun[0] if begun else ""
    if not first:
        if name.endswith(".json"):
            raise ConfigError(f"{path}: can't be read as JSON: the file is empty")
        return ""
    if first[0] == "[":
        return "list"
    if first[0] == "{" and _is_object(first) and (len(begun) > 1 or not name.endswith(".json")):
        return "lines"
    if name.endswith(JSON):
        return "list" if name.endswith(".json") else "lines"
    return "table" if name.endswith(TABLES) or first[0] != "{" else "list"


def _is_object(line: str) -> bool:
    if len(line) > SNIFFED:
        return line.endswith("}")
    try:
        return isinstance(values.parsed(line, constants="keep", repeated=True, python=True), dict)
    except ValueError:
        return False


def _lines(path: Path, constants: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(files.lines(path), 1):
        if not line.strip():
            continue
        try:
            row = values.parsed(line, constants)
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: not JSON: {first_line(error)}") from error
        if not isinstance(row, dict):
            raise ConfigError(f"{path}, line {number}: expected an object, found {type(row).__name__}")
        yield number, row


def _list(path: Path, constants: str) -> list[Row]:
    text = files.text(path)
    try:
        found = values.parsed(text, constants)
    except ValueError as error:
        raise ConfigError(f"{path}: can't be read as JSON: {first_line(error)}") from error
    if not isinstance(found, list):
        raise ConfigError(f"{path}: expected a JSON list of objects, or one object a line")
    for number, row in enumerate(found, 1):
        if not isinstance(row, dict):
            raise ConfigError(f"{path}, item {number}: expected an object, found {type(row).__name__}")
    return found
