"""How far the whole run has come, when it may end, and each task's score as soon as it is known.

Samples differ a thousandfold in what they cost, so time left is worked out from the work that is expected, not from
their number: tokens to read, and tokens to write at most. How long a unit of it takes is measured on this run; until
enough of it is done to say, nothing is said.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from h3eval import scoring
from h3eval.conversation import Conversation
from h3eval.judgeplan import JudgePlan
from h3eval.plan import Plan
from h3eval.store import Reader, Store
from h3eval.terminal import MEASURING
from h3eval.text import canonical
from h3eval.types import Generation, Reply, Request, Sample, Task, TaskResult

LOOKED_AT = 16
"""So many samples of a task stand for all."""
CHARACTERS_PER_TOKEN = 4.0
WRITING = 6.0
"""What a written token costs beside one that is read, in a batch on a processor."""
RUNNING = 400.0
"""What running a program costs, in tokens read."""
TOGETHER = 32
"""So many samples share the reading of what their prompts have in common."""
KNOWN_SHARE, KNOWN_S = 0.04, 5.0
"""So much of the work, and so many seconds, must be behind before anything is said of the rest."""
SCORED_AT_ONCE = 10_000
"""A larger task's score is worked out at the end alone."""
GENERATE = "generate"
Stage = tuple[str, str]
"""A stage, and the task it works on."""


def expected(store: Reader, plan: Plan, roles: Sequence[JudgePlan], generating: bool) -> dict[Stage, float]:
    """Work for one sample of each task in each stage, in tokens read."""
    found: dict[Stage, float] = {}
    for task in plan.tasks:
        looked = list(islice(store.samples(task.id, task.version), LOOKED_AT))
        if generating:
            found[GENERATE, task.id] = task.turns * units([task.ask(sample, ()) for sample in looked])
        for role in roles:
            if role.task_role in task.judges:
                asked = [role.judge.ask(sample, _answer(task, sample), ()) for sample in looked]
                found[f"judge {role.role}", task.id] = units(asked)
    return found


def _answer(task: Task, sample: Sample) -> Generation:
    """Half the longest answer, in place of the one that is not there yet."""
    tokens = sum(request.max_tokens for request in task.ask(sample, ()) if request.kind == "complete") / 2
    return Generation(sample.id, (Reply(text="x" * int(min(tokens, 512) * CHARACTERS_PER_TOKEN)),))


def units(asked: Sequence[Sequence[Request]]) -> float:
    """Mean work of what is asked about a sample; the beginning that all prompts share is read once for many."""
    texts = [list(dict.fromkeys(map(_text, requests))) for requests in asked]
    every = [text for each in texts for text in each]
    if not every:
        return 1.0
    shared = _common(every) if len(every) > 1 else 0
    read = sum(len(text) - shared for text in every) + shared * max(1.0, len(every) / TOGETHER)
    written = sum(_written(request) for requests in asked for request in requests)
    return max(1.0, (read / CHARACTERS_PER_TOKEN + written) / len(asked))


def _common(texts: Sequence[str]) -> int:
    """Length of the beginning that all texts share: the first and the last in order differ soonest."""
    first, last = min(texts), max(texts)
    return next((i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))


def _text(request: Request) -> str:
    return request.prompt if isinstance(request.prompt, str) else canonical(request.prompt)


def _written(request: Request) -> float:
    if request.kind == "execute":
        return RUNNING
    if request.kind == "complete":
        return WRITING * request.max_tokens
    return len(request.continuation) / CHARACTERS_PER_TOKEN


