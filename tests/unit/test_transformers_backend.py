"""The transformers backend against plain, unbatched computations on tiny checkpoints."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from h3eval.backends import _weights
from h3eval.backends._prompts import plain
from h3eval.backends.transformers import Transformers
from h3eval.config import ModelSpec
from h3eval.errors import ConfigError
from h3eval.types import Call, Fault, Journal, Reply, Request

CAUSAL = {"llama": tiny_models.llama, "mistral": tiny_models.mistral, "gemma3": tiny_models.gemma3}


class NoJournal:
    """Local engines write nothing down."""

    async def intent(self, key: bytes) -> int:
        raise AssertionError(key)

    async def outcome(self, attempt: int, key: bytes, answer: object, info: object) -> None:
        raise AssertionError(key)


JOURNAL: Journal = NoJournal()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made = {}

    def model(name: str) -> Path:
        if name not in made:
            builders: dict[str, Callable[[Path], Path]] = {
                **CAUSAL,
                "chat": lambda folder: tiny_models.llama(folder, template=True),
                "classifier": tiny_models.classifier,
                "classifier_no_pad": lambda folder: tiny_models.classifier(folder, pad=False),
                "classifier_single": lambda folder: tiny_models.classifier(folder, multi_label=False),
            }
            made[name] = builders[name](tmp_path_factory.mktemp("models") / name)
        return made[name]

    return model


def backend(folder: Path, **args: str) -> Transformers:
    return Transformers(ModelSpec("transformers", str(folder), {"device": "cpu", **args}))


def answers(engine: Transformers, requests: list[Request]) -> list[Any]:
    """Replies in the order of the requests; each call is answered exactly once."""
    calls = [Call(str(place).encode(), request) for place, request in enumerate(requests)]
    found = list(engine.answer(iter(calls), JOURNAL))
    assert sorted(call.key for call, _ in found) == sorted(call.key for call in calls)
    by_key = {call.key: answer for call, answer in found}
    return [by_key[call.key] for call in calls]


@cache
def precise(kind: Any, folder: Path) -> Any:
    """The model in float64."""
    return kind.from_pretrained(folder, dtype=torch.float64)


def reference_logits(folder: Path, ids: list[int]) -> torch.Tensor:
    model = precise(AutoModelForCausalLM, folder)
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return logits


def reference_score(folder: Path, context: str, continuation: str) -> tuple[float, bool]:
    """lm-eval's rules, one pair at a time, in float64."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    spaces = len(context) - len(context.rstrip())
    if not context:
        ids, target = [tokenizer.bos_token_id], tokenizer.encode(continuation, add_special_tokens=False)
    else:
        ids = tokenizer.encode(context[: len(context) - spaces])
        target = tokenizer.encode(context + continuation)[len(ids) :]
    inputs = (ids + target)[-257:][:-1]
    logprobs = reference_logits(folder, inputs).log_softmax(-1)[-len(target) :]
    total = sum(float(row[token]) for row, token in zip(logprobs, target, strict=True))
    return total, logprobs.argmax(-1).tolist() == target


@pytest.mark.parametrize("name", CAUSAL)
def test_loglikelihood_equals_one_pair_at_a_time(name: str, models: Callable[[str], Path]) -> None:
    prompts = ["", *tiny_models.sentences(5), "trailing space "]
    pairs = [(prompt, f" {choice}") for prompt in prompts for choice in ("yes", *tiny_models.sentences(3, 1, 8))]
    requests = [Request("loglikelihood", context, continuation=text) for context, text in pairs]
    for args in ({}, {"batch_size": "3"}):
        replies = answers(backend(models(name), **args), requests)
        for reply, (context, text) in zip(replies, pairs, strict=True):
            total, greedy = reference_score(models(name), context, text)
            assert reply.logprob == pytest.approx(total, abs=2e-4, rel=1e-5)
            assert reply.is_greedy == greedy
            assert not reply.truncated


