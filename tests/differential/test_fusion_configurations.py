"""Fusing reads a configuration as its model's own class does: keys that config.json leaves out are that class's
defaults, two ways to say the same are the same, and what differs is refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_architectures
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from h3eval.errors import ConfigError
from h3eval.fusion.architectures import FAMILIES
from h3eval.fusion.construction import construct
from h3eval.fusion.serving import export
from h3eval.fusion.settings import Construction, Settings, Training

KINDS = sorted(FAMILIES)
LLAMA_2 = (
    "architectures", "bos_token_id", "eos_token_id", "hidden_act", "hidden_size", "initializer_range",
    "intermediate_size", "max_position_embeddings", "model_type", "num_attention_heads", "num_hidden_layers",
    "num_key_value_heads", "rms_norm_eps", "tie_word_embeddings", "use_cache", "vocab_size",
)  # fmt: skip
LINEAR = {"type": "linear", "factor": 4.0}
LLAMA_3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip


def config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return found


def rewritten(folder: Path, drop: tuple[str, ...] = (), **more: Any) -> Path:
    values = {key: value for key, value in {**config(folder), **more}.items() if key not in drop}
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return folder


def copied(folder: Path, name: str) -> Path:
    return Path(shutil.copytree(folder, folder.parent / name))


@torch.no_grad()
def logits(folder: Path) -> Tensor:
    """As transformers loads it: its own code where the folder has some. Raise AssertionError where it fills gaps."""
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=True, output_loading_info=True
    )
    gaps = {name for name in info["missing_keys"] if model.get_parameter(name).numel()}
    assert not gaps
    assert not info["unexpected_keys"]
    ids = torch.randint(0, tiny_architectures.VOCAB, (2, 40), generator=torch.Generator().manual_seed(3))
    found: Tensor = model.eval()(input_ids=ids, use_cache=False).logits
    return found


def fused(base: Path, experts: list[Path], out: Path, method: str = "h3fusion") -> Path:
    names = {f"expert{at}": str(folder) for at, folder in enumerate(experts)}
    asked = Settings(method, str(base), names, Construction(rank=32), Training())
    construct(asked, out / "made")
    export(out / "made", out / "served")
    return out / "served"


def same_or_refused(base: Path, out: Path, method: str = "h3fusion") -> str:
    """Fuse two copies: the result must say what the model says. What a refusal says, if there is one."""
    try:
        served = fused(base, [copied(base, "one"), copied(base, "two")], out, method)
    except ConfigError as error:
        return str(error)
    made, wanted = logits(served), logits(base)
    assert float((made - wanted).abs().max() / wanted.abs().max()) <= 1e-5
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_configuration_is_taken(kind: str, tmp_path: Path) -> None:
    assert same_or_refused(tiny_architectures.made(kind, tmp_path / "base"), tmp_path) == ""


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
@pytest.mark.parametrize("kind", KINDS)
def test_keys_left_out_at_random(kind: str, seed: int, tmp_path: Path) -> None:
    base = tiny_architectures.made(kind, tmp_path / "base")
    tiny_architectures.left_out(base, seed)
    assert "\n" not in same_or_refused(base, tmp_path, ("h3fusion", "mocae")[seed % 2])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_key_left_out(kind: str, tmp_path: Path) -> None:
    whole = tiny_architectures.made(kind, tmp_path / "whole")
    for key in sorted(config(whole).keys() - tiny_architectures.KEPT):
        (tmp_path / key).mkdir()
        base = rewritten(Path(shutil.copytree(whole, tmp_path / key / "base")), (key,))
        said = same_or_refused(base, tmp_path / key)
        assert not said or "config.json" in said, (key, said)


OLD_FORMS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "Llama 2's own": ("llama", (), {"rope_scaling": None, "pretraining_tp": 1, "torch_dtype": "float32"}),
    "no base of the rotary positions": ("llama", ("rope_parameters",), {}),
    "an old base of the rotary positions": ("mistral", ("rope_parameters",), {"rope_theta": 50000.0}),
    "linear scaling": ("llama", ("rope_parameters",), {"rope_theta": 20000.0, "rope_scaling": LINEAR}),
    "Llama 3's scaling": ("llama", ("rope_parameters",), {"rope_theta": 500000.0, "rope_scaling": LLAMA_3}),
    "Qwen's base": ("qwen2", ("rope_parameters",), {"rope_theta": 1e6}),
    "two bases": ("gemma3_text", ("rope_parameters",), {"rope_theta": 5e5, "rope_local_base_freq": 2e4}),
    "no epsilon": ("mistral", ("rms_norm_eps",), {}),
    "a window that Llama does not have": ("llama", (), {"sliding_window": 4}),
    "no window": ("mistral", ("sliding_window",), {}),
    "an unknown key": ("qwen3", (), {"norm_topk_prob": False, "num_experts": 9, "decoder_sparse_step": 3}),
    "another activation": ("llama", (), {"hidden_act": "gelu"}),
}


@pytest.mark.parametrize("name", OLD_FORMS)
def test_forms_of_other_years(name: str, tmp_path: Path) -> None:
    kind, drop, more = OLD_FORMS[name]
    base = tiny_architectures.made(kind, tmp_path / "base")
    if name == "Llama 2's own":
        drop = tuple(config(base).keys() - set(LLAMA_2))
    assert same_or_refused(rewritten(base, drop, **more), tmp_path) == ""


def test_a_model_with_as_many_keys_as_queries_needs_not_say_so(tmp_path: Path) -> None:
    model = tiny_architectures.made("llama", tmp_path / "base", num_key_value_heads=4)
    assert same_or_refused(rewritten(model, ("num_key_value_heads", "head_dim")), tmp_path) == ""


@pytest.mark.parametrize(
    ("kind", "drop", "says"),
    [
        ("llama", ("num_key_value_heads",), r"k_proj.weight is \(16, 32\), and \(32, 32\) by config.json"),
        ("gemma", ("head_dim",), "_proj.weight is .* by config.json"),
        ("llama", ("num_hidden_layers",), "32 layers|num_hidden_layers|the weights lack"),
        ("qwen2", ("hidden_size",), "config.json"),
    ],
)
def test_what_does_not_fit_the_weights_is_refused(kind: str, drop: tuple[str, ...], says: str, tmp_path: Path) -> None:
    base = rewritten(tiny_architectures.made(kind, tmp_path / "base"), drop)
    with pytest.raises(ConfigError, match=says):
        fused(base, [base, base], tmp_path)


def test_tied_tables_whose_configuration_does_not_say_so(tmp_path: Path) -> None:
    base = tiny_architectures.made("llama", tmp_path / "base", tie_word_embeddings=True)
    assert same_or_refused(base, tmp_path) == ""
    base = rewritten(base, ("tie_word_embeddings",))
    with pytest.raises(ConfigError, match=r"lack lm_head.weight .tie_word_embeddings is false"):
        fused(base, [base, base], tmp_path / "again")


def test_two_ways_to_say_the_same(tmp_path: Path) -> None:
    base = tiny_architectures.made("llama", tmp_path / "base")
    older = rewritten(
        copied(base, "older"), ("rope_parameters",), rope_theta=10000, rope_scaling=None, torch_dtype="float32"
    )
    silent = rewritten(copied(base, "silent"), ("rope_parameters", "head_dim", "attention_bias", "hidden_act"))
    labelled = rewritten(copied(base, "labelled"), id2label={"0": "no"}, use_cache=False, eos_token_id=1)
    wanted = logits(base)
    made = logits(fused(base, [older, silent, labelled], tmp_path))
    assert float((made - wanted).abs().max() / wanted.abs().max()) <= 1e-5


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope_parameters", {"rope_theta": 20000.0, "rope_type": "default"}),
        ("rope_parameters", {"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.0}),
        ("rms_norm_eps", 1e-3), ("hidden_act", "gelu"), ("num_attention_heads", 2),
    ],
)  # fmt: skip
def test_experts_that_compute_something_else_are_refused_by_name(key: str, value: Any, tmp_path: Path) -> None:
    base = tiny_architectures.made("llama", tmp_path / "base")
    other = rewritten(copied(base, "other"), **{key: value})
    with pytest.raises(ConfigError, match=f"{key}|o_proj.weight is .* by config.json"):
        fused(base, [copied(base, "one"), other], tmp_path)


def test_what_is_served_says_it_in_both_layouts(tmp_path: Path) -> None:
    """transformers 4 reads the older names alone."""
    base = rewritten(
        tiny_architectures.made("llama", tmp_path / "base"), ("rope_parameters",), rope_theta=500000.0,
        rope_scaling=LLAMA_3,
    )  # fmt: skip
    found = config(fused(base, [base, base], tmp_path))
    assert found["rope_theta"] == found["rope_parameters"]["rope_theta"] == 500000.0
    assert found["rope_scaling"]["factor"] == found["rope_parameters"]["factor"] == 8.0
    assert found["rms_norm_eps"] == 1e-6
    assert found["num_key_value_heads"] == 2
    assert found["dtype"] == "float32"
