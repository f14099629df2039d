"""A run that is killed, again and again, asks for nothing that it was told, and ends the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from judging_server import judging
from scripted_server import ScriptedServer
from small_runs import data

from h3eval.errors import UsageError
from h3eval.store import Reader

CONCURRENCY = 8


def command(server: ScriptedServer, folder: Path, out: Path) -> list[str]:
    # The run's identity has no address in it: two servers, one manifest.
    endpoint = f"openai:own,base_url={server.url},concurrency={CONCURRENCY},price_in=0,price_out=0"
    return [
        sys.executable, "-m", "h3eval.cli", "run", "--model", endpoint, "--judge", f"alpaca_eval={endpoint}",
        "--tasks", "alpaca_eval", "--data-dir", str(folder), "--out", str(out), "--format", "results",
    ]  # fmt: skip


def unbroken(folder: Path, out: Path, posts: int) -> bytes:
    with ScriptedServer(judging()) as server:
        subprocess.run(command(server, folder, out), check=True, capture_output=True, timeout=1200)
        assert server.posts == posts
        return same_address(server, (out / "results.json").read_bytes())


def same_address(server: ScriptedServer, results: bytes) -> bytes:
    return results.replace(str(server.port).encode(), b"PORT")


def repeats(server: ScriptedServer) -> int:
    bodies = Counter(json.dumps(seen.body, sort_keys=True) for seen in server.seen)
    return sum(count - 1 for count in bodies.values())


def answered(out: Path) -> int:
    try:
        with Reader(out) as reader:
            return sum(int(each["answers"]) for each in reader.totals().values())
    except UsageError:
        # Killed before the folder was begun.
        return 0


def kill_at_random(run: list[str], server: ScriptedServer, random_: random.Random, most: int) -> bool:
    """Start the run and kill it after some more posts; true when it had ended by itself."""
    until = server.posts + random_.randint(0, most)
    process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(random_.uniform(0, 2))
    while server.posts < until and process.poll() is None:
        time.sleep(0.005)
    time.sleep(random_.uniform(0, 0.1))
    if process.poll() is not None:
        return True
    process.send_signal(signal.SIGKILL)
    process.wait(300)
    return False


@pytest.mark.parametrize(
    ("kills", "samples"),
    [pytest.param(4, 120, id="quick"), pytest.param(20, 1200, id="twenty", marks=pytest.mark.slow)],
)
def test_kill_nine(tmp_path: Path, kills: int, samples: int) -> None:
    folder, out = data(tmp_path / "data", samples), tmp_path / "run"
    random_, done, last = random.Random(7), 0, 0
    with ScriptedServer(judging(delay_s=0.1)) as server:
        run = command(server, folder, out)
        while done < kills and not kill_at_random(run, server, random_, 2 * samples // (kills + 1)):
            done += 1
            now = answered(out)
            assert now >= last, "an acknowledged answer is gone"
            last = now
        subprocess.run(run, check=True, capture_output=True, timeout=600)
        with Reader(out) as reader:
            ambiguous = len(reader.ambiguous())
        assert done == kills
        assert repeats(server) <= ambiguous <= done * 2 * CONCURRENCY
        finished = server.posts
        subprocess.run(run, check=True, capture_output=True, timeout=1200)
        assert server.posts == finished, "a finished run asked again"
        results = same_address(server, (out / "results.json").read_bytes())
    assert results == unbroken(folder, tmp_path / "unbroken", 2 * samples)


def test_interrupt_drains_and_repeats_nothing(tmp_path: Path) -> None:
    folder, out = data(tmp_path / "data", 200), tmp_path / "run"
    with ScriptedServer(judging(delay_s=0.1)) as server:
        run = command(server, folder, out)
        for _ in range(2):
            before = server.posts
            process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            while server.posts < before + 30:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=600)
            assert process.returncode == 130, said
            assert "Traceback" not in said
            with Reader(out) as reader:
                assert reader.ambiguous() == []
            assert answered(out) == server.posts
        subprocess.run(run, check=True, capture_output=True, timeout=1200)
        assert (repeats(server), server.posts) == (0, 400)
    assert os.path.exists(out / "results.json")
