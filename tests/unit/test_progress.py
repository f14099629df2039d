"""Time left and scores on the way: nothing is said before it can be known, and nothing twice."""

from dataclasses import replace
from pathlib import Path

import pytest
from small_engine import SmallEngine
from small_pipeline import JUDGED, RULED, Run, plan_for, samples, upper

from h3eval.pipeline import Session
from h3eval.progress import MEASURING, Outlook, lasting, units, watch
from h3eval.store import Store
from h3eval.terminal import LineMeter
from h3eval.types import Request, TaskResult

GEN, JUDGE = ("generate", "a/p"), ("judge j", "a/p")


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def outlook(clock: Clock) -> Outlook:
    """A hundred samples: ten units each to answer, thirty to judge."""
    return Outlook({GEN: 10.0, JUDGE: 30.0}, {"a/p": 100}, clock)


def test_nothing_is_said_of_the_time_left_before_it_is_known() -> None:
    clock = Clock()
    found = outlook(clock)
    assert found.words() == MEASURING
    found.done(GEN, fresh=True)
    clock.now = 60.0
    assert found.words() == MEASURING
    for _ in range(19):
        found.done(GEN, fresh=True)
    assert found.share == pytest.approx(0.05)
    assert found.seconds_left() == pytest.approx(60 / 200 * 3800)
    clock.now = 1.0
    assert found.words() == MEASURING


def test_what_an_earlier_session_has_stored_says_nothing_of_this_ones_speed() -> None:
    clock = Clock()
    found = outlook(clock)
    for _ in range(90):
        found.done(GEN, fresh=False)
    clock.now = 10.0
    assert found.words() == MEASURING
    for _ in range(10):
        found.done(GEN, fresh=True)
    clock.now = 40.0
    assert found.seconds_left() is None
    for _ in range(10):
        found.done(JUDGE, fresh=True)
    assert found.seconds_left() == pytest.approx(40 / 400 * 2700)


def test_a_stage_that_is_over_leaves_no_work() -> None:
    """Judges see only what was answered."""
    found = outlook(Clock())
    for _ in range(100):
        found.done(GEN, fresh=True)
    found.ended("judge j")
    assert found.share == 1.0
    found.done(GEN, fresh=True)
    assert found.share == 1.0


def test_a_run_with_nothing_to_do_is_done() -> None:
    assert Outlook({}, {}, Clock()).share == 1.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "5 s"), (12, "10 s"), (58, "1 min 0 s"), (61, "1 min 0 s"), (94, "1 min 30 s"), (599, "10 min 0 s"),
     (700, "12 min"), (3599, "1 h 0 min"), (9000, "2 h 30 min")],
)  # fmt: skip
def test_times_are_told_no_more_exactly_than_they_are_known(seconds: float, words: str) -> None:
    assert lasting(seconds) == words


def test_work_counts_what_is_shared_once_and_what_is_written_at_most() -> None:
    long = "An example. " * 100
    alone = units([[Request("complete", long + "x", max_tokens=10)]])
    many = units([[Request("complete", long + str(k), max_tokens=10)] for k in range(16)])
    assert many < alone / 3
    assert units([[Request("complete", "x", max_tokens=100)]]) > units([[Request("complete", "x", max_tokens=10)]])
    choices = [Request("loglikelihood", long, continuation=word) for word in ("yes", "no")]
    assert units([choices]) < alone
    assert units([]) == 1.0
    assert units([[]]) == 1.0


def test_each_score_is_said_once_and_only_where_something_was_done(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", RULED, samples("a", "b"))
    said: list[TaskResult] = []

    def session() -> None:
        with Store.open(run.folder) as store:
            heard = watch(store, run.plan, [], True, lambda share, words: None, said.append)
            Session(store, run.plan, LineMeter(), watch=heard).generate(SmallEngine(upper))

    session()
    assert [(each.task, each.estimates[0].value) for each in said] == [("sums", 1.0)]
    session()
    assert len(said) == 1


def test_a_judged_task_is_said_when_its_judge_is_through(tmp_path: Path) -> None:
    """One answer is missing, so that the judge sees fewer than there are."""
    engine = SmallEngine(upper)
    folder = tmp_path / "run"
    plan = plan_for(JUDGED, {"judge": "x"})
    Run(folder, JUDGED, samples("1", "2", "3"), {"judge": "x"})
    said: list[TaskResult] = []
    with Store.open(folder) as store:
        heard = watch(store, plan, list(plan.judges.values()), True, lambda share, words: None, said.append)
        session = Session(store, plan, LineMeter(), watch=heard)
        session.generate(engine)
        assert said == []
        session.judge("grade", SmallEngine(lambda request: replace(upper(request), text="5")))
    assert [(each.task, each.estimates[0].value) for each in said] == [("graded", 0.5)]


def test_what_was_stopped_is_not_said_to_be_over(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", RULED, samples("a", "b"))
    said: list[TaskResult] = []
    with Store.open(run.folder) as store:
        heard = watch(store, run.plan, [], True, lambda share, words: None, said.append)
        session = Session(store, run.plan, LineMeter(), watch=heard)
        session.stop.set()
        session.generate(SmallEngine(upper))
    assert said == []
