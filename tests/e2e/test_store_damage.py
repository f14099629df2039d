"""A damaged store is refused with 6 or changes nothing: flipped bits, cut files, rows that someone has edited."""

import random
from pathlib import Path

import pytest
from damaged_store import Scored, flipped, judged_run, same_or_refused, scored

from h3eval.errors import StoreDamaged
from h3eval.store import Reader

SAMPLES = 75
FLIPS, CUTS = 150, 80


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged_run(tmp_path_factory.mktemp("damage"), SAMPLES)


@pytest.fixture(scope="module")
def whole(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Scored]:
    """The run's database, and what it scores to."""
    database = (run / "run.db").read_bytes()
    found = scored(tmp_path_factory.mktemp("whole"), database)
    assert found.code == 0, found.said
    assert len(found.files) == 2
    return database, found


def flips(database: bytes, found: Scored, work: Path, count: int, seed: int) -> int:
    """Score the database with each of so many bits flipped; how many were refused."""
    chance = random.Random(seed)
    refused = 0
    for _ in range(count):
        place, bit = chance.randrange(len(database)), chance.randrange(8)
        refused += same_or_refused(found, scored(work, flipped(database, place, bit)))
    return refused


def test_flipped_bits(whole: tuple[bytes, Scored], tmp_path: Path) -> None:
    assert flips(*whole, tmp_path / "work", FLIPS, 11) > FLIPS // 4


def test_every_bit_of_the_file_s_head(whole: tuple[bytes, Scored], tmp_path: Path) -> None:
    database, found = whole
    refused = [
        same_or_refused(found, scored(tmp_path / "work", flipped(database, place, place % 8))) for place in range(110)
    ]
    assert sum(refused) > 30


def test_files_cut_off(whole: tuple[bytes, Scored], tmp_path: Path) -> None:
    database, found = whole
    chance = random.Random(3)
    lengths = [1, 15, 16, 99, 100, 4096, len(database) - 1, len(database) - 4096]
    lengths += [chance.randrange(1, len(database)) for _ in range(CUTS)]
    for length in lengths:
        assert same_or_refused(found, scored(tmp_path / "work", database[:length])), length


@pytest.mark.slow
def test_ten_thousand_flipped_bits(whole: tuple[bytes, Scored], tmp_path: Path) -> None:
    assert flips(*whole, tmp_path / "work", 10_000, 280) > 2_500


@pytest.mark.slow
def test_4096_cuts(whole: tuple[bytes, Scored], tmp_path: Path) -> None:
    database, found = whole
    last = range(len(database) - 2048, len(database))
    elsewhere = random.Random(4).sample(range(1, len(database) - 2048), 2048)
    for length in (*last, *elsewhere):
        assert same_or_refused(found, scored(tmp_path / "work", database[:length])), length


def contents(folder: Path) -> tuple[object, ...]:
    """All that scoring reads of a store, as one value."""
    with Reader(folder) as reader:
        keys = [bytes.fromhex(row) for (row,) in reader._rows("SELECT lower(hex(key)) FROM answer ORDER BY key")]
        answers = hash(tuple(sorted((key, repr(answer)) for key, answer in reader.get_many(keys).items())))
        samples = hash(tuple(map(repr, reader.samples("t", 1))))
        return reader.meta("manifest"), answers, samples, reader.totals(), reader.events(), reader.tasks()


@pytest.mark.slow
@pytest.mark.parametrize(("answers", "count"), [(10_000, 200), (100_000, 20)])
def test_flipped_bits_of_large_stores(tmp_path: Path, answers: int, count: int) -> None:
    from damaged_store import filled

    filled(tmp_path / "run", answers)
    before = contents(tmp_path / "run")
    file, chance = tmp_path / "run" / "run.db", random.Random(answers)
    refused = 0
    for _ in range(count):
        place, bit = chance.randrange(file.stat().st_size), chance.randrange(8)
        with file.open("r+b") as spoilt:
            spoilt.seek(place)
            byte = spoilt.read(1)[0]
            spoilt.seek(place)
            spoilt.write(bytes([byte ^ 1 << bit]))
        try:
            assert contents(tmp_path / "run") == before, (place, bit)
        except StoreDamaged:
            refused += 1
        with file.open("r+b") as mended:
            mended.seek(place)
            mended.write(bytes([byte]))
    assert refused > count // 4
