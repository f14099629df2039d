"""`run`, `generate` and `judge`: everything that calls models."""

import queue
import signal
import threading
from argparse import Namespace
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from h3eval import config, nonces, registry, written
from h3eval.budget import Budget
from h3eval.commands import stored
from h3eval.commands.loading import limited, revisions_of
from h3eval.commands.spending import budget_for, spent_before
from h3eval.config import DEMO_MODELS, JudgeSpec, ModelSpec
from h3eval.conversation import Conversation
from h3eval.datasets import DataSource
from h3eval.engines import open_backend, resolve
from h3eval.errors import ConfigError, DataMissing, NoSandbox
from h3eval.judgeplan import JudgePlan, plan_judges, roles
from h3eval.pipeline import Session
from h3eval.plan import Plan, check_same, comparable, environment
from h3eval.progress import watch
from h3eval.scoring import plan_of
from h3eval.store import Reader, Store
from h3eval.subsets import longer, parted, shortened
from h3eval.terminal import meter, say
from h3eval.text import canonical, digest
from h3eval.types import Backend, Sample, Task, TaskResult

STANDARD_JUDGES = {role: f"{role}=sandbox:auto" for role in ("sandbox", "asserts")}
"""Who fills a role that needs no model, only this machine, where `--judge` does not say."""
UNSAFE_JUDGES = {role: f"{role}=sandbox:unsafe" for role in STANDARD_JUDGES}
INTERRUPTED = 130
WAITING = 4096


@dataclass
class Job:
    """A resolved command: the plan, the engines it may need, and where its samples come from."""

    plan: Plan
    engines: dict[str, Backend]
    model: ModelSpec
    budget: Budget
    source: DataSource = field(default_factory=DataSource)
    limit: float | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    """Tasks that are left out, for want of data, with where to get it."""

    def samples(self, task: Task) -> Iterator[Sample]:
        """The task's samples, read anew: a large set is never held in memory."""
        return limited(task, self.source, self.limit)


def run(args: Namespace) -> int:
    """Generate, judge, score and report."""
    job = prepare(args)
    folder = out_folder(args, job.plan)
    with Store.open(folder) as store:
        install(store, job, folder)
        job.budget.spent = spent_before(store, job.engines, job.budget.cap)
        say(f"run folder: {folder}")
        stopped = work(store, job, judging=not args.generate_only)
    if stopped:
        say("stopped: every answer so far is stored; repeat the command to go on")
        return INTERRUPTED
    return stored.unanswered(folder, args.max_failed) if args.generate_only else stored.finish(folder, args)


def judge(args: Namespace) -> int:
    """Judge a stored run, with new judges where `--judge` names some."""
    folder = Path(args.run)
    # Opening to read first: a folder that holds no run must not become one.
    Reader(folder).close()
    with Store.open(folder) as store:
        job = rejudge(store, args)
        stopped = work(store, job, judging=True, generating=False)
    return INTERRUPTED if stopped else stored.finish(folder, args)


def rejudge(store: Store, args: Namespace) -> Job:
    """The stored plan with the judges that the command names; engines only for those."""
    plan = plan_of(store)
    backends = registry.names("backends")
    held = {each.task_role for each in plan.judges.values() if each.identity is not None}
    specs = named_judges(args, roles(plan.tasks).keys() - held)
    specs += standard_judges(args, plan.tasks, held | {spec.role for spec in specs})
    given = {spec.role for spec in specs}
    filled = [each for each in plan.judges.values() if each.identity is not None and each.task_role not in given]
    model = _spec(plan.model, backends)
    wanted = [*specs, *(_kept(each, backends) for each in filled)]
    engines = open_engines(_models(wanted, model))
    judges = plan_judges(plan.tasks, wanted, engines, model)
    plan = replace(plan, judges=judges)
    written.check(plan, first_samples(store, plan))
    store.put_meta("manifest", plan.manifest())
    store.put_meta("environment", {**(store.meta("environment") or {}), **environments(engines)})
    budget = budget_for(args, engines)
    budget.spent = spent_before(store, engines, budget.cap)
    return Job(plan, engines, model, budget)


