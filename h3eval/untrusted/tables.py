"""Tables as spreadsheets and programs write them: CSV, with row and column for what is wrong.

Read is what can be read in one way only; everything else is refused with its place.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from h3eval.errors import ConfigError
from h3eval.untrusted import files
from h3eval.untrusted.messages import shown

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
LONGEST_CELL = 16 * files.MIB
LOOKED_AT = 20
"""Rows by which separators are told apart."""
COLUMNS = 4096

# The library's own limit, for the whole process, is shorter than some answers.
csv.field_size_limit(LONGEST_CELL)


@dataclass(frozen=True)
class Layout:
    """How a table is written: `skip` lines before the heading, what stands between cells, and whether spaces follow."""

    separator: str
    spaced: bool = False
    skip: int = 0


def rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The table's rows by the names in its heading, with their numbers: the heading is row 1, as spreadsheets count.

    Rows without a word are left out. Raise ConfigError naming row and column.
    """
    layout = _layout(path)
    names: list[str] | None = None
    for number, cells in _records(path, layout):
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names = _names(path, cells)
            continue
        _check_width(path, number, cells, names)
        held = enumerate(zip(names, cells, strict=False))
        yield number, {name: cell for place, (name, cell) in held if name or not place}


def cells(path: Path) -> Iterator[list[str]]:
    """The table's rows as they are, heading and all; those without a word are left out. Raise ConfigError."""
    return (row for _, row in _records(path, _layout(path)) if any(cell.strip() for cell in row))


def _records(path: Path, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(
        islice(files.lines(path, newline=""), layout.skip, None),
        delimiter=layout.separator, skipinitialspace=layout.spaced, strict=True,
    )  # fmt: skip
    number = layout.skip
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ConfigError(f"{path}, row {number} (line {reader.line_num + layout.skip}): {error}") from error
        if any("\0" in cell for cell in cells):
            raise ConfigError(f"{path}, row {number}: a NUL character: not a text")
        yield number, cells


def _names(path: Path, cells: Sequence[str]) -> list[str]:
    """The heading's names. Raise ConfigError where one comes twice. The first may be missing, as in what pandas writes
    of its own numbers; any other column without one must be empty."""
    names = [cell.strip() for cell in cells]
    if len(names) > COLUMNS:
        raise ConfigError(f"{path}: a heading of {len(names)} columns; at most {COLUMNS}")
    for place, name in enumerate(names):
        if name and name in names[:place]:
            raise ConfigError(f"{path}, column {letter(place)}: a second column {shown(name)}")
    return names


def _check_width(path: Path, number: int, cells: Sequence[str], names: Sequence[str]) -> None:
    for place, cell in enumerate(cells):
        if cell.strip() and (place >= len(names) or (place and not names[place])):
            raise ConfigError(
                f"{path}, row {number}, column {letter(place)}: {shown(cell)} stands in a column without a heading"
            )
    named = max(place for place, name in enumerate(names) if name) + 1
    if len(cells) < named:
        raise ConfigError(f"{path}, row {number}: {len(cells)} cells, and the heading names {named} columns: cut?")


def letter(place: int) -> str:
    """A column's name in a spreadsheet, and its number."""
    name, left = "", place + 1
    while left:
        left, digit = divmod(left - 1, 26)
        name = chr(ord("A") + digit) + name
    return f"{name} ({place + 1})"


def _layout(path: Path) -> Layout:
    """What separates the cells. Raise ConfigError where it can be read in two ways."""
    first = next((line for line in files.lines(path, newline="") if line.strip()), "")
    told = first.strip()
    # Excel writes, and reads, a first line that says it.
    if told.casefold().startswith("sep=") and len(told) == 5:
        return Layout(told[4], skip=1)
    shapes = {each: _shape(path, each) for each in SEPARATORS if each in first}
    wide = {each: shape for each, shape in shapes.items() if shape and shape[0] > 1}
    if len(wide) > 1:
        # A comma may stand within a heading's name: then rows differ in length.
        wide = {each: shape for each, shape in wide.items() if len(set(shape)) == 1} or wide
    if len(wide) > 1:
        told = " or ".join(SEPARATORS[each] for each in wide)
        raise ConfigError(f"{path}: do {told} separate its columns? Write it with one of them, and quote the others")
    separator = next(iter(wide or shapes), ",")
    cells = first.split(separator)[1:]
    return Layout(separator, bool(cells) and all(cell.startswith(" ") for cell in cells))


def _shape(path: Path, separator: str) -> list[int]:
    """How many cells the first rows have, if this separates them; nothing where it can't."""
    reader = csv.reader(files.lines(path, newline=""), delimiter=separator, strict=True)
    try:
        return [len(cells) for cells in islice(reader, LOOKED_AT) if any(cell.strip() for cell in cells)]
    except csv.Error:
        return []
