"""What a merge leaves beside the weights: merge_report.json for machines, README.md for people."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from h3eval.merge import layers, r_tsvm
from h3eval.merge.adapters import WEIGHTS
from h3eval.merge.checkpoints import Checkpoint, File
from h3eval.merge.engine import Result
from h3eval.merge.matrices import options
from h3eval.merge.plan import Plan

REPORT = "merge_report.json"
CARD = "README.md"
SCHEMA = 1


def files(plan: Plan) -> list[File]:
    """All weights files that go into the merge."""
    found = [file for model in (plan.base, *plan.models) if isinstance(model, Checkpoint) for file in model.files]
    found += [File(model / WEIGHTS) for model in plan.models if isinstance(model, Path)]
    return found


def warnings(plan: Plan, result: Result) -> list[str]:
    """What a user must know of this merge."""
    told = list(plan.notes)
    chosen = plan.recipe.chosen
    if chosen.name == "r_tsvm":
        told += r_tsvm.warnings(result.tensors, len(chosen.labels), options(chosen))
    outside = [name for name, facts in result.tensors.items() if not 0 <= facts.get("t", 0) <= 1]
    if outside:
        told.append(
            f"model_stock: t lies outside 0 to 1 in {len(outside)} tensors ({outside[0]}, ...): the models' changes "
            "point apart there, and the merge leaves the span between base and mean"
        )
    return told


def report(plan: Plan, result: Result, told: Sequence[str]) -> dict[str, Any]:
    """The report: nothing in it depends on the machine, the time or the number of threads."""
    chosen = plan.recipe.chosen
    models = {"base": plan.base, **dict(zip(chosen.labels, plan.models, strict=True))}
    tensors = {name: _named(facts, chosen.labels) for name, facts in result.tensors.items()}
    return {
        "schema": SCHEMA,
        "h3eval": version("h3eval"),
        "about": {"method": chosen.method.about, "source": chosen.method.source},
        "recipe": plan.recipe.settings(),
        "inputs": [_input(name, model, result.hashes) for name, model in models.items() if model is not None],
        "warnings": list(told),
        "summary": layers.summary(list(tensors.values())),
        "kinds": layers.by_kind(tensors),
        "layers": layers.by_layer(tensors),
        "tensors": tensors,
    }


def _input(name: str, model: Checkpoint | Path, hashes: Mapping[str, str]) -> dict[str, Any]:
    adapter = isinstance(model, Path)
    folder = model if isinstance(model, Path) else model.folder
    held = [model / WEIGHTS] if isinstance(model, Path) else [file.path for file in model.files]
    return {
        "name": name,
        "kind": "adapter" if adapter else "checkpoint",
        "path": str(folder),
        "files": {path.name: hashes.get(str(path)) for path in held},
    }


def _named(facts: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """A tensor's statistics, with r_tsvm's weights by the models' names."""
    if "matrices" in facts:
        return {**facts, "matrices": [_named(each, labels) for each in facts["matrices"]]}
    # The engine takes models in the order of their names.
    return {**facts, "alpha": dict(zip(sorted(labels), facts["alpha"], strict=True))} if "alpha" in facts else {**facts}


def text(made: Mapping[str, Any]) -> str:
    """The report as JSON."""
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def card(plan: Plan, made: Mapping[str, Any]) -> str:
    """The model card, in Markdown."""
    chosen, total = plan.recipe.chosen, made["summary"]
    shared = ", ".join(f"{key} {value}" for key, value in chosen.shared.items() if value is not None) or "none"
    lines = [
        "---", "tags: [merge, h3eval]", "---", f"# {chosen.name}: {' + '.join(chosen.labels)}", "",
        f"Merged by h3eval {made['h3eval']} with `{chosen.name}` ({chosen.method.about}; {chosen.method.source}).", "",
        f"Parameters: {shared}. Seed: {chosen.seed}. Number format: {plan.recipe.dtype or 'as the base'}.", "",
        "| model | parameters | weights (SHA-256) | kept | norm |", "|---|---|---|---|---|",
    ]  # fmt: skip
    own = {each["name"]: each for each in made["recipe"]["models"]}
    for each in made["inputs"]:
        name = each["name"]
        row = own.get(name, {})
        settings = ", ".join(f"{key} {_setting(row[key])}" for key in row if key != "name") or "–"
        hashes = "<br>".join(
            f"{file}: {digest[:16] + '…' if digest else '–'}" for file, digest in each["files"].items()
        )
        lines.append(
            f"| {name} | {settings} | {hashes} | {_number(total, 'kept', name)} | {_number(total, 'norm', name)} |"
        )
    lines += ["", f"Signs conflict in {total.get('sign_conflicts', 0):.2%} of the elements. "
              f"All statistics: `{REPORT}`; as a page: `h3eval report` of this folder."]  # fmt: skip
    lines += ["", *(f"- Note: {told}" for told in made["warnings"])]
    return "\n".join(lines).rstrip() + "\n"


def _setting(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list) else f"{value:g}"


def _number(total: Mapping[str, Any], key: str, name: str) -> str:
    value = total.get(key, {}).get(name)
    return "–" if value is None else f"{value:.4g}"
