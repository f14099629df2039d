"""Each method against its formula, written out plainly in float64."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from merging import chosen, merged_change, random_changes
from numpy.typing import NDArray

from h3eval.merge import kernels, methods, stock
from h3eval.merge.pieces import key, random_words

Array = NDArray[np.float64]
SPARSE = ("ties", "dare", "dare_ties", "della_linear", "della_ties", "breadcrumbs", "breadcrumbs_ties")


def settings_of(method: str) -> dict[str, Any]:
    """A density that the method allows."""
    return {"density": 0.4, **({"epsilon": 0.2} if method.startswith("della") else {})}


def ranks(values: Array) -> NDArray[np.int64]:
    """Position by magnitude, largest first, equal ones by index."""
    order = np.argsort(-np.abs(values), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place


def combined(values: Array, weights: list[float], elect: bool, normalize: bool) -> Array:
    """Weighted sum, with or without election and division."""
    weighted = values * np.array(weights)[:, None]
    if not elect:
        return weighted.sum(0) / (sum(weights) if normalize else 1)
    sign = np.where(weighted.sum(0) >= 0, 1, -1)
    agree = np.sign(weighted) == sign
    total = (weighted * agree).sum(0)
    share = (np.array(weights)[:, None] * agree).sum(0)
    return total / np.where(share == 0, 1, share) if normalize else total


def words(model: int, count: int, seed: int = 0) -> Array:
    """The model's random numbers in [0, 1)."""
    return random_words(key(seed, f"model{model}", "layers.0.weight"), 0, count) / 2.0**32


def reference(method: str, changes: NDArray[np.float32], density: float, epsilon: float, gamma: float) -> Array:
    """The sparse methods, for equal weights and the default switches."""
    flat = changes.reshape(len(changes), -1).astype(np.float64)
    size, columns = flat.shape[1], changes.shape[-1]
    for at, values in enumerate(flat):
        if method == "ties":
            values[ranks(values) >= max(1, int(density * size))] = 0
        elif method.startswith("dare"):
            values[:] = np.where(words(at, size) < density, values / density, 0)
        elif method.startswith("breadcrumbs"):
            top, keep = int(gamma * size), int(density * size)
            place = ranks(values)
            values[(place < top) | (place >= top + keep)] = 0
        else:
            rank = np.concatenate([columns - ranks(row) for row in values.reshape(-1, columns)])
            chance = density - epsilon + 2 * epsilon * (rank - 1) / (columns - 1)
            values[:] = np.where(words(at, size) < chance, values / chance, 0)
    elect = method.endswith("ties")
    return combined(flat, [1.0] * len(flat), elect, method in ("ties", "della_ties")).reshape(changes.shape[1:])


@pytest.mark.parametrize("method", SPARSE)
@pytest.mark.parametrize("seed", range(3))
def test_sparse_methods_are_their_formulas(method: str, seed: int) -> None:
    changes = random_changes(seed=seed)
    wanted = reference(method, changes, 0.4, 0.2, 0.05)
    extra = {"gamma": 0.05} if method.startswith("bread") else {}
    np.testing.assert_allclose(
        merged_change(method, changes, **settings_of(method), **extra), wanted, rtol=3e-7, atol=2e-9
    )


def test_task_arithmetic_is_its_formula() -> None:
    changes = random_changes()
    wanted = 0.7 * 0.5 * changes.astype(np.float64).sum(0)
    np.testing.assert_allclose(merged_change("task_arithmetic", changes, weight=0.5, lambda_=0.7), wanted, rtol=1e-12)


@pytest.mark.parametrize("rows", [True, False])
def test_model_stock_is_its_formula(rows: bool) -> None:
    changes = random_changes() + 3e-4
    wanted = np.empty(changes.shape[1:])
    flat = changes.astype(np.float64)
    for row in range(changes.shape[1]) if rows else [slice(None)]:
        part = flat[:, row].reshape(3, -1)
        unit = part / np.linalg.norm(part, axis=1, keepdims=True)
        cosine = np.mean([unit[a] @ unit[b] for a, b in ((0, 1), (0, 2), (1, 2))])
        wanted[row] = (3 * cosine / (1 + 2 * cosine)) * flat[:, row].mean(0)
    cut = 40 if rows else 1 << 15
    np.testing.assert_allclose(
        merged_change("model_stock", changes, cut, filter_wise=rows), wanted, rtol=3e-7, atol=1e-10
    )


def test_model_stock_without_angles_stays_at_the_base() -> None:
    assert stock.ratio(np.zeros((3, 3))) == 0
    opposed = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert stock.ratio(opposed) == 0
    # A model that did not change has no angle: the other pair's counts.
    assert stock.ratio(np.array([[4.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 0.0]])) == pytest.approx(1.5 / 2)


