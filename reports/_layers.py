"""What the page of a merge says of its layers and tensors, worked out before any markup."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from h3eval.types import Json

from . import _panels
from ._figures import Figure
from ._numbers import MISSING, Number

Facts = Mapping[str, Any]
MOST_TENSORS = 2000
"""Tensors that the page lists; all stand in merge_report.json."""
SAME = 0.01
"""Shares that differ by less from layer to layer are not drawn."""


@dataclass(frozen=True)
class Row:
    """Statistics of a kind or of one tensor, as shown."""

    name: str
    tensors: int
    elements: Number | None
    conflicts: Number | None
    kept: tuple[Number | None, ...]
    """By model, in the order of the labels."""
    norms: tuple[Number | None, ...]
    merged: Number | None
    chosen: tuple[str, ...]
    """What the method chose, in words."""


def labels(report: Facts) -> list[str]:
    """The models' names, in the recipe's order."""
    return [model["name"] for model in report["recipe"]["models"]]


def row(name: str, facts: Facts, names: Sequence[str]) -> Row:
    """One row of a table."""
    return Row(
        name, int(facts.get("tensors", 1)), _panels.number(facts.get("elements"), ",d"),
        _panels.share(facts.get("sign_conflicts"), 2),
        tuple(_panels.share(facts.get("kept", {}).get(each)) for each in names),
        tuple(_panels.number(facts.get("norm", {}).get(each)) for each in names),
        _panels.number(facts.get("merged_norm")), tuple(_chosen(facts, names)),
    )  # fmt: skip


def _chosen(facts: Facts, names: Sequence[str]) -> Iterator[str]:
    if "rank" in facts:
        most = f" of {facts['short_side']}" if "short_side" in facts else ""
        yield f"rank {facts['rank']:.4g}{most}"
    if "omega" in facts:
        yield f"Ω {facts['omega']:.4g}"
    if "alpha" in facts:
        yield "α " + ", ".join(f"{facts['alpha'][name]:.3f}" for name in names)
    if "t" in facts:
        yield f"t {facts['t']:.4g}"
    if "matrices" in facts:
        yield f"{len(facts['matrices'])} matrices"


def kinds(report: Facts) -> list[Row]:
    """Each kind of tensor."""
    return [row(each["kind"], each, labels(report)) for each in report.get("kinds", ())]


def tensors(report: Facts) -> list[Row]:
    """Each tensor that was merged, the first `MOST_TENSORS` of them."""
    found = [(name, facts) for name, facts in report["tensors"].items() if facts.get("elements")]
    return [row(name, facts, labels(report)) for name, facts in found[:MOST_TENSORS]]


def count(report: Facts) -> int:
    """How many tensors were merged."""
    return sum(1 for facts in report["tensors"].values() if facts.get("elements"))


def figures(report: Facts) -> list[tuple[str, Figure]]:
    """A title and a figure for each statistic that changes: small charts by kind, over the layers."""
    by_layer = report.get("layers") or ()
    if len({each["layer"] for each in by_layer}) < 2:
        return []
    return [(title, figure) for title, made in FIGURES.items() if (figure := made(report, by_layer))]


def _points(by_layer: Sequence[Facts], key: str) -> list[dict[str, Json]]:
    return [{"panel": each["kind"], "x": each["layer"], "y": each[key], "of": ""} for each in by_layer if key in each]


def _by_model(by_layer: Sequence[Facts], key: str, names: Sequence[str]) -> list[dict[str, Json]]:
    return [
        {"panel": each["kind"], "x": each["layer"], "y": each[key][name], "of": name}
        for each in by_layer
        if key in each
        for name in names
        if name in each[key]
    ]


def _conflicts(report: Facts, by_layer: Sequence[Facts]) -> Figure | None:
    data = _points(by_layer, "sign_conflicts")
    if not any(point["y"] for point in data):
        return None
    return Figure(
        _panels.panels(data, "Sign conflicts by layer; the numbers stand in the table of tensors", form="%"),
        "Share of elements in which models that keep a change pull in opposite directions. Where many do, an average "
        "cancels what they have learnt. From left to right: layers. Each small chart has its own scale.",
    )


def _norms(report: Facts, by_layer: Sequence[Facts]) -> Figure | None:
    names = labels(report)
    data = _by_model(by_layer, "norm", names)
    data += [{**point, "of": _panels.WHOLE} for point in _points(by_layer, "merged_norm")]
    whose = "changes from the base" if has_base(report) else "weights"
    return Figure(
        _panels.panels(data, f"Norms of {whose} by layer; the numbers stand in the table of tensors",
                     [*names, _panels.WHOLE], form="~g"),
        f"Euclidean norm of each model's {whose}, and of the merged one's: how much each would move a layer, and how "
        "much is left of it. From left to right: layers. Each small chart has its own scale.",
    )  # fmt: skip


def _kept(report: Facts, by_layer: Sequence[Facts]) -> Figure | None:
    names = labels(report)
    data = _by_model(by_layer, "kept", names)
    shares: dict[tuple[str, str], list[float]] = {}
    for point in data:
        shares.setdefault((point["panel"], point["of"]), []).append(float(point["y"]))
    if all(max(each) - min(each) < SAME for each in shares.values()):
        return None
    return Figure(
        _panels.panels(data, "Share of elements kept by layer; the numbers stand in the table of tensors", names,
                     form="%", domain=(0, 1)),
        "Share of a model's elements that the method keeps before it adds them up: what is not kept counts as zero.",
    )  # fmt: skip


def _rank(report: Facts, by_layer: Sequence[Facts]) -> Figure | None:
    return _choice(by_layer, "rank", "Rank", "How many singular directions of each model are kept in a layer.")


def _omega(report: Facts, by_layer: Sequence[Facts]) -> Figure | None:
    return _choice(by_layer, "omega", "Ω", "Share of changes below epsilon: the more there are, the fewer directions.")


def _t(report: Facts, by_layer: Sequence[Facts]) -> Figure | None:
    return _choice(
        by_layer, "t", "t", "How far the merge goes from the base, at 0, to the models' mean, at 1: the further, the "
        "more the models point the same way.",
    )  # fmt: skip


def _choice(by_layer: Sequence[Facts], key: str, name: str, about: str) -> Figure | None:
    data = _points(by_layer, key)
    if not data:
        return None
    return Figure(_panels.panels(data, f"{name} by layer; the numbers stand in the table of tensors"), about)


def _alpha(report: Facts, by_layer: Sequence[Facts]) -> Figure | None:
    names = labels(report)
    data = _by_model(by_layer, "alpha", names)
    if not data:
        return None
    return Figure(
        _panels.panels(data, "Weights α by layer; the numbers stand in the table of tensors", names),
        "α: each model's share of the changes that stand out of their rows. It is the model's weight in that layer.",
    )


FIGURES = {
    "Sign conflicts": _conflicts, "Norms": _norms, "Kept": _kept, "Rank": _rank, "Weights α": _alpha, "Ω": _omega,
    "t": _t,
}  # fmt: skip


def has_base(report: Facts) -> bool:
    """Are norms those of changes?"""
    return any(each["name"] == "base" for each in report["inputs"])


@dataclass(frozen=True)
class Parent:
    """One input of the merge."""

    name: str
    kind: str
    path: str
    settings: str
    kept: Number | None
    norm: Number | None
    files: tuple[tuple[str, str], ...]
    """Name and SHA-256."""


def parents(report: Facts) -> list[Parent]:
    """The inputs, the base first."""
    own = {model["name"]: {k: v for k, v in model.items() if k != "name"} for model in report["recipe"]["models"]}
    whole = report["summary"]
    return [
        Parent(
            each["name"], each["kind"], each["path"], _panels.told(own.get(each["name"], {})),
            _panels.share(whole.get("kept", {}).get(each["name"])),
            _panels.number(whole.get("norm", {}).get(each["name"])),
            tuple((name, digest or MISSING) for name, digest in each["files"].items()),
        )
        for each in report["inputs"]
    ]  # fmt: skip


def method(report: Facts) -> list[tuple[str, str]]:
    """How it was merged, as pairs of a name and a value."""
    recipe, about = report["recipe"], report.get("about") or {}
    facts = [("method", recipe["method"]), *((key, value) for key, value in about.items() if key != "method")]
    if about:
        facts.insert(1, ("what it does", about["method"]))
    facts += [(key, _panels.told({"": value}).strip()) for key, value in recipe["parameters"].items()]
    dtype = recipe["dtype"] or "as the base's, tensor by tensor"
    facts += [("seed", recipe["seed"]), ("number format", dtype), ("tokenizer from", recipe["tokenizer"]),
              ("where vocabularies differ", recipe["embeddings"])]  # fmt: skip
    return [(key, str(value) or MISSING) for key, value in facts]
