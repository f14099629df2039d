"""`h3eval merge --check`: is the result the model that its parents make? It is asked before the folder gets its name.

transformers must load the folder with no tensor missing or left over, and read in its config.json what it reads in
every parent's, as far as that has a part in an answer. Where the method is linear (averages, task arithmetic), the
same sum is made in memory of the models as transformers (and peft) load them, and must give the same logits: at weight
1 of one model, that model's own. Of another method's result it is only known that it loads, and that its logits are
numbers.
"""

import importlib
import tempfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers
from torch import Tensor

from h3eval.checkpoints import architecture, equality
from h3eval.checkpoints.cutting import cut_adapter, cut_folder
from h3eval.checkpoints.loading import loaded, quiet
from h3eval.errors import ConfigError, UsageError
from h3eval.merge.checkpoints import Checkpoint, read_header, weight_files
from h3eval.merge.plan import Plan

ROOM = 1.3
LINEAR = ("weight_average", "rewarded_soup", "task_arithmetic")


def check(folder: Path, plan: Plan) -> str:
    """What was checked, for people. Raise Differs, with the number, or ConfigError naming the tensor or key."""
    try:
        return _checked(folder, plan)
    except ConfigError as error:
        # The folder has no name yet, and is about to go.
        raise ConfigError(str(error).replace(str(folder), "--check: the result")) from error


def _checked(folder: Path, plan: Plan) -> str:
    config = architecture.read(folder)
    _same_settings(plan, config)
    shares = coefficients(plan)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.check-", dir=folder.parent) as spare:
        places, cut = _placed(folder, plan, Path(spare))
        kind = _class(config)
        rows = list(_compared(places, shares, kind, bool(plan.recipe.dtype)))
    where = "first two and last layers of the result" if cut else "the result"
    if not rows:
        return (
            f"checked {where}: transformers loads it, no tensor is missing or left over, its logits are finite; "
            f"{plan.recipe.chosen.name} is not linear, so there is no model to compare it with"
        )
    most = max(row["apart"] for row in rows if row["dtype"] == "float32")
    return f"checked {where}: logits are {rows[0]['with']}, apart by {most:.1g} of their size at most"


def coefficients(plan: Plan) -> dict[str, float] | None:
    """Each model's share in the result, by label (`base` for the base's); None where the method is not linear, or its
    weights or vocabularies differ from tensor to tensor."""
    chosen = plan.recipe.chosen
    if chosen.name not in LINEAR or chosen.varies() or _partly(plan):
        return None
    if chosen.name == "weight_average":
        return dict.fromkeys(chosen.labels, 1 / len(chosen.labels))
    weights = dict(zip(chosen.labels, chosen.column("weight"), strict=True))
    if chosen.name == "rewarded_soup" or chosen.shared["normalize"]:
        total = sum(weights.values())
        weights = {label: weight / total for label, weight in weights.items()}
    if chosen.name == "rewarded_soup":
        return weights
    scaled = {label: float(chosen.shared["lambda"]) * weight for label, weight in weights.items()}
    return {"base": 1 - sum(scaled.values()), **scaled}


def _partly(plan: Plan) -> bool:
    """Is some floating tensor not merged, or merged in part?"""
    return any(job.merged < job.reference.elements for job in plan.jobs if job.reference.floating)


def _same_settings(plan: Plan, config: Any) -> None:
    """Raise ConfigError where a parent's configuration computes something else than the result's."""
    rows = plan.recipe.embeddings != "refuse"
    for label, model in _parents(plan).items():
        if not isinstance(model, Checkpoint):
            continue
        for key, have, want in architecture.differences(architecture.read(model.folder), config):
            if not (rows and key == "vocab_size"):
                raise ConfigError(
                    f"--check: {key} is {have} in {label}, and {want} in the result: one configuration can't hold both"
                )


def _parents(plan: Plan) -> dict[str, Checkpoint | Path]:
    found = dict(zip(plan.recipe.chosen.labels, plan.models, strict=True))
    return {**({"base": plan.base} if plan.base else {}), **found}


