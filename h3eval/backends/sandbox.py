"""Runs programs in a jail, and says which tests they passed: `sandbox:auto`. Calls no model.

`sandbox:namespaces` and `sandbox:landlock` ask for one kind of jail, `auto` takes the strongest that holds;
`sandbox:unsafe` has none, and needs H3EVAL_UNSAFE=1. A verdict does not depend on the kind, so that a run may go on
elsewhere. The tests are EvalPlus's inputs, or assertions (option `asserts`: `entry_point`, `test`, `prompt`), which
run in a second jail. Programs that ran out of time or memory are run once more at the end, alone; both results are
kept, and the second counts.
"""

import json
import os
import platform
import queue
import threading
import zlib
from base64 import b64decode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

from h3eval.config import ModelSpec, check_args
from h3eval.errors import BackendError, ConfigError, NoSandbox
from h3eval.sandbox import asserts, cleaning, evalplus
from h3eval.sandbox.asserts import Asserts, BrokenTests
from h3eval.sandbox.choice import Chosen, choose
from h3eval.sandbox.cleaning import Uncleaned
from h3eval.sandbox.evalplus import SUITES, Problem, Status
from h3eval.sandbox.runner import Jail
from h3eval.sandbox.tiers import UNSAFE, Tier
from h3eval.text import canonical
from h3eval.types import Backend, Call, Fault, Journal, Json, Reply, Request

RECYCLED = 500
"""Programs after which a zygote is replaced."""
ARGUMENTS = {"workers": "programs run at once (default: one a processor)"}
TESTS = "tests"
"""The one suite of a program of assertions."""
Statuses = dict[str, Status]
"""By suite."""


@dataclass(frozen=True)
class Executed:
    """One program's results. `first` is what a doubtful one gave before it was run again."""

    code: str
    statuses: Statuses
    first: Statuses | None = None

    @property
    def doubtful(self) -> list[str]:
        """The suites to be run again."""
        return [suite for suite, each in self.statuses.items() if each.doubtful]


class Sandbox:
    """Implements `types.Backend`. The jail is chosen, and proved to hold, before anything is generated."""

    can = frozenset({"execute"})
    paid = False

    def __init__(self, spec: ModelSpec) -> None:
        check_args(spec, ARGUMENTS)
        self.workers = _whole(spec.args.get("workers", str(len(os.sched_getaffinity(0)))))
        self.chosen: Chosen = choose(spec.model)
        unsafe = {"unsafe": True} if self.chosen.tier.name == UNSAFE else {}
        self.identity: Mapping[str, Json] = {
            "backend": "sandbox",
            "rules": evalplus.VERSION,
            "python": ".".join(platform.python_version_tuple()[:2]),
            "sanitizer": f"evalplus {version('evalplus')}",
            **unsafe,
        }
        self.environment = {"sandbox": self.chosen.about, "kernel": platform.release()}
        self.jails = _Jails(self.chosen.tier)
        self.cleaners = _Jails(cleaning.tier(self.chosen.tier.name))

    def answer(self, calls: Iterable[Call], journal: Journal) -> Iterator[tuple[Call, Reply | Fault]]:
        doubtful: list[tuple[Call, Executed]] = []
        for call, found in self._all(calls):
            if isinstance(found, Executed) and found.doubtful:
                doubtful.append((call, found))
            else:
                yield call, found if isinstance(found, Fault) else self._reply(found)
        for call, first in doubtful:
            again = self._execute(call.request, first.doubtful, hurried=False)
            yield call, again if isinstance(again, Fault) else self._reply(_second(first, again))

    def _all(self, calls: Iterable[Call]) -> Iterator[tuple[Call, Executed | Fault]]:
        """Each call with its result, as they come; calls are drawn as workers become free."""
        source = iter(calls)
        waiting: dict[Future[Executed | Fault], Call] = {}
        with ThreadPoolExecutor(self.workers, "sandbox") as pool:
            while True:
                while len(waiting) <= self.workers and (call := next(source, None)) is not None:
                    waiting[pool.submit(self._execute, call.request)] = call
                if not waiting:
                    return
                for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(done), done.result()

    def _execute(self, request: Request, suites: Collection[str] = SUITES, hurried: bool = True) -> Executed | Fault:
        """Run a program on some of its suites; a program of assertions is the only one of its own."""
        if request.kind != "execute" or not isinstance(request.prompt, str):
            raise BackendError(f"the sandbox runs programs; it can't answer {request.kind} requests")
        asserted = "asserts" in request.options
        for _ in range(2):
            try:
                return self._asserted(request, hurried) if asserted else self._compared(request, suites, hurried)
            except NoSandbox:
                continue
            except evalplus.Unsolved as error:
                return Fault("no expected outputs", str(error))
            except BrokenTests as error:
                return Fault("broken tests", str(error), transient=False)
            except Uncleaned as error:
                return Fault("not cleaned", str(error), transient=False)
        return Fault("sandbox died", "twice, on the same program")

    def _compared(self, request: Request, suites: Collection[str], hurried: bool) -> Executed:
        if not request.options.get("problem"):
            raise evalplus.Unsolved("the sample holds no problem of EvalPlus's")
        task = _problem(str(request.options["problem"]))
        code = self._program(request, task.problem)
        with self.jails.one() as jail:
            with task.lock:
                expected = task.expected(jail)
            wanted = [suite for suite in SUITES if suite in suites]
            return Executed(
                code,
                {each: evalplus.check(jail, task.problem, each, expected[each], code, hurried) for each in wanted},
            )

    def _asserted(self, request: Request, hurried: bool) -> Executed:
        tests = _tests(request)
        code = self._program(request, tests)
        with self.jails.one() as checker, self.jails.one() as jail:
            return Executed(code, {TESTS: asserts.check(checker, jail, tests, code, hurried)})

    def _program(self, request: Request, asked: Problem | Asserts) -> str:
        return _code(str(request.prompt), str(request.options["form"]), asked, self._cleaned)

    def _cleaned(self, text: str, entry_point: str) -> str:
        with self.cleaners.one() as jail:
            return cleaning.cleaned(jail, text, entry_point)

    def _reply(self, found: Executed) -> Reply:
        told = {suite: each.plain() for suite, each in found.statuses.items()}
        first = {"first": {suite: each.plain() for suite, each in found.first.items()}} if found.first else {}
        tier = self.chosen.tier.name
        return Reply(
            canonical({**told, **first, "sandbox": "UNSANDBOXED" if tier == UNSAFE else tier}),
            model=f"sandbox:{tier}", extra={"code": found.code},
        )  # fmt: skip

    def close(self) -> None:
        """End every zygote."""
        self.jails.close()
        self.cleaners.close()


