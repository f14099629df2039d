"""People's labels: what a file may say, what words mean on a judge's scale, and what several people say together."""

import json
from pathlib import Path
from typing import Any

import pytest

from h3eval import registry
from h3eval.errors import ConfigError
from h3eval.importers.labelled import read_set
from h3eval.labels import Label, Labels, Scale, read_labels, together, truths
from h3eval.types import Reading

UNSAFE, POINTS = "1 unsafe, 0 safe", "points, 1 to 10"
TASK = registry.task("beavertails/pku-700")


def written(folder: Path, *rows: dict[str, Any], name: str = "labels.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / name


def read(folder: Path, *rows: dict[str, Any]) -> Labels:
    return read_labels(written(folder, *rows))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "a"}, "needs id, and label or score"),
        ({"label": "safe"}, "needs id, and label or score"),
        ({"id": "a", "label": "safe", "anotator": "x"}, "unknown key 'anotator' (allowed: task, id, role"),
        ({"id": "a", "score": "high"}, "score = 'high': expected a number"),
        ({"id": "a", "score": "nan"}, "score = 'nan': expected a number"),
        ({"id": "a", "label": "safe", "random": "perhaps"}, "random = 'perhaps': expected true or false"),
        ({"id": "a", "label": "safe", "answer": 3}, "answer must be text"),
    ],
)
def test_rows_refused(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, {"id": "first", "label": "safe"}, row)
    assert said in str(caught.value)
    assert "labels.jsonl, row 2" in str(caught.value)


def test_files_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_labels(tmp_path / "none.jsonl")
    with pytest.raises(ConfigError, match="holds no labels"):
        read(tmp_path)
    with pytest.raises(ConfigError, match=r"row 2: a second label of a by ann \(the first: .*row 1\)"):
        read(tmp_path, *({"id": "a", "label": word, "annotator": "ann"} for word in ("safe", "unsafe")))


def test_csv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,label,score,random,comment\na,safe,,true,odd\nb,,1,false,\n")
    rows = ({"id": "a", "label": "safe", "random": True}, {"id": "b", "score": 1, "random": False})
    found = [
        [(row.id, row.word, row.score, row.random) for row in labels.rows]
        for labels in (read_labels(tmp_path / "labels.csv"), read(tmp_path, *rows))
    ]
    assert found[0] == found[1] == [("a", "safe", None, True), ("b", "", 1.0, False)]


@pytest.mark.parametrize(
    ("label", "reading"),
    [
        ({"label": "unsafe"}, Reading("unsafe", 1.0)),
        ({"label": "SAFE"}, Reading("safe", 0.0)),
        ({"label": "yes"}, Reading("unsafe", 1.0)),
        ({"label": False}, Reading("safe", 0.0)),
        ({"label": 1}, Reading("unsafe", 1.0)),
        ({"score": 0}, Reading("safe", 0.0)),
        ({"label": "drugs"}, Reading("drugs", 1.0)),
        ({"label": "harmful"}, Reading("harmful", 1.0)),
        # What the user says counts more than what the judge said.
        ({"label": "odd"}, Reading("odd", 0.0)),
    ],
)
def test_words_on_a_scale(tmp_path: Path, label: dict[str, Any], reading: Reading) -> None:
    scale = Scale(UNSAFE, {"drugs": 1.0, "odd": 1.0}, {"harmful": 1.0, "odd": 0.0})
    (row,) = read(tmp_path, {"id": "a", **label}).rows
    assert scale.reading(row) == reading


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ({"label": "terrible"}, "'terrible' is not on the judge's scale (1 unsafe, 0 safe); known: "),
        ({"label": "terrible"}, "--label-scores terrible=SCORE"),
        ({"score": 0.5}, "0.5 is not on the judge's scale"),
        ({"label": "tie"}, "0.5 is not on the judge's scale"),
    ],
)
def test_words_that_are_not_on_the_scale(tmp_path: Path, label: dict[str, Any], said: str) -> None:
    (row,) = read(tmp_path, {"id": "a", **label}).rows
    with pytest.raises(ConfigError) as caught:
        Scale(UNSAFE, {}, {}).reading(row)
    assert said in str(caught.value)


def votes(*scores: float) -> list[Reading]:
    return [Reading("unsafe" if score else "safe", score) for score in scores]


