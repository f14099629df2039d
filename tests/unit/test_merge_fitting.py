"""Models of a merge that differ beside their weights: refused by name, or told in report, card, page and terminal."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from merging import read_model
from safetensors.torch import save_file

from h3eval.checkpoints import tokenizers
from h3eval.checkpoints.tokenizers import Model
from h3eval.cli import main

Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("fitting") / "base", template=True)


def edited(name: str, **values: Any) -> Change:
    """Set keys of a JSON file; None takes one away."""

    def change(folder: Path) -> None:
        file = folder / name
        held = {**(json.loads(file.read_text()) if file.exists() else {}), **values}
        file.write_text(json.dumps({key: value for key, value in held.items() if value is not None}))

    return change


def config(**values: Any) -> Change:
    return edited("config.json", **values)


def tensors(**values: torch.Tensor) -> Change:
    def change(folder: Path) -> None:
        save_file({**read_model(folder), **values}, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def turned_tokens(folder: Path) -> None:
    """Two tokens change places: as many tokens, other numbers."""
    file = folder / "tokenizer.json"
    held = json.loads(file.read_text())
    vocabulary = held["model"]["vocab"]
    one, other = list(vocabulary)[300:302]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    file.write_text(json.dumps(held))


def core(change: Callable[[Any], Any]) -> Change:
    """Change tokenizer.json in place."""

    def made(folder: Path) -> None:
        file = folder / "tokenizer.json"
        held = json.loads(file.read_text())
        change(held)
        file.write_text(json.dumps(held))

    return made


def merged(base: Path, tmp: Path, change: Change, *flags: str, with_base: bool = True) -> tuple[int, Path]:
    """Merge the base's variant `b`, in which something was changed."""
    variant = tmp / "b"
    shutil.copytree(base, variant)
    moved = {name: value + 0.01 * torch.randn(value.shape) for name, value in read_model(variant).items()}
    save_file(moved, variant / "model.safetensors", metadata={"format": "pt"})
    change(variant)
    method = ["--method", "task_arithmetic", "--base", str(base)] if with_base else ["--method", "rewarded_soup"]
    models = [variant] if with_base else [base, variant]
    named = [flag for each in models for flag in ("--model", f"{each},weight=0.5")]
    return main(["merge", *method, *named, "--out", str(tmp / "out"), "--no-page", *flags]), tmp / "out"


def warnings(out: Path) -> list[str]:
    told: list[str] = json.loads((out / "merge_report.json").read_text())["warnings"]
    return told


