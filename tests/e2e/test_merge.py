"""A merged checkpoint is a model: transformers loads it, it generates, and `h3eval run` evaluates it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
import torch
from merging import read_model, write_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from h3eval.cli import main

FAMILIES = ("llama", "mistral", "qwen2", "gemma3")


def made(family: str, folder: Path, head_dim: int = 8) -> Path:
    """A tiny model of a family. vLLM on a CPU needs heads of 32 and more."""
    if family != "qwen2":
        model: Path = getattr(tiny_models, family)(folder, head_dim=head_dim)
        return model
    size = len(tiny_models.tokenizer(folder))
    torch.manual_seed(0)
    sizes = {**tiny_models.SIZES, "hidden_size": head_dim * tiny_models.SIZES["num_attention_heads"]}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=size, tie_word_embeddings=True, **sizes)).save_pretrained(folder)
    return folder


def variants(base: Path, folder: Path, count: int = 2) -> list[Path]:
    """Copies of a model with a little noise."""
    models = []
    for seed in range(count):
        source = torch.Generator().manual_seed(seed)
        noisy = {name: t + 0.05 * torch.randn(t.shape, generator=source).to(t) for name, t in read_model(base).items()}
        copy = shutil.copytree(base, folder / f"variant{seed}", ignore=shutil.ignore_patterns("*.safetensors"))
        models.append(write_model(copy, noisy, config=json.loads((base / "config.json").read_text())))
    return models


def merged(family: str, tmp: Path, *flags: str) -> Path:
    """A merge of two variants of a tiny model."""
    base = made(family, tmp / "start")
    chosen = [flag for path in variants(base, tmp) for flag in ("--model", str(path))]
    common = ["--base", str(base), *chosen, "--out", str(tmp / "out")]
    assert main(["merge", "--method", "ties", "--set", "density=0.5", *common, *flags]) == 0
    return tmp / "out"


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_and_generates(family: str, tmp_path: Path) -> None:
    out = merged(family, tmp_path, "--shard-size", "40KB")
    model, told = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert not told["mismatched_keys"]
    tokenizer = AutoTokenizer.from_pretrained(out)
    ids = tokenizer("the cat sees", return_tensors="pt").input_ids
    assert model.generate(ids, max_new_tokens=5, do_sample=False).shape[1] > ids.shape[1]
    held = read_model(out)
    for name, value in model.state_dict().items():
        assert name not in held or torch.equal(value, held[name])


def test_h3eval_evaluates_what_it_merged(tmp_path: Path) -> None:
    out = merged("llama", tmp_path)
    command = [
        sys.executable, "-m", "h3eval.cli", "run", "--model", str(out), "--backend", "transformers",
        "--tasks", "arc_challenge", "--data", "demo", "--limit", "2", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "results.json").is_file()


@pytest.mark.vllm
@pytest.mark.parametrize("family", FAMILIES)
def test_vllm_loads_and_generates(family: str, tmp_path: Path) -> None:
    base = made(family, tmp_path / "start", head_dim=32)
    chosen = [flag for path in variants(base, tmp_path) for flag in ("--model", str(path))]
    flags = ["--set", "density=0.5", "--base", str(base), *chosen, "--dtype", "bfloat16"]
    assert main(["merge", "--method", "dare_ties", *flags, "--out", str(tmp_path / "out")]) == 0
    command = [
        sys.executable, "-m", "h3eval.cli", "run", "--model", str(tmp_path / "out"), "--backend", "vllm",
        "--tasks", "gsm8k", "--data", "demo", "--limit", "2", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_sweep_goes_on_where_it_was_and_keeps_the_front(tmp_path: Path) -> None:
    base = made("llama", tmp_path / "start")
    models = ", ".join(f'"{path}"' for path in variants(base, tmp_path))
    (tmp_path / "sweep.toml").write_text(f'preferences = 2\n[merge]\nmethod = "rewarded_soup"\nmodels = [{models}]\n')
    flags = ["--tasks", "arc_challenge", "--run-flags", "--data demo --limit 4 --backend transformers"]
    command = ["sweep", str(tmp_path / "sweep.toml"), *flags, "--out", str(tmp_path / "sweep")]
    assert main(command) == 0
    told = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert len(told["points"]) == 3
    kept = {path.parent.name for path in (tmp_path / "sweep").glob("*/model")}
    assert kept == {each["point"] for each in told["points"] if each["front"]}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").glob("*/run/*")}
    assert main(command) == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").glob("*/run/*")}
