"""Time is measured outside of the program: none is passed for what it says of its time, and none may sleep for long."""

from typing import Any

import pytest

from h3eval.sandbox.asserts import Asserts, check
from h3eval.sandbox.jobs import Job, Limits, Outcome
from h3eval.sandbox.runner import Jail
from h3eval.sandbox.wire import encode

ALLOWED = 0.3
BURN = """
import time
_clock = time.process_time
def burn(seconds):
    end = _clock() + seconds
    while _clock() < end: pass
"""
SLOW = BURN + "def f(x):\n    if x == 1: burn(3)\n    return x\n"
CLOSURES = """
import sys
frame = sys._getframe()
while frame:
    for value in list(frame.f_locals.values()):
        for cell in getattr(value, "__closure__", None) or ():
            if callable(cell.cell_contents) and "clock" in repr(cell.cell_contents) + "time":
                try: ticks = cell.cell_contents(); cell.cell_contents = (lambda: 0.0) if type(ticks) is float else ticks
                except Exception: pass
    frame = frame.f_back
"""
MODULES = """
import resource, time, os
for module in (time, resource, os):
    for name in dir(module):
        if "time" in name or "clock" in name or "usage" in name or name == "times":
            try: setattr(module, name, lambda *a, **k: 0)
            except Exception: pass
"""
SIGNALS = """
import signal
for number in range(1, 65):
    try: signal.signal(number, lambda *a: None)
    except (OSError, ValueError, RuntimeError): pass
signal.setitimer(signal.ITIMER_PROF, 0.01, 0.01)
"""
FRAMES = """
import os
def f(x):
    if x == 1:
        for n in range(1, 40): os.write(4, b'%d %d\\n' % (n, n))
        burn(3)
    return x
"""
PRINTED = """
import os
def f(x):
    if x == 1:
        os.write(4, b'1 ')
        burn(3)
        os.write(4, b'1\\n')
        return input()
    return x
"""
THREADS = """
import threading
def f(x):
    if x == 1:
        held = [threading.Thread(target=burn, args=(1.5,)) for _ in range(8)]
        for each in held: each.start()
        for each in held: each.join()
    return x
"""
HELPER = """
import threading
def f(x):
    if x == 1:
        thread = threading.Thread(target=burn, args=(3,)); thread.start(); thread.join()
    return x
"""
AHEAD = """
import os, select, threading
known = []
def look():
    while select.select([3], [], [], 0)[0]:
        data = os.read(3, 65536)
        if not data: break
        known.append(data)
def f(x):
    look()
    if known: raise LookupError
    if x == 1: burn(3)
    return x
"""
LOADING = BURN + "burn(3)\ndef f(x): return x\n"


@pytest.fixture
def jail(jails: tuple[Jail, Jail]) -> Jail:
    return jails[1]


def run(jail: Jail, code: str, count: int, **more: Any) -> tuple[Outcome, list[bytes]]:
    """The function on 0, 1, 2 ..."""
    heard: list[bytes] = []
    lines = b"".join(encode([n]).encode() + b"\n" for n in range(count))
    job = Job(code, "f", lines, [ALLOWED] * count, **more)
    outcome = jail.run(job, lambda index, text, used: not heard.append(text))  # type: ignore[func-returns-value]
    return outcome, heard


@pytest.mark.parametrize(
    "code",
    [
        SLOW, CLOSURES + SLOW, SLOW + CLOSURES, MODULES + SLOW, SLOW + MODULES, SIGNALS + SLOW, BURN + FRAMES,
        BURN + PRINTED, BURN + THREADS, BURN + HELPER, BURN + AHEAD,
    ],
    ids=["slow", "closures", "closures after", "modules", "modules after", "signals", "frames ahead", "frame in parts",
         "threads", "a thread", "inputs ahead"],
)  # fmt: skip
def test_a_right_program_that_is_slow_fails_whatever_it_forges(jail: Jail, code: str) -> None:
    outcome, heard = run(jail, code, 4)
    assert heard[:1] == [b"0"]
    # Frames that come one by one may be taken for quick answers, until there is one too many.
    assert len(heard) < 4 or code.endswith(FRAMES)
    assert outcome.end in ("timeout", "protocol"), outcome
    assert run(jail, "def f(x): return x", 4)[0].end == "done"