def _placed(folder: Path, plan: Plan, spare: Path) -> tuple[dict[str, Path], bool]:
    """Folders by label (`` for the result's): whole ones, or cut where two of them don't fit into memory."""
    parents = {
        label: model.folder if isinstance(model, Checkpoint) else model for label, model in _parents(plan).items()
    }
    elements = sum(prod(job.reference.shape) for job in plan.jobs)
    free = int(psutil.virtual_memory().available)
    if 2 * ROOM * 4 * elements <= free:
        return {"": folder, **parents}, False
    config = architecture.full(architecture.read(folder))
    made = {"": cut_folder(folder, config, spare / "result")}
    for at, (label, place) in enumerate(parents.items()):
        adapter = not (place / "config.json").is_file()
        made[label] = (cut_adapter if adapter else cut_folder)(place, config, spare / str(at))
    need = 2 * ROOM * 4 * sum(tensor.elements for file in weight_files(made[""]) for tensor in read_header(file))
    if need > free:
        raise UsageError(
            f"--check needs about {need / 1e9:.2f} GB even for three layers, and {free / 1e9:.2f} GB "
            "are free; the merge itself needs little: leave --check away, or run it where there is more"
        )
    return made, True


def _class(config: Any) -> Any:
    """The class of transformers that the configuration names, else that of language models."""
    names = config.architectures or []
    found = getattr(transformers, str(names[0]), None) if names else None
    return found or transformers.AutoModelForCausalLM


def _compared(
    places: Mapping[str, Path], shares: Mapping[str, float] | None, kind: Any, narrowed: bool
) -> Iterator[dict[str, Any]]:
    """The result against the sum of its parents, in both types; no row where there is no such sum. `narrowed`: the
    result has a number format of its own, which its parents are rounded to."""
    for dtype in equality.DTYPES:
        model = loaded(places[""], dtype, kind)
        ids = equality.prompts(model.config)
        made = equality.logits(model, ids)
        del model
        if not bool(made.isfinite().all()):
            raise equality.Differs(f"refused: in {equality.name(dtype)} the result's logits are not finite numbers")
        if shares is None:
            continue
        stored = stored_type(places[""])
        alone = next((label for label, share in shares.items() if share == 1), "")
        exact = bool(alone) and sum(map(bool, shares.values())) == 1
        model = parent(places, alone, kind, dtype) if exact else summed(places, shares, kind, dtype, stored)
        if narrowed:
            _round(model, stored)
        wanted = equality.logits(model, ids)
        del model
        what = f"{alone}'s own" if exact else "those of the same sum, made in memory"
        # Two ways to one sum may round a few of its numbers to neighbours.
        loose = 0.0 if exact or stored == torch.float32 else equality.LIMITS[torch.bfloat16]
        yield equality.compared(made, wanted, dtype, what, loose)


def stored_type(folder: Path) -> torch.dtype:
    """The least exact type that a folder's floating tensors have."""
    found = {tensor.dtype for file in weight_files(folder) for tensor in read_header(file) if tensor.floating}
    by_name = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
    return min((by_name[name] for name in found), key=lambda each: -torch.finfo(each).eps)


def _round(model: Any, stored: torch.dtype) -> None:
    for parameter in model.parameters():
        parameter.data = parameter.data.to(stored).to(parameter.dtype)


@torch.no_grad()
def summed(
    places: Mapping[str, Path], shares: Mapping[str, float], kind: Any, dtype: torch.dtype, stored: torch.dtype
) -> Any:
    """The parents' parameters, each times its share, in a model of the first one's."""
    total: dict[str, Tensor] = {}
    for label, share in shares.items():
        for name, parameter in parent(places, label, kind, torch.float32).named_parameters():
            part = share * parameter.data
            total[name] = total[name] + part if name in total else part
    model = parent(places, next(iter(shares)), kind, dtype)
    for name, parameter in model.named_parameters():
        parameter.data = total[name].to(stored).to(dtype)
    return model


def parent(places: Mapping[str, Path], label: str, kind: Any, dtype: torch.dtype) -> Any:
    """A parent's model as transformers, and for an adapter peft, load it. Raise ConfigError."""
    folder = places[label]
    if (folder / "config.json").is_file():
        return loaded(folder, dtype, kind)
    try:
        adapted = importlib.import_module("peft").PeftModel
    except ModuleNotFoundError as error:
        raise ConfigError("--check of adapters needs peft: pip install 'h3eval[fuse]'") from error
    with quiet():
        model: Any = adapted.from_pretrained(loaded(places["base"], torch.float32, kind), folder).merge_and_unload()
    own = loaded(places["base"], dtype, kind)
    changed = dict(model.named_parameters())
    for name, parameter in own.named_parameters():
        parameter.data = changed[name].data.to(dtype)
    return own
