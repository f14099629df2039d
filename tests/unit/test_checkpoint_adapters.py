"""The reader of LoRA adapters: each key and each tensor is understood, or refused by name; nothing is left out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from adapted import adapter
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from h3eval.backends import _adapters
from h3eval.backends.transformers import Transformers
from h3eval.checkpoints import adapters
from h3eval.config import ModelSpec
from h3eval.errors import ConfigError
from h3eval.merge.adapters import as_base
from h3eval.merge.checkpoints import open_checkpoint

FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("base") / "llama")


@pytest.fixture(scope="module")
def plain(base: Path) -> Path:
    return adapter(base, base.parent / "lora")


def keys(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def made(folder: Path) -> None:
        held = load_file(folder / "adapter_model.safetensors")
        change(held)
        save_file(held, folder / "adapter_model.safetensors")

    return made


def read(base: Path, plain: Path, folder: Path, change: Callable[[Path], Any]) -> adapters.Adapter:
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_bytes((plain / name).read_bytes())
    change(folder)
    return adapters.read(folder, as_base(open_checkpoint(base)))


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a key of a newer peft": (keys(use_next_lora={"beta": 1}), "use_next_lora is not understood"),
    "LoftQ": (keys(init_lora_weights="loftq"), "LoftQ changed the base"),
    "CorDA": (keys(init_lora_weights="corda"), "CorDA changed the base"),
    "LoRA-GA": (keys(init_lora_weights="lora_ga"), "LoRA-GA changed the base"),
    "a start nobody knows": (keys(init_lora_weights="sparkling"), "'sparkling', which is not understood"),
    "LoftQ's settings": (keys(loftq_config={"loftq_bits": 4}), "loftq_config"),
    "turned matrices": (keys(fan_in_fan_out=True), "fan_in_fan_out"),
    "QALoRA": (keys(use_qalora=True), "use_qalora"),
    "KaSA": (keys(kasa_config={"beta": 1e-4}), "kasa_config"),
    "fused matrices": (keys(enable_lora=[True, False]), "enable_lora"),
    "no number": (keys(lora_alpha="8"), "lora_alpha: '8' is not a number"),
    "a switch of words": (keys(use_rslora="yes"), "use_rslora: 'yes' is not true or false"),
    "half a rank": (keys(r=2.5), "r: 2.5 is not a whole number"),
    "another rank": (keys(r=8), "of rank 4; adapter_config.json says 8"),
    "a pattern that is none": (keys(alpha_pattern={"q_proj[": 3}), "no regular expression"),
    "a pattern's word": (keys(rank_pattern={"q_proj": "4"}), "rank_pattern.q_proj: '4'"),
    "fewer targets": (keys(target_modules=["q_proj"]), "down_proj is changed, and none of target_modules"),
    "more targets": (
        keys(target_modules=["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "down_proj"]), "k_proj, and"
    ),
    "another kind": (keys(peft_type="ADALORA"), "peft_type ADALORA"),
    "a matrix less": (weights(lambda held: held.pop(FIRST)), "lora_A is missing"),
    "a module less": (
        weights(lambda held: [held.pop(name) for name in list(held) if "layers.1.mlp.up" in name]), "no matrices for it"
    ),
    "a magnitude": (
        weights(lambda held: held.update({FIRST.replace("lora_A.weight", "lora_magnitude_vector"): torch.ones(32)})),
        "lora_magnitude_vector is not a LoRA matrix",
    ),
    "a layer of its own": (
        weights(lambda held: held.update({"base_model.model.lm_head.weight": torch.ones(386, 32)})),
        "differs from the base",
    ),
    "other embeddings": (
        weights(lambda held: held.update({"base_model.model.model.embed_tokens.weight": torch.ones(390, 32)})),
        "brings layers of its own",
    ),
    "a name of another library": (weights(lambda held: held.update({"lora.up": torch.ones(2)})), "not named as peft"),
    "a stranger's layer": (
        weights(lambda held: [held.update({k.replace("2.mlp", "9.mlp"): held.pop(k)}) for k in list(held)]),
        "layers.9.mlp.down_proj does not belong to the base",
    ),
    "NaN": (weights(lambda held: held.update({FIRST: held[FIRST] * float("nan")})), "q_proj.lora_A.weight holds NaN"),
    "infinity": (weights(lambda held: held[FIRST][0].fill_(float("inf"))), "infinite"),
    "another shape": (weights(lambda held: held.update({FIRST: torch.ones(4, 31)})), "another shape"),
    "a shard": (weights(lambda held: held.update({FIRST: torch.ones(0)})), "another shape"),
    "whole numbers": (weights(lambda held: held.update({FIRST: held[FIRST].to(torch.int8)})), "is I8"),
    "nothing": (weights(lambda held: held.clear()), "no tensors"),
    "a cut file": (
        lambda folder: (file := folder / "adapter_model.safetensors").write_bytes(file.read_bytes()[:-9]), "or cut"
    ),
    "a pickle": (
        lambda folder: (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin"), "save it again"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused(tmp_path: Path, base: Path, plain: Path, name: str) -> None:
    change, says = REFUSED[name]
    with pytest.raises(ConfigError) as told:
        read(base, plain, tmp_path / "adapter", change)
    assert says in str(told.value)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (keys(), ""),
        (keys(use_next_lora=None, next_config={}), "next_config is not known here, and switched off"),
        (keys(base_model_name_or_path="owner/Other-7B"), "trained on owner/Other-7B, by its own words"),
        (keys(base_model_name_or_path="somewhere/else/LLaMA/"), ""),
        (keys(revision="v2"), "revision v2"),
        (keys(target_modules=None), "names no target_modules"),
    ],
)
def test_what_can_not_be_known_is_told(
    tmp_path: Path, base: Path, plain: Path, change: Callable[[Path], Any], says: str
) -> None:
    made = read(base, plain, tmp_path / "adapter", change)
    assert len(made.changes) == 15
    assert says in "\n".join(made.notes)
    assert bool(made.notes) == bool(says)


def test_models_that_store_their_matrices_turned_are_refused(tmp_path: Path) -> None:
    """A square matrix would fit either way round."""
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=30))
    model.save_pretrained(tmp_path / "gpt2")
    folder = tmp_path / "adapter"
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["c_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    held = {f"base_model.model.transformer.h.0.attn.c_proj.lora_{side}.weight": torch.ones(2, 2) for side in "AB"}
    save_file(held, folder / "adapter_model.safetensors")
    with pytest.raises(ConfigError, match="stores its matrices turned"):
        adapters.read(folder, as_base(open_checkpoint(tmp_path / "gpt2")))


def served(base: Path, folder: Path, **args: str) -> Any:
    return Transformers(ModelSpec("transformers", str(base), {"adapter": str(folder), **args}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (keys(use_dora=True), "use_dora is set"),
        (keys(init_lora_weights="pissa_niter_4"), "PiSSA"),
        (keys(alora_invocation_tokens=[3]), "aLoRA"),
        (keys(layer_replication=[[0, 2]]), "layer_replication"),
        (keys(use_next_lora=1), "use_next_lora is not understood"),
    ],
)
def test_engines_refuse_what_they_would_not_put_on(
    tmp_path: Path, base: Path, plain: Path, change: Callable[[Path], Any], says: str
) -> None:
    read(base, plain, tmp_path / "adapter", lambda folder: None)
    change(tmp_path / "adapter")
    with pytest.raises(ConfigError, match=says):
        served(base, tmp_path / "adapter")


def test_engines_without_peft_take_plain_adapters_only(tmp_path: Path, base: Path, plain: Path) -> None:
    read(base, plain, tmp_path / "adapter", lambda folder: None)
    made = served(base, tmp_path / "adapter").model.adapter
    _adapters.check_plain(made)
    for change, says in ((keys(alpha_pattern={"q_proj": 2}), "alpha_pattern"), (keys(lora_bias=True), "lora_bias")):
        change(tmp_path / "adapter")
        with pytest.raises(ConfigError, match=says):
            _adapters.check_plain(made)
        keys(alpha_pattern={}, lora_bias=False)(tmp_path / "adapter")


def test_an_adapters_own_tokens_and_template_are_not_passed_over(tmp_path: Path, base: Path, plain: Path) -> None:
    folder = tmp_path / "adapter"
    read(base, plain, folder, lambda folder: None)
    (folder / "tokenizer.json").write_bytes((base / "tokenizer.json").read_bytes())
    served(base, folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(ConfigError, match="another chat template"):
        served(base, folder)
    served(base, folder, chat_template="no")
    held = json.loads((folder / "tokenizer.json").read_text())
    held["added_tokens"].append({"id": 386, "content": "<tool>"})
    (folder / "tokenizer.json").write_text(json.dumps(held))
    with pytest.raises(ConfigError, match=r"1 tokens that are not the model's \(386 is '<tool>'"):
        served(base, folder, chat_template="no")


def test_a_model_with_an_adapter_in_its_folder_is_refused(tmp_path: Path, plain: Path) -> None:
    """transformers would load the adapter's base, and not the model that lies there."""
    both = tiny_models.llama(tmp_path / "both")
    (both / "adapter_config.json").write_bytes((plain / "adapter_config.json").read_bytes())
    with pytest.raises(ConfigError, match="holds a model and an adapter"):
        Transformers(ModelSpec("transformers", str(both), {}))
