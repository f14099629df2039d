"""The nouns of h3eval, one class each. No behaviour beyond what the nouns themselves say.

A `Task` yields `Sample`s; a `Backend` answers `Request`s with `Reply`s; the replies to one sample
are its `Generation`; a `Judge` or a rule reads a generation into a `Verdict`; `Metric`s turn verdicts
into `Estimate`s. A step that gave nothing is a `Failure`: counted and shown, never scored.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from h3eval.measured import Composite as Composite
from h3eval.measured import Estimate as Estimate

Json = Any
"""Any value that `json.dumps(..., allow_nan=False)` accepts."""

Dimension = Literal["helpful", "honest", "harmless"]
Kind = Literal["complete", "loglikelihood", "classify", "execute"]
Message = Mapping[str, str]
"""One chat message: `role` and `content`."""

Prompt = str | tuple[Message, ...]
"""Plain text, continued as it stands, or chat messages, rendered by the model's own template."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One question. `id` is unique within its task and protocol."""

    id: str
    prompt: Prompt = ""
    choices: tuple[str, ...] = ()
    reference: Json = None
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a model; every field but `nonce` is part of the content address of its reply.

    `complete` continues `prompt`. `loglikelihood` scores `continuation`, plain text, after `prompt`.
    `classify` gives one probability a label of a sequence classifier to `prompt`. `execute` runs it, as a program.
    """

    kind: Kind
    prompt: Prompt
    continuation: str = ""
    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_logprobs: int = 0
    """How many most likely first tokens to report, with natural-log probabilities."""
    candidates: tuple[str, ...] = ()
    """First tokens whose log-probabilities are wanted even when they are not among the top."""
    repeat: int = 0
    """Which independent draw this is, for tasks and judges that ask several times."""
    options: Mapping[str, Json] = field(default_factory=dict)
    """What only some engines understand: `max_length`, `ensure_eos` of a classifier; `add_generation_prompt` for a
    conversation that the chat template asks about, `chat_template_kwargs`, and `answer_prefix`."""
    nonce: str = ""
    """The placeholder (`text.placeholder`) that stands in this request wherever the run's secret nonce is to stand: it
    is put there when the request is sent, and then stands here, too."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered to one request."""

    text: str = ""
    finish_reason: str = "stop"
    """`stop`, `length` or `content_filter`."""
    first_token: Mapping[str, float] = field(default_factory=dict)
    """Log-probabilities of possible first tokens, as asked for."""
    logprob: float | None = None
    """`loglikelihood`: the sum over the continuation's tokens, in nats."""
    is_greedy: bool | None = None
    """`loglikelihood`: would greedy decoding have produced the continuation?"""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """`classify`: label to probability."""
    truncated: bool = False
    """The engine cut the prompt to fit."""
    tokens_in: int = 0
    tokens_out: int = 0
    model: str = ""
    """The model that answered, as the engine itself names it."""
    extra: Mapping[str, Json] = field(default_factory=dict)
    nonce: str = ""
    """The nonce that stood in the request, for whoever reads the reply. Not stored: the run's secret gives it."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The replies of the model under test to one sample, in the order they were asked for."""

    sample_id: str
    replies: tuple[Reply, ...]

    @property
    def text(self) -> str:
        """The last reply's text; empty where there is no reply."""
        return self.replies[-1].text if self.replies else ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a rule or a judge makes of an answer: a label and a score on the metric's own scale."""

    label: str
    score: float
    probability: float | None = None
    details: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A reading with its source: the judge's name (`rule` without one) and its raw reply."""

    sample_id: str
    judge: str
    reading: Reading
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that gave nothing. `billed` is `yes`, `no` or `unknown`."""

    sample_id: str
    stage: Literal["generate", "judge"]
    reason: str
    detail: str = ""
    billed: Literal["yes", "no", "unknown"] = "no"
    judge: str = ""
    details: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """One sample with all that is known of it: what a metric looks at."""

    sample: Sample
    generation: Generation | Failure
    verdicts: Mapping[str, Verdict | Failure]
    """By role; a task's own rule has the role `rule`."""


