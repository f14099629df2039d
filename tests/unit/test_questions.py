"""An item is its question: what tells two apart, and what does not."""

from dataclasses import replace
from typing import Any

import pytest

from h3eval.itemscores import _alike
from h3eval.questions import Names, identity
from h3eval.types import Sample

ASKED = Sample("s1", ({"role": "user", "content": "How?"},), ("yes", "no"), {"gold": 1}, {"category": "a"})
SAME: list[dict[str, Any]] = [{"id": "other"}, {"metadata": {"category": "b", "max_tokens": 5}}]
OTHER: list[dict[str, Any]] = [
    {"prompt": ({"role": "user", "content": "How? "},)},
    {"prompt": ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "How?"})},
    {"prompt": "How?"},
    {"choices": ("no", "yes")},
    {"choices": ()},
    {"reference": {"gold": 2}},
    {"metadata": {"questions": ["How?", "Why?"]}},
    {"metadata": {"requests": [["How?", " yes"]]}},
]


@pytest.mark.parametrize("change", SAME)
def test_names_and_facts_make_no_other_question(change: dict[str, Any]) -> None:
    assert identity(replace(ASKED, **change)) == identity(ASKED)


@pytest.mark.parametrize("change", OTHER)
def test_what_was_asked_makes_another(change: dict[str, Any]) -> None:
    assert identity(replace(ASKED, **change)) != identity(ASKED)


def test_a_question_that_comes_again_is_an_item_of_its_own() -> None:
    names = Names()
    first, second, other = (names.name(each) for each in (ASKED, replace(ASKED, id="s2"), replace(ASKED, choices=())))
    assert second == f"{first}#2"
    assert len({first, second, other}) == 3


def test_runs_that_share_no_items_are_ranked_by_nobody() -> None:
    assert _alike({"a": ["1", "2"], "b": ["3", "4"]})[1] == []


def test_most_runs_say_what_the_items_are() -> None:
    """The largest set is not the usual one where it is one run's alone."""
    usual, kept = _alike({"a": ["1", "2"], "b": ["1", "2"], "c": ["3", "4", "5"], "d": ["2", "1"]})
    assert (list(usual), kept) == (["1", "2"], ["a", "b", "d"])
