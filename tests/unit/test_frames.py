"""`h3eval.load` and its tables, and the headline that a notebook shows."""

import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from run_fixture import HOSTILE, sample_run, written

import h3eval
from h3eval import registry
from h3eval.errors import UsageError
from h3eval.frames import frame
from h3eval.types import Run

rows = import_module("h3eval.reports._rows")


class Elements(HTMLParser):
    """Every start tag of a piece of HTML, and its `data` values."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.values: set[float] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.values |= {float(value or "") for name, value in attrs if name == "value"}


def tables(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    writer = registry.load("reports", "jsonl")
    return frame(writer.sample_columns, writer.samples(run)), frame(writer.estimate_columns, writer.estimates(run))


def test_importing_h3eval_brings_nothing_heavy() -> None:
    asked = "import h3eval, sys; print(sorted({'pandas', 'numpy', 'pyarrow', 'rich', 'sqlite3'} & {*sys.modules}))"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=600)
    assert told.stdout == "[]\n"


@pytest.mark.parametrize("hostile", [False, True])
def test_tables_hold_what_parquet_holds(hostile: bool, tmp_path: Path) -> None:
    run = sample_run(30, hostile)
    found = tables(run)
    for table, file, columns in zip(
        found, written("parquet", run, tmp_path), (rows.SAMPLES, rows.ESTIMATES), strict=True
    ):
        assert [*table.columns] == [column.name for column in columns]
        kinds = {column.name: column.kind for column in columns}
        told = [{name: None if missing(value) else value for name, value in row.items()} for row in records(table)]
        packed = pq.read_table(file).to_pylist()
        for row in packed:
            row.update({name: json.loads(row[name]) for name, kind in kinds.items() if kind == "json" and row[name]})
        assert told == packed


def records(table: pd.DataFrame) -> list[dict[str, object]]:
    found: list[dict[str, object]] = table.to_dict("records")
    return found


def missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))


@pytest.mark.parametrize("n", [0, 30])
def test_columns_have_the_same_types_with_and_without_rows(n: int) -> None:
    samples, estimates = tables(sample_run(n))
    for table, names in ((samples, ("score", "probability")), (estimates, ("value", "se", "ci_low"))):
        assert {str(table[name].dtype) for name in names} == {"float64"}
        assert str(table["task"].dtype) == "string"
    assert str(samples["position"].dtype) == "Int64"
    assert str(estimates["primary"].dtype) == "boolean"


def test_tables_answer_questions() -> None:
    samples, estimates = tables(sample_run(60))
    share = samples[samples.role == "beaver_dam"].score.mean()
    found = estimates[(estimates.metric == "unsafe_rate") & estimates.primary].iloc[0]
    assert share == pytest.approx(found.value)
    assert (samples.failure.dropna() == "timeout").sum() == found.n_failed == 3
    assert samples.query("task == 'alpaca_eval' and label == 'model'").details.iloc[0]["order"] == "swapped"


@pytest.mark.parametrize("hostile", [False, True])
def test_tables_can_be_shown_and_sent(hostile: bool) -> None:
    for table in tables(sample_run(30, hostile)):
        shown = table._repr_html_()
        assert json.dumps(shown, ensure_ascii=False).encode("utf-8")
        assert not Elements(shown).tags & {"script", "img", "svg", "iframe", "a", "base", "meta", "link"}


# --- the headline --------------------------------------------------------------------------------


def headline(run: Run) -> str:
    text: str = registry.load("reports", "notebook").fragment(run)
    return text


def test_the_headline_has_composites_and_primary_numbers(tmp_path: Path) -> None:
    run = sample_run(30)
    whole = json.loads(written("results", run, tmp_path)[0].read_text())
    primary = [each for each in whole["estimates"] if each["primary"]] + whole["composites"]
    numbers = {number for each in primary for number in (each["value"], *(each["ci"] or ())) if number is not None}
    text = headline(run)
    assert Elements(text).values == numbers
    assert "missing: xstest/gpt4: answer_rate" in text
    assert "no judge was given: h3eval judge RUN --judge xstest=BACKEND:MODEL" in text
    assert written("notebook", run, tmp_path)[0].read_text() == text


def test_a_hostile_headline_stays_text() -> None:
    run = sample_run(30, True)
    odd = replace(run.results[0].estimates[0], metric=HOSTILE[1], note=HOSTILE[0])
    run = replace(run, results=(replace(run.results[0], estimates=(odd,), primary=HOSTILE[1], task=HOSTILE[4]),))
    found = Elements(headline(run))
    known = {"div", "p", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "data", "mark"}
    assert found.tags <= known
    assert found.attributes <= {"value"}
    assert "\x1b" not in headline(run)
    assert headline(run).encode("utf-8")


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run here"):
        h3eval.load(tmp_path)
