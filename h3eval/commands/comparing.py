"""`compare` and `gate`: two stored runs side by side. Call no model."""

import json
import os
from argparse import Namespace
from pathlib import Path

from rich.table import Table
from rich.text import Text

from h3eval import flips, gating, pairing, registry
from h3eval.commands.stored import labels_of
from h3eval.errors import ConfigError
from h3eval.gating import Gated
from h3eval.labels import Labels
from h3eval.pairing import Change, Comparison
from h3eval.terminal import output, say
from h3eval.text import visible
from h3eval.types import Json

EXIT = {"pass": 0, "fail": 1, "inconclusive": 3}
INCOMPLETE = 3
SHOWN_FLIPS = 5
ARROWS = {"higher": "↑", "lower": "↓", "none": ""}


def compare(args: Namespace) -> int:
    """Print and write how the second run differs from the first; 3 where nothing could be compared."""
    found = pairing.compare(Path(args.old), Path(args.new), both_labels(args))
    _show(found, args.all)
    notes = {change.name: change.note for change in found.changes if change.note and (change.primary or args.all)}
    for name, why in {**found.refused, **notes}.items():
        say(f"not compared: {name}: {why}")
    for change in found.primaries:
        if left := left_out(change):
            say(f"{change.task}: {left}")
    for change in found.changes:
        if change.correction and (change.primary or args.all):
            say(f"{change.name}: {change.correction}")
    if args.out:
        write(Path(args.out), "comparison.json", as_json(found))
    if args.html:
        _page(Path(args.html), found, Path(args.old), Path(args.new))
    return 0 if any(change.difference for change in found.changes) else INCOMPLETE


def left_out(change: Change) -> str:
    """Which items the difference is not over, in words; empty where both runs have the same under the same ids."""
    told = {
        "items only in the old run": change.only_old,
        "items only in the new run": change.only_new,
        "ids that name another question in the other run": change.other_questions,
        "questions under another id": change.renamed,
    }
    return ", ".join(f"{count} {what}" for what, count in told.items() if count)


def _page(file: Path, found: Comparison, old: Path, new: Path, gated: Gated | None = None) -> None:
    """The comparison report, as a file of that name."""
    pair = flips.content(found, old, new, gated)
    (written,) = registry.load("reports", "comparison").write(pair, file.parent, file.name)
    say(f"report: {written.resolve()}")


def both_labels(args: Namespace) -> tuple[Labels, Labels] | None:
    """People's labels of the old and the new run's answers, where `--labels` names both files."""
    if not args.labels:
        return None
    old, new = (labels_of(args, Path(file)) for file in args.labels)
    return old, new


def as_json(found: Comparison) -> str:
    """The whole comparison, with every item that changed."""
    content: dict[str, Json] = {
        "schema_version": 1,
        "old": found.old,
        "new": found.new,
        "changes": [pairing.plain(change) for change in found.changes],
        "refused": dict(found.refused),
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _show(found: Comparison, everything: bool) -> None:
    table = Table(
        title=f"{found.new} - {found.old}", box=None, header_style="bold", pad_edge=False, title_justify="left"
    )
    for name in ("task", "metric", "old", "new", "difference", "95 % interval", "p (Holm)", "n", "changed"):
        words = name in ("task", "metric")
        table.add_column(name, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    for change in found.changes:
        if change.primary or everything:
            table.add_row(*_row(change), style="" if change.primary else "dim")
    for name, tasks, mean in found.means:
        low, high = mean.ci
        table.add_row(
            Text(name, style="bold"), f"mean of {tasks} ↑", "", "", f"{mean.value:+.2f}",
            f"{low:+.2f} … {high:+.2f}", "", str(mean.n), "",
        )  # fmt: skip
    output().print(table)
    for change in found.primaries:
        if change.flips:
            some = ", ".join(f"{f.sample_id} ({f.old:g} → {f.new:g})" for f in change.flips[:SHOWN_FLIPS])
            more = len(change.flips) - SHOWN_FLIPS
            say(f"{change.task}: changed: {some}{f' and {more} more (--out DIR lists all)' if more > 0 else ''}")


def _row(change: Change) -> list[str]:
    values = [
        "—" if each.value is None else f"{each.value * _factor(change):.2f}" for each in (change.old, change.new)
    ]  # fmt: skip
    head = [change.task, f"{change.metric} {ARROWS[change.direction]}", *values]
    found = change.difference
    if found is None:
        return [*head, "—", "", "", "", ""]
    factor = _factor(change)
    low, high = (end * factor for end in found.ci)
    p = "" if change.p_adjusted is None else f"{change.p_adjusted:.3g}"
    return [
        *head, f"{found.value * factor:+.2f}", f"{low:+.2f} … {high:+.2f}", p, str(found.n), str(len(change.flips)),
    ]  # fmt: skip


def _factor(change: Change) -> float:
    return 100.0 if change.unit == "proportion" else 1.0


def gate(args: Namespace) -> int:
    """May the new run's model ship? 0 pass, 1 fail, 3 inconclusive."""
    policy = gating.read_policy(Path(args.policy))
    comparison = pairing.compare(Path(args.baseline), Path(args.new), both_labels(args))
    anchors = pairing.compare(Path(args.anchors[0]), Path(args.anchors[1])) if args.anchors else None
    gated = gating.decide(policy, comparison, anchors)
    summary = gating.markdown(gated, comparison.old, comparison.new)
    if args.junit:
        write(Path(args.junit).parent, Path(args.junit).name, gating.junit(gated, comparison.old, comparison.new))
    if args.out:
        write(Path(args.out), "gate.json", json.dumps(gating.plain(gated), indent=1, ensure_ascii=False) + "\n")
        write(Path(args.out), "comparison.json", as_json(comparison))
    if args.html:
        _page(Path(args.html), comparison, Path(args.baseline), Path(args.new), gated)
    if step := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(step).open("a", encoding="utf-8") as file:
            file.write(summary)
    if os.environ.get("GITHUB_ACTIONS"):
        print(visible("\n".join(gating.annotations(gated))))
    for check in gated.gate.checks:
        output().print(Text(f"{check.outcome:>12}  {check.name}: {check.note}", style=STYLES[check.outcome]))
    output().print(Text(f"gate: {gated.gate.outcome}: {gated.gate.note}", style="bold"))
    return EXIT[gated.gate.outcome]


STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def write(folder: Path, name: str, content: str | bytes) -> None:
    """One file. Raise ConfigError where it can't be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise ConfigError(f"{folder / name}: can't be written ({error.strerror or error})") from error
    say(f"written: {folder / name}")
