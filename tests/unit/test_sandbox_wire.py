"""What crosses the jail's wall: exact builtin types, unchanged, and nothing else."""

import math
from collections import Counter, OrderedDict, defaultdict, namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3eval.sandbox.wire import CHUNK, DEPTH, MANY, NotPlain, decode, encode

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.complex_numbers(allow_nan=False)
)  # fmt: skip
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=5)
        | st.sets(HASHABLE, max_size=5)
    ),
    max_leaves=30,
)


def same(first: Any, second: Any) -> bool:
    """Equal, and of the same types all the way down."""
    return repr(first) == repr(second) if not isinstance(first, set | frozenset | dict) else first == second


@given(VALUES)
def test_plain_data_comes_back_as_it_went(value: Any) -> None:
    text = encode(value)
    assert text.isascii()
    assert "\n" not in text
    assert type(decode(text)) is type(value)
    assert decode(text) == value


def test_what_json_has_not() -> None:
    value = ["\ud800", math.inf, -0.0, 10**5000, -(2**63), {1: "a", "1": b"\xff", (1, 2): {3}}, 2 + 3j, (), set()]
    assert decode(encode(value)) == value
    assert math.copysign(1, decode(encode(-0.0))) == -1
    assert math.isnan(decode(encode(math.nan)))
    assert encode(math.nan) == '{"f":"nan"}'


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 2**63, -(2**63), 10**400, 1e300, True, None])
def test_lists_of_numbers_may_hold_any_number(odd: Any) -> None:
    for value in ([odd, 1, 2.5], [1, odd, 2.5], [1, 2.5, odd], [1, odd, 10**400], [odd]):
        assert same(decode(encode(value)), value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Counter("aab"), {"a": 2, "b": 1}),
        (defaultdict(list, {1: [2]}), {1: [2]}),
        (OrderedDict(a=1), {"a": 1}),
        (np.float64(1.5), 1.5),
        (np.arange(3), [0, 1, 2]),
        (np.bool_(True), True),
    ],
)
def test_the_libraries_own_containers_are_sent_as_plain_ones(value: Any, plain: Any) -> None:
    assert same(decode(encode(value)), plain)


class Everything(list[int]):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    "value",
    [Everything(), [1, Everything()], {"a": Everything()}, Point(1, 2), bool, object(), iter([]), range(3),
     deep(DEPTH + 2)],
)  # fmt: skip
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(NotPlain):
        encode(value)


@pytest.mark.parametrize(
    "text",
    ["", "NaN", "[Infinity]", '{"t":[1],"s":[]}', "{}", '{"q":[1]}', '{"s":[[1]]}', '{"d":[[1]]}', '{"b":"zz"}',
     '{"t":3}', '{"i":"12x"}', '{"c":["1"]}', "[" * 100_000, "1 2", '{"i":5}', "9" * 5000],
)  # fmt: skip
def test_forged_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (json has words of its own)
        decode(text)


def test_colliding_members_are_refused_before_they_cost_anything() -> None:
    keys = [n * (2**61 - 1) for n in range(100_000)]
    for tag, members in (("s", keys), ("d", [[key, 0] for key in keys])):
        with pytest.raises(ValueError, match="colliding"):
            decode(encode(members).join((f'{{"{tag}":', "}")))


def test_a_list_of_millions_is_a_digest_of_its_members() -> None:
    row = ("a",) * 100
    many = [row] * (MANY // 100)
    assert encode(many).startswith(f"#list {len(many)} ")
    assert encode(many) == encode([tuple("a" * 100) for _ in many])
    assert encode(many) != encode(tuple(many))
    changed = list(many)
    changed[CHUNK + 1] = (*row[:-1], "b")
    assert encode(many) != encode(changed)
    with pytest.raises(NotPlain):
        encode([*many, object()])
