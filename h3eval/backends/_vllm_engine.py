"""vLLM's offline engine: requests in, replies out as they finish."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllm import LLM, PoolingParams, SamplingParams
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.v1.engine.exceptions import EngineDeadError

from h3eval.backends import _classify, _local
from h3eval.backends._prompts import Encoded, Prompts, seed
from h3eval.errors import BackendError
from h3eval.text import cut_at
from h3eval.types import Call, Fault, Reply
from h3eval.untrusted.messages import loading

Answers = Iterator[tuple[Call, Reply | Fault]]
Ask = tuple[Call, Encoded]
# As many as `logprob_token_ids` of vLLM takes.
MOST_LOGPROBS = 128
CPU_BLOCK = 32
"""Tokens that vLLM's cache of prefixes keeps together; its CPU kernels want multiples of 32."""


class Engine:
    """A loaded model."""

    def __init__(self, model: _local.Local, folder: Path, max_length: int | None, options: dict[str, Any]) -> None:
        self.name = model.name
        arguments: dict[str, Any] = {
            "model": str(folder),
            "runner": "pooling" if "classify" in model.can else "generate",
            "dtype": model.dtype,
            "max_model_len": max_length,
            "trust_remote_code": model.remote_code,
            "max_logprobs": MOST_LOGPROBS,
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
            "seed": 0,
        }
        if current_platform.is_cpu():
            # Blocks of 128, its default there, are longer than most questions: choices would share nothing.
            arguments |= {"enforce_eager": True, "block_size": CPU_BLOCK}
        with loading(f"vllm can't start with {self.name}"):
            self.llm: Any = LLM(**arguments | options)
        self.labels: Any = self.llm.llm_engine.model_config.hf_config.id2label
        self.tokenizer = model.tokenizer(folder)
        # vLLM wants room for one generated token, even where none is asked for.
        length = int(self.llm.llm_engine.model_config.max_model_len)
        self.length = length
        self.prompts = Prompts(self.tokenizer, length - 2, model.template, model.name)
        batched = int(self.llm.llm_engine.vllm_config.scheduler_config.max_num_batched_tokens)
        # Tokens of prompts with draws that it may be given together; 0: any number.
        self.at_once = batched if current_platform.is_cpu() else 0
        self._lora = LoRARequest(model.name, 1, str(model.adapter.folder)) if model.adapter else None
        self._asked = 0

    def answer(self, kind: str, calls: Sequence[Call]) -> Answers:
        """Answer calls of one kind."""
        ways = {"complete": self._complete, "loglikelihood": self._score, "classify": self._classify}
        for call, answer in ways[kind](calls):
            yield call, replace(answer, model=self.name) if isinstance(answer, Reply) else answer

    def close(self) -> None:
        """Stop the engine's own process."""
        self.llm.llm_engine.engine_core.shutdown()

    def _complete(self, calls: Sequence[Call]) -> Answers:
        asks, faults = _local.encoded(calls, self._completion)
        yield from faults
        late: list[tuple[Ask, Any]] = []
        for group in self._groups(asks):
            for ask, output in self._run([(ask, ask[1].ids, _sampling(*ask)) for ask in group]):
                call, prompt = ask
                if set(prompt.candidates) <= set(_first_tokens(output)):
                    yield call, self._reply(ask, output, {})
                else:
                    late.append((ask, output))
        # Candidates that were not among the most likely tokens: asked for by their ids.
        finished = {id(ask): output for ask, output in late}
        exact = [(ask, ask[1].ids, _exact(ask[1])) for ask, _ in late]
        for ask, output in self._run(exact):
            yield ask[0], self._reply(ask, finished[id(ask)], _first_tokens(output))

    def _completion(self, call: Call) -> Encoded:
        prompt = self.prompts.complete(call.request)
        if self._is_drawn(call) and len(prompt.ids) > self.at_once:
            raise ValueError(
                f"vllm on a CPU draws answers to {self.at_once} tokens at most; here are {len(prompt.ids)}"
            )
        return prompt

    def _is_drawn(self, call: Call) -> bool:
        """Must its prompt be read at once?"""
        return bool(self.at_once and call.request.temperature)

    def _groups(self, asks: Sequence[Ask]) -> Iterator[list[Ask]]:
        """Calls that vLLM may have at the same time: all of them, but for those with draws on a CPU.

        There it ends with an error where it reads a prompt that has a seed in several passes (vllm 0.32: a CPU's
        generator can't be wound back), as it does when there are more new tokens than one pass takes.
        """
        group = [ask for ask in asks if not self._is_drawn(ask[0])]
        room = 0
        for ask in filter(lambda ask: self._is_drawn(ask[0]), asks):
            room -= len(ask[1].ids)
            if room < 0:
                yield group
                group, room = [], self.at_once - len(ask[1].ids)
            group.append(ask)
        yield group

    def _score(self, calls: Sequence[Call]) -> Answers:
        asks, faults = _local.encoded(calls, lambda call: self.prompts.pair(call.request))
        yield from faults
        # Neighbours share what they begin with, for vLLM's own cache of prefixes.
        asks.sort(key=lambda ask: (-len(ask[1].ids), ask[1].ids))
        late = []
        for ask, output in self._run([_scoring(ask, cached=True) for ask in asks]):
            if _scored(ask, output):
                yield ask[0], _likelihood(ask, output)
            else:
                late.append(ask)
        for ask, output in self._run([_scoring(ask, cached=False) for ask in late]):
            yield ask[0], _likelihood(ask, output)

    def _classify(self, calls: Sequence[Call]) -> Answers:
        tokenizer = self.tokenizer
        asks, faults = _local.encoded(calls, lambda call: _classify.tokens(tokenizer, call.request, self.length))
        yield from faults
        how = PoolingParams(task="classify")
        for (call, (ids, truncated)), output in self._run([(ask, ask[1][0], how) for ask in asks]):
            values = output.outputs.data.tolist()
            names = [self.labels[number] for number in range(len(values))]
            yield (
                call,
                Reply(
                    probabilities=dict(zip(names, values, strict=True)),
                    truncated=truncated,
                    tokens_in=len(ids),
                ),
            )

    def _run(self, asks: Sequence[tuple[Any, Sequence[int], Any]]) -> Iterator[tuple[Any, Any]]:
        """Give vLLM token ids with their parameters; each ask with its output when it is finished."""
        engine = self.llm.llm_engine
        waiting = {}
        for ask, ids, how in asks:
            self._asked += 1
            waiting[str(self._asked)] = ask
            engine.add_request(str(self._asked), {"prompt_token_ids": list(ids)}, how, lora_request=self._lora)
        while waiting:
            for output in self._step():
                if output.finished:
                    yield waiting.pop(output.request_id), output

    def _step(self) -> Sequence[Any]:
        try:
            outputs: Sequence[Any] = self.llm.llm_engine.step()
        except EngineDeadError as error:
            raise BackendError(f"vllm stopped while running {self.name}; its log says why") from error
        return outputs

    def _reply(self, ask: Ask, output: Any, exact: Mapping[int, Any]) -> Reply:
        (call, prompt), made = ask, output.outputs[0]
        found = _first_tokens(output)
        known = {**found, **exact}
        first: dict[str, float] = {}
        # vLLM adds the sampled token to the most likely ones; it may be one more than was asked for.
        ranked = sorted(found.items(), key=lambda pair: -pair[1].logprob)[: call.request.top_logprobs]
        for token, value in ranked:
            first.setdefault(self.tokenizer.decode([token]), value.logprob)
        for candidate, token in zip(call.request.candidates, prompt.candidates, strict=True):
            first[candidate] = known[token].logprob
        return Reply(
            text=cut_at(made.text, call.request.stop),
            finish_reason="length" if made.finish_reason == "length" else "stop",
            first_token=first,
            tokens_in=len(prompt.ids),
            tokens_out=len(made.token_ids),
            truncated=prompt.truncated,
        )


