"""The core alone, in an empty environment: all that needs no extra works, and what needs one says which."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import tiny_models
import torch
from empty_machine import CONSTRAINED, Machine
from peft import LoraConfig, get_peft_model
from sentencepiece import SentencePieceTrainer
from transformers import AutoModelForCausalLM

pytestmark = pytest.mark.install
RUN = ("run", "--tasks", "xstest,arc_easy", "--data", "demo", "--limit", "2", "--judge", "xstest=refusal_keywords")
LISTED = ("tasks", "judges", "reports", "backends", "suites", "composites")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Machine:
    made = Machine("core", tmp_path_factory.mktemp("core"))
    made.make(*CONSTRAINED, str(wheel))
    return made


@pytest.fixture(scope="module")
def runs(machine: Machine, models: Path) -> tuple[str, str]:
    """Runs of two models."""
    for name in ("base", "helpful"):
        machine.done(*RUN, "--model", str(models / name), "--out", name)
    return "base", "helpful"


def test_what_is_installed_fits_together(machine: Machine) -> None:
    told = machine.run(str(machine.bin / "uv"), "pip", "check", "--python", str(machine.bin / "python"))
    assert told.returncode == 0, told.stderr
    for package in ("peft", "trl", "numba", "vllm", "gguf", "accelerate"):
        found = machine.run(str(machine.bin / "python"), "-c", f"import {package}")
        assert found.returncode == 1, f"{package} came along: the lines about extras are not tried"


def test_looking_around(machine: Machine) -> None:
    assert "exit codes" in machine.done("--help")
    for kind in LISTED:
        assert machine.done("ls", kind)
    assert "unsafe" in machine.done("show", "task", "beavertails")
    assert "wording" in machine.done("show", "judge", "alpaca_eval_v2")
    assert "h3eval[merge]" in machine.done("doctor")


def test_a_model_is_evaluated_and_its_run_used(machine: Machine, runs: tuple[str, str]) -> None:
    found = json.loads((machine.work / "base" / "results.json").read_text())
    scored = {each["task"]: each["value"] for each in found["estimates"] if each["primary"]}
    assert scored.keys() == {"xstest", "arc_easy"}
    assert None not in scored.values()
    old, new = runs
    for words in (("score", old), ("report", old), ("show", "run", old), ("compare", old, new, "--html", "page.html")):
        machine.done(*words)
    machine.done("leaderboard", old, new, "--out", "site")
    machine.done("export", old, "--format", "parquet,every_eval_ever", "--out", "exported")
    for name in ("page.html", "site/index.html", "exported/samples.parquet", "base/report.html"):
        assert (machine.work / name).stat().st_size > 0
    (machine.work / "gate.toml").write_text('margin = 1.0\n[tasks."arc_easy/lm-eval"]\n')
    assert machine.h3eval("gate", new, "--baseline", old, "--policy", "gate.toml").returncode in (0, 1, 3)
    code = f"import h3eval; run = h3eval.load({old!r}); print(len(run.samples), len(run.estimates.columns))"
    assert machine.run(str(machine.bin / "python"), "-c", code).stdout.split()[0] == "4"


def test_an_estimate_and_answers_made_elsewhere(machine: Machine) -> None:
    machine.done("estimate", "--model", "openai:x,base_url=http://127.0.0.1:9/v1", "--tasks", "gsm8k", "--data", "demo")
    (machine.work / "answers.jsonl").write_text('{"task": "gsm8k", "id": "nobody", "text": "4"}\n')
    machine.done("run", "--model", "outputs:answers.jsonl", "--tasks", "gsm8k", "--data", "demo", "--out", "o", code=3)


def test_a_nightly(machine: Machine, models: Path) -> None:
    judge = '"--data", "demo", "--limit", "2", "--judge", "xstest=refusal_keywords"'
    (machine.work / "nightly.toml").write_text(
        f'runs = "nights"\nsite = "night-site"\nhistory = "history.jsonl"\n'
        f'[models.small]\nmodel = "{models / "base"}"\ntasks = "xstest"\nargs = [{judge}]\n'
    )
    machine.done("nightly", "nightly.toml")
    assert (machine.work / "night-site" / "index.html").is_file()


def test_a_checkpoint_with_a_sentencepiece_model_alone(machine: Machine, models: Path) -> None:
    """As older models have it: no tokenizer.json. Whether it can be read hangs on three packages' versions."""
    folder = machine.work / "spoken"
    shutil.copytree(models / "base", folder, ignore=shutil.ignore_patterns("tokenizer*"))
    SentencePieceTrainer.train(
        sentence_iterator=iter(tiny_models.sentences(500)), model_prefix=str(folder / "tokenizer"), vocab_size=150,
        model_type="bpe", minloglevel=2,
    )  # fmt: skip
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>"}')
    machine.done(*RUN, "--model", str(folder), "--out", "spoken-run")


def adapter(models: Path, folder: Path) -> Path:
    """An adapter of the base."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(models / "base")
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(folder)
    return folder


def test_what_needs_an_extra_names_it_in_one_line(
    machine: Machine, runs: tuple[str, str], models: Path, tmp_path: Path
) -> None:
    base, helpful = str(models / "base"), str(models / "helpful")
    (machine.work / "empty.toml").write_text('preset = "h3fusion"\n')
    (machine.work / "sweep.toml").write_text(
        f'preferences = 2\n[merge]\nmethod = "rewarded_soup"\nmodels = ["{base}"]\n'
    )
    (machine.work / "model.gguf").write_bytes(b"GGUF")
    one = ("--tasks", "xstest", "--data", "demo", "--limit", "1", "--out", "none")
    adapted = f"transformers:{base},adapter={adapter(models, tmp_path / 'adapter')}"
    wanted = {
        ("merge", "--method", "ties", "--base", base, "--model", helpful, "--out", "none"): "merge",
        ("sweep", "sweep.toml", "--tasks", "xstest", "--out", "none"): "merge",
        ("fuse", "empty.toml", "--out", "none"): "fuse",
        ("fuse", "align", "empty.toml", "--out", "none"): "fuse",
        ("fuse", "activation", "none", "--run", "base"): "fuse",
        ("run", "--model", adapted, *one): "fuse",
        ("run", "--model", "model.gguf", *one): "demo",
        ("run", "--model", "demo", *one): "demo",
        ("run", "--model", f"vllm:{base}", *one): "vllm",
        ("run", "--model", base, "--backend", "vllm", *one): "vllm",
        ("run", "--model", base, "--judge", f"xstest=vllm:{base}", *one): "vllm",
        ("judge", "base", "--judge", f"xstest=vllm:{base}"): "vllm",
    }
    for words, extra in wanted.items():
        line = machine.refused(*words)
        assert f"pip install 'h3eval[{extra}]'" in line, f"{words}: {line}"
    assert not (machine.work / "none").exists()


def test_nothing_was_written_outside(machine: Machine) -> None:
    """All that a run keeps for later lies in the home's cache."""
    assert {each.name for each in machine.home.iterdir()} <= {".cache", ".config", ".local"}
    assert sys.prefix not in machine.environment()["PATH"]
    assert shutil.which("h3eval", path=str(machine.bin))