def _kept(plan: JudgePlan, backends: list[str]) -> JudgeSpec:
    """A stored run's judge as it would be asked for."""
    model = _spec(plan.spec, backends) if plan.needs_model and not plan.self_judged else None
    return JudgeSpec(plan.task_role, plan.judge_name, model, plan.self_judged, plan.parameters)


def _models(specs: Sequence[JudgeSpec], model: ModelSpec) -> list[ModelSpec]:
    """The models that the judges need."""
    return [spec.model or model for spec in specs if spec.model or spec.by_itself]


def _spec(text: str, backends: list[str]) -> ModelSpec:
    return config.model_spec(text, "the stored run's model", backends)


def prepare(args: Namespace) -> Job:
    """Check everything that can be checked before a model is loaded."""
    tasks = chosen_tasks(args)
    model = chosen_model(args)
    specs = chosen_judges(args, tasks)
    engines = open_engines([model, *_models(specs, model)])
    budget = budget_for(args, engines)
    source = DataSource(args.data_dir, demo_data(args), ask_options(args), revisions=revisions_of(args.out))
    first, missing = opened(tasks, source, args)
    suite = config.suite(args.suite) if args.suite else None
    judges = plan_judges(tasks, specs, engines, model)
    there = tuple(cut(task, first[task.id], args.max_answer_tokens) for task in tasks if task.id not in missing)
    needed = roles(there)
    plan = Plan(
        there, str(model), dict(engines[str(model)].identity),
        {seat: each for seat, each in judges.items() if each.task_role in needed},
        suite.name if suite else "", suite.composites if suite else (),
        {**ask_options(args), "data": "demo" if source.demo else "real"}, dict(source.used), tuple(missing),
    )  # fmt: skip
    return Job(plan, engines, model, budget, source, args.limit, missing)


def opened(
    tasks: Sequence[Task], source: DataSource, args: Namespace
) -> tuple[dict[str, Sample | None], dict[str, str]]:
    """Each task's first sample; and a suite's tasks whose data is not there, with the cure; one must have some.

    Raise DataMissing for a task that was asked for by name.
    """
    first: dict[str, Sample | None] = {}
    missing: dict[str, str] = {}
    for task in tasks:
        try:
            # The first sample is enough to have opened, and noted, every file of the task.
            first[task.id] = next(limited(task, source, args.limit), None)
            if first[task.id] is None:
                raise DataMissing(f"{task.id}: no samples: nothing in its data is one")
        except DataMissing as error:
            if args.tasks or len(missing) == len(tasks) - 1:
                raise
            missing[task.id] = str(error)
            say(f"left out, for want of data: {task.id}: {error}")
    return first, missing


def cut(task: Task, sample: Sample | None, most: int | None) -> Task:
    """The task, with its answers cut at `most` tokens where they may be longer."""
    return shortened(task, most) if most and longer(task, sample, most) else task


def chosen_tasks(args: Namespace) -> tuple[Task, ...]:
    """The tasks of `--tasks`, or of `--suite`."""
    if not args.tasks and not args.suite:
        raise ConfigError("name what to run: --suite 3h, or --tasks NAME,NAME (see h3eval ls tasks)")
    if args.tasks and args.suite:
        raise ConfigError("--tasks and --suite: choose one")
    names = args.tasks.split(",") if args.tasks else config.suite(args.suite).tasks
    tasks = tuple(registry.task(name.strip()) for name in names)
    ids = [task.id for task in tasks]
    if twice := sorted({each for each in ids if ids.count(each) > 1}):
        raise ConfigError(f"--tasks: {', '.join(twice)} named twice")
    if args.limit is not None and (drawn := [each for each in ids if parted(each)]):
        raise ConfigError(f"--limit: {drawn[0]} is a subset already, and takes all its samples: leave --limit out")
    return tasks


