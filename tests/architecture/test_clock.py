"""No test depends on how fast the machine is: hypothesis has no deadline, and a process is waited for patiently."""

import ast
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = sorted(Path(__file__).parents[1].rglob("*.py"))
PATIENT_S = 300
"""What a process may take on a machine that does ten other things."""
WAITS = {"run", "communicate", "check_output", "check_call"}


def calls(file: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


def keyword(call: ast.Call, name: str) -> object:
    """A keyword's constant; an empty tuple where it is not given, or no constant."""
    found = [each.value for each in call.keywords if each.arg == name]
    return found[0].value if found and isinstance(found[0], ast.Constant) else ()


def named(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def test_hypothesis_has_no_deadline() -> None:
    assert settings().deadline is None
    assert settings(max_examples=3).deadline is None


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_no_test_brings_the_clock_back(file: Path) -> None:
    for call in calls(file):
        if named(call) in ("settings", "register_profile"):
            assert keyword(call, "deadline") in ((), None), f"{file.name}:{call.lineno}: a deadline by the clock"
        limit = keyword(call, "timeout")
        if named(call) in WAITS and isinstance(limit, int | float):
            assert limit >= PATIENT_S, f"{file.name}:{call.lineno}: waits {limit} s only: {PATIENT_S} or more"
