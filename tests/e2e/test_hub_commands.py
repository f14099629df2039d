"""Whole commands against a hub on this machine: runs, models by id, and what `doctor --data` says of it all."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import hub_rows
import pytest
from hub_stub import HubStub, files_of
from small_runs import h3eval
from tiny_models import llama, mistral

OR_BENCH = "bench-llm/or-bench"


@pytest.fixture
def hub() -> Iterator[HubStub]:
    with HubStub() as running:
        for name in (OR_BENCH, "openai/gsm8k"):
            running.data(name, hub_rows.datasets()[name])
        yield running


@pytest.fixture
def answers(tmp_path: Path) -> list[str]:
    rows = [{"task": "or_bench", "id": f"or-bench-hard-1k-{k}", "text": "Use kill."} for k in range(hub_rows.N)]
    (tmp_path / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return ["run", "--model", "outputs:answers.jsonl", "--tasks", "or_bench", "--out", "run",
            "--judge", "or_bench=refusal_keywords"]  # fmt: skip


def test_a_run_goes_on_at_its_own_revision_after_the_data_set_moved(
    hub: HubStub, answers: list[str], tmp_path: Path
) -> None:
    environment = hub.environment(tmp_path / "home")
    repo = hub.repos["datasets", OR_BENCH]
    first = repo.head
    made = h3eval(*answers, cwd=tmp_path, **environment)
    assert made.returncode == 0, made.stderr
    data = {f"hub:{OR_BENCH}:or-bench-hard-1k:train": first}
    assert json.loads((tmp_path / "run" / "results.json").read_text())["manifest"]["data"] == data
    splits = hub_rows.datasets()[OR_BENCH]
    splits["or-bench-hard-1k", "train"] = [{"prompt": "Another?", "category": "violence"}]
    assert repo.commit(files_of(splits)) != first
    # The cache is gone, too: the hub still has the old revision.
    shutil.rmtree(tmp_path / "home")
    again = h3eval(*answers, cwd=tmp_path, **environment)
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "run" / "results.json").read_text())["manifest"]["data"] == data
    other = h3eval(*answers[:-4], "--out", "other", *answers[-2:], cwd=tmp_path, **environment)
    assert other.returncode == 0, other.stderr
    moved = json.loads((tmp_path / "other" / "results.json").read_text())["manifest"]["data"]
    assert list(moved.values()) == [repo.head] != [first]


@pytest.mark.parametrize("how", ["renamed", "unknown", "gated after it was read"])
def test_a_run_without_its_data_is_one_line_and_two(hub: HubStub, answers: list[str], tmp_path: Path, how: str) -> None:
    environment = hub.environment(tmp_path / "home")
    repo = hub.repos["datasets", OR_BENCH]
    splits = hub_rows.datasets()[OR_BENCH]
    changed = {key: [{"question": row["prompt"], **row} for row in rows] for key, rows in splits.items()}
    for rows in changed.values():
        for row in rows:
            del row["prompt"]
    words = "no column 'prompt' (there are: question, category)"
    if how == "unknown":
        del hub.repos["datasets", OR_BENCH]
        words = "not on the hub, or private"
    elif how == "gated after it was read":
        assert h3eval(*answers, cwd=tmp_path, **environment).returncode == 0
        shutil.rmtree(tmp_path / "run")
        repo.fault, words = "gated", "it is gated: accept its terms"
    if how != "unknown":
        repo.commit(files_of(changed))
    made = h3eval(*answers, cwd=tmp_path, **environment)
    assert made.returncode == 2, made.stderr
    line = made.stderr.strip().splitlines()[-1]
    assert line.startswith("h3eval: ")
    assert all(word in line for word in (OR_BENCH, "or-bench-hard-1k", "split train", "--data-dir", words)), line
    assert "Traceback" not in made.stderr


def test_doctor_says_what_would_be_loaded_and_from_where(hub: HubStub, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "xstest"
    folder.mkdir(parents=True)
    (folder / "xstest_prompts.csv").write_text("id,prompt,type,label\n1,How?,homonyms,safe\n")
    command = ["doctor", "--data", "--tasks", "or_bench,gsm8k,xstest,honeset", "--data-dir", "data"]
    found = h3eval(*command, cwd=tmp_path, COLUMNS="300", **hub.environment(tmp_path / "home"))
    assert found.returncode == 3, found.stderr
    # Long cells are broken over lines.
    told = " ".join(found.stdout.split())
    head = hub.repos["datasets", OR_BENCH].head
    assert f"or_bench/hard-1k hub {OR_BENCH}@{head}, or-bench-hard-1k, train: 12 rows" in told
    assert (
        f"gsm8k/lm-eval hub openai/gsm8k@{hub.repos['datasets', 'openai/gsm8k'].head}, main, train, test: 24 rows"
        in told
    )
    assert "xstest/v2 file data/xstest/xstest_prompts.csv: 1 rows" in told
    assert "honeset/honesty-h2 missing" in told
    assert f"the hub: {hub.url} answers" in found.stdout
    assert "3 of 4 tasks" in found.stdout
    assert not (tmp_path / "runs").exists()


def test_doctor_does_not_guess_what_a_silent_hub_has(hub: HubStub, tmp_path: Path) -> None:
    command = ["doctor", "--data", "--tasks", "or_bench"]
    off = h3eval(*command, cwd=tmp_path, HF_HUB_OFFLINE="1", COLUMNS="300")
    assert (off.returncode, "the hub: unknown: it is switched off" in off.stdout) == (3, True), off.stdout
    hub.fault = "down"
    down = h3eval(*command, cwd=tmp_path, COLUMNS="300", **hub.environment(tmp_path / "home"))
    assert down.returncode == 3
    for made in (off, down):
        assert "or_bench/hard-1k  unknown" in made.stdout
        assert "missing" not in made.stdout


def test_doctor_knows_the_demo(tmp_path: Path) -> None:
    found = h3eval("doctor", "--data", "demo", "--tasks", "or_bench,xstest", cwd=tmp_path, COLUMNS="300")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "demo" in found.stdout


def test_a_model_by_its_id_is_read_at_its_revision(hub: HubStub, tmp_path: Path) -> None:
    repo = hub.model("own/tiny", llama(tmp_path / "tiny"))
    first = repo.head
    hub.model("own/tiny", mistral(tmp_path / "tiny2"))
    environment = hub.environment(tmp_path / "home") | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    weights = {}
    for name, more in (("new", ""), ("old", f",revision={first}")):
        made = h3eval(
            "run", "--model", f"transformers:own/tiny{more}", "--tasks", "gsm8k", "--limit", "1", "--num-fewshot", "0",
            "--out", name, "--max-failed", "1", cwd=tmp_path, **environment,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        manifest = json.loads((tmp_path / name / "results.json").read_text())["manifest"]
        weights[name] = manifest["model"]["identity"]["weights"]
    assert weights["new"] != weights["old"]


WORDS = {
    "gated": "it is gated: accept its terms",
    "private": "not on the hub, or private",
    "down": "own/tiny",
    "cut": "",
}
QUICK = (("run", "gated"), ("merge", "private"), ("judge", "private"))


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        pytest.param(command, fault, marks=() if (command, fault) in QUICK else pytest.mark.slow)
        for command in ("run", "merge", "judge")
        for fault in WORDS
    ],
)
def test_a_model_that_the_hub_does_not_give_is_one_line(hub: HubStub, tmp_path: Path, command: str, fault: str) -> None:
    hub.model("own/tiny", llama(tmp_path / "tiny")).fault = fault
    environment = hub.environment(tmp_path / "home")
    (tmp_path / "answers.jsonl").write_text('{"task": "x", "id": "1", "text": "y"}\n')
    arguments = {
        "run": ("run", "--model", "own/tiny", "--backend", "transformers", "--tasks", "xstest", "--data", "demo"),
        "judge": ("run", "--model", "outputs:answers.jsonl", "--tasks", "xstest", "--data", "demo",
                  "--judge", "xstest=transformers:own/tiny"),
        "merge": ("merge", "--method", "weight_average", "--base", "own/tiny", "--model", "own/tiny",
                  "--out", "merged"),
    }[command]  # fmt: skip
    made = h3eval(*arguments, cwd=tmp_path, **environment)
    assert made.returncode == 2, made.stderr
    lines = [line for line in made.stderr.splitlines() if line.startswith("h3eval: ")]
    assert len(lines) == 1
    assert "own/tiny" in lines[0]
    assert WORDS[fault] in lines[0]
    assert "Traceback" not in made.stderr
