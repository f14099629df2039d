"""Merges of small tensors, as mergekit and fusion_bench made them (tests/record_*_vectors.py)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from merging import merged_change

from h3eval.merge import tsvm

GOLDEN = Path(__file__).parent
RECORDED = json.loads((GOLDEN / "merge_mergekit.json").read_text())


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: case["method"])
def test_the_same_as_recorded(case: dict[str, Any]) -> None:
    changes = np.array(RECORDED["changes"], np.float32)
    parameters = {{"lambda": "lambda_"}.get(name, name): value for name, value in case["parameters"].items()}
    np.testing.assert_allclose(
        merged_change(case["method"], changes, **parameters), np.array(case["merged"]), rtol=2e-6, atol=2e-10
    )


@pytest.mark.parametrize("case", json.loads((GOLDEN / "merge_fusion_bench.json").read_text())["cases"])
def test_singular_vectors_merge_as_their_authors_formulas_do(case: dict[str, Any]) -> None:
    made = tsvm.merge(np.array(case["changes"], np.float32))
    np.testing.assert_allclose(made, np.array(case["merged"]), rtol=1e-9, atol=1e-13)
