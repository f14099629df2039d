"""Merges of sixty architectures at weight 1, with keys left out of config.json at random: transformers gives the result
the logits of the model that it was made of, or the merge is refused by name."""

from pathlib import Path
from typing import Any

import pytest
import tiny_architectures
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from h3eval.cli import main

QUICK = tiny_architectures.QUICK
ALL = [
    pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow)
    for kind in sorted(tiny_architectures.ARCHITECTURES)
]
GAPS = ("missing_keys", "unexpected_keys", "mismatched_keys")


def loads(folder: Path) -> Any:
    """The model, where transformers loads it as it was saved; None where it can't, or fills gaps with chance."""
    try:
        model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    except Exception:  # noqa: BLE001  whatever it says, this is no model
        return None
    return None if any(info[key] for key in GAPS) else model.eval()


@torch.no_grad()
def logits(model: Any) -> Tensor:
    ids = torch.randint(0, tiny_architectures.VOCAB, (2, 40), generator=torch.Generator().manual_seed(3))
    found: Tensor = model(input_ids=ids, use_cache=False).logits
    return found


def merged(words: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a merge says where it is refused, one line; nothing where it is made."""
    capsys.readouterr()
    code = main(["merge", *words, "--check", "--no-page", "--out", str(out)])
    said = [line for line in capsys.readouterr().err.splitlines() if line and not line.startswith("merging:")]
    if code == 0:
        return ""
    assert code == 2
    assert not out.exists()
    assert not list(out.parent.glob(f".{out.name}*"))
    return said[-1]


def same_or_refused(base: Path, model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    own = loads(model)
    ways = {
        "linear": ["--method", "rewarded_soup", "--model", f"{model},weight=1"],
        "task": ["--method", "task_arithmetic", "--base", str(base), "--model", f"{model},weight=1"],
    }
    said = ""
    for name, words in ways.items():
        said = merged(words, folder / name, capsys)
        if said:
            assert "config.json" in said or "transformers" in said or "--check" in said, said
            continue
        assert own is not None, "made of a model that transformers doesn't load whole"
        made, wanted = logits(loads(folder / name)), logits(own)
        assert float((made - wanted).abs().max() / wanted.abs().max()) <= 1e-5
    return said


@pytest.mark.parametrize("kind", ALL)
def test_a_merge_at_weight_one_is_its_model(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, model = (tiny_architectures.made(kind, tmp_path / str(seed), seed) for seed in (5, 6))
    assert loads(model) is not None
    assert same_or_refused(base, model, tmp_path, capsys) == ""


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
@pytest.mark.parametrize("kind", ALL)
def test_keys_left_out_are_its_own_defaults_or_a_refusal(
    kind: str, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, model = (tiny_architectures.made(kind, tmp_path / str(number), number) for number in (5, 6))
    for folder in (base, model):
        tiny_architectures.left_out(folder, seed)
    same_or_refused(base, model, tmp_path, capsys)
