"""Every malicious program, in every jail: nothing outside is touched, none passes, and the next honest program does."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import malicious_tested
import psutil
import pytest
from malicious import PROGRAMS

from h3eval.errors import NoSandbox
from h3eval.sandbox import asserts, choice, evalplus, tiers
from h3eval.sandbox.asserts import Asserts
from h3eval.sandbox.evalplus import Expected, Problem, Status
from h3eval.sandbox.jobs import Limits
from h3eval.sandbox.runner import Jail
from h3eval.sandbox.wire import encode

HONEST = "def f(x): return x * 7919 + 104729"
PROBLEM = Problem("humaneval", "HumanEval/9999", "f", "", HONEST, 0, [[1], [2], [3]], [])
SECOND = 0.25
GRACE_S = 2.0
"""Besides the limits: killing, and a machine that is busy with other tests."""
LEFT = ("/tmp/h3eval-fill", "/tmp/h3eval-mark", "/dev/shm/h3eval", "/tmp/leak", "/var/tmp/leak", "/dev/leak")


@dataclass(frozen=True)
class Quick(Expected):
    """Limits that tests can wait for."""

    def allowed(self, hurried: bool) -> list[float]:
        return [SECOND] * len(self.outputs)

    @property
    def limits(self) -> Limits:
        return Limits(2 * SECOND, line=1 << 20, output=4 << 20)


ASSERTIONS = Asserts(
    "f",
    """
def check(candidate):
    assert candidate(1) == 112648
    for found, wanted in zip(map(candidate, (2, 3)), (120567, 128486), strict=True):
        assert found == wanted
    assert candidate(0) == 104729
    import time
    time.sleep(0.05)
""",
)
EXPECTED = Quick(tuple(encode(x * 7919 + 104729).encode() for x in (1, 2, 3)), (0.0, 0.0, 0.0))


def verdict(jail: Jail, code: str) -> Status:
    return evalplus.check(jail, PROBLEM, "base", EXPECTED, code)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limits, for assertions."""
    monkeypatch.setattr(asserts, "LEAST_S", SECOND)
    monkeypatch.setattr(asserts, "LIMITS", EXPECTED.limits)


def made(name: str) -> Jail:
    try:
        return Jail(tiers.tier(name))
    except NoSandbox as error:
        pytest.skip(f"no {name} jail on this machine: {error}")


def family(jail: Jail) -> int:
    """How many processes the jail has."""
    return len(psutil.Process(jail.process.pid).children(recursive=True))


@pytest.fixture(scope="module", params=tiers.NAMES)
def jail(request: pytest.FixtureRequest) -> Iterator[Jail]:
    with made(request.param) as opened:
        yield opened


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Jail, Jail]]:
    """Two jails of the best kind: for assertions, and for the program."""
    try:
        tier = choice.choose().tier
    except NoSandbox as error:
        pytest.skip(str(error))
    with Jail(tier) as checker, Jail(tier) as tested:
        yield checker, tested


@pytest.fixture
def bait(tmp_path: Path) -> Iterator[Path]:
    """A folder that anybody may read and write, were it not for the jail."""
    for folder in tmp_path.parents:
        # pytest's own folders are closed to others: the jail's user must be kept out by the jail.
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    tmp_path.chmod(0o777)
    (tmp_path / "precious").write_text("untouched")
    (tmp_path / "precious").chmod(0o666)
    yield tmp_path
    assert (tmp_path / "precious").read_text() == "untouched"
    assert [each.name for each in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_malicious_program_is_contained(jail: Jail, bait: Path, name: str) -> None:
    processes = family(jail)
    began = time.monotonic()
    status = verdict(jail, PROGRAMS[name].replace("@BAIT@", str(bait)))
    assert status.status != "pass"
    assert status.passed == 0
    assert time.monotonic() - began < 12 * SECOND + GRACE_S
    assert family(jail) == processes
    assert not [path for path in LEFT if Path(path).exists()]
    assert verdict(jail, HONEST).status == "pass"


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("name", [*PROGRAMS, *malicious_tested.PROGRAMS])
def test_a_malicious_program_does_not_reach_assertions(pair: tuple[Jail, Jail], bait: Path, name: str) -> None:
    processes = [family(each) for each in pair]
    code = {**PROGRAMS, **malicious_tested.PROGRAMS}[name].replace("@BAIT@", str(bait))
    began = time.monotonic()
    status = asserts.check(*pair, ASSERTIONS, code)
    assert (status.status != "pass", status.passed) == (True, 0)
    assert status.reason
    assert time.monotonic() - began < 12 * SECOND + GRACE_S
    assert [family(each) for each in pair] == processes
    assert not [path for path in LEFT if Path(path).exists()]
    assert asserts.check(*pair, ASSERTIONS, HONEST).status == "pass"


def test_a_hundred_leaking_programs_leave_nothing(jail: Jail) -> None:
    zygote = [psutil.Process(jail.process.pid), *psutil.Process(jail.process.pid).children(recursive=True)][-1]
    before = zygote.memory_info().rss
    for _ in range(100):
        verdict(jail, PROGRAMS["M63 leaks 50 MB"])
    assert zygote.memory_info().rss < before + (20 << 20)
    assert len(os.listdir("/proc/self/fd")) < 200
    assert verdict(jail, HONEST).status == "pass"


@pytest.mark.parametrize("tier", tiers.NAMES)
def test_a_parallel_mix_does_not_confuse_verdicts(tier: str) -> None:
    """M65: two hundred programs over four jails at once, every second one honest."""
    slow = ("M01", "M02", "M03", "M04", "M17", "M28", "M29", "M32", "M38", "X07", "X15", "M19")
    quick = [code for name, code in PROGRAMS.items() if not name.startswith(slow)]
    mixed = [HONEST if n % 2 else quick[n // 2 % len(quick)].replace("@BAIT@", "/nowhere") for n in range(200)]
    jails = [made(tier) for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as pool:
            parts = [pool.submit(lambda n: [verdict(jails[n], code) for code in mixed[n::4]], n) for n in range(4)]
            found = [part.result() for part in parts]
    finally:
        for each in jails:
            each.close()
    for n, statuses in enumerate(found):
        for code, status in zip(mixed[n::4], statuses, strict=True):
            # On a busy machine an honest program could be slow, but here it has a tenth of a millisecond's work.
            assert (status.status == "pass") == (code == HONEST), (code, status)


def test_nothing_is_left_of_a_closed_jail() -> None:
    opened = made("landlock")
    inside = [opened.process.pid, *(child.pid for child in psutil.Process(opened.process.pid).children(recursive=True))]
    opened.close()
    assert not any(psutil.pid_exists(pid) for pid in inside)
