"""Three tiny experts with behaviours of their own, and the rows that teach them: for tests of fusion."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import tiny_models
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from h3eval.fusion.settings import Construction, Serve, Settings, Source, Training

EXPERTS = ("helpful", "harmless", "honest")
# Each behaviour has words that its prompts hold, and one answer.
TOPICS = {"helpful": ("red", "green blue"), "harmless": ("cat", "no river"), "honest": ("house", "yes Rome")}
SMALL = {**tiny_models.SIZES, "initializer_range": 0.15}


def qwen(folder: Path, kind: Any, config: Any, heads: int = 0) -> Path:
    """A tiny Qwen; `heads` of its whole width where they shall not be tiny_models' own."""
    size = len(tiny_models.tokenizer(folder))
    own = {"num_attention_heads": heads, "num_key_value_heads": heads} if heads else {}
    torch.manual_seed(0)
    kind(config(vocab_size=size, pad_token_id=2, **(tiny_models.SIZES | own))).eval().save_pretrained(folder)
    return folder


BASES: dict[str, Any] = {
    "llama": tiny_models.llama,
    "mistral": tiny_models.mistral,
    "qwen2": lambda folder: qwen(folder, Qwen2ForCausalLM, Qwen2Config),
    "qwen3": lambda folder: qwen(folder, Qwen3ForCausalLM, Qwen3Config),
    "gemma3": tiny_models.gemma3,
}


def nudged(base: Path, folder: Path, seed: int, size: float = 0.05, only: str = ".mlp.") -> Path:
    """A copy whose matrices with `only` in their names are moved a little at random."""
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if only in name:
                parameter += size * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def experts(base: Path, folder: Path, size: float = 0.05, only: str = ".mlp.") -> dict[str, str]:
    """Three nudged copies."""
    return {name: str(nudged(base, folder / name, seed, size, only)) for seed, name in enumerate(EXPERTS, 1)}


def rows(folder: Path, count: int = 60, seed: int = 0) -> dict[str, Path]:
    """A file of prompts and answers for each behaviour."""
    source = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, (topic, answer) in TOPICS.items():
        files[name] = folder / f"{name}.jsonl"
        with files[name].open("w", encoding="utf-8") as file:
            for _ in range(count):
                words = [*source.choices(tiny_models.WORDS[:8], k=3), topic, topic, topic]
                source.shuffle(words)
                file.write(json.dumps({"prompt": " ".join(words), "response": answer}) + "\n")
    return files


def asked(
    method: str, base: Path, experts: dict[str, str], files: dict[str, Path] | None = None, **changes: Any
) -> Settings:
    """Settings for a quick fusion; `construction`, `training` and `serve` take dictionaries."""
    training = Training(max_length=48, batch=12, learning_rate=1e-2, epochs=2, save_every=1000, log_every=4)
    return Settings(
        method,
        str(base),
        experts,
        Construction(**{"rank": 8, **changes.get("construction", {})}),
        replace(training, **changes.get("training", {})),
        tuple(Source(str(file), "pairs", name) for name, file in (files or {}).items()),
        Serve(**changes.get("serve", {})),
    )
