"""EvalPlus's comparison rules, against EvalPlus's own checker on the same outputs, and on what it must refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from evalplus.data.mbpp import mbpp_deserialize_inputs
from evalplus.eval import untrusted_check
from evalplus_runs import needs_sandbox

from h3eval.sandbox import choice, evalplus
from h3eval.sandbox.evalplus import Comparison, Expected, Problem, _status
from h3eval.sandbox.jobs import Limits, Outcome
from h3eval.sandbox.runner import Jail
from h3eval.sandbox.wire import decode, encode


def verdicts(name: str, dataset: str, wanted: list[Any], given: list[Any], inputs: list[Any], atol: float = 0) -> bool:
    problem = Problem(dataset, "Mbpp/99999", name, "", "", atol, [[each] for each in inputs], [])
    expected = Expected(tuple(encode(each).encode() for each in wanted), tuple(0.0 for _ in wanted))
    comparison = Comparison(problem, "base", expected)
    return all(comparison.right(n, encode(each).encode()) for n, each in enumerate(given))


def theirs(name: str, dataset: str, wanted: list[Any], given: list[Any], inputs: list[Any], atol: float = 0) -> bool:
    code = f"given = iter({given!r})\nnan, inf = float('nan'), float('inf')\ndef {name}(x): return next(given)"
    code = f"nan, inf = float('nan'), float('inf')\n{code}"
    status, _ = untrusted_check(
        dataset, code, [[each] for each in inputs], name, wanted, atol, [1.0] * len(inputs), fast_check=True
    )
    return bool(status == "pass")


NAN, INF = float("nan"), float("inf")
CASES: list[tuple[str, str, list[Any], list[Any], float]] = [
    ("f", "humaneval", [1], [True], 0),
    ("f", "humaneval", [1], [1.0], 0),
    ("f", "humaneval", [(1, 2)], [[1, 2]], 0),
    ("f", "humaneval", [[1, 2]], [[2, 1]], 0),
    ("f", "humaneval", [{1: 2, 3: 4}], [{3: 4, 1: 2}], 0),
    ("f", "humaneval", [{1, 2}], [{2, 1}], 0),
    ("f", "humaneval", ["a"], ["b"], 0),
    ("f", "humaneval", [0.3], [0.1 + 0.2], 0),
    ("f", "humaneval", [0.3], [0.3001], 0),
    ("f", "humaneval", [[0.3, 1.0]], [[0.1 + 0.2, 1.0]], 0),
    ("f", "humaneval", [[0.3, 1]], [[0.1 + 0.2, 1]], 0),
    ("f", "humaneval", [1.0], [1 + 1e-9], 0),
    ("f", "humaneval", [2.0], [2], 0),
    ("f", "humaneval", [2.0000001], [2], 0),
    # Once a number has been expected, the tolerance stays for outputs that are none.
    ("f", "humaneval", [1.5, [1, 2]], [1.5, [1, 2.0000001]], 0),
    ("f", "humaneval", [[1, 2]], [[1, 2.0000001]], 0),
    ("f", "humaneval", [[1.0, 2.0]], [[1.0]], 1e-6),
    ("f", "humaneval", [NAN], [NAN], 0),
    ("f", "humaneval", [INF], [INF], 0),
    ("f", "humaneval", [INF], [-INF], 1e-4),
    ("f", "humaneval", [[1.0, NAN]], [[1.0, NAN]], 0),
    ("f", "humaneval", [None], [None], 0),
    ("f", "humaneval", [None], [0], 0),
    ("similar_elements", "mbpp", [(1, 2)], [[2, 1]], 0),
    ("similar_elements", "mbpp", [(1, 2)], [[2, 3]], 0),
    ("similar_elements", "mbpp", [(1, 2)], [5], 0),
    ("are_equivalent", "mbpp", [True], [False], 0),
    ("sum_div", "mbpp", [7], [0], 0),
    ("sum_div", "mbpp", [7], [1], 0),
    ("f", "mbpp", [{1.5: 2}], [{1.5: 2.0}], 1e-6),
]


@pytest.mark.parametrize(("name", "dataset", "wanted", "given", "atol"), CASES, ids=map(str, range(len(CASES))))
def test_the_same_outputs_pass(name: str, dataset: str, wanted: list[Any], given: list[Any], atol: float) -> None:
    inputs = list(range(len(wanted)))
    assert verdicts(name, dataset, wanted, given, inputs, atol) == theirs(name, dataset, wanted, given, inputs, atol)


def test_a_root_is_checked_by_its_polynomial() -> None:
    """HumanEval/32, which EvalPlus 0.3.1 itself can never pass."""
    for root, right in ((2.0, True), (2.00001, True), (2.1, False), ("2", False), (None, False), (10**400, False)):
        assert verdicts("find_zero", "humaneval", [2.0], [root], [[-2, 1]], 1e-4) is right


@pytest.mark.parametrize(
    "text", [b"", b"[", b"#list 3 abc", b'{"t":[]}', b'{"f":"x"}', b"9" * 5000, b"[" * 10**6, b"x" * 10**8]
)
def test_whatever_is_sent_is_at_most_wrong(text: bytes) -> None:
    for name, dataset in (("f", "humaneval"), ("find_zero", "humaneval"), ("similar_elements", "mbpp")):
        problem = Problem(dataset, "Mbpp/99999", name, "", "", 1e-6, [[[1.0, 2.0]]], [])
        assert not Comparison(problem, "base", Expected((b"[1.0,2.0]",), (0.0,))).right(0, text)


MANY = 40_000
NUMBERS = Problem("humaneval", "HumanEval/9999", "f", "", f"def f(x): return [x] * {MANY}", 0, [[1], [2.5]], [[3]])


@pytest.mark.parametrize(
    ("code", "passed"),
    [
        (f"def f(x): return [x] * {MANY}", 2),
        # Equal, and written differently: only the whole output tells.
        (f"def f(x): return [x + 0.0] * {MANY}", 2),
        (f"def f(x): return [x] * {MANY - 1} + [x + 1e-9]", 0),
        (f"def f(x): return [x] * {MANY - 1} + [x + 1e-9 * (x > 2)]", 2),
        (f"def f(x): return [x] * {MANY - 1} + [x + (x > 2)]", 1),
        ("def f(x): return 'x' * 100_000", 0),
    ],
)
def test_long_outputs_are_kept_as_digests_and_compared_as_if_they_were_not(
    code: str, passed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_sandbox()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Jail(choice.choose().tier) as jail:
        evalplus.expected(jail, NUMBERS)
        kept = evalplus.expected(jail, NUMBERS)["base"]
        status = evalplus.check(jail, NUMBERS, "base", kept, code)
    assert sum(map(len, kept.outputs)) < 200
    assert sum(each.stat().st_size for each in tmp_path.rglob("*.z")) < 2000
    assert (status.status == "pass", status.passed) == (passed == 2, passed)


def test_a_digest_is_no_output() -> None:
    text = encode([1] * MANY).encode()
    comparison = Comparison(NUMBERS, "base", Expected((evalplus._short(text),), (0.0,)))
    assert comparison.right(0, text)
    assert not comparison.right(0, evalplus._short(text))


def test_inputs_get_the_tuples_that_json_has_not() -> None:
    """By EvalPlus's own function, as its module has it."""
    for task, given in (("Mbpp/2", [[[1, 2], [3]]]), ("Mbpp/124", [["1.5", "2j"]]), ("Mbpp/3", [[7]])):
        problem = Problem("mbpp", task, "f", "", "", 0, given, [])
        assert [decode(line) for line in problem.lines["base"]] == mbpp_deserialize_inputs(task, given)


def test_time_and_memory_are_looked_at_again() -> None:
    limits = Limits(seconds=10)
    late = _status(Outcome("timeout", 3, "of processor time", 4.1), 9, [], limits)
    assert (late.status, late.passed, late.doubtful) == ("fail", 3, True)
    assert _status(Outcome("timeout", 3, "of processor time", 10.1), 9, [], limits).status == "timeout"
    assert _status(Outcome("timeout", 3, "signal 9", 4.1), 9, [], limits).doubtful
    assert _status(Outcome("stopped", 3), 9, ["MemoryError"], limits).doubtful
    wrong = _status(Outcome("stopped", 3), 9, [], limits)
    assert (wrong.passed, wrong.reason, wrong.doubtful) == (2, "wrong output", False)
    assert json.dumps(wrong.plain())
