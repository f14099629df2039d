"""Answers cleaned in the jail, and by EvalPlus's own sanitiser in this process: the same programs."""

import importlib
import sys
from collections.abc import Iterator

import pytest
from evalplus_runs import needs_sandbox
from hypothesis import example, given, settings
from hypothesis import strategies as st

from h3eval.sandbox import cleaner, cleaning
from h3eval.sandbox.runner import Jail

evalplus = importlib.import_module("evalplus.sanitize")
LINES = (
    "def f(x):", "    return x", "    return g(x)", "def g(x):", "", "  ", "import os", "from a import b", "x = 1", "(",
    ")",
    '"""', "Here is", "```python", "```", "class A:", "    pass", "if x:", "else:", "\\", "x = [1,", "2]",
    "\x00", "\ud800",
    "\u00a0", "\tx = 1", "async def f(): return 1", "# f", "y: int = 2", "a, b = 1, 2", "\x0c", "1 +", "''' '''",
)  # fmt: skip
ANSWERS = (
    "", "\n", "\n\n\n", "f", "def f(x):\n    return x", "def f(x): return x",
    "Sure!\n\n```python\nimport math\n\ndef g(x):\n    return x\n\ndef f(x):\n    return g(x) + math.pi\n```\nIt adds.",
    "def f(x):\n    return x\ndef f(x):\n    return 2", "def f(x):\n    print(x)", "f = lambda x: x\nz = f(1)",
    "class A:\n    pass\n\ndef f(x):\n    return A()\n\nprint(f(1))",
    "from typing import *\ndef f(x):\n  return 'é\u4e2d\U0001f600'",
    "def f(x):\r\n    return x\r\nprint(1)\r\n", "x = 1\n" * 40 + "def f(x):\n    return x", 
    "\ud800\ndef f(x):\n    return x",
    "def f(x):\n    return '\x00'", "a\x0cb\ndef f(x):\n    return x", "x = " + "(" * 150 + ")" * 150 + "\ny = 1",
    "def f(x):\n    return x\n" + "and so on (\n" * 12 + "def g(x):\n    return f(x)",
)  # fmt: skip


def theirs(text: str, entry_point: str) -> str:
    try:
        return str(evalplus.sanitize(text, entry_point))
    except (MemoryError, RecursionError, SyntaxError, UnicodeError, ValueError):
        return text


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    needs_sandbox()
    for name in cleaning.NAMES:
        try:
            opened = Jail(cleaning.tier(name))
        except cleaning.NoSandbox:
            continue
        with opened:
            yield opened
        return


@pytest.mark.parametrize("text", ANSWERS, ids=range(len(ANSWERS)))
def test_answers_become_the_same_programs(jail: Jail, text: str) -> None:
    assert cleaning.cleaned(jail, text, "f") == theirs(text, "f")


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.sampled_from(LINES), max_size=9))
@example(["(", ")", "def f(x):", "    return x"])
def test_any_lines_become_the_same_programs(jail: Jail, lines: list[str]) -> None:
    text = "\n".join(lines)
    assert cleaning.cleaned(jail, text, "f") == theirs(text, "f")


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.lists(st.sampled_from(LINES), max_size=14))
def test_the_longest_run_is_the_one_that_evalplus_finds(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        wanted = evalplus.code_extract(text)
    except ValueError:
        return  # a NUL: EvalPlus stops, and the answer stays as it is
    assert cleaner.longest(text, evalplus.syntax_check) == wanted


def test_reference_solutions_amid_prose(jail: Jail, shared_data: object) -> None:
    """HumanEval's own, as a model that chats would say them."""
    tasks = importlib.import_module("h3eval.tasks._evalplus")
    rows = tasks.read(shared_data / "evalplus" / "HumanEvalPlus.jsonl.gz")[::24]  # type: ignore[operator]
    for row in rows:
        text = f"Certainly.\n```python\n{row['prompt']}{row['canonical_solution']}```\nThis (as asked) works."
        found = cleaning.cleaned(jail, text, row["entry_point"])
        assert found == theirs(text, row["entry_point"])
        assert f"def {row['entry_point']}(" in found


def test_what_evalplus_is_loaded_without_is_so_in_the_jail_alone() -> None:
    assert callable(sys.modules["tqdm"].tqdm)
    assert evalplus.code_extract.__module__ == "evalplus.sanitize"