Score = float | tuple[float, ...] | None
"""A metric's reading of one item; None where it could not be scored."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a task. `value` reads an item; `aggregate` turns the scored values (one array, n or n by k) and the
    number of failures into an estimate; `h3eval.stats` has the usual ones. An item whose value is None counts as
    failed; one for which `applies` is False is not counted. Where `clustered`, a value is a score and its cluster."""

    name: str
    value: Callable[[Item], Score]
    aggregate: Callable[[str, "Sequence[Score]", int], Estimate]
    roles: tuple[str, ...] = ()
    """The judges this metric depends on."""
    applies: Callable[[Item], bool] = lambda item: True
    clustered: bool = False


class Source(Protocol):
    """Where a task's data comes from: local copies, the hub, or the demo samples."""

    @property
    def demo(self) -> bool: ...

    @property
    def options(self) -> Mapping[str, Json]:
        """How to ask, where the user said so: lm-eval's `limit`, `num_fewshot`, `apply_chat_template`, ..."""

    def rows(
        self, hub: str, config: str | None = None, split: str = "test", files: tuple[str, ...] = (), demo: str = ""
    ) -> list[dict[str, Json]]:
        """All rows of one split: from the first of `files` under the data folder, else the hub;
        for the demo, the rows shipped in `tasks/<demo>.demo.jsonl`. Raise DataMissing."""

    def file(self, *names: str) -> str | None:
        """Path of the first of these files under the data folder that exists."""


def ask_once(sample: Sample, replies: tuple[Reply, ...]) -> Sequence[Request]:
    """Ask the sample's prompt once, greedily."""
    return () if replies else (Request("complete", sample.prompt),)


@dataclass(frozen=True)
class Task:
    """Samples, how to ask, who judges, and what to measure: one benchmark on one protocol.

    `ask` is called with the replies so far, once a turn, and returns the next requests. `rule`
    scores without a model. `judges` maps a role to the judge plug-in that fills it by default.
    """

    name: str
    version: int
    dimension: Dimension
    protocol: str
    samples: Callable[[Source], Iterable[Sample]]
    metrics: tuple[Metric, ...]
    primary: str
    ask: Callable[[Sample, tuple[Reply, ...]], Sequence[Request]] = ask_once
    turns: int = 1
    rule: Callable[[Sample, Generation], Reading] | None = None
    judges: Mapping[str, str] = field(default_factory=dict)
    axis: Literal["", "over_refusal"] = ""
    """`over_refusal`: the primary metric counts refusals of harmless questions. It is shown beside
    its dimension, and never averaged with it."""
    about: str = ""
    """One sentence for reports, with the source of the protocol."""
    notes: tuple[str, ...] = ()
    """What a reader must know before comparing the numbers with published ones."""

    @property
    def id(self) -> str:
        """`name/protocol`: how stores, reports and the command line name it."""
        return f"{self.name}/{self.protocol}"


class Judge(Protocol):
    """Words questions about a generation and reads the replies. Never calls a model itself.

    `ask` may return nothing, where the verdict needs no call; `read` then gets no replies.
    `read` raises `h3eval.errors.Unreadable` for a reply that holds no verdict: it looks at what the reply says for
    itself (`text.own_words`), never at what it quotes. A judge that marks what is judged, and the line it reads, with
    a nonce writes `text.placeholder` there and names it in `Request.nonce`; `Reply.nonce` is then what was sent, which
    nobody who wrote an answer can know (empty: the placeholder itself was). A judge whose verdict is what the score
    means, as of a program's tests, and no opinion of it says `by_definition = True`: it is never called uncalibrated.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def calls(self) -> int:
        """The most waves of requests that `ask` makes for one generation; 0 for a judge without a model."""

    @property
    def complete_reply(self) -> bool:
        """A reply cut off at `max_tokens` holds no verdict. False for first-token judges."""

    @property
    def wording(self) -> str:
        """`official` or `own`: own wordings are not comparable with published numbers."""

    @property
    def template(self) -> str:
        """All the wording, for its hash."""

    @property
    def scale(self) -> str:
        """What a score says, in a few words. Judges that fill the same role must share it.

        `1 THIS, 0 THAT` is for scores of zero and one alone; graded scores are worded otherwise.
        """

    def ask(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Sequence[Request]: ...

    def read(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Reading: ...


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a backend gave no reply. `transient` faults are asked again when a run resumes."""

    reason: str
    detail: str = ""
    billed: Literal["yes", "no", "unknown"] = "no"
    transient: bool = True


