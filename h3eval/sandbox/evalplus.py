"""EvalPlus's rules, with the comparison outside of the jail: which inputs, how long, what counts as equal.

As in EvalPlus's source (26d6d00b, 2025-10): the candidate's output must equal the canonical solution's, or be near
it where that is a number; some tasks have an oracle of their own. Three things are different, and none lets a wrong
answer pass. Outputs of a class of the program's own are not compared, but fail. Time is the processor's. The
oracles see the inputs as they were, not as the program has left them.
"""

import ast
import importlib
import importlib.util
import json
import math
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from evalplus.eval import is_floats
from evalplus.eval._special_oracle import (
    MBPP_OUTPUT_NOT_NONE_TASKS,
    MBPP_OUTPUT_SET_EQ_TASKS,
    _digit_distance_nums,
    _poly,
    _surface_Area,
)
from platformdirs import user_cache_path

from h3eval.errors import H3evalError
from h3eval.sandbox.cleaning import sanitized as sanitized  # its rules for answers, beside those for outputs
from h3eval.sandbox.jobs import Job, Limits, Outcome
from h3eval.sandbox.runner import Jail
from h3eval.sandbox.wire import decode, encode, spread
from h3eval.text import canonical, digest
from h3eval.types import Json

VERSION = 2
"""Of the rules: part of every verdict's address, and of the expected outputs'."""
LEAST_S = 4.0
SLOWER = 4.0
"""An input may take four seconds, or four times as long as the canonical solution took."""
HURRIED_S = 0.5
"""Instead of four seconds, where a program that takes longer is run again anyway: one that never ends costs no more."""
MOST_S = 60.0
TOLERANCE = 1e-6
RELATIVE = 1e-7
ROOM, LEAST_ROOM = 4, 1 << 20
"""A candidate's output may be four times as long as the one that is wanted, and a megabyte."""
CANONICAL = Limits(seconds=600.0)
LONG = 1 << 16
"""Bytes of an expected output from which its digest is kept instead: two problems have a hundred megabytes each."""

Suite = Literal["base", "plus"]
SUITES: tuple[Suite, ...] = ("base", "plus")


class Unsolved(H3evalError):
    """The canonical solution itself has no outputs here: nothing can be compared with them."""


class _Unsure(Exception):
    """Only the whole of a long output could say whether another is equal to it."""


@dataclass(frozen=True)
class Problem:
    """One task of HumanEval+ (`humaneval`) or MBPP+ (`mbpp`), as its data set has it."""

    dataset: str
    task_id: str
    entry_point: str
    prompt: str
    canonical_solution: str
    atol: float
    base_input: Sequence[Any]
    plus_input: Sequence[Any]

    @cached_property
    def lines(self) -> dict[Suite, list[bytes]]:
        """The inputs, encoded, one call's arguments a line."""
        found: dict[Suite, list[bytes]] = {}
        for suite, inputs in (("base", self.base_input), ("plus", self.plus_input)):
            made = _as_called(self.task_id, inputs) if self.dataset == "mbpp" else inputs
            found[suite] = [encode(each).encode() for each in made]  # type: ignore[index]
        return found

    @property
    def present(self) -> bool:
        """Does only the presence of an output count?"""
        return self.dataset == "mbpp" and self.entry_point in MBPP_OUTPUT_NOT_NONE_TASKS

    def job(self, suite: Suite, code: str, allowed: Sequence[float], limits: Limits) -> Job:
        """The program with the inputs of one suite."""
        sent = b"".join(line + b"\n" for line in self.lines[suite])
        return Job(code, self.entry_point, sent, allowed, self.present, limits)


def _as_called(task_id: str, inputs: Sequence[Any]) -> Sequence[Any]:
    """MBPP+'s inputs with the tuples, sets and complex numbers that JSON has not."""
    return _deserializer()(task_id, inputs)


@cache
def _deserializer() -> Callable[[str, Sequence[Any]], Sequence[Any]]:
    """EvalPlus's own function, from its source: its module brings the hub's whole library, which takes two seconds.

    Raise Unsolved where the source no longer has it.
    """
    spec = importlib.util.find_spec("evalplus")
    source = Path(str(spec and spec.origin)).parent / "data" / "mbpp.py"
    name, scope = "mbpp_deserialize_inputs", dict[str, Any]()
    whole = ast.parse(source.read_text(encoding="utf-8"))
    whole.body = [each for each in whole.body if isinstance(each, ast.FunctionDef) and each.name == name]
    exec(compile(whole, str(source), "exec"), scope)
    if name not in scope:
        raise Unsolved(f"evalplus: data/mbpp.py has no {name} any more: install evalplus 0.3.1")
    found: Callable[[str, Sequence[Any]], Sequence[Any]] = scope[name]
    return found


