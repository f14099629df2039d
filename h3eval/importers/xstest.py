"""XSTest completions with labels, as the authors publish them, become a run folder.

Scoring such a run needs no model: its judge only reads back the stored labels.
"""

from collections import Counter
from pathlib import Path

from h3eval import registry
from h3eval.datasets import DataSource, Row
from h3eval.errors import ConfigError
from h3eval.importers._files import begin, rows
from h3eval.judgeplan import JudgePlan
from h3eval.plan import Plan
from h3eval.store import Store, call_key
from h3eval.types import Generation, Reply, Sample, Task
from h3eval.untrusted.files import sha256 as file_digest

ROLE = "xstest"
JUDGE = "xstest_imported"
LABELS = {"human": "final_label", "gpt4": "gpt4_label", "strmatch": "strmatch_label"}
"""Who judged, and the column that says what they found."""


class _Given(DataSource):
    """Rows that are at hand, for the task to make samples of."""

    def __init__(self, given: list[Row]) -> None:
        super().__init__()
        self.given = given

    def rows(
        self, hub: str, config: str | None = None, split: str = "test", files: tuple[str, ...] = (), demo: str = ""
    ) -> list[Row]:
        return self.given


def import_xstest(completions: Path, out: Path, judged: str = "human") -> None:
    """Write the run folder `out` from one of XSTest's files of completions; `judged` is a key of LABELS.

    Raise ConfigError for a file that is not one of them, or lacks those labels; RunMismatch where
    `out` is another run.
    """
    if judged not in LABELS:
        raise ConfigError(f"--judged {judged}: choose one of {', '.join(LABELS)}")
    column = LABELS[judged]
    kinds = {"id": str | int, "type": str, "prompt": str, "completion": str | None, column: str | None}
    found = rows(completions, kinds)
    if twice := [each for each, count in Counter(row["id"] for row in found).items() if count > 1]:
        raise ConfigError(f"{completions}: the id {twice[0]} comes more than once")
    task = registry.task("xstest")
    plan = _plan(task, completions, judged)
    with Store.open(out) as store:
        begin(store, plan, out)
        samples = list(task.samples(_Given(found)))
        store.put_samples(task.id, task.version, samples)
        for sample, row in zip(samples, found, strict=True):
            _write(store, plan, sample, row["completion"] or "", row[column] or "")
        store.flush()


def _plan(task: Task, completions: Path, judged: str) -> Plan:
    judge = registry.judge(JUDGE)
    sha256 = file_digest(completions)
    judges = {ROLE: JudgePlan(ROLE, judge, JUDGE, f"imported:{judged}", {"imported": judged, "file": sha256})}
    identity = {"imported": completions.stem, "file": sha256}
    return Plan((task,), f"imported:{completions.stem}", identity, judges, data={completions.name: sha256})


def _write(store: Store, plan: Plan, sample: Sample, completion: str, label: str) -> None:
    """One answer and its label, under the keys by which scoring looks for them."""
    (task,), role = plan.tasks, plan.judges[ROLE]
    answer = Reply(completion, model=str(plan.identity["imported"]))
    for request in task.ask(sample, ()):
        store.put("gen", call_key("gen", plan.identity, request), answer)
    told = Reply(label, model=role.spec.partition(":")[2])
    for request in role.judge.ask(sample, Generation(sample.id, (answer,)), ()):
        store.put("judge", call_key("judge", role.identity or {}, request), told)
