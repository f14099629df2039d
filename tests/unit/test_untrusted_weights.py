"""Model folders that lie: each is refused in one line before anything of it is believed."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from safetensors.torch import save_file

from h3eval import cli
from h3eval.errors import ConfigError
from h3eval.merge.checkpoints import read_header
from h3eval.untrusted.weights import BITS, check_sizes, header

Entry = dict[str, Any]


def written(folder: Path, head: object, body: bytes = b"") -> Path:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    file = folder / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return file


def tensor(begin: int, end: int, shape: object = None, dtype: str = "F32") -> Entry:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("head", "size", "says"),
    [
        ([1, 2], 0, "no JSON object"),
        (b"[" * 100_000, 0, "nested"),
        (b'{"a": 1', 0, "Expecting|delimiter"),
        (b'{"a": {}, "a": {}}', 0, "'a' comes twice"),
        (b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5_000 + b'], "data_offsets": [0, 4]}}', 4, "5000 digits"),
        ({"a": 3}, 0, "'a': 3 is no tensor's entry"),
        ({"a": {"dtype": "F32"}}, 0, "no tensor's entry"),
        ({"a": tensor(0, 16), "b": tensor(8, 24)}, 24, "'b' overlaps"),
        ({"a": tensor(0, 8), "b": tensor(16, 24)}, 24, "'b' leaves bytes"),
        ({"a": tensor(0, 16, [1 << 40, 1 << 40])}, 16, "does not fill 16 bytes"),
        ({"a": tensor(0, 16, [-2, -2])}, 16, "can't be"),
        ({"a": tensor(0, 16, [4.0])}, 16, "can't be"),
        ({"a": tensor(0, 16, [True, 4])}, 16, "can't be"),
        ({"a": tensor(16, 0, [4])}, 16, "does not fill"),
        ({"a": tensor(0, 4, [1] * 100)}, 4, "can't be"),
        ({"a": tensor(0, 16, dtype="F31")}, 16, "unknown kind 'F31'"),
        ({"a": tensor(0, 16, [1, 2], "F32")}, 16, "does not fill"),
        ({"a": tensor(0, 16)}, 15, "the file was cut"),
        ({"a": tensor(0, 16)}, 17, "1 bytes follow"),
    ],
)
def test_headers_that_lie(tmp_path: Path, head: object, size: int, says: str) -> None:
    file = written(tmp_path, head, bytes(size))
    for read in (header, read_header):
        with pytest.raises(ConfigError, match=says) as caught:
            read(file)
        assert len(str(caught.value)) < 500 + len(str(file))


@pytest.mark.parametrize(
    "start", [b"", b"1234567", struct.pack("<Q", 1 << 40), struct.pack("<q", -1), struct.pack("<Q", 10) + b"{}"]
)
def test_lengths_that_lie(tmp_path: Path, start: bytes) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(start)
    with pytest.raises(ConfigError, match="not a safetensors file"):
        header(file)


def test_headers_that_the_library_writes(tmp_path: Path) -> None:
    made = {"a": torch.zeros(3, 4), "b": torch.zeros(0, 5), "c": torch.zeros((), dtype=torch.float8_e4m3fn)}
    save_file({**made, "d": torch.zeros(7, dtype=torch.bool)}, tmp_path / "x.safetensors", {"format": "pt"})
    found = header(tmp_path / "x.safetensors")
    assert {entry.name: entry.shape for entry in found.entries} == {"a": (3, 4), "b": (0, 5), "c": (), "d": (7,)}
    assert all((entry.end - entry.begin) * 8 >= 0 and entry.dtype in BITS for entry in found.entries)


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": -5},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 2.0},
        {"num_hidden_layers": "2"},
        {"n_layer": True},
        {"text_config": {"num_hidden_layers": 10**9}},
        {"num_experts": -1},
        {"num_local_experts": 10**6},
        {"vocab_size": 1 << 40},
        {"hidden_size": 1 << 30},
        {"num_attention_heads": 0},
        {"num_hidden_layers": 5_000},
    ],
)
def test_sizes_that_no_model_has(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="X: "):
        check_sizes("X", config, tensors=20)


def test_sizes_of_real_models() -> None:
    llama = {"num_hidden_layers": 126, "hidden_size": 16384, "vocab_size": 128256, "num_attention_heads": 128}
    check_sizes("X", llama, 1_138)
    mixture = {"num_hidden_layers": 61, "n_routed_experts": 384, "intermediate_size": 18432, "num_experts": 0}
    check_sizes("X", {**mixture, "intermediate_size": [1, 2], "head_dim": None}, 10_000)


def config(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return change


def file(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (config(num_hidden_layers=4), "its files lack 9 of the weights"),
        (config(architectures=["LlamaForCausalLM", 5]), "expected a list of names"),
        (config(hidden_size=64), "model m:"),
        (file("tokenizer.json", "[" * 100_000), "tokenizer"),
        (file("tokenizer.json", "{}"), "tokenizer"),
        (file("tokenizer_config.json", "[" * 100_000), "nested"),
        (file("generation_config.json", "[" * 100_000), "nested"),
        (file("config.json", '{"a": 1, "a": 2}'), "comes twice"),
        (file("model.safetensors.index.json", '{"weight_map": {"a": "../x.safetensors"}}'), "lies outside"),
        (file("model.safetensors.index.json", '{"weight_map": {"a": "gone.safetensors"}}'), "is missing"),
    ],
)
def test_folders_that_are_no_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], None], says: str
) -> None:
    folder = tiny_models.llama(tmp_path / "m")
    change(folder)
    asked = [
        "--tasks",
        "or_bench",
        "--data",
        "demo",
        "--limit",
        "1",
        "--backend",
        "transformers",
        "--format",
        "results",
    ]
    assert cli.main(["generate", "--model", str(folder), *asked, "--out", str(tmp_path / "run")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("h3eval: ")]
    assert len(lines) == 1
    assert says in lines[0]
