"""Is what was written what was made? Every export answers a few prompts before it is called done.

Two questions. Does the served folder say what the trained module says, whose low-rank changes are folded and whose
weights are rounded as they were stored? And, with all experts made one of them, does it say what that expert's own
model says, loaded by transformers from its own folder? What a fusion changes on purpose (the mean of the experts'
attention, cut task vectors, what training moved) is put into that model first; the rest, and all that a configuration
says, is its own.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from h3eval.checkpoints import equality
from h3eval.checkpoints.cutting import cut_adapter, write_cut
from h3eval.checkpoints.loading import loaded, quiet
from h3eval.errors import UsageError
from h3eval.fusion import memory, modeling_mixture
from h3eval.fusion.architectures import FAMILIES
from h3eval.fusion.checkpoints import Checkpoint
from h3eval.fusion.construction import base_of, parts
from h3eval.fusion.modeling_mixture import PROJECTIONS, Mixture, Stack, mixtures
from h3eval.fusion.serving import experts
from h3eval.fusion.settings import Settings

ROOM = 1.3
"""Bytes in use for each byte of weights, roughly."""


@dataclass(frozen=True)
class Folders:
    """What is compared: whole, or cut."""

    trained: Path
    served: Path
    experts: tuple[Path, ...]
    base: Path
    adapters: tuple[Path, ...]
    device: torch.device


def check(asked: Settings, trained: Path, served: Path, layout: str, device: torch.device) -> dict[str, Any]:
    """What was measured. Raise Differs where the served folder computes something else than its sources, and
    UsageError where not even its first and last layers can be loaded."""
    with tempfile.TemporaryDirectory(prefix=".check-", dir=served.parent) as spare:
        whole, cut = _placed(asked, trained, served, Path(spare), device)
        form = base_of(Checkpoint(trained))[1]
        found = list(_mixture(whole, layout))
        if form["literal"]:
            # Its shares don't sum to one: with one expert it is no expert's model.
            note = "compat = 'paper' is no expert's model at any routing: compared with the trained module alone"
        else:
            note = ""
            found += list(_each_expert(asked, whole, layout))
        found += list(_adapters(asked, whole))
    facts = {"layers": "first two and last" if cut else "all", "measured": found}
    return {**facts, "note": note} if note else facts


def check_construction(asked: Settings, made: Path, device: torch.device) -> None:
    """A look before the training, which may take days: the construction of its first expert alone against that expert's
    own model, in float32. Raise Differs."""
    form = base_of(Checkpoint(made))[1]
    if form["literal"]:
        return
    with tempfile.TemporaryDirectory(prefix=".check-", dir=made.parent) as spare:
        folders, _ = _placed(asked, made, made, Path(spare), device)
        wanted, _ = source(folders, 0, torch.float32)
        ids = equality.prompts(wanted.config)
        logits = equality.logits(wanted, ids)
        del wanted
        model = served_model(folders, "code", torch.float32)
        with only(model, 0, len(asked.experts)):
            equality.compared(equality.logits(model, ids), logits, torch.float32, f"{next(iter(asked.experts))}'s own")


def _placed(asked: Settings, trained: Path, served: Path, spare: Path, device: torch.device) -> tuple[Folders, bool]:
    """The folders to compare: cut ones, in `spare`, where the whole doesn't fit into memory."""
    names = list(asked.experts)
    written = asked.serve.adapters and served != trained
    adapters = tuple(served / "adapters" / name for name in names) if written else ()
    own = tuple(Path(folder) for folder in asked.experts.values())
    whole = Folders(trained, served, own, Path(asked.base), adapters, device)
    free = memory.available(device)
    if _need(whole) <= free:
        return whole, False
    have = parts(asked)
    cuts = Folders(
        _cut(Checkpoint(trained), spare / "trained"),
        _cut(Checkpoint(served), spare / "served"),
        tuple(_cut(expert, spare / f"expert-{at}") for at, expert in enumerate(have.experts)),
        _cut(have.base, spare / "base"),
        tuple(cut_adapter(adapter, have.base.config, spare / f"adapter-{at}") for at, adapter in enumerate(adapters)),
        device,
    )
    if _need(cuts) > free:
        raise UsageError(
            f"checking the export needs about {_need(cuts) / 1e9:.2f} GB even for three of its layers, and "
            f"{free / 1e9:.2f} GB are free: repeat the command where there is more; it goes on from here"
        )
    return cuts, True


def _need(folders: Folders) -> int:
    """Bytes for the larger of the two fusions in float32, with its experts twice."""
    return int(ROOM * 2 * max(_elements(Checkpoint(each)) for each in (folders.trained, folders.served)) * 4)


def _elements(checkpoint: Checkpoint) -> int:
    total = 0
    for name in checkpoint.names:
        count = 1
        for side in checkpoint.shape(name):
            count *= side
        total += count
    return total


def _cut(checkpoint: Checkpoint, into: Path) -> Path:
    return write_cut(checkpoint.names, checkpoint.tensor, checkpoint.config, into)


def _mixture(folders: Folders, layout: str) -> Iterator[dict[str, Any]]:
    """The served folder against the trained module."""
    for dtype in equality.DTYPES:
        trained = as_stored(folders, layout, dtype)
        ids = equality.prompts(trained.config)
        wanted = equality.logits(trained, ids)
        del trained
        made = equality.logits(served_model(folders, layout, dtype), ids)
        yield equality.compared(made, wanted, dtype, "the trained module's")


def served_model(folders: Folders, layout: str, dtype: torch.dtype) -> Any:
    """The export as engines load it. Its own code is a copy of h3eval's, whose classes are used for it."""
    if layout != "code":
        return loaded(folders.served, dtype).to(folders.device)
    return loaded(folders.served, dtype, own_class(folders.served)).to(folders.device)


