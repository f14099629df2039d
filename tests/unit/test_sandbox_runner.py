"""The runner: order, limits, time, and how programs end. In whatever jail this machine has."""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
import pytest

from h3eval.errors import NoSandbox
from h3eval.sandbox import choice
from h3eval.sandbox.jobs import Job, Limits, Outcome
from h3eval.sandbox.runner import Jail
from h3eval.sandbox.wire import decode, encode


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    try:
        chosen = choice.choose()
    except NoSandbox as error:
        pytest.skip(str(error))
    with Jail(chosen.tier) as opened:
        yield opened


def run(
    jail: Jail, code: str, *inputs: Sequence[Any], allowed: float = 2.0, **more: Any
) -> tuple[Outcome, list[bytes]]:
    heard: list[bytes] = []

    def hear(index: int, text: bytes, claimed: float) -> bool:
        assert index == len(heard)
        heard.append(text)
        return True

    lines = "".join(encode(list(each)) + "\n" for each in inputs).encode()
    return jail.run(Job(code, "f", lines, [allowed] * len(inputs), **more), hear), heard


def test_outputs_come_in_order_and_errors_by_name(jail: Jail) -> None:
    outcome, heard = run(jail, "def f(x): return 6 / x", [1], [0], [3])
    assert (outcome.end, heard) == ("done", [b"6.0", b"!ZeroDivisionError", b"2.0"])
    assert outcome.cpu_s < 1


def test_a_program_keeps_its_state_and_gets_its_own_inputs(jail: Jail) -> None:
    code = "seen = []\ndef f(x):\n seen.append(x); x.append(0)\n return len(seen)"
    assert run(jail, code, [[1]], [[1]])[1] == [b"1", b"2"]
    assert run(jail, code, [[1]])[1] == [b"1"]


def test_order_of_sets_does_not_change_between_programs(jail: Jail) -> None:
    code = "def f(x): return list(set(x))"
    words = ["pear", "fig", "plum", "lime", "kiwi"]
    assert len({run(jail, code, [words])[1][0] for _ in range(3)}) == 1


def test_a_program_that_can_not_be_loaded_says_why(jail: Jail) -> None:
    for code, why in (
        ("def f(x) return", "SyntaxError"),
        ("import os.nothing", "ModuleNotFoundError"),
        ("x = 1", "KeyError"),
    ):
        outcome, heard = run(jail, code, [1])
        assert (outcome.end, outcome.detail, heard) == ("stopped", why, [])


def test_time_is_the_processors(jail: Jail) -> None:
    busy, heard = run(jail, "def f(x):\n while x: pass\n return x", [0], [1], allowed=0.3)
    assert (busy.end, busy.detail, heard) == ("timeout", "of processor time", [b"0"])
    assert 0.2 < busy.cpu_s < 2
    asleep, _ = run(jail, "import time\ndef f(x): time.sleep(60)", [1], allowed=0.2)
    assert (asleep.end, asleep.detail) == ("timeout", "by the clock on the wall")
    assert asleep.cpu_s < 0.2 < asleep.wall_s < 3
    short, heard = run(jail, "import time\ndef f(x): time.sleep(0.5); return x", [1], allowed=0.3)
    assert (short.end, heard) == ("done", [b"1"])


@pytest.fixture
def crowd() -> Iterator[Callable[[], None]]:
    """Until it is called, what is started shares one processor; then thirty others take that, and we may use all."""
    before, busy = os.sched_getaffinity(0), []
    os.sched_setaffinity(0, {min(before)})

    def come() -> None:
        for _ in range(30):
            busy.append(subprocess.Popen(["sh", "-c", "while :; do :; done"], start_new_session=True))
        os.sched_setaffinity(0, before)

    yield come
    for process in busy:
        process.kill()
        process.wait()
    os.sched_setaffinity(0, before)


def test_a_starved_program_does_not_sleep(jail: Jail, crowd: Callable[[], None]) -> None:
    spin = "import time\ndef f(x):\n end = time.process_time() + x\n while time.process_time() < end: pass\n return x"
    with Jail(jail.tier) as crowded:
        run(crowded, "def f(x): return x", [1])
        crowd()
        starved, heard = run(crowded, spin, [0.15], allowed=0.4)
        short = Limits(seconds=0.6)
        many, outputs = run(crowded, spin, *[[0.05]] * 6, allowed=0.4, limits=short)
        asleep, _ = run(crowded, "import time\ndef f(x): time.sleep(60)", [1], allowed=0.4)
        slept, _ = run(crowded, "import time\ndef f(x): time.sleep(0.3)", *[[1]] * 60, allowed=0.4, limits=short)
    assert (starved.end, starved.detail, heard) == ("done", "", [b"0.15"])
    assert starved.wall_s > 3 * 0.4
    assert (many.end, many.detail, outputs) == ("done", "", [b"0.05"] * 6)
    assert many.wall_s > 3 * 0.6
    assert (slept.end, slept.detail, slept.whole) == ("timeout", "by the clock on the wall", True)
    assert (asleep.end, asleep.detail) == ("timeout", "by the clock on the wall")


def test_time_in_all_is_limited_too(jail: Jail) -> None:
    code = "import time\ndef f(x):\n end = time.process_time() + 0.2\n while time.process_time() < end: pass\n return x"
    outcome, heard = run(jail, code, *[[n] for n in range(20)], allowed=5.0, limits=Limits(seconds=0.6))
    assert outcome.end == "timeout"
    assert 0 < len(heard) < 10


def test_memory_is_limited(jail: Jail) -> None:
    outcome, heard = run(jail, "def f(x): return len(bytearray(x << 20))", [1], [900], limits=Limits(memory=512 << 20))
    assert (outcome.end, heard) == ("done", [b"1048576", b"!MemoryError"])


def test_output_is_limited(jail: Jail) -> None:
    outcome, heard = run(jail, "def f(x): return 'x' * x", [10], [2 << 20], limits=Limits(line=1 << 20))
    assert (outcome.end, len(heard)) == ("output", 1)


def test_megabytes_go_both_ways(jail: Jail) -> None:
    outcome, heard = run(jail, "def f(x): return x", *[["y" * (3 << 20)]] * 4)
    assert outcome.end == "done"
    assert [len(decode(each)) for each in heard] == [3 << 20] * 4


def test_what_hears_may_have_heard_enough(jail: Jail) -> None:
    lines = b"[1]\n" * 1000
    outcome = jail.run(Job("def f(x): return x", "f", lines, [1.0] * 1000), lambda index, text, claimed: index < 3)
    assert (outcome.end, outcome.heard) == ("stopped", 4)


def test_only_presence_may_be_asked_for(jail: Jail) -> None:
    code = "import re\ndef f(x): return re.match('a', x) if x != 'b' else False"
    assert run(jail, code, ["a"], ["c"], ["b"], present=True)[1] == [b"true", b"false", b"false"]


def test_a_jail_that_has_died_says_so(jail: Jail) -> None:
    with Jail(jail.tier) as other:
        for each in [psutil.Process(other.process.pid), *psutil.Process(other.process.pid).children(recursive=True)]:
            each.kill()
        other.process.wait()
        with pytest.raises(NoSandbox, match="died"):
            run(other, "def f(x): return x", [1])
