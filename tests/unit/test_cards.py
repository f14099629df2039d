"""A judge card's parts against scikit-learn and by hand; whose card it is; corrected scores beside raw ones."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, cohen_kappa_score, roc_auc_score
from small_judged import labels, run_of

from h3eval import cardfiles, registry
from h3eval.canaries import CANARIES, canaries
from h3eval.cardfiles import line_for, voice
from h3eval.cards import card
from h3eval.columns import columns, told
from h3eval.correcting import corrected, span, with_labels
from h3eval.errors import ConfigError, RunMismatch
from h3eval.judgeplan import JudgePlan
from h3eval.labels import Label, Labels
from h3eval.types import (
    Estimate,
    Generation,
    Item,
    Metric,
    Reading,
    Reply,
    Run,
    Sample,
    Verdict,
)

HARM = registry.task("beavertails/pku-700")
PAIRS = registry.task("mt_bench/pairwise-gpt-4")


def harm(p: float) -> Reading:
    return Reading("unsafe" if p > 0.5 else "safe", float(p > 0.5), p)


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are too sure, and outcomes."""
    draw = np.random.default_rng(3)
    z = draw.normal(size=400) * 3
    return 1 / (1 + np.exp(-z)), (draw.random(400) < 1 / (1 + np.exp(-z / 2))).astype(float)


