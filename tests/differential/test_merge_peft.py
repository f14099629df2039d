"""Methods and adapters against peft's, on the same tensors in float32, where their meaning is the same."""

from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from merging import distinct, handed, merged_change, read_model
from transformers import AutoModelForCausalLM

from h3eval.cli import main

peft = pytest.importorskip("peft", reason="peft is not installed")
merge_utils = pytest.importorskip("peft.utils.merge_utils", reason="peft is not installed")


@pytest.mark.parametrize("density", [0.1, 0.37, 0.9])
def test_the_same_as_peft_where_it_trims(density: float) -> None:
    changes = distinct()
    trimmed = [merge_utils.prune(torch.from_numpy(change), density, "magnitude") for change in changes]
    for change, wanted in zip(changes, trimmed, strict=True):
        made = merged_change("ties", change[None], density=density, normalize=False)
        np.testing.assert_array_equal(made.astype(np.float32), wanted.numpy())


def test_the_same_as_peft_with_equal_weights() -> None:
    changes = distinct()
    ones = torch.ones(3)
    tensors = [torch.from_numpy(change) for change in changes]
    wanted = merge_utils.ties(tensors, ones, 0.3, "total").numpy()
    np.testing.assert_allclose(merged_change("ties", changes, density=0.3), wanted, rtol=2e-6, atol=1e-9)
    summed = merge_utils.task_arithmetic(tensors, ones * 0.5).numpy()
    np.testing.assert_allclose(merged_change("task_arithmetic", changes, weight=0.5), summed, rtol=2e-6, atol=1e-9)


def test_the_same_as_peft_where_it_sums_what_is_large() -> None:
    changes = distinct()
    wanted = merge_utils.magnitude_prune([torch.from_numpy(change) for change in changes], torch.full((3,), 0.5), 0.37)
    made = merged_change("breadcrumbs", changes, density=0.37, gamma=0.0, weight=0.5)
    np.testing.assert_allclose(made, wanted.numpy(), rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize(("mine", "other"), [("dare", "dare_linear"), ("dare_ties", "dare_ties")])
def test_random_masks_in_pefts_formulas(mine: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = distinct()
    monkeypatch.setattr(torch, "bernoulli", handed())
    wanted = getattr(merge_utils, other)([torch.from_numpy(change) for change in changes], torch.ones(3), 0.4)
    parameters = {"normalize": True} if mine == "dare_ties" else {}
    made = merged_change(mine, changes, density=0.4, weight=1.0, **parameters)
    np.testing.assert_allclose(made, wanted.numpy(), rtol=5e-6, atol=2e-9)


@pytest.mark.parametrize("rslora", [False, True])
def test_adapters_are_merged_as_peft_merges_them(tmp_path: Path, rslora: bool) -> None:
    base = tiny_models.llama(tmp_path / "start")
    torch.manual_seed(0)
    settings = peft.LoraConfig(
        r=4, lora_alpha=12, use_rslora=rslora, target_modules=["q_proj", "up_proj"], init_lora_weights=False,
        alpha_pattern={"up_proj": 3},
    )  # fmt: skip
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings)
    model.save_pretrained(tmp_path / "adapter")
    wanted = model.merge_and_unload().state_dict()
    flags = ["--base", str(base), "--model", f"{tmp_path / 'adapter'},weight=1", "--out", str(tmp_path / "out")]
    assert main(["merge", "--method", "task_arithmetic", *flags]) == 0
    for name, value in read_model(tmp_path / "out").items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-6, atol=1e-6)
