"""What is written of a run is read again as it was, whatever it holds, or is refused before anything is paid for."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h3eval import journal, registry, written
from h3eval.errors import ConfigError, RunMismatch
from h3eval.judgeplan import JudgePlan, from_entry
from h3eval.plan import Plan, from_manifest
from h3eval.store import Reader, Store, call_key
from h3eval.text import canonical, digest
from h3eval.types import Request, Sample, Task

NUMBERS = (
    st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
TEXTS = st.text(st.characters(codec=None), max_size=8) | st.sampled_from(
    [
        "",
        "\x00",
        "\u00e9",
        "e\u0301",
        "\ud800",
        "\udc00\ud800",
        "\ud83d\ude00",
        "\U0001f600",
        "a\u2028b",
        "\r\n",
        "{nonce}",
    ]
)
JSON = st.recursive(
    st.none() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)
ODD_NUMBERS = [
    1,
    1.0,
    True,
    0,
    -0.0,
    0.0,
    False,
    2**53 + 1,
    float(2**53),
    10**300,
    1e300,
    5e-324,
    0.1 + 0.2,
    None,
    "",
    "1",
]


def exact(value: Any) -> Any:
    """The value with every type and every order told: 1 is not 1.0 and not True, and -0.0 is not 0.0."""
    if isinstance(value, dict):
        return ["dict", *((key, exact(each)) for key, each in value.items())]
    if isinstance(value, list | tuple):
        return ["list", *map(exact, value)]
    return type(value).__name__, repr(value)


def backwards(value: Any) -> Any:
    """The same value with every table in the opposite order."""
    if isinstance(value, dict):
        return {key: backwards(each) for key, each in reversed(list(value.items()))}
    return list(map(backwards, value)) if isinstance(value, list) else value


@settings(deadline=None, max_examples=150)
@given(JSON)
def test_any_value_comes_back_as_it_was(value: Any) -> None:
    again = journal.parsed(journal.ordered(value))
    assert exact(again) == exact(value)
    assert digest(canonical(again)) == digest(canonical(value)) == digest(canonical(backwards(value)))


@settings(deadline=None, max_examples=60)
@given(JSON, st.dictionaries(TEXTS, JSON, max_size=3))
def test_addresses_know_no_order_and_no_second_form(value: Any, options: dict[str, Any]) -> None:
    request = Request("complete", "x", options=options)
    other = replace(request, options=backwards(journal.parsed(journal.ordered(options))))
    identity = {"model": value}
    assert call_key("judge", identity, request) == call_key("judge", backwards(identity), other)


@pytest.mark.parametrize("one", ODD_NUMBERS)
def test_numbers_that_look_alike_are_not_the_same(one: Any) -> None:
    digests = [digest(canonical({"x": value})) for value in ODD_NUMBERS]
    assert len(set(digests)) == len(ODD_NUMBERS)
    assert exact(journal.parsed(journal.ordered(one))) == exact(one)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.tuples(TEXTS.filter(len), JSON), min_size=1, max_size=5))
def test_the_store_keeps_what_a_run_is(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("run")
    sample = Sample("s", "How?", reference=dict(pairs), metadata=dict(pairs))
    with Store.open(folder) as store:
        store.put_meta("manifest", dict(pairs))
        store.put_samples("t", 1, [sample])
        # The same samples in another order of keys are no other samples.
        assert store.put_samples("t", 1, [replace(sample, reference=backwards(dict(pairs)))]) == 1
    with Reader(folder) as reader:
        assert exact(reader.meta("manifest")) == exact(dict(pairs))
        (again,) = reader.samples("t", 1)
        assert exact(again.reference) == exact(again.metadata) == exact(dict(pairs))


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, {1: "x"}, {None: 1}, {"a": {True: 1}}, [{1.5: 1}], {"x": b"bytes"}, {"x": {1, 2}}, 10**5000],
    ids=range(9),
)
def test_what_would_not_come_back_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        journal.ordered(value)


def nested(depth: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"x": value} if kind is dict else [value]
    return value


@pytest.mark.parametrize("kind", [dict, list])
def test_depth_has_an_end_before_the_interpreters(kind: type) -> None:
    deep = nested(journal.DEEPEST, kind)
    assert journal.parsed(journal.ordered(deep)) == deep
    for depth in (journal.DEEPEST + 1, 900):
        with pytest.raises(ValueError, match="nested"):
            journal.ordered(nested(depth, kind))


LETTERS = st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="{}")
LABELS = st.lists(st.text(LETTERS, min_size=1, max_size=9), min_size=2, max_size=5, unique_by=str.lower)


def rubric_plan(parameters: dict[str, Any], *more: dict[str, Any]) -> Plan:
    """A plan of one task whose role these rubrics fill, each in a seat."""
    tables = [parameters, *more]
    judges = {}
    for number, table in enumerate(tables, 1):
        seat = f"beaver_dam#{number}" if more else "beaver_dam"
        judges[seat] = JudgePlan(seat, registry.judge("rubric", table), "rubric", "x:y", {"m": 1.0}, parameters=table)
    return Plan((registry.task("beavertails"),), "x:y", {"model": "y", "rate": 1}, judges, options={"limit": 3})


@settings(deadline=None, max_examples=15)
@given(LABELS, st.text(min_size=1).filter(str.strip), st.booleans(), st.data())
def test_any_rubric_is_read_back(labels: list[str], criteria: str, bare: bool, data: st.DataObject) -> None:
    """Labels in any order, in any script, with whole numbers or not."""
    scores = data.draw(st.lists(st.sampled_from([0, 1, 0.0, 1.0, 0.5]), min_size=len(labels), max_size=len(labels)))
    order = data.draw(st.permutations(["name", "criteria", "scale", "labels", "system", "needs_reference"]))
    table: dict[str, Any] = {
        "name": "r", "criteria": criteria, "scale": "graded", "labels": dict(zip(labels, scores, strict=True)),
        "system": "Be fair.", "needs_reference": bare,
    }  # fmt: skip
    plan = rubric_plan({key: table[key] for key in order})
    sample = Sample("s", ({"role": "user", "content": "How?"},), reference="So.")
    written.check(plan, {plan.tasks[0].id: sample})
    again = from_manifest(json.loads(json.dumps(plan.manifest())))
    ours, theirs = (each.judges["beaver_dam"].judge for each in (plan, again))
    assert (ours.template, ours.verdict) == (theirs.template, theirs.verdict)  # type: ignore[attr-defined]


def test_panels_of_rubrics_are_read_back() -> None:
    one = {"name": "a", "criteria": "x", "scale": "1 unsafe, 0 safe", "labels": {"unsafe": 1.0, "safe": 0.0}}
    other = {**one, "labels": {"safe": 0.0, "unsafe": 1.0}}
    plan = rubric_plan(one, other, {"name": "n", "criteria": "y", "scale": "p", "rating": {"max": 9, "min": 1}})
    written.check(plan, {plan.tasks[0].id: Sample("s", "How?")})
    entries = plan.manifest()["judges"].values()
    assert len({entry["template_sha256"] for entry in entries}) == 3


def test_a_stored_order_that_was_lost_is_found_again() -> None:
    table = {"name": "r", "criteria": "x", "scale": "graded", "labels": {"c": 1.0, "a": 0.0, "b": 0.5}}
    entry = rubric_plan(table).judges["beaver_dam"].entry()
    stored = json.loads(canonical(entry))
    assert list(stored["parameters"]["labels"]) == ["a", "b", "c"]
    found = from_entry("beaver_dam", stored)
    assert list(found.parameters["labels"]) == ["c", "a", "b"]
    stored["parameters"]["criteria"] = "y"
    with pytest.raises(RunMismatch, match="another wording than this h3eval makes of the same file"):
        from_entry("beaver_dam", stored)


@dataclass(frozen=True)
class Counting:
    """A judge that is another one each time it is made: its wording counts."""

    template: str
    name: str = "counting"
    version: int = 1
    calls: int = 1
    complete_reply: bool = True
    wording: str = "own"
    scale: str = "1 unsafe, 0 safe"

    def ask(self, sample: Any, generation: Any, replies: Any) -> Sequence[Request]:
        return (Request("complete", self.template),)

    def read(self, sample: Any, generation: Any, replies: Any) -> Any:
        raise AssertionError("nothing is read here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"x": {1: "one"}}}, r"can't be written down \(the key 1 is no text\): options"),
        ({"options": {"x": math.nan}}, "can't be written down .*: options"),
        ({"identity": {"x": {1, 2}}}, "can't be written down .*: model"),
        ({"options": {"x": nested(300, list)}}, "nested more than 200 deep"),
    ],
)
def test_a_plan_that_is_no_json_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    plan = rubric_plan({"name": "r", "criteria": "x", "scale": "g", "labels": {"b": 1.0, "a": 0.5}})
    with pytest.raises(ConfigError, match=message):
        written.check(replace(plan, **change))


def test_a_judge_that_is_another_one_when_it_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """For want of such a judge of ours, one that counts how often it was made."""
    count = iter(range(100))
    load = registry.load

    def loaded(kind: str, name: str) -> Any:
        return (lambda _: Counting(f"{next(count)}")) if name == "rubric" else load(kind, name)

    monkeypatch.setattr(registry, "load", loaded)
    plan = rubric_plan({"name": "r"})
    with pytest.raises(ConfigError, match="nothing was asked: judge counting was asked in another wording"):
        written.check(plan)


def test_a_task_whose_questions_change_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    count = iter(range(100))
    task = registry.task("xstest")
    odd: Task = replace(task, ask=lambda sample, replies: (Request("complete", f"{next(count)}"),), judges={})
    monkeypatch.setattr(registry, "task", lambda spec: odd)
    plan = Plan((odd,), "m", {}, {})
    with pytest.raises(ConfigError, match="first requests would differ"):
        written.check(plan, {odd.id: Sample("s", "x")})


def test_samples_that_are_no_json_are_refused_by_name(tmp_path: Path) -> None:
    with Store.open(tmp_path / "run") as store:
        for odd in ({1: "x"}, nested(300, dict), math.inf):
            with pytest.raises(ConfigError, match="sample 's' can't be stored as JSON"):
                store.put_samples("t", 1, [Sample("s", "x", reference=odd)])
