"""Every task that reads from the hub, against a hub on this machine: what it asks for, and what it says if it can't."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_rows
import pytest
from hub_stub import HubStub, files_of

HERE = Path(__file__).parents[1]


class Probe:
    """One process that reads samples from the stub: its libraries are loaded once."""

    def __init__(self, hub: HubStub, home: Path) -> None:
        self.hub = hub
        environment = {key: value for key, value in os.environ.items() if not key.startswith("H3EVAL_")}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "hub_probe.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env={**environment, **hub.environment(home)},
        )  # fmt: skip

    def read(self, task: str, **asked: Any) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps({"task": task, **asked}), file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert "traceback" not in answer, answer["traceback"]
        return answer


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    with HubStub() as hub:
        hub_rows.fill(hub)
        running = Probe(hub, tmp_path_factory.mktemp("home"))
        yield running
        running.process.kill()
        running.process.communicate()


MATH = tuple(f"EleutherAI/hendrycks_math:{kind}:test" for kind in hub_rows.MATH)
GENERATION = ("truthfulqa/truthful_qa:generation:validation",)
READS: dict[str, tuple[str, ...]] = {
    "alpaca_eval/v2": ("tatsu-lab/alpaca_eval:alpaca_eval_gpt4_baseline:eval",),
    "alpaca_eval/v1": ("tatsu-lab/alpaca_eval:alpaca_eval:eval",),
    "arc_challenge/lm-eval": ("allenai/ai2_arc:ARC-Challenge:test",),
    "arc_challenge/letters-dev": ("allenai/ai2_arc:ARC-Challenge:validation",),
    "arc_easy/lm-eval": ("allenai/ai2_arc:ARC-Easy:test",),
    "arc_easy/letters-dev": ("allenai/ai2_arc:ARC-Easy:validation",),
    "beavertails/pku-700": ("PKU-Alignment/BeaverTails-Evaluation::test",),
    "beavertails/h3fusion-500": ("PKU-Alignment/BeaverTails::30k_test",),
    "beavertails/gitdisl-1000": ("PKU-Alignment/BeaverTails::30k_test",),
    "gsm8k/lm-eval": ("openai/gsm8k:main:test", "openai/gsm8k:main:train"),
    "lm_eval/gsm8k_cot": ("openai/gsm8k:main:test",),
    "lm_eval/arc_easy": ("allenai/ai2_arc:ARC-Easy:test",),
    "math/minerva": MATH,
    "math/hendrycks": MATH,
    "math/math500": ("HuggingFaceH4/MATH-500:default:test",),
    "or_bench/hard-1k": ("bench-llm/or-bench:or-bench-hard-1k:train",),
    "or_bench/toxic": ("bench-llm/or-bench:or-bench-toxic:train",),
    "or_bench/80k": ("bench-llm/or-bench:or-bench-80k:train",),
    "saladbench/base": ("OpenSafetyLab/Salad-Data:base_set:train",),
    "saladbench/attack": ("OpenSafetyLab/Salad-Data:attack_enhanced_set:train",),
    "saladbench/defense": ("OpenSafetyLab/Salad-Data:defense_enhanced_set:train",),
    "saladbench/mcq": ("OpenSafetyLab/Salad-Data:mcq_set:train",),
    "truthfulqa/official": GENERATION,
    "truthfulqa/chat": GENERATION,
    "truthfulqa/h3fusion-409": GENERATION,
    "truthfulqa_mc/lm-eval": ("truthfulqa/truthful_qa:multiple_choice:validation",),
    "xstest/v2": ("Paul/XSTest::train",),
}
FILES_ONLY = ("halueval_wild/types-500", "honeset/honesty-h2", "mt_bench/single", "mt_bench/single-corrected",
              "mt_bench/pairwise-gpt-3.5-turbo", "mt_bench/pairwise-gpt-4", "truthfulqa_mc/binary")  # fmt: skip
"""Tasks that need a file which no hub has; those of evalplus have a cache of their own."""


def test_no_task_is_forgotten() -> None:
    from h3eval import registry

    every = {
        task.id
        for name in registry.names("tasks")
        if not callable(registry.load("tasks", name))
        for task in registry.tasks(name)
    }
    known = {*READS, *FILES_ONLY, "mmlu/lm-eval", "mmlu/5-shot", "mt_bench/single-imported"}
    assert {each for each in every if "_plus/" not in each} <= known


@pytest.mark.parametrize("task", READS)
def test_a_task_reads_what_its_manifest_records(probe: Probe, task: str) -> None:
    found = probe.read(task)
    names = {name.split(":")[1] for name in found["used"]}
    (head,) = {probe.hub.repos["datasets", name].head for name in names}
    assert found["used"] == {f"hub:{each}": head for each in READS[task]}
    assert found["samples"]


@pytest.mark.slow
def test_mmlu_reads_every_subject_before_its_first_sample(probe: Probe) -> None:
    found = probe.read("mmlu/5-shot", n=1)
    subjects = hub_rows.subjects()
    assert len(subjects) == hub_rows.MMLU_SUBJECTS
    assert set(found["used"]) == {f"hub:cais/mmlu:{each}:{split}" for each in subjects for split in ("dev", "test")}
    assert set(probe.read("mmlu/lm-eval", n=1)["used"]) == {f"hub:cais/mmlu:{each}:test" for each in subjects}


@pytest.mark.parametrize("task", FILES_ONLY)
def test_what_no_hub_has_says_which_file_to_get(probe: Probe, task: str) -> None:
    found = probe.read(task)
    assert found["exit_code"] == 2
    assert "--data-dir" in found["error"]


REPRESENTATIVES = [task for task in READS if task not in ("alpaca_eval/v1", "arc_easy/lm-eval", "arc_easy/letters-dev",
    "lm_eval/arc_easy", "or_bench/toxic", "or_bench/80k", "truthfulqa/chat", "truthfulqa/h3fusion-409")]  # fmt: skip
"""Of tasks that read the same data with the same code, one."""


def with_columns(splits: hub_rows.Splits, column: str) -> hub_rows.Splits:
    """The same with a column renamed in every row."""
    return {
        key: [{(f"{name}_v2" if name == column else name): value for name, value in row.items()} for row in rows]
        for key, rows in splits.items()
    }


@pytest.mark.parametrize("task", [*REPRESENTATIVES, "mmlu/lm-eval"])
def test_a_renamed_column_is_named_or_was_not_needed(probe: Probe, task: str) -> None:
    """Never a traceback, and never other samples than before."""
    once = {"n": 2, "options": {"limit": 2}}
    before = probe.read(task, **once)
    name = next(iter(before["used"])).split(":")[1]
    config, split = next(iter(before["used"])).split(":")[2:]
    splits = hub_rows.datasets()[name]
    repo = probe.hub.repos["datasets", name]
    kept = dict(repo.commits)
    needed = []
    for column in {
        column: None for key, rows in splits.items() if key[0] == (config or "default") for column in rows[0]
    }:
        repo.commit(files_of(with_columns(splits, column)))
        found = probe.read(task, **once)
        repo.commits = dict(kept)
        if "error" not in found:
            assert found["samples"] == before["samples"] or questions(found) == questions(before), column
            continue
        needed.append(column)
        assert (found["class"], found["exit_code"]) == ("DataMissing", 2)
        message = found["error"]
        assert "\n" not in message
        assert all(word in message for word in (name, f"split {split}", "--data-dir", column)), message
    assert needed, "a task that needs no column reads none"


def questions(found: dict[str, Any]) -> list[Any]:
    """What is asked and what is right, without what is only kept beside it."""
    return [(each["prompt"], each["choices"], each["reference"]) for each in found["samples"]]


@pytest.mark.parametrize("task", REPRESENTATIVES)
def test_a_missing_split_is_one_line(probe: Probe, task: str) -> None:
    name, config, split = READS[task][0].split(":")
    repo = probe.hub.repos["datasets", name]
    kept = dict(repo.commits)
    left = {key: rows for key, rows in hub_rows.datasets()[name].items() if key[1] != split}
    repo.commit(files_of(left or {("default", "other"): [{"a": 1}]}))
    found = probe.read(task)
    repo.commits = kept
    assert (found["class"], found["exit_code"]) == ("DataMissing", 2)
    message = found["error"]
    assert "\n" not in message
    assert all(word in message for word in (name, config, f"split {split}", "--data-dir")), message


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("gated", "it is gated: accept its terms"),
        ("private", "not on the hub, or private"),
        ("down", "out of order, try again later"),
        ("500", "out of order, try again later"),
        ("cut", "split test: "),
    ],
)
def test_a_hub_that_gives_nothing_says_why(probe: Probe, fault: str, words: str) -> None:
    name = "openai/gsm8k"
    repo = probe.hub.repos["datasets", name]
    kept = dict(repo.commits)
    rows = hub_rows.datasets()[name]
    # A revision that no cache has: what an earlier test has read must not stand in for it.
    repo.commit(files_of({**rows, ("main", fault): rows["main", "test"]}))
    with probe.hub.faulty(name, fault):
        found = probe.read("lm_eval/gsm8k_cot", n=1)
    repo.commits = kept
    assert found["exit_code"] == 2
    assert words in found["error"]
    assert name in found["error"]
    assert "\n" not in found["error"]


@pytest.mark.parametrize("what", ["a missing configuration", "an empty split", "null texts"])
def test_data_that_is_not_there_is_one_line(probe: Probe, what: str) -> None:
    name, task = "bench-llm/or-bench", "or_bench/hard-1k"
    splits = hub_rows.datasets()[name]
    key = ("or-bench-hard-1k", "train")
    if what == "a missing configuration":
        del splits[key]
    elif what == "an empty split":
        splits[key] = []
    else:
        splits[key] = [{**row, "prompt": None if k == 0 else row["prompt"]} for k, row in enumerate(splits[key])]
    repo = probe.hub.repos["datasets", name]
    kept = dict(repo.commits)
    repo.commit(files_of(splits))
    found = probe.read(task)
    repo.commits = kept
    assert (found.get("class"), found.get("exit_code")) == ("DataMissing", 2), found
    assert all(word in found["error"] for word in (name, "or-bench-hard-1k", "split train")), found["error"]
    assert "\n" not in found["error"]
