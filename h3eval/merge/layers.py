"""A merge's statistics by kind of tensor and by layer: what tells where models agree."""

from collections.abc import Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]
CHOSEN = ("rank", "omega", "t")
"""What a method chooses for each tensor, one number a tensor."""


def place(name: str) -> tuple[str, int | None]:
    """A tensor's kind and layer: `self_attn.q_proj` and 3 of `model.layers.3.self_attn.q_proj.weight`.

    The first number in a name is the layer; experts of one layer are of one kind. What lies outside of layers has none.
    """
    parts = name.removesuffix(".weight").split(".")
    at = next((at for at, part in enumerate(parts) if part.isdecimal()), None)
    if at is None:
        return ".".join(parts), None
    kind = [part for part in parts[at + 1 :] if not part.isdecimal()]
    return ".".join(kind or parts[:at]), int(parts[at])


def summary(tensors: Sequence[Facts]) -> dict[str, Any]:
    """Tensors' statistics together, each weighing as much as it has elements; norms are of all as one vector."""
    held = [facts for facts in tensors if facts.get("elements")]
    total = sum(facts["elements"] for facts in held)
    if not total:
        return {"elements": 0}
    labels = list(held[0]["norm"])
    made = {
        "elements": total,
        "kept": {name: sum(f["kept"][name] * f["elements"] for f in held) / total for name in labels},
        "sign_conflicts": sum(f["sign_conflicts"] * f["elements"] for f in held) / total,
        "norm": {name: sum(f["norm"][name] ** 2 for f in held) ** 0.5 for name in labels},
        "merged_norm": sum(f["merged_norm"] ** 2 for f in held) ** 0.5,
    }
    return {**made, **_chosen(held)}


def _chosen(held: Sequence[Facts]) -> dict[str, Any]:
    """The means of what a method chose, over the matrices it chose for."""
    made: dict[str, Any] = {}
    matrices = [(each, f["elements"] / len(own)) for f in held for own in [f.get("matrices") or [f]] for each in own]
    for key in (*CHOSEN, "alpha"):
        found = [(each[key], weight) for each, weight in matrices if key in each]
        many = sum(weight for _, weight in found)
        if found and key == "alpha":
            made[key] = {name: sum(each[name] * weight for each, weight in found) / many for name in found[0][0]}
        elif found:
            made[key] = sum(each * weight for each, weight in found) / many
    return made


def by_kind(tensors: Mapping[str, Facts]) -> list[dict[str, Any]]:
    """A summary for each kind, in the order of their first layers."""
    return _grouped(tensors, lambda kind, layer: (kind,))


def by_layer(tensors: Mapping[str, Facts]) -> list[dict[str, Any]]:
    """A summary for each kind in each layer; what lies outside of layers is left out."""
    inside = {name: facts for name, facts in tensors.items() if place(name)[1] is not None}
    made = _grouped(inside, lambda kind, layer: (kind, layer))
    return sorted(made, key=lambda row: (row["kind"], row["layer"]))


def _grouped(tensors: Mapping[str, Facts], key: Any) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[Facts]] = {}
    for name, facts in tensors.items():
        if facts.get("elements"):
            groups.setdefault(key(*place(name)), []).append(facts)
    return [
        {**dict(zip(("kind", "layer"), what, strict=False)), "tensors": len(held), **summary(held)}
        for what, held in groups.items()
    ]
