"""Content addresses: every part of a question counts, its spelling does not, and they never drift."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from h3eval.store import call_key
from h3eval.types import Request

GOLDEN = Path(__file__).parents[1] / "golden" / "keys.json"
CASES = json.loads(GOLDEN.read_text(encoding="ascii"))
IDENTITY = {"backend": "transformers", "weights": "ab12", "dtype": "float32"}
PLAIN = Request("complete", "Why is the sky blue?")
OTHER: dict[str, Any] = {
    "kind": "classify",
    "prompt": "Why is the sky blue? ",
    "continuation": " Because",
    "max_tokens": 513,
    "temperature": 1e-9,
    "top_p": 0.99,
    "stop": ("\n",),
    "seed": 0,
    "top_logprobs": 1,
    "candidates": ("yes",),
    "repeat": 1,
    "options": {"max_length": 8},
}


def request_of(case: dict[str, Any]) -> Request:
    fixed = {name: tuple(value) if isinstance(value, list) else value for name, value in case.items()}
    return Request(**fixed)


def keys_of(cases: list[dict[str, Any]]) -> list[str]:
    return [call_key(case["stage"], case["identity"], request_of(case["request"])).hex() for case in cases]


def test_golden_keys() -> None:
    """A key that changes makes every stored run ask again: change the `/1` of the formula knowingly."""
    assert keys_of(CASES) == [case["key"] for case in CASES]
    assert len({case["key"] for case in CASES}) == len(CASES)


@pytest.mark.parametrize("seed", ["0", "4242"])
def test_golden_keys_whatever_the_hash_seed(seed: str) -> None:
    code = "import test_keys, json; print(json.dumps(test_keys.keys_of(test_keys.CASES)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [case["key"] for case in CASES]


def test_the_formula() -> None:
    """Written out once more, without the code under test."""
    asked = {
        "kind": "complete",
        "prompt": "Why is the sky blue?",
        "continuation": "",
        "max_tokens": 512,
        "temperature": 0.0,
        "top_p": 1.0,
        "stop": [],
        "seed": None,
        "top_logprobs": 0,
        "candidates": [],
        "repeat": 0,
        "options": {},
    }
    text = json.dumps({"identity": IDENTITY, "request": asked}, sort_keys=True, separators=(",", ":"))
    assert call_key("gen", IDENTITY, PLAIN) == hashlib.sha256(b"h3eval/gen/1\0" + text.encode()).digest()


@pytest.mark.parametrize("name", [field.name for field in fields(Request) if field.name != "nonce"])
def test_every_field_counts(name: str) -> None:
    assert call_key("gen", IDENTITY, replace(PLAIN, **{name: OTHER[name]})) != call_key("gen", IDENTITY, PLAIN)


def test_which_of_the_prompt_s_words_is_the_nonce_does_not_count() -> None:
    """It stands in the prompt already: keys are those of runs that knew no such field."""
    assert call_key("gen", IDENTITY, replace(PLAIN, nonce="sky")) == call_key("gen", IDENTITY, PLAIN)


@pytest.mark.parametrize("name", sorted(IDENTITY))
def test_every_part_of_the_identity_counts(name: str) -> None:
    assert call_key("gen", IDENTITY | {name: "other"}, PLAIN) != call_key("gen", IDENTITY, PLAIN)


def test_the_stage_counts() -> None:
    assert call_key("gen", IDENTITY, PLAIN) != call_key("judge", IDENTITY, PLAIN)
    with pytest.raises(ValueError, match="gen or judge"):
        call_key("other", IDENTITY, PLAIN)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Request("complete", ({"role": "user", "content": "a"},)), Request("complete", "a")),
        (Request("loglikelihood", "a", "b"), Request("loglikelihood", "ab", "")),
        (Request("complete", "a", stop=("b", "c")), Request("complete", "a", stop=("bc",))),
        (Request("complete", "\u00e9"), Request("complete", "e\u0301")),
        (Request("complete", "\ud83d\ude00"), Request("complete", "\U0001f600")),
        (Request("complete", "\ud800"), Request("complete", "\\ud800")),
    ],
)
def test_no_two_questions_share_a_key(one: Request, other: Request) -> None:
    assert call_key("gen", {}, one) != call_key("gen", {}, other)


def test_spelling_does_not_count() -> None:
    one = Request("complete", ({"role": "user", "content": "a"},), temperature=1, options={"a": 1, "b": 2})
    other = Request("complete", ({"content": "a", "role": "user"},), temperature=1.0, options={"b": 2, "a": 1})
    backwards = dict(reversed(IDENTITY.items()))
    assert call_key("gen", IDENTITY, one) == call_key("gen", backwards, other)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        call_key("gen", {}, replace(PLAIN, temperature=bad))
    with pytest.raises(ValueError, match="not JSON compliant"):
        call_key("gen", {"scale": bad}, PLAIN)
