"""A bridge to lm-eval: its task definitions word the questions and read the answers.

Prompts, choice of few-shot examples, filters, metrics and aggregations are lm-eval's own code,
called as a library. The engine, the store and the statistics are ours. A sample carries its row and
its rendered requests, so that scoring a stored run needs no data set.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval import utils as rendering
from lm_eval.api.instance import Instance

from h3eval.errors import Unreadable
from h3eval.text import cut_at
from h3eval.types import (
    Dimension,
    Generation,
    Json,
    Message,
    Metric,
    Reading,
    Reply,
    Request,
    Sample,
    Source,
    Task,
)

from . import _lm_eval_files as task_files
from ._lm_eval_guard import guarded
from ._lm_eval_metrics import metrics
from ._lm_eval_requests import choice_probabilities, generation_request, plain, prompt_of
from ._lm_eval_rows import OneDoc, RowsTask, fitting, loaded

FEWSHOT_SEED = 1234
"""lm-eval's default seed for drawing examples."""

# lm-eval logs what its task files leave out, which no user of ours can mend.
logging.getLogger("lm_eval").setLevel(logging.ERROR)
# It compiles a task's template anew for each row and example, which takes four fifths of the time.
rendering.env.from_string = lru_cache(maxsize=256)(rendering.env.from_string)


@dataclass(eq=False)
class Bridge:
    """One of lm-eval's task files as the parts of a `Task`."""

    file: Path
    primary: str = ""
    """Key of the metric that becomes a reading's score; the task file's first where it is empty."""
    demo: str = ""
    shots: int | None = None
    """How many examples stand before a question; as the task file says where it is None."""
    _task: RowsTask | None = field(default=None, repr=False)

    @cached_property
    def outline(self) -> dict[str, Any]:
        """The task file with its functions unresolved: importing them can take seconds."""
        config = task_files.read(self.file, functions=False)
        task_files.check(config)
        return config

    @cached_property
    def config(self) -> dict[str, Any]:
        """The task file, ready for lm-eval."""
        return guarded(task_files.read(self.file), self.outline)

    @property
    def name(self) -> str:
        """lm-eval's name of the task."""
        return str(self.outline["task"])

    @cached_property
    def measured(self) -> tuple[Metric, ...]:
        """One metric for each of lm-eval's metrics and filters."""
        return metrics(self.outline, lambda: self.config)

    @property
    def about(self) -> str:
        """Which definition this is, with its versions."""
        version = (self.outline.get("metadata") or {}).get("version", "unknown")
        return f"lm-eval {task_files.LM_EVAL}'s own task {self.name}, version {version}"

    def samples(self, source: Source) -> Iterator[Sample]:
        """The task's documents in lm-eval's order, rendered one by one."""
        task = loaded(self.config, source, self._shots(source.options), self.demo)
        task.set_fewshot_seed(FEWSHOT_SEED)
        limit = source.options.get("limit") or 0
        # A share (`limit` below 1) is taken by the caller, who sees how many there are.
        documents = task.doc_iterator(limit=int(limit) if limit >= 1 else None)
        with fitting(self.name, task.splits):
            for number, doc in documents:
                yield self._sample(task, number, doc, source.options)

    def _shots(self, options: Mapping[str, Json]) -> int:
        given = self.outline.get("num_fewshot") if self.shots is None else self.shots
        asked = options.get("num_fewshot")
        # As in lm-eval, a task that says 0 is not overruled: its examples stand in its prompt.
        return int(given or 0) if asked is None or given == 0 else int(asked)

    def _sample(self, task: RowsTask, number: int, doc: Json, options: Mapping[str, Json]) -> Sample:
        wording = _wording(options)
        context = task.fewshot_context(doc, num_fewshot=task.shots, gen_prefix=task.doc_to_prefix(doc), **wording)
        shape = {key: wording[key] for key in ("apply_chat_template", "chat_template")}
        made = task.construct_requests(doc=doc, ctx=context, metadata=(self.name, number, 1), **shape)
        pairs = [one.args[:2] for one in (made if isinstance(made, list) else [made])]
        facts = {"doc": doc, "repeats": int(task.config.repeats), "task": task.shape()}
        prompt = pairs[0][0]
        sample = partial(Sample, f"{self.name}-{number}", prompt, reference=plain(task.doc_to_target(doc)))
        if task.OUTPUT_TYPE == "generate_until":
            return sample(metadata={**facts, "generation": pairs[0][1], "seed": options.get("seed")})
        if any(context != prompt for context, _ in pairs):
            return sample(metadata={**facts, "requests": [list(pair) for pair in pairs]})
        return sample(choices=tuple(continuation for _, continuation in pairs), metadata=facts)

    def ask(self, sample: Sample, replies: tuple[Reply, ...]) -> Sequence[Request]:
        """The sample's rendered requests, all at once."""
        if replies:
            return ()
        settings = sample.metadata.get("generation")
        if settings is None:
            return [Request("loglikelihood", *pair) for pair in _pairs(sample)]
        # Greedy answers are all alike: one stands for all repeats.
        request = generation_request(sample.prompt, settings, sample.metadata.get("seed"))
        draws = sample.metadata["repeats"] if request.temperature > 0 else 1
        return [replace(request, repeat=draw) for draw in range(draws)]

    def rule(self, sample: Sample, generation: Generation) -> Reading:
        """lm-eval's metrics on one document; `details` holds each under lm-eval's key."""
        details = self.details(sample, generation)
        return read(details, self.primary or self.measured[0].name)

    def details(self, sample: Sample, generation: Generation) -> dict[str, Json]:
        """Every filter's metrics, what the filters found, and the probabilities of the choices."""
        task = self._scorer(sample)
        doc = sample.metadata["doc"]
        responses = _responses(sample, generation)
        instances = [
            Instance(task.OUTPUT_TYPE, doc, pair, number, (self.name, 0, len(given)), list(given))
            for number, (pair, given) in enumerate(zip(_arguments(sample), responses, strict=True))
        ]
        found: dict[str, Json] = {}
        filtered: dict[str, Json] = {}
        for ensemble in task.filters:
            ensemble.apply(instances)
            kept = [each.filtered_resps[ensemble.name] for each in instances]
            # Where every choice underflows, lm-eval divides 0 by 0; that item then has no value.
            with np.errstate(invalid="ignore", divide="ignore"):
                values = task.process_results(doc, kept)
            found |= {f"{metric},{ensemble.name}": plain(value) for metric, value in values.items()}
            filtered[ensemble.name] = plain(kept[0])
        if sample.metadata.get("generation") is not None:
            return found | {"filtered": filtered}
        if task.OUTPUT_TYPE == "multiple_choice" and sample.choices:
            logprobs = [given[0][0] for given in responses]
            gold = {"gold": plain(task.doc_to_target(doc))}
            return found | gold | choice_probabilities(logprobs, task.doc_to_choice(doc))
        return found

    def _scorer(self, sample: Sample) -> RowsTask:
        if self._task is None:
            raw = {key: value for key, value in self.config.items() if key not in ("process_docs", "custom_dataset")}
            self._task = RowsTask(raw, OneDoc(sample.metadata["doc"]), 0)
        self._task.reshape(sample.metadata["task"])
        return self._task


