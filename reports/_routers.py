"""What the page of a fusion says of its training and its router, worked out before any markup."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from h3eval.types import Json

from . import _panels
from ._charts import reliability
from ._figures import Figure
from ._numbers import MISSING, Number

Facts = Mapping[str, Any]
STATISTICS = {
    "loss": "loss, all terms", "gating_loss": "gating loss", "drift_loss": "drift loss",
    "router_entropy": "router's entropy, nats", "router_kl": "KL to the step before", "router_accuracy": "right expert",
    "router_confidence": "router's confidence",
}  # fmt: skip
"""What a training logs, in the order it is drawn."""
SHARES = ("router_accuracy", "router_confidence")
MOST_ROWS = 400
"""Steps that the page lists; all stand in fusion_report.json."""


@dataclass(frozen=True)
class Parent:
    """The base or an expert."""

    name: str
    folder: str
    hash: str
    kept: tuple[Number | None, Number | None] | None
    """Mean and least share of the task vectors' energy that the rank keeps."""
    moved: Number | None
    """How far training moved it."""


def parents(report: Facts) -> list[Parent]:
    """The base, then the experts in their order."""
    experts = report["settings"].get("experts", {})
    folders = {"base": report["settings"]["base"], **{name: experts[name] for name in report.get("experts", experts)}}
    inputs = report.get("inputs") or {"base": {"sha256": report.get("base_sha256")}}
    kept = report.get("construction", {}).get("task_vector_energy_kept", {})
    moved = report.get("training", {}).get("drift", {})
    return [
        Parent(
            name, folder, inputs.get(name, {}).get("sha256") or MISSING,
            (_panels.share(kept[name]["mean"]), _panels.share(kept[name]["least"])) if name in kept else None,
            _panels.number(moved.get(name)),
        )
        for name, folder in folders.items()
    ]  # fmt: skip


def history(report: Facts) -> tuple[list[str], list[list[Number | None]]]:
    """What was logged, and a row for each time it was: the step first."""
    logged = _logged(report)
    names = [name for name in STATISTICS if any(name in each for each in logged)]
    return names, [[_panels.number(each.get(name)) for name in ("step", *names)] for each in logged[:MOST_ROWS]]


def _logged(report: Facts) -> list[Facts]:
    made = [each for each in report.get("training", {}).get("history", ()) if "loss" in each]
    return made or [{"step": at, "loss": loss} for at, loss in enumerate(report.get("losses", ()), 1)]


def training(report: Facts) -> Figure | None:
    """Loss and router statistics over the steps."""
    logged = _logged(report)
    data = [
        {"panel": title, "x": each["step"], "y": each[name], "of": ""}
        for name, title in STATISTICS.items()
        for each in logged
        if each.get(name) is not None
    ]
    if len(logged) < 2:
        return None
    across = "steps" if "history" in report.get("training", {}) else "logs"
    about = f"From left to right: {across}." + (" Each small chart has its own scale." if len(logged[0]) > 2 else "")
    if any(name in logged[0] for name in SHARES):
        about += (
            " Entropy falls as the router makes up its mind; “right expert” is the share of rows that it gives to "
            "their own one, and should end near its confidence."
        )
    return Figure(_panels.panels(data, "Training; the numbers stand in the table of steps", form="~g"), about)


def of_run(found: Facts) -> list[Figure]:
    """Whom the router asks for a run's prompts: by dimension, and by task."""
    drawn = _panels.shades(
        _fields(found["activation"]["task"], found["experts"]),
        "Mean probability of each expert by task; the numbers stand in the table", ("expert", ""),
    )  # fmt: skip
    whole = by_dimension({"routing": found, "experts": found["experts"]}, rows="the run's prompts")
    return [each for each in (whole, Figure(drawn, "The same by task.")) if each]


def by_task(found: Facts) -> list[tuple[str, list["Row"]]]:
    """The table behind them."""
    titles = {"dimension": "By dimension", "task": "By task"}
    ordered = _activation({"routing": found, "experts": found["experts"]})
    return [
        (title, [_row(label, row, found["experts"]) for label, row in ordered[kind].items()])
        for kind, title in titles.items()
    ]


