"""Each method against mergekit's, on the same tensors in float32, where their meaning is the same.

mergekit is an oracle here and nothing else (LGPL): the tests skip, visibly, where it is not installed. What is random
is compared by handing mergekit's formulas our masks.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
import yaml
from merging import NAME, distinct, handed, merged_change, random_changes, read_model
from numpy.typing import NDArray

from h3eval.cli import main

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


def test_gradients_and_filters_are_mergekits(tmp_path: Path) -> None:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    folders = [tmp_path / name for name in ("base", "one", "two")]
    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)
        tiny_models.llama(folder)
    weight = [{"filter": "self_attn", "value": [0.1, 0.9, 0.3]}, {"value": [0.5, 0.2]}]
    content = {
        "merge_method": "ties", "base_model": str(folders[0]), "dtype": "float32",
        "models": [{"model": str(folder), "parameters": {"weight": weight}} for folder in folders[1:]],
        "parameters": {"density": [1, 0.4]},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    assert main(["merge", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "mine"), "--no-page"]) == 0
    run_merge(MergeConfiguration.model_validate(content), str(tmp_path / "theirs"), MergeOptions(copy_tokenizer=False))
    made, wanted = read_model(tmp_path / "mine"), read_model(tmp_path / "theirs")
    assert {name.split(".")[2] for name in made if ".layers." in name} == {"0", "1", "2"}
    for name, value in made.items():
        torch.testing.assert_close(value, wanted[name], rtol=2e-6, atol=1e-7)