@dataclass(frozen=True)
class Expected:
    """The canonical solution's outputs to one suite, encoded, long ones as `_short` has them, and the processor
    seconds each took."""

    outputs: tuple[bytes, ...]
    seconds: tuple[float, ...]

    def allowed(self, hurried: bool) -> list[float]:
        """Seconds a candidate may take for each input."""
        return [max(HURRIED_S if hurried else LEAST_S, SLOWER * each) for each in self.seconds]

    @property
    def limits(self) -> Limits:
        """What it may use in all."""
        sizes = [_room(each) for each in self.outputs]
        seconds = min(MOST_S, math.fsum(self.allowed(hurried=False))) + 1
        return Limits(seconds, line=max(sizes, default=LEAST_ROOM), output=sum(sizes) + LEAST_ROOM)


@dataclass(frozen=True)
class Status:
    """How a program did on one suite. `passed` inputs were right before the first that was not."""

    status: Literal["pass", "fail", "timeout"]
    passed: int
    total: int
    reason: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0

    @property
    def doubtful(self) -> bool:
        """Could a busy machine have been the cause?"""
        return self.reason.startswith(("timeout", "MemoryError"))

    def plain(self) -> dict[str, Json]:
        """For the store."""
        return {
            "status": self.status, "passed": self.passed, "total": self.total, "reason": self.reason,
            "cpu_s": round(self.cpu_s, 3), "wall_s": round(self.wall_s, 3),
        }  # fmt: skip


class Comparison:
    """Compares one suite's outputs, in order: EvalPlus's tolerance, once set by a number, stays for later inputs."""

    def __init__(self, problem: Problem, suite: Suite, expected: Expected) -> None:
        self.problem, self.suite, self.expected = problem, suite, expected
        self.atol = problem.atol
        self.seen = 0
        self.special = _is_special(problem)
        self.unsure = False
        """Was an output called wrong for want of the whole one that was wanted?"""

    def right(self, index: int, text: bytes) -> bool:
        """Is this the output wanted? Raise nothing, whatever the text holds."""
        wanted = self.expected.outputs[index]
        # NaN equals nothing, itself included: equal texts prove nothing where one may be among them.
        same = text == wanted or _short(text) == wanted
        # Nor may a program send what is kept for an output: no encoded value begins so.
        if same and not self.special and b'"f"' not in text and not text.startswith(b"="):
            return True
        if len(text) > _room(wanted):
            return False
        try:
            return self._compared(index, decode(text), wanted)
        except _Unsure:
            self.unsure = True
            return False
        except (
            ArithmeticError,
            AssertionError,
            AttributeError,
            LookupError,
            MemoryError,
            RecursionError,
            TypeError,
            ValueError,
        ):
            return False

    def _compared(self, index: int, out: Any, wanted: bytes) -> bool:
        given = decode(self.problem.lines[self.suite][index])
        if self.problem.dataset == "humaneval" and self.problem.entry_point == "find_zero":
            return bool(abs(_poly(*given, out)) <= self.atol)
        exact = self._exact(out, _whole(wanted), given)
        self._tolerance(index)
        return bool(exact) or (self.atol != 0 and _near(out, _whole(wanted), self.atol))

    def _exact(self, out: Any, wanted: Any, given: Any) -> bool:
        equal, name = out == wanted, self.problem.entry_point
        if not self.special:
            return bool(equal)
        if name in MBPP_OUTPUT_SET_EQ_TASKS:
            return set(spread(out)) == set(wanted)
        if name == "are_equivalent":
            return True
        if name == "sum_div":
            return bool(equal or out == 0)
        if name == "surface_Area":
            return bool(equal or abs(out - _surface_Area(*given)) <= self.atol)
        return bool(equal or out == _digit_distance_nums(*given))

    def _tolerance(self, index: int) -> None:
        while self.atol == 0 and self.seen <= index:
            wanted = self.expected.outputs[self.seen]
            if not wanted.startswith(b"#") and is_floats(_whole(wanted)):
                self.atol = TOLERANCE
            self.seen += 1


def _short(text: bytes) -> bytes:
    """What is kept of an output: itself, or, of a long one, `=`, its length and its digest."""
    return text if len(text) <= LONG else b"=%d %b" % (len(text), digest(text).encode())


def _whole(kept: bytes) -> Any:
    """The output's value. Raise _Unsure where only its digest is kept."""
    if kept.startswith(b"="):
        raise _Unsure
    return decode(kept)


def _room(wanted: bytes) -> int:
    """Bytes that a candidate may answer with: no more is ever read, or decoded, than is in proportion."""
    length = int(wanted[1:].split()[0]) if wanted.startswith(b"=") else len(wanted)
    return ROOM * length + LEAST_ROOM


def _is_special(problem: Problem) -> bool:
    name = problem.entry_point
    if problem.dataset == "humaneval":
        return name == "find_zero"
    return name in MBPP_OUTPUT_SET_EQ_TASKS or name in (
        "are_equivalent", "sum_div", "surface_Area", "digit_distance_nums",
    )  # fmt: skip


