"""Answers are cleaned within limits of size and time; what exceeds them is a failure by name, never a verdict."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evalplus_runs import needs_sandbox, run, samples
from memory_journal import MemoryJournal

from h3eval import registry
from h3eval.config import ModelSpec
from h3eval.datasets import DataSource
from h3eval.errors import NoSandbox
from h3eval.sandbox import cleaning
from h3eval.sandbox.jobs import Limits
from h3eval.sandbox.runner import Jail
from h3eval.sandbox.tiers import NAMES
from h3eval.types import Call, Fault, Generation, Reply

PROSE = "the same words again and again (\n"
SOLVED = "def words_in(text):\n    return len(text.split())\n"


@pytest.fixture(scope="module", params=NAMES)
def jail(request: pytest.FixtureRequest) -> Iterator[Jail]:
    try:
        opened = Jail(cleaning.tier(request.param))
    except NoSandbox as error:
        pytest.skip(str(error))
    with opened:
        yield opened


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for."""
    monkeypatch.setattr(cleaning, "SECONDS", 0.3)
    monkeypatch.setattr(cleaning, "LIMITS", Limits(0.3, line=1 << 20, output=2 << 20))


def test_an_answer_that_is_all_code_takes_one_parse_however_long(jail: Jail) -> None:
    text = "".join(f"x{n} = {n}\n" for n in range(3000)) + "def f(x):\n    return x\n"
    assert cleaning.cleaned(jail, "Here is\n" + text, "f") == "def f(x):\n    return x"
    assert cleaning.cleaned(jail, "\n" * 20_000 + text, "f") == "def f(x):\n    return x"


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "text",
    [PROSE * 300, (PROSE + "\n") * 150, "x = (\n" * 400, "1. it\n\n" * 400, '"""\n' + "a b\n" * 400],
    ids=["prose", "blank lines", "open", "numbers", "string"],
)
def test_too_much_work_ends(jail: Jail, text: str) -> None:
    with pytest.raises(cleaning.Uncleaned, match=r"lines could not be cleaned.*processor time"):
        cleaning.cleaned(jail, text, "f")
    assert cleaning.cleaned(jail, SOLVED + "and so on\n", "words_in") == SOLVED.strip()


def test_too_long_an_answer_is_not_even_tried(jail: Jail) -> None:
    runs = jail.runs
    with pytest.raises(cleaning.Uncleaned, match="1,048,577 characters"):
        cleaning.cleaned(jail, "x" * (cleaning.MOST + 1), "f")
    assert jail.runs == runs
    assert cleaning.cleaned(jail, "x" * cleaning.MOST, "f") == "x" * cleaning.MOST


def test_nesting_does_not_take_the_sanitiser_down(jail: Jail) -> None:
    for text in (
        "(" * 100_000,
        "x = " + "-" * 100_000 + "1",
        "if x:\n" + " " * 100_000 + "y",
        "a." * 100_000,
        "[" * 99 + "]" * 99,
    ):
        try:
            cleaning.cleaned(jail, text, "f")
        except cleaning.Uncleaned as error:
            assert "signal" in str(error)  # noqa: PT017 (any other ending is a fault of ours)
    assert cleaning.cleaned(jail, SOLVED, "words_in") == SOLVED.strip()


def answered(text: str, form: str) -> Reply | Fault:
    """What the backend says of an answer to the demo's first problem."""
    sample = next(iter(registry.task("mbpp_plus").samples(DataSource(demo=True))))
    (request,) = registry.judge("evalplus").ask(sample, Generation("x", (Reply(text, extra={"form": form}),)), ())
    backend = importlib.import_module("h3eval.backends.sandbox").BACKEND(ModelSpec("sandbox", "auto", {"workers": "1"}))
    try:
        ((_, reply),) = backend.answer([Call("key", request)], MemoryJournal())
        return reply
    finally:
        backend.close()


@pytest.mark.usefixtures("hasty")
def test_what_can_not_be_cleaned_is_a_failure_and_no_verdict() -> None:
    needs_sandbox()
    for text, why in ((SOLVED + PROSE * 300, "processor time"), ("x" * (cleaning.MOST + 1), "characters")):
        found = answered(text, "answer")
        assert isinstance(found, Fault), found
        assert (found.reason, found.transient) == ("not cleaned", False)
        assert why in found.detail
    # EvalPlus's own files are not cleaned.
    found = answered(SOLVED + PROSE * 300, "solution")
    assert isinstance(found, Reply)
    assert json.loads(found.text)["base"]["reason"] == "SyntaxError"


def test_a_run_counts_it_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hasty: Any) -> None:
    needs_sandbox()
    demo = list(registry.task("mbpp_plus").samples(DataSource(demo=True)))
    rows = [{"task": "mbpp_plus", "id": each.id, "text": SOLVED} for each in demo]
    rows[1]["text"] = PROSE * 300
    assert run(tmp_path, "mbpp_plus", samples(tmp_path, rows), "--data", "demo") == 3
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    (plus,) = (each for each in results["estimates"] if each["metric"] == "plus_pass@1")
    assert (plus["n"], plus["n_failed"]) == (len(demo) - 1, 1)
    assert plus["bounds"][1] - plus["bounds"][0] == pytest.approx(1 / len(demo))
