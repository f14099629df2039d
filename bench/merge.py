"""h3eval merge against mergekit: whole processes on the same three variants of a model, in turn, with a warm cache.

python bench/merge.py [--methods ties,linear] [--runs 2] [--model FOLDER] [--work FOLDER] [--large GB]

h3eval writes no page in these runs, as mergekit writes none; `page s` is what its page takes in addition. The inputs'
SHA-256 are known from the run that is not counted, unless --hash forgets them; mergekit takes none.

mergekit is not a dependency (LGPL): install it beside h3eval (0.1.5) for the comparison. `private` is the
peak of memory that belongs to the process alone; mergekit's resident peak also counts the pages of its mapped inputs.
"""

import argparse
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import yaml
from _measure import bytecode, h3eval, table
from safetensors.torch import load_file, save_file

from h3eval.backends import _demo
from h3eval.merge import tsvm

NOISE = 5e-4
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("rewarded_soup", {"weight": 0.5}),
    "task_arithmetic": ("task_arithmetic", {"weight": 0.5}),
    "model_stock": ("model_stock", {}),
    "dare_ties": ("dare_ties", {"weight": 0.5, "density": 0.3}),
    "ties": ("ties", {"weight": 0.5, "density": 0.2}),
    "breadcrumbs": ("breadcrumbs", {"weight": 0.5, "density": 0.85, "gamma": 0.01}),
    "della": ("della_ties", {"weight": 0.5, "density": 0.3, "epsilon": 0.14}),
}
"""mergekit's name, h3eval's, and parameters that both understand."""


@dataclass(frozen=True)
class Spent:
    """One process."""

    wall_s: float
    cpu_s: float
    resident_mb: float
    private_mb: float


def spend(command: list[str], work: Path) -> Spent:
    """Run to the end; private memory is sampled every 20 ms."""
    # What the last process has left to be written is not this one's.
    os.sync()
    began, private = time.perf_counter(), 0.0
    with tempfile.TemporaryFile() as log:
        own = {**bytecode(work), "XDG_CACHE_HOME": str(work / "cache")}
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | own)
        while True:
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            private = max(private, _anonymous_mb(process.pid))
            time.sleep(0.02)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{log.read().decode()[-2000:]}")
    return Spent(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, private)


