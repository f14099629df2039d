"""Labels that are of no answer in a run: said before the numbers, for they would only make them rarer."""

from collections.abc import Collection, Sequence
from difflib import get_close_matches

from h3eval.errors import ConfigError
from h3eval.labels import Label, Labels, of_no_item
from h3eval.store import Reader
from h3eval.terminal import say
from h3eval.types import Task

SHOWN = 3


def strays(reader: Reader, tasks: Sequence[Task], labels: Labels) -> list[Label]:
    """The labels that are of no answer in the run, and say so. Raise ConfigError where all of them are."""
    found: dict[str, Label] = {}
    known: set[str] = set()
    for task in tasks:
        ids = {sample.id for sample in reader.samples(task.id, task.version)}
        known |= ids
        found |= {row.place: row for row in of_no_item(labels, task, ids)}
    lost = [row for row in found.values() if row.id not in known]
    if lost:
        named = ", ".join(f"{row.id!r}{_near(row.id, known)}" for row in lost[:SHOWN])
        more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
        told = f"{lost[0].place}: {len(lost)} of {len(labels.rows)} labels are of no answer in this run: {named}{more}"
        if len(lost) == len(labels.rows):
            raise ConfigError(f"{told}; ids are those of samples_*.jsonl and of h3eval export")
        say(told)
    return lost


def _near(name: str, known: Collection[str]) -> str:
    """A sample's id that is nearly this one, as a question."""
    if name.strip() in known:
        return " (without the spaces?)"
    near = get_close_matches(name, known, 1, 0.9)
    return f" (did you mean {near[0]}?)" if near else ""
