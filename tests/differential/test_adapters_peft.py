"""Every adapter that peft makes of a grid of settings is merged as peft merges it, or refused by name."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from transformers import AutoModelForCausalLM

from h3eval.checkpoints import adapters
from h3eval.errors import ConfigError
from h3eval.fusion.checkpoints import Adapted
from h3eval.fusion.checkpoints import Checkpoint as FusionCheckpoint
from h3eval.merge.adapters import as_base
from h3eval.merge.checkpoints import open_checkpoint

peft = pytest.importorskip("peft", reason="peft is not installed")

EQUAL: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "gaussian": {"init_lora_weights": "gaussian"},
    "random": {"init_lora_weights": False},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "mica": {"init_lora_weights": "mica"},
    "fractional alpha": {"lora_alpha": 3},
    "dropout": {"lora_dropout": 0.1},
    "ranks": {"rank_pattern": {"down_proj": 2, "layers.1.self_attn.q_proj": 6}},
    "ranks, rslora": {"rank_pattern": {"down_proj": 2}, "use_rslora": True},
    "alphas": {"alpha_pattern": {"layers.1.self_attn.q_proj": 32, ".*_proj": 5}},
    "alphas by a whole name": {"alpha_pattern": {"^model.layers.0.self_attn.q_proj": 64}},
    "alphas by alternatives": {"alpha_pattern": {"q_proj|down_proj": 3}, "rank_pattern": {"q_proj|v_proj": 3}},
    "alphas by a part that is none": {"alpha_pattern": {"proj": 64}},
    "one layer": {"layers_to_transform": [0]},
    "one layer, bare": {"layers_to_transform": 1},
    "layers of a pattern": {"layers_to_transform": [1, 2], "layers_pattern": "layers"},
    "layers of patterns": {"layers_to_transform": [1], "layers_pattern": ["h", "layers"]},
    "without some": {"exclude_modules": ["layers.0.mlp.down_proj"]},
    "without some, by an expression": {"exclude_modules": r".*\.0\..*"},
    "by an expression": {"target_modules": r".*layers\.[01]\..*(q|k)_proj"},
    "all linear": {"target_modules": "all-linear"},
    "by whole names": {"target_modules": ["model.layers.0.mlp.up_proj"]},
    "head": {"target_modules": ["lm_head", "q_proj"]},
    "embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "embeddings, rslora": {"target_modules": ["embed_tokens"], "use_rslora": True},
    "embeddings and head": {"target_modules": ["embed_tokens", "lm_head"], "lora_alpha": 3},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "dora": ({"use_dora": True}, "use_dora"),
    "pissa": ({"init_lora_weights": "pissa"}, "PiSSA"),
    "pissa, fast": ({"init_lora_weights": "pissa_niter_4"}, "PiSSA"),
    "olora": ({"init_lora_weights": "olora"}, "OLoRA"),
    "biases": ({"bias": "all"}, "bias is 'all'"),
    "biases of its own": ({"bias": "lora_only"}, "bias is 'lora_only'"),
    "a whole layer": ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    "lora_bias": ({"lora_bias": True}, "lora_bias"),
    "some tokens": ({"trainable_token_indices": [3, 4]}, "trainable_token_indices"),
    "repeated layers": ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
    "a parameter": ({"target_modules": [], "target_parameters": ["mlp.up_proj.weight"]}, "target_parameters"),
    "activated": ({"alora_invocation_tokens": [5, 6]}, "alora_invocation_tokens"),
}
OTHERS: dict[str, Callable[[], Any]] = {
    "IA3": lambda: peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "LOHA": lambda: peft.LoHaConfig(target_modules=["q_proj"]),
    "LOKR": lambda: peft.LoKrConfig(target_modules=["q_proj"]),
    "VERA": lambda: peft.VeraConfig(target_modules=["q_proj"], r=4),
    "OFT": lambda: peft.OFTConfig(target_modules=["q_proj"], oft_block_size=4, use_cayley_neumann=False),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("adapters") / "base")


def trained(base: Path, folder: Path, config: Any, **saving: Any) -> Path:
    """An adapter whose every weight was moved, as training does."""
    torch.manual_seed(1)
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    if saving:
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(folder / "start")
        model.peft_config["default"].init_lora_weights = config.init_lora_weights
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    model.save_pretrained(
        folder, **({"path_initial_model_for_weight_conversion": str(folder / "start")} if saving else {})
    )
    return folder


def lora(**settings: Any) -> Any:
    given = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"}
    return peft.LoraConfig(**{**given, **settings})


def by_peft(base: Path, folder: Path) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    merged: dict[str, torch.Tensor] = peft.PeftModel.from_pretrained(model, folder).merge_and_unload().state_dict()
    return merged


def ours(base: Path, folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Merged by the reader that merging and fusing share, for both."""
    opened = open_checkpoint(base)
    made = adapters.read(folder, as_base(opened))
    fused = Adapted(FusionCheckpoint(base), folder)
    for name in opened.tensors:
        weights = FusionCheckpoint(base).tensor(name)
        if change := made.changes.get(name):
            weights = weights + change.scale * torch.from_numpy(change.left @ change.right)
        torch.testing.assert_close(weights, fused.tensor(name), rtol=1e-6, atol=1e-6)
        yield name, weights


def assert_equal_to_peft(base: Path, folder: Path) -> None:
    wanted = by_peft(base, folder)
    changed = False
    for name, weights in ours(base, folder):
        torch.testing.assert_close(weights, wanted[name], rtol=1e-5, atol=1e-5)
        changed = changed or not torch.equal(weights, FusionCheckpoint(base).tensor(name))
    assert changed


@pytest.mark.parametrize("name", EQUAL)
def test_what_is_understood_is_merged_as_peft_merges_it(tmp_path: Path, base: Path, name: str) -> None:
    assert_equal_to_peft(base, trained(base, tmp_path, lora(**EQUAL[name])))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_is_refused_by_name(tmp_path: Path, base: Path, name: str) -> None:
    settings, says = REFUSED[name]
    folder = trained(base, tmp_path, lora(**settings))
    with pytest.raises(ConfigError, match=says) as told:
        list(ours(base, folder))
    assert "merge it with peft first" in str(told.value)


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_of_adapters_are_refused(tmp_path: Path, base: Path, kind: str) -> None:
    folder = trained(base, tmp_path, OTHERS[kind]())
    with pytest.raises(ConfigError, match=f"peft_type {kind}"):
        list(ours(base, folder))


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_pefts_conversion_makes_plain_adapters_of_them(tmp_path: Path, base: Path, start: str) -> None:
    folder = trained(base, tmp_path, lora(init_lora_weights=start), converted=True)
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 8
    assert_equal_to_peft(base, folder)


def test_heads_and_embeddings_of_a_tied_base_are_refused(tmp_path: Path) -> None:
    tied = tiny_models.llama(tmp_path / "tied")
    model = AutoModelForCausalLM.from_pretrained(tied, tie_word_embeddings=True)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tied)
    assert "lm_head.weight" not in open_checkpoint(tied).tensors
    for target in ("lm_head", "embed_tokens"):
        folder = trained(tied, tmp_path / target, lora(target_modules=[target, "q_proj"]))
        with pytest.raises(ConfigError, match="are one matrix"):
            list(ours(tied, folder))