def _anonymous_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def variants(model: Path, work: Path) -> tuple[Path, list[Path]]:
    """The base and three copies of it with a little noise."""
    base = work / "base"
    if not base.exists():
        shutil.copytree(model, base)
    weights = load_file(base / "model.safetensors")
    made = []
    for seed in (1, 2, 3):
        folder = work / f"variant{seed}"
        made.append(folder)
        if folder.exists():
            continue
        source = torch.Generator().manual_seed(seed)
        noisy = {
            name: (value.float() + NOISE * torch.randn(value.shape, generator=source)).to(value.dtype)
            for name, value in weights.items()
        }
        shutil.copytree(base, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        save_file(noisy, folder / "model.safetensors", metadata={"format": "pt"})
    return base, made


def configs(theirs: str, base: Path, models: list[Path], work: Path) -> tuple[list[str], list[str]]:
    """The two commands."""
    ours, parameters = METHODS[theirs]
    mine = {"method": ours, "base": str(base), "models": [str(path) for path in models], "parameters": parameters}
    own = dict(parameters)
    other: dict[str, Any] = {"merge_method": theirs, "models": [{"model": str(m), "parameters": own} for m in models]}
    if theirs != "linear":
        other["base_model"] = str(base)
    (work / "ours.yaml").write_text(yaml.safe_dump(mine))
    (work / "theirs.yaml").write_text(yaml.safe_dump(other))
    mergekit = [str(Path(sys.executable).with_name("mergekit-yaml")), str(work / "theirs.yaml"), str(work / "out")]
    return h3eval("merge", str(work / "ours.yaml"), "--no-page", "--out", str(work / "out")), mergekit


def read_rate(files: list[Path]) -> float:
    """Bytes a second at which the warm inputs are read, in blocks of 4 MB."""
    block, began, total = bytearray(1 << 22), time.perf_counter(), 0
    for file in files:
        with file.open("rb", buffering=0) as opened:
            while got := opened.readinto(block):
                total += got
    return total / (time.perf_counter() - began)


def write_rate(file: Path, size: int) -> float:
    """Bytes a second at which the result can be written, past the system's cache, and made durable."""
    block = mmap.mmap(-1, 1 << 22)
    began = time.perf_counter()
    opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    os.posix_fallocate(opened, 0, size)
    for _ in range(size // len(block)):
        os.write(opened, block)
    os.fsync(opened)
    spent = time.perf_counter() - began
    os.close(opened)
    file.unlink()
    return size / spent


def compare(args: argparse.Namespace, work: Path) -> None:
    """The table of whole processes."""
    base, models = variants(args.model, work)
    files = [folder / "model.safetensors" for folder in (base, *models)]
    sizes = [file.stat().st_size for file in files]
    read_rate(files)
    limit = sum(sizes) / read_rate(files) + sizes[0] / write_rate(work / "probe", sizes[0])
    rows = [["method", "h3eval s", "mergekit s", "faster", "page s", "h3eval cpu s", "mergekit cpu s",
             "h3eval private MB", "mergekit private MB", "mergekit resident MB", "limit s",
             "h3eval / limit"]]  # fmt: skip
    for theirs in args.methods.split(","):
        ours, other = configs(theirs, base, models, work)
        mine: list[Spent] = []
        others: list[Spent] = []
        pages: list[float] = []
        for turn in range(args.runs + 1):
            for command, into in ((ours, mine), (other, others)):
                shutil.rmtree(work / "out", ignore_errors=True)
                # A first run compiles, once for a machine, and is not counted; theirs compiles nothing but imports.
                if args.hash:
                    shutil.rmtree(work / "cache", ignore_errors=True)
                if turn or into is mine or len(rows) == 1:
                    into.append(spend(command, work))
                if into is mine:
                    pages.append(spend(h3eval("report", str(work / "out")), work).wall_s)
        rows.append(_row(theirs, mine[1:], others[-args.runs :], median(pages[1:]), limit))
        print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    table(rows)


def _row(name: str, mine: list[Spent], others: list[Spent], page: float, limit: float) -> list[str]:
    ours, theirs = median(each.wall_s for each in mine), median(each.wall_s for each in others)
    return [
        name, f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.1f}x", f"{page:.2f}",
        f"{median(each.cpu_s for each in mine):.1f}",
        f"{median(each.cpu_s for each in others):.1f}", f"{max(each.private_mb for each in mine):.0f}",
        f"{max(each.private_mb for each in others):.0f}", f"{max(each.resident_mb for each in others):.0f}",
        f"{limit:.2f}", f"{ours / limit:.1f}x",
    ]  # fmt: skip


def by_decomposition(changes: torch.Tensor) -> torch.Tensor:
    """TSVM as published tools compute it: a decomposition for each model, and one for each polar factor."""
    count = min(changes.shape[1:]) // len(changes)
    parts = [torch.linalg.svd(change, full_matrices=False) for change in changes]
    left, _, turned = torch.linalg.svd(torch.cat([u[:, :count] for u, _, _ in parts], 1), full_matrices=False)
    under, _, right = torch.linalg.svd(torch.cat([v[:count] for _, _, v in parts], 0), full_matrices=False)
    values = torch.cat([s[:count] for _, s, _ in parts])
    return (left @ turned) * values @ (under @ right)


def singular(runs: int) -> None:
    """The table of TSVM, layer by layer, on one thread."""
    torch.set_num_threads(1)
    rows = [["layer", "models", "h3eval s", "decompositions s", "faster", "h3eval error", "decompositions error"]]
    for models, height, width in ((3, 640, 2048), (3, 1024, 640), (5, 640, 2048)):
        source = torch.Generator().manual_seed(0)
        low = torch.randn(models, height, 16, generator=source) @ torch.randn(models, 16, width, generator=source)
        changes = 1e-3 * (low / 4 + torch.randn(models, height, width, generator=source))
        exact = by_decomposition(changes.double())
        ours, mine = _best(lambda changes=changes: torch.from_numpy(tsvm.merge(changes.numpy())), runs)
        theirs, other = _best(lambda changes=changes: by_decomposition(changes), runs)
        errors = [float((made.double() - exact).norm() / exact.norm()) for made in (mine, other)]
        rows.append([f"{height}x{width}", str(models), f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.1f}x",
                     *(f"{error:.0e}" for error in errors)])  # fmt: skip
    table(rows)


def _best(function: Any, runs: int) -> tuple[float, torch.Tensor]:
    spent = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        made = function()
        spent.append(time.perf_counter() - began)
    return min(spent), made


def large(work: Path, gigabytes: float) -> None:
    """A merge of models that are far larger than the memory it may take."""
    layers = max(1, int(gigabytes * 1e9 / (4 * 2 * 8192 * 8192)))
    folders = [work / f"large{at}" for at in range(4)]
    for at, folder in enumerate(folders):
        folder.mkdir()
        (folder / "config.json").write_text('{"tie_word_embeddings": false}')
        source = np.random.default_rng(at)
        layer = torch.from_numpy(source.integers(0, 2**14, (8192, 8192), dtype=np.int16)).view(torch.bfloat16)
        save_file({f"layers.{n}.weight": layer.clone() for n in range(layers)}, folder / "model.safetensors")
    command = h3eval("merge", "--method", "dare_ties", "--base", str(folders[0]), "--set", "density=0.3")
    command += [flag for folder in folders[1:] for flag in ("--model", str(folder))]
    spent = spend([*command, "--out", str(work / "out-large")], work)
    total = 4 * layers * 2 * 8192 * 8192 / 1e9
    head = ["inputs GB", "wall s", "GB/s", "private MB"]
    table([head, [f"{total:.1f}", f"{spent.wall_s:.1f}", f"{total / spent.wall_s:.2f}", f"{spent.private_mb:.0f}"]])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--model", type=Path, help="default: the demo model")
    parser.add_argument("--work", type=Path, help="a folder with room (default: a temporary one)")
    parser.add_argument("--hash", action="store_true", help="have h3eval hash its inputs anew each time")
    parser.add_argument("--large", type=float, metavar="GB", help="also merge synthetic models of so many GB together")
    args = parser.parse_args()
    args.model = args.model or Path(_demo.folder("demo:base"))
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        if args.methods != "none":
            compare(args, Path(work))
        print()
        singular(args.runs)
        if args.large:
            print()
            large(Path(work), args.large)


if __name__ == "__main__":
    main()