def by_dimension(report: Facts, kind: str = "dimension", rows: str = "held-out rows") -> Figure | None:
    """Whom the router asks for whose prompts."""
    found = _activation(report).get(kind)
    if not found or (kind == "source" and len(found) == len(_activation(report)["dimension"])):
        return None
    whose = "dimension" if kind == "dimension" else "file"
    return Figure(
        _panels.shades(_fields(found, report["experts"]), f"Mean probability of each expert by {whose}; the numbers "
                     "stand in the table", ("expert", "")),
        f"Mean probability that the router gives each expert, on {rows} of each {whose}. A router that knows "
        "whom to ask is strongest where row and column have one name."
        if kind == "dimension" else "The same by file: two files of one dimension should look alike.",
    )  # fmt: skip


def _activation(report: Facts) -> dict[str, dict[str, Any]]:
    """By dimension and by file, the dimensions in the experts' order."""
    found = report.get("routing", {}).get("activation", {})
    experts = report.get("experts", [])
    order = {name: place for place, name in enumerate(experts)}
    return {
        kind: dict(sorted(rows.items(), key=lambda row: order.get(row[0], len(experts))))
        for kind, rows in found.items()
    }


def _fields(found: Facts, experts: Sequence[str]) -> Iterator[dict[str, Json]]:
    for label, row in found.items():
        for name in experts:
            value = row["mean_probability"][name]
            yield {"x": name, "y": label, "v": value, "t": f"{value:.1%}"}


def by_layer(report: Facts) -> Figure | None:
    """The same, layer by layer."""
    found, experts = _activation(report).get("dimension"), report.get("experts", [])
    if not found:
        return None
    data = [
        {"panel": f"rows of {label}", "x": place, "y": shares[name], "of": name}
        for label, row in found.items()
        for place, shares in enumerate(row["mean_probability_by_layer"])
        for name in experts
    ]
    if len({row["x"] for row in data}) < 2:
        return None
    return Figure(
        _panels.panels(data, "Mean probability of each expert by layer", experts, form="%", domain=(0, 1), columns=3,
                     size=(220, 130)),
        "From left to right: layers. Each layer has a router of its own; where all lines lie together it tells nobody "
        "apart.",
    )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Held-out rows of one dimension or file."""

    name: str
    n: int
    shares: tuple[tuple[Number | None, Number | None, Number | None], ...]
    """By expert: mean probability, share of tokens whose likeliest it is, share in whose top k it is."""
    loss: Number | None


def activation(report: Facts) -> list[tuple[str, list[Row]]]:
    """The table behind the figures: by dimension, then by file."""
    titles = {"dimension": "By dimension", "source": "By file"}
    return [
        (titles[kind], [_row(label, row, report["experts"]) for label, row in found.items()])
        for kind, found in _activation(report).items()
    ]


def _row(label: str, row: Facts, experts: Sequence[str]) -> Row:
    words = ("mean_probability", "likeliest", "in_top_k")
    shares = tuple(tuple(_panels.share(row[word][name]) for word in words) for name in experts)
    return Row(label, row["n"], shares, _panels.number(row.get("loss")))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Line:
    """One number with its interval, and what it says."""

    name: str
    value: Number | None
    low: Number | None
    high: Number | None
    about: str


def calibration(report: Facts) -> list[Line]:
    """How well the router's probabilities tell whose row it is."""
    found = report.get("routing", {}).get("calibration", {})
    if "accuracy" not in found:
        return []
    top, null = found["top"], found["top"]["null"]
    base = "" if found["base_rate"] is None else f"; {found['base_rate']:.3f} for their shares among the rows"
    chance = f"{null['q95']:.3f} is still chance in a calibrated router (p = {null['p_value']:.4f})"
    return [
        Line("right expert", _panels.share(found["accuracy"]), None, None, f"of {found['n']:,} held-out rows"),
        _of("Brier sum", found["brier_sum"], f"0 to 2; {found['uniform']:.3f} for equal probabilities{base}"),
        Line("skill", _panels.number(found["skill"], ".3f"), None, None, "1 is perfect, 0 no better than a baseline"),
        _of("log loss", found["log_loss"], "of the right expert, in nats"),
        Line("ECE over classes", _panels.number(found["classwise_ece"], ".3f"), None, None,
             "each expert's probability against how often the row was its own"),
        Line("ECE", _panels.number(top["ece_width"], ".3f"), None, None, f"of the likeliest expert, 15 bins; {chance}"),
        Line("smooth ECE", _panels.number(top["smooth_ece"], ".3f"), None, None, "the same without bins"),
        _of("Brier", top["brier"], "of the likeliest expert being right, 0 to 1"),
        _of("AUROC", top["auroc"], "is it surer where it is right?"),
    ]  # fmt: skip


