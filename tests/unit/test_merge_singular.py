"""TSVM and R-TSVM against plain float64 decompositions, and the switches of R-TSVM one by one."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from h3eval.errors import ConfigError
from h3eval.merge import gpu, r_tsvm, tsvm
from h3eval.merge.gpu import Device
from h3eval.merge.r_tsvm import Options

Array = NDArray[np.float64]


def changes(models: int, rows: int, columns: int, seed: int = 0) -> NDArray[np.float32]:
    """Low rank and noise, as fine-tuning leaves it."""
    source = np.random.default_rng(seed)
    low = source.standard_normal((models, rows, 4)) @ source.standard_normal((models, 4, columns))
    return (1e-3 * (low / 2 + source.standard_normal((models, rows, columns)))).astype(np.float32)


def nearest(matrix: Array) -> Array:
    """The polar factor."""
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right


def plain(held: NDArray[np.float32], alpha: list[float], rank: int) -> Array:
    """Truncate, put side by side, make orthogonal, multiply."""
    parts = [np.linalg.svd(each.astype(np.float64), full_matrices=False) for each in held]
    left = np.concatenate([u[:, :rank] for u, _, _ in parts], axis=1)
    right = np.concatenate([v[:rank] for _, _, v in parts], axis=0)
    values = np.concatenate([a * s[:rank] for a, (_, s, _) in zip(alpha, parts, strict=True)])
    return (nearest(left) * values) @ nearest(right)


def relative(made: Array, wanted: Array) -> float:
    return float(np.linalg.norm(made - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("shape", [(40, 40), (48, 100), (100, 48), (37, 64)])
@pytest.mark.parametrize("models", [1, 2, 3, 5])
def test_tsvm_is_its_formula(models: int, shape: tuple[int, int]) -> None:
    held = changes(models, *shape)
    assert relative(tsvm.merge(held), plain(held, [1.0] * models, min(shape) // models)) < 1e-8


@pytest.mark.parametrize("order", ["truncate_first", "orthogonalize_first"])
@pytest.mark.parametrize("mode", ["absolute", "rms"])
@pytest.mark.parametrize("held", [changes(3, 48, 100), changes(3, 100, 48), np.zeros((2, 8, 9), np.float32)])
def test_another_device_gives_the_same(held: NDArray[np.float32], mode: str, order: str) -> None:
    """PyTorch's arithmetic, as on a GPU, here on the processor."""
    options, device = Options(epsilon_mode=mode, order=order), Device("cpu")
    made, facts = device(lambda on: r_tsvm.merge(on, options), held)
    wanted, told = r_tsvm.merge(held, options)
    assert isinstance(made, np.ndarray)
    assert np.linalg.norm(made - wanted) <= 1e-8 * np.linalg.norm(wanted)
    assert facts["rank"] == told["rank"]
    np.testing.assert_allclose([*facts["alpha"], facts["omega"]], [*told["alpha"], told["omega"]], rtol=1e-9)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert gpu.device("auto") is None
    with pytest.raises(ConfigError, match="use --device cpu"):
        gpu.device("cuda")


def test_tsvm_of_one_model_is_that_model() -> None:
    held = changes(1, 30, 50)
    assert relative(tsvm.merge(held), held[0].astype(np.float64)) < 1e-10


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(4, 40), columns=st.integers(4, 40))
def test_tsvm_does_not_care_for_order(seed: int, rows: int, columns: int) -> None:
    held = changes(3, rows, columns, seed)
    assert relative(tsvm.merge(held[::-1].copy()), tsvm.merge(held)) < 1e-5


def test_directions_of_no_length_are_left_out() -> None:
    """Adapters have few directions: the rest of their change is rounding, and must not be made orthogonal."""
    source = np.random.default_rng(0)
    held = (source.standard_normal((2, 60, 3)) @ source.standard_normal((2, 3, 80))).astype(np.float32)
    made = tsvm.merge(held)
    assert np.linalg.matrix_rank(made, tol=1e-4 * np.linalg.norm(made, 2)) == 6
    assert relative(made, plain(held, [1.0, 1.0], 3)) < 1e-4
    assert not tsvm.merge(np.zeros((2, 8, 9), np.float32)).any()
    half = np.stack([held[0], np.zeros_like(held[0])])
    assert relative(tsvm.merge(half), held[0].astype(np.float64)) < 1e-5


def test_equal_models_do_not_break_the_polar_factor() -> None:
    """Two equal models share every direction: no orthonormal matrix separates them, and nothing may blow up."""
    held = np.repeat(changes(1, 30, 40), 2, axis=0)
    assert np.linalg.norm(tsvm.merge(held)) <= 2 * np.linalg.norm(held[0])


