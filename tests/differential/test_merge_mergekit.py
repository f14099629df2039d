"""Each method against mergekit's, on the same tensors in float32, where their meaning is the same.

mergekit is an oracle here and nothing else (LGPL): the tests skip, visibly, where it is not installed. What is random
is compared by handing mergekit's formulas our masks.
"""

from typing import Any

import numpy as np
import pytest
import torch
from merging import NAME, distinct, handed, merged_change, random_changes
from numpy.typing import NDArray

mergekit = pytest.importorskip("mergekit.merge_methods.api", reason="mergekit 0.1.5 is not installed")

PLAIN = ("weight_average", "rewarded_soup", "task_arithmetic", "model_stock")


def theirs(method: str, changes: NDArray[np.float32], **parameters: Any) -> NDArray[np.float32]:
    """mergekit's merged change: on a base of zeros, so that no rounding of a sum hides a difference.

    An average has no base: the changes are then the models themselves.
    """
    based = method != "linear"
    base = [torch.zeros(changes.shape[1:])] if based else []
    models = [f"m{at}" for at in range(len(changes))]
    ids = [*(["base"] if based else []), *models]
    tensors = [*base, *(torch.from_numpy(change) for change in changes)]
    if not based:
        parameters.setdefault("weight", 1.0)
    for name in ("weight", "density", "gamma", "epsilon"):
        if name in parameters:
            value = parameters[name]
            many = value if isinstance(value, list) else [value] * len(changes)
            parameters[name] = dict(zip(models, many, strict=True))
    made = mergekit.merge_tensors(
        tensors, method, parameters=parameters, ids=ids, base_index=0 if based else None, name=NAME,
        dtype=torch.float32,
    )  # fmt: skip
    return made.numpy()


@pytest.mark.parametrize(
    ("mine", "other", "parameters"),
    [
        ("weight_average", "linear", {}),
        ("rewarded_soup", "linear", {"weight": 0.7}),
        ("rewarded_soup", "linear", {"weight": [0.2, 0.5, 0.9]}),
        ("task_arithmetic", "task_arithmetic", {"weight": 0.7, "lambda_": 1.3}),
        ("task_arithmetic", "task_arithmetic", {"weight": [0.7, -0.2, 0.4], "normalize": True}),
        ("ties", "ties", {"weight": 0.5, "density": 0.2}),
        ("ties", "ties", {"weight": 0.5, "density": 0.55, "rescale": "l1"}),
        ("ties", "ties", {"weight": [0.2, 0.5, 0.9], "density": [0.9, 0.3, 0.5]}),
        ("ties", "ties", {"weight": 0.5, "density": 0.55, "normalize": False, "lambda_": 0.8}),
        ("breadcrumbs", "breadcrumbs", {"weight": 0.5, "density": 0.85, "gamma": 0.01}),
        ("breadcrumbs", "breadcrumbs", {"weight": 0.5, "density": 0.6, "gamma": 0.1, "rescale": "l1"}),
        ("breadcrumbs", "breadcrumbs", {"weight": 0.5, "density": 0.95, "gamma": 0.2}),
        ("breadcrumbs_ties", "breadcrumbs_ties", {"weight": 0.5, "density": 0.6, "gamma": 0.1}),
        ("breadcrumbs_ties", "breadcrumbs_ties", {"weight": 0.5, "density": 0.6, "gamma": 0.1, "normalize": True}),
        ("dare_ties", "dare_ties", {"weight": 0.5, "density": 1.0}),
        ("della_ties", "della", {"weight": 0.5, "density": 1.0}),
        ("model_stock", "model_stock", {}),
    ],
)
def test_the_same_as_mergekit(mine: str, other: str, parameters: dict[str, Any]) -> None:
    for seed in range(3):
        changes = distinct(seed) + (np.float32(3e-4) if mine == "model_stock" else np.float32(0))
        told = {key.rstrip("_"): value for key, value in parameters.items()}
        if "rescale" in told or "density" in told:
            told["rescale"] = told.get("rescale") == "l1"
        wanted = theirs(other, changes, **told)
        rescale = {} if mine in PLAIN else {"rescale": parameters.get("rescale", "none")}
        np.testing.assert_allclose(
            merged_change(mine, changes, **{**parameters, **rescale}), wanted, rtol=2e-6, atol=2e-9
        )


def test_filter_wise_stock_is_mergekits() -> None:
    changes = distinct() + np.float32(3e-4)
    made = merged_change("model_stock", changes, 40, filter_wise=True)
    np.testing.assert_allclose(made, theirs("model_stock", changes, filter_wise=True), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties", "della_linear", "della"])
def test_random_masks_in_mergekits_formulas(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.bernoulli is mergekit's only source of chance: with our numbers in its place, all else must agree."""
    changes = distinct()
    monkeypatch.setattr(torch, "bernoulli", handed())
    extra = {"epsilon": 0.2} if "della" in method else {}
    wanted = theirs(method, changes, weight=0.5, density=0.4, **extra)
    name = {"della": "della_ties", "dare_linear": "dare"}.get(method, method)
    made = merged_change(name, changes, weight=0.5, density=0.4, rescale="l1", **extra)
    # A chance in float32 may fall on the other side of a random number: one element in a hundred thousand.
    np.testing.assert_allclose(made, wanted, rtol=5e-6, atol=2e-9)


def test_equal_magnitudes_are_where_we_differ() -> None:
    """As many are kept, of the same magnitudes; which of the equal ones is ours to say, and theirs to leave open."""
    changes = random_changes(1)
    made = merged_change("ties", changes, density=0.3, normalize=False)
    wanted = theirs("ties", changes, weight=1.0, density=0.3, normalize=False)
    np.testing.assert_allclose(np.sort(np.abs(made).ravel()), np.sort(np.abs(wanted).ravel()), rtol=1e-6)
