"""HumanEval's and MBPP's own assertions, in a jail apart from the programs: the verdicts that are known."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from h3eval.sandbox import asserts
from h3eval.sandbox.asserts import Asserts
from h3eval.sandbox.evalplus import Status
from h3eval.sandbox.runner import Jail

Pair = tuple[Jail, Jail]
MATCHES = {"Mbpp/737", "Mbpp/787", "Mbpp/794"}
"""Their canonical solutions return a match of a regular expression, which is no plain data."""
OTHER_TESTS = {"HumanEval/95"}
"""EvalPlus's base inputs have the word "5" for a key where HumanEval's own test has the number 5, whose `islower` the
sample then asks for: its program passes the one and fails the other, as it does by hand."""


def rows(data: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(data / "evalplus" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def humaneval(jails: Pair, row: Mapping[str, str], completion: str) -> Status:
    # Three tests call a helper of the prompt's.
    tests = Asserts(row["entry_point"], row["prompt"] + row["test"])
    return asserts.check(*jails, tests, row["prompt"] + completion)


def test_every_canonical_solution_of_humaneval_passes(shared_data: Path, jails: Pair) -> None:
    found = {
        row["task_id"]: humaneval(jails, row, row["canonical_solution"]) for row in rows(shared_data, "HumanEvalPlus")
    }
    assert len(found) == 164
    assert {name: each.reason for name, each in found.items() if each.status != "pass"} == {}


def test_no_empty_function_passes(shared_data: Path, jails: Pair) -> None:
    some = rows(shared_data, "HumanEvalPlus")[::4]
    assert {humaneval(jails, row, "    return None\n").status for row in some} == {"fail"}


@pytest.mark.slow
def test_every_canonical_solution_of_mbpp_passes(shared_data: Path, jails: Pair) -> None:
    found = {}
    for row in rows(shared_data, "MbppPlus"):
        # The tests use these without importing them, as the solutions do.
        tests = Asserts(row["entry_point"], "import math, sys\n" + row["assertion"])
        found[row["task_id"]] = asserts.check(*jails, tests, row["canonical_solution"])
    assert len(found) == 378
    assert {name for name, each in found.items() if each.status != "pass"} == MATCHES
    assert all(found[name].reason.startswith("NotPlain of the program") for name in MATCHES)


@pytest.mark.slow
def test_real_samples_get_the_verdicts_that_evalplus_gave(shared_data: Path, jails: Pair) -> None:
    folder = shared_data / "evalplus"
    golden = json.loads((folder / "golden" / "code-millenials-13b-humaneval.golden.json").read_text())
    wanted = {row["task_id"]: row["base_status"] == "pass" for row in golden["rows"]}
    lines = (folder / "samples" / "code-millenials-13b-humaneval.jsonl").read_text().splitlines()
    completions = {row["task_id"]: row["completion"] for row in map(json.loads, lines)}
    found = {
        row["task_id"]: humaneval(jails, row, completions[row["task_id"]]).status == "pass"
        for row in rows(shared_data, "HumanEvalPlus")
    }
    assert len(set(wanted.values())) == 2
    assert {name for name in wanted if found[name] != wanted[name]} == OTHER_TESTS