class Journal(Protocol):
    """What a backend that costs money writes down before and after each call."""

    async def intent(self, key: bytes) -> int:
        """Note durably that a call is about to be sent; the attempt's number."""

    async def outcome(self, attempt: int, key: bytes, answer: "Reply | Fault", info: Mapping[str, Json]) -> None:
        """Note durably how the attempt ended. Keys of `info`: `http_status`, `request_id`,
        `retry_after_ms`, `usage_in`, `usage_out`, `cost_micro`."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request with the content address its reply will be stored under."""

    key: bytes
    request: Request
    placeholder: str = ""
    """What stands for `request.nonce` in the request that `key` is the address of; empty where none was replaced."""


class Backend(Protocol):
    """One engine. `identity` is part of every key; `can` says which kinds it answers.

    `answer` consumes calls lazily and yields each with its reply or fault, in any order. A
    backend that costs money journals each attempt; others ignore `journal`.
    """

    @property
    def identity(self) -> Mapping[str, Json]: ...

    @property
    def can(self) -> frozenset[str]: ...

    @property
    def paid(self) -> bool: ...

    def answer(self, calls: Iterable[Call], journal: Journal) -> Iterator[tuple[Call, Reply | Fault]]: ...

    def close(self) -> None:
        """Free the engine's memory."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """All that was measured on one task. `items` reads the stored samples anew at each call."""

    task: str
    protocol: str
    version: int
    dimension: Dimension
    primary: str
    about: str
    notes: tuple[str, ...]
    estimates: tuple[Estimate, ...]
    n_samples: int
    failures: Mapping[str, int]
    """`stage: reason` to count."""
    judges: Mapping[str, Mapping[str, Json]]
    """Role to `judge`, `version`, `model`, `wording`, `template_sha256`, `trusted`."""
    items: Callable[[], Iterator[Item]]
    axis: str = ""
    outcomes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Role or seat to how often each label was read, with `unreadable` and `error`."""
    calibration: Mapping[str, Json] = field(default_factory=dict)
    """Metric of a multiple choice to how good the model's own probabilities of the options are."""
    words: Mapping[str, str] = field(default_factory=dict)  # as `failures`: what the first one said
    otherwise: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    """Role to how many of its judge's replies the published tool reads otherwise, where it does, and both means."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run as reports see it: a pure function of the run's folder."""

    model: str
    manifest: Mapping[str, Json]
    results: tuple[TaskResult, ...]
    composites: tuple[Composite, ...]
    costs: Mapping[str, Json]
    """`stage` to `calls`, `answers`, `tokens_in`, `tokens_out`, `cost_micro`, `seconds`: see docs/results.md."""
    warnings: tuple[str, ...] = ()
    """Sentences a reader must see before the numbers."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Tasks of the suite that were not run, for want of data: id to where to get it."""
    activation: Mapping[str, Json] = field(default_factory=dict)  # whom a fused model's router asks


class Report(Protocol):
    """Writes one form of a run's results. Never computes a number."""

    name: str

    def write(self, run: Run, folder: Path) -> tuple[Path, ...]:
        """Write into `folder`; the files written, the main one first."""