@pytest.mark.parametrize("method", ["breadcrumbs", "breadcrumbs_ties"])
def test_breadcrumbs_by_row_ranks_each_row(method: str) -> None:
    changes = random_changes()
    flat = changes.astype(np.float64)
    for row in flat.reshape(-1, 40):
        place = ranks(row)
        row[(place < 2) | (place >= 2 + 16)] = 0
    wanted = combined(flat.reshape(3, -1), [1.0] * 3, method.endswith("ties"), False).reshape(48, 40)
    made = merged_change(method, changes, 400, density=0.4, gamma=0.05, scope="row")
    np.testing.assert_allclose(made, wanted, rtol=1e-12)


def test_breadcrumbs_keeps_its_density_where_both_shares_exceed_all() -> None:
    changes = random_changes(1) + 1e-5
    assert np.count_nonzero(merged_change("breadcrumbs", changes, density=0.95, gamma=0.2)) == int(0.95 * 1920)


@pytest.mark.parametrize("method", SPARSE)
def test_l1_rescaling_restores_each_models_norm(method: str) -> None:
    changes = random_changes(1)
    made = merged_change(method, changes, 200, rescale="l1", normalize=False, **settings_of(method))
    assert np.abs(made).sum() == pytest.approx(np.abs(changes.astype(np.float64)).sum(), rel=1e-6)


def test_trimming_keeps_exactly_k_of_equal_magnitudes_and_the_first_of_them() -> None:
    changes = np.full((1, 10, 10), 0.5, np.float32)
    changes[0, 3, 3] = -2
    kept = merged_change("ties", changes, 7, density=0.2).reshape(-1)
    assert np.flatnonzero(kept).tolist() == [*range(19), 33]


def test_global_trimming_ranks_across_tensors() -> None:
    how = chosen("ties", ["a"], {"density": 0.5, "trim_scope": "global"})
    assert methods.family(how).everywhere


@pytest.mark.parametrize("method", SPARSE)
@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 24), seed=st.integers(0, 99))
def test_results_do_not_depend_on_the_cut(method: str, rows: int, seed: int) -> None:
    changes = random_changes(seed=seed)
    whole = merged_change(method, changes, **settings_of(method))
    assert np.array_equal(merged_change(method, changes, rows * 40, **settings_of(method)), whole)


@pytest.mark.parametrize("method", [*SPARSE, "task_arithmetic", "model_stock"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99))
def test_equal_models_merge_to_themselves(method: str, seed: int) -> None:
    one = random_changes(1, seed=seed)
    changes = np.repeat(one, 3, axis=0)
    parameters: dict[str, Any] = {}
    if method in SPARSE:
        parameters = {"density": 1.0, "normalize": True}
    if method == "task_arithmetic":
        parameters = {"weight": 1.0, "normalize": True}
    np.testing.assert_allclose(merged_change(method, changes, **parameters), one[0], rtol=3e-7)


@pytest.mark.parametrize("method", [*SPARSE, "task_arithmetic"])
def test_lambda_zero_is_the_base(method: str) -> None:
    parameters = settings_of(method) if method in SPARSE else {"weight": 1.0}
    assert not merged_change(method, random_changes(), lambda_=0.0, **parameters).any()


def test_random_numbers_are_philox() -> None:
    # The first block of Random123's known answers for philox4x32-10: counter 0, key 0.
    out = np.empty(4, np.uint32)
    kernels.draw(0, 0, 0, out)
    assert [f"{word:08x}" for word in out] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]


@given(start=st.integers(0, 2**40), count=st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_random_numbers_belong_to_indices(start: int, count: int) -> None:
    keys = key(7, "a", "b")
    together = random_words(keys, start, count)
    assert [int(random_words(keys, start + at, 1)[0]) for at in range(count)] == together.tolist()


def test_keys_tell_seeds_models_and_tensors_apart() -> None:
    keys = {key(seed, model, tensor) for seed in range(9) for model in "abc" for tensor in "xyz"}
    assert len(keys) == 81


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), columns=st.integers(1, 700))
def test_ordering_is_a_stable_sort(seed: int, columns: int) -> None:
    row = random_changes(1, 1, columns, seed).reshape(-1)
    items = np.empty((2, columns), np.uint64)
    n, now = kernels.order_by_magnitude(row.view(np.uint32), items, np.empty((4, 256), np.int64))
    wanted = np.argsort(-np.abs(row), kind="stable")[: np.count_nonzero(row)]
    assert (items[now, :n] & kernels.LOW).tolist() == wanted.tolist()


def test_a_row_of_one_keeps_with_the_density_itself() -> None:
    changes = np.ones((1, 4000, 1), np.float32)
    made = merged_change("della_linear", changes, density=0.5, epsilon=0.2)
    assert set(np.unique(made)) == {0.0, 2.0}
    assert np.mean(made > 0) == pytest.approx(0.5, abs=0.04)
