"""Programs of assertions: verdicts, errors, time, and tests that are broken themselves. In this machine's best jail."""

import re

import pytest

from h3eval.sandbox import asserts
from h3eval.sandbox.asserts import Asserts, BrokenTests
from h3eval.sandbox.evalplus import Status
from h3eval.sandbox.jobs import Limits
from h3eval.sandbox.runner import Jail

Pair = tuple[Jail, Jail]
SPIN = "def f(x):\n while x: pass\n return x"


def check(jails: Pair, test: str, code: str, hurried: bool = False) -> Status:
    return asserts.check(*jails, Asserts("f", test), code, hurried)


def test_bare_assertions_and_a_check_function(jails: Pair) -> None:
    for test in ("assert f(1) == 2\nassert f(2) == 3", "def check(candidate):\n assert candidate(2) == 3"):
        right, wrong = check(jails, test, "def f(x): return x + 1"), check(jails, test, "def f(x): return 2")
        assert (right.status, right.passed, right.reason) == ("pass", 1, "")
        assert (wrong.status, wrong.passed, wrong.reason) == ("fail", 0, "AssertionError at line 2 of the tests")


def test_a_function_may_be_called_check(jails: Pair) -> None:
    tests = Asserts("check", "assert check(1) == 2")
    assert asserts.check(*jails, tests, "def check(x): return x + 1").status == "pass"
    assert asserts.check(*jails, tests, "def check(x): return x").status == "fail"


def test_the_function_is_the_programs_whatever_the_tests_define(jails: Pair) -> None:
    """HumanEval/33 calls the function by its name too; its prompt, brought for helpers, defines it without a body."""
    test = "def f(x):\n '''Adds one.'''\ndef check(candidate):\n assert candidate(1) == f(1) == 2"
    assert check(jails, test, "def f(x): return x + 1").status == "pass"
    assert check(jails, test, "def f(x): return x").status == "fail"


def test_arguments_by_position_and_by_name(jails: Pair) -> None:
    code = "def f(a, b=2, *more, c=(), **others): return [a, b, more, c, others]"
    test = "assert f(1) == [1, 2, (), (), {}]\nassert f(1, c={3}, d=b'x', b=1.5) == [1, 1.5, (), {3}, {'d': b'x'}]"
    assert check(jails, test, code).reason == ""
    assert check(jails, "f(1)\nf(1, nothing=3)", "def f(x): return x").reason.startswith("TypeError of the program")


def test_a_program_keeps_its_state_through_one_sample_only(jails: Pair) -> None:
    code = "seen = []\ndef f(x):\n seen.append(x)\n return len(seen)"
    for _ in range(2):
        assert check(jails, "assert [f(0), f(0), f(0)] == [1, 2, 3]", code).status == "pass"


def test_what_a_program_raises_is_raised_in_the_tests(jails: Pair) -> None:
    test = "try: f(0)\nexcept ZeroDivisionError: pass\nelse: assert False\nassert f(2) == 3"
    assert check(jails, test, "def f(x): return 6 / x").status == "pass"
    assert check(jails, test, "def f(x): return 3").reason == "AssertionError at line 3 of the tests"
    other = check(jails, test, "class E(Exception): pass\ndef f(x): raise E")
    assert other.reason == "E of the program at line 1 of the tests"
    base = "try: f(0)\nexcept Exception as error: assert type(error).__name__ == 'SystemExit'\nelse: assert False"
    assert check(jails, base, "def f(x): raise SystemExit").status == "pass"


def test_no_error_ends_a_loop_of_the_tests(jails: Pair) -> None:
    for error in ("StopIteration", "GeneratorExit", "KeyboardInterrupt", "AssertionError"):
        found = check(jails, "for found in map(f, [1, 2]): assert found == 3", f"def f(x): raise {error}")
        assert (found.status, found.reason) == ("fail", f"{error} of the program at line 1 of the tests")


def test_the_stub_takes_plain_data_alone(jails: Pair) -> None:
    swallowed = "try: f(0)\nexcept Exception as error: name = type(error).__name__\nassert name == 'NotPlain'"
    assert check(jails, swallowed, "def f(x): return object()").status == "pass"
    for text in ('{"q": 1}', '{"t": 1}', '{"t": [], "s": []}', "NaN", "[1", "", "#list 2 00", '{"s": [[]]}', "\\xff"):
        # Written where the answer's line would be, after which the program says no more.
        code = f"import os, time\ndef f(x):\n os.write(4, b'0 {text}\\n')\n os._exit(0)"
        found = check(jails, "f(0)", code)
        assert (found.status, found.reason) == ("fail", "NotPlain of the program at line 1 of the tests"), text