def test_outlier_weights_are_equation_8() -> None:
    held = changes(3, 50, 200)
    held[1, 7, 9] = 1.0
    masses = []
    for each in held.astype(np.float64):
        mass = 0.0
        for row in np.abs(each):
            limit = row.mean() + 3 * np.sqrt(max((row**2).mean() - row.mean() ** 2, 0))
            mass += row[row >= limit].sum()
        masses.append(mass)
    np.testing.assert_allclose(r_tsvm.outlier_weights(held), np.array(masses) / sum(masses), rtol=1e-9)
    assert np.argmax(r_tsvm.outlier_weights(held)) == 1
    flat = np.zeros((4, 3, 3), np.float32)
    np.testing.assert_allclose(r_tsvm.outlier_weights(flat), 0.25)


@pytest.mark.parametrize("mode", ["absolute", "rms"])
def test_sparsity_and_rank_are_equations_10_and_11(mode: str) -> None:
    held = changes(3, 60, 90)
    unit = float(np.sqrt((held.astype(np.float64) ** 2).mean())) if mode == "rms" else 1.0
    options = Options(gamma=0.6, epsilon=0.5 if mode == "rms" else 1e-3, epsilon_mode=mode)
    omega = np.count_nonzero(np.abs(held) < options.epsilon * unit) / held.size
    _, facts = r_tsvm.merge(held, options)
    assert facts["omega"] == pytest.approx(omega)
    assert 0 < omega < 1
    assert facts["rank"] == int(60 * (1 - 0.6 * omega))


@pytest.mark.parametrize("weights", ["mean1", "sum1"])
@pytest.mark.parametrize("gamma", [0.7, 0.9, 1.0])
def test_r_tsvm_is_its_formula(weights: str, gamma: float) -> None:
    held = changes(3, 48, 80)
    made, facts = r_tsvm.merge(held, Options(gamma=gamma, weights=weights))
    alpha = [each * (3 if weights == "mean1" else 1) for each in facts["alpha"]]
    assert relative(made, plain(held, alpha, max(1, int(48 * (1 - gamma * facts["omega"]) + 1e-9)))) < 1e-8


def test_the_default_rank_is_tsvms_and_equal_weights_make_it_tsvm() -> None:
    one = changes(1, 48, 80)[0]
    held = np.stack([one, one[::-1], -one])
    made, facts = r_tsvm.merge(held, Options())
    assert facts["rank"] == 16
    np.testing.assert_allclose(facts["alpha"], 1 / 3, rtol=1e-6)
    # The third is the first with another sign: their directions are the same, so only the size is compared.
    assert np.linalg.norm(made) == pytest.approx(np.linalg.norm(tsvm.merge(held)), rel=1e-4)


def test_too_high_a_rank_can_be_clamped() -> None:
    held = changes(3, 48, 80)
    _, wide = r_tsvm.merge(held, Options(gamma=0.0))
    _, clamped = r_tsvm.merge(held, Options(gamma=0.0, clamp_rank=True))
    assert (wide["rank"], clamped["rank"]) == (48, 16)
    told = r_tsvm.warnings({"a": wide}, 3, Options(gamma=0.0))
    assert any("clamp_rank" in line for line in told)


def test_the_printed_order_removes_no_interference_from_square_layers() -> None:
    """Orthogonalising all directions before truncating is, for square layers, one T-th of the truncated sum."""
    held = changes(3, 64, 64)
    options = Options(order="orthogonalize_first", weights="sum1", gamma=0.75)
    made, facts = r_tsvm.merge(held, options)
    wanted = np.zeros((64, 64))
    for alpha, each in zip(facts["alpha"], held.astype(np.float64), strict=True):
        left, values, right = np.linalg.svd(each)
        rank = facts["rank"]
        wanted += alpha * (left[:, :rank] * values[:rank]) @ right[:rank] / 3
    assert relative(made, wanted) < 1e-10
    assert any("printed algorithm" in line for line in r_tsvm.warnings({}, 3, options))


def test_the_printed_order_is_its_formula_on_other_layers() -> None:
    held = changes(2, 30, 70)
    made, facts = r_tsvm.merge(held, Options(order="orthogonalize_first", gamma=0.5))
    parts = [np.linalg.svd(each.astype(np.float64), full_matrices=False) for each in held]
    left = nearest(np.concatenate([u for u, _, _ in parts], axis=1))
    right = nearest(np.concatenate([v for _, _, v in parts], axis=0))
    rank, wanted = facts["rank"], np.zeros((30, 70))
    for at, (_, values, _) in enumerate(parts):
        block = slice(30 * at, 30 * at + rank)
        wanted += 2 * facts["alpha"][at] * (left[:, block] * values[:rank]) @ right[block]
    assert relative(made, wanted) < 1e-9


@pytest.mark.parametrize(
    ("change", "told"),
    [({}, "does not adapt"), ({"weights": "sum1"}, "1/T"), ({"epsilon_mode": "rms"}, "clamp_rank")],
)
def test_warnings_name_what_is_inert(change: dict[str, Any], told: str) -> None:
    options = dataclasses.replace(Options(), **change)
    _, facts = r_tsvm.merge(changes(3, 48, 80), options)
    lines = r_tsvm.warnings({"a": facts}, 3, options)
    assert any(told in line for line in lines)
    assert any("does not adapt" in line for line in lines) == (options.epsilon_mode == "absolute")
