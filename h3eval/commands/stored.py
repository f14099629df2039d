"""`score` and `report`: from a stored run to numbers and pages. Calls no model."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from h3eval import registry
from h3eval.cardfiles import read_card
from h3eval.commands import modelpages
from h3eval.commands.straying import strays
from h3eval.config import key_values, read_json
from h3eval.correcting import with_labels
from h3eval.errors import ConfigError, UsageError
from h3eval.labels import Labels, read_labels
from h3eval.scoring import generations, plan_of
from h3eval.scoring import score as score_run
from h3eval.store import Reader
from h3eval.terminal import output, say
from h3eval.text import visible
from h3eval.transporting import with_cards
from h3eval.types import Failure, Report, Run
from h3eval.untrusted.messages import cut

INCOMPLETE = 3
MAIN_REPORT = "html"
ACTIVATION = "activation.json"
"""What `h3eval fuse activation` leaves in a run's folder."""


def score(args: Namespace) -> int:
    """Read the stored replies again, measure, and write results.json and the reports."""
    return finish(Path(args.run), args)


def report(args: Namespace) -> int:
    """Write the reports of a stored run, or the page of a merge, a fusion or a sweep."""
    folder = Path(args.run)
    kind = modelpages.kind_of(folder)
    return modelpages.report(folder, kind, args) if kind else finish(folder, args)


def finish(folder: Path, args: Namespace) -> int:
    """Score, write every report that is asked for, print the table; the exit code."""
    with Reader(folder) as reader:
        run = scored(reader, args)
        written = {name: written_by(name, run, Path(args.report_dir or folder)) for name in formats(args)}
        ambiguous = reader.ambiguous()
    show(run)
    if ambiguous:
        say(f"{len(ambiguous)} calls were sent and never heard of again (possibly billed): h3eval show run {folder}")
    for name, files in written.items():
        if name == MAIN_REPORT or len(written) == 1:
            say(f"report: {files[0].resolve()}")
    return exit_code(run, args.max_failed)


def scored(reader: Reader, args: Namespace) -> Run:
    """The run's results, with the cards of `--card`, and corrected where `--labels` has people's labels, or by the
    cards with `--transport`."""
    cards = [read_card(Path(path)) for path in getattr(args, "card", ())]
    transport, labels = getattr(args, "transport", False), getattr(args, "labels", None)
    if transport and (labels or not cards):
        why = "labels of this run's own answers correct it already" if labels else "name a judge's card with --card"
        raise UsageError(f"--transport: {why}")
    run = with_activation(score_run(reader, cards), reader.folder)
    if transport:
        return with_cards(run, plan_of(reader), cards)
    if not labels:
        return run
    people = labels_of(args, Path(args.labels))
    strays(reader, [task for task in plan_of(reader).tasks if task.judges], people)
    return with_labels(run, plan_of(reader), people)


def with_activation(run: Run, folder: Path) -> Run:
    """The run with what was seen of its model's router, where that was measured on the model that has answered."""
    if not (folder / ACTIVATION).is_file():
        return run
    found = read_json(folder / ACTIVATION)
    same = found.get("weights") == run.manifest["model"]["identity"].get("weights")
    return replace(run, activation=found) if same else run


def labels_of(args: Namespace, file: Path) -> Labels:
    """People's labels from a file, read as the flags say."""
    return read_labels(file, args.random_labels, label_scores(args.label_scores))


def label_scores(text: str | None) -> dict[str, float]:
    """`WORD=SCORE,...` as a dictionary. Raise ConfigError for a score that is no number."""
    pairs = key_values(text or "", "--label-scores")
    try:
        return {word: float(score) for word, score in pairs.items()}
    except ValueError as error:
        raise ConfigError(f"--label-scores {text}: a score is a number: {error}") from error


def formats(args: Namespace) -> list[str]:
    """The report writers asked for; by default all that are of one run and not `on_request` only."""
    wanted: list[str] = args.format.split(",") if args.format else registry.names("reports")
    one = [name for name in wanted if getattr(registry.load("reports", name), "of", "run") == "run"]
    if args.format and one != wanted:
        raise UsageError(f"--format {args.format}: not of a single run: {', '.join(sorted(set(wanted) - set(one)))}")
    return one if args.format else [name for name in one if not _on_request(name)]


def _on_request(name: str) -> bool:
    return bool(getattr(registry.load("reports", name), "on_request", False))


def written_by(name: str, run: Run, folder: Path) -> tuple[Path, ...]:
    """The files that one report writer has written."""
    writer: Report = registry.load("reports", name)
    return writer.write(run, folder)


def show(run: Run) -> None:
    """Print the run's table."""
    terminal = registry.load("reports", "terminal")
    output().print(terminal.render(run))


def exit_code(run: Run, max_failed: float) -> int:
    """0, or 3 where a suite's task was not run, or has no primary metric, or over `max_failed` of it is unscored."""
    incomplete = [f"{task}: not run, for want of data" for task in run.missing]
    for result in run.results:
        for estimate in result.estimates:
            total = estimate.n + estimate.n_failed
            if estimate.metric != result.primary or (total and estimate.n_failed <= max_failed * total):
                continue
            why = estimate.note or f"{estimate.n_failed} of {total} not scored"
            incomplete.append(f"{result.task}/{result.protocol}: {why}")
    if incomplete:
        say("incomplete:\n  " + "\n  ".join(incomplete))
    return INCOMPLETE if incomplete else 0


def unanswered(folder: Path, max_failed: float) -> int:
    """After generating alone: say what failed, in the words of its faults, by reason; 0, or 3 as `exit_code` has it."""
    incomplete = []
    with Reader(folder) as reader:
        plan = plan_of(reader)
        incomplete += [f"{task}: not run, for want of data" for task in reader.meta("missing") or {}]
        for task in plan.tasks:
            total, failed = 0, 0
            reasons: dict[str, list[str]] = {}
            for _, generation in generations(reader, plan, task):
                total += 1
                if isinstance(generation, Failure):
                    failed += 1
                    reasons.setdefault(generation.reason, []).append(generation.detail)
            for reason, said in reasons.items():
                first = f" (the first: {' '.join(visible(cut(said[0], 300)).split())})" if said[0] else ""
                say(f"{task.id}: not answered: {len(said)} of {total}: {reason}{first}")
            if failed > max_failed * total:
                incomplete.append(f"{task.id}: {failed} of {total} not answered")
    if incomplete:
        say("incomplete:\n  " + "\n  ".join(incomplete))
    return INCOMPLETE if incomplete else 0


def export(args: Namespace) -> int:
    """Write some forms of a stored run's results into a folder."""
    names = formats(args)
    with Reader(Path(args.run)) as reader:
        run = score_run(reader)
        files = [file for name in names for file in written_by(name, run, Path(args.out))]
    for file in files:
        say(f"written: {file}")
    return 0