def _near(out: Any, wanted: Any, atol: float) -> bool:
    if type(out) is not type(wanted) or (isinstance(wanted, list | tuple) and len(out) != len(wanted)):
        return False
    return bool(np.allclose(out, wanted, rtol=RELATIVE, atol=atol))


def check(jail: Jail, problem: Problem, suite: Suite, expected: Expected, code: str, hurried: bool = False) -> Status:
    """Run a program on one suite, up to its first wrong output."""
    comparison = Comparison(problem, suite, expected)
    status = _checked(jail, comparison, code, hurried)
    if comparison.unsure:
        whole = replace(expected, outputs=_computed(jail, problem, suite).outputs)
        status = _checked(jail, Comparison(problem, suite, whole), code, hurried)
    return status


def _checked(jail: Jail, comparison: Comparison, code: str, hurried: bool) -> Status:
    problem, expected = comparison.problem, comparison.expected
    errors: list[str] = []

    def hear(index: int, text: bytes, used: float) -> bool:
        if text.startswith(b"!"):
            errors.append(text[1:80].decode("ascii", "replace"))
            return False
        return comparison.right(index, text)

    job = problem.job(comparison.suite, code, expected.allowed(hurried), expected.limits)
    outcome = jail.run(job, hear)
    return _status(outcome, len(expected.outputs), errors, expected.limits)


def _status(outcome: Outcome, total: int, errors: Sequence[str], limits: Limits) -> Status:
    made = partial(Status, total=total, cpu_s=outcome.cpu_s, wall_s=outcome.wall_s)
    passed = min(outcome.heard, total)
    if outcome.end == "done":
        return made("pass", total)
    if outcome.end == "stopped":
        why = errors[0] if errors else outcome.detail or "wrong output"
        return made("fail", max(passed - 1, 0), reason=why)
    why = f"{outcome.end}: {outcome.detail}".strip(": ")
    # EvalPlus calls an input that takes too long a failure, and only a whole suite that does a time-out.
    late = outcome.end == "timeout" and (outcome.whole or outcome.cpu_s >= limits.seconds)
    return made("timeout" if late else "fail", passed, reason=why)


def expected(jail: Jail, problem: Problem) -> dict[Suite, Expected]:
    """The canonical solution's outputs: from the user's cache, else computed in the jail and kept there."""
    file = _cached(problem)
    try:
        return _read(file)
    except (OSError, ValueError, zlib.error):
        found = {suite: _shortened(_computed(jail, problem, suite)) for suite in SUITES}
    _write(file, found)
    return found


def _shortened(whole: Expected) -> Expected:
    return replace(whole, outputs=tuple(map(_short, whole.outputs)))


def _computed(jail: Jail, problem: Problem, suite: Suite) -> Expected:
    """The canonical solution's outputs, whole."""
    outputs: list[bytes] = []
    clock = [0.0]

    def hear(index: int, text: bytes, used: float) -> bool:
        outputs.append(text)
        clock.append(used)
        return not text.startswith(b"!")

    count = len(problem.lines[suite])
    job = problem.job(suite, problem.prompt + problem.canonical_solution, [CANONICAL.seconds] * count, CANONICAL)
    outcome = jail.run(job, hear)
    if outcome.end != "done":
        last = outputs[-1][:80].decode("ascii", "replace") if outputs else ""
        raise Unsolved(f"{problem.task_id}: the canonical solution did not end: {outcome.end} {outcome.detail} {last}")
    return Expected(tuple(outputs), tuple(after - before for before, after in pairwise(clock)))


def _cached(problem: Problem) -> Path:
    stated = [problem.dataset, problem.entry_point, problem.prompt + problem.canonical_solution]
    inputs = [digest(b"\n".join(problem.lines[suite])) for suite in SUITES]
    # Another Python may order or print differently.
    name = digest(canonical([VERSION, LONG, sys.version_info[:2], stated, inputs]))
    return user_cache_path("h3eval") / "expected" / f"{name}.z"


def _read(file: Path) -> dict[Suite, Expected]:
    head, *outputs = zlib.decompress(file.read_bytes()).split(b"\n")
    seconds = json.loads(head)
    kept: Iterator[bytes] = iter(outputs)
    return {suite: Expected(tuple(next(kept) for _ in seconds[suite]), tuple(seconds[suite])) for suite in SUITES}


def _write(file: Path, found: dict[Suite, Expected]) -> None:
    head = json.dumps({suite: each.seconds for suite, each in found.items()}).encode()
    content = b"\n".join([head, *(output for suite in SUITES for output in found[suite].outputs)])
    file.parent.mkdir(parents=True, exist_ok=True)
    # Renamed into place: another process may be writing the same.
    part = file.with_suffix(f".{digest(content)[:12]}.part")
    part.write_bytes(zlib.compress(content, 1))
    part.replace(file)
