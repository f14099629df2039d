"""FastChat's reading of MT-Bench's replies stands beside ours where the two differ, and is counted."""

from pathlib import Path
from typing import Any

import pytest
from fastchat_templates import install, judges

from h3eval.errors import Unreadable
from h3eval.otherwise import Otherwise, sentence
from h3eval.types import Failure, Generation, Item, Reading, Reply, Sample, Verdict

SAMPLE = Sample("1-1", metadata={"questions": ["q?"], "question": "q?", "turn": 1, "baseline": ["b."]})
ANSWER = Generation("1-1", (Reply("a."),))


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    install(tmp_path, monkeypatch)
    return judges()


@pytest.mark.parametrize(
    ("text", "ours", "theirs"),
    [
        ("Good. Rating: [[7]]", 7.0, "same"),
        ("Rating: [7]", 7.0, "same"),
        ('It says "[[10]]".\nRating: [[2]]', 2.0, 10.0),
        ("> [[10]]\n\nRating: [[2]]", 2.0, 10.0),
        ("[[10]] at first, then [[2]]", None, 10.0),
        ("[[11]]", None, 11.0),
        ("x[3] is right", None, 3.0),
        ("no rating", None, "same"),
    ],
)
def test_ratings(official: tuple[Any, Any], text: str, ours: float | None, theirs: Any) -> None:
    try:
        found = official[0].read(SAMPLE, ANSWER, (Reply(text),))
        score, details = found.score, found.details
    except Unreadable as error:
        score, details = None, error.details
    assert score == ours
    assert details == ({} if theirs == "same" else {"published": theirs})


@pytest.mark.parametrize(
    ("one", "other", "ours", "theirs"),
    [
        ("[[A]]", "[[B]]", 1.0, "same"),
        ('"[[A]]" is what it asks for.\n[[B]]', "[[A]]", 0.0, 0.5),
        ("[[B]], not [[A]]", "[[A]]", 0.0, 0.5),
        ("[[A]] or [[B]]", "[[B]]", None, 1.0),
        ("none", "[[B]]", None, "same"),
    ],
)
def test_pairs(official: tuple[Any, Any], one: str, other: str, ours: float | None, theirs: Any) -> None:
    try:
        found = official[1].read(SAMPLE, ANSWER, (Reply(one), Reply(other)))
        score, details = found.score, found.details
    except Unreadable as error:
        score, details = None, error.details
    assert score == ours
    assert details.get("published", "same") == theirs


def item(reading: Reading | None, **details: Any) -> Item:
    found = Verdict("s", "j", reading) if reading else Failure("s", "judge", "unreadable", details=details)
    return Item(SAMPLE, ANSWER, {"mt_bench": found, "rule": Verdict("s", "rule", Reading("x", 1.0))})


def test_it_is_counted_and_said() -> None:
    counts = Otherwise()
    for each in (
        item(Reading("2", 2.0, details={"published": 10.0})), item(None, published=6.0), item(None),
        item(Reading("4", 4.0)), item(Reading("5", 5.0, details={"published": None})),
    ):  # fmt: skip
        counts.add(each)
    (role, block), = counts.blocks().items()  # fmt: skip
    assert role == "mt_bench"
    assert block == {
        "differing": 3, "unread": 1, "n": 3, "mean": pytest.approx(11 / 3), "published_n": 3,
        "published_mean": pytest.approx(20 / 3),
    }  # fmt: skip
    said = sentence("mt_bench", role, block)
    assert said.startswith("mt_bench: 3 replies of mt_bench are read otherwise")
    assert "a mean of 3.667 (n = 3) and the tool's 6.667 (n = 3)" in said
    assert "1 of them not read here" in said


def test_where_nothing_differs_nothing_is_said() -> None:
    counts = Otherwise()
    counts.add(item(Reading("4", 4.0)))
    assert counts.blocks() == {}
