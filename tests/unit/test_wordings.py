"""Whose wording a judge asks in: `doctor` says it of every judge, and a report says what follows from it."""

from argparse import Namespace

import pytest
from every_judge import JUDGES, made

from h3eval import caveats, registry
from h3eval.commands import showing
from h3eval.judgeplan import JudgePlan
from h3eval.plan import Plan

STATES = {"official", "own", "yours", "no"}


def test_doctor_has_a_line_for_every_judge(capsys: pytest.CaptureFixture[str]) -> None:
    assert showing.doctor(Namespace(data=False)) == 0
    told = capsys.readouterr().out
    found = {words[1]: words[2] for line in told.splitlines() if (words := line.split())[:1] == ["judge"]}
    assert list(found) == registry.names("judges")
    assert set(found.values()) <= STATES
    assert "not comparable with published ones" in told
    for name, state in found.items():
        judge = registry.load("judges", name) if state != "no" else None
        assert judge is None or callable(judge) or judge.wording == state


@pytest.mark.parametrize(("name", "place"), JUDGES)
def test_a_report_says_of_every_judge_whether_its_numbers_compare(name: str, place: int) -> None:
    judge = made(name, place)
    plan = Plan((), "m", {}, {"role": JudgePlan("role", judge, name, "small:j", {"backend": "small"})})
    said = [line for line in caveats.warnings(plan, ()) if "not comparable with published ones" in line]
    assert len(said) == (judge.wording == "own")
    assert judge.wording in ("own", "official")
