"""Tables and rows as people keep them: read where there is one way to, else refused with row and column."""

import codecs
import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h3eval.datasets import DataSource, read_rows
from h3eval.errors import ConfigError, DataMissing
from h3eval.labels import read_labels
from h3eval.untrusted.rows import numbered

ROWS = [{"id": f"s{number}", "label": "yes"} for number in range(3)]
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)


def write(folder: Path, content: str | bytes, name: str = "labels.csv") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def table(separator: str = ",", end: str = "\n", last: str = "") -> str:
    return end.join(separator.join(cells) + last for cells in (("id", "label"), *(row.values() for row in ROWS)))


@pytest.mark.parametrize(
    "content",
    [
        table(),
        table(end="\r\n"),
        table(";", "\r\n"),
        table("\t"),
        table("|"),
        table(", "),
        table(last=","),
        table(last=",,"),
        table(";", last=";"),
        "sep=;\r\n" + table(";", "\r\n"),
        table() + "\n,\n\n",
        "\n\n" + table(),
        table().replace("label", " label "),
        table().encode("utf-8-sig"),
        table().encode("utf-16"),
        codecs.BOM_UTF16_BE + table().encode("utf-16-be"),
        gzip.compress(table().encode()),
        "\n".join(json.dumps(row) for row in ROWS),
        json.dumps(ROWS),
        json.dumps(ROWS).encode("utf-16"),
    ],
)
def test_one_table_in_many_forms(tmp_path: Path, content: str | bytes) -> None:
    assert read_rows(write(tmp_path, content)) == ROWS


@pytest.mark.parametrize("name", ["a.json", "a.JSONL", "a.txt", "answers", "a.ndjson", "a.csv", "a.jsonl.gz"])
def test_json_lines_are_known_by_their_content(tmp_path: Path, name: str) -> None:
    lines = "\r\n".join(json.dumps(row) for row in ROWS)
    assert read_rows(write(tmp_path, lines, name)) == ROWS
    assert read_rows(write(tmp_path, json.dumps(ROWS, indent=1), name)) == ROWS


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (table() + "\ns4,yes,oops\n", r"row 5, column C \(3\): 'oops' stands in a column without a heading"),
        (table() + "\ns4", "row 5: 1 cells, and the heading names 2 columns"),
        ("id,label,id\n1,yes,2", r"column C \(3\): a second column 'id'"),
        ("id,label\n1,\0", "NUL"),
        ('id,label\n1,"yes', "row 2"),
        ('id,label\n1,"yes"no', "row 2"),
        (table(";").replace("label", "la,bel").replace("yes", "y,es"), "commas or semicolons separate"),
        (table().encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (table().encode("utf-32"), "UTF-32"),
        ((table() + "\ns4,caf\xe9").encode("cp1252"), "line 5: not UTF-8 at byte 7"),
        (codecs.BOM_UTF16_LE + b"i", "UTF-16"),
        (b"PK\x03\x04rest", "spreadsheet .*CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0rest", "old spreadsheet"),
        (b"\x28\xb5\x2f\xfdrest", "zstd -d"),
        (b"BZh91AY", "bzip2"),
        (b"PAR1", "Parquet"),
        (gzip.compress(table().encode())[:-9], "can't be read"),
        (gzip.compress(table().encode())[:12] + b"\xff" * 20, "can't be read"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_its_place(
    tmp_path: Path, content: str | bytes, says: str
) -> None:
    file = write(tmp_path, content)
    with pytest.raises(ConfigError, match=says) as caught:
        read_rows(file)
    assert str(file) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=6), st.sampled_from(",;\t|"), st.booleans()
)
def test_what_the_library_writes_is_read_back(cells: list[list[str]], separator: str, every: bool) -> None:
    text = io.StringIO(newline="")
    how = csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL
    csv.writer(text, delimiter=separator, quoting=how).writerows([["a", "b", "c"], *cells])
    file = Path(f"/dev/shm/{abs(hash(text.getvalue()))}.csv") if Path("/dev/shm").is_dir() else Path("cells.csv")
    file.write_text(text.getvalue(), encoding="utf-8", newline="")
    try:
        wanted = [dict(zip("abc", row, strict=True)) for row in cells if any(cell.strip() for cell in row)]
        assert read_rows(file) == wanted
    finally:
        file.unlink()


def test_rows_are_counted_as_a_spreadsheet_counts_them(tmp_path: Path) -> None:
    file = write(tmp_path, 'id,label\n\na,"two\nlines"\nb,x\n')
    assert [number for number, _ in numbered(file)] == [3, 4]
    assert [row["label"] for _, row in numbered(file)] == ["two\nlines", "x"]


def test_answers_longer_than_the_librarys_own_limit_are_read(tmp_path: Path) -> None:
    long = "x" * 300_000
    assert read_rows(write(tmp_path, f"id,answer\n1,{long}\n")) == [{"id": "1", "answer": long}]


def test_a_column_without_a_heading_is_pandas_own(tmp_path: Path) -> None:
    file = write(tmp_path, ",id,label\n0,a,yes\n1,b,no\n")
    assert read_rows(file)[1] == {"": "1", "id": "b", "label": "no"}
    assert [row.id for row in read_labels(file).rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"Id": "a", "label": "yes"}, "row 1: unknown key 'Id'; write id"),
        ({"id": 1.0, "label": "yes"}, "id = 1.0: expected text or a whole number; write it as text"),
        ({"id": {"a": 1}, "label": "yes"}, "id = {'a': 1}"),
        ({"id": True, "label": "yes"}, "id = True"),
        ({"id": "a", "label": ["yes"]}, "label = \\['yes'\\]: expected a word or a number"),
        ({"id": "a", "score": "0,5"}, "score = '0,5'.*decimal point, not a comma"),
        ({"id": "a", "score": "1_0"}, "score = '1_0'"),
        ({"id": "a", "score": "nan"}, "score = 'nan'"),
        ({"id": "a", "score": "１"}, "score"),
        ({"id": "a", "score": True}, "score = True"),
        ({"id": "a", "score": [1]}, "score = \\[1\\]"),
        ({"id": "a", "label": "yes", "annotator": {}}, "annotator = {}"),
        ({"id": "a", "label": "yes", "random": "perhaps"}, "random = 'perhaps'"),
        ({"id": "a", "label": "yes", "answer": 3}, "answer must be text"),
    ],
)
def test_labels_that_are_no_labels_are_named(tmp_path: Path, row: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_labels(write(tmp_path, json.dumps(row), "labels.jsonl"))


def test_spreadsheets_booleans_and_numbers(tmp_path: Path) -> None:
    found = read_labels(write(tmp_path, "id,score,random\n1, 0.5 ,TRUE\n2,1e0,FALSE\n")).rows
    assert [(row.id, row.score, row.random) for row in found] == [("1", 0.5, True), ("2", 1.0, False)]


def test_a_task_says_which_column_its_file_lacks(tmp_path: Path) -> None:
    write(tmp_path, "number;prompt\n1;x\n", "p.csv")
    (row,) = DataSource(tmp_path).rows("hub/x", files=("p.csv",))
    assert row["prompt"] == "x"
    assert row.get("id") is None
    with pytest.raises(DataMissing, match=r"p\.csv.*, row 2: no column 'id' \(there are: number, prompt\)"):
        row["id"]