def test_a_program_must_load_and_end(jails: Pair) -> None:
    for code, why in (
        ("def f(x) return", "SyntaxError"),
        ("x = 1", "KeyError"),
        ("import os; os._exit(0)", "died: exit status 0"),
        ("import os\ndef f(x): os._exit(0)", "died: exit status 0"),
        ("import ctypes\ndef f(x): ctypes.string_at(0)", "signal: signal 11"),
        ("import os\ndef f(x):\n os.write(4, b'done \\n')", "protocol: expected 0"),
    ):
        assert check(jails, "f(1)", code).reason == why
    code = "import os, threading\ndef f(x):\n threading.Timer(0.05, os._exit, [0]).start()\n return x"
    late = check(jails, "import time\nassert f(1) == 1\ntime.sleep(0.5)", code)
    assert (late.status, late.reason) == ("fail", "died: exit status 0")


def test_lines_out_of_turn_end_a_program(jails: Pair) -> None:
    code = "import os\ndef f(x):\n os.write(4, b'0 1\\n1 1\\n')\n return x"
    assert check(jails, "assert f(1) == 1", code).status == "fail"
    after = "import os, threading\ndef f(x):\n threading.Timer(0.05, os.write, [4, b'1 0 1\\n']).start()\n return x"
    assert check(jails, "import time\nassert f(1) == 1\ntime.sleep(0.5)", after).status == "fail"


def test_broken_tests_are_nobodys_failure(jails: Pair) -> None:
    for test, why in (
        ("x =", "SyntaxError of the tests"),
        ("", "the tests ended"),
        ("assert True", "the tests ended"),
        ("import os; os._exit(0)", "died: exit status 0, in the tests"),
        ("assert g(1) == 2", "NameError at line 1"),
        ("f(lambda: 1)", "NotPlain at line 1"),
        ("f(1)\nf(object())", "a call has arguments that are no plain data: NotPlain at line 2"),
    ):
        with pytest.raises(BrokenTests, match=why):
            check(jails, test, "def f(x): return x")
    assert check(jails, "assert f(1) == 1", "def f(x): return x").status == "pass"


def test_time_is_the_programs_own(jails: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asserts, "LEAST_S", 0.3)
    found = check(jails, "f(0)\nf(1)", SPIN)
    assert (found.status, found.reason, found.doubtful) == ("timeout", "timeout: of processor time", True)
    assert found.cpu_s < 2
    asleep = check(jails, "f(1)", "import time\ndef f(x): time.sleep(60)")
    assert (asleep.status, asleep.reason) == ("timeout", "timeout: by the clock on the wall")
    # What the tests take is not the program's.
    slow = "import time\nassert f(0) == 0\nend = time.process_time() + 0.7\nwhile time.process_time() < end: pass"
    assert check(jails, slow + "\nassert f(0) == 0\ntime.sleep(1.2)\nassert f(0) == 0", SPIN).status == "pass"


def test_a_program_in_a_hurry_is_doubtful(jails: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asserts, "HURRIED_S", 0.1)
    code = "import time\ndef f(x):\n end = time.process_time() + 0.3\n while time.process_time() < end: pass\n return x"
    assert check(jails, "assert f(1) == 1", code, hurried=True).doubtful
    assert check(jails, "assert f(1) == 1", code).status == "pass"


def test_time_of_the_tests_and_time_in_all(jails: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asserts, "TESTS_S", 0.3)
    found = check(jails, "f(1)\nwhile True: pass", "def f(x): return x")
    assert (found.status, found.doubtful) == ("fail", True)
    assert re.fullmatch("timeout: .*, in the tests", found.reason)
    monkeypatch.setattr(asserts, "LIMITS", Limits(0.5))
    code = "import time\ndef f(x):\n end = time.process_time() + 0.1\n while time.process_time() < end: pass\n return x"
    assert check(jails, "for n in range(50): f(n)", code).status == "timeout"


def test_memory_and_output_are_limited(jails: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asserts, "LIMITS", Limits(60, memory=512 << 20, line=1 << 20, output=8 << 20))
    full = check(jails, "f(900)", "def f(x): return len(bytearray(x << 20))")
    assert (full.status, full.doubtful) == ("fail", True)
    assert full.reason == "MemoryError of the program at line 1 of the tests"
    assert check(jails, "f(1)\nbytearray(900 << 20)", "def f(x): return x").reason.startswith("MemoryError at line 2")
    text = "def f(x): return 'x' * x"
    assert check(jails, "assert len(f(1000000)) == 1000000", text).status == "pass"
    assert check(jails, "assert len(f(2900000)) == 2900000", text).reason.startswith("output")
    assert check(jails, "for _ in range(12): f(900000)", text).reason.startswith("output")


def test_a_thousand_calls_and_a_megabyte_each_way(jails: Pair) -> None:
    assert check(jails, "for n in range(1000): assert f(n) == n + 1", "def f(x): return x + 1").status == "pass"
    test = "x = ['y' * 1000] * 1000\nassert f(x) == x\nassert f(x) == x"
    assert check(jails, test, "def f(x): return x").status == "pass"
