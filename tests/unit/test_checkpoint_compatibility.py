"""Configurations of models that transformers has no class for are compared by what the files say alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from h3eval.checkpoints.compatibility import check_whole, differences
from h3eval.checkpoints.tokenizers import Model
from h3eval.errors import ConfigError

OURS = {"model_type": "martian", "hidden_act": "silu", "rope_theta": 1e4, "rope_scaling": None}


def found(folder: Path, ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, bool]:
    models = []
    for label, config in (("a", ours), ("b", theirs)):
        (folder / label).mkdir()
        (folder / label / "config.json").write_text(json.dumps(config))
        models.append(Model(label, folder / label, config))
    return {each.key: each.changes for each in differences(*models)}


@pytest.mark.parametrize(
    ("values", "differing"),
    [
        ({}, {}),
        ({"rope_theta": None, "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}}, {}),
        ({"rope_theta": 5e5}, {"rope_parameters.rope_theta": True}),
        ({"rope_scaling": {"type": "linear"}}, {"rope_parameters.rope_type": True}),
        ({"hidden_act": "gelu"}, {"hidden_act": True}),
        ({"embedding_multiplier": 12}, {"embedding_multiplier": True}),
        ({"attn_logit_softcapping": 50.0}, {"attn_logit_softcapping": True}),
        ({"num_experts_per_tok": 2}, {"num_experts_per_tok": True}),
        ({"layer_norm_epsilon": 1e-5}, {"layer_norm_epsilon": True}),
        ({"use_sliding_window": True}, {"use_sliding_window": True}),
        ({"clip_qkv": 8}, {"clip_qkv": True}),
        ({"image_token_id": 7}, {"image_token_id": True}),
        ({"text_config": {"head_dim": 8, "torch_dtype": "float16"}}, {"text_config.head_dim": True}),
        ({"max_position_embeddings": 9}, {"max_position_embeddings": False}),
        ({"fancy": [1]}, {"fancy": False}),
        ({"eos_token_id": 3, "attention_dropout": 0.1, "_name_or_path": "x", "torch_dtype": "float16"}, {}),
    ],
)  # fmt: skip
def test_each_key_that_differs_is_known_or_told(
    tmp_path: Path, values: dict[str, Any], differing: dict[str, bool]
) -> None:
    theirs = {key: value for key, value in {**OURS, **values}.items() if value is not None}
    assert found(tmp_path, OURS, theirs) == differing


def test_an_unknown_key_of_a_known_class_may_change_it(tmp_path: Path) -> None:
    """What a class declares, and nobody here has heard of, is taken for a change of the computation."""
    plain = {"model_type": "granite", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    assert found(tmp_path, plain, {**plain, "logits_scaling": 2.0, "fancy": 1}) == {
        "logits_scaling": True,
        "fancy": False,
    }


@pytest.mark.parametrize(
    ("config", "dtypes", "says"),
    [
        ({"quantization_config": {"quant_method": "awq"}}, {}, "quantization_config in config.json .awq"),
        ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, {}, "fp8"),
        ({"compression_config": {"format": "int-quantized"}}, {}, "quantised weights"),
        ({}, {"a.qweight": "I32"}, "a.qweight is a part"),
        ({}, {"a.weight_packed": "I32"}, "a.weight_packed"),
        ({}, {"a.weight_scale_inv": "F32"}, "a.weight_scale_inv"),
        ({}, {"a.weight": "I8", "a.SCB": "F32"}, "a.weight is I8"),
        ({}, {"a.weight": "U8", "a.weight.absmax": "F32"}, "a.weight is U8"),
        ({}, {"a.gate_up_proj_blocks": "U8"}, "gate_up_proj_blocks"),
        ({}, {"a.weight": "F8_E4M3"}, "a.weight is F8_E4M3"),
    ],
)
def test_quantised_and_packed_weights_are_refused(config: dict[str, Any], dtypes: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check_whole(Path("a"), config, dtypes)


def test_buffers_of_whole_numbers_are_no_weights() -> None:
    held = {"h.0.attn.bias": "BOOL", "embeddings.position_ids": "I64", "a.weight": "BF16", "b.weight": "F64"}
    check_whole(Path("a"), {}, held)
