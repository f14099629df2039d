"""The model card of a fused model: what it was made of, how, and what its router does."""

from pathlib import Path
from typing import Any

TITLES = {
    "h3fusion": "H3Fusion: a mixture of aligned experts",
    "mocae": "MoCaE: task vectors on a shared base, weighed by a router",
    "instruct": "H3Fusion-Instruct: trained on prompts that carry other models' answers",
    "summary": "H3Fusion-Summary: fuses several answers into one",
}


def card(file: Path, report: dict[str, Any]) -> None:
    """Write README.md beside the weights, with the metadata that model hubs read."""
    settings = report["settings"]
    lines = [
        "---",
        f"base_model: {settings['base']}",
        "library_name: transformers",
        "tags: [h3eval, model-fusion]",
        "---",
        "",
    ]
    lines += [f"# {TITLES[report['method']]}", "", f"Made by h3eval from `{settings['base']}`.", ""]
    if report.get("warnings"):
        lines += [*(f"- Note: {each}" for each in report["warnings"]), ""]
    for part in (_experts, _construction, _routing, _serving):
        lines += part(report)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _experts(report: dict[str, Any]) -> list[str]:
    found = report["settings"].get("experts", {})
    rows = [f"| {name} | `{folder}` |" for name, folder in found.items()]
    return ["| expert | from |", "|---|---|", *rows, ""] if rows else []


def _construction(report: dict[str, Any]) -> list[str]:
    form = report.get("construction", {}).get("form")
    if not form:
        return []
    whose = f"the base's and a change of rank {form['rank']}" if form["shared"] else "its own"
    compat = report["settings"]["construction"]["compat"]
    lines = [
        f"{form['experts']} experts a layer, {form['top_k']} a token; each one's weights are {whose}. "
        f"Temperature {form['temperature']:g}, similarity weights {[round(each, 4) for each in form['gamma']]}.",
        "",
    ]
    if compat:
        lines += [
            f'Built with `compat = "{compat}"`: it repeats a published behaviour that is not right. Don\'t deploy it.',
            "",
        ]
    if "note" in report.get("training", {}):
        lines += [f"**{report['training']['note']}.**", ""]
    return lines


def _routing(report: dict[str, Any]) -> list[str]:
    found = report.get("routing", {})
    calibration = found.get("calibration", {})
    if "accuracy" not in calibration:
        return []
    brier = calibration["brier_sum"]["value"]
    lines = [
        "## Router", "",
        f"On {calibration['n']} held-out rows it gives most to the right expert in {calibration['accuracy']:.1%}. "
        f"Calibration error over classes {calibration['classwise_ece']:.4f}; Brier sum {brier:.4f}, where "
        f"{calibration['uniform']:.4f} is what equal probabilities get; log loss "
        f"{calibration['log_loss']['value']:.4f} nats.", "",
    ]  # fmt: skip
    names = report["experts"]
    lines += [f"| rows of | n | {' | '.join(names)} | loss |", "|---|---|" + "---|" * (len(names) + 1)]
    for label, row in found["activation"]["dimension"].items():
        shares = " | ".join(f"{row['mean_probability'][name]:.3f}" for name in names)
        lines.append(f"| {label} | {row['n']} | {shares} | {row['loss']:.4f} |")
    return [*lines, ""]


def _serving(report: dict[str, Any]) -> list[str]:
    serving = report.get("serving", {})
    if not serving:
        return []
    lines = ["## Serve it", ""]
    if serving.get("needs_remote_code"):
        lines += [
            "No native layout holds this fusion exactly, so its code lies beside the weights: `trust_remote_code=True` "
            "in transformers; `--trust-remote-code --model-impl transformers` in vLLM.", "",
        ]  # fmt: skip
    else:
        lines += [f"The layout is `{serving['format']}`: transformers and vLLM load it with their own classes.", ""]
    if serving.get("adapters"):
        lines += [f"Each expert alone is also a LoRA adapter of the base: {', '.join(serving['adapters'])}.", ""]
    return lines
