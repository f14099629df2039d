"""What a run's model was made of, where `merge` or `fuse` has made it and its folder is still as the run found it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from h3eval import config, registry
from h3eval.backends._weights import weights_digest
from h3eval.commands import modelpages
from h3eval.errors import ConfigError
from h3eval.types import Json


def lineage(results: Mapping[str, Any]) -> dict[str, Json] | None:
    """Method and parents of the model of a results.json; None where nothing is known of it.

    A folder whose files are no longer those that the run has answered with is nobody's lineage.
    """
    model = (results.get("manifest") or {}).get("model") or {}
    weights = (model.get("identity") or {}).get("weights")
    if not weights or not model.get("spec"):
        return None
    try:
        spec = config.model_spec(str(model["spec"]), "--model", registry.names("backends"))
        folder = Path(spec.model).expanduser()
        kind = modelpages.kind_of(folder)
        if kind not in MAKERS or weights_digest(folder) != weights:
            return None
        return MAKERS[kind](config.read_json(folder / modelpages.SOURCES[kind]))
    except (ConfigError, OSError, KeyError, TypeError, AttributeError):
        # The folder is gone, or the file somebody's own: a site of many runs goes on without it.
        return None


def _merge(report: Mapping[str, Any]) -> dict[str, Json]:
    recipe = report["recipe"]
    own = {each["name"]: {k: v for k, v in each.items() if k != "name"} for each in recipe["models"]}
    parents = [
        {"name": each["name"], "path": each["path"], "settings": own.get(each["name"], {}),
         "sha256": list(each["files"].values())}
        for each in report["inputs"]
    ]  # fmt: skip
    return {"kind": "merge", "method": recipe["method"], "settings": {**recipe["parameters"], "seed": recipe["seed"]},
            "parents": parents}  # fmt: skip


def _fusion(report: Mapping[str, Any]) -> dict[str, Json]:
    parents = [
        {"name": name, "path": each["folder"], "settings": {}, "sha256": [each["sha256"]]}
        for name, each in report["inputs"].items()
    ]
    training = report["settings"]["training"]
    settings = {key: training[key] for key in ("what", "steps", "epochs", "gating", "drift", "seed") if key in training}
    return {"kind": "fusion", "method": report["method"], "settings": settings, "parents": parents}


MAKERS = {"merge": _merge, "fusion": _fusion}
