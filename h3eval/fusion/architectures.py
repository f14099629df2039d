"""Which models can be fused, and which native layout holds the result exactly.

Native layouts are Mixtral's and Qwen's; in them an expert is W_down (silu(W_gate h) * W_up h), the router has no bias,
and the top k of its softmax are renormalised. Whatever differs is written with its own modelling code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from h3eval.checkpoints import architecture
from h3eval.checkpoints.loading import quiet
from h3eval.errors import ConfigError
from h3eval.fusion.checkpoints import Checkpoint

FAMILIES = {
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "gemma": "Gemma",
    "gemma2": "Gemma2",
    "gemma3_text": "Gemma3",
}
NATIVE = {"llama": "mixtral", "mistral": "mixtral", "qwen2": "qwen2_moe", "qwen3": "qwen3_moe"}
FORMATS = ("auto", "mixtral", "qwen2_moe", "qwen3_moe", "code")
ARCHITECTURES = {
    "mixtral": "MixtralForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
}
FIXED: dict[str, dict[str, Any]] = {
    "mixtral": {"mlp_bias": False, "attention_bias": False},
    "qwen2_moe": {"layer_types": "full_attention"},
    "qwen3_moe": {"layer_types": "full_attention"},
}
"""What a native layout computes whatever its configuration says, in transformers or in vLLM, which knows no windows for
some layers alone; of a list, what each layer has."""
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
COMPUTED = ".rotary_emb.inv_freq"
"""What old versions of transformers saved beside the weights; it follows from the configuration."""
FAR = 0.5
"""Alignment moves weights by a few percent of their norm; two unrelated models differ by about 1.4 of it."""


@dataclass(frozen=True)
class Form:
    """What the construction's router and experts are, as far as layouts differ: see `modeling_mixture.Mixture`."""

    experts: int
    top_k: int
    shared: bool
    rank: int = 0
    scale: float = 1.0
    temperature: float = 1.0
    gamma: tuple[float, ...] = ()
    bias: bool = False
    literal: bool = False
    dropout: float = 0.0

    def table(self) -> dict[str, Any]:
        """As the configuration of a model holds it."""
        gamma = list(self.gamma or [1 / self.experts] * self.experts)
        return {**{key: getattr(self, key) for key in self.__dataclass_fields__}, "gamma": gamma}


def understood(checkpoint: Checkpoint) -> Checkpoint:
    """The same checkpoint with all its configuration's values, as the architecture's own class in transformers fills
    them in. Raise ConfigError for what can't be fused, and where configuration and weights contradict each other."""
    family(checkpoint.config, checkpoint.folder)
    named = checkpoint.config.get("num_hidden_layers")
    if isinstance(named, int) and named > len(checkpoint.names):
        raise ConfigError(f"{checkpoint.folder}: num_hidden_layers is {named}, and there are fewer tensors than that")
    config = architecture.parsed(checkpoint.config, str(checkpoint.folder / "config.json"))
    checkpoint.config = {**architecture.full(config), "architectures": checkpoint.config.get("architectures")}
    check_tensors(checkpoint, config)
    idle = (COMPUTED, HEAD) if config.tie_word_embeddings else COMPUTED
    checkpoint.places = {name: file for name, file in checkpoint.places.items() if not name.endswith(idle)}
    return checkpoint


def family(config: Mapping[str, Any], where: Path) -> str:
    """The architecture's name in class names. Raise ConfigError for one that can't be fused, saying which can."""
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise ConfigError(f"{where}: model_type {kind!r} can't be fused (supported: {', '.join(FAMILIES)})")
    if config.get("mlp_bias"):
        raise ConfigError(f"{where}: mlp_bias: feed-forward networks with biases can't be fused")
    if config.get("per_layer_config"):
        raise ConfigError(f"{where}: per_layer_config: layers with settings of their own can't be fused")
    if config.get("is_causal") is False:
        raise ConfigError(f"{where}: is_causal is false: a model that looks ahead can't be fused")
    for key in ("quantization_config", "compression_config"):
        if config.get(key):
            raise ConfigError(f"{where}: {key}: quantised weights can't be fused: use the unquantised model")
    return FAMILIES[str(kind)]


def check_tensors(checkpoint: Checkpoint, config: Any) -> None:
    """Raise ConfigError unless the weights are those of the model that transformers builds from the configuration:
    transformers would start at random what is missing, and leave out what has no place."""
    with torch.device("meta"), quiet():
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    held = {name for name in checkpoint.names if not name.endswith(COMPUTED)}
    missing = sorted(shapes.keys() - held - ({HEAD} if config.tie_word_embeddings else set()))
    extra = sorted(held - shapes.keys())
    if missing or extra:
        told = f"the weights lack {missing[0]}" if missing else f"config.json has no place for {extra[0]}"
        cure = " (tie_word_embeddings is false)" if missing == [HEAD] else ""
        raise ConfigError(f"{checkpoint.folder}: {told}{cure}: is a key missing in config.json?")
    for name in sorted(held):
        if checkpoint.shape(name) != shapes[name]:
            raise ConfigError(
                f"{checkpoint.folder}: {name} is {checkpoint.shape(name)}, and {shapes[name]} by config.json: "
                "is a key missing there?"
            )
    both = config.tie_word_embeddings and HEAD in held
    if both and not torch.equal(checkpoint.tensor(HEAD), checkpoint.tensor(EMBEDDING)):
        raise ConfigError(
            f"{checkpoint.folder}: tie_word_embeddings is true, and {HEAD} is another matrix than {EMBEDDING}: "
            "set it to false, or save the model again with transformers"
        )


