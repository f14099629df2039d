"""A model with a LoRA adapter answers as peft's own merged model does; what is no adapter of it is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from adapted import adapter
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from h3eval.backends.transformers import Transformers
from h3eval.config import ModelSpec
from h3eval.errors import BackendError, ConfigError
from h3eval.types import Call, Request

PAIRS = [(context, f" {word}") for context in tiny_models.sentences(4, seed=2) for word in ("yes", "red cat")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("base") / "llama")


def engine(base: Path, folder: Path | None = None) -> Any:
    return Transformers(ModelSpec("transformers", str(base), {"adapter": str(folder)} if folder else {}))


def scores(made: Any) -> list[float]:
    calls = [
        Call(str(k).encode(), Request("loglikelihood", context, continuation=text))
        for k, (context, text) in enumerate(PAIRS)
    ]
    by_key = {call.key: answer.logprob for call, answer in made.answer(iter(calls), None)}
    return [by_key[call.key] for call in calls]


def reference(base: Path, folder: Path) -> list[float]:
    """Merged by peft, float64, one pair at a time."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    model = PeftModel.from_pretrained(plain, folder, autocast_adapter_dtype=False).to(torch.float64).merge_and_unload()
    found = []
    for context, text in PAIRS:
        start, whole = tokenizer.encode(context), tokenizer.encode(context + text)
        with torch.no_grad():
            rows = model(torch.tensor([whole[:-1]])).logits[0].log_softmax(-1)[len(start) - 1 :]
        found.append(sum(float(row[token]) for row, token in zip(rows, whole[len(start) :], strict=True)))
    return found


@pytest.mark.parametrize("more", [{}, {"use_rslora": True}, {"rank_pattern": {"down_proj": 8}}])
def test_the_adapter_is_on(base: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    folder = adapter(base, tmp_path / "lora", **more)
    made = engine(base, folder)
    assert scores(made) == pytest.approx(reference(base, folder), abs=2e-4)
    assert scores(engine(base)) != pytest.approx(scores(made), abs=1e-2)
    assert made.model.name == "llama+lora"


def test_another_adapter_is_another_model(base: Path, tmp_path: Path) -> None:
    folders = [None, adapter(base, tmp_path / "one"), adapter(base, tmp_path / "two", seed=1)]
    identities = [json.dumps(dict(engine(base, folder).identity), sort_keys=True) for folder in folders]
    assert len(set(identities)) == 3
    assert "adapter" not in engine(base).identity


def test_an_adapter_of_another_model_is_refused(base: Path, tmp_path: Path) -> None:
    other = tiny_models.llama(tmp_path / "other", head_dim=32)
    with pytest.raises(BackendError, match="adapter lora does not fit"):
        scores(engine(base, adapter(other, tmp_path / "lora")))


@pytest.mark.parametrize("stray", ["", "base_model.model.model.layers.77.mlp.up_proj.lora_A.weight"])
def test_no_tensor_is_left_out_in_silence(base: Path, tmp_path: Path, stray: str) -> None:
    file = adapter(base, tmp_path / "lora") / "adapter_model.safetensors"
    weights = load_file(file)
    first = weights.pop(min(weights))
    save_file(weights | ({stray: first} if stray else {}), file)
    with pytest.raises(BackendError, match="no place or no weights"):
        scores(engine(base, file.parent))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "adapter_config.json").unlink(), "no adapter_config.json"),
        (lambda folder: (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin"), "pickled"),
        (lambda folder: changed(folder, peft_type="IA3"), "only LORA"),
        (lambda folder: changed(folder, r="8"), "no rank"),
    ],
)
def test_what_is_no_adapter_is_refused_before_a_model_loads(base: Path, tmp_path: Path, spoil: Any, says: str) -> None:
    folder = adapter(base, tmp_path / "lora")
    spoil(folder)
    with pytest.raises(ConfigError, match=says):
        engine(base, folder)


def changed(folder: Path, **values: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
