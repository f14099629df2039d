"""People's labels of answers: what judges are measured against, and their scores corrected with.

A file has one label a row, as JSON lines, a JSON list or CSV:

    {"id": "xstest-1", "label": "full_refusal", "annotator": "ann", "random": true}

`id` is the sample's. `label` is a word of the judge's own scale, or `score` a number on it. Without `task` a row is for
any task that has the sample, without `role` for the judge whose role is asked for. Rows of several `annotator`s are
put together by majority, or by their mean on a graded scale; a row without one is the final word. `random` says that
the item was drawn at random from the run's, without a look at answers or verdicts. `answer`, where given, must be the
answer that the run holds: labels are about answers, not about questions.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from h3eval.errors import ConfigError
from h3eval.judgeplan import rule
from h3eval.types import Reading, Task
from h3eval.untrusted.files import sha256
from h3eval.untrusted.messages import shown
from h3eval.untrusted.rows import numbered

KEYS = ("task", "id", "role", "label", "score", "annotator", "random", "answer", "comment")
NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")
SCALE = re.compile(r"1 (.+), 0 (.+)")
COMMON = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0, "win": 1.0, "tie": 0.5, "draw": 0.5, "loss": 0.0}
"""What is understood on any scale from 0 to 1."""
SWITCH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True)
class Label:
    """One row: `word` is empty where it has a score alone. `place` names file and row for messages."""

    place: str
    id: str
    task: str = ""
    role: str = ""
    word: str = ""
    score: float | None = None
    annotator: str = ""
    random: bool | None = None
    answer: str | None = None


@dataclass(frozen=True)
class Labels:
    """A file of labels."""

    file: str
    sha256: str
    rows: tuple[Label, ...]
    all_random: bool = False
    """All were drawn at random, whatever their rows say: `--random-labels`."""
    words: Mapping[str, float] | None = None
    """What the user says that words mean: `--label-scores`."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What people say of an answer. `reading` is None where they are split. Answers of which the same is said share
    one object."""

    reading: Reading | None
    votes: Mapping[str, Reading]
    """By annotator."""
    random: bool


def read_labels(path: Path, all_random: bool = False, words: Mapping[str, float] | None = None) -> Labels:
    """A file of labels, checked row by row. Raise ConfigError naming the row and what is allowed."""
    rows = tuple(label_of(row, f"{path}, row {number}", KEYS) for number, row in _rows(path))
    if not rows:
        raise ConfigError(f"{path}: holds no labels")
    seen: dict[tuple[str, ...], Label] = {}
    for row in rows:
        key = (row.task, row.id, row.role, row.annotator)
        if key in seen:
            who = f" by {row.annotator}" if row.annotator else ""
            raise ConfigError(f"{row.place}: a second label of {row.id}{who} (the first: {seen[key].place})")
        seen[key] = row
    return Labels(path.name, sha256(path), rows, all_random, words)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        raise ConfigError(f"--labels {path}: no such file")
    return numbered(path)


def label_of(row: Mapping[str, Any], place: str, allowed: Sequence[str]) -> Label:
    """One row's label. Raise ConfigError for an unknown key, a missing one, or a value that is none."""
    check_keys(row, place, allowed)
    given = {key: value for key, value in row.items() if value not in (None, "")}
    if "id" not in given or not ({"label", "score"} & given.keys()):
        raise ConfigError(f"{place}: needs id, and label or score")
    label = given.get("label", "")
    # A bare number among the labels is a score.
    number = label if isinstance(label, int | float) and not isinstance(label, bool) else given.get("score")
    word = "" if number is label else _word(label, place)
    texts = {key: _name(given.get(key, ""), key, place) for key in ("id", "task", "role", "annotator")}
    answer = given.get("answer")
    if answer is not None and not isinstance(answer, str):
        raise ConfigError(f"{place}: answer must be text")
    return Label(place, **texts, word=word, score=_number(number, place), random=_switch(given, place), answer=answer)


def check_keys(row: Mapping[str, Any], place: str, allowed: Sequence[str]) -> None:
    """Raise ConfigError for a key that is not allowed, with the one that is meant. A column without a heading holds
    what pandas writes of its own: the rows' numbers."""
    for key in row:
        if key in allowed or not key:
            continue
        near = key.strip().casefold()
        meant = f"; write {near}" if near in allowed else ""
        raise ConfigError(f"{place}: unknown key {shown(key)}{meant} (allowed: {', '.join(allowed)})")


def of_no_item(labels: Labels, task: Task, ids: Collection[str]) -> list[Label]:
    """The rows that are for this task and of no sample of it: misspelt, or of other answers."""
    rows = [row for row in labels.rows if row.task in ("", task.name, task.id)]
    return [row for row in rows if row.role in ("", *task.judges) and row.id not in ids]


def _word(value: Any, place: str) -> str:
    if not isinstance(value, str | bool):
        raise ConfigError(f"{place}: label = {shown(value)}: expected a word or a number")
    return str(value).strip()


