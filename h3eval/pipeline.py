"""The only place where models are called: what the store lacks is asked for, and stored.

Stages can be repeated alone. Each scans the samples, replays every conversation from the store,
and sends only the calls that have no answer yet.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from h3eval import scoring
from h3eval.conversation import Conversation, replay
from h3eval.judgeplan import JudgePlan
from h3eval.nonces import secret_of
from h3eval.plan import Plan
from h3eval.store import Reader, Store
from h3eval.types import Backend, Call, Fault, Generation, Reply, Task


class Meter(Protocol):
    """Who is told how far a stage has come, in conversations; from several threads."""

    def begin(self, stage: str, total: int) -> None: ...

    def step(self, stage: str, fault: Fault | None) -> None: ...

    def end(self, stage: str) -> None: ...


class Watch(Protocol):
    """Who hears of each finished conversation, and of each stage's end; from several threads."""

    def finished(self, stage: str, talk: Conversation, fresh: bool) -> None: ...

    def ended(self, stage: str) -> None: ...


@dataclass
class Asker:
    """Sends what conversations still need to one backend, each call at most once a session.

    `finished` hears of each conversation once, when it has ended or met a fault, and whether that took work now.
    """

    store: Store
    stage: str
    backend: Backend
    stop: threading.Event
    finished: Callable[[Conversation, bool], None]
    faulted: set[bytes] = field(default_factory=set)
    asked: set[bytes] = field(default_factory=set)
    in_flight: dict[bytes, list[Conversation]] = field(default_factory=dict)
    told: set[tuple[str, str]] = field(default_factory=set)
    # Calls are drawn in the backend's thread, answers arrive in ours.
    lock: threading.Lock = field(default_factory=threading.Lock)
    heard: float = field(default_factory=time.monotonic)
    again: bool = False
    """Some conversation has to go on: another pass is needed."""

    def ask(self, talks: Iterable[Conversation]) -> None:
        """Send what is pending. A pass takes a conversation one unanswered turn further."""
        self.again = False
        self.heard = time.monotonic()
        for call, answer in self.backend.answer(self._calls(talks), self.store.journal(self.stage)):
            self._keep(call, answer)
            self._settle(call, answer)
            if self.stop.is_set() and not self.backend.paid:
                break
        self.store.flush()

    def _calls(self, talks: Iterable[Conversation]) -> Iterator[Call]:
        reader = Reader(self.store.folder, checked=False)
        try:
            for talk in replay(talks, lambda keys: self._final(reader.get_many(keys))):
                if self.stop.is_set():
                    return
                if not talk.pending:
                    self._finish(talk, fresh=False)
                yield from self._unsent(talk)
        finally:
            reader.close()

    def _unsent(self, talk: Conversation) -> Iterator[Call]:
        for call in talk.pending:
            with self.lock:
                new = call.key not in self.asked
                self.asked.add(call.key)
                if new or call.key in self.in_flight:
                    self.in_flight.setdefault(call.key, []).append(talk)
                else:
                    # Answered between our look-up and now: the next pass finds it in the store.
                    self.again = True
            if new:
                yield talk.sent(call)

    def _final(self, found: Mapping[bytes, Reply | Fault]) -> Mapping[bytes, Reply | Fault]:
        """What is not to be asked again: replies, lasting faults, and this session's own faults."""
        return {
            key: answer
            for key, answer in found.items()
            if isinstance(answer, Reply) or not answer.transient or key in self.faulted
        }

    def _keep(self, call: Call, answer: Reply | Fault) -> None:
        if isinstance(answer, Fault):
            self.faulted.add(call.key)
        now = time.monotonic()
        if not self.backend.paid:
            # Batches answer together: the time since the last answer adds up to the stage's.
            self.store.put(self.stage, call.key, answer, now - self.heard)
        self.heard = now

    def _settle(self, call: Call, answer: Reply | Fault) -> None:
        with self.lock:
            waiting = {id(talk): talk for talk in self.in_flight.pop(call.key, ())}
        for talk in waiting.values():
            talk.hear({call.key: answer})
            if talk.ended:
                self._finish(talk, fresh=True)
            elif not talk.pending:
                self.again = True

    def _finish(self, talk: Conversation, fresh: bool) -> None:
        with self.lock:
            name = (talk.task.id, talk.sample.id)
            new = name not in self.told
            self.told.add(name)
        if new:
            self.finished(talk, fresh)


@dataclass
class Session:
    """One process working on one run folder."""

    store: Store
    plan: Plan
    meter: Meter
    stop: threading.Event = field(default_factory=threading.Event)
    watch: Watch | None = None

    def generate(self, backend: Backend, done: Callable[[Conversation], None] = lambda talk: None) -> None:
        """Ask the model under test everything the tasks need; `done` hears of each answered sample."""

        def finished(talk: Conversation, fresh: bool) -> None:
            self._finished("generate", talk, fresh)
            done(talk)

        asker = Asker(self.store, "gen", backend, self.stop, finished)
        self.meter.begin("generate", self._count(self.plan.tasks))
        for _ in range(max((task.turns for task in self.plan.tasks), default=1) + 1):
            asker.ask(self._generation_talks())
            if self.stop.is_set() or not asker.again:
                break
        self._end("generate")

    def judge(self, role: str, backend: Backend, arriving: Iterable[Conversation] = ()) -> None:
        """Have one role's judge read every generation.

        `arriving` are samples whose generation has just come, to be judged while others are still
        being generated.
        """
        judge = self.plan.judges[role]
        stage = f"judge {role}"
        tasks = [task for task in self.plan.tasks if judge.task_role in task.judges]
        asker = Asker(self.store, "judge", backend, self.stop, partial(self._finished, stage))
        self.meter.begin(stage, self._count(tasks))
        asker.ask(self._arriving_talks(judge, arriving))
        for _ in range(judge.judge.calls + 1):
            asker.ask(self._judge_talks(judge, tasks))
            if self.stop.is_set() or not asker.again:
                break
        self._end(stage)

    def _finished(self, stage: str, talk: Conversation, fresh: bool) -> None:
        self.meter.step(stage, talk.fault)
        if self.watch:
            self.watch.finished(stage, talk, fresh)

    def _end(self, stage: str) -> None:
        self.meter.end(stage)
        # What was stopped has not ended.
        if self.watch and not self.stop.is_set():
            self.watch.ended(stage)

    def _generation_talks(self) -> Iterator[Conversation]:
        reader = Reader(self.store.folder, checked=False)
        try:
            for task in self.plan.tasks:
                for sample in reader.samples(task.id, task.version):
                    yield scoring.generation_talk(self.plan, task, sample)
        finally:
            reader.close()

    def _judge_talks(self, judge: JudgePlan, tasks: Sequence[Task]) -> Iterator[Conversation]:
        reader = Reader(self.store.folder, checked=False)
        try:
            secret = secret_of(reader)
            for task in tasks:
                for sample, generation in scoring.generations(reader, self.plan, task):
                    if isinstance(generation, Generation):
                        yield scoring.judge_talk(judge, task, sample, generation, secret)
        finally:
            reader.close()

    def _arriving_talks(self, judge: JudgePlan, arriving: Iterable[Conversation]) -> Iterator[Conversation]:
        secret = secret_of(self.store)
        for talk in arriving:
            generation = scoring.generation_of(talk)
            if judge.task_role in talk.task.judges and isinstance(generation, Generation):
                yield scoring.judge_talk(judge, talk.task, talk.sample, generation, secret)

    def _count(self, tasks: Sequence[Task]) -> int:
        return sum(self.store.sample_count(task.id, task.version) for task in tasks)
