"""`calibrate`: how far a judge agrees with people, as a judge card."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from h3eval import cardfiles, config, registry, written
from h3eval.cards import card
from h3eval.commands.comparing import write
from h3eval.commands.running import INTERRUPTED, Job, first_samples, open_engines, work
from h3eval.commands.spending import budget_for, spent_before
from h3eval.commands.stored import INCOMPLETE, label_scores, labels_of
from h3eval.commands.straying import strays
from h3eval.errors import ConfigError, UsageError
from h3eval.importers.labelled import import_labelled, plan_for, read_set
from h3eval.judgeplan import JudgePlan, alone, roles
from h3eval.labels import Labels
from h3eval.plan import Plan
from h3eval.scoring import plan_of, score
from h3eval.store import Reader, Store
from h3eval.terminal import output, say
from h3eval.types import Json, Task

MOST_UNSCORED = 0.02
"""Share of answers without a verdict above which a card made by asking is incomplete."""


def calibrate(args: Namespace) -> int:
    """A card of the verdicts that a run holds, or of a judge on a labelled set of answers."""
    if Path(args.what).is_dir():
        Reader(Path(args.what)).close()
        labels = labels_of(args, Path(args.labels))
        made = _made(Path(args.what), args.role, labels)
        if args.out:
            _write(Path(args.out), "card", made)
        _show(made)
        return 0
    named = args.what in registry.names("judges") or args.what.endswith(".toml")
    if not named and not any(mark in args.what for mark in "@:"):
        raise UsageError(f"{args.what}: no run here, and no judge on a model ([JUDGE@]BACKEND:MODEL)")
    return of_judge(args)


def _made(folder: Path, given: str | None, labels: Labels) -> dict[str, Json]:
    """The card of a run's judge; it also goes into the run's folder, where reports find it."""
    with Reader(folder) as reader:
        plan = plan_of(reader)
        role = role_of(plan, given)
        stray = strays(reader, [task for task in plan.tasks if role in task.judges], labels)
        made = card(score(reader), plan, role, labels)
    made["labels_of_no_answer"] = len(stray)
    _write(folder / cardfiles.FOLDER, made["role"], made)
    return made


def role_of(plan: Plan, given: str | None) -> str:
    """The role to calibrate: the one asked for, or the run's only one. Raise ConfigError with those there are."""
    wanted = roles(plan.tasks)
    known = sorted({*wanted, *plan.judges})
    if given in known:
        return str(given)
    if given is None and len(wanted) == 1:
        return next(iter(wanted))
    problem = f"no judge has the role {given}" if given else "name the judge's role"
    raise ConfigError(f"--role: {problem} (roles of this run: {', '.join(known) or 'none: no judge is needed'})")


def of_judge(args: Namespace) -> int:
    """Ask a judge about labelled answers; what is stored is not asked again. 3 where too much was not read."""
    if not args.out:
        raise ConfigError("--out: name a folder for the judge's verdicts and the card")
    answers = read_set(Path(args.labels), args.random_labels, label_scores(args.label_scores))
    folder = Path(args.out)
    job = judging(args, lambda judge: plan_for(answers, judge))
    (name,) = job.plan.judges
    with Store.open(folder) as store:
        import_labelled(store, job.plan, answers, folder)
        written.check(job.plan, first_samples(store, job.plan))
        job.budget.spent = spent_before(store, job.engines, job.budget.cap)
        stopped = work(store, job, judging=True, generating=False)
    if stopped:
        say("stopped: every verdict so far is stored; repeat the command to go on")
        return INTERRUPTED
    made = _made(folder, name, answers.labels)
    _write(folder, "card", made)
    _show(made)
    unscored = made["verdicts"]["unscored_share"]
    return INCOMPLETE if unscored is not None and unscored > MOST_UNSCORED else 0


def judging(args: Namespace, planned: Callable[[JudgePlan], Plan]) -> Job:
    """The judge of the command line with its engine. Raise ConfigError for one that is not named whole."""
    spec = config.judge_spec(f"{args.role or 'judge'}={args.what}", registry.names("backends"))
    name = spec.judge or _default(args.role)
    judge = registry.judge(name, spec.parameters)
    if judge.calls and spec.model is None:
        raise ConfigError(f"{args.what}: {name} needs a model: {name}@BACKEND:MODEL")
    engines = open_engines([spec.model] if spec.model and judge.calls else [])
    identity = dict(engines[str(spec.model)].identity) if engines else alone(name, judge)
    plan = planned(JudgePlan(name, judge, name, str(spec.model or ""), identity, parameters=spec.parameters))
    # No model is under test: only the judge's engine is ever asked.
    return Job(plan, engines, spec.model or config.ModelSpec("labelled", name), budget_for(args, engines))


def _default(role: str | None) -> str:
    """The judge that fills a role by default. Raise ConfigError where there is none."""
    for task in _shipped() if role else ():
        if role and role in task.judges:
            return task.judges[role]
    raise ConfigError("name the judge: JUDGE@BACKEND:MODEL, or its role with --role (see h3eval ls judges)")


def _shipped() -> list[Task]:
    names = registry.names("tasks")
    return [task for name in names if not callable(registry.load("tasks", name)) for task in registry.tasks(name)]


def _write(folder: Path, name: str, made: dict[str, Json]) -> None:
    text = json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write(folder, f"{name}.json", text.encode("utf-8", "backslashreplace"))
    page: str = registry.load("reports", "html").card(made)
    write(folder, f"{name}.html", page.encode("utf-8", "backslashreplace"))


def _show(made: dict[str, Any]) -> None:
    for warning in made["warnings"]:
        say(warning)
    for each in made["scores"]:
        raw, better = each["raw"]["value"], each["corrected"]["value"]
        told = each["why"] if better is None else f"{better:.4g} ({each['why']})"
        say(f"{each['task']}: {each['metric']} {'—' if raw is None else f'{raw:.4g}'}, corrected: {told}")
    output().print(f"{made['role']}: {made['line']}", markup=False)