def activation(config: Mapping[str, Any]) -> str:
    """The gate's activation. Gemma's configurations call it by another name."""
    return str(config.get("hidden_activation") or config["hidden_act"])


def why_not_native(config: Mapping[str, Any], form: Mapping[str, Any]) -> str:
    """Why no native layout holds this fusion exactly; empty where one does. The configuration is `understood`."""
    kind = str(config["model_type"])
    gamma = form["gamma"]
    if kind not in NATIVE:
        return f"{kind} has no native mixture of experts"
    reasons = {
        f"its experts use {activation(config)}, native layouts compute SiLU": activation(config) != "silu",
        "its router has a bias": form["bias"],
        "its similarity weights are not all equal": max(gamma) - min(gamma) > 1e-9 and not form["literal"],
        "its output goes through a layer normalisation": form["literal"],
    }
    return next((reason for reason, holds in reasons.items() if holds), "") or _unsaid(config, NATIVE[kind])


def _unsaid(config: Mapping[str, Any], layout: str) -> str:
    """What of a configuration a native layout has no key for, and computes otherwise."""
    values = architecture.computing(architecture.parsed(config, "the base's config.json"))
    known = architecture.keys(CONFIG_MAPPING[layout])
    for key, value in values.items():
        have = FIXED[layout].get(key)
        same = all(each == have for each in value) if isinstance(value, list) else value == have
        if not same if key in FIXED[layout] else key not in known:
            return f"{layout} has no {key}, which is {value}"
    return ""


def native(config: Mapping[str, Any], form: Mapping[str, Any], layout: str) -> dict[str, Any]:
    """config.json of a native layout: all values that its class knows, none of them a default of that class's own where
    the base has a say. Raise ConfigError where the layout's class would read anything else than the base's."""
    base = architecture.parsed(config, "the base's config.json")
    # A key that only the layout's class knows means nothing in the base: Llama has no windows, Mixtral may have.
    known = architecture.keys(CONFIG_MAPPING[layout]) & architecture.keys(type(base))
    values = {key: value for key, value in architecture.full(base).items() if key in known}
    made = {**values, "model_type": layout, "num_experts_per_tok": form["top_k"]}
    # Balancing losses are a trainer's business: they play no part when the model answers.
    made |= {"output_router_logits": False, "router_aux_loss_coef": 0.0}
    if layout == "mixtral":
        made |= {"num_local_experts": form["experts"], "sliding_window": values.get("sliding_window")}
        made["router_jitter_noise"] = 0.0
    else:
        made |= {"num_experts": form["experts"], "moe_intermediate_size": values["intermediate_size"]}
        made |= {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}
    if layout == "qwen2_moe":
        made |= {"shared_expert_intermediate_size": 0, "qkv_bias": True}
    served = architecture.parsed(made, layout)
    own, theirs = architecture.computing(base), architecture.computing(served)
    for key in sorted((own.keys() & theirs.keys()) - {"model_type"}):
        if own[key] != theirs[key]:
            raise ConfigError(f"serve.format = {layout!r}: its class reads {key} as {theirs[key]}, not {own[key]}")
    full = {**architecture.full(served), **made, "architectures": [ARCHITECTURES[layout]]}
    return architecture.with_older_rope(full)


def chosen_format(asked: str, config: Mapping[str, Any], form: Mapping[str, Any]) -> str:
    """`mixtral`, `qwen2_moe`, `qwen3_moe` or `code`. Raise ConfigError where what was asked for would be wrong."""
    reason = why_not_native(config, form)
    layout = NATIVE.get(str(config["model_type"]), "code")
    if asked == "auto":
        return "code" if reason else layout
    if asked == "code":
        return asked
    if reason or asked != layout:
        cure = "code" if reason else layout
        why = reason or f"this architecture's layout is {layout}"
        raise ConfigError(f"serve.format = {asked!r}: would be silently wrong: {why}; use {cure!r}")
    return asked


def check_alike(base: Checkpoint, expert: Checkpoint, distant: bool) -> None:
    """Raise ConfigError unless an expert is the base's architecture, and (where not `distant`) was trained from it."""
    configs = [architecture.parsed(each.config, str(each.folder)) for each in (expert, base)]
    for key, have, want in architecture.differences(*configs):
        raise ConfigError(f"{expert.folder}: {key} is {have}, the base's is {want}: experts must share one base")
    missing = set(base.names) ^ set(expert.names)
    if missing:
        raise ConfigError(f"{expert.folder}: tensors differ from the base's: {', '.join(sorted(missing)[:3])}")
    for name in base.names:
        if base.shape(name) != expert.shape(name):
            raise ConfigError(f"{expert.folder}: {name} is {expert.shape(name)}, the base's is {base.shape(name)}")
    if not distant:
        _check_near(base, expert)


def _check_near(base: Checkpoint, expert: Checkpoint) -> None:
    matrices = [name for name in base.names if name.endswith("proj.weight")]
    for name in (matrices[0], matrices[len(matrices) // 2], matrices[-1]):
        weights = base.tensor(name).float()
        moved = float((expert.tensor(name).float() - weights).norm() / weights.norm())
        if not moved <= FAR:
            raise ConfigError(
                f"{expert.folder}: {name} differs from the base's by {moved:.2f} of its norm (at most {FAR}): it was "
                "hardly trained from this base; set construction.distant = true if it was"
            )
