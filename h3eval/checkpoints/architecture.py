"""A model's configuration, as its own transformers class reads it.

What config.json leaves out is that class's default, and no other's. Code that lies in the folder is never run.
"""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING

from h3eval.config import read_json
from h3eval.errors import ConfigError

REFUSALS = (
    StrictDataclassError, AssertionError, ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError,
    RuntimeError,
)  # fmt: skip
"""What transformers' classes raise for values that they can't take."""
IDLE = {
    "_name_or_path", "architectures", "auto_map", "bos_token_id", "chunk_size_feed_forward", "dtype", "embd_pdrop",
    "eos_token_id", "id2label", "initializer_range", "is_encoder_decoder", "label2id", "name_or_path", "num_labels",
    "output_attentions", "output_hidden_states", "output_router_logits", "pad_token_id", "pretraining_tp",
    "problem_type", "return_dict", "router_aux_loss_coef", "torch_dtype", "transformers_version", "use_cache",
}  # fmt: skip
"""Keys that change no logit when a model answers. Dropouts are others, by their names."""
ROPE_DEFAULTS: dict[str, dict[str, Any]] = {"yarn": {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": True}}
"""What the functions of each kind of rotary positions take where a configuration is silent."""
LENGTH_BLIND = {"default", "linear", "llama3"}
"""Kinds of rotary positions that don't look at the longest length."""
READ_ANYWAY = ("head_dim",)
LAYER_RULES = ("max_window_layers", "use_sliding_window", "sliding_window_pattern")


def read(folder: Path) -> Any:
    """The configuration in a folder. Raise ConfigError naming the file, and what its class refuses."""
    file = folder / "config.json"
    return parsed(read_json(file), str(file))


def parsed(values: Mapping[str, Any], where: str) -> Any:
    """The configuration that these values are. Raise ConfigError for a model that transformers doesn't hold itself."""
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        own = "; code that comes with a model is not run" if "auto_map" in values else ""
        raise ConfigError(f"{where}: model_type {kind!r} is none of transformers {transformers.__version__}{own}")
    try:
        # The classes fill in what is missing, in the very tables that they are given.
        return CONFIG_MAPPING[kind].from_dict(_numbers(deepcopy(dict(values))))
    except REFUSALS as error:
        raise ConfigError(f"{where}: {type(error).__name__}: {_line(error)}") from error


def full(config: Any) -> dict[str, Any]:
    """All values, defaults too, as config.json is to hold them, without the model's name and where its code is."""
    values: dict[str, Any] = config.to_dict()
    return {key: value for key, value in values.items() if key not in ("_name_or_path", "auto_map", "architectures")}


def with_older_rope(values: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary settings under the names that transformers 4 reads as well, where these can say them."""
    rope = values.get("rope_parameters")
    if not isinstance(rope, Mapping) or "rope_theta" not in rope:
        return dict(values)
    scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
    older = None if scaling.get("rope_type", "default") == "default" else scaling
    return {**values, "rope_theta": rope["rope_theta"], "rope_scaling": older}


def keys(kind: Any) -> set[str]:
    """What a configuration's class knows, and what models read without its knowing."""
    return {*kind().to_dict(), *READ_ANYWAY}


def computing(config: Any) -> dict[str, Any]:
    """The keys that this class knows and that have a part in its logits; equal settings have equal values."""
    known = keys(type(config))
    values = {key: value for key, value in config.to_dict().items() if key in known and not _idle(key)}
    width, heads = getattr(config, "hidden_size", None), getattr(config, "num_attention_heads", None)
    if isinstance(width, int) and isinstance(heads, int) and heads > 0:
        values["head_dim"] = values.get("head_dim") or width // heads
    if "rope_parameters" in values:
        values["rope_parameters"] = _rope(values["rope_parameters"])
        if _kinds(values["rope_parameters"]) <= LENGTH_BLIND:
            values.pop("max_position_embeddings", None)
    if values.get("layer_types"):
        # They say it layer by layer; what they were made from says no more.
        values = {key: value for key, value in values.items() if key not in LAYER_RULES}
        if "sliding_attention" not in values["layer_types"]:
            values.pop("sliding_window", None)
    return values


def differences(one: Any, other: Any) -> list[tuple[str, Any, Any]]:
    """Each key that computes something else in two configurations, with both values."""
    if one.model_type != other.model_type:
        return [("model_type", one.model_type, other.model_type)]
    mine, theirs = computing(one), computing(other)
    return [
        (key, mine.get(key), theirs.get(key))
        for key in sorted(mine.keys() | theirs.keys())
        if mine.get(key) != theirs.get(key)
    ]


def _numbers(value: Any) -> Any:
    """JSON has no infinity; transformers writes one as {"__float__": "Infinity"}."""
    if isinstance(value, dict):
        if value.keys() == {"__float__"}:
            return float(value["__float__"])
        return {key: _numbers(each) for key, each in value.items()}
    return [_numbers(each) for each in value] if isinstance(value, list) else value


def _idle(key: str) -> bool:
    return key in IDLE or key.startswith("_") or key.endswith(("dropout", "_pdrop", "dropout_prob"))


def _kinds(rope: Any) -> set[str]:
    """Of all layers' rotary positions; "unknown" where the settings are of another form."""
    if not isinstance(rope, Mapping) or not rope:
        return {"unknown"}
    return {str(rope["rope_type"])} if "rope_type" in rope else set().union(*map(_kinds, rope.values()))


def _rope(given: Any) -> Any:
    """Rotary settings without what says nothing: a second name for the kind, missing values, written-out defaults."""
    if not isinstance(given, Mapping):
        return given
    if "rope_type" not in given and "rope_theta" not in given:
        return {layer: _rope(each) for layer, each in given.items()}
    filled = {**ROPE_DEFAULTS.get(str(given.get("rope_type")), {}), **given}
    return {key: value for key, value in filled.items() if key != "type" and value is not None}


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