class _Jails:
    """Jails of one kind, made as they are needed."""

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.free: queue.LifoQueue[Jail] = queue.LifoQueue()
        self.open: set[Jail] = set()
        self.lock = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[Jail]:
        """A jail that nobody else uses; given back unless it has died, or nobody knows what it is in the middle of."""
        jail = self._any()
        try:
            yield jail
        except (BrokenTests, Uncleaned, evalplus.Unsolved):
            self.free.put(jail)
            raise
        except BaseException:
            self._drop(jail)
            raise
        self.free.put(jail)

    def _any(self) -> Jail:
        try:
            jail = self.free.get_nowait()
            if jail.runs < RECYCLED:
                return jail
            self._drop(jail)
        except queue.Empty:
            pass
        made = Jail(self.tier)
        with self.lock:
            self.open.add(made)
        return made

    def _drop(self, jail: Jail) -> None:
        with self.lock:
            self.open.discard(jail)
        jail.close()

    def close(self) -> None:
        """End every zygote."""
        for jail in tuple(self.open):
            self._drop(jail)
        self.free = queue.LifoQueue()


class _Task:
    """A problem with its expected outputs, computed once for all its programs."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.lock = threading.Lock()
        self._found: dict[evalplus.Suite, evalplus.Expected] | None = None

    def expected(self, jail: Jail) -> dict[evalplus.Suite, evalplus.Expected]:
        if self._found is None:
            self._found = evalplus.expected(jail, self.problem)
        return self._found


@lru_cache(maxsize=8)
def _problem(packed: str) -> _Task:
    """The problem that a task has packed into its requests. Expected outputs may be large: few are held."""
    return _Task(Problem(**json.loads(zlib.decompress(b64decode(packed)))))


def _tests(request: Request) -> Asserts:
    """The assertions of a request. Raise BrokenTests where there are none, BackendError for those of other rules."""
    asked = request.options["asserts"]
    try:
        rules, tests = asked["rules"], Asserts(*(str(asked[name]) for name in ("entry_point", "test", "prompt")))
    except (KeyError, TypeError) as error:
        raise BackendError(f"the sandbox was asked for assertions without {error}") from error
    if rules != asserts.VERSION:
        raise BackendError(f"the sandbox was asked for assertions by rules {rules}; it has {asserts.VERSION}")
    if not (tests.test.strip() and tests.entry_point.isidentifier()):
        raise BrokenTests("the sample's reference holds no `test`, or its `entry_point` names no function")
    return tests


def _code(text: str, form: str, asked: Problem | Asserts, clean: Callable[[str, str], str] = cleaning.sanitized) -> str:
    """The program that an answer makes: `completion` and `solution` as EvalPlus scores files of samples, unchanged;
    `continued` and `answer` as it treats what a model has just said. Raise Uncleaned where that takes too long."""
    if form == "completion":
        return asked.prompt + text
    if form == "solution":
        return text
    whole = f"{asked.prompt.strip()}\n{text}" if form == "continued" else text
    return clean(whole.replace("\t", "    "), asked.entry_point)


def _second(first: Executed, again: Executed) -> Executed:
    kept = {suite: first.statuses[suite] for suite in again.statuses}
    return Executed(again.code, {**first.statuses, **again.statuses}, kept)


def _whole(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"sandbox: workers={text}: a whole number from 1 up")
    return int(text)


BACKEND: Callable[[ModelSpec], Backend] = Sandbox
