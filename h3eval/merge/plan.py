"""From recipe and headers to a list of jobs, one a tensor: all that can be wrong is found before a weight is read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h3eval.errors import ConfigError
from h3eval.merge.adapters import LowRank, is_adapter, open_adapter
from h3eval.merge.checkpoints import BYTES, NAMES, Checkpoint, Tensor, open_checkpoint
from h3eval.merge.fitting import HEAD, fit
from h3eval.merge.gradients import depths
from h3eval.merge.kernels import F32
from h3eval.merge.methods import check, family
from h3eval.merge.recipe import Recipe, named

EMBEDDINGS = (
    "embed_tokens.weight",
    HEAD,
    "wte.weight",
    "embed_in.weight",
    "embed_out.weight",
    "word_embeddings.weight",
)
BUFFERS = ("rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")
"""Computed from the config, and saved by some versions of transformers only."""
PIECE = 1 << 16
"""Elements of a piece, so that a few models' fit into a core's own cache; rows are not cut, where rows matter."""
SHOWN = 5
DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
Raw = NDArray[np.uint8]


@dataclass(frozen=True)
class Part:
    """What one model gives to one tensor: stored weights, or an adapter's change (None: no change)."""

    stored: Tensor | None
    change: LowRank | None = None

    def delta(self, start: int, raw: Raw | None, base: F32, out: F32) -> None:
        """What it adds to the base, whose elements from `start` on are given, as are the stored weights' bytes."""
        if self.stored is not None and raw is not None:
            self.stored.widen(raw, out)
            np.subtract(out, base, out=out)
            return
        out[:] = 0
        if self.change is not None:
            self.change.add(start, out)


