"""How a merge's result reaches the disk, and what is left where it doesn't."""

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from merging import family_of, read_model, write_model

from h3eval.cli import main
from h3eval.merge import shards

LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
from h3eval.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on file sizes here")
def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path) -> None:
    models = family_of(tmp_path)
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump({"method": "weight_average", "models": [str(path) for path in models]}))
    command = [sys.executable, "-c", LIMITED, "merge", str(config), "--out", str(tmp_path / "full")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 6, done.stderr
    assert "can't be written" in done.stderr
    assert not (tmp_path / "full").exists()
    assert not [each for each in tmp_path.iterdir() if "unfinished" in each.name]


FEW_FILES = """
import resource, sys
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, min(int(sys.argv[1]), most)))
from h3eval.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("most", [64, 1000])
def test_models_of_many_files_are_merged_where_few_may_be_open_at_first(tmp_path: Path, most: int) -> None:
    models = family_of(tmp_path, models=14)
    cut = [write_model(tmp_path / "cut" / path.name, read_model(path), shards=5) for path in models]
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump({"method": "weight_average", "models": [str(path) for path in cut]}))
    flags = [str(most), "merge", str(config), "--out", str(tmp_path / "many"), "--no-page"]
    done = subprocess.run([sys.executable, "-c", FEW_FILES, *flags], capture_output=True, text=True, check=False)
    if most == 64:
        assert done.returncode == 2
        assert done.stderr.endswith(".safetensors: can't be opened: Too many open files\n")
        return
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "many").glob("*.safetensors"))) == 5


def test_a_killed_merge_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    models = family_of(tmp_path, rows=400_000)
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump({"method": "weight_average", "models": [str(path) for path in models]}))
    process = subprocess.Popen([sys.executable, "-m", "h3eval.cli", "merge", str(config), "--out", str(tmp_path / "k")])
    while process.poll() is None and not any("unfinished" in each for each in os.listdir(tmp_path)):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "k").exists()
    assert not list(tmp_path.glob(".k.unfinished-*/config.json"))


def blocks(tmp_path: Path) -> list[Path]:
    """Models with a tensor of several spans, one of a few blocks, and one that is none."""
    shapes = {"model.embed_tokens.weight": (1100, 1024), "model.layers.0.up.weight": (64, 96), "model.norm": (7,)}
    source = torch.Generator().manual_seed(0)
    return [
        write_model(
            tmp_path / f"blocks{at}",
            {name: torch.randn(shape, generator=source).bfloat16() for name, shape in shapes.items()},
        )
        for at in range(3)
    ]


@pytest.fixture
def direct(tmp_path: Path) -> None:
    """Only where the file system can write past the cache."""
    (tmp_path / "probe").touch()
    probe = shards.open_direct(tmp_path / "probe")
    if probe is None:
        pytest.skip("this file system has no O_DIRECT")
    os.close(probe)


def merge(models: list[Path], method: str, out: Path) -> bytes:
    """Run the command; the result's file."""
    flags = ["--base", str(models[0]), *(flag for path in models[1:] for flag in ("--model", str(path)))]
    parameters = {"ties": "density=0.3", "task_arithmetic": "weight=0.4"}
    assert main(["merge", "--method", method, *flags, "--set", parameters[method], "--out", str(out), "--no-page"]) == 0
    return (out / "model.safetensors").read_bytes()


@pytest.mark.usefixtures("direct")
def test_whole_blocks_go_past_the_cache_and_nothing_else_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, sizes, write = blocks(tmp_path), [], shards.past_cache

    def watched(descriptor: int, view: memoryview, where: int) -> int:
        sizes.append(len(view))
        assert where % shards.BLOCK == 0
        return write(descriptor, view, where)

    monkeypatch.setattr(shards, "past_cache", watched)
    raw = merge(models, "task_arithmetic", tmp_path / "out")
    assert sum(sizes) == 2 * (1100 * 1024 + 64 * 96)
    assert (8 + int.from_bytes(raw[:8], "little")) % shards.BLOCK == 0
    monkeypatch.setattr(shards, "open_direct", lambda file: None)
    assert merge(models, "task_arithmetic", tmp_path / "plain") == raw


@pytest.mark.usefixtures("direct")
def test_a_device_that_refuses_such_blocks_is_written_to_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, write, refusals = blocks(tmp_path), os.pwrite, []
    raw = merge(models, "ties", tmp_path / "out")

    def refusing(descriptor: int, view: memoryview, where: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            refusals.append(where)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return write(descriptor, view[:1000], where)

    monkeypatch.setattr(os, "pwrite", refusing)
    assert merge(models, "ties", tmp_path / "again") == raw
    assert refusals