def test_inputs_come_one_at_a_time(jail: Jail) -> None:
    code = BURN + AHEAD.replace("burn(3)", "pass")
    assert run(jail, code, 20)[1] == [b"%d" % n for n in range(20)]


def test_loading_has_no_more_time_than_an_input(jail: Jail) -> None:
    assert run(jail, LOADING, 2)[0].end == "timeout"
    spread = BURN + "burn(0.2)\ndef f(x):\n    burn(0.2)\n    return x\n"
    assert run(jail, spread, 2)[0].end == "done"


def test_what_is_burnt_after_the_last_output_counts(jail: Jail) -> None:
    """In a thread that goes on behind every answer, and after the last one."""
    behind = BURN + "import threading\nthreading.Thread(target=burn, args=(9,), daemon=True).start()\n"
    outcome, _ = run(jail, behind + "def f(x):\n    burn(0.05)\n    return x\n", 40, limits=Limits(seconds=1.0))
    assert (outcome.end, outcome.whole) == ("timeout", True)


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("time.sleep(0.2)", 60),
        ("time.sleep(0.05)", 200),
        pytest.param("threading.Event().wait(0.2)", 60, marks=pytest.mark.slow),
        pytest.param("select.select([], [], [], 0.2)", 60, marks=pytest.mark.slow),
        ("burn(0.01); time.sleep(0.1)", 80),
    ],
)
def test_sleeping_is_limited_for_all_inputs_together(jail: Jail, body: str, count: int) -> None:
    """Each sleeps less than an input may: together, no more than three times what all may take."""
    code = BURN + f"import select, threading\ndef f(x):\n    {body}\n    return x\n"
    outcome, heard = run(jail, code, count, limits=Limits(seconds=0.6))
    assert (outcome.end, outcome.detail, outcome.whole) == ("timeout", "by the clock on the wall", True)
    assert 0 < len(heard) < count
    assert outcome.wall_s >= 3 * 0.6 - 0.01


@pytest.mark.parametrize("share", [0.0, 0.12, 0.3])
def test_sleeping_for_a_part_of_the_time_is_sleeping(jail: Jail, share: float) -> None:
    code = (
        BURN + f"def f(x):\n    while True:\n        burn({share} * 0.02)\n        time.sleep(0.02 * (1 - {share}))\n"
    )
    outcome, _ = run(jail, code, 1, limits=Limits(seconds=60))
    assert (outcome.end, outcome.whole) == ("timeout", False)
    assert outcome.wall_s < 30 * ALLOWED


def test_sleeping_is_limited_for_assertions_too(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("h3eval.sandbox.asserts.LIMITS", Limits(seconds=0.6))
    tests = Asserts("f", "for n in range(60): assert f(n) == n")
    with Jail(jail.tier) as checker:
        slept = check(checker, jail, tests, "import time\ndef f(x):\n    time.sleep(0.2)\n    return x\n")
        assert (slept.status, slept.reason) == ("timeout", "timeout: by the clock on the wall")
        assert check(checker, jail, tests, "def f(x): return x").status == "pass"
        ahead = BURN + AHEAD.replace("burn(3)", "pass")
        assert check(checker, jail, tests, ahead).status == "pass"


def test_while_others_work_a_program_does_not_sleep(jail: Jail) -> None:
    """The time that tests take is not the program's, nor the runner's own."""
    tests = Asserts("f", "import time\nfor n in range(4):\n    assert f(n) == n\n    time.sleep(0.4)")
    with Jail(jail.tier) as checker:
        assert check(checker, jail, tests, "def f(x): return x", hurried=True).status == "pass"