def _wording(options: Mapping[str, Json]) -> dict[str, Any]:
    chat = bool(options.get("apply_chat_template"))
    many = options.get("fewshot_as_multiturn")
    return {
        "system_instruction": options.get("system_instruction"),
        "apply_chat_template": chat,
        "fewshot_as_multiturn": chat if many is None else bool(many),
        "chat_template": _messages if chat else None,
    }


def _messages(messages: Sequence[Message], add_generation_prompt: bool = True) -> tuple[Message, ...]:
    """Stands where lm-eval renders the chat template: our engines do that. A last message of the
    assistant's is the beginning of its answer."""
    return tuple(messages)


def _pairs(sample: Sample) -> list[tuple[Any, str]]:
    """Context and continuation of each request."""
    requests = sample.metadata.get("requests")
    if requests is not None:
        return [(prompt_of(context), continuation) for context, continuation in requests]
    return [(sample.prompt, choice) for choice in sample.choices]


def _arguments(sample: Sample) -> list[tuple[Any, Any]]:
    settings = sample.metadata.get("generation")
    return _pairs(sample) if settings is None else [(sample.prompt, dict(settings))]


def _responses(sample: Sample, generation: Generation) -> list[list[Json]]:
    """What lm-eval's model would have returned: a list of repeats for each request."""
    repeats = int(sample.metadata["repeats"])
    settings = sample.metadata.get("generation")
    if settings is None:
        return [[_likelihood(sample, reply)] * repeats for reply in generation.replies]
    stop = generation_request(sample.prompt, settings).stop
    texts = [cut_at(reply.text, stop) for reply in generation.replies]
    return [texts * repeats if len(texts) == 1 else texts]


def _likelihood(sample: Sample, reply: Reply) -> tuple[float, bool]:
    if reply.logprob is None:
        raise Unreadable(f"{sample.id}: the engine gave no log-probability")
    return reply.logprob, bool(reply.is_greedy)


def read(details: Mapping[str, Json], primary: str) -> Reading:
    """A reading whose score is the primary metric's value.

    `undefined` means that lm-eval's value is not a number; metrics then count the item as failed
    and never look at the score.
    """
    value = details.get(primary)
    if not isinstance(value, int | float):
        return Reading("undefined", 0.0, details=details)
    label = "correct" if value == 1 else "wrong" if value == 0 else "graded"
    return Reading(label, float(value), details=details)


def lm_eval_task(
    bridge: Bridge,
    name: str,
    protocol: str = "lm-eval",
    dimension: Dimension = "helpful",
    about: str = "",
    notes: tuple[str, ...] = (),
) -> Task:
    """The task file as a task of ours, with one metric for each of lm-eval's."""
    return Task(
        name=name, version=1, dimension=dimension, protocol=protocol,
        samples=bridge.samples, ask=bridge.ask, rule=bridge.rule,
        metrics=bridge.measured, primary=bridge.primary or bridge.measured[0].name,
        about=about, notes=(f"{bridge.about}.", *notes),
    )  # fmt: skip
