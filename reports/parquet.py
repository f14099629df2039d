"""samples.parquet and estimates.parquet: the same as jsonl in typed columns, for pandas, DuckDB or Spark.

Columns of JSON are text. Lone surrogates, which UTF-8 does not have, become the six characters of their escape.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from h3eval.types import Json, Run

from ._rows import ESTIMATES, SAMPLES, Column, Row, encodable, estimates, samples
from ._shared import line, write

MOST_ROWS, MOST_CHARACTERS = 5_000, 16_000_000
"""Of one row group: what is held in memory."""
TYPES = {
    "text": pa.string(),
    "flag": pa.bool_(),
    "integer": pa.int64(),
    "real": pa.float64(),
    "texts": pa.list_(pa.string()),
    "reals": pa.list_(pa.float64()),
    "json": pa.string(),
}


@dataclass(frozen=True)
class Parquet:
    """Writes both files, samples in row groups."""

    name: str = "parquet"
    on_request: bool = True

    def write(self, run: Run, folder: Path) -> tuple[Path, ...]:
        """Both files; memory does not grow with the samples. Raise UsageError where they can't be written."""
        return (
            write(folder, "samples.parquet", packed(SAMPLES, samples(run))),
            write(folder, "estimates.parquet", packed(ESTIMATES, estimates(run))),
        )


def packed(columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[bytes]:
    """The bytes of a Parquet file, handed over after every row group."""
    schema = pa.schema([(column.name, TYPES[column.kind]) for column in columns])
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for group in _groups(columns, rows):
            writer.write_table(pa.Table.from_pylist(group, schema), row_group_size=MOST_ROWS)
            yield _taken(sink)
    yield _taken(sink)


def _taken(sink: io.BytesIO) -> bytes:
    """What was written since the last time; the writer keeps count of places itself."""
    found = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return found


def _groups(columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append({column.name: _cell(column, row[column.name]) for column in columns})
        size += sum(_characters(value) for value in group[-1].values())
        if len(group) == MOST_ROWS or size >= MOST_CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _characters(value: Json) -> int:
    if isinstance(value, list):
        return sum(map(_characters, value))
    return len(value) if isinstance(value, str) else 8


def _cell(column: Column, value: Json) -> Json:
    if value is None:
        return None
    if column.kind == "json":
        return line(encodable(value))
    return float(value) if column.kind == "real" else encodable(value)


REPORT = Parquet()