def chosen_model(args: Namespace) -> ModelSpec:
    """The model under test."""
    extra = args.model_args or ""
    if args.batch_size:
        extra = f"{extra},batch_size={args.batch_size}".strip(",")
    return resolve(args.model, args.backend, extra)


def chosen_judges(args: Namespace, tasks: Sequence[Task]) -> list[JudgeSpec]:
    """The judges that the command names, and those that need only this machine."""
    specs = named_judges(args, roles(tasks))
    # What is only generated may be judged on another machine.
    return specs if args.generate_only else specs + standard_judges(args, tasks, {spec.role for spec in specs})


def named_judges(args: Namespace, wanted: Iterable[str]) -> list[JudgeSpec]:
    """The judges of `--judge`; with `--judges demo` the demo model judges in those of these roles that are left."""
    backends = registry.names("backends")
    specs = [config.judge_spec(text, backends) for text in args.judge]
    if args.judges == config.DEMO:
        taken = {spec.role for spec in specs} | set(STANDARD_JUDGES)
        specs += [config.judge_spec(f"{role}={config.DEMO}", backends) for role in sorted(wanted) if role not in taken]
    for spec in specs:
        if spec.judge == config.RUBRIC and spec.model and spec.model.model in config.DEMO_MODELS:
            say(
                f"--judge {spec.role}: the demo model is too small to follow a rubric: most of its verdicts will be "
                "unreadable; a local server does as well as an API: ...@openai:NAME,base_url=http://127.0.0.1:11434/v1"
            )
    return specs


def standard_judges(args: Namespace, tasks: Sequence[Task], filled: Collection[str]) -> list[JudgeSpec]:
    """Who fills the roles that need no model, where nobody else does."""
    standard = UNSAFE_JUDGES if getattr(args, "unsafe_code", False) else STANDARD_JUDGES
    wanted = [role for role in roles(tasks) if role in standard and role not in filled]
    specs = [config.judge_spec(standard[role], registry.names("backends")) for role in wanted]
    # A suite goes on without its code tasks; a task that was asked for by name does not.
    return [spec for spec in specs if not getattr(args, "suite", None) or _opens(spec)]


def _opens(spec: JudgeSpec) -> bool:
    """Does the judge's engine start here? Says why where no sandbox holds."""
    try:
        open_engines([spec.model] if spec.model else [])
    except NoSandbox as error:
        say(f"left without {spec.role}: {error}")
        return False
    return True


def environments(engines: Mapping[str, Backend]) -> dict[str, str]:
    """What engines say of the machine, for the record: which sandbox, for one."""
    told: dict[str, str] = {}
    for engine in engines.values():
        told |= getattr(engine, "environment", {})
    return told


def open_engines(specs: Sequence[ModelSpec]) -> dict[str, Backend]:
    """One backend for each different model; none has loaded weights yet."""
    return {str(spec): open_backend(spec) for spec in {str(each): each for each in specs}.values()}


def demo_data(args: Namespace) -> bool:
    """Are the shipped samples to be used?"""
    return args.data == "demo" or (args.data is None and args.model in DEMO_MODELS and args.data_dir is None)


def ask_options(args: Namespace) -> dict[str, Any]:
    """How to ask, as tasks and the manifest see it."""
    options = {
        "limit": args.limit,
        "num_fewshot": args.num_fewshot,
        "apply_chat_template": args.apply_chat_template or None,
        "system_instruction": args.system_instruction,
        "fewshot_as_multiturn": args.fewshot_as_multiturn or None,
        "seed": args.seed,
        "max_answer_tokens": args.max_answer_tokens,
    }
    return {key: value for key, value in options.items() if value is not None}