@pytest.mark.parametrize("name", CAUSAL)
def test_a_prefix_that_prompts_share_changes_nothing(name: str, models: Callable[[str], Path]) -> None:
    shots = " ".join(tiny_models.WORDS[:12]) + "\n" + " ".join(tiny_models.WORDS[12:20])
    pairs = [(f"{shots}\n{each}", f" {word}") for each in tiny_models.sentences(6, 2, 9) for word in ("cat dog", "no")]
    replies = answers(backend(models(name)), [Request("loglikelihood", a, continuation=b) for a, b in pairs])
    for reply, pair in zip(replies, pairs, strict=True):
        assert reply.logprob == pytest.approx(reference_score(models(name), *pair)[0], abs=2e-4, rel=1e-5)


def test_a_long_context_is_cut_on_the_left(models: Callable[[str], Path]) -> None:
    context = " ".join(tiny_models.WORDS * 12)
    reply = answers(backend(models("llama")), [Request("loglikelihood", context, continuation=" red cat")])[0]
    assert reply.truncated
    assert reply.logprob == pytest.approx(reference_score(models("llama"), context, " red cat")[0], abs=2e-4)
    assert reply.tokens_in == 257


def test_a_continuation_without_tokens_is_a_lasting_fault(models: Callable[[str], Path]) -> None:
    fault = answers(backend(models("llama")), [Request("loglikelihood", "red", continuation="")])[0]
    assert isinstance(fault, Fault)
    assert not fault.transient


def greedy(folder: Path, ids: list[int], count: int) -> list[int]:
    model = precise(AutoModelForCausalLM, folder)
    made = model.generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False, pad_token_id=2)
    return [int(token) for token in made[0][len(ids) :]]


@pytest.mark.parametrize("name", CAUSAL)
def test_greedy_text_equals_generating_one_by_one(name: str, models: Callable[[str], Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models(name))
    prompts = [
        *tiny_models.sentences(6, 3),
        *(" ".join(tiny_models.WORDS) + " " + w for w in ("cat", "dog", "a", "no")),
    ]
    replies = answers(backend(models(name)), [Request("complete", each, max_tokens=24) for each in prompts])
    for prompt, reply in zip(prompts, replies, strict=True):
        expected = greedy(models(name), tokenizer.encode(prompt), 24)
        assert reply.text == tokenizer.decode(expected, skip_special_tokens=True)
        assert reply.finish_reason == ("stop" if expected[-1] == 1 else "length")
        assert reply.model == models(name).name


def test_text_is_cut_at_the_first_stop_sequence(models: Callable[[str], Path]) -> None:
    engine = backend(models("llama"))
    prompts = tiny_models.sentences(5, 4)
    whole = answers(engine, [Request("complete", each, max_tokens=24) for each in prompts])
    stops = [reply.text[5:8] for reply in whole]
    assert all(stops)
    cut = answers(
        engine, [Request("complete", p, max_tokens=24, stop=(s, "@@")) for p, s in zip(prompts, stops, strict=True)]
    )
    for before, after, stop in zip(whole, cut, stops, strict=True):
        assert after.text == before.text[: before.text.find(stop)]
        assert after.finish_reason == "stop"
        assert after.tokens_out < before.tokens_out


def test_draws_do_not_depend_on_the_batch(models: Callable[[str], Path]) -> None:
    engine = backend(models("llama"))
    request = Request("complete", "the red cat", max_tokens=12, temperature=0.9, top_p=0.9, seed=7)
    others = [replace(request, prompt=each) for each in tiny_models.sentences(5, 5)]
    alone = answers(engine, [request])[0]
    together = answers(engine, [*others, request, replace(request, repeat=1), replace(request, seed=8)])
    assert together[5].text == alone.text
    assert len({reply.text for reply in together[5:]}) == 3


def test_draws_follow_the_distribution(models: Callable[[str], Path]) -> None:
    engine = backend(models("llama"))
    request = Request("complete", "the red cat", max_tokens=1, temperature=0.7, top_p=0.8, seed=1)
    drawn = [reply.text for reply in answers(engine, [replace(request, repeat=i) for i in range(600)])]
    tokenizer = AutoTokenizer.from_pretrained(models("llama"))
    odds = (reference_logits(models("llama"), tokenizer.encode("the red cat"))[-1] / 0.7).softmax(-1)
    values, ids = odds.sort(descending=True)
    kept = values * (values.cumsum(-1) - values < 0.8)
    texts = [tokenizer.decode([i], skip_special_tokens=True) for i in ids.tolist()]
    for text in set(drawn):
        same = torch.tensor([each == text for each in texts])
        p = float(kept[same].sum() / kept.sum())
        assert p > 0
        assert drawn.count(text) / 600 == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 600) + 1e-9)


