"""A suite runs what there is data for, and names the rest."""

import json
from pathlib import Path

from readme_task import answers, capitals
from small_runs import data, h3eval

SUITE = """
about = "two tasks"
tasks = ["alpaca_eval", "beavertails"]
composites = ["3h"]
"""


def folder(tmp_path: Path) -> Path:
    data(tmp_path / "data", 3)
    (tmp_path / "suite.toml").write_text(SUITE)
    rows = [{"instruction": f"Count to {k}.", "output": f"{k}?"} for k in range(3)]
    (tmp_path / "answers.json").write_text(json.dumps(rows))
    return tmp_path


def test_a_suite_leaves_out_what_has_no_data_and_says_so(tmp_path: Path) -> None:
    here = folder(tmp_path)
    command = ("run", "--model", "outputs:answers.json", "--suite", "suite.toml", "--data-dir", "data")
    made = h3eval(*command, "--out", "run", cwd=here)
    assert made.returncode == 3, made.stderr
    assert "left out, for want of data: beavertails/pku-700: " in made.stderr + made.stdout
    found = json.loads((here / "run" / "results.json").read_text())
    assert list(found["missing"]) == ["beavertails/pku-700"]
    assert "BeaverTails-Evaluation.json" in found["missing"]["beavertails/pku-700"]
    assert [each["task"] for each in found["tasks"]] == ["alpaca_eval"]
    assert any("beavertails" in each for each in found["composites"][0]["missing"])
    assert "beavertails/pku-700 was not run" in (here / "run" / "report.html").read_text()
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    (here / "suite.toml").unlink()
    again = h3eval("score", str(here / "run"), cwd=elsewhere)
    assert again.returncode == 3, again.stderr


def test_a_task_that_was_not_run_is_enough_to_be_incomplete(tmp_path: Path) -> None:
    here = capitals(tmp_path / "here", 4)
    (here / "suite.toml").write_text(SUITE.replace("alpaca_eval", "capitals"))
    command = ("run", "--include-path", "mine", "--model", answers(here, "all", {0, 1, 2, 3}, 4), "--data-dir", "data")
    made = h3eval(*command, "--suite", "suite.toml", "--out", "run", cwd=here)
    assert made.returncode == 3, made.stderr
    assert "beavertails/pku-700: not run, for want of data" in made.stderr
    named = h3eval(*command, "--tasks", "capitals", "--out", "named", cwd=here)
    assert named.returncode == 0, named.stderr


def test_a_task_asked_for_by_name_must_have_data(tmp_path: Path) -> None:
    made = h3eval(
        "run", "--model", "outputs:answers.json", "--tasks", "alpaca_eval,beavertails", "--data-dir", "data",
        cwd=folder(tmp_path),
    )  # fmt: skip
    assert made.returncode == 2
    assert "BeaverTails" in made.stderr
    assert not (tmp_path / "runs").exists()


def test_a_hub_that_does_not_answer_is_missing_data_too(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text(json.dumps({"task": "gsm8k", "id": "gsm8k-0", "text": "4"}))
    made = h3eval(
        "run", "--model", "outputs:answers.jsonl", "--tasks", "gsm8k", "--data", "real", "--out", "run",
        cwd=tmp_path, HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9",
    )  # fmt: skip
    assert made.returncode == 2, made.stderr
    assert "openai/gsm8k, configuration main, split train: the hub can't be reached" in made.stderr
    assert "Traceback" not in made.stderr
