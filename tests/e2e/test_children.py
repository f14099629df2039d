"""`nightly` and `sweep` take what they have run with them: killed at once, asked to stop with all that is answered."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from readme_task import capitals
from scripted_server import Act, ScriptedServer, Seen
from tiny_models import llama

from h3eval.commands import children
from h3eval.store import Reader

N = 40
NIGHTLY = """
args = ["--data-dir", "data", "--format", "results", "--include-path", "mine"]

[models.slow]
model = "openai:own,base_url={url},concurrency=2,price_in=0,price_out=0"
tasks = "capitals"

[models.second]
model = "outputs:none.jsonl"
tasks = "capitals"
"""
LINEAGE = """
import os, sys, time
def mark(name): open(os.path.join(sys.argv[1], name), "w").write(str(os.getpid()))
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        mark("grandchild")
        time.sleep(300)
    mark("daemon")
    time.sleep(300)
mark("command")
time.sleep(float(sys.argv[2]))
os.kill(os.getpid(), 9) if sys.argv[3:] else None
"""
PARENT = "import sys; from h3eval.commands import children; sys.exit(children.run(sys.argv[1:]))"


def waited(holds: Callable[[], bool], seconds: float = 300) -> bool:
    """Does it come to hold? The seconds are for a machine on which nothing happens."""
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return held


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Signals reach what is started here: under `nohup`, or in a script's background, they are ignored, and a child
    inherits that."""
    wanted = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    ignored = [each for each in wanted if signal.getsignal(each) == signal.SIG_IGN]
    for each in ignored:
        signal.signal(each, signal.SIG_DFL)
    yield
    for each in ignored:
        signal.signal(each, signal.SIG_IGN)


def started(folder: Path, *words: str) -> "subprocess.Popen[str]":
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("H3EVAL_", "OPENAI_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "h3eval.cli", *words], cwd=folder, env={**clean, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def family(process: "subprocess.Popen[str]") -> list[int]:
    return [each.pid for each in psutil.Process(process.pid).children(recursive=True)]


def slowly(seen: Seen) -> Act:
    return Act(delay_s=0.25)


@pytest.fixture
def night(tmp_path: Path) -> Path:
    return capitals(tmp_path, N)


def answered(folder: Path) -> int:
    (run,) = folder.glob("runs/*/slow")
    with Reader(run) as reader:
        return sum(int(each["answers"]) for each in reader.totals().values())


def bodies(server: ScriptedServer) -> list[str]:
    return [json.dumps(seen.body, sort_keys=True) for seen in server.seen]


def test_a_night_that_is_killed_takes_its_run_with_it_and_the_next_goes_on(night: Path) -> None:
    with ScriptedServer(slowly) as server:
        (night / "nightly.toml").write_text(NIGHTLY.format(url=server.url))
        first = started(night, "nightly", "nightly.toml", "--night", "n1")
        assert waited(lambda: server.posts >= 6)
        held = family(first)
        assert len(held) >= 2
        first.kill()
        first.wait()
        assert waited(lambda: not any(map(alive, held)), 300), [
            psutil.Process(each).cmdline() for each in held if alive(each)
        ]
        asked = server.posts
        before = answered(night)
        assert before > 0
        time.sleep(0.6)
        assert server.posts == asked, "somebody still asks"
        server.behave = None
        again = started(night, "nightly", "nightly.toml", "--night", "n1")
        said = again.communicate(timeout=300)[0]
        # The second model's answers are missing: that is its own error, and no lock.
        assert again.returncode != 75, said
        outcomes = {line["name"]: line["run_code"] for line in map(json.loads, (night / "history.jsonl").open())}
        assert outcomes["slow"] == 0, said
        assert answered(night) == N
        assert len(bodies(server)) - len(set(bodies(server))) <= 2, "only those in flight are asked again"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_night_that_is_asked_to_stop_stores_what_is_answered(night: Path, number: int) -> None:
    with ScriptedServer(slowly) as server:
        (night / "nightly.toml").write_text(NIGHTLY.format(url=server.url))
        process = started(night, "nightly", "nightly.toml", "--night", "n1")
        assert waited(lambda: server.posts >= 6)
        held = family(process)
        process.send_signal(number)
        said = process.communicate(timeout=300)[0]
        assert (process.returncode, "every answer so far is stored" in said) == (130, True), said
        assert not any(map(alive, held))
        # Nothing in flight was lost, the second model was not begun, and the night is not in the history.
        assert answered(night) == server.posts
        assert not (night / "runs" / "n1" / "second").exists()
        assert not (night / "history.jsonl").exists()


@pytest.mark.slow
def test_a_sweep_that_is_killed_takes_its_run_with_it_and_goes_on(tmp_path: Path) -> None:
    models = {name: llama(tmp_path / name) for name in ("a", "b")}
    (tmp_path / "sweep.toml").write_text(
        f'[merge]\nmethod = "weight_average"\nmodels = ["{models["a"]}", "{models["b"]}"]\n'
    )
    capitals(tmp_path, 8)
    words = ("sweep", "sweep.toml", "--tasks", "capitals", "--out", "sweep", "--run-flags",
             "--data-dir data --include-path mine --batch-size 1 --format results")  # fmt: skip
    process = started(tmp_path, *words)
    assert waited(lambda: bool(list(tmp_path.glob("sweep/*/run/run.db"))), 300)
    held = family(process)
    process.kill()
    process.wait()
    assert waited(lambda: not any(map(alive, held)), 300)
    again = started(tmp_path, *words)
    said = again.communicate(timeout=600)[0]
    assert again.returncode == 0, said
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text())["points"][0]["scores"]["helpful"] is not None