THETA = {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}
REFUSED: dict[str, tuple[Change, str]] = {
    "rotary base": (config(**THETA), "rope_parameters.rope_theta is 500000.0 in b, and 10000.0 in base"),
    "rotary base, as once written": (config(rope_parameters=None, rope_theta=5e5), "rope_theta is 500000.0 in b"),
    "scaling": (
        config(rope_parameters=None, rope_theta=1e4, rope_scaling={"type": "dynamic", "factor": 2.0}),
        "dynamic",
    ),
    "epsilon": (config(rms_norm_eps=1e-5), "rms_norm_eps is 1e-05 in b, and 1e-06 in base"),
    "activation": (config(hidden_act="gelu"), "hidden_act is 'gelu'"),
    "window": (config(sliding_window=16), "sliding_window is 16 in b, and not given in base"),
    "heads": (config(num_attention_heads=8, head_dim=4), "num_attention_heads is 8 in b"),
    "kind": (config(model_type="mistral"), "model_type is 'mistral' in b"),
    "a class's own default": (config(num_key_value_heads=None), "num_key_value_heads is 4 in b, and 2 in base"),
    "quantised": (
        config(quantization_config={"quant_method": "gptq", "bits": 4}),
        "quantization_config in config.json",
    ),
    "packed": (tensors(**{"model.layers.0.mlp.up_proj.weight": torch.zeros(64, 4, dtype=torch.int32)}), "is I32"),
    "scales": (tensors(**{"model.layers.0.mlp.up_proj.weight_scale": torch.ones(1)}), "quantised weights"),
    "tokens": (turned_tokens, "2 token ids mean other tokens in base and in b: 300 is"),
    "an adapter beside it": (edited("adapter_config.json", r=4), "holds an adapter (adapter_config.json) and a model"),
}
TOLD: dict[str, tuple[Change, str]] = {
    "length": (config(max_position_embeddings=512), "max_position_embeddings is 512 in b, and 256 in base"),
    "labels": (config(id2label={"0": "safe", "1": "unsafe"}), "id2label.0 is 'safe' in b"),
    "a key nobody knows": (config(fancy=3), "config.json: fancy is 3 in b, and not given in base"),
    "code": (config(auto_map={"AutoConfig": "a.B"}), "auto_map.AutoConfig"),
    "an end in config.json alone": (config(eos_token_id=[1, 4]), "config.json: eos_token_id: [1] in base"),
    "ends": (edited("generation_config.json", eos_token_id=[1, 4]), "end tokens: 1 '</s>' in base, as in the result"),
    "sampling": (
        edited("generation_config.json", temperature=0.6),
        "generation_config.json: temperature: none in base",
    ),
    "no template": (lambda folder: (folder / "chat_template.jinja").unlink(), "none in b (--tokenizer b takes"),
    "template": (lambda folder: (folder / "chat_template.jinja").write_text("{{ x }}"), "chat template: one of"),
    "end token": (edited("tokenizer_config.json", eos_token="<end>"), 'eos_token: "</s>" in base'),
    "more special tokens": (edited("tokenizer_config.json", extra_special_tokens=["<turn>"]), "special tokens: others"),
    "padding": (
        edited("tokenizer_config.json", padding_side="left"),
        'padding_side: none in base, as in the result; "left"',
    ),
    "normaliser": (core(lambda held: held.update(normalizer={"type": "NFC"})), "tokenizer.json: normalizer: none"),
    "merges": (core(lambda held: held["model"]["merges"].reverse()), "tokenizer.json: merges"),
    "a token more": (
        core(lambda held: held["added_tokens"].append({"id": 386, "content": "<tool>"})),
        "1 tokens of b are none of base",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "whether token ids mean the same"),
    "tied": (config(tie_word_embeddings=True), "head: b has no head of its own"),
}
SILENT: dict[str, Change] = {
    "nothing": lambda folder: None,
    "rotary settings as once written": config(rope_parameters=None, rope_theta=1e4),
    "rotary settings left out": config(rope_parameters=None),
    "how it was trained": config(attention_dropout=0.1, initializer_range=0.1, use_cache=False),
    "the template in its other place": lambda folder: (
        edited("tokenizer_config.json", chat_template=(folder / "chat_template.jinja").read_text())(folder),
        (folder / "chat_template.jinja").unlink(),
    ),
    "padding of a batch": core(lambda held: held.update(padding={"strategy": "BatchLongest"}, truncation=None)),
    "merges in their other form": core(
        lambda held: held["model"].update(merges=[" ".join(each) for each in held["model"]["merges"]])
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_changes_the_result_is_refused(
    tmp_path: Path, base: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, says = REFUSED[name]
    code, out = merged(base, tmp_path, change)
    told = capsys.readouterr().err
    assert code == 2
    assert says in told
    assert len(told.strip().splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize("name", TOLD)
def test_what_may_change_it_is_told_everywhere(
    tmp_path: Path, base: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, says = TOLD[name]
    code, out = merged(base, tmp_path, change)
    told = capsys.readouterr().err
    assert code == 0
    found = [line for line in warnings(out) if says in line]
    assert found
    assert f"- Note: {found[0]}" in (out / "README.md").read_text()
    # Before the result's path: a reader stops there.
    assert told.index(f"note: {found[0]}") < told.index("merged: ")


@pytest.mark.parametrize("name", SILENT)
def test_what_is_the_same_is_not_told(tmp_path: Path, base: Path, name: str) -> None:
    code, out = merged(base, tmp_path, SILENT[name])
    assert (code, warnings(out)) == (0, [])


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        (config(**THETA), ["--allow", "rope_parameters"]),
        (config(rms_norm_eps=1e-5), ["--allow", "rms_norm_eps"]),
        (turned_tokens, ["--allow", "vocabulary"]),
        (turned_tokens, ["--embeddings", "base"]),
    ],
)
def test_what_is_allowed_is_told(tmp_path: Path, base: Path, change: Change, flags: list[str]) -> None:
    code, out = merged(base, tmp_path, change, *flags)
    assert code == 0
    assert len(warnings(out)) == 1


def test_averages_are_checked_too(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = merged(base, tmp_path, turned_tokens, with_base=False)
    assert code == 2
    assert "300 is 'Ġthe'" in capsys.readouterr().err


def test_the_donors_ends_are_in_both_files(tmp_path: Path, base: Path) -> None:
    def change(folder: Path) -> None:
        config(eos_token_id=[1, 4])(folder)
        edited("generation_config.json", eos_token_id=[1, 4])(folder)

    code, out = merged(base, tmp_path, change, "--tokenizer", "b")
    assert code == 0
    for name in ("config.json", "generation_config.json"):
        assert json.loads((out / name).read_text())["eos_token_id"] == [1, 4]


def test_the_page_shows_what_is_told(tmp_path: Path, base: Path) -> None:
    code, out = merged(base, tmp_path, lambda folder: (folder / "chat_template.jinja").unlink())
    assert code == 0
    assert main(["report", str(out)]) == 0
    page = (out / "merge_report.html").read_text()
    assert "Read this first" in page
    assert "chat template: one of" in page


def test_a_head_is_not_lost_in_a_tied_model(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tied = tmp_path / "tied"
    shutil.copytree(base, tied)
    held = read_model(tied)
    del held["lm_head.weight"]
    save_file(held, tied / "model.safetensors", metadata={"format": "pt"})
    config(tie_word_embeddings=True)(tied)
    code, _ = merged(tied, tmp_path, lambda folder: (shutil.rmtree(folder), shutil.copytree(base, folder)))
    assert code == 2
    assert "b has a head of its own (lm_head.weight)" in capsys.readouterr().err


def test_a_stored_head_that_nobody_reads_is_not_merged(tmp_path: Path, base: Path) -> None:
    """transformers reads the embeddings where the configuration ties them, whatever else is stored."""
    code, out = merged(base, tmp_path, config(tie_word_embeddings=True))
    assert code == 0
    start, variant = read_model(base), read_model(tmp_path / "b")
    wanted = (start["lm_head.weight"] + variant["model.embed_tokens.weight"]) / 2
    torch.testing.assert_close(read_model(out)["lm_head.weight"], wanted, rtol=1e-6, atol=1e-6)


def test_sentencepiece_vocabularies_are_read(tmp_path: Path) -> None:
    """Field 1 of each message in field 1: a piece; field 2, its score, and later fields are passed over."""

    def made(pieces: list[str]) -> bytes:
        inner = [
            b"\x0a" + bytes([len(text := piece.encode())]) + text + b"\x15\x00\x00\x80\xbf\x18\x01" for piece in pieces
        ]
        return b"".join(b"\x0a" + bytes([len(each)]) + each for each in inner) + b"\x12\x02\x08\x01"

    (tmp_path / "tokenizer.model").write_bytes(made(["<unk>", "▁the", "é"]))
    assert tokenizers.read(Model("a", tmp_path, {})).tokens == {0: "<unk>", 1: "▁the", 2: "é"}
    (tmp_path / "tokenizer.model").write_bytes(made(["<unk>", "▁the"])[:-7])
    read = tokenizers.read(Model("a", tmp_path, {}))
    assert read.tokens == {}
    assert read.present
