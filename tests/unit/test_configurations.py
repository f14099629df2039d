"""Configurations as transformers' own classes read them: defaults, old names, what computes and what does not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING

from h3eval.checkpoints import architecture, cutting, equality
from h3eval.errors import ConfigError

LLAMA: dict[str, Any] = {"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
DYNAMIC = {"type": "dynamic", "factor": 2.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


def parsed(**values: Any) -> Any:
    return architecture.parsed({**LLAMA, **values}, "here")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"rope_theta": 10000.0, "rope_scaling": None, "head_dim": 8, "num_key_value_heads": 4}),
        ({}, {"rope_parameters": {"rope_type": "default", "rope_theta": 10000}}),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
        (
            {"rope_scaling": YARN},
            {"rope_scaling": {**YARN, "beta_fast": 32, "beta_slow": 1.0, "attention_factor": None}},
        ),
        ({}, {"torch_dtype": "bfloat16", "use_cache": False, "attention_dropout": 0.5, "eos_token_id": [1, 2]}),
        ({}, {"max_position_embeddings": 99, "an_unknown_key": 1}),
        ({"model_type": "qwen2"}, {"model_type": "qwen2", "max_window_layers": 1, "sliding_window": 7}),
        (
            {"model_type": "gemma3_text", "sliding_window_pattern": 2},
            {"model_type": "gemma3_text", "layer_types": ["sliding_attention", "full_attention"]},
        ),
    ],
)
def test_two_ways_to_say_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert architecture.differences(parsed(**one), parsed(**other)) == []


@pytest.mark.parametrize(
    ("one", "other", "key"),
    [
        ({}, {"rope_theta": 500000.0}, "rope_parameters"),
        ({}, {"rms_norm_eps": 1e-5}, "rms_norm_eps"),
        ({}, {"tie_word_embeddings": True}, "tie_word_embeddings"),
        ({"rope_scaling": YARN}, {"rope_scaling": {**YARN, "beta_fast": 16}}, "rope_parameters"),
        ({"rope_scaling": DYNAMIC}, {"rope_scaling": DYNAMIC, "max_position_embeddings": 9}, "max_position_embeddings"),
        ({}, {"model_type": "mistral"}, "model_type"),
        ({"model_type": "mistral"}, {"model_type": "mistral", "sliding_window": None}, "sliding_window"),
    ],
)  # fmt: skip
def test_what_computes_something_else_is_named(one: dict[str, Any], other: dict[str, Any], key: str) -> None:
    assert [name for name, _, _ in architecture.differences(parsed(**one), parsed(**other))] == [key]


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3"])
def test_all_values_mean_what_the_few_did(kind: str) -> None:
    config = architecture.parsed({"model_type": kind}, "here")
    again = architecture.parsed(architecture.with_older_rope(architecture.full(config)), "there")
    assert architecture.differences(config, again) == []
    assert set(architecture.full(config)) >= set(CONFIG_MAPPING[kind]().to_dict()) - {"architectures", "_name_or_path"}


def test_infinity_is_read_as_transformers_writes_it(tmp_path: Path) -> None:
    CONFIG_MAPPING["mamba2"]().save_pretrained(tmp_path)
    assert "__float__" in (tmp_path / "config.json").read_text()
    assert architecture.read(tmp_path).time_step_limit[1] == float("inf")


def test_reading_leaves_what_it_was_given_alone() -> None:
    given: dict[str, Any] = {**LLAMA, "rope_parameters": {"rope_type": "default"}}
    architecture.parsed(given, "here")
    assert given["rope_parameters"] == {"rope_type": "default"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"model_type": None}, "model_type None is none of transformers"),
        ({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}}, "code that comes with a model is not run"),
        ({"hidden_size": 30}, "not a multiple of the number of attention heads"),
        ({"hidden_size": "wide"}, "'hidden_size' expected int"),
        ({"num_attention_heads": 0}, "here: ZeroDivisionError"),
    ],
)
def test_what_a_class_refuses_is_one_line_with_the_file(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        parsed(**values)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("here: ")


def test_differences_of_logits() -> None:
    one = torch.tensor([[[1.0, -4.0]]])
    assert equality.apart(one, one, torch.float32) == 0
    assert equality.apart(one + 4e-5, one, torch.float32) == pytest.approx(1e-5, rel=1e-2)
    assert equality.apart(one * 1.02, one, torch.bfloat16) == pytest.approx(0.02, rel=1e-3)
    for wrong in (one / 0, one[..., :1]):
        assert equality.apart(wrong, one, torch.float32) == float("inf")
    with pytest.raises(equality.Differs, match=r"differ from theirs by 0\.25 of their size \(at most 1e-05\)"):
        equality.compared(one + 1, one, torch.float32, "theirs")


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
        ("model.layers.7.mlp.experts.3.w1.weight", "model.layers.2.mlp.experts.3.w1.weight"),
        ("transformer.h.1.attn.c_attn.bias", "transformer.h.1.attn.c_attn.bias"),
        ("model.layers.5.mlp.up_proj.weight", None),
        ("lm_head.weight", "lm_head.weight"),
    ],
)
def test_names_in_a_cut(name: str, cut: str | None) -> None:
    assert cutting.cut_names([name], 8).get(name) == cut


def test_a_cut_configuration_says_so_layer_by_layer(tmp_path: Path) -> None:
    kinds = ["sliding_attention"] * 5 + ["full_attention"]
    config = {"model_type": "gemma3_text", "num_hidden_layers": 6, "layer_types": kinds}
    made = cutting.cut_config(config)
    assert made["num_hidden_layers"] == 3
    assert made["layer_types"] == ["sliding_attention", "sliding_attention", "full_attention"]
    assert cutting.cut_config({"model_type": "gpt2", "n_layer": 12})["n_layer"] == 3
