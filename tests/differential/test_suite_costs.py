"""What docs/suites.md says a night of `3h-lite` asks for is what it asks for; and it fits into ten minutes."""

import re
from pathlib import Path

import pytest

from h3eval import config, registry
from h3eval.commands.estimating import _generating
from h3eval.datasets import DataSource
from h3eval.errors import DataMissing
from h3eval.subsets import parted

PAGE = Path(__file__).parents[2] / "docs" / "suites.md"
ROW = re.compile(r"^\| `?([\w/.-]+)`? \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", re.MULTILINE)
SECONDS = re.compile(r"^\| [^|]+ \| (\d+(?: \+ \d+)?) \|$", re.MULTILINE)
NAMES = config.suite("3h-lite").tasks


def table() -> dict[str, tuple[int, ...]]:
    found = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return {name: tuple(int(cell.replace(",", "")) for cell in cells) for name, *cells in found}


@pytest.mark.parametrize("name", NAMES)
def test_the_counts(name: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    task = registry.task(name)
    whole = parted(task.id)
    assert whole is not None
    try:
        samples = list(task.samples(DataSource(shared_data)))
    except DataMissing as error:
        pytest.skip(str(error))
    asked = _generating(task, samples, "")
    found = len(samples), asked.requests, round(asked.tokens_in), round(asked.tokens_out)
    assert found == table()[whole[0]]


def test_the_sum_and_the_time() -> None:
    rows = table()
    total = rows.pop("all")
    assert len(rows) == len(NAMES)
    assert total == tuple(map(sum, zip(*rows.values(), strict=True)))
    *parts, whole = [sum(map(int, each.split(" + "))) for each in SECONDS.findall(PAGE.read_text(encoding="utf-8"))]
    assert sum(parts) == whole <= 600
    assert (round(total[2] / 10_000), round(total[3] / 3_000)) == (65, 182)