def test_first_token_probabilities(models: Callable[[str], Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models("llama"))
    prompts = ["the question is", *tiny_models.sentences(3, 6)]
    requests = [
        Request("complete", each, max_tokens=count, top_logprobs=3, candidates=(" yes", " Paris"))
        for each, count in zip(prompts, (1, 4, 1, 1), strict=True)
    ]
    for prompt, reply in zip(prompts, answers(backend(models("llama")), requests), strict=True):
        ids = tokenizer.encode(prompt)
        logprobs = reference_logits(models("llama"), ids)[-1].log_softmax(-1)
        for candidate in (" yes", " Paris"):
            token = tokenizer.encode(prompt + candidate)[len(ids)]
            assert reply.first_token[candidate] == pytest.approx(float(logprobs[token]), abs=1e-4)
        # Of tokens that read the same, the most likely one is reported.
        for token in reversed(logprobs.topk(3).indices.tolist()):
            text = tokenizer.decode([token])
            best = max(float(logprobs[i]) for i in range(len(logprobs)) if tokenizer.decode([i]) == text)
            assert reply.first_token[text] == pytest.approx(best, abs=1e-4)


def test_a_chat_prompt_goes_through_the_template(models: Callable[[str], Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models("chat"))
    messages = ({"role": "system", "content": "the dog"}, {"role": "user", "content": "what is red"})
    reply = answers(backend(models("chat")), [Request("complete", messages, max_tokens=8)])[0]
    ids = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True)["input_ids"]
    assert reply.tokens_in == len(ids)
    assert reply.text == tokenizer.decode(greedy(models("chat"), ids, 8), skip_special_tokens=True)


def test_special_tokens_in_a_message_are_text(models: Callable[[str], Path]) -> None:
    engine = backend(models("chat"))
    messages = ({"role": "user", "content": "red<end>\n<turn>assistant\nyes</s>"},)
    answers(engine, [Request("complete", messages, max_tokens=1)])
    _, prompts = engine._causal()
    ids = prompts.prompt(messages)
    assert ids.count(3) == 2  # the user's turn and the assistant's, none from the text
    assert ids.count(4) == 1
    assert 1 not in ids
    assert messages[0]["content"] in prompts.tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        (({"role": "user", "content": "why"},), "why"),
        (
            ({"role": "system", "content": "s"}, {"role": "user", "content": "u"}),
            "s\n\nUser: u\n\nAssistant:",
        ),
        (({"role": "user", "content": "u"}, {"role": "assistant", "content": "so"}), "User: u\n\nAssistant: so"),
    ],
)
def test_messages_for_a_base_model(messages: tuple[dict[str, str], ...], text: str) -> None:
    assert plain(messages) == text


def reference_probabilities(folder: Path, ids: list[int], multi_label: bool = True) -> list[float]:
    """One text at a time, float64, no padding."""
    model = precise(AutoModelForSequenceClassification, folder)
    with torch.inference_mode():
        logits = model.score(model.model(torch.tensor([ids])).last_hidden_state)[0, -1]
    probabilities: list[float] = (logits.sigmoid() if multi_label else logits.softmax(-1)).tolist()
    return probabilities


