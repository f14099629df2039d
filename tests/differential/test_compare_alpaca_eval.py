"""Imported AlpacaEval runs compared and gated: the differences are those of the published annotations, by scipy."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from h3eval.cli import main
from h3eval.importers.alpaca_eval import import_alpaca_eval
from h3eval.pairing import compare

V2, V1 = "weighted_alpaca_eval_gpt4_turbo", "alpaca_eval_gpt4"
Prefers = dict[str, float]


def published(official: Path, model: str, annotator: str) -> Prefers:
    """Each instruction's preference for the model, in percent."""
    with gzip.open(official / f"{model}__{annotator}__annotations.json.gz", "rt", encoding="utf-8") as file:
        rows = json.load(file)
    return {row["instruction"]: 100 * (row["preference"] - 1) for row in rows if row["preference"] is not None}


@pytest.fixture(scope="module")
def runs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    official = shared_data / "alpaca_eval" / "official"
    folder = tmp_path_factory.mktemp("alpaca")
    for model, annotator, name in (
        ("alpaca-7b", V2, "old"), ("phi-2", V2, "new"), ("phi-2", V1, "v1"),
        ("FuseChat-Gemma-2-9B-Instruct", V2, "better"),
    ):  # fmt: skip
        file = official / f"{model}__{annotator}__annotations.json.gz"
        if not file.is_file():
            pytest.skip(f"{file.name} is not among the data")
        import_alpaca_eval(official / f"{model}__model_outputs.json.gz", file, folder / name)
    tasks = '[tasks."alpaca_eval/v2"]\n'
    (folder / "gate.toml").write_text(f"margin = 2\nshared_only = true\n{tasks}")
    (folder / "narrow.toml").write_text(f"margin = 0.1\nshared_only = true\n{tasks}")
    (folder / "all.toml").write_text(f"margin = 2\n{tasks}")
    return folder


def test_the_difference_is_scipys(runs: Path, shared_data: Path) -> None:
    official = shared_data / "alpaca_eval" / "official"
    old, new = (published(official, model, V2) for model in ("alpaca-7b", "phi-2"))
    both = [name for name in new if name in old]
    pairs = np.array([(new[name], old[name]) for name in both])
    expected = stats.ttest_rel(*pairs.T)
    (change,) = compare(runs / "old", runs / "new").primaries
    found = change.difference
    assert found is not None
    assert (change.metric, change.unit, found.n, change.only_old) == (
        "win_rate",
        "percent",
        len(both),
        len(old) - len(new),
    )
    assert found.value == pytest.approx(float(np.diff(pairs[:, ::-1]).mean()), abs=1e-9)
    assert found.p == pytest.approx(float(expected.pvalue), abs=1e-9)
    low, high = expected.confidence_interval(0.95)
    assert found.ci == pytest.approx((low, high), abs=1e-9)


def gate(runs: Path, new: str, baseline: str = "old", policy: str = "gate.toml") -> int:
    return main(["gate", str(runs / new), "--baseline", str(runs / baseline), "--policy", str(runs / policy)])


def test_outcomes(runs: Path) -> None:
    """phi-2 and alpaca-7b win alike, FuseChat far more often."""
    assert gate(runs, "new") == gate(runs, "old", "new") == gate(runs, "better") == 0
    assert gate(runs, "old", "better") == 1
    assert gate(runs, "new", policy="narrow.toml") == 3


def test_other_items_are_refused_unless_allowed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of phi-2's answers two were never annotated."""
    assert gate(runs, "new", policy="all.toml") == 2
    assert "different items (2 only in the baseline, 0 only in the new run)" in capsys.readouterr().err


def test_other_protocols_are_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(runs, "v1") == 2
    assert main(["compare", str(runs / "old"), str(runs / "v1")]) == 3
    said = capsys.readouterr().err
    assert said.count("the new run has the protocol alpaca_eval/v1, and protocols are never mixed") == 2