def out_folder(args: Namespace, plan: Plan) -> Path:
    """`--out`, or a folder under runs/ that the same command finds again."""
    if args.out:
        return Path(args.out)
    safe = "".join(c if c.isalnum() or c in ".-_" else "-" for c in Path(plan.model).name)[:40]
    return Path("runs", f"{safe}-{plan.suite or 'tasks'}-{digest(canonical(comparable(plan.manifest())))[:8]}")


def install(store: Store, job: Job, folder: Path) -> None:
    """Write the plan and the samples, or make sure that the folder holds the same ones."""
    manifest = job.plan.manifest()
    before = store.meta("manifest")
    if before is not None:
        check_same(before, manifest, str(folder))
    written.check(job.plan)
    for task in job.plan.tasks:
        store.put_samples(task.id, task.version, job.samples(task))
    written.check(job.plan, first_samples(store, job.plan))
    nonces.begin(store)
    if job.source.used != dict(job.plan.data):
        raise ConfigError(f"the data changed while it was read ({', '.join(sorted(job.source.used))}): run it again")
    store.put_meta("missing", dict(job.missing))
    store.put_meta("manifest", manifest)
    store.put_meta("environment", {**environment(), **environments(job.engines)})


def first_samples(store: Store, plan: Plan) -> dict[str, Sample | None]:
    """One sample of each task, by the task's id."""
    return {task.id: next(store.samples(task.id, task.version), None) for task in plan.tasks}


def work(store: Store, job: Job, judging: bool, generating: bool = True) -> bool:
    """Call the models. True when the user stopped it."""
    filled = [plan for plan in job.plan.judges.values() if plan.identity is not None and plan.needs_model]
    planned = filled if judging else []
    with meter() as shown:
        heard = watch(store, job.plan, planned, generating, shown.outlook, lambda found: shown.say(line(found)))
        session = Session(store, job.plan, shown, watch=heard)
        with first_interrupt_stops(session.stop):
            try:
                _work(session, job, planned, generating)
            finally:
                for engine in job.engines.values():
                    engine.close()
    return session.stop.is_set()


def line(result: TaskResult) -> str:
    """A task's score in one line."""
    return str(registry.load("reports", "terminal").line(result))


def _work(session: Session, job: Job, planned: Sequence[JudgePlan], generating: bool) -> None:
    model = str(job.model)
    early = [plan.role for plan in planned if generating and job.engines[plan.spec].paid]
    with ThreadPoolExecutor(max(1, len(early))) as pool:
        queues: list[queue.Queue[Conversation | None]] = [queue.Queue(WAITING) for _ in early]
        judging_now = [
            pool.submit(session.judge, role, job.engines[job.plan.judges[role].spec], iter(each.get, None))
            for role, each in zip(early, queues, strict=True)
        ]
        try:
            if generating:
                session.generate(job.engines[model], lambda talk: _offer(queues, talk))
        finally:
            for each in queues:
                _close(each)
        _results(judging_now)
    later = [plan for plan in planned if plan.role not in early]
    # Judges that share an engine follow one another, so that one engine at a time is loaded.
    for plan in sorted(later, key=lambda plan: (plan.spec != model, plan.spec)):
        if session.stop.is_set():
            return
        for spec, engine in job.engines.items():
            if spec != plan.spec and not engine.paid:
                engine.close()
        session.judge(plan.role, job.engines[plan.spec])


def _offer(queues: Sequence["queue.Queue[Conversation | None]"], talk: Conversation) -> None:
    for each in queues:
        # A judge that lags behind finds the rest in the store.
        if not each.full():
            each.put_nowait(talk)


def _close(each: "queue.Queue[Conversation | None]") -> None:
    while True:
        try:
            each.put_nowait(None)
        except queue.Full:
            each.get_nowait()
        else:
            return


def _results(futures: Sequence["Future[None]"]) -> None:
    """Wait for all, then raise what the first of them met."""
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise errors[0]


@contextmanager
def first_interrupt_stops(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM drains what is in flight; the second ends the process."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        say("stopping: waiting for the calls in flight (again to give up)")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
