"""`h3eval fuse activation`: whom a fused model's router asks for a run's prompts; the run's report shows it."""

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from h3eval.backends._weights import weights_digest
from h3eval.commands import modelpages, stored
from h3eval.config import read_json
from h3eval.errors import ConfigError, UsageError
from h3eval.fusion.watching import Prompt, activation
from h3eval.scoring import score
from h3eval.store import Reader
from h3eval.terminal import say
from h3eval.types import Run

MOST = 200
"""Prompts a task, evenly spread."""


def activate(folder: Path, args: Namespace) -> int:
    """Measure, write activation.json into the run's folder, and its report again."""
    if not args.run:
        raise UsageError("h3eval fuse activation: --run is missing: a run of this model")
    if modelpages.kind_of(folder) != "fusion":
        raise ConfigError(f"{folder}: no fusion_report.json: not a model that h3eval fuse has made")
    made = read_json(folder / modelpages.SOURCES["fusion"])
    if "routing" not in made and "construction" not in made:
        raise ConfigError(f"{folder}: has no router: only h3fusion and mocae have")
    place = Path(args.run)
    with Reader(place) as reader:
        run = score(reader)
        weights = weights_digest(folder)
        if run.manifest["model"]["identity"].get("weights") != weights:
            raise ConfigError(f"--run {place}: its answers are not of {folder}, or that has changed since")
        prompts = list(asked(run))
        say(f"watching the router on {len(prompts)} prompts")
        found = activation(folder, prompts, made["experts"])
        content = {"schema": 1, "weights": weights, "experts": made["experts"], **found, "cost": made.get("cost", {})}
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        (place / stored.ACTIVATION).write_text(text, encoding="utf-8")
        files = stored.written_by(stored.MAIN_REPORT, stored.with_activation(run, place), place)
    say(f"report: {files[0].resolve()}")
    return 0


def asked(run: Run) -> Iterator[tuple[Prompt, str, str]]:
    """Up to `MOST` of each task's prompts, with dimension and task."""
    for result in run.results:
        step = max(1, -(-result.n_samples // MOST))
        for place, item in enumerate(result.items()):
            prompt: Any = item.sample.prompt
            if place % step == 0 and prompt:
                words = prompt if isinstance(prompt, str) else [_turn(turn) for turn in prompt]
                yield words, result.dimension, f"{result.task}/{result.protocol}"


def _turn(turn: Mapping[str, Any]) -> dict[str, str]:
    return {"role": str(turn["role"]), "content": str(turn["content"])}
