"""Samples and estimates as JSONL and Parquet: the same rows, the same bytes, whatever stands in the texts."""

import json
import re
import tracemalloc
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from run_fixture import HOSTILE, alpaca, counted, judged_run, sample_run, written

from h3eval import registry
from h3eval.commands.stored import formats
from h3eval.errors import UsageError
from h3eval.types import Generation, Item, Reading, Reply, Run, Sample, Verdict

NAMES = ("every_eval_ever", "hf_eval_results", "jsonl", "notebook", "parquet")
rows = import_module("h3eval.reports._rows")
parquet = import_module("h3eval.reports.parquet")


@pytest.fixture(autouse=True)
def one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def one_run(items: list[Item]) -> Run:
    return Run("m", {}, (replace(alpaca(0, False), items=lambda: iter(items), n_samples=len(items)),), (), {})


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hostile", [False, True])
def test_the_same_run_gives_the_same_bytes(name: str, hostile: bool, tmp_path: Path) -> None:
    first = written(name, sample_run(12, hostile), tmp_path / "a")
    second = written(name, sample_run(12, hostile), tmp_path / "b")
    assert [file.relative_to(tmp_path / "a") for file in first] == [file.relative_to(tmp_path / "b") for file in second]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


@pytest.mark.parametrize("name", sorted({*NAMES} - {"hf_eval_results"}))
@pytest.mark.parametrize("run", [Run("m", {}, (), (), {}), sample_run(0)], ids=["empty", "no samples"])
def test_a_run_without_samples_can_be_exported(name: str, run: Run, tmp_path: Path) -> None:
    assert all(file.is_file() for file in written(name, run, tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_items_are_read_at_most_once(name: str, tmp_path: Path) -> None:
    run, reads = counted(sample_run(5))
    written(name, run, tmp_path)
    assert set(reads.values()) <= {1}


@pytest.mark.parametrize("name", NAMES)
def test_files_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    written(name, replace(sample_run(2, True), model="local:../../etc/\x00passwd"), tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_a_link_is_not_written_through(name: str, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("precious")
    (tmp_path / f"samples.{name}").symlink_to(tmp_path / "other")
    with pytest.raises(UsageError, match="not a plain file"):
        written(name, sample_run(1), tmp_path)
    assert (tmp_path / "other").read_text() == "precious"


def test_exports_are_written_only_where_they_are_asked_for() -> None:
    assert not {*formats(Namespace(format=None))} & {*NAMES}
    assert {"html", "lm_eval", "results", "terminal"} <= {*formats(Namespace(format=None))}
    assert formats(Namespace(format="parquet,html")) == ["parquet", "html"]
    assert {*NAMES} <= {*registry.names("reports")}


# --- the rows ------------------------------------------------------------------------------------


def test_every_column_is_documented() -> None:
    section = (Path(__file__).parents[2] / "docs" / "results.md").read_text().partition("## samples.jsonl")[2]
    names = {column.name for column in (*rows.SAMPLES, *rows.ESTIMATES)}
    assert {name for name in names if f"`{name}`" not in section} == set()


def test_a_sample_has_a_row_for_each_verdict_and_one_without_any(tmp_path: Path) -> None:
    run = sample_run(20)
    found = lines(written("jsonl", run, tmp_path)[0])
    assert all([*row] == [column.name for column in rows.SAMPLES] for row in found)
    assert Counter(row["task"] for row in found) == {
        "alpaca_eval": 20, "gsm8k": 20, "arc_challenge": 20, "truthfulqa": 40, "beavertails": 20, "xstest": 20,
    }  # fmt: skip
    judged = found[0]
    assert (judged["question"], judged["role"], judged["judge"], judged["label"], judged["score"]) == (
        "What would you pack for a day in the hills, case 0?", "alpaca_eval", "alpaca_eval_v2", "model", 0.93,
    )  # fmt: skip
    assert [message["role"] for message in judged["messages"]] == ["system", "user"]
    assert (judged["metadata"], judged["raw"], judged["failure"]) == ({"dataset": "helpful_base"}, "m", None)
    unread = found[3]
    assert (unread["failed_stage"], unread["failure"], unread["billed"]) == ("judge", "unreadable", "yes")
    assert (unread["label"], unread["score"]) == (None, None)
    assert unread["answer"].startswith("Pack water")
    (silent,) = (row for row in found if row["sample_id"] == "bt-5")
    assert (silent["failed_stage"], silent["failure"], silent["role"], silent["answer"]) == (
        "generate", "timeout", None, None,
    )  # fmt: skip
    chosen = next(row for row in found if row["task"] == "arc_challenge")
    assert (chosen["choices"][1], chosen["logprobs"]) == (" carbon dioxide", [-3.25, -4.25, -5.25, -6.25])


def test_replies_are_added_up(tmp_path: Path) -> None:
    replies = (Reply("one", tokens_in=3, tokens_out=4), Reply("two", "length", tokens_in=5, tokens_out=6, model="x-1"))
    run = one_run([Item(Sample("a", "?"), Generation("a", replies), {})])
    (row,) = lines(written("jsonl", run, tmp_path)[0])
    assert (row["answer"], row["answers"], row["finish_reason"]) == ("two", ["one", "two"], "length")
    assert (row["tokens_in"], row["tokens_out"], row["answered_by"]) == (8, 10, "x-1")


def test_numbers_that_are_none_are_null(tmp_path: Path) -> None:
    reading = Reading("odd", float("nan"), float("inf"), {"x": float("nan")})
    run = one_run([Item(Sample("a", "?"), Generation("a", (Reply("b"),)), {"r": Verdict("a", "j", reading)})])
    for name in ("jsonl", "parquet"):
        file = written(name, run, tmp_path)[0]
        (row,) = lines(file) if name == "jsonl" else pq.read_table(file).to_pylist()
        assert (row["score"], row["probability"]) == (None, None)


def test_estimates_are_those_of_results_json(tmp_path: Path) -> None:
    run = sample_run(30)
    whole = json.loads(written("results", run, tmp_path)[0].read_text())["estimates"]
    assert lines(written("jsonl", run, tmp_path)[1]) == whole
    flat = pq.read_table(written("parquet", run, tmp_path)[1]).to_pylist()
    assert len(flat) == len(whole) == 13
    for row, found in zip(flat, whole, strict=True):
        pairs = {key: found.pop(key) or [None, None] for key in ("ci", "bounds")}
        assert [[row.pop(f"{key}_low"), row.pop(f"{key}_high")] for key in pairs] == [*pairs.values()]
        details = row.pop("details")
        assert (json.loads(details) if details else {}) == found.pop("details")
        assert row == found


# --- Parquet -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hostile", [False, True])
def test_parquet_holds_what_jsonl_holds(hostile: bool, tmp_path: Path) -> None:
    run = sample_run(30, hostile)
    kinds = {column.name: column.kind for column in rows.SAMPLES}
    packed = pq.read_table(written("parquet", run, tmp_path)[0]).to_pylist()
    for row in packed:
        row.update({name: json.loads(row[name]) for name, kind in kinds.items() if kind == "json" and row[name]})
    assert packed == [rows.encodable(row) for row in lines(written("jsonl", run, tmp_path)[0])]
    if hostile:
        texts = {row["question"] for row in packed} | {row["raw"] for row in packed}
        assert {rows.encodable(attack) for attack in HOSTILE} <= texts


def test_jsonl_keeps_lone_surrogates_and_parquet_shows_them(tmp_path: Path) -> None:
    run = one_run([Item(Sample("a\ud800", "\x00"), Generation("a", (Reply("\udfff"),)), {})])
    (row,) = lines(written("jsonl", run, tmp_path)[0])
    assert (row["sample_id"], row["question"], row["answer"]) == ("a\ud800", "\x00", "\udfff")
    (packed,) = pq.read_table(written("parquet", run, tmp_path)[0]).to_pylist()
    assert (packed["sample_id"], packed["question"], packed["answer"]) == ("a\\ud800", "\x00", "\\udfff")


def test_the_columns_have_types_whatever_the_rows(tmp_path: Path) -> None:
    schemas = [
        pq.read_schema(file)
        for n in (0, 3)
        for file in written("parquet", sample_run(n), tmp_path / str(n))
    ]  # fmt: skip
    assert schemas[0].equals(schemas[2])
    assert schemas[1].equals(schemas[3])
    assert str(schemas[0].field("score").type) == "double"
    assert str(schemas[0].field("choices").type).startswith("list<")


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_long_runs_are_not_held_in_memory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MOST_CHARACTERS", 1_000_000)

    def items() -> Iterator[Item]:
        for index in range(800):
            yield Item(Sample(str(index), "?"), Generation(str(index), (Reply(f"{index} " * 10_000),)), {})

    run = Run("m", {}, (replace(alpaca(0, False), items=items, n_samples=800),), (), {})
    written(name, run, tmp_path)
    tracemalloc.start()
    file = written(name, run, tmp_path)[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6, f"{peak / 1e6:.0f} MB for 30 MB of answers"
    if name == "parquet":
        assert 25 < pq.ParquetFile(file).metadata.num_row_groups < 45
        assert pq.read_table(file).num_rows == 800


def test_row_groups_hold_whole_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MOST_ROWS", 100)
    file = written("parquet", judged_run(250), tmp_path)[0]
    found = pq.ParquetFile(file).metadata
    assert [found.row_group(place).num_rows for place in range(found.num_row_groups)] == [100, 100, 50]
    ids = pq.read_table(file).column("sample_id").to_pylist()
    assert ids == [f"alpaca-{index}" for index in range(250)]
    assert re.fullmatch(r"alpaca-\d+", ids[-1])
