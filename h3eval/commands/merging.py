"""`merge`: several checkpoints into one."""

import importlib
import os
import resource
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from h3eval.commands import modelpages
from h3eval.config import path_and_values, read_json
from h3eval.errors import ConfigError
from h3eval.terminal import PLAIN_EVERY_S, output, progress_console, say

# Tensors are merged side by side, each on one thread. OpenBLAS reads this when it is loaded, and its own threads would
# only spin beside ours.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
from h3eval.merge import engine, matrices, recipe, report
from h3eval.merge.plan import Plan, plan
from h3eval.merge.shards import Output, layout
from h3eval.untrusted import yamls

TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def merge(args: Namespace) -> int:
    """Merge as the recipe, or the flags, say."""
    allow_files()
    chosen = read(args)
    made = plan(chosen, folders(chosen))
    shard = size(args.shard_size) if args.shard_size else None
    if args.dry_run:
        show(made, shard)
        return 0
    if not args.out:
        raise ConfigError("--out: name the folder of the result")
    out, where = Path(args.out), device(made, args.device)
    check, checked = checker(made) if args.check else None, []
    with Output(out, made.jobs, shard) as writing:
        with progress(sum(job.bytes_in + job.bytes_out for job in made.jobs)) as step:
            result = engine.run(made, writing, args.threads or engine.cores(), report.files(made), step, where)
        told = report.warnings(made, result)
        text = report.report(made, result, told)
        files = {report.REPORT: report.text(text), report.CARD: report.card(made, text)}
        writing.finish(made.donor, config(made), files, lambda folder: checked.append(check(folder)) if check else None)
    for line in told:
        say(f"note: {line}")
    for line in checked:
        say(line)
    say(f"merged: {out}")
    if not args.no_page:
        say(f"report: {modelpages.write(out, 'merge').resolve()}")
    return 0


def checker(made: Plan) -> Callable[[Path], str]:
    """The check of a merge's result; what it needs is loaded before anything is merged. Raise ConfigError."""
    try:
        checking = importlib.import_module("h3eval.merge.checking")
    except ModuleNotFoundError as error:
        raise ConfigError(f"--check needs {error.name}: pip install 'h3eval[merge]'") from error
    return lambda folder: str(checking.check(folder, made))


def allow_files() -> None:
    """Have as many files open as the system lets this user: every weights file of every model is, until the end."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where there is no upper limit, some systems take no such number.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def device(made: Plan, asked: str) -> matrices.Where:
    """Where matrices are decomposed, for the methods that do. Raise ConfigError for a GPU that isn't there."""
    if asked == "cpu" or not made.recipe.chosen.method.whole:
        return matrices.here
    found: matrices.Where | None = importlib.import_module("h3eval.merge.gpu").device(asked)
    return found or matrices.here


def read(args: Namespace) -> recipe.Recipe:
    """The recipe of the command line. Raise ConfigError."""
    flags = {"--method": args.method, "--base": args.base, "--model": args.model, "--set": args.set}
    if args.config:
        if used := [flag for flag, value in flags.items() if value]:
            raise ConfigError(f"{used[0]}: the recipe {args.config} says this already; choose one")
        made = recipe.content(Path(args.config))
    else:
        if not args.method or not args.model:
            raise ConfigError("name a recipe (CONFIG.yaml), or --method and one --model for each model")
        made = {"method": args.method, "base": args.base, "models": [_model(text) for text in args.model]}
        made["parameters"] = dict(_pair(text, "--set") for text in args.set)
    over = {key: getattr(args, key) for key in ("seed", "dtype", "tokenizer", "embeddings", "allow")}
    with recipe.named(args.config or "command line"):
        return recipe.recipe({**made, **{key: value for key, value in over.items() if value is not None}})


def _model(text: str) -> dict[str, Any]:
    """PATH[,key=value...]."""
    path, pairs = path_and_values(text, f"--model {text}")
    return {"path": path, **{key: _value(value, f"--model {text}: {key}") for key, value in pairs.items()}}


