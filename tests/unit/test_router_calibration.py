"""A router's probabilities against whose row it is: the numbers in fusion_report.json are those of scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from h3eval.fusion import report, routing
from h3eval.fusion.routing import Observed

EXPERTS = ["helpful", "honest", "harmless"]


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, list[int]]:
    """Probabilities of three experts, and whose rows these are: drawn from the probabilities, sharpened."""
    draw = np.random.default_rng(4)
    shares = draw.dirichlet([0.6, 0.8, 1.0], 400)
    return shares, [int(draw.choice(3, p=each**2 / (each**2).sum())) for each in shares]


def test_a_routers_scores_are_scikit_learns(drawn: tuple[np.ndarray, list[int]]) -> None:
    shares, own = drawn
    found = routing.calibration(Observed(shares, shares, shares, shares[:, None], np.ones(len(own))), own)
    assert found["log_loss"]["value"] == pytest.approx(log_loss(own, shares), abs=1e-9)
    assert found["brier_sum"]["value"] == pytest.approx(brier_score_loss(own, shares, scale_by_half=False), abs=1e-9)
    sure, right = shares.max(axis=1), (shares.argmax(axis=1) == np.array(own)).astype(float)
    assert found["top"]["brier"]["value"] == pytest.approx(brier_score_loss(right, sure), abs=1e-9)
    assert found["accuracy"] == pytest.approx(right.mean())
    places = np.digitize(sure, np.linspace(0, 1, 16)[1:-1])
    gaps = [abs((right - sure)[places == each].sum()) for each in range(15)]
    assert found["top"]["ece_width"] == pytest.approx(sum(gaps) / len(own), abs=1e-9)


def test_a_fused_models_card_shows_them(drawn: tuple[np.ndarray, list[int]], tmp_path: Path) -> None:
    shares, own = drawn
    seen = Observed(shares, shares, shares, shares[:, None], np.ones(len(own)))
    found = routing.calibration(seen, own)
    rows = {name: {"n": 1, "mean_probability": dict.fromkeys(EXPERTS, 0.3), "loss": 1.0} for name in EXPERTS}
    made = {
        "method": "h3fusion", "settings": {"base": "base"}, "experts": EXPERTS,
        "routing": {"calibration": found, "activation": {"dimension": rows}},
    }  # fmt: skip
    report.card(tmp_path / "README.md", made)
    text = " ".join((tmp_path / "README.md").read_text(encoding="utf-8").split())
    assert f"Calibration error over classes {found['classwise_ece']:.4f}" in text
    assert f"Brier sum {found['brier_sum']['value']:.4f}" in text
    assert f"log loss {found['log_loss']['value']:.4f} nats" in text