def _of(name: str, found: Facts, about: str) -> Line:
    low, high = (_panels.number(end, ".3f") for end in found["ci"] or (None, None))
    return Line(name, _panels.number(found["value"], ".3f"), low, high, found["note"] or about)


def diagram(report: Facts) -> Figure | None:
    """Reliability of the likeliest expert's probability."""
    table = report.get("routing", {}).get("calibration", {}).get("top", {}).get("table")
    if not table:
        return None
    return Figure(
        reliability(table, ("the likeliest expert's probability", "share of rows that are its own"),
                    "Reliability of the router; its numbers stand in the table of bins"),
        "On the dashed line the router's probabilities mean what they say; below it, it is too sure. Lines are 95 % "
        "intervals, grey is what chance allows.",
    )  # fmt: skip


def bins(report: Facts) -> list[tuple[int, tuple[Number | None, ...]]]:
    """The diagram's numbers: rows in a bin; its probability, share, interval and what chance allows."""
    table = report.get("routing", {}).get("calibration", {}).get("top", {}).get("table", ())
    return [
        (each["n"], tuple(_panels.number(value, ".3f") for value in
                          (each["mean_p"], each["mean_y"], *each["ci"], *each["band"])))
        for each in table
    ]  # fmt: skip


def warnings(report: Facts) -> list[str]:
    """What a reader must know first."""
    routing, compat = report.get("routing", {}), report["settings"].get("construction", {}).get("compat")
    calibration = routing.get("calibration", {})
    told = list(report.get("warnings", ()))
    if compat:
        told.append(f'compat = "{compat}": it repeats a published behaviour that is not right. Don\'t deploy it.')
    told += [part["note"] for part in (report.get("training", {}), routing, calibration) if "note" in part]
    return told + list(calibration.get("top", {}).get("warnings", ()))


def facts(report: Facts) -> list[tuple[str, str]]:
    """The construction as pairs of a name and a value."""
    form = report.get("construction", {}).get("form", {})
    made = []
    if form:
        low = f"the base's and a change of rank {form['rank']}" if form["shared"] else "its own"
        made = [
            ("experts a layer", form["experts"]), ("experts a token", form["top_k"]), ("an expert's weights are", low),
            ("router's temperature", _fitted(report, form)), ("γ", ", ".join(f"{each:.4g}" for each in form["gamma"])),
            ("router has a bias", "yes" if form["bias"] else "no"),
        ]  # fmt: skip
    trained, serving = report.get("training", {}), report.get("serving", {})
    counts = ("parameters", "trained_parameters", "skipped_rows")
    made += [(key.replace("_", " "), f"{trained[key]:,}") for key in counts if key in trained]
    data = report.get("data", {})
    made += [(key.replace("_", " "), f"{data[key]:,}") for key in ("training_rows", "heldout_rows") if key in data]
    made += [(key, f"{report[key]:,}") for key in ("rows", "steps") if key in report]
    if serving:
        layout = "code of its own" if serving["needs_remote_code"] else serving["format"]
        made += [("written as", layout), ("as adapters", ", ".join(serving.get("adapters", ())))]
    made += [("weights, SHA-256", report.get("sha256", ""))]
    return [(name, str(value)) for name, value in made if value not in ("", None)]


def _fitted(report: Facts, form: Facts) -> str:
    found = report.get("routing", {}).get("temperature")
    if not found:
        return f"{form['temperature']:g}"
    return f"{found['fitted']:.4g}, fitted on {found['rows']} held-out rows; {found['before']:g} before"


def costs(report: Facts) -> list[tuple[str, Number | None]]:
    """Seconds by stage, then memory."""
    cost = report.get("cost", {})
    made = [(f"time to {stage}", _panels.number(seconds, ",.2f")) for stage, seconds in cost.get("seconds", {}).items()]
    names = {"peak_resident_bytes": "most memory, process", "peak_device_bytes": "most memory, GPU"}
    return [(name, _seconds(value)) for name, value in made] + [
        (name, _panels.size(cost[key])) for key, name in names.items() if cost.get(key)
    ]


def _seconds(value: Number | None) -> Number | None:
    return value and Number(f"{value.text} s", value.exact)