@dataclass
class Outlook:
    """The work of a whole run: how much is done, and how long the rest may take."""

    units: Mapping[Stage, float]
    counts: Mapping[str, int]
    """Samples of each task."""
    clock: Callable[[], float] = time.monotonic
    began: float = 0.0
    left: dict[Stage, int] = field(default_factory=dict)
    worked: float = 0.0
    """Units done in this session; what an earlier one has stored says nothing of this one's speed."""

    def __post_init__(self) -> None:
        self.began = self.clock()
        self.left = {stage: self.counts[stage[1]] for stage in self.units}

    def done(self, stage: Stage, fresh: bool) -> None:
        """A sample has been finished; `fresh` where that took work now."""
        if self.left.get(stage, 0) > 0:
            self.left[stage] -= 1
            self.worked += self.units[stage] if fresh else 0.0

    def ended(self, name: str) -> None:
        """A stage is over; what is left of it will not be asked."""
        for stage in self.left:
            if stage[0] == name:
                self.left[stage] = 0

    @property
    def share(self) -> float:
        """How much of the work is behind, of what had to be done in this session."""
        rest = self._rest()
        return self.worked / (self.worked + rest) if self.worked + rest else 1.0

    def seconds_left(self) -> float | None:
        """None while there is too little to go by."""
        spent = self.clock() - self.began
        if self.share < KNOWN_SHARE or spent < KNOWN_S:
            return None
        return self._rest() * spent / self.worked

    def _rest(self) -> float:
        return sum(self.units[stage] * count for stage, count in self.left.items())

    def words(self) -> str:
        """How much time is left, no more exactly than it can be known."""
        left = self.seconds_left()
        return MEASURING if left is None else f"about {lasting(left)}"


def lasting(seconds: float) -> str:
    """A time for people: in steps of five seconds, ten from a minute on, minutes from ten minutes on."""
    if seconds >= 600:
        minutes = round(seconds / 60)
        return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    step = 10 if seconds >= 60 else 5
    rounded = max(step, round(seconds / step) * step)
    return f"{rounded // 60} min {rounded % 60} s" if rounded >= 60 else f"{rounded} s"


@dataclass
class Announcer:
    """Shows a task's score as soon as all of its answers and verdicts are there."""

    store: Store
    plan: Plan
    say: Callable[[TaskResult], None]
    stages: dict[str, set[str]]
    """Task to the stages that it still waits for."""
    counts: Mapping[str, int]
    seen: Counter[Stage] = field(default_factory=Counter)
    fresh: set[str] = field(default_factory=set)
    """Tasks that something new was done for: the others' scores are known."""

    def done(self, stage: Stage, fresh: bool) -> None:
        """A sample has been finished."""
        name, task = stage
        if fresh:
            self.fresh.add(task)
        self.seen[stage] += 1
        # Judges see only what was answered: their stage is over when all of it is.
        if name == GENERATE and self.seen[stage] == self.counts[task]:
            self._over(name, [task])

    def ended(self, name: str) -> None:
        """A whole stage is over."""
        self._over(name, [task for task, waiting in self.stages.items() if name in waiting])

    def _over(self, name: str, tasks: Iterable[str]) -> None:
        for task in tasks:
            waiting = self.stages[task]
            if name not in waiting:
                continue
            waiting.discard(name)
            if not waiting and task in self.fresh and self.counts[task] <= SCORED_AT_ONCE:
                self.store.flush()
                with Reader(self.store.folder) as reader:
                    self.say(scoring.measure(reader, self.plan, self._task(task)))

    def _task(self, name: str) -> Task:
        return next(task for task in self.plan.tasks if task.id == name)


@dataclass
class Watch:
    """What the stages tell, handed on: to the outlook, to the meter and to the announcer. From several threads."""

    outlook: Outlook
    announcer: Announcer
    show: Callable[[float, str], None]
    """The share of the work that is behind, and the time left, in words."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def finished(self, stage: str, talk: Conversation, fresh: bool) -> None:
        """A sample has been finished in a stage."""
        place = (stage, talk.task.id)
        with self.lock:
            self.outlook.done(place, fresh)
            self.show(self.outlook.share, self.outlook.words())
            self.announcer.done(place, fresh)

    def ended(self, stage: str) -> None:
        """A stage is over."""
        with self.lock:
            self.outlook.ended(stage)
            self.show(self.outlook.share, self.outlook.words())
            self.announcer.ended(stage)


def watch(
    store: Store, plan: Plan, roles: Sequence[JudgePlan], generating: bool,
    show: Callable[[float, str], None], say: Callable[[TaskResult], None],
) -> Watch:  # fmt: skip
    """The watch over a run that is about to begin."""
    work = expected(store, plan, roles, generating)
    counts = {task.id: store.sample_count(task.id, task.version) for task in plan.tasks}
    stages: dict[str, set[str]] = {task.id: set() for task in plan.tasks}
    for stage, task in work:
        stages[task].add(stage)
    return Watch(Outlook(work, counts), Announcer(store, plan, say, stages, counts), show)
