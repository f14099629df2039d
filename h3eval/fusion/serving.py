"""A construction in a layout that engines load: Mixtral's or Qwen's where they hold it exactly, else with its own code.

Layouts use each expert's own tensor names, as those families were first published: vLLM's own classes load them, and so
does transformers. The fused names that newer versions of transformers save are not loaded by vLLM 0.32.
"""

import shutil
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from h3eval.checkpoints import architecture
from h3eval.fusion.architectures import chosen_format, native
from h3eval.fusion.checkpoints import Checkpoint, Writer, copy_tokenizer, layers, write_json
from h3eval.fusion.construction import CODE, base_of
from h3eval.fusion.modeling_mixture import PROJECTIONS

MIXTRAL_NAMES = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def export(constructed: Path, folder: Path, layout: str = "auto", dtype: str = "auto") -> str:
    """Write a construction for serving; the layout that was chosen. Raise ConfigError where it would be wrong."""
    source = Checkpoint(constructed)
    base, form = base_of(source)
    chosen = chosen_format(layout, base, form)
    kind = stored_type(source, dtype)
    writer = Writer(folder)
    for key, names in layers(source.names):
        for name, tensor in _layer(source, key, names, form, chosen, kind):
            writer.add(name, tensor.to(kind))
        writer.flush()
    if chosen == "code":
        shutil.copyfile(CODE, folder / CODE.name)
        config = architecture.with_older_rope(source.config)
    else:
        config = native(base, form, chosen)
    config["dtype"] = str(kind).removeprefix("torch.")
    writer.close(config)
    copy_tokenizer(constructed, folder)
    return chosen


def size(constructed: Path, layout: str, dtype: str = "auto") -> dict[str, int]:
    """What an export will hold, from shapes alone: parameters, those that a token uses, and bytes. A native layout has
    no shared base: low-rank task vectors become whole matrices in it, one an expert."""
    source = Checkpoint(constructed)
    _, form = base_of(source)
    count, used = form["experts"], form["top_k"]
    total = active = 0
    for name in source.names:
        own = prod(source.shape(name))
        if "_vectors." in name:
            kept = own if layout == "code" else 0
            total, active = total + kept, active + (kept if form["shared"] else kept * used // count)
        elif not is_ffn(name) or (form["shared"] and layout == "code"):
            total, active = total + own, active + own
        else:
            dense = own if form["shared"] else own // count
            total, active = total + dense * count, active + dense * used
    kind = stored_type(source, dtype)
    return {"parameters": total, "active_parameters": active, "bytes": total * kind.itemsize}


def stored_type(source: Checkpoint, dtype: str) -> torch.dtype:
    """What is kept in float32 for training is served in the base's own type."""
    return DTYPES.get(dtype) or source.tensor(next(name for name in source.names if ".self_attn." in name)).dtype


def is_ffn(name: str) -> bool:
    """Is it a matrix of a feed-forward network that becomes a mixture?"""
    return ".mlp." in name and name.endswith(".weight") and name.split(".")[-2] in PROJECTIONS


def _layer(
    source: Checkpoint, key: str, names: list[str], form: dict[str, Any], chosen: str, kind: torch.dtype
) -> Iterator[tuple[str, Tensor]]:
    if chosen == "code" or not key.startswith("model.layers."):
        yield from ((name, source.tensor(name)) for name in names)
        return
    yield from ((name, source.tensor(name)) for name in names if ".mlp." not in name)
    block = f"{key}.block_sparse_moe" if chosen == "mixtral" else f"{key}.mlp"
    router = source.tensor(f"{key}.mlp.router.weight")
    # Native routers have no temperature: z / tau = (W_r / tau) h.
    yield f"{block}.gate.weight", router.float() / form["temperature"]
    if chosen == "qwen2_moe":
        # vLLM builds this gate even where there is no shared expert to open it for.
        yield f"{block}.shared_expert_gate.weight", torch.zeros(1, router.shape[1], dtype=router.dtype)
    for projection in PROJECTIONS:
        name = MIXTRAL_NAMES[projection] if chosen == "mixtral" else projection
        for expert, weights in enumerate(experts(source, f"{key}.mlp.{projection}", form, kind)):
            yield f"{block}.experts.{expert}.{name}.weight", weights


def experts(source: Checkpoint, stem: str, form: dict[str, Any], kind: torch.dtype) -> Iterator[Tensor]:
    """Each expert's whole matrix (out, in): its own, or the base's with its low-rank change, rounded once."""
    dense = source.tensor(stem + ".weight")
    stacked = dense.expand(form["experts"], *dense.shape) if form["shared"] else dense
    if not form["rank"]:
        yield from (weights.to(kind).clone() for weights in stacked)
        return
    a, b = source.tensor(stem + "_vectors.a").float(), source.tensor(stem + "_vectors.b").float()
    for weights, left, right in zip(stacked, b, a, strict=True):
        yield (weights.float() + form["scale"] * (left @ right)).to(kind)


def adapters(constructed: Path, folder: Path, base: str, names: list[str]) -> list[Path]:
    """Each task vector as a LoRA adapter of the base: the light form, whose engine picks one by request.

    It holds the experts, not their mixture: a request gets one of them whole. Adapters' folders, in order.
    """
    source = Checkpoint(constructed)
    _, form = base_of(source)
    made = []
    for expert, name in enumerate(names):
        weights = {}
        for tensor in source.names:
            if tensor.endswith(("_vectors.a", "_vectors.b")):
                stem, side = tensor[: -len("_vectors.a")], tensor[-1].upper()
                weights[f"base_model.model.{stem}.lora_{side}.weight"] = source.tensor(tensor)[expert].contiguous()
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        save_file(weights, place / "adapter_model.safetensors", metadata={"format": "pt"})
        write_json(place / "adapter_config.json", _adapter(base, form))
        made.append(place)
    return made


def _adapter(base: str, form: dict[str, Any]) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": form["rank"],
        "lora_alpha": form["rank"] * form["scale"],
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": list(PROJECTIONS),
    }