def _pair(text: str, where: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign:
        raise ConfigError(f"{where}: {text!r} is not KEY=VALUE")
    return key.strip(), _value(value, where)


def _value(text: str, where: str) -> Any:
    try:
        return yamls.parsed(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def folders(chosen: recipe.Recipe) -> dict[str, Path]:
    """Where the recipe's models lie; those of the hub are downloaded."""
    names = {*chosen.paths, *([chosen.base] if chosen.base else [])}
    return {name: folder(name) for name in sorted(names)}


def folder(name: str) -> Path:
    """A model's folder. Raise ConfigError."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if "+" in name or "@" in name:
        raise ConfigError(
            f"model {name}: no such folder; model+adapter and model@revision are not read: name the adapter's folder "
            "as a model of its own, or download the revision first"
        )
    if path.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ConfigError(f"model {name}: no such folder, and not a hub id (owner/name)")
    download: Callable[[str], Path] = importlib.import_module("h3eval.merge.hub").download
    return download(name)


def config(made: Plan) -> dict[str, Any]:
    """The result's config.json: the reference's, with the number format asked for, and the donor's special tokens."""
    held = dict(made.reference.config)
    if made.donor != made.reference.folder:
        given = read_json(made.donor / "config.json")
        held |= {key: given[key] for key in TOKEN_IDS if key in given}
    if made.recipe.dtype:
        held["torch_dtype" if "torch_dtype" in held else "dtype"] = made.recipe.dtype
    return held


def size(text: str) -> int:
    """Bytes, of 5GB and the like. Raise ConfigError."""
    number, unit = text[:-2], text[-2:].upper()
    try:
        made = int(float(number) * UNITS[unit])
    except (KeyError, ValueError) as error:
        raise ConfigError(f"--shard-size: {text!r}: a number and KB, MB or GB, as in 5GB") from error
    if made <= 0:
        raise ConfigError(f"--shard-size: {text!r}: more than nothing is needed")
    return made


def show(made: Plan, shard: int | None) -> None:
    """What would be done."""
    console = output()
    for key, value in made.recipe.settings().items():
        console.print(f"{key}: {value}", markup=False)
    merged = [job for job in made.jobs if job.merged]
    console.print(f"tensors: {len(merged)} merged, {len(made.jobs) - len(merged)} copied")
    console.print(f"tokenizer and generation settings from {made.donor}", markup=False)
    read_, wrote = sum(job.bytes_in for job in made.jobs), sum(job.bytes_out for job in made.jobs)
    console.print(f"bytes: {read_ / 1e9:.2f} GB read in each pass, {wrote / 1e9:.2f} GB written")
    for name, jobs in layout(made.jobs, shard).items():
        console.print(f"{name}: {len(jobs)} tensors, {sum(job.bytes_out for job in jobs) / 1e9:.2f} GB")
    for line in made.notes:
        console.print(f"note: {line}", markup=False)


@contextmanager
def progress(total: int) -> Iterator[engine.Progress]:
    """Bytes done, bytes a second and time left: a bar at a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        with _lines(total) as step:
            yield step
        return
    columns = (TextColumn("merging"), BarColumn(bar_width=30), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=progress_console()) as bar:
        task = bar.add_task("merging", total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def _lines(total: int) -> Iterator[engine.Progress]:
    lock = threading.Lock()
    began = told = time.monotonic()
    done = 0

    def tell() -> None:
        rate = done / max(time.monotonic() - began, 1e-9)
        say(f"merging: {done / 1e9:.2f}/{total / 1e9:.2f} GB, {rate / 1e9:.2f} GB/s")

    def step(count: int) -> None:
        nonlocal done, told
        with lock:
            done += count
            if time.monotonic() - told >= PLAIN_EVERY_S:
                told = time.monotonic()
                tell()

    yield step
    tell()