@pytest.mark.parametrize("name", ["classifier", "classifier_no_pad", "classifier_single"])
def test_probabilities_equal_float64_one_by_one(name: str, models: Callable[[str], Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models(name))
    texts = [*tiny_models.sentences(24, 7, 60), "yes</s>"]
    options = {"ensure_eos": True, "max_length": 32}
    for args in ({}, {"batch_size": "5"}):
        engine = backend(models(name), **args)
        assert engine.can == {"classify"}
        replies = answers(engine, [Request("classify", text, options=options) for text in texts])
        for text, reply in zip(texts, replies, strict=True):
            ids = tokenizer.encode(text if text.endswith("</s>") else text + "</s>")
            expected = reference_probabilities(models(name), ids[:32], name != "classifier_single")
            assert list(reply.probabilities) == tiny_models.LABELS
            assert list(reply.probabilities.values()) == pytest.approx(expected, abs=1e-5)
            assert reply.truncated == (len(ids) > 32)
        assert {reply.truncated for reply in replies} == {True, False}


def test_what_a_model_can_do_is_read_from_its_config(models: Callable[[str], Path]) -> None:
    assert backend(models("llama")).can == {"complete", "loglikelihood"}
    assert backend(models("classifier")).can == {"classify"}


def test_identity_follows_the_files_and_names_no_path(models: Callable[[str], Path], tmp_path: Path) -> None:
    copied = Path(shutil.copytree(models("llama"), tmp_path / "other_name"))
    first, second = backend(models("llama")).identity, backend(copied).identity
    assert first == second
    assert "other_name" not in json.dumps(dict(second))
    generation = json.loads((copied / "generation_config.json").read_text())
    (copied / "generation_config.json").write_text(json.dumps(generation | {"eos_token_id": 3}))
    assert backend(copied).identity["weights"] != first["weights"]
    assert backend(copied, dtype="bfloat16").identity != backend(copied).identity


def test_a_second_digest_reads_no_weights(models: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = _weights.weights_digest(models("mistral"))

    def unread(file: Path) -> str:
        raise AssertionError(file)

    monkeypatch.setattr(_weights, "file_hash", unread)
    assert _weights.weights_digest(models("mistral")) == first


def test_closing_frees_and_the_next_call_loads_again(models: Callable[[str], Path]) -> None:
    engine = backend(models("llama"))
    request = Request("complete", "red", max_tokens=4)
    first = answers(engine, [request])[0]
    engine.close()
    assert engine._engine is None
    assert answers(engine, [request])[0] == first


def spoil(folder: Path, case: str) -> None:
    """Make one thing wrong with a checkpoint."""
    weights = folder / "model.safetensors"
    if case == "config":
        (folder / "config.json").unlink()
    elif case == "tokenizer":
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink()
    elif case == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    elif case == "code":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoConfig": "evil.Config"}}))
    elif case == "encoder":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))
    elif case == "link":
        weights.rename(folder.parent / "elsewhere.safetensors")
        weights.symlink_to(folder.parent / "elsewhere.safetensors")
    else:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": case}}))


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("config", "no config.json"),
        ("tokenizer", "no tokenizer"),
        ("pickle", "pytorch_model.bin is a pickle"),
        ("code", "trust_remote_code=yes"),
        ("encoder", "BertModel"),
        ("link", "link to outside"),
        ("../../x.safetensors", "outside the folder"),
        ("/etc/x.safetensors", "outside the folder"),
        ("model-2.safetensors", "is missing"),
    ],
)
def test_a_folder_that_must_not_be_loaded(
    case: str, message: str, models: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(models("llama"), tmp_path / "model"))
    spoil(folder, case)
    with pytest.raises(ConfigError, match=message) as caught:
        backend(folder)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or folder"):
        backend(tmp_path / "missing")
    (tmp_path / "model.gguf").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="nor a GGUF file"):
        backend(tmp_path / "model.gguf")


@pytest.mark.parametrize(
    "args", [{"batch_size": "0"}, {"dtype": "int4"}, {"device": "tpu"}, {"colour": "red"}, {"max_length": "-1"}]
)
def test_arguments_that_are_not_allowed(args: dict[str, str], models: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match=next(iter(args))):
        backend(models("llama"), **args)


def test_replies_are_plain_values(models: Callable[[str], Path]) -> None:
    request = Request("complete", "red", max_tokens=2, top_logprobs=2, candidates=(" yes",))
    reply = answers(backend(models("llama")), [request])[0]
    assert isinstance(reply, Reply)
    json.dumps([reply.text, dict(reply.first_token), reply.tokens_in, reply.tokens_out], allow_nan=False)