def test_several_people() -> None:
    assert together(UNSAFE, votes(1, 1, 0)) == Reading("unsafe", 1.0)
    assert together(UNSAFE, votes(1, 0)) is None
    assert together(POINTS, [Reading("7", 7.0), Reading("8", 8.0)]) == Reading("7.5", 7.5)
    # Classes of one score: the majority is of scores, its name the most frequent.
    kinds = [Reading("full", 1.0), Reading("partial", 1.0), Reading("partial", 1.0), Reading("safe", 0.0)]
    assert together(UNSAFE, kinds) == Reading("partial", 1.0)


def test_truths(tmp_path: Path) -> None:
    labels = read(
        tmp_path,
        {"id": "split", "label": "safe", "annotator": "ann"},
        {"id": "split", "label": "unsafe", "annotator": "bob"},
        {"id": "settled", "label": "safe", "annotator": "ann", "random": True},
        {"id": "settled", "label": "unsafe", "annotator": "bob", "random": True},
        {"id": "settled", "label": "unsafe", "random": True},
        {"id": "elsewhere", "label": "safe", "task": "xstest"},
        {"id": "other", "label": "safe", "role": "xstest"},
        {"id": "named", "label": "safe", "task": "beavertails", "role": "beaver_dam"},
    )
    found = truths(labels, TASK, "beaver_dam", Scale(UNSAFE, {}, {}), default=True)
    assert found.keys() == {"split", "settled", "named"}
    assert found["split"].reading is None
    assert found["settled"].reading == Reading("unsafe", 1.0)
    assert {name: vote.label for name, vote in found["settled"].votes.items()} == {"ann": "safe", "bob": "unsafe"}
    assert [found[name].random for name in ("split", "settled")] == [False, True]
    assert truths(labels, TASK, "beaver_dam", Scale(UNSAFE, {}, {}), default=False).keys() == {"named"}


SET = {"question": "Q?", "answer": "A.", "label": "safe"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Q?", "label": "safe"}, "needs question and answer"),
        ({"question": "", "answer": "A.", "label": "safe"}, "needs question and answer"),
        ({**SET, "metadata": 3}, "metadata must be an object"),
        ({**SET, "prompt": "x"}, "unknown key 'prompt'"),
        ({**SET, "canary": "low"}, "canary = 'low'"),
        ({**SET, "canary": [0]}, "expected a score, or the least and the highest"),
        ({"question": "Q?", "answer": "A."}, "needs id, and label or score"),
        (SET, "a second label of"),
        ({**SET, "id": "one", "answer": "B."}, "another question or answer under the id one"),
    ],
)
def test_sets_refused(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    file = written(tmp_path, SET, {**SET, "id": "one"}, row)
    with pytest.raises(ConfigError) as caught:
        read_set(file)
    assert said in str(caught.value)


def test_a_set_holds_each_answer_once(tmp_path: Path) -> None:
    rows = [{**SET, "annotator": name} for name in ("ann", "bob")]
    other = {**SET, "answer": "Another.", "reference": {"correct": ["x"]}, "role": "beaver_dam"}
    canary = {"question": "Q?", "answer": "", "canary": 0}
    found = read_set(written(tmp_path, *rows, other, canary))
    assert [each.answer for each in found.answers] == ["A.", "Another.", ""]
    assert [row.annotator for row in found.labels.rows] == ["ann", "bob", ""]
    assert found.answers[2].sample.metadata == {"canary": [0.0, 0.0]}
    # Other labels of the same answers make no other run.
    again = [{**row, "label": "unsafe"} if "label" in row else row for row in (*rows, other, canary)]
    assert read_set(written(tmp_path, *again)).sha256 == found.sha256
    assert read_set(written(tmp_path, *rows)).sha256 != found.sha256


def test_a_scale_settles_its_own_words_alone() -> None:
    """Where it does, nobody need look at what the judge called them."""
    assert Scale("1 refuses, 0 answers", {}, {}).settles({"", "refuses", "answers"})
    assert not Scale("1 refuses, 0 answers", {}, {}).settles({"refuses", "full_refusal"})
    assert not Scale("from 1 to 10", {}, {}).settles({""})
    # A judge's own spelling of a common word does not turn its meaning round.
    assert Scale("1 safe, 0 unsafe", {"UNSAFE": 1.0}, {}).reading(Label("x", "a", word="unsafe")).score == 0.0


def test_answers_of_which_the_same_is_said_share_what_is_said() -> None:
    rows = tuple(Label(f"row {k}", f"s{k // 2}", word="safe", annotator="ab"[k % 2]) for k in range(6))
    found = truths(Labels("x", "", rows), TASK, "beaver_dam", Scale("1 unsafe, 0 safe", {}, {}), True)
    assert len(found) == 3
    assert len({id(each) for each in found.values()}) == 1
    assert found["s1"].votes.keys() == {"a", "b"}
