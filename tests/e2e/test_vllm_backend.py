"""The vLLM backend beside the transformers backend, on the same tiny checkpoints.

vLLM takes a while to start, so each model is started once: `pytest -m vllm`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from adapted import adapter

from h3eval.backends.transformers import Transformers
from h3eval.backends.vllm import Vllm
from h3eval.config import ModelSpec
from h3eval.errors import ConfigError
from h3eval.types import Call, Request

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="vLLM is not installed")
BOTH = ((Vllm, "vllm"), (Transformers, "transformers"))


def answers(engine: Any, requests: list[Request]) -> list[Any]:
    """Replies in the order of the requests."""
    calls = [Call(str(place).encode(), request) for place, request in enumerate(requests)]
    by_key = {call.key: answer for call, answer in engine.answer(iter(calls), None)}
    return [by_key[call.key] for call in calls]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """One chat model in both engines."""
    folder = str(tiny_models.llama(tmp_path_factory.mktemp("vllm") / "llama", template=True, head_dim=32))
    both = tuple(kind(ModelSpec(name, folder, {"dtype": "float32"})) for kind, name in BOTH)
    yield both[0], both[1]
    for engine in both:
        engine.close()


def test_log_likelihoods_agree(pair: tuple[Any, Any]) -> None:
    contexts = ["", "trailing ", *tiny_models.sentences(5), " ".join(tiny_models.WORDS * 12)]
    requests = [Request("loglikelihood", c, continuation=f" {t}") for c in contexts for t in ("yes", "red cat")]
    for ours, theirs, request in zip(*(answers(engine, requests) for engine in pair), requests, strict=True):
        assert ours.truncated == theirs.truncated
        assert ours.is_greedy == theirs.is_greedy
        if not ours.truncated:  # vLLM keeps a place for an answer, and so cuts a little earlier
            assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-3), request


def test_log_likelihoods_agree_where_the_cache_knows_the_continuation(pair: tuple[Any, Any]) -> None:
    """The same words cut at many places: what is cached for one question reaches into another's answer."""
    words = tiny_models.sentences(1, seed=3)[0].split() + tiny_models.WORDS[:60]
    requests = [
        Request("loglikelihood", " ".join(words[:cut]), continuation=" " + " ".join([*words[cut : cut + 30], end]))
        for cut in range(5, 60, 5)
        for end in ("yes", "red cat")
    ]
    for ours, theirs, request in zip(*(answers(engine, requests) for engine in pair), requests, strict=True):
        assert (ours.is_greedy, ours.truncated) == (theirs.is_greedy, False)
        assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-3), request


def test_greedy_texts_stops_and_chats_agree(pair: tuple[Any, Any]) -> None:
    prompts: list[Any] = [*tiny_models.sentences(4), ({"role": "user", "content": "why <end> is red"},)]
    requests = [Request("complete", each, max_tokens=10) for each in prompts]
    whole = [answers(engine, requests) for engine in pair]
    for ours, theirs in zip(*whole, strict=True):
        # vLLM drops the bytes of a character that is not complete at the end.
        assert ours.text == theirs.text.rstrip("\ufffd")
        assert ours.finish_reason == theirs.finish_reason
        assert ours.tokens_in == theirs.tokens_in
    stop = whole[1][0].text[4:6]
    cut = [answers(engine, [Request("complete", prompts[0], max_tokens=10, stop=(stop,))])[0] for engine in pair]
    assert cut[0].text == cut[1].text
    assert cut[0].finish_reason == "stop"


@pytest.mark.parametrize(("top", "tokens"), [(0, 1), (3, 1), (3, 4)])
def test_first_token_probabilities_agree(top: int, tokens: int, pair: tuple[Any, Any]) -> None:
    request = Request(
        "complete", "the question is", max_tokens=tokens, top_logprobs=top, candidates=(" yes", " Paris", " red")
    )
    ours, theirs = (answers(engine, [request])[0] for engine in pair)
    assert set(request.candidates) <= set(ours.first_token)
    for candidate in request.candidates:
        assert ours.first_token[candidate] == pytest.approx(theirs.first_token[candidate], abs=1e-3)
    assert len(ours.first_token) == len(theirs.first_token)


