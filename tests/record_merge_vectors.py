"""Records what mergekit makes of small tensors: python tests/record_merge_vectors.py (with mergekit 0.1.5 installed).

The vectors let every checkout compare itself with mergekit without having it (LGPL).
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from merging import handed

FILE = Path(__file__).parent / "golden" / "merge_mergekit.json"
CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("weight_average", "linear", {}, {"weight": 1.0}),
    ("rewarded_soup", "linear", {"weight": [0.2, 0.5, 0.9]}, {}),
    ("task_arithmetic", "task_arithmetic", {"weight": 0.7, "lambda": 1.3}, {}),
    ("task_arithmetic", "task_arithmetic", {"weight": 0.7, "normalize": True}, {}),
    ("ties", "ties", {"weight": 0.5, "density": 0.2}, {"rescale": False}),
    ("ties", "ties", {"weight": 0.5, "density": 0.55, "normalize": False}, {"rescale": False}),
    ("ties", "ties", {"weight": 0.5, "density": 0.4, "rescale": "l1"}, {"rescale": True}),
    ("breadcrumbs", "breadcrumbs", {"weight": 0.5, "density": 0.6, "gamma": 0.1}, {"rescale": False}),
    ("breadcrumbs", "breadcrumbs", {"weight": 0.5, "density": 0.95, "gamma": 0.2}, {"rescale": False}),
    ("breadcrumbs_ties", "breadcrumbs_ties", {"weight": 0.5, "density": 0.6, "gamma": 0.1}, {"rescale": False}),
    ("dare", "dare_linear", {"weight": 0.5, "density": 0.4, "rescale": "none"}, {"rescale": False}),
    ("dare_ties", "dare_ties", {"weight": 0.5, "density": 0.4, "rescale": "l1"}, {"rescale": True}),
    (
        "della_linear",
        "della_linear",
        {"weight": 0.5, "density": 0.4, "epsilon": 0.2, "rescale": "l1"},
        {"rescale": True},
    ),
    ("della_ties", "della", {"weight": 0.5, "density": 0.4, "epsilon": 0.2, "rescale": "none"}, {"rescale": False}),
    ("model_stock", "model_stock", {}, {}),
]
"""Our method, theirs, parameters of both, and those that mergekit spells otherwise. What is random gets our numbers."""


def main() -> None:
    """Write the file."""
    from mergekit.merge_methods.api import merge_tensors

    changes = (np.random.default_rng(0).standard_normal((3, 6, 8)) * 1e-3).astype(np.float32) + np.float32(2e-4)
    cases = []
    for ours, theirs, parameters, spelt in CASES:
        given = {**parameters, **spelt}
        models = ["model0", "model1", "model2"]
        for name in ("weight", "density", "gamma", "epsilon"):
            if name in given:
                many = given[name] if isinstance(given[name], list) else [given[name]] * 3
                given[name] = dict(zip(models, many, strict=True))
        # An average has no base; all else is added to one of zeros.
        based = theirs != "linear"
        tensors = [*([torch.zeros(6, 8)] if based else []), *torch.from_numpy(changes)]
        ids, at = [*(["base"] if based else []), *models], 0 if based else None
        with patch.object(torch, "bernoulli", handed()):
            merged = merge_tensors(tensors, theirs, parameters=given, ids=ids, base_index=at, dtype=torch.float32)
        cases.append({"method": ours, "parameters": parameters, "merged": merged.tolist()})
    made = {"source": f"mergekit {version('mergekit')}", "changes": changes.tolist(), "cases": cases}
    FILE.write_text(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