def _name(value: Any, key: str, place: str) -> str:
    """Ids, tasks and people are named by text, or by whole numbers."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        cure = "; write it as text" if isinstance(value, float) else ""
        raise ConfigError(f"{place}: {key} = {shown(value)}: expected text or a whole number{cure}")
    return str(value)


def _number(value: Any, place: str) -> float | None:
    if value is None:
        return None
    plain = NUMBER.fullmatch(value.strip()) if isinstance(value, str) else not isinstance(value, bool)
    number = float(value) if plain and isinstance(value, str | int | float) else math.nan
    if not math.isfinite(number):
        comma = isinstance(value, str) and NUMBER.fullmatch(value.strip().replace(",", ".", 1))
        cure = "; write a decimal point, not a comma" if comma else ""
        raise ConfigError(f"{place}: score = {shown(value)}: expected a number on the judge's scale{cure}")
    return number


def _switch(given: Mapping[str, Any], place: str) -> bool | None:
    if "random" not in given:
        return None
    found = SWITCH.get(str(given["random"]).casefold())
    if found is None:
        raise ConfigError(f"{place}: random = {shown(given['random'])}: expected true or false")
    return found


def ends(scale: str) -> dict[str, float]:
    """The two words of a scale of zeros and ones; none of a graded one."""
    found = SCALE.fullmatch(scale)
    return {found[1]: 1.0, found[2]: 0.0} if found else {}


@dataclass(frozen=True)
class Scale:
    """What words mean on a judge's scale. `seen` are the labels that the judge itself gave, with their scores."""

    text: str
    seen: Mapping[str, float]
    given: Mapping[str, float]

    @cached_property
    def ends(self) -> dict[str, float]:
        """The two words of a scale of zeros and ones."""
        return ends(self.text)

    @cached_property
    def words(self) -> dict[str, float]:
        """All words that are understood, those that count most last."""
        return {**COMMON, **self.seen, **self.ends, **self.given}

    @cached_property
    def scores(self) -> dict[str, float]:
        """The words' scores, however they are written."""
        layers = (COMMON, self.seen, self.ends, self.given)
        return {word.casefold(): score for layer in layers for word, score in layer.items()}

    @cached_property
    def names(self) -> dict[str, str]:
        """The judge's own words, however they are written."""
        return {word.casefold(): word for word in (*self.given, *self.seen, *self.ends)}

    @cached_property
    def known(self) -> dict[tuple[str, float | None], Reading]:
        """Words and scores that were read already."""
        return {}

    def settles(self, words: Set[str]) -> bool:
        """Are these words (casefolded, empty for a score) the scale's own two, whatever the judge called them?"""
        return bool(self.ends) and words <= {"", *(word.casefold() for word in self.ends)}

    def reading(self, label: Label) -> Reading:
        """A label as a judge's reading. Raise ConfigError for a word or a number that is not on the scale."""
        said = label.word, label.score
        if said not in self.known:
            self.known[said] = self._read(label)
        return self.known[said]

    def _read(self, label: Label) -> Reading:
        word = label.word.casefold()
        if label.score is None and word not in self.scores and NUMBER.fullmatch(word):
            # In a table everything is text: this is a bare number, as JSON has it.
            return self._read(replace(label, word="", score=_number(word, label.place)))
        if label.score is None and word not in self.scores:
            raise ConfigError(
                f"{label.place}: label {label.word!r} is not on the judge's scale ({self.text}); known: "
                f"{', '.join(sorted(self.words))}; say what it means with --label-scores {label.word}=SCORE"
            )
        score = self.scores[word] if label.score is None else label.score
        if self.ends and score not in (0.0, 1.0):
            raise ConfigError(f"{label.place}: {score:g} is not on the judge's scale ({self.text})")
        return Reading(self._name(label.word, score), score)

    def _name(self, word: str, score: float) -> str:
        """The judge's own name of this reading: the word where the judge knows it, else the scale's."""
        if word.casefold() in self.names:
            return self.names[word.casefold()]
        return next((each for each, value in self.ends.items() if value == score), word or f"{score:g}")


def truths(labels: Labels, task: Task, role: str, scale: Scale, default: bool) -> dict[str, Truth]:
    """What people say, by sample. `default`: rows without a role are for this one."""
    tasks, wanted = ("", task.name, task.id), ("", role) if default else (role,)
    first: dict[str, Label] = {}
    several: dict[str, list[Label]] = {}
    for row in labels.rows:
        if row.task in tasks and row.role in wanted and row is not first.setdefault(row.id, row):
            several.setdefault(row.id, [first[row.id]]).append(row)
    made: dict[Hashable, Truth] = {}
    found = {}
    for name, row in first.items():
        rows = several.get(name, ()) or (row,)
        said: Hashable = row.word, row.score, row.annotator, row.random
        if len(rows) > 1:
            said = tuple([(each.word, each.score, each.annotator, each.random) for each in rows])
        if said not in made:
            made[said] = _truth(rows, scale, labels.all_random)
        found[name] = made[said]
    return found


def _truth(rows: Sequence[Label], scale: Scale, all_random: bool) -> Truth:
    final = [row for row in rows if not row.annotator]
    votes = {row.annotator: scale.reading(row) for row in rows if row.annotator}
    reading = scale.reading(final[0]) if final else together(scale.text, votes.values())
    return Truth(reading, votes, all_random or all(row.random for row in rows))


def together(scale: str, votes: Iterable[Reading]) -> Reading | None:
    """Several people's reading: by majority on a scale of zeros and ones, else their mean. None where split."""
    readings = list(votes)
    scores = Counter(reading.score for reading in readings)
    if rule(scale) == "mean":
        value = math.fsum(reading.score for reading in readings) / len(readings)
        words = {reading.label for reading in readings}
        return Reading(words.pop() if len(words) == 1 else f"{value:g}", value)
    score, count = scores.most_common(1)[0]
    if 2 * count <= len(readings):
        return None
    named = Counter(reading.label for reading in readings if reading.score == score)
    return Reading(min(named, key=lambda each: (-named[each], each)), score)