def test_draws_repeat_and_differ_by_repeat(pair: tuple[Any, Any]) -> None:
    requests = [
        Request("complete", "the red", max_tokens=10, temperature=1.0, seed=3, repeat=repeat) for repeat in (0, 1)
    ]
    first, second = (answers(pair[0], requests) for _ in range(2))
    assert [reply.text for reply in first] == [reply.text for reply in second]
    assert first[0].text != first[1].text


def test_identity_differs_from_the_other_engine(pair: tuple[Any, Any]) -> None:
    ours, theirs = (engine.identity for engine in pair)
    assert ours["weights"] == theirs["weights"]
    assert ours["backend"] != theirs["backend"]
    assert "vllm" in ours["vllm"]


@pytest.mark.parametrize("multi_label", [True, False])
def test_probabilities_of_labels_agree(multi_label: bool, tmp_path: Path) -> None:
    folder = str(tiny_models.classifier(tmp_path / "classifier", multi_label=multi_label, head_dim=32))
    texts = tiny_models.sentences(10, longest=40)
    options = {"ensure_eos": True, "max_length": 24}
    found = []
    for kind, name in BOTH:
        engine = kind(ModelSpec(name, folder, {"dtype": "float32"}))
        found.append(answers(engine, [Request("classify", text, options=options) for text in texts]))
        engine.close()
    for ours, theirs in zip(*found, strict=True):
        assert ours.truncated == theirs.truncated
        assert list(ours.probabilities) == list(theirs.probabilities)
        assert list(ours.probabilities.values()) == pytest.approx(list(theirs.probabilities.values()), abs=1e-3)


@pytest.mark.parametrize("args", [{"gpu_memory_utilization": "2"}, {"enforce_eager": "maybe"}, {"colour": "red"}])
def test_arguments_that_are_not_allowed(args: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=next(iter(args))):
        Vllm(ModelSpec("vllm", str(tmp_path), args))


def test_draws_are_the_same_in_any_company(pair: tuple[Any, Any]) -> None:
    """More tokens of prompts than vLLM reads in one pass: on a CPU it can't wind a request's own generator back."""
    prompts = tiny_models.sentences(90, seed=6, longest=100)
    drawn = [Request("complete", prompt, max_tokens=6, temperature=0.7, seed=3) for prompt in prompts]
    plain = [Request("complete", prompt, max_tokens=6) for prompt in prompts[:5]]
    together = answers(pair[0], [*drawn, *plain])
    assert sum(reply.tokens_in for reply in together) > pair[0]._engine.at_once
    assert [reply.text for reply in answers(pair[0], drawn[-3:])] == [reply.text for reply in together[87:90]]
    assert [reply.text for reply in answers(pair[0], plain)] == [reply.text for reply in together[90:]]


def test_adapters_of_one_base_agree(tmp_path: Path) -> None:
    base = tiny_models.llama(tmp_path / "llama", head_dim=32)
    said = []
    for seed in range(2):
        folder = adapter(base, tmp_path / f"lora{seed}", seed)
        spec = {"dtype": "float32", "adapter": str(folder)}
        engines = [kind(ModelSpec(name, str(base), spec)) for kind, name in BOTH]
        prompts = tiny_models.sentences(6, seed=5)
        requests = [Request("loglikelihood", prompt, continuation=" red cat") for prompt in prompts]
        ours, theirs = ([answer.logprob for answer in answers(engine, requests)] for engine in engines)
        assert ours == pytest.approx(theirs, abs=1e-3)
        said.append(ours)
        for engine in engines:
            engine.close()
    assert said[0] != pytest.approx(said[1], abs=1e-2)