@dataclass(frozen=True)
class Job:
    """One tensor of the result."""

    name: str
    reference: Tensor
    """Gives shape, and values where nothing is merged; the base's, where there is a base."""
    base: Tensor | None
    """What changes are added to; None where weights are averaged."""
    parts: tuple[Part, ...]
    dtype: str
    merged: int
    """Elements that are merged; those after them are the reference's."""
    columns: int
    """Length of the rows that may not be cut; 1 where any cut will do."""
    whole: bool
    """Is it merged as matrices?"""
    first: int
    """Pieces of all the tensors before it."""
    depth: float
    """How deep in the model, from 0 to 1: what gradients go by."""

    @property
    def piece(self) -> int:
        """Elements of a piece."""
        return max(1, PIECE // self.columns) * self.columns

    @property
    def pieces(self) -> int:
        """How many there are."""
        return -(-self.merged // self.piece)

    @property
    def bytes_in(self) -> int:
        """Bytes that one pass reads."""
        stored = [part.stored for part in self.parts if part.stored] + ([self.base] if self.base else [])
        return self.merged * sum(tensor.item for tensor in stored)

    @property
    def bytes_out(self) -> int:
        """Bytes it has in the result."""
        return self.reference.elements * (BYTES[self.dtype] if self.reference.floating else self.reference.item)


@dataclass(frozen=True)
class Plan:
    """A merge that can begin."""

    recipe: Recipe
    reference: Checkpoint
    donor: Path
    """Whose tokenizer and configuration the result gets."""
    models: tuple[Checkpoint | Path, ...]
    """Checkpoints, or adapters' folders, in the order of the recipe's labels."""
    base: Checkpoint | None
    jobs: tuple[Job, ...]
    notes: tuple[str, ...]


def plan(recipe: Recipe, folders: Mapping[str, Path]) -> Plan:
    """The jobs of a recipe whose models lie in these folders (by the recipe's own paths). Raise ConfigError."""
    base = _model(folders[recipe.base]) if recipe.base else None
    places = [folders[path] for path in recipe.paths]
    opened = {folder: open_adapter(folder, base) for folder in places if base and is_adapter(folder)}
    adapters = {folder: changes for folder, (changes, _) in opened.items()}
    models = [folder if folder in adapters else _model(folder) for folder in places]
    labelled = dict(zip(recipe.chosen.labels, models, strict=True))
    giver = base if base and recipe.tokenizer == "base" else labelled[recipe.tokenizer]
    if not isinstance(giver, Checkpoint):
        raise ConfigError(f"tokenizer: {recipe.tokenizer} is an adapter; name base or a whole model")
    reference = base or giver
    if adapters and not recipe.chosen.method.needs_base:
        raise ConfigError(f"{recipe.chosen.name}: averages whole models, and an adapter is a change; merge it first")
    notes = [*recipe.notes, *_silent(reference), *(note for _, told in opened.values() for note in told)]
    # Whose config.json the result gets; without a base it is the giver of its tokenizer.
    whose = ("base", base) if base else (recipe.tokenizer, giver)
    rows = recipe.embeddings != "base"
    notes += fit(whose, (recipe.tokenizer, giver), labelled, rows, recipe.allow)
    sources = {label: _Source(label, model, adapters) for label, model in labelled.items()}
    jobs = _jobs(recipe, reference, base, [sources[label] for label in recipe.chosen.labels], notes)
    return Plan(recipe, reference, giver.folder, tuple(models), base, tuple(jobs), tuple(notes))


def _silent(reference: Checkpoint) -> list[str]:
    """A configuration that leaves out how deep the model is: what a class takes instead is rarely what the weights are,
    and transformers fills the missing layers with chance."""
    said = {**reference.config, **(reference.config.get("text_config") or {})}
    if any(key in said for key in DEPTHS):
        return []
    return [f"{reference.folder}: config.json does not say how many layers there are; merge with --check"]


def _model(folder: Path) -> Checkpoint:
    if is_adapter(folder):
        raise ConfigError(f"adapter {folder}: an adapter changes a base model; name that model as `base`")
    return open_checkpoint(folder)


class _Source:
    """A model, by the reference's tensor names."""

    def __init__(self, label: str, model: Checkpoint | Path, adapters: Mapping[Path, Mapping[str, LowRank]]) -> None:
        self.label = label
        self.checkpoint = model if isinstance(model, Checkpoint) else None
        self.changes = adapters.get(model, {}) if isinstance(model, Path) else {}

    def part(self, name: str) -> Part | None:
        """Its part in a tensor; None where it has none."""
        if self.checkpoint is None:
            return Part(None, self.changes.get(name))
        stored = self.checkpoint.tensors.get(name)
        # A head that is stored beside a configuration that ties it is read by nobody.
        if name == HEAD and self.checkpoint.tied:
            stored = next((each for key, each in self.checkpoint.tensors.items() if key.endswith(EMBEDDINGS[0])), None)
        return Part(stored) if stored else None

    def extra(self, names: Iterable[str]) -> list[str]:
        """Tensors it has beside these."""
        held = self.checkpoint.tensors if self.checkpoint else {}
        return sorted(name for name in held if name not in names and not name.endswith((*BUFFERS, HEAD)))


def _jobs(
    recipe: Recipe, reference: Checkpoint, base: Checkpoint | None, sources: Sequence[_Source], notes: list[str]
) -> list[Job]:
    names = [name for name in reference.tensors if not (name == HEAD and reference.tied)]
    _check_names(names, reference, sources)
    jobs: list[Job] = []
    first = 0
    for name, depth in depths(names).items():
        if recipe.chosen.varies():
            with named(name):
                check(recipe.chosen.at(name, depth))
        job = _job(recipe, reference.tensors[name], base, sources, first, depth, notes)
        jobs.append(job)
        first += job.pieces
    return jobs


def _check_names(names: Sequence[str], reference: Checkpoint, sources: Sequence[_Source]) -> None:
    known = set(reference.tensors)
    for source in sources:
        missing = [name for name in names if not name.endswith(BUFFERS) and source.part(name) is None]
        for what, found in (("lacks", missing), ("has, and the others lack,", source.extra(known))):
            if found:
                more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
                raise ConfigError(
                    f"models: {source.label} {what} {', '.join(found[:SHOWN])}{more}: not the same architecture as "
                    f"{reference.folder}"
                )


def _job(
    recipe: Recipe, tensor: Tensor, base: Checkpoint | None, sources: Sequence[_Source], first: int, depth: float,
    notes: list[str],
) -> Job:  # fmt: skip
    method = recipe.chosen.method
    parts = [source.part(tensor.name) for source in sources]
    dtype = NAMES[recipe.dtype] if recipe.dtype and tensor.floating else tensor.dtype
    embedding = tensor.name.endswith(EMBEDDINGS)
    held = [part for part in parts if part is not None]
    if not tensor.floating or len(held) < len(parts):
        _check_equal(tensor, held)
        return Job(tensor.name, tensor, None, (), dtype, 0, 1, False, first, depth)
    merged = tensor.elements
    for source, part in zip(sources, held, strict=True):
        merged = min(merged, _common(recipe, source.label, tensor, part, embedding))
    if embedding and recipe.embeddings == "base":
        merged = 0
    if 0 < merged < tensor.elements:
        notes.append(f"{tensor.name}: only the first {merged // tensor.shape[-1]} of {tensor.shape[0]} rows are merged")
    singled = embedding and not recipe.chosen.shared.get("include_embeddings", False)
    whole = method.whole and len(tensor.shape) >= 2 and not singled and merged == tensor.elements
    return Job(
        tensor.name, tensor, base.tensors[tensor.name] if base and method.needs_base else None, tuple(held), dtype,
        merged, _row(recipe, tensor), whole, first, depth,
    )  # fmt: skip


def _row(recipe: Recipe, tensor: Tensor) -> int:
    """How long a stretch may not be cut: a row, for methods that look at rows; a vector is one row."""
    by_row = family(recipe.chosen.at(tensor.name, 0.0)).by_row
    return max(1, tensor.shape[-1] if tensor.shape else 1) if by_row else 1


def _common(recipe: Recipe, label: str, tensor: Tensor, part: Part, embedding: bool) -> int:
    """How many leading elements model and reference have both."""
    if part.stored is None or part.stored.shape == tensor.shape:
        return tensor.elements
    shapes = f"{tensor.name} is {part.stored.shape} in {label} and {tensor.shape} in the reference"
    alike = len(part.stored.shape) == len(tensor.shape) and part.stored.shape[1:] == tensor.shape[1:]
    if not (embedding and alike):
        raise ConfigError(f"models: {shapes}: not the same architecture")
    if recipe.embeddings == "refuse":
        raise ConfigError(
            f"models: {shapes}: the vocabularies differ; --embeddings intersect merges the rows that all have and "
            "keeps the reference's others, --embeddings base keeps all the reference's"
        )
    return min(part.stored.shape[0], tensor.shape[0]) * prod(tensor.shape[1:])


def _check_equal(tensor: Tensor, parts: Sequence[Part]) -> None:
    """Whole numbers can't be merged: they must be the same everywhere."""
    if tensor.floating:
        return
    raw = tensor.raw()
    for part in parts:
        if part.stored and not np.array_equal(part.stored.raw(), raw):
            raise ConfigError(f"models: {tensor.name} is {tensor.dtype}, differs between models, and can't be merged")
