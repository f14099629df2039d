"""Numbers that differ from layer to layer, or by tensors' names: what they are, and that merges go by them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from merging import read_model, write_model

from h3eval.cli import main
from h3eval.errors import ConfigError
from h3eval.merge.gradients import Gradient, depths, number

LAYERS = 4
UP, ATTENTION = "model.layers.{}.mlp.up.weight", "model.layers.{}.self_attn.q.weight"
OUTSIDE = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.floats(0, 1))
def test_points_lie_at_equal_distances_on_straight_lines(points: list[float], depth: float) -> None:
    made = Gradient((("", tuple(points)),)).at("model.layers.1.weight", depth)
    assert made == pytest.approx(np.interp(depth, np.linspace(0, 1, len(points)), points), abs=1e-9)


def test_depth_is_of_a_tensors_own_stack() -> None:
    names = ["embed.weight", "text.layers.0.a", "text.layers.1.a", "text.layers.2.experts.7.a", "vision.blocks.0.a"]
    assert depths(names) == dict(zip(names, (0.0, 0.0, 0.5, 1.0, 1.0), strict=True))


def test_the_first_filter_that_a_name_has_counts() -> None:
    rules = [{"filter": "mlp", "value": [0, 1]}, {"filter": "up", "value": 7}, {"filter": "*", "value": 3}]
    made = number("weight", rules, lambda where, value: float(value))
    assert isinstance(made, Gradient)
    assert [made.at(name, 0.25) for name in ("a.mlp.up", "a.up", "a.down")] == [0.25, 7, 3]


def models(tmp_path: Path) -> list[Path]:
    """A base and two variants, of four layers."""
    source = torch.Generator().manual_seed(0)
    names = [*OUTSIDE, *(kind.format(layer) for layer in range(LAYERS) for kind in (UP, ATTENTION))]
    config = {"model_type": "llama", "tie_word_embeddings": False}
    return [
        write_model(tmp_path / folder, {name: torch.randn(8, 6, generator=source) for name in names}, config=config)
        for folder in ("base", "one", "two")
    ]


def merge(tmp_path: Path, content: dict[str, Any], *flags: str) -> int:
    """Run the command on a recipe."""
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    return main(["merge", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out"), "--no-page", *flags])


@pytest.mark.parametrize("schema", ["own", "mergekit"])
def test_each_tensor_is_merged_by_its_own_numbers(tmp_path: Path, schema: str) -> None:
    base, one, two = models(tmp_path)
    first, second = [0.2, 0.8], [{"filter": "self_attn", "value": [0, 0.3, 0.9]}, {"value": 0.5}]
    own = {
        "method": "task_arithmetic", "base": str(base),
        "models": [{"path": str(one), "weight": first}, {"path": str(two), "weight": second}],
    }  # fmt: skip
    theirs = {
        "merge_method": "task_arithmetic", "base_model": str(base),
        "models": [
            {"model": str(one), "parameters": {"weight": first}}, {"model": str(two), "parameters": {"weight": second}}
        ],
    }  # fmt: skip
    assert merge(tmp_path, own if schema == "own" else theirs) == 0
    made, (start, left, right) = read_model(tmp_path / "out"), map(read_model, (base, one, two))
    steps = [0, 1 / 3, 2 / 3, 1]
    expected = dict.fromkeys(OUTSIDE, (0.2, 0.5))
    expected |= {UP.format(at): (0.2 + 0.6 * t, 0.5) for at, t in enumerate(steps)}
    expected |= {ATTENTION.format(at): (0.2 + 0.6 * t, np.interp(t, [0, 0.5, 1], [0, 0.3, 0.9])) for at, t in
                 enumerate(steps)}  # fmt: skip
    assert set(made) == set(expected)
    for name, (a, b) in expected.items():
        wanted = start[name].double() + a * (left[name] - start[name]) + b * (right[name] - start[name])
        torch.testing.assert_close(made[name], wanted.float(), rtol=1e-6, atol=1e-6)
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    held = {row["name"]: row["weight"] for row in report["recipe"]["models"]}
    assert held["one"] == first
    assert held["two"] == [{"filter": "self_attn", "value": [0, 0.3, 0.9]}, {"value": 0.5}]
    assert "weight [0.2, 0.8]" in (tmp_path / "out" / "README.md").read_text()
    assert main(["report", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "merge_report.html").read_text()
    assert "weight [{filter self_attn, value [0, 0.3, 0.9]}, {value 0.5}]" in page


def test_densities_may_change_with_depth(tmp_path: Path) -> None:
    base, one, two = map(str, models(tmp_path))
    content = {"method": "ties", "base": base, "models": [one, two], "parameters": {"density": [1, 0.25]}}
    assert merge(tmp_path, content) == 0
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert [report["tensors"][UP.format(at)]["kept"]["one"] for at in range(LAYERS)] == [1, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"density": []}, "empty list"),
        ({"density": [0.5, 1.5]}, "not a number from 0 to 1"),
        ({"density": [{"filter": "mlp", "value": 0.5}]}, "without a filter"),
        ({"density": [{"filter": "mlp"}, {"value": 1}]}, "a mapping with `value`"),
        ({"density": [0.5, {"value": 1}]}, "a mapping with `value`"),
        ({"density": [0.5, 1], "trim_scope": "global"}, "one density for all"),
        ({"density": 0.5, "weight": [1, -1]}, "model.layers.2.mlp.up.weight: ties: negative weights"),
        ({"density": 0.5, "lambda": [0, 1]}, "lambda"),
    ],
)
def test_lists_that_make_no_sense_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], parameters: dict[str, Any], told: str
) -> None:
    base, one, two = map(str, models(tmp_path))
    content = {"method": "ties", "base": base, "models": [one, two], "parameters": parameters}
    assert merge(tmp_path, content, "--dry-run") == ConfigError.exit_code
    assert told in capsys.readouterr().err
