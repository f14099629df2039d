"""Whom a finished fusion asks: its routers, watched while it reads prompts.

The native layouts have routers of their own families' classes; those that come with code have `Mixture`s.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from h3eval.config import read_json
from h3eval.errors import ConfigError
from h3eval.fusion import routing
from h3eval.fusion.modeling_mixture import mixtures
from h3eval.fusion.rows import Padding, Row
from h3eval.fusion.settings import Training
from h3eval.fusion.training import device_of, loaded
from h3eval.untrusted import templates

LONGEST = 2048
"""Tokens of a prompt; what comes after them is not read."""
GATES = (".mlp.gate", ".block_sparse_moe.gate")
Prompt = str | Sequence[dict[str, Any]]


def activation(
    folder: Path, prompts: Sequence[tuple[Prompt, str, str]], experts: Sequence[str], batch: int = 8
) -> dict[str, Any]:
    """Each expert's mean probability and shares of tokens, by dimension and by task, layer by layer.

    `prompts` are texts or conversations, each with its dimension and its task. Raise ConfigError for a model that is
    no fusion.
    """
    model, top_k = opened(folder, len(experts))
    # With the model's own configuration at hand, no code in the folder is looked at.
    tokenizer = AutoTokenizer.from_pretrained(folder, config=model.config, trust_remote_code=False)
    read = [ids(prompt, tokenizer) for prompt, _, _ in prompts]
    seen = _observed(model, [each[:LONGEST] for each in read], top_k, batch)
    rows = [Row("", "", dimension, task) for _, dimension, task in prompts]
    table = routing.activation(seen, rows, experts)
    for group in table.values():
        for facts in group.values():
            # Prompts have no answers to learn.
            del facts["loss"]
    cut = sum(len(each) > LONGEST for each in read)
    return {"activation": {"dimension": table["dimension"], "task": table["source"]}, "prompts": len(read), "cut": cut}


def opened(folder: Path, experts: int) -> tuple[Any, int]:
    """A fusion's folder as a model, and how many experts it asks. Raise ConfigError where it has no routers."""
    config = read_json(folder / "config.json")
    how = Training()
    if "mixture" in config:
        # h3eval's own classes: code in the folder is not run.
        model, top_k = loaded(folder, how), int(config["mixture"]["top_k"])
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
        top_k = int(config.get("num_experts_per_tok", 0))
        if not top_k or not _gates(model, experts):
            raise ConfigError(f"{folder}: no routers for {experts} experts in this model: not a fusion of h3eval's")
    return model.to(device_of(how)).eval(), top_k


def ids(prompt: Prompt, tokenizer: Any) -> list[int]:
    """A prompt's tokens: a conversation in the tokenizer's template, a text as it is."""
    if isinstance(prompt, str):
        found: list[int] = tokenizer(prompt)["input_ids"]
        return found
    if not tokenizer.chat_template:
        return ids("\n\n".join(str(turn["content"]) for turn in prompt), tokenizer)
    text = templates.rendered(tokenizer, prompt, add_generation_prompt=True)
    made: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return made


@torch.no_grad()
def _observed(model: Any, data: Sequence[list[int]], top_k: int, batch: int) -> routing.Observed:
    """Long prompts with long ones, so that little is padding."""
    order = sorted(range(len(data)), key=lambda at: len(data[at]))
    found: dict[str, list[Tensor]] = {name: [] for name in ("shares", "first", "chosen", "by_layer")}
    with watched(model) as scores:
        for start in range(0, len(order), batch):
            rows = [{"input_ids": data[at], "labels": data[at]} for at in order[start : start + batch]]
            inputs = {key: value.to(model.device) for key, value in Padding(0)(rows).items() if key != "labels"}
            model(**inputs)
            statistics = routing.statistics(scores(inputs["input_ids"].shape), inputs["attention_mask"], top_k)
            for name, value in statistics.items():
                found[name].append(value)
    back = np.argsort(order)
    made = {name: torch.cat(values).double().cpu().numpy()[back] for name, values in found.items()}
    return routing.Observed(made["shares"], made["first"], made["chosen"], made["by_layer"], np.zeros(len(data)))


def _gates(model: nn.Module, experts: int) -> list[nn.Module]:
    """Routers of a native layout, first layer first."""
    return [
        module
        for name, module in model.named_modules()
        if name.endswith(GATES) and isinstance(getattr(module, "weight", None), Tensor)
        if module.weight.shape[0] == experts
    ]


@contextmanager
def watched(model: Any) -> Iterator[Callable[[tuple[int, ...]], Tensor]]:
    """While this is open: the last call's scores, (layers, batch, tokens, experts), for inputs of a shape."""
    own = mixtures(model)
    if own:
        for layer in own:
            layer.watched = True
        yield lambda shape: torch.stack([_known(layer.logits) for layer in own])
        for layer in own:
            layer.watched, layer.logits = False, None
        return
    gates = _gates(model, _experts(model.config))
    held: dict[int, Tensor] = {}

    def keep(at: int) -> Callable[[Any, Any, Any], None]:
        # The router's own answer differs from family to family and from version to version; its product does not.
        def hook(module: Any, given: Any, answer: Any) -> None:
            held[at] = functional.linear(given[0].float(), module.weight.float())

        return hook

    hooks = [gate.register_forward_hook(keep(at)) for at, gate in enumerate(gates)]
    yield lambda shape: torch.stack([held[at].view(*shape, -1) for at in range(len(gates))])
    for hook in hooks:
        hook.remove()


def _experts(config: Any) -> int:
    return int(getattr(config, "num_local_experts", None) or config.num_experts)


def _known(logits: Tensor | None) -> Tensor:
    if logits is None:
        raise RuntimeError("a mixture did not run")
    return logits
