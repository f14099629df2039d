"""A judge's error rates from elsewhere, carried over to a run's scores: when, how, and what is said of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_judged import labels, run_of

from h3eval import registry
from h3eval.cards import card
from h3eval.cli import main
from h3eval.columns import columns
from h3eval.errors import ConfigError
from h3eval.stats.correction import lee, rates
from h3eval.transporting import with_cards
from h3eval.types import Estimate, Item, Metric, Reading, Run, Task, Verdict

HARM = registry.task("beavertails/pku-700")
SALAD = registry.task("saladbench/base")
Drawn = tuple[np.ndarray, np.ndarray]


def drawn(seed: int, n: int, share: float) -> Drawn:
    """What a judge says whose sensitivity is 0.8 and specificity 0.9, and the truth."""
    draw = np.random.default_rng(seed)
    truth = (draw.random(n) < share).astype(float)
    return np.where(truth == 1, draw.random(n) < 0.8, draw.random(n) >= 0.9).astype(float), truth


def readings(judged: np.ndarray) -> list[Reading | None]:
    return [Reading("unsafe" if each else "safe", float(each)) for each in judged]


def made(task: Task, judge: str, n: int = 200, share: float = 0.5) -> dict[str, Any]:
    """A card of another run's answers, where harm is common."""
    judged, truth = drawn(1, n, share)
    run, plan = run_of(task, readings(judged), judge=judge)
    role = next(iter(task.judges))
    return card(run, plan, role, labels(*((f"s{place}", each) for place, each in enumerate(truth))))


def by_name(run: Run) -> dict[str, Estimate]:
    return {each.metric: each for each in run.results[0].estimates}


def test_a_cards_rates_correct_another_run() -> None:
    judged, truth = drawn(2, 2000, 0.1)
    run, plan = run_of(HARM, readings(judged))
    moved = with_cards(run, plan, [made(HARM, "")])
    found = by_name(moved)["unsafe_rate (corrected)"]
    assert by_name(moved)["unsafe_rate"] == by_name(run)["unsafe_rate"]
    assert found.ci is not None
    assert found.ci[0] < truth.mean() < found.ci[1] < judged.mean()
    expected = lee(float(judged.mean()), 2000, rates(*drawn(1, 200, 0.5)))
    assert (found.value, *found.ci) == pytest.approx((expected.value, *expected.ci))
    assert (found.method, found.direction) == ("Rogan-Gladen, Lee 2025", "lower")
    assert found.note.endswith("assumes that the judge errs here as on m (beavertails/pku-700)")
    assert "assume that the judge errs on each class" in moved.warnings[-1]


def test_a_metric_that_counts_the_other_class_turns_the_rates() -> None:
    judged, truth = drawn(2, 2000, 0.1)
    run, plan = run_of(SALAD, readings(judged))
    found = by_name(with_cards(run, plan, [made(SALAD, "")]))["safe_rate (corrected)"]
    assert found.ci is not None
    assert found.ci[0] < 1 - truth.mean() < found.ci[1]


def refused(task: Task, of: dict[str, Any]) -> str:
    run, plan = run_of(task, readings(drawn(2, 500, 0.1)[0]))
    found = by_name(with_cards(run, plan, [of]))[f"{task.primary} (corrected)"]
    assert found.value is None
    return found.note


def test_what_a_card_cannot_tell_is_refused() -> None:
    sound = made(HARM, "")
    few = made(HARM, "", n=15)
    blind = {
        **sound,
        "agreement": {"rates": {"specificity": 0.6, "sensitivity": 0.5, "negatives": 50, "positives": 50}},
    }
    assert "fewer than 10 of each class" in refused(HARM, few)
    assert "sum to 1.10, below 1.2" in refused(HARM, blind)
    assert "graded, or of one class" in refused(HARM, {**sound, "agreement": None})
    assert refused(HARM, {**sound, "tasks": ["xstest/v2"]}).endswith("its answers are to other prompts: xstest/v2")
    # A labelled set may hold what it likes: whoever transports its rates answers for that.
    run, plan = run_of(HARM, readings(drawn(2, 500, 0.1)[0]))
    elsewhere = {**sound, "tasks": ["calibration/beaver_dam"], "model": "labelled:set.jsonl"}
    assert by_name(with_cards(run, plan, [elsewhere]))["unsafe_rate (corrected)"].value is not None


def test_what_reads_more_than_the_score_is_refused() -> None:
    def loose(item: Item) -> float | None:
        found = item.verdicts["beaver_dam"]
        return float(found.reading.details["loose"]) if isinstance(found, Verdict) else None

    metric = Metric("loose", loose, HARM.metrics[0].aggregate, ("beaver_dam",))
    task = replace(HARM, metrics=(metric,), primary="loose")
    run, plan = run_of(
        task, [Reading("unsafe", 1.0, details={"loose": 0.0}), Reading("safe", 0.0, details={"loose": 0.0})] * 20
    )
    # A metric that can't do without the details is found out as well.
    assert columns([metric], run.results[0].items(), {})["loose"].beyond
    (_, found) = with_cards(run, plan, [made(HARM, "")]).results[0].estimates
    assert (found.value, "reads more of a verdict" in found.note) == (None, True)


def test_another_judges_card_is_refused() -> None:
    run, plan = run_of(HARM, readings(drawn(2, 50, 0.1)[0]))
    with pytest.raises(ConfigError, match="none of the cards is of a judge of this run"):
        with_cards(run, plan, [{**made(HARM, ""), "voice": "another"}])


def test_what_the_command_line_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(tmp_path), "--transport"]) == 2
    assert main(["score", str(tmp_path), "--transport", "--labels", "x", "--card", "y"]) == 2
    assert "no run here" in capsys.readouterr().err
