"""Tests that are programs of assertions, as HumanEval's and MBPP's own: in a jail of their own, apart from the program.

The checker runs the tests; the function they test is a stub there. Its calls come here as plain data, go to the
program in the other jail, and the answers come back the same way. The program never meets an assertion: whatever it
patches, exits or writes, it can only answer. It passes where the tests have run to their end, and it has answered
every call in order and then ended as it should.
"""

from dataclasses import dataclass

from h3eval.errors import H3evalError
from h3eval.sandbox.evalplus import HURRIED_S, LEAST_S, MOST_S, Status
from h3eval.sandbox.jobs import Job, Limits, Outcome
from h3eval.sandbox.runner import Jail
from h3eval.sandbox.turns import Turns

VERSION = 2
"""Of the rules: judges send it with their requests, so that it is part of every verdict's address."""
TESTS_S = 10.0
"""Processor seconds that tests may take between two calls."""
LIMITS = Limits(MOST_S, line=8 << 20, output=64 << 20)
"""The program's and the tests', each for itself: of memory 4 GB, of answers 8 MB each and 64 MB in all."""


class BrokenTests(H3evalError):
    """The tests themselves can't be run, or test nothing: the program has no part in it."""


@dataclass(frozen=True)
class Asserts:
    """Tests: bare assertions that call `entry_point`, or `def check(candidate)`, which is called with it.

    All else that they need they bring along. `prompt` is the code that some answers continue.
    """

    entry_point: str
    test: str
    prompt: str = ""


def check(checker: Jail, jail: Jail, asserts: Asserts, code: str, hurried: bool = False) -> Status:
    """Run the tests in the one jail, on the program in the other. Raise BrokenTests."""
    with Turns(checker, Job(asserts.test, asserts.entry_point, b"", [TESTS_S], limits=LIMITS, mode="tests")) as tests:
        call = tests.ask()
        if call is None or call.startswith(b"!"):
            raise BrokenTests(f"before the first call of {asserts.entry_point}: {_why(tests, call)}")
        allowed = [HURRIED_S if hurried else LEAST_S]
        with Turns(jail, Job(code, asserts.entry_point, b"", allowed, limits=LIMITS, mode="calls")) as program:
            while call is not None and not call.startswith(b"!"):
                answer = program.ask(call)
                if answer is None:
                    return _status(program.finish())
                call = tests.ask(answer)
            return _concluded(tests, program, call)


def _concluded(tests: Turns, program: Turns, said: bytes | None) -> Status:
    """The tests have ended, in whatever way. Raise BrokenTests where they asked for what can't be asked."""
    if said is not None and said.startswith(b"!NotPlain at"):
        raise BrokenTests(f"a call has arguments that are no plain data: {_told(said)}")
    if said is None and tests.finish().end == "done":
        return _status(program.finish())
    why = _why(tests, said)
    return _status(program.stop(), why)


def _why(tests: Turns, said: bytes | None) -> str:
    """How the tests ended, in words."""
    if said is not None:
        return _told(said)
    outcome = tests.finish()
    if outcome.end == "done":
        return "the tests ended"
    return f"{outcome.end}: {outcome.detail or 'no reason given'}, in the tests"


def _told(said: bytes) -> str:
    return said[1:200].decode("ascii", "replace")


def _status(outcome: Outcome, why: str = "") -> Status:
    """`why` is what the tests said against the program."""
    passed = outcome.end == "done" and not why
    if not passed and not why:
        # A program that can't be loaded stops with its error's name.
        why = outcome.detail if outcome.end == "stopped" else f"{outcome.end}: {outcome.detail}".strip(": ")
    late = outcome.end == "timeout"
    return Status(
        "pass" if passed else "timeout" if late else "fail", int(passed), 1, why, outcome.cpu_s, outcome.wall_s
    )
