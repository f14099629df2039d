"""Do several models' configurations compute the same? Key by key: what is not known to be harmless is told or refused.

A merged or fused model has one configuration. Weights that were trained under another rotary base, activation or
window compute something else under it, and every number of the result is finite: nothing but this check would tell.
"""

import importlib
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from h3eval.checkpoints.tokenizers import Model, Ways
from h3eval.errors import ConfigError

HARMLESS = re.compile(
    r"_.*|transformers_version|torch_dtype|dtype|use_cache|name_or_path|output_.*|return_dict.*|use_return_dict|torchscript|"
    r"initializer_.*|.*dropout.*|.*_pdrop|.*layerdrop|pretraining_tp|gradient_checkpointing|use_bfloat16|attn_implementation|"
    r"chunk_size_feed_forward|router_aux_loss_coef|router_z_loss_coef|finetuning_task|task_specific_params|unsloth_.*|"
    r"(bos|eos|pad)_token_id|tie_word_embeddings|vocab_size|quantization_config"
)
"""Names and versions, how it was trained and runs; and, at the end, what is compared elsewhere in its own way."""
TOLD = re.compile(
    r"max_position_embeddings|architectures|problem_type|auto_map|n_positions|n_ctx|max_sequence_length|seq_length"
)
CHANGING = re.compile(
    r"model_type|.*(hidden|intermediate|head|embedding|state)_(size|dim)|(num|n)_.*|.*_(layers|heads|experts)|head_dim|d_.*|"
    r".*act(ivation)?(_fn|_func|_function)?|.*_act|hidden_activation|.*(eps|epsilon)|rope.*|rotary.*|partial_rotary.*|"
    r".*window.*|layer_types|.*softcap.*|.*scal(e|ar|ing).*|.*multiplier|.*bias|.*alibi.*|.*parallel.*|.*norm.*|.*attn.*|"
    r".*attention.*|.*moe.*|.*expert.*|.*topk.*|.*top_k.*|.*factor|clip_qkv|id2label|label2id|position_embedding.*|multi_query|"
    r"is_decoder|is_encoder_decoder|.*router.*|.*residual.*|.*sparse.*|mlp_only_layers|.*token_(id|index)"
)
"""Keys of known meaning that change what is computed, where no class of transformers' can be asked."""
PACKED = re.compile(
    r".*(qweight|qzeros|g_idx|weight_packed|weight_scale|weight_scale_inv|weight_zero_point|input_scale|\.SCB|absmax|"
    r"quant_map|quant_state.*|_scales|_blocks|weight_shape)"
)
"""Ends of the names of quantised weights' parts: GPTQ, AWQ, compressed-tensors, fp8, bitsandbytes, MXFP4."""
COUNTERS = ("position_ids", "token_type_ids", "num_batches_tracked", ".attn.bias", ".masked_bias", ".attention.bias")
"""Ends of the names of buffers that are no floating numbers, and no weights."""
FLOATING = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Difference:
    """One key, with its value here and there; None where it is not given."""

    key: str
    ours: Any
    theirs: Any
    changes: bool
    """Does it change what is computed?"""


def check(result: Model, others: Sequence[Model], allow: Container[str], ways: Ways) -> list[str]:
    """Warnings where others' configurations differ from the result's. Raise ConfigError for what changes the result."""
    told: list[str] = []
    for other in others:
        if other.adapter:
            continue
        for each in differences(result, other):
            line = (
                f"config.json: {each.key} is {_shown(each.theirs)} in {other.label}, and {_shown(each.ours)} in "
                f"{result.label}, as in the result"
            )
            if each.changes and each.key not in allow and each.key.partition(".")[0] not in allow:
                raise ConfigError(
                    f"{line}: the weights of {other.label} were made for another computation; "
                    + ways.differing.format(key=each.key)
                )
            told.append(line)
    return told


def differences(result: Model, other: Model) -> list[Difference]:
    """What differs between two configurations, but for what is harmless."""
    ours, theirs = flat(result.config), flat(other.config)
    if not _unequal(ours, theirs):
        return []
    declared: frozenset[str] | None = None
    # Files leave out what their class fills in, and say the same in old and in new keys: the class knows.
    if find_spec("transformers"):
        ask = importlib.import_module("h3eval.checkpoints.effective").effective
        full = [ask(result.folder), ask(other.folder)]
        if full[0] is not None and full[1] is not None and full[0].model_type == full[1].model_type:
            ours, theirs, declared = flat(full[0].values), flat(full[1].values), full[0].declared
    classifies = any("Classification" in str(name) for name in result.config.get("architectures") or ())
    return [
        Difference(key, ours.get(key), theirs.get(key), _changes(key, declared) and (classifies or not _labels(key)))
        for key in _unequal(ours, theirs)
    ]


def _labels(key: str) -> bool:
    """Is it about a classifier's labels? A model that writes has none."""
    return key.partition(".")[0] in ("id2label", "label2id", "num_labels")


def _changes(key: str, declared: frozenset[str] | None) -> bool:
    first, last = key.partition(".")[0], key.rpartition(".")[2]
    if TOLD.fullmatch(last) or TOLD.fullmatch(first):
        return False
    if declared is not None and (first in declared or last in declared):
        return True
    return bool(CHANGING.fullmatch(first) or CHANGING.fullmatch(last))


def _unequal(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [key for key in dict.fromkeys((*ours, *theirs)) if ours.get(key) != theirs.get(key)]


def flat(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A configuration's values by dotted keys, without what is harmless or empty; rotary settings in one form."""
    made: dict[str, Any] = {}
    for key, value in (config if before else _one_rope(config)).items():
        if HARMLESS.fullmatch(str(key)) or value is None or value == {}:
            continue
        if isinstance(value, Mapping):
            made |= flat(value, f"{before}{key}.")
        else:
            made[f"{before}{key}"] = value
    return made


def _one_rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """rope_theta and rope_scaling, as transformers 4 wrote them, in transformers 5's rope_parameters."""
    made = dict(config)
    if "rope_parameters" in made or not {"rope_theta", "rope_scaling"} & set(made):
        return made
    scaling = made.pop("rope_scaling", None)
    new = dict(scaling) if isinstance(scaling, Mapping) else {}
    new["rope_type"] = new.pop("rope_type", new.pop("type", "default"))
    if (theta := made.pop("rope_theta", None)) is not None:
        new["rope_theta"] = theta
    return {**made, "rope_parameters": new}


def _shown(value: Any) -> str:
    text = "not given" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_whole(model: Path, config: Mapping[str, Any], dtypes: Mapping[str, str]) -> None:
    """Raise ConfigError for a model whose weights are quantised or packed: `dtypes` has safetensors' type by tensor."""
    said = config.get("quantization_config") or config.get("compression_config")
    inner = config.get("text_config")
    said = said or (inner.get("quantization_config") if isinstance(inner, Mapping) else None)
    cure = "use the model that it was made of, or save it dequantised"
    if said:
        method = said.get("quant_method") if isinstance(said, Mapping) else said
        raise ConfigError(f"model {model}: quantization_config in config.json ({method}): quantised weights; {cure}")
    for name, dtype in dtypes.items():
        if PACKED.fullmatch(name):
            raise ConfigError(f"model {model}: {name} is a part of quantised weights; {cure}")
        if dtype not in FLOATING and not name.endswith(COUNTERS):
            raise ConfigError(f"model {model}: {name} is {dtype}: quantised or packed weights; {cure}")