def own_class(folder: Path) -> Any:
    """h3eval's class of a construction, or of an export with its own code."""
    return getattr(modeling_mixture, f"Mixture{FAMILIES[base_of(Checkpoint(folder))[0]['model_type']]}ForCausalLM")


def stored_type(folder: Path) -> torch.dtype:
    """What an export's weights are rounded to."""
    written = Checkpoint(folder)
    return written.tensor(next(name for name in written.names if ".self_attn." in name)).dtype


@torch.no_grad()
def as_stored(folders: Folders, layout: str, dtype: torch.dtype) -> Any:
    """The trained module, rounded where the export is, in a type to compute in."""
    model = loaded(folders.trained, torch.float32, own_class(folders.trained))
    stored = stored_type(folders.served)
    if layout != "code":
        for layer in mixtures(model):
            _fold(layer)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(stored).to(dtype)
    return model.to(folders.device)


def _fold(layer: Mixture) -> None:
    """Low-rank changes into experts' weights, and the temperature into the router's, as native layouts have them."""
    for name in PROJECTIONS:
        dense = getattr(layer, name).weight
        weights = dense.expand(layer.experts, *dense.shape[-2:]).clone()
        if layer.low_rank:
            change = getattr(layer, name + "_vectors")
            weights += layer.scale * torch.einsum("eor,eri->eoi", change.b, change.a)
            delattr(layer, name + "_vectors")
        folded = Stack(layer.experts, weights.shape[2], weights.shape[1])
        folded.weight.data = weights
        setattr(layer, name, folded)
    layer.shared, layer.low_rank = False, False
    layer.router.weight.data /= layer.temperature
    layer.temperature = 1.0


def _each_expert(asked: Settings, folders: Folders, layout: str) -> Iterator[dict[str, Any]]:
    """The served folder with all experts made one of them, against that expert's own model."""
    wanted: dict[tuple[int, torch.dtype], tuple[Tensor, int]] = {}
    for dtype in equality.DTYPES:
        for at in range(len(asked.experts)):
            model, put_in = source(folders, at, dtype)
            wanted[at, dtype] = equality.logits(model, equality.prompts(model.config)), put_in
            del model
        model = served_model(folders, layout, dtype)
        ids = equality.prompts(model.config)
        for at, name in enumerate(asked.experts):
            with only(model, at, len(asked.experts)):
                made = equality.logits(model, ids)
            logits, put_in = wanted.pop((at, dtype))
            yield {**equality.compared(made, logits, dtype, f"{name}'s own"), "tensors_put_in": put_in}
        del model


@torch.no_grad()
def source(folders: Folders, expert: int, dtype: torch.dtype) -> tuple[Any, int]:
    """An expert's model as transformers and peft load it, rounded as the export is, with what the fusion changes; and
    in how many tensors that is."""
    folder = folders.experts[expert]
    if (folder / "config.json").is_file():
        model = loaded(folder, torch.float32)
    else:
        with quiet():
            model = PeftModel.from_pretrained(loaded(folders.base, torch.float32), folder).merge_and_unload()
    made, stored, put_in = Checkpoint(folders.trained), stored_type(folders.served), 0
    form = base_of(made)[1]
    for name, parameter in model.named_parameters():
        # Tied heads are one parameter with the embeddings.
        value = _wanted(made, form, name, expert).to(stored)
        own = parameter.data.to(stored)
        put_in += int(not torch.equal(value, own))
        parameter.data = value.to(dtype)
    return model.to(folders.device), put_in


def _wanted(made: Checkpoint, form: dict[str, Any], name: str, expert: int) -> Tensor:
    """One tensor of an expert's dense model in a construction."""
    stem = name.removesuffix(".weight")
    if ".mlp." in name and stem.rpartition(".")[2] in PROJECTIONS:
        return list(experts(made, stem, form, torch.float32))[expert]
    return made.tensor(name)


@contextmanager
def only(model: Any, expert: int, count: int) -> Iterator[None]:
    """The model with all its experts made one of them, so that no routing matters. Raise RuntimeError where none of
    its parameters are experts'."""
    kept = [(each, each.data) for name, each in model.named_parameters() if _of_experts(name, each, count)]
    if not kept:
        raise RuntimeError(f"{type(model).__name__}: no parameters of {count} experts")
    for parameter, data in kept:
        parameter.data = data[expert].expand_as(data).contiguous()
    yield
    for parameter, data in kept:
        parameter.data = data


def _of_experts(name: str, parameter: Tensor, count: int) -> bool:
    return ".mlp." in name and parameter.dim() == 3 and parameter.shape[0] == count


def _adapters(asked: Settings, folders: Folders) -> Iterator[dict[str, Any]]:
    """Each written adapter on the base, against the base with that expert's matrices."""
    made = Checkpoint(folders.trained)
    form = base_of(made)[1]
    for at, (name, folder) in enumerate(zip(asked.experts, folders.adapters, strict=False)):
        for dtype in equality.DTYPES:
            with quiet():
                adapted = PeftModel.from_pretrained(loaded(folders.base, dtype), folder).to(folders.device)
            ids = equality.prompts(adapted.config)
            found = equality.logits(adapted, ids)
            model = loaded(folders.base, torch.float32)
            for key, parameter in model.named_parameters():
                if ".mlp." in key:
                    parameter.data = _wanted(made, form, key, at)
                parameter.data = parameter.data.to(dtype)
            wanted = equality.logits(model.to(folders.device), ids)
            yield equality.compared(found, wanted, dtype, f"the adapter {name}'s")
