"""A suite that limits its tasks, run from end to end: its numbers say so, and stand beside no whole task's."""

import json
from pathlib import Path
from typing import Any

from readme_task import answers, capitals
from small_runs import h3eval

SUITE = 'limit = 12\nsample_seed = 7\ntasks = ["capitals"]\ncomposites = ["3h-lite"]\n'
SUBSET = "one-word-subset12-seed7"


def folder(tmp_path: Path) -> Path:
    here = capitals(tmp_path / "here", 40)
    (here / "lite.toml").write_text(SUITE)
    (here / "other.toml").write_text(SUITE.replace("= 7", "= 8"))
    answers(here, "model", set(range(0, 40, 2)), 40)
    return here


def run(here: Path, out: str, *flags: str) -> Any:
    command = ("run", "--include-path", "mine", "--model", "outputs:model.jsonl", "--data-dir", "data")
    made = h3eval(*command, *flags, "--out", out, cwd=here)
    assert made.returncode == 0, made.stderr
    return json.loads((here / out / "results.json").read_text())


def test_results_show_the_subset_and_nothing_is_compared_with_it(tmp_path: Path) -> None:
    here = folder(tmp_path)
    lite = run(here, "lite", "--suite", "lite.toml")
    whole = run(here, "whole", "--tasks", "capitals")
    run(here, "other", "--suite", "other.toml")
    assert {(each["protocol"], each["n"]) for each in lite["estimates"] if each["primary"]} == {(SUBSET, 12)}
    assert {(each["protocol"], each["n"]) for each in whole["estimates"] if each["primary"]} == {("one-word", 40)}
    assert [each["name"] for each in lite["composites"]] == ["3h-lite"]
    assert lite["tasks"][0]["notes"][0].startswith("A subset: 12 samples of capitals/one-word, drawn by seed 7")
    (here / "gate.toml").write_text(f'margin = 60\n[tasks."capitals/{SUBSET}"]\n')
    told = h3eval("compare", "lite", "whole", "--include-path", "mine", cwd=here)
    assert "protocols are never mixed" in told.stdout + told.stderr
    judged = h3eval("gate", "lite", "--baseline", "other", "--policy", "gate.toml", "--include-path", "mine", cwd=here)
    assert judged.returncode == 2
    assert "protocols are never mixed" in judged.stderr
    same = h3eval("gate", "lite", "--baseline", "lite", "--policy", "gate.toml", "--include-path", "mine", cwd=here)
    assert same.returncode == 0, same
    site = h3eval("leaderboard", "lite", "whole", "other", "--out", "site", "--include-path", "mine", cwd=here)
    assert site.returncode == 0, site.stderr
    columns = json.loads((here / "site" / "leaderboard.json").read_text())["columns"]
    titles = [each["title"] for each in columns if each["kind"] == "task"]
    assert sorted(titles) == ["capitals/one-word", f"capitals/{SUBSET}", "capitals/one-word-subset12-seed8"]


def test_a_subset_goes_on_and_is_read_again(tmp_path: Path) -> None:
    here = folder(tmp_path)
    first = run(here, "lite", "--suite", "lite.toml")
    assert run(here, "lite", "--suite", "lite.toml") == first
    again = h3eval("score", "lite", "--include-path", "mine", cwd=here)
    assert again.returncode == 0, again.stderr
    assert json.loads((here / "lite" / "results.json").read_text()) == first


def test_a_limit_does_not_go_with_a_subset(tmp_path: Path) -> None:
    here = folder(tmp_path)
    command = ("run", "--include-path", "mine", "--model", "outputs:model.jsonl", "--data-dir", "data", "--limit", "3")
    for flags in (("--suite", "lite.toml"), ("--tasks", "capitals-subset12-seed7")):
        made = h3eval(*command, *flags, "--out", "run", cwd=here)
        assert made.returncode == 2
        assert "a subset already" in made.stderr
        assert not (here / "run").exists()


def test_a_subset_of_lm_evals_tasks_does_not_take_their_names(tmp_path: Path) -> None:
    here = folder(tmp_path)
    (here / "none.jsonl").write_text(json.dumps({"task": "gsm8k", "id": "gsm8k-0", "text": "#### 1"}) + "\n")
    command = (
        "run",
        "--model",
        "outputs:none.jsonl",
        "--tasks",
        "gsm8k-subset2-seed7",
        "--data",
        "demo",
        "--out",
        "run",
    )
    made = h3eval(*command, cwd=here)
    assert made.returncode in (0, 3), made.stderr
    results = json.loads(next((here / "run").glob("results_*.json")).read_text())
    assert list(results["results"]) == ["gsm8k_lm-eval-subset2-seed7"]