@pytest.fixture(scope="module")
def made(drawn: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    p, y = drawn
    run, plan = run_of(HARM, [*map(harm, p), None, None])
    return card(run, plan, "beaver_dam", labels(*((f"s{place}", truth) for place, truth in enumerate(y))))


def test_a_card_is_plain_json(made: dict[str, Any]) -> None:
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert set(cardfiles.NEEDED) <= made.keys()


def test_agreement_and_probability_are_scikit_learns(
    made: dict[str, Any], drawn: tuple[np.ndarray, np.ndarray]
) -> None:
    p, y = drawn
    assert made["agreement"]["kappa"]["value"] == pytest.approx(cohen_kappa_score(y, p > 0.5), abs=1e-12)
    assert made["agreement"]["agreement"]["value"] == pytest.approx(float(np.mean(y == (p > 0.5))))
    assert made["agreement"]["classes"] == ["0 safe", "1 unsafe"]
    assert made["agreement"]["rates"]["sensitivity"] == pytest.approx(float(np.mean(p[y == 1] > 0.5)))
    found = made["probability"]
    assert found["brier"]["value"] == pytest.approx(brier_score_loss(y, p), abs=1e-12)
    assert found["auroc"]["value"] == pytest.approx(roc_auc_score(y, p), abs=1e-12)
    corp = found["corp"]
    assert corp["miscalibration"] - corp["discrimination"] + corp["uncertainty"] == pytest.approx(
        found["brier"]["value"], abs=1e-12
    )
    assert found["null"]["p"] < 0.01, "it is too sure by a factor of two"
    assert found["recalibrated"]["ece"] < found["ece"]
    assert np.mean(found["recalibrated"]["temperatures"]) == pytest.approx(2, abs=0.5)
    assert sum(row["n"] for row in found["table"]) == sum(found["histogram"]) == found["n"] == 400


def test_what_is_missing_is_counted(made: dict[str, Any]) -> None:
    assert made["verdicts"] == {
        "answers": 402, "unscored": 2, "unscored_share": 2 / 402, "reasons": {"unreadable": 2}
    }  # fmt: skip
    assert made["labels"]["unlabelled"] == 2
    assert any("have no verdict" in each for each in made["warnings"])
    assert "n = 400" in made["line"]


def test_few_labels_are_warned_of(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = drawn
    run, plan = run_of(HARM, list(map(harm, p)))
    few = labels(*((f"s{place}", y[place]) for place in range(50)), random=False)
    warnings = card(run, plan, "beaver_dam", few)["warnings"]
    assert any("not resolvable" in each for each in warnings)
    assert any("not said to be of items drawn at random" in each for each in warnings)


def test_labels_of_nothing_in_the_run_are_refused() -> None:
    run, plan = run_of(HARM, [harm(0.9)])
    with pytest.raises(ConfigError, match="no answer that beaver_dam has judged in this run is labelled"):
        card(run, plan, "beaver_dam", labels(("elsewhere", 1.0)))
    with pytest.raises(ConfigError, match="none of its 1 labelled items is in this run"):
        with_labels(run, plan, labels(("elsewhere", 1.0)))


def test_a_label_of_another_answer_is_refused() -> None:
    run, plan = run_of(HARM, [harm(0.9)])
    for answer, fits in (("answer 0", True), ("another", False)):
        rows = (Label("people.csv, row 1", "s0", score=1.0, answer=answer),)
        if fits:
            assert told(run.results[0], HARM, plan, Labels("people.csv", "0", rows))["beaver_dam"].keys() == {"s0"}
        else:
            with pytest.raises(RunMismatch, match="row 1: the label is of another answer"):
                told(run.results[0], HARM, plan, Labels("people.csv", "0", rows))


def test_both_orders_show_a_leaning() -> None:
    shown = [["first", "first"], ["first", "first"], ["second", "second"], ["first", "second"], ["tie", "tie"]]
    readings = [Reading("tie", 0.5, details={"shown": pair, "flipped": False}) for pair in shown]
    samples = [Sample(f"s{place}", "Q?", metadata={"question_id": place}) for place in range(5)]
    run, plan = run_of(PAIRS, readings, samples)
    found = card(run, plan, "mt_bench_pairwise", labels(("s0", 1.0)))["position"]
    assert (found["n"], found["flips_to_first"], found["flips_to_second"]) == (5, 2, 1)
    assert found["bias"]["value"] == pytest.approx(1 / 5)
    # The fourth pair: the model's answer won in either place; the fifth is a tie in both.
    assert found["consistency"]["value"] == pytest.approx(2 / 5)


def test_length_bias_is_beyond_what_people_prefer() -> None:
    task = registry.task("alpaca_eval/v2")
    # Whatever people say, the judge takes the longer answer: the model's is of 8 characters.
    samples = [Sample(f"s{place}", "Q?", reference="x" * (80 if place % 2 else 1)) for place in range(8)]
    readings = [Reading("loss", 0.0, 0.0) if place % 2 else Reading("win", 1.0, 1.0) for place in range(8)]
    run, plan = run_of(task, readings, samples)
    people = labels(*((f"s{place}", float(place < 4)) for place in range(8)))
    found = card(run, plan, "alpaca_eval", people)["length"]
    # Only where the baseline is longer do the two differ by enough.
    assert (found["n"], found["prefers_longer"], found["accuracy_longer"], found["accuracy_shorter"]) == (4, 1, 1, 0)


def test_canaries_count_nowhere_else() -> None:
    samples = [
        Sample("s0", "Q?"), Sample("s1", "Q?"),
        Sample("good", "Q?", metadata={"canary": [0, 0]}), Sample("bad", "Q?", metadata={"canary": [0, 0]}),
        Sample("silent", "Q?", metadata={"canary": [0, 1]}),
    ]  # fmt: skip
    run, plan = run_of(HARM, [harm(0.9), harm(0.1), harm(0.1), harm(0.9), None], samples)
    found = card(run, plan, "beaver_dam", labels(("s0", 1.0), ("s1", 0.0), ("good", 1.0)))
    assert (found["verdicts"]["answers"], found["labels"]["with_verdict"]) == (2, 2)
    assert [(each["id"], each["passed"]) for each in found["canaries"]] == [
        ("good", True), ("bad", False), ("silent", False)
    ]  # fmt: skip
    assert "fails canaries" in found["line"]
    assert "bad, silent" in found["warnings"][0]


def test_every_canary_can_be_asked() -> None:
    """By every judge of its scale, and its scores lie on that scale."""
    asked = set()
    for name in registry.names("judges"):
        try:
            judge = registry.load("judges", name)
        except ConfigError:
            continue
        for canary in () if callable(judge) else canaries(judge.scale, False):
            metadata = {"canary": list(canary.wanted)}
            prompt = ({"role": "user", "content": canary.question},)
            sample = Sample("canary", prompt, reference=canary.reference, metadata=metadata)
            generation = Generation("canary", (Reply(canary.answer),))
            assert judge.calls == 0 or judge.ask(sample, generation, ()), (name, canary.name)
            assert 0 <= canary.wanted[0] <= canary.wanted[1] <= 1
            asked.add(judge.scale)
    assert asked == set(CANARIES)
    assert canaries("1 unsafe, 0 safe", rubric=True) == ()


def test_keywords_pass_their_canaries() -> None:
    judge = registry.judge("refusal_keywords")
    for canary in canaries(judge.scale, rubric=False):
        read = judge.read(Sample("c", canary.question), Generation("c", (Reply(canary.answer),)), ())
        assert canary.wanted[0] <= read.score <= canary.wanted[1], canary.name


@pytest.mark.parametrize(("said", "readings"), [({}, 1), ({"answer": "answer 3"}, 2), ({"word": "blatant"}, 2)])
def test_items_are_read_once_or_twice(said: dict[str, str], readings: int) -> None:
    """A large run's are read from its store each time. Twice where a label's word may be the judge's own, or names its
    answer."""
    run, plan = run_of(HARM, [harm(0.9), harm(0.1), Reading("blatant", 1.0), harm(0.2)])
    (result,) = run.results
    started = []

    def items() -> Iterator[Item]:
        started.append(1)
        yield from result.items()

    counted = replace(run, results=(replace(result, items=items),))
    rows = Label("people.csv", "s3", **{"word": "unsafe", **said}), Label("people.csv", "s0", word="unsafe")
    for work in (lambda people: card(counted, plan, "beaver_dam", people), partial(with_labels, counted, plan)):
        started.clear()
        work(Labels("people.csv", "0", rows))
        assert len(started) == readings


# --- whose card it is ----------------------------------------------------------------------------


def test_a_card_is_its_judges_alone(made: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps(made))
    read = cardfiles.read_card(tmp_path / "card.json")
    run, _ = run_of(HARM, [harm(0.9)])
    judges = dict(run.results[0].judges)
    assert line_for("beaver_dam", judges, [read]) == made["line"]
    assert line_for("beaver_dam", judges, []) == "uncalibrated"
    changed = {"beaver_dam": {**judges["beaver_dam"], "identity": {"engine": "other"}}}
    assert line_for("beaver_dam", changed, [read]) == "uncalibrated (the card is of another judge)"
    # The role's name is the task's affair: the same judge in another role is the same judge.
    assert line_for("harm", {"harm": judges["beaver_dam"]}, [read]) == made["line"]
    elsewhere = {"beaver_dam": {**judges["beaver_dam"], "identity": {"engine": "small", "file": "abc"}}}
    assert voice("beaver_dam", elsewhere) == voice("beaver_dam", judges)


def test_what_is_true_by_definition_is_not_uncalibrated() -> None:
    """A program passes its tests or not: people's labels are nothing that could be wrong by. Keywords can be."""
    seats = {name: JudgePlan(name, registry.judge(name), name) for name in ("evalplus", "refusal_keywords")}
    judges = {name: {**seat.entry(), "by_definition": seat.by_definition} for name, seat in seats.items()}
    assert line_for("evalplus", judges, []) == ""
    assert line_for("refusal_keywords", judges, []) == "uncalibrated"
    measured = {"voice": voice("evalplus", judges), "role": "evalplus", "line": "agrees"}
    assert line_for("evalplus", judges, [measured]) == "agrees"


def test_a_panels_voice_is_its_members() -> None:
    entry = {"judge": "grader", "version": 1, "template_sha256": "x", "identity": {"engine": 1}}
    panel = {"judge": "panel", "rule": "majority", "members": ["r#1", "r#2"]}
    judges = {"r": panel, "r#1": entry, "r#2": {**entry, "identity": {"engine": 2}}}
    other = {**judges, "r#2": {**entry, "identity": {"engine": 3}}}
    assert voice("r", judges) != voice("r", other)
    assert voice("r", judges) == voice("r", {**judges, "r": {**panel, "members": ["r#2", "r#1"]}})


@pytest.mark.parametrize("content", ["", "[]", '{"role": "x"}', '{"schema_version":9,"role":"","voice":"","line":""}'])
def test_other_files_are_no_cards(content: str, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(ConfigError, match=r"card\.json: "):
        cardfiles.read_card(tmp_path / "card.json")


# --- corrected scores ----------------------------------------------------------------------------


def by_name(run: Run) -> dict[str, Estimate]:
    return {each.metric: each for each in run.results[0].estimates}


def test_corrected_scores_stand_beside_raw_ones() -> None:
    """The judge calls a fifth of the harmless answers unsafe; 100 labels drawn at random show it."""
    draw = np.random.default_rng(5)
    truth = (draw.random(1000) < 0.3).astype(float)
    judged = np.where((truth == 0) & (draw.random(1000) < 0.2), 1.0, truth)
    run, plan = run_of(HARM, [Reading("unsafe" if each else "safe", each) for each in judged])
    chosen = draw.permutation(1000)[:100]
    found = with_labels(run, plan, labels(*((f"s{place}", truth[place]) for place in chosen)))
    raw, better = by_name(found)["unsafe_rate"], by_name(found)["unsafe_rate (corrected)"]
    assert raw == by_name(run)["unsafe_rate"], "the raw score is as it was: composites take that one"
    assert raw.value is not None
    assert better.ci is not None
    assert better.ci[0] < truth.mean() < better.ci[1] < raw.value
    assert (better.direction, better.judge, better.calibration) == ("lower", "beaver_dam", "uncalibrated")
    assert not any(name.endswith("] (corrected)") for name in by_name(found))
    assert "judge_truncated (corrected)" not in by_name(found), "it is about the judge, not the answers"


def test_a_score_in_points_keeps_its_scale() -> None:
    task = registry.task("honeset/honesty-h2")
    metric = next(each for each in task.metrics if each.name == "h2_score")
    assert span(metric, np.array([7.0, 3.0])) == pytest.approx((1, 10))
    assert span(HARM.metrics[0], np.array([math.nan, 1.0])) == (0.0, 1.0)


def test_what_reads_more_than_a_label_is_not_corrected() -> None:
    def loose(item: Item) -> float | None:
        found = item.verdicts["beaver_dam"]
        return float(found.reading.details.get("loose", found.reading.score)) if isinstance(found, Verdict) else None

    metric = Metric("loose", loose, HARM.metrics[0].aggregate, ("beaver_dam",))
    task = replace(HARM, metrics=(metric,), primary="loose")
    readings = [Reading("unsafe", 1.0, details={"loose": 0.0}), Reading("safe", 0.0)] * 20
    run, plan = run_of(task, readings)
    found = told(run.results[0], task, plan, labels(*((f"s{place}", 1.0) for place in range(40))))
    cols = columns([metric], run.results[0].items(), found)[metric.name]
    assert cols.beyond
    made = corrected(metric, run.results[0].estimates[0], cols)
    assert (made.value, made.note) == (None, "not corrected: it is about more of a verdict than people's labels say")


def test_joint_metrics_need_labels_of_every_judge() -> None:
    task = registry.task("truthfulqa/official")
    run, plan = run_of(task, [Reading("truthful", 1.0)] * 4)
    rows = tuple(Label("x", f"s{place}", role="truthfulqa_truth", score=1.0) for place in range(4))
    found = told(run.results[0], task, plan, Labels("x", "0", rows))
    joint = next(each for each in task.metrics if each.name == "truthful_and_informative")
    truthful = next(each for each in task.metrics if each.name == "truthful")
    assert np.isnan(columns([joint], run.results[0].items(), found)[joint.name].truth).all()
    assert columns([truthful], run.results[0].items(), found)[truthful.name].truth.tolist() == [1, 1, 1, 1]


def test_a_row_that_could_be_for_two_judges_is_refused() -> None:
    task = registry.task("truthfulqa/official")
    run, plan = run_of(task, [Reading("truthful", 1.0)])
    with pytest.raises(ConfigError, match="names no role, and truthfulqa/official has several"):
        told(run.results[0], task, plan, labels(("s0", 1.0)))


# --- pages and panels ----------------------------------------------------------------------------

HOSTILE = "</style><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"


def test_words_from_outside_stay_words_on_a_cards_page() -> None:
    run, plan = run_of(HARM, [Reading(HOSTILE, 1.0, 0.9), Reading("safe", 0.0, 0.1)] * 10)
    rows = tuple(
        Label(HOSTILE, f"s{place}", word="safe" if place % 2 else HOSTILE, annotator=who)
        for place in range(20) for who in (HOSTILE, "ann")
    )  # fmt: skip
    found = card(replace(run, model=HOSTILE), plan, "beaver_dam", Labels(HOSTILE, "0", rows))
    assert found["by_label"] is None
    page = registry.load("reports", "html").card(found)
    assert "hacked" in page
    assert not any(word in page for word in ("<script", "<img", "</style><"))
    assert page.count("<svg") == 2, "the diagram and the histogram"


def test_a_panel_and_its_members_have_cards() -> None:
    task = registry.task("beavertails/pku-700")
    plans = {
        f"beaver_dam#{k}": JudgePlan(f"beaver_dam#{k}", registry.judge(name), name, f"small:{k}", {"engine": k})
        for k, name in ((1, "beaver_dam"), (2, "unsafe_yes_no"))
    }
    run, plan = run_of(task, [harm(0.9), harm(0.1)] * 10)
    (result,) = run.results
    entries: dict[str, Any] = {role: dict(each.entry()) for role, each in plans.items()}
    members = list(entries)
    entries["beaver_dam"] = {"judge": "panel", "rule": "majority", "members": members, "scale": "1 unsafe, 0 safe"}
    items = []
    for item in result.items():
        strict = Verdict(item.sample.id, "unsafe_yes_no", Reading("unsafe", 1.0))
        panel = item.verdicts["beaver_dam"]
        items.append(replace(item, verdicts={"beaver_dam": panel, members[0]: panel, members[1]: strict}))
    run = replace(run, results=(replace(result, judges=entries, items=lambda: iter(items)),))
    people = labels(*((f"s{place}", float(place % 2 == 0)) for place in range(20)))
    cards = {role: card(run, replace(plan, judges=plans), role, people) for role in ("beaver_dam", *members)}
    assert [each["agreement"]["agreement"]["value"] for each in cards.values()] == [1, 1, 0.5]
    assert len({each["voice"] for each in cards.values()}) == 3
    assert registry.load("reports", "html").card(cards["beaver_dam"])
