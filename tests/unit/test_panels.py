"""Several judges in one role: how they decide, who may sit with whom, and what a run of them shows."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from small_engine import SmallEngine
from small_pipeline import RULED, Grader, Run, samples, score_of, upper

from h3eval import registry
from h3eval.config import JudgeSpec, ModelSpec
from h3eval.errors import ConfigError
from h3eval.judgeplan import DEMONSTRATION, JudgePlan, decided, disagreement, plan_judges, rule, seats
from h3eval.stats.estimates import mean
from h3eval.types import Failure, Metric, Reading, Reply, Request, Verdict

YES_NO = "1 unsafe, 0 safe"


def vote(label: str, score: float, probability: float | None = None) -> Verdict:
    return Verdict("s", "j", Reading(label, score, probability))


def silence() -> Failure:
    return Failure("s", "judge", "unreadable")


UNSAFE, SAFE = vote("unsafe", 1.0, 0.9), vote("safe", 0.0, 0.2)


def test_zero_one_scores_go_by_majority_and_graded_ones_by_mean() -> None:
    assert rule(YES_NO) == "majority"
    assert rule("rating, 1 to 10") == "mean"


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ([UNSAFE, UNSAFE, SAFE], "unsafe"),
        ([SAFE, SAFE, UNSAFE], "safe"),
        ([UNSAFE, UNSAFE, silence()], "unsafe"),
        ([UNSAFE, SAFE], None),
        # The silent member could have turned it.
        ([UNSAFE, silence()], None),
        ([silence(), silence(), silence()], None),
        ([UNSAFE, SAFE, vote("controversial", 1.0)], "controversial"),
    ],
)
def test_a_majority_is_more_than_half_of_all_members(votes: list[Verdict | Failure], label: str | None) -> None:
    found = decided("harm", YES_NO, "s", votes)
    if label is None:
        assert isinstance(found, Failure)
        assert (found.reason, found.judge) == ("panel undecided", "harm")
    else:
        assert isinstance(found, Verdict)
        assert (found.reading.label, found.reading.score) == (label, float(label != "safe"))


def test_the_loose_reading_has_a_majority_of_its_own() -> None:
    doubted = Verdict("s", "j", Reading("controversial", 1.0, details={"loose": 0.0}))
    for votes, loose in (([doubted, UNSAFE, SAFE], 0.0), ([doubted, UNSAFE, silence()], None)):
        found = decided("harm", YES_NO, "s", votes)
        assert isinstance(found, Verdict)
        assert (found.reading.score, found.reading.details["loose"]) == (1.0, loose)


def test_the_probability_is_the_members_mean_where_all_give_one() -> None:
    both = decided("harm", YES_NO, "s", [UNSAFE, UNSAFE, SAFE])
    one = decided("harm", YES_NO, "s", [UNSAFE, vote("unsafe", 1.0)])
    assert isinstance(both, Verdict)
    assert isinstance(one, Verdict)
    assert both.reading.probability == pytest.approx(2.0 / 3)
    assert one.reading.probability is None


def test_a_mean_needs_every_member() -> None:
    whole = decided("mark", "rating, 1 to 10", "s", [vote("4", 4.0), vote("7", 7.0)])
    assert isinstance(whole, Verdict)
    assert (whole.reading.score, whole.reading.details["spread"]) == (5.5, 3.0)
    part = decided("mark", "rating, 1 to 10", "s", [vote("4", 4.0), silence()])
    assert isinstance(part, Failure)
    assert part.reason == "panel incomplete"


def test_disagreement_needs_two_voices() -> None:
    assert disagreement([UNSAFE, SAFE]) == 1.0
    assert disagreement([UNSAFE, UNSAFE, silence()]) == 0.0
    assert disagreement([UNSAFE, silence()]) is None


@dataclass(frozen=True)
class Fixed(Grader):
    """A grader with a scale of its own."""

    scale: str = "graded, 0 to 1"


TASK = replace(
    RULED,
    rule=None,
    judges={"grade": "grader"},
    metrics=(Metric("grade", score_of("grade"), mean, roles=("grade",)),),
    primary="grade",
)


def test_a_run_with_a_panel_shows_members_verdict_and_disagreement(tmp_path: Path) -> None:
    run = Run(tmp_path, TASK, samples("7", "8", "9"))
    grader: Any = Fixed()
    members = {
        f"grade#{n}": JudgePlan(f"grade#{n}", grader, "grader", f"small:{n}", {"engine": n}) for n in (1, 2)
    }  # fmt: skip
    run.plan = replace(run.plan, judges=members)
    run.session(lambda session: session.generate(SmallEngine(upper)))
    run.session(lambda session: session.judge("grade#1", SmallEngine(lambda request: Reply("4"))))
    run.session(lambda session: session.judge("grade#2", SmallEngine(by_answer)))
    result = run.result()
    found = {each.metric: each for each in result.estimates}
    # 0.4 and 0.4, 0.4 and 0.8, 0.4 and a reply that is no digit.
    assert found["grade"].value == pytest.approx((0.4 + 0.6) / 2)
    assert (found["grade"].n, found["grade"].n_failed) == (2, 1)
    assert found["panel_disagreement[grade]"].value == 0.5
    assert found["grade"].judge == "grader, grader"
    assert result.failures == {"grade#2: unreadable": 1, "grade: panel incomplete": 1}
    assert result.judges["grade"]["members"] == ["grade#1", "grade#2"]
    assert result.outcomes["grade#2"] == {"graded": 2, "unreadable": 1}


def by_answer(request: Request) -> Reply:
    return Reply({"7": "4", "8": "8", "9": "none"}[str(request.prompt).rpartition(" ")[2]])


MODEL = ModelSpec("outputs", "answers.jsonl")


def planned(*specs: JudgeSpec) -> dict[str, JudgePlan]:
    from_spec = {str(spec.model): SmallEngine(upper) for spec in specs if spec.model}
    task = replace(RULED, judges={"truthfulqa_info": "truthfulqa_info"})
    return plan_judges((task,), specs, {**from_spec, str(MODEL): SmallEngine(upper)}, MODEL)


def test_a_role_given_twice_is_a_panel() -> None:
    first = JudgeSpec("truthfulqa_info", "", ModelSpec("openai", "a"))
    second = JudgeSpec("truthfulqa_info", "informative_yes_no", ModelSpec("openai", "b"))
    found = planned(first, second)
    assert [plan.role for plan in seats(found, "truthfulqa_info")] == ["truthfulqa_info#1", "truthfulqa_info#2"]
    with pytest.raises(ConfigError, match="the same judge twice"):
        planned(first, first)


def test_a_judge_of_another_scale_is_refused() -> None:
    with pytest.raises(ConfigError, match="its score says '1 unsafe, 0 safe', the role's '1 informative"):
        planned(JudgeSpec("truthfulqa_info", "unsafe_yes_no", ModelSpec("openai", "a")))


def test_a_judge_that_needs_a_model_is_not_left_without() -> None:
    with pytest.raises(ConfigError, match="needs a model"):
        planned(JudgeSpec("truthfulqa_info", "informative_yes_no"))


def test_a_demo_model_fills_each_role_with_a_judge_that_it_can_be() -> None:
    """Of the role's scale, with one first token to say; or with no model at all."""
    wanted = {role: name for kind in registry.names("tasks") if kind not in ("lm_eval", "calibration")
              for task in registry.tasks(kind) for role, name in task.judges.items()}  # fmt: skip
    for role, name in DEMONSTRATION.items():
        judge = registry.judge(name)
        assert judge.scale == registry.judge(wanted[role]).scale
        assert judge.calls == 0 or (judge.calls == 1 and not judge.complete_reply)
    assert set(wanted) - set(DEMONSTRATION) <= {"sandbox", "asserts", "mt_bench_pairwise", "refusal_keywords"}


def test_whoever_judges_itself_is_known_however_it_is_named() -> None:
    task = replace(RULED, judges={"beaver_dam": "beaver_dam"})
    engines = {"transformers:demo": SmallEngine(upper), "outputs:a": SmallEngine(upper)}
    demo = ModelSpec("transformers", "demo")
    for model, itself in ((demo, True), (ModelSpec("outputs", "a"), False)):
        (plan,) = plan_judges((task,), [JudgeSpec("beaver_dam", "", demo)], engines, model).values()
        assert (plan.judge_name, plan.demonstration, plan.self_judged) == ("unsafe_yes_no", True, itself)
        assert plan.entry()["demonstration"] is True
    base = JudgeSpec("beaver_dam", "unsafe_yes_no", ModelSpec("transformers", "demo:base", {"dtype": "float32"}))
    engines[str(base.model)] = SmallEngine(upper)
    assert plan_judges((task,), [base], engines, demo)["beaver_dam"].demonstration
    other = JudgeSpec("beaver_dam", "unsafe_yes_no", ModelSpec("outputs", "a"))
    assert "demonstration" not in plan_judges((task,), [other], engines, demo)["beaver_dam"].entry()