def lineage(folder: Path, seconds: float, *more: str) -> "subprocess.Popen[bytes]":
    """A process that has a command run, which has a daemon in a session of its own, which has a child."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", LINEAGE, str(folder), str(seconds), *more]
    process = subprocess.Popen([sys.executable, "-c", PARENT, *command], stderr=subprocess.DEVNULL)
    assert waited(lambda: len(list(folder.iterdir())) == 3 and all(each.read_text() for each in folder.iterdir()))
    return process


def marks(folder: Path) -> dict[str, int]:
    return {each.name: int(each.read_text()) for each in folder.iterdir()}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_daemons_and_their_children_go_too(tmp_path: Path, number: int) -> None:
    process = lineage(tmp_path / "marks", 300)
    process.send_signal(number)
    process.wait(300)
    assert waited(lambda: not any(map(alive, marks(tmp_path / "marks").values())), 300)


def test_a_guardian_that_is_killed_takes_the_command_with_it(tmp_path: Path) -> None:
    process = lineage(tmp_path / "marks", 300)
    (guardian,) = psutil.Process(process.pid).children()
    guardian.kill()
    assert process.wait(300) != 0
    assert waited(lambda: not alive(marks(tmp_path / "marks")["command"]), 300)
    for name in ("daemon", "grandchild"):
        psutil.Process(marks(tmp_path / "marks")[name]).kill()


def test_what_a_killed_command_leaves_goes_and_what_one_that_ends_leaves_stays(tmp_path: Path) -> None:
    assert lineage(tmp_path / "killed", 0.2, "killed").wait(60) == 128 + signal.SIGKILL
    assert not any(map(alive, marks(tmp_path / "killed").values()))
    assert lineage(tmp_path / "ended", 0.2).wait(60) == 0
    left = marks(tmp_path / "ended")
    assert [name for name, pid in sorted(left.items()) if alive(pid)] == ["daemon", "grandchild"]
    for name in ("daemon", "grandchild"):
        psutil.Process(left[name]).kill()


def test_exit_codes_are_the_commands_own() -> None:
    for code in (0, 3, 75):
        assert children.run([sys.executable, "-c", f"raise SystemExit({code})"]) == code
    assert children.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"]) == 128 + 11
    assert children.run([sys.executable, "-c", "input()"]) == 1, "standard input is nobody's"
    assert not [each for each in psutil.Process().children() if "guardian" in " ".join(each.cmdline())]
