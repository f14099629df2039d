"""What a merge, a fusion and a sweep leave in their folders, with plain names and with hostile ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from merging import write_model
from run_fixture import HOSTILE

from h3eval.cli import main
from h3eval.fusion import routing
from h3eval.fusion.rows import Row

EXPERTS = ("helpful", "harmless", "honest")
LAYERS = 4


def models(folder: Path) -> list[Path]:
    """A base of four layers and three variants of it."""
    source = torch.Generator().manual_seed(0)
    shapes = {"model.embed_tokens.weight": (48, 24), "lm_head.weight": (48, 24), "model.norm.weight": (24,)}
    for layer in range(LAYERS):
        shapes |= {f"model.layers.{layer}.mlp.up_proj.weight": (40, 24)}
        shapes |= {f"model.layers.{layer}.self_attn.q_proj.weight": (24, 24)}
    base = {name: torch.randn(shape, generator=source) for name, shape in shapes.items()}
    made = [write_model(folder / "base", base)]
    for name in EXPERTS:
        moved = {key: value + 0.02 * torch.randn(value.shape, generator=source) for key, value in base.items()}
        made.append(write_model(folder / name, moved))
    return made


def merged(folder: Path, method: str = "ties", *flags: str) -> Path:
    """A real merge of them; its folder."""
    base, *others = models(folder)
    chosen = [word for path in others for word in ("--model", str(path))]
    out = folder / method
    assert main(["merge", "--method", method, "--base", str(base), *chosen, *flags, "--out", str(out)]) == 0
    return out


def fused() -> dict[str, Any]:
    """A fusion_report.json whose routing is measured by h3eval's own code, on made-up probabilities."""
    source = np.random.default_rng(0)
    rows = [Row("p", "a", EXPERTS[at % 3], f"{EXPERTS[at % 3]}-{at % 2}.jsonl") for at in range(90)]
    places = [EXPERTS.index(row.expert) for row in rows]
    scores = source.normal(size=(90, LAYERS, 3))
    for row, place in enumerate(places):
        scores[row, :, place] += 1.0
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    seen = routing.Observed(
        shares.mean(1), shares.mean(1), np.minimum(1, 2 * shares.mean(1)), shares, source.random(90)
    )
    activation = routing.activation(seen, rows, EXPERTS)
    history = [
        {"step": step, "loss": 8.0 / step, "gating_loss": 1.1 / step, "drift_loss": 0.01 * step, "router_kl": 0.001,
         "router_entropy": 1.09 / step, "router_accuracy": 0.5, "router_confidence": 0.4, "epoch": 1.0}
        for step in range(2, 22, 2)
    ]  # fmt: skip
    form = {"experts": 3, "top_k": 2, "shared": True, "rank": 8, "scale": 0.5, "temperature": 0.7, "bias": False,
            "gamma": [0.4, 0.3, 0.3], "literal": False, "dropout": 0.0}  # fmt: skip
    return {
        "method": "mocae",
        "settings": {"base": "models/base", "experts": {name: f"models/{name}" for name in EXPERTS},
                     "construction": {"compat": "paper"}, "training": {"steps": 20}},
        "experts": list(EXPERTS),
        "construction": {"form": form, "task_vector_energy_kept": {n: {"least": 0.5, "mean": 0.75} for n in EXPERTS}},
        "data": {"training_rows": 300, "heldout_rows": 90, "files": []},
        "training": {"history": [*history, {"step": 20, "train_loss": 1.0}], "parameters": 1000,
                     "trained_parameters": 100, "drift": dict.fromkeys(EXPERTS, 0.125), "skipped_rows": 0},
        "routing": {"calibration": routing.calibration(seen, places), "activation": activation,
                    "temperature": {"before": 0.7, "fitted": 0.35, "rows": 90}},
        "serving": {"format": "code", "needs_remote_code": True},
        "inputs": {n: {"folder": f"models/{n}", "sha256": 64 * n[0]} for n in ("base", *EXPERTS)},
        "sha256": "5f" * 32,
        "cost": {"seconds": {"train": 61.5, "measure": 2.25}, "peak_resident_bytes": 669683712,
                 "peak_device_bytes": None},
    }  # fmt: skip


def swept() -> dict[str, Any]:
    """A sweep.json of six merges, the last without a score on one axis."""
    numbers = [(50.0, 20.0, 70.0), (60.0, 30.0, 60.0), (70.0, 25.0, 40.0), (40.0, 10.0, 30.0), (55.0, 15.0, 35.0)]
    points = [
        {"point": f"point{at}", "varied": {"weights": f"{at}/1", "seed": 0}, "front": at < 3,
         "recipe": {"method": "rewarded_soup", "models": [{"path": "models/a", "weight": at}]},
         "scores": dict(zip(("helpful", "harmless", "over_refusal"), scores, strict=True)),
         "intervals": {"helpful": [scores[0] - 5, scores[0] + 5]}}
        for at, scores in enumerate(numbers)
    ]  # fmt: skip
    missing = {**points[0], "point": "point5", "front": False, "scores": {"helpful": 45.0, "harmless": None}}
    return {"schema": 1, "evaluated": {"suite": "3h", "flags": ""}, "axes": ["helpful", "harmless", "over_refusal"],
            "points": [*points, missing]}  # fmt: skip


WORDS = (
    *EXPERTS, "base", "models/base", "models/a", "mlp.up_proj", "model.layers.0.mlp.up_proj.weight", "helpful-0.jsonl",
    "model.safetensors", "0/1", "point1", "rewarded_soup", "ties", "code",
)  # fmt: skip


def hostile(content: Any) -> Any:
    """The same with an attack in the place of every name, as key and as value."""
    text = json.dumps(content)
    for at, word in enumerate(WORDS):
        # Keys of the format itself stay.
        if word != "base" or "tensors" in content:
            text = text.replace(json.dumps(word), json.dumps(f"{HOSTILE[at]}{at}"))
    return json.loads(text)


def read(folder: Path, name: str) -> dict[str, Any]:
    """A report's content."""
    made: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return made
