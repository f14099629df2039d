"""From a configuration to a servable folder: construct, train, measure, write. Each stage leaves a folder, so that an
interrupted fusion goes on where it stopped."""

import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from h3eval.config import read_json
from h3eval.errors import ConfigError, H3evalError
from h3eval.fusion import checking, routing, serving, training
from h3eval.fusion.architectures import chosen_format, understood
from h3eval.fusion.checkpoints import Checkpoint, copy_tokenizer, digest, write_json
from h3eval.fusion.construction import CODE, Built, base_of, construct, form, parts
from h3eval.fusion.folders import REPORT, moved_in, working
from h3eval.fusion.modeling_mixture import mixtures
from h3eval.fusion.progress import Progress
from h3eval.fusion.report import card
from h3eval.fusion.rows import Encoder, Row, encoded, rows, split
from h3eval.fusion.settings import Settings

Tell = Callable[[str], None]


@dataclass
class Costs:
    """Seconds by stage, and the most memory that was resident."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 3)

    def table(self) -> dict[str, Any]:
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {"seconds": self.seconds, "peak_resident_bytes": resident, "peak_device_bytes": peak}


def fuse(asked: Settings, out: Path, tell: Tell, keep: bool = False) -> dict[str, Any]:
    """Make the fused model in `out`; its report. Goes on with what an interrupted call of the same settings left.

    Raise ConfigError where the folder holds another fusion, or the experts don't belong together.
    """
    with working(out, asdict(asked)) as before:
        if before:
            tell(f"{out}: finished before; nothing to do")
            return before
        return _fused(asked, out, tell, keep)


def _fused(asked: Settings, out: Path, tell: Tell, keep: bool) -> dict[str, Any]:
    costs, work = Costs(), out / "work"
    report: dict[str, Any] = {"method": asked.method, "settings": asdict(asked), "experts": list(asked.experts)}
    _check_serving(asked)
    report["warnings"] = parts(asked).notes
    for line in report["warnings"]:
        tell(f"note: {line}")
    read = [row for source in asked.data for row in rows(source)]
    with costs.stage("construct"):
        report["construction"] = _constructed(asked, work / "construction", tell)
    made = work / "construction"
    if read:
        with costs.stage("check"):
            checking.check_construction(asked, made, training.device_of(asked.training))
        train_rows, kept = split(read, asked.training.heldout, asked.training.seed)
        report["data"] = {"training_rows": len(train_rows), "heldout_rows": len(kept), "files": _files(asked)}
        with costs.stage("train"):
            report["training"] = _trained(asked, work, train_rows, tell)
        made = work / "trained"
        with costs.stage("measure"):
            report["routing"] = _measured(asked, made, kept, tell)
    else:
        tell("no data: the router keeps its random start, which no expert's name means anything to")
        report["training"] = {"note": "untrained: the router is random"}
    with costs.stage("write"):
        report["serving"] = _served(asked, work, made, out, tell)
    with costs.stage("digest"):
        report["inputs"] = _inputs(asked)
        report["sha256"] = digest(Checkpoint(out))
    report["cost"] = costs.table()
    card(out / "README.md", report)
    write_json(out / REPORT, report)
    if not keep:
        shutil.rmtree(work)
    return report


def _check_serving(asked: Settings) -> None:
    """Raise ConfigError for what could not be written, before anything is computed."""
    base = understood(Checkpoint(Path(asked.base)))
    made = form(asked)
    table = made.table()
    if asked.method == "mocae" and asked.construction.gamma == "similarity":
        # The weights aren't known yet, but it would be chance if they were equal.
        table["gamma"] = [float(place + 1) for place in range(made.experts)]
    chosen_format(asked.serve.format, base.config, table)
    if asked.serve.adapters and not (made.shared and made.rank):
        raise ConfigError("serve.adapters: only experts that share one base (mocae with task vectors) are adapters")


def _constructed(asked: Settings, folder: Path, tell: Tell) -> dict[str, Any]:
    # The configuration is written last: where it is, the construction is whole.
    if (folder / "config.json").is_file() and (folder / "built.json").is_file():
        return read_json(folder / "built.json")
    tell(f"constructing {asked.method} of {len(asked.experts)} experts")
    made: Built = construct(asked, folder)
    kept = {name: {"least": min(each), "mean": sum(each) / len(each)} for name, each in made.kept.items() if each}
    facts = {"form": made.form.table(), "task_vector_energy_kept": kept}
    write_json(folder / "built.json", facts)
    return facts


def _trained(asked: Settings, work: Path, found: list[Row], tell: Tell) -> dict[str, Any]:
    how, source = asked.training, Checkpoint(work / "construction")
    if (work / "trained" / "training.json").is_file():
        return read_json(work / "trained" / "training.json")
    tokenizer = AutoTokenizer.from_pretrained(asked.base)
    encoder = Encoder(tokenizer, asked.template, how.max_length, list(asked.experts))
    model = training.loaded(source.folder, how)
    data = encoded(found, encoder)
    tell(f"training {how.what} on {len(data)} rows, on {training.device_of(how).type}")
    code = asked.construction.compat == "h3fusion_code"
    made = training.train(model, data, how, work / "checkpoints", _pad(tokenizer), Progress(tell), code)
    training.save(model, source, work / "trained")
    facts = {
        "history": made.history,
        "parameters": made.parameters,
        "trained_parameters": made.trained,
        "predicted_bytes": asdict(made.need),
        "drift": dict(zip(asked.experts, made.drift, strict=True)),
        "skipped_rows": len(found) - len(data),
    }
    write_json(work / "trained" / "training.json", facts)
    return facts


def _measured(asked: Settings, folder: Path, kept: list[Row], tell: Tell) -> dict[str, Any]:
    """Routing on held-out rows, after fitting the temperature where that was asked for."""
    how, names = asked.training, list(asked.experts)
    if not kept:
        return {"note": "no held-out rows: set training.heldout above 0"}
    tokenizer = AutoTokenizer.from_pretrained(asked.base)
    encoder = Encoder(tokenizer, asked.template, how.max_length, names)
    model = training.loaded(folder, how).to(training.device_of(how))
    fit, rest = (kept[::2], kept[1::2]) if how.calibrate and len(kept) > 1 else ([], kept)
    facts: dict[str, Any] = {}
    if fit:
        facts["temperature"] = _fitted(model, folder, encoder, fit, how.batch)
    seen = routing.observe(model, [encoder(row) for row in rest], _pad(tokenizer), how.batch)
    places = [names.index(row.expert) for row in rest]
    facts["calibration"] = routing.calibration(seen, places, how.seed)
    facts["activation"] = routing.activation(seen, rest, names)
    if "accuracy" in facts["calibration"]:
        tell(f"router: right on {facts['calibration']['accuracy']:.0%} of {len(rest)} held-out rows")
    return facts


def _fitted(model: Any, folder: Path, encoder: Encoder, fit: list[Row], batch: int) -> dict[str, float]:
    """Fit, apply and store the temperature."""
    layers = mixtures(model)
    seen = routing.observe(model, [encoder(row) for row in fit], _pad(encoder.tokenizer), batch, keep=True)
    scale = routing.fitted_scale(seen, [list(encoder.experts).index(row.expert) for row in fit], layers[0].gamma)
    before, after = layers[0].temperature, layers[0].temperature / scale
    for layer in layers:
        layer.temperature = after
    config = read_json(folder / "config.json")
    config["mixture"]["temperature"] = after
    write_json(folder / "config.json", config)
    return {"before": before, "fitted": after, "rows": len(fit)}


def _served(asked: Settings, work: Path, made: Path, out: Path, tell: Tell) -> dict[str, Any]:
    """Write the export beside the folder, check it, and only then move it in. Raise ExportDiffers."""
    waiting = work / "served"
    shutil.rmtree(waiting, ignore_errors=True)
    sizes = _sizes(asked, made, tell)
    layout = serving.export(made, waiting, asked.serve.format, asked.serve.dtype)
    copy_tokenizer(made, waiting)
    facts: dict[str, Any] = {"format": layout, "needs_remote_code": layout == "code", "size": sizes}
    if layout == "code":
        facts["code"] = CODE.name
    if asked.serve.adapters:
        places = serving.adapters(made, waiting / "adapters", asked.base, list(asked.experts))
        facts["adapters"] = [str(place.relative_to(waiting)) for place in places]
    try:
        facts["check"] = checking.check(asked, made, waiting, layout, training.device_of(asked.training))
    except H3evalError:
        shutil.rmtree(waiting)
        raise
    moved_in(waiting, out)
    most = max(row["apart"] for row in facts["check"]["measured"] if row["dtype"] == "float32")
    tell(f"written as {layout}, and checked against its sources (logits apart by {most:.1g} at most): {out}")
    return facts


def _sizes(asked: Settings, made: Path, tell: Tell) -> dict[str, int]:
    """How large the export will be, told before it is written, and what the other form of low-rank experts would be."""
    config, how = base_of(Checkpoint(made))
    layout = chosen_format(asked.serve.format, config, how)
    sizes = serving.size(made, layout, asked.serve.dtype)
    said = f"writing {layout}: {_told(sizes)}"
    if how["shared"] and layout != "code":
        low = serving.size(made, "code", asked.serve.dtype)
        said += f' (each expert whole; serve.format = "code" keeps them low-rank: {_told(low)})'
    tell(said)
    return sizes


def _told(sizes: dict[str, int]) -> str:
    millions = {key: f"{sizes[key] / 1e6:,.2f} M" for key in ("parameters", "active_parameters")}
    return (
        f"{millions['parameters']} parameters, {millions['active_parameters']} used by a token, "
        f"{sizes['bytes'] / 1e9:,.3f} GB"
    )


def _inputs(asked: Settings) -> dict[str, Any]:
    have = parts(asked)
    found = {"base": {"folder": asked.base, "sha256": digest(have.base)}}
    for name, expert in zip(have.names, have.experts, strict=True):
        found[name] = {"folder": asked.experts[name], "sha256": digest(expert)}
    return found


def _files(asked: Settings) -> list[dict[str, Any]]:
    return [asdict(source) for source in asked.data]


def _pad(tokenizer: Any) -> int:
    """Padding is masked, so any token will do where there is none for it."""
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)
