"""What the store promises when the process is killed, another one comes, or the disk is full."""

import asyncio
import contextlib
import random
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from storewriter import WORKERS, local_key, reply_to

from h3eval.errors import DiskFull, RunLocked
from h3eval.store import Reader, Store

WRITER = Path(__file__).parents[1] / "storewriter.py"
ROUNDS = 6


def start(folder: Path, before: Callable[[], None] | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(WRITER), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def opened(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "open 1\n"


def said_until_killed(process: "subprocess.Popen[str]", seconds: float) -> list[list[str]]:
    """What the process says until it is killed, without a line cut off by its death."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=seconds)
    process.send_signal(signal.SIGKILL)
    out, _ = process.communicate(timeout=600)
    return [line.split() for line in out.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize(
    "folders",
    [pytest.param(1, id="quick"), pytest.param(84, id="five hundred", marks=pytest.mark.slow)],
)
def test_kill_9(tmp_path: Path, folders: int) -> None:
    """Acknowledged answers are there and right, never asked for again; lost calls are all listed."""
    chance = random.Random(9)
    most_lost = max(killed_again_and_again(tmp_path / f"run {n}", chance) for n in range(folders))
    assert most_lost, "no call was ever under way at a kill: the test has tested nothing"


def killed_again_and_again(folder: Path, chance: random.Random) -> int:
    """Kill the process that writes to a run ROUNDS times; the most calls that one kill has lost."""
    answered: set[bytes] = set()
    flushed = most_lost = rounds = 0
    while rounds < ROUNDS:
        lines = said_until_killed(start(folder), chance.uniform(0.1, 1.0))
        if ["open", "1"] not in lines:
            continue  # killed while the run was being made or opened: the next round must cope
        rounds += 1
        sent = {bytes.fromhex(rest) for word, rest in lines if word == "sent"}
        assert not sent & answered, "an acknowledged answer was asked for again"
        answered |= {bytes.fromhex(rest) for word, rest in lines if word == "answered"}
        flushed = max([flushed, *(int(rest) for word, rest in lines if word == "flushed")])
        with Reader(folder) as reader:
            safe = [*sorted(answered), *map(local_key, range(flushed))]
            assert reader.get_many(safe) == {key: reply_to(key) for key in safe}
            lost = {key for key in sent if reader.get(key) is None}
            listed = {bytes.fromhex(each["key"]) for each in reader.ambiguous()}
        assert lost <= listed
        assert len(lost) <= WORKERS
        most_lost = max(most_lost, len(lost))
    assert answered
    assert flushed
    with Store.open(folder):
        pass
    with sqlite3.connect(f"file:{quote(str(folder))}/run.db?mode=ro", uri=True) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    return most_lost


def test_the_lock_lives_as_long_as_its_process(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder)
    try:
        opened(process)
        with pytest.raises(RunLocked, match=f"process {process.pid} has been working on this run since"):
            Store.open(folder)
        Reader(folder).close()
    finally:
        process.kill()
        process.communicate()
    Store.open(folder).close()


def test_many_openers_one_winner(tmp_path: Path) -> None:
    processes = [start(tmp_path / "run") for _ in range(4)]
    try:
        first = [process.stdout.readline() for process in processes if process.stdout]
        assert sorted(first) == ["", "", "", "open 1\n"]
        errors = [process.communicate()[1] for process, word in zip(processes, first, strict=True) if not word]
        assert all("RunLocked" in error for error in errors)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))


def test_disk_full(tmp_path: Path) -> None:
    """A file-size limit stands in for a full disk: both fail in the middle of a write."""
    folder = tmp_path / "run"
    process = start(folder, limited)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "DiskFull" in err
    assert "make room" in err
    lines = [line.split() for line in out.splitlines()[1:]]
    safe = [bytes.fromhex(rest) for word, rest in lines if word == "answered"]
    flushed = max(int(rest) for word, rest in lines if word == "flushed")
    safe += map(local_key, range(flushed))
    with Store.open(folder) as store:
        assert store.get_many(safe) == {key: reply_to(key) for key in safe}
        store.put("gen", b"k" * 32, reply_to(b"k" * 32))


def test_no_room_for_the_next_paid_call(tmp_path: Path) -> None:
    """Intents are refused while there is still room for the answers already paid for."""

    async def one_call(store: Store) -> None:
        await store.journal("judge").intent(b"k" * 32)

    with Store.open(tmp_path / "run", reserve=1 << 60) as store:
        with pytest.raises(DiskFull, match="no further call is paid for"):
            asyncio.run(one_call(store))
        store.put("gen", b"k" * 32, reply_to(b"k" * 32))
        store.flush()
        assert store.get(b"k" * 32) == reply_to(b"k" * 32)
        assert store.ambiguous() == []