def _scoring(ask: Ask, cached: bool) -> tuple[Ask, Sequence[int], Any]:
    """vLLM leaves its cache unread where log-probabilities of the prompt are asked for, unless told otherwise."""
    how = SamplingParams(
        temperature=0, prompt_logprobs=1, max_tokens=1, detokenize=False, skip_reading_prefix_cache=not cached
    )
    return ask, ask[1].ids + ask[1].target, how


def _scored(ask: Ask, output: Any) -> bool:
    """Has vLLM computed all of the target? Its rows for tokens that it took from the cache hold anything at all."""
    prompt = ask[1]
    rows = output.prompt_logprobs[len(prompt.ids) :]
    fresh = (output.num_cached_tokens or 0) < len(prompt.ids)
    return fresh and all(token in row for row, token in zip(rows, prompt.target, strict=True))


def _likelihood(ask: Ask, output: Any) -> Reply:
    prompt = ask[1]
    pairs = list(zip(output.prompt_logprobs[len(prompt.ids) :], prompt.target, strict=True))
    return Reply(
        logprob=sum(row[token].logprob for row, token in pairs),
        is_greedy=all(max(row, key=lambda i: row[i].logprob) == token for row, token in pairs),
        truncated=prompt.truncated,
        tokens_in=len(prompt.ids) + len(prompt.target),
    )


def _sampling(call: Call, prompt: Encoded) -> Any:
    request = call.request
    only = request.top_logprobs == 0 and prompt.candidates
    return SamplingParams(
        temperature=request.temperature,
        top_p=request.top_p if request.temperature else 1.0,
        max_tokens=prompt.max_tokens,
        stop=[stop for stop in request.stop if stop] or None,
        seed=seed(request, prompt.ids) if request.temperature else None,
        logprobs=request.top_logprobs or None,
        logprob_token_ids=sorted(set(prompt.candidates)) if only else None,
    )


def _exact(prompt: Encoded) -> Any:
    ids = sorted(set(prompt.candidates))
    return SamplingParams(temperature=0, max_tokens=1, logprob_token_ids=ids)


def _first_tokens(output: Any) -> Mapping[int, Any]:
    """Token id to log-probability at the answer's first place, as far as vLLM reported them."""
    logprobs = output.outputs[0].logprobs
    return dict(logprobs[0]) if logprobs else {}
