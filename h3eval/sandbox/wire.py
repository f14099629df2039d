"""Plain data as JSON text, and back: what crosses the jail's wall. Loaded on both sides, so it needs the standard
library alone.

Only exact builtin types cross: a subclass could answer `==` as it likes. JSON has no tuples, sets, bytes, complex
numbers, NaN or long whole numbers: those stand in an object with one key that says what they are. A list of
millions is sent as a digest, which can be compared with another's, and no more.
"""

import hashlib
import json
import marshal
import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

DEPTH = 100
"""How deeply containers may lie in one another."""
MANY = 2_000_000
"""From so many members on, counting those of the first member's size, a digest stands for a list."""
CHUNK = 10_000
COLLIDING = 100
"""So many members of a set or a dictionary may share their hashes: building it takes the square of their number."""
LONG = 1 << 63
"""Whole numbers from here on are written in hexadecimal: Python refuses to write long decimal ones."""
AS_THEY_ARE = {str, bool, type(None)}
NUMBERS = {int, float}
AS_DICT = {dict, Counter, defaultdict, OrderedDict}
"""The standard library's dictionaries are equal to plain ones of the same content, and sent as such."""


class NotPlain(TypeError):
    """The value is not of an exact builtin type, or lies too deep."""


def encode(value: Any) -> str:
    """The value as one line of ASCII. Raise NotPlain for anything but exact builtin types."""
    if type(value) in (list, tuple) and value and len(value) * _size(value[0]) >= MANY:
        return _digest(value)
    return json.dumps(_packed(value, 0), allow_nan=False, separators=(",", ":"))


def decode(text: str | bytes) -> Any:
    """The value of `encode`'s text. Raise ValueError for anything that `encode` would not have written."""
    try:
        return _unpacked(json.loads(text, parse_constant=_refused))
    except (RecursionError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise ValueError(f"not plain data: {type(error).__name__}") from error


def _size(value: Any) -> int:
    return len(value) if type(value) in (list, tuple) else 1


def _digest(values: Sequence[Any]) -> str:
    """`#`, the type, the length, and SHA-256 over the members, as marshal's first version writes them.

    It takes exact builtin types alone, and writes equal ones equally; a list of 130 million words takes three seconds.
    """
    found = hashlib.sha256()
    for start in range(0, len(values), CHUNK):
        try:
            found.update(marshal.dumps(list(values[start : start + CHUNK]), 0))
        except ValueError as error:
            raise NotPlain("not plain") from error
    return f"#{type(values).__name__} {len(values)} {found.hexdigest()}"


def _packed(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind in AS_THEY_ARE:
        return value
    if kind is int:
        return value if -LONG < value < LONG else {"i": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"f": repr(value)}
    if depth > DEPTH:
        raise NotPlain("too deep")
    if kind is list:
        return _items(value, depth)
    if kind in AS_DICT:
        return {"d": [[_packed(each, depth + 1), _packed(item, depth + 1)] for each, item in dict.items(value)]}
    return _other(value, kind, depth)


def _other(value: Any, kind: type, depth: int) -> Any:
    if kind is tuple:
        return {"t": _items(value, depth)}
    if kind is set or kind is frozenset:
        return {"s" if kind is set else "z": _items(value, depth)}
    if kind is bytes:
        return {"b": value.hex()}
    if kind is complex:
        return {"c": [repr(value.real), repr(value.imag)]}
    if kind.__module__ == "numpy" and hasattr(value, "tolist"):
        return _packed(value.tolist(), depth + 1)
    raise NotPlain(kind.__name__)


def _items(values: Collection[Any], depth: int) -> list[Any]:
    kinds = set(map(type, values))
    if kinds <= AS_THEY_ARE or (kinds <= NUMBERS and _in_range(values)):
        return list(values)
    return [_packed(each, depth + 1) for each in values]


def _in_range(numbers: Collection[Any]) -> bool:
    """Can JSON say all of them? The range first: a long whole number can't be asked whether it is finite."""
    return min(numbers) > -LONG and max(numbers) < LONG and all(map(math.isfinite, numbers))


def _unpacked(value: Any) -> Any:
    if type(value) is list:
        kinds = set(map(type, value))
        return value if dict not in kinds and list not in kinds else [_unpacked(each) for each in value]
    if type(value) is not dict:
        return value
    ((tag, content),) = value.items()
    return _TAGS[tag](content)


def spread(members: Iterable[Any]) -> list[Any]:
    """The members, if they may be hashed without harm. Raise ValueError where too many of them collide."""
    found = list(members)
    if len(found) - len(set(map(hash, found))) > COLLIDING + len(found) // 2:
        raise ValueError("too many colliding members")
    return found


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is not plain data")


_TAGS: dict[str, Callable[[Any], Any]] = {
    "t": lambda content: tuple(map(_unpacked, content)),
    "s": lambda content: set(spread(map(_unpacked, content))),
    "z": lambda content: frozenset(spread(map(_unpacked, content))),
    "d": lambda content: dict(
        zip(spread(_unpacked(key) for key, _ in content), [_unpacked(item) for _, item in content], strict=True)
    ),
    "b": bytes.fromhex,
    "c": lambda content: complex(float(content[0]), float(content[1])),
    "i": lambda content: int(content, 16),
    "f": float,
}
