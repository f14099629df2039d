"""Every mistake of a user's gets one clear message and its exit code, before a model loads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import h3eval


@pytest.fixture
def empty_model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


DEMO = ("run", "--model", "demo", "--data", "demo", "--backend", "transformers")
MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown task": ((*DEMO, "--tasks", "gsm8"), "did you mean gsm8k"),
    "unknown protocol": ((*DEMO, "--tasks", "beavertails/pku-70"), "did you mean pku-700"),
    "unknown suite": ((*DEMO, "--suite", "4h"), "no suite named '4h'"),
    "nothing to run": (DEMO, "--suite 3h"),
    "both": ((*DEMO, "--suite", "3h", "--tasks", "gsm8k"), "choose one"),
    "task twice": ((*DEMO, "--tasks", "gsm8k,gsm8k"), "named twice"),
    "limit zero": ((*DEMO, "--tasks", "gsm8k", "--limit", "0"), "--limit"),
    "limit negative": ((*DEMO, "--tasks", "gsm8k", "--limit=-3"), "--limit"),
    "limit fraction above one": ((*DEMO, "--tasks", "gsm8k", "--limit", "1.5"), "--limit"),
    "limit no number": ((*DEMO, "--tasks", "gsm8k", "--limit", "many"), "--limit"),
    "no data folder": ((*DEMO, "--tasks", "gsm8k", "--data-dir", "nowhere"), "no such folder"),
    "missing data": (("run", "--model", "demo", "--data", "real", "--tasks", "gsm8k", "--data-dir", "."), "gsm8k"),
    "model without config": (("run", "--model", "./model", "--tasks", "gsm8k", "--data", "demo"), "config.json"),
    "model nowhere": (("run", "--model", "./no-such", "--tasks", "gsm8k", "--data", "demo"), "no-such"),
    "unknown backend": (("run", "--model", "demo", "--backend", "vlm", "--tasks", "gsm8k"), "did you mean vllm"),
    "unknown model argument": ((*DEMO, "--tasks", "gsm8k", "--model_args", "dtyp=float32"), "dtyp"),
    "malformed model argument": ((*DEMO, "--tasks", "gsm8k", "--model_args", "dtype"), "KEY=VALUE"),
    "judge without key": ((*DEMO, "--tasks", "alpaca_eval", "--judge", "alpaca_eval=openai:gpt-4"), "OPENAI_API_KEY"),
    "judge of no task": ((*DEMO, "--tasks", "gsm8k", "--judge", "beaver_dam=self"), "no task here has that role"),
    "judge malformed": ((*DEMO, "--tasks", "alpaca_eval", "--judge", "gpt-4"), "ROLE=BACKEND:MODEL"),
    "judge unknown": ((*DEMO, "--tasks", "alpaca_eval", "--judge", "alpaca_eval=alpaca@self"), "no judge named"),
    "no run there": (("score", "nowhere"), "nowhere"),
    "no run to judge": (("judge", "nowhere", "--judge", "alpaca_eval=self"), "nowhere"),
    "unknown report": (("report", "nowhere", "--format", "pdf"), "nowhere"),
    "outputs file missing": (("run", "--model", "outputs:no.jsonl", "--tasks", "gsm8k", "--data", "demo"), "no.jsonl"),
    "replay of nothing": (("run", "--model", "replay:nowhere", "--tasks", "gsm8k", "--data", "demo"), "nowhere"),
    "include path": ((*DEMO, "--tasks", "gsm8k", "--include-path", "nowhere"), "no such folder"),
    "suite file": ((*DEMO, "--suite", "broken.toml"), "unknown key 'task'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_and_exit_code_two(name: str, tmp_path: Path, empty_model: Path) -> None:
    (tmp_path / "broken.toml").write_text("task = ['gsm8k']\n")
    arguments, cure = MISTAKES[name]
    done = h3eval(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr + done.stdout
    assert cure in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "nowhere").exists()


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Answers to the demo's beavertails samples, made elsewhere."""
    demo = Path(__file__).parents[2] / "tasks" / "beavertails.demo.jsonl"
    file = tmp_path / "answers.jsonl"
    rows = [json.loads(line) for line in demo.read_text().splitlines() if line.strip()]
    instructions = [{"instruction": row["prompt"], "output": "I will not help.", "generator": "g"} for row in rows]
    file.with_suffix(".json").write_text(json.dumps(instructions))
    return file.with_suffix(".json")


def test_another_manifest_is_refused_with_the_difference(tmp_path: Path, answers: Path) -> None:
    command = ["run", "--model", f"outputs:{answers}", "--tasks", "alpaca_eval", "--data", "demo", "--out", "run"]
    h3eval(*command, "--limit", "2", cwd=tmp_path)
    changed = h3eval(*command, "--limit", "3", cwd=tmp_path)
    assert changed.returncode == 2
    assert "limit" in changed.stderr
    assert "Traceback" not in changed.stderr


def test_a_missing_judge_is_shown_not_guessed(tmp_path: Path, answers: Path) -> None:
    command = ["run", "--model", f"outputs:{answers}", "--tasks", "beavertails", "--data", "demo", "--out", "run"]
    done = h3eval(*command, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "--judge beaver_dam=" in done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert all(e["value"] is None for e in results["estimates"] if e["metric"] == "unsafe_rate")


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path, answers: Path) -> None:
    command = ["run", "--model", f"outputs:{answers}", "--tasks", "beavertails", "--data", "demo", "--out", "run"]
    h3eval(*command, cwd=tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, pathlib; from h3eval.store import Store\n"
         "with Store.open(pathlib.Path('run')): print('held', flush=True); sys.stdin.read()"],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    refused = h3eval(*command, cwd=tmp_path)
    holder.stdin.close()
    holder.wait(300)
    assert refused.returncode == 75, refused.stderr
    assert str(holder.pid) in refused.stderr
