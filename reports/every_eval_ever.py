"""A run's estimates as one record of Every Eval Ever's schema 0.3, where its datastore would keep it.

Fields are those of eval.schema.json 0.3.0 (github.com/evaleval/every_eval_ever). What the schema has no field for
stands under `additional_details`, as text. Samples are not written: theirs need a score, and to be right or wrong.
"""

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from h3eval.errors import UsageError
from h3eval.types import Estimate, Json, Run, TaskResult

from ._hub import dataset, fingerprint, model_name, revision
from ._numbers import scale_of
from ._rows import encodable
from ._shared import identity, line, plain, pretty, write

SCHEMA = "0.3.0"
COLLECTION = "h3eval"
LEVEL = 0.95
LOADED = ("transformers", "vllm")
"""Backends that run the model themselves."""


@dataclass(frozen=True)
class EveryEvalEver:
    """Writes data/h3eval/OWNER/MODEL/UUID.json."""

    name: str = "every_eval_ever"
    on_request: bool = True

    def write(self, run: Run, folder: Path) -> tuple[Path, ...]:
        """One file. Raise UsageError where it can't be written."""
        number = uuid.UUID(bytes=bytes.fromhex(fingerprint(run))[:16], version=4)
        owner, name = model_name(run).split("/")
        place = folder / "data" / COLLECTION / owner / name
        return (write(place, f"{number}.json", [pretty(encodable(plain(content(run, number, now()))))]),)


def now() -> int:
    """Seconds since 1970; SOURCE_DATE_EPOCH where it is set, so that the file can be made again to the byte."""
    told = os.environ.get("SOURCE_DATE_EPOCH", "")
    if told and not told.isdecimal():
        raise UsageError(f"SOURCE_DATE_EPOCH={told}: not a whole number of seconds since 1970")
    return int(told or time.time())


def content(run: Run, number: uuid.UUID, when: int) -> dict[str, Json]:
    """The record as one value."""
    model = model_name(run)
    environment = run.manifest.get("environment") or {}
    return {
        "schema_version": SCHEMA,
        "evaluation_id": f"{COLLECTION}/{model}/{number}",
        "retrieved_timestamp": str(when),
        "source_metadata": {
            "source_name": "h3eval",
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
            "additional_details": _details(_source(run)),
        },
        "eval_library": {
            "name": "h3eval",
            "version": str(environment.get("h3eval", "unknown")),
            "additional_details": _details(environment),
        },
        "model_info": _model(run, model),
        "evaluation_results": [
            _result(run, result, found)
            for result in run.results
            for found in result.estimates
            if found.value is not None and isfinite(found.value)
        ],
    }


def _source(run: Run) -> dict[str, Json]:
    """How the run was made, and what of it has no number."""
    unscored = {
        f"{identity(result)}: {found.metric}": found.note or "nothing was scored"
        for result in run.results
        for found in result.estimates
        if found.value is None or not isfinite(found.value)
    }
    return {
        "suite": run.manifest.get("suite") or None,
        "options": run.manifest.get("options"),
        "data": run.manifest.get("data"),
        "warnings": list(run.warnings),
        "not_run": dict(run.missing),
        "not_scored": unscored,
    }


def _model(run: Run, model: str) -> dict[str, Json]:
    about: Mapping[str, Json] = (run.manifest.get("model") or {}).get("identity") or {}
    backend = str(about.get("backend", ""))
    found: dict[str, Json] = {"name": model.partition("/")[2], "id": model, "developer": model.partition("/")[0]}
    if backend in LOADED:
        found["inference_engine"] = {"name": backend, "version": str(about.get(backend, "unknown"))}
    kind = "self_deployed" if backend in LOADED else "unknown"
    found["additional_details"] = {
        **_details(about),
        "deployment_type": kind,
        "model_availability": "unknown",
    }
    return found


def _result(run: Run, result: TaskResult, found: Estimate) -> dict[str, Json]:
    details = {
        "n_failed": found.n_failed,
        "bounds": found.bounds,
        "note": found.note,
        "calibration": found.calibration,
        "failures": dict(result.failures),
        "more": dict(found.details),
    }
    return {
        "evaluation_result_id": f"{identity(result)}:{found.metric}",
        "evaluation_name": identity(result),
        "source_data": _data(run, result),
        "metric_config": _metric(result, found),
        "score_details": {
            "score": found.value,
            "uncertainty": dict(_uncertainty(found)),
            "details": _details(details),
        },
    }


def _data(run: Run, result: TaskResult) -> dict[str, Json]:
    repository = dataset(run, result)
    if repository is None:
        return {"dataset_name": result.task, "source_type": "other"}
    return {
        "dataset_name": result.task,
        "source_type": "hf_dataset",
        "hf_repo": repository,
        "samples_number": result.n_samples,
        "additional_details": _details({"protocol": result.protocol, "revision": revision(run, repository)}),
    }


def _metric(result: TaskResult, found: Estimate) -> dict[str, Json]:
    """What was measured. Judges stand in the details: the schema's own place wants their prompts, which a run's
    results do not hold."""
    scale = scale_of(found.unit)
    known = scale is not None and found.value is not None and scale[0] <= found.value <= scale[1]
    ends = {"score_type": "continuous", "min_score": scale[0], "max_score": scale[1]} if known and scale else {}
    details = {
        "version": found.version,
        "task_version": result.version,
        "dimension": result.dimension,
        "primary": found.metric == result.primary,
        "direction": found.direction,
        "judge": found.judge,
        "judges": {role: dict(entry) for role, entry in result.judges.items()} if found.judge else {},
        "notes": list(result.notes),
    }
    return {
        "evaluation_description": result.about,
        "metric_id": f"{COLLECTION}.{found.metric}",
        "metric_name": found.metric,
        "metric_unit": found.unit,
        "lower_is_better": found.direction == "lower",
        **ends,
        "additional_details": _details(details),
    }


def _uncertainty(found: Estimate) -> Iterator[tuple[str, Json]]:
    method = {"method": found.method} if found.method else {}
    if found.se is not None and isfinite(found.se):
        yield "standard_error", {"value": found.se, **method}
    if found.ci is not None and all(map(isfinite, found.ci)):
        low, high = found.ci
        yield "confidence_interval", {"lower": low, "upper": high, "confidence_level": LEVEL, **method}
    yield "num_samples", found.n


def _details(values: Mapping[str, Json]) -> dict[str, str]:
    """Texts only, as the schema wants; what is empty is left out."""
    empty: tuple[Json, ...] = (None, "", [], {})
    return {
        str(key): value if isinstance(value, str) else line(value)
        for key, value in values.items()
        if value not in empty
    }


REPORT = EveryEvalEver()
