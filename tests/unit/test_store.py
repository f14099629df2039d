"""What a run's store keeps, gives back and refuses. Kills and full disks: tests/e2e/test_store_kill.py."""

import asyncio
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from small_store import change, keys

from h3eval.errors import ConfigError, H3evalError, RunMismatch
from h3eval.journal import encoded, encoded_reply, pack, plain, reply_of, sample_of, unpack
from h3eval.store import PAGE, Reader, Store
from h3eval.types import Fault, Reply, Sample

KEY = bytes(range(32))
REPLY = Reply("42", tokens_in=3, tokens_out=1)
FAULT = Fault("timeout", "after 30 s", billed="unknown")

# Every code point there is, lone surrogates included.
TEXT = (
    st.text(st.characters(exclude_categories=()), max_size=40) | st.just("\ud83d\ude00 \udfff\0") | st.just("a" * 5000)
)
WHOLE = st.integers(-(2**80), 2**80)
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
LOGPROBS = st.dictionaries(TEXT, st.floats(allow_nan=False), max_size=4)
REPLIES = st.builds(
    Reply,
    text=TEXT,
    finish_reason=st.sampled_from(["stop", "length", "content_filter"]),
    first_token=LOGPROBS,
    logprob=st.none() | st.floats(allow_nan=False),
    is_greedy=st.none() | st.booleans(),
    probabilities=LOGPROBS,
    truncated=st.booleans(),
    tokens_in=st.integers(0, 10**6),
    model=TEXT,
    extra=OBJECT,
)
CHAT = st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}), max_size=3).map(tuple)
SAMPLES = st.builds(
    Sample, id=TEXT, prompt=TEXT | CHAT, choices=st.lists(TEXT).map(tuple), reference=JSON, metadata=OBJECT
)


# ---- round trips


@given(REPLIES)
@example(Reply(logprob=float("-inf"), first_token={"no": float("-inf"), "yes": -0.0}))
def test_a_reply_comes_back_exactly(reply: Reply) -> None:
    back = reply_of(unpack(pack(encoded_reply(reply), KEY), KEY, "answer"))
    assert back == reply
    assert repr(back.logprob) == repr(reply.logprob)


@given(SAMPLES)
def test_a_sample_comes_back_exactly(sample: Sample) -> None:
    assert sample_of(unpack(pack(encoded(plain(sample)), b""), b"", "sample")) == sample


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(SAMPLES, REPLIES, TEXT)
def test_odd_text_through_the_database(tmp_path_factory: Any, sample: Sample, reply: Reply, text: str) -> None:
    folder = tmp_path_factory.mktemp("odd")
    with Store.open(folder) as store:
        store.put_samples("t", 1, [sample])
        store.put("gen", KEY, reply, request_id=text, usage_in=-1, usage_out=10**30, cost_micro=float("nan"))
        store.put("gen", keys(1)[0], Fault("bad", text))
        store.event("warning", "odd", text)
        store.put_meta("m", text)
    with Reader(folder) as reader:
        assert list(reader.samples("t", 1)) == [sample]
        assert reader.get(KEY) == reply
        assert reader.get(keys(1)[0]) == Fault("bad", text)
        assert reader.meta("m") == text


def test_a_read_only_mapping_is_stored_as_well(store: Store) -> None:
    reply = Reply(first_token=MappingProxyType({"a": -1.0}))
    store.put("gen", KEY, reply)
    store.flush()
    assert store.get(KEY) == Reply(first_token={"a": -1.0})


def test_what_is_not_json_is_refused_at_once(store: Store) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.put("gen", KEY, Reply(extra={"x": float("nan")}))
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.put_meta("x", float("nan"))
    store.flush()
    assert store.get(KEY) is None


# ---- answers


def test_nothing_is_known_of_a_new_key(store: Store) -> None:
    assert store.get(KEY) is None
    assert store.get_many([KEY]) == {}
    assert store.get_many([]) == {}
    assert store.meta("manifest") is None
    assert store.tasks() == []
    assert store.ambiguous() == []
    assert store.events() == []
    assert store.totals() == {}


def test_a_fault_then_a_reply_gives_the_reply(store: Store) -> None:
    store.put("gen", KEY, Fault("first"))
    store.put("gen", KEY, FAULT)
    store.flush()
    assert store.get(KEY) == FAULT
    store.put("gen", KEY, REPLY)
    store.flush()
    assert store.get(KEY) == REPLY
    store.put("gen", KEY, Fault("late"))
    store.put("gen", KEY, Reply("another"))
    store.flush()
    assert store.get(KEY) == REPLY, "an acknowledged answer never changes"


def test_many_answers_at_once(store: Store) -> None:
    wanted = keys(3 * PAGE + 1)
    expected: dict[bytes, Reply | Fault] = {}
    for n, key in enumerate(wanted):
        if n % 3 < 2:
            expected[key] = Reply(str(n)) if n % 3 else Fault(str(n))
            store.put("gen", key, expected[key])
    store.flush()
    assert store.get_many(wanted) == expected


def test_10000_judged_samples_are_read(store: Store) -> None:
    wanted = keys(10_000)
    for key in wanted:
        store.put("judge", key, Reply("word " * 600, tokens_in=5))
    store.flush()
    assert len(store.get_many(wanted)) == 10_000


def test_a_changed_bit_is_an_error_naming_the_row(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for key in keys(3):
            store.put("gen", key, Reply("word " * 300))
        store.put("gen", KEY, FAULT)
        store.put_samples("t", 1, [Sample("one")])
        store.put_meta("m", 1)
    bad, moved, fine = keys(3)
    with Reader(tmp_path) as reader:
        reply = reader._rows("SELECT reply FROM answer WHERE key = ?", (bad,))[0][0]
        change(tmp_path, "UPDATE answer SET reply = ? WHERE key = ?", reply[:40] + b"?" + reply[41:], bad)
        change(tmp_path, "UPDATE answer SET reply = ? WHERE key = ?", reply, moved)
        change(tmp_path, "UPDATE attempt SET fault = '{}' WHERE key = ?", KEY)
        change(tmp_path, "UPDATE sample SET content = x'00'")
        change(tmp_path, "UPDATE meta SET value = x''")
        for key in (bad, moved, KEY):
            with pytest.raises(H3evalError, match=f"{key.hex()} is damaged"):
                reader.get(key)
        with pytest.raises(H3evalError, match="sample 0 of t is damaged"):
            list(reader.samples("t", 1))
        with pytest.raises(H3evalError, match="meta 'm' is damaged"):
            reader.meta("m")
        assert reader.get(fine) == Reply("word " * 300)


def test_changed_bits_never_change_a_result(tmp_path: Path) -> None:
    """Whatever bit flips, what is read is right, missing or an error."""
    wanted = keys(20)
    stored = [Sample(str(n), "q" * 50) for n in range(20)]
    with Store.open(tmp_path) as store:
        for key in wanted:
            store.put("gen", key, Reply(key.hex() * 30))
        store.put_samples("t", 1, stored)
    whole, chance = (tmp_path / "run.db").read_bytes(), random.Random(5)
    errors = 0
    for _ in range(300):
        spoilt = bytearray(whole)
        spoilt[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        (tmp_path / "run.db").write_bytes(spoilt)
        try:
            with Reader(tmp_path) as reader:
                got, samples = reader.get_many(wanted), list(reader.samples("t", 1))
        except H3evalError:
            errors += 1
            continue
        assert all(answer == Reply(key.hex() * 30) for key, answer in got.items())
        assert samples in ([], stored)
    assert errors > 10


# ---- the journal of paid calls


def test_an_intent_is_ambiguous_until_its_outcome(store: Store) -> None:
    async def call() -> None:
        journal = store.journal("judge")
        attempt = await journal.intent(KEY)
        assert [(each["key"], each["stage"]) for each in store.ambiguous()] == [(KEY.hex(), "judge")]
        assert store.get(KEY) is None
        await journal.outcome(attempt, KEY, FAULT, {"http_status": 503, "request_id": "r1", "retry_after_ms": 20})
        assert store.get(KEY) == FAULT
        attempt = await journal.intent(KEY)
        await asyncio.sleep(0.02)
        await journal.outcome(attempt, KEY, REPLY, {"http_status": 200, "usage_in": 10, "cost_micro": 5})
        with pytest.raises(ValueError, match="not open"):
            await journal.outcome(attempt, KEY, REPLY, {})

    asyncio.run(call())
    assert store.get(KEY) == REPLY
    assert store.ambiguous() == []
    judge = store.totals()["judge"]
    assert judge["seconds"] >= 0.02
    assert {**judge, "seconds": 0} == {
        "calls": 2,
        "answers": 1,
        "tokens_in": 10,
        "tokens_out": 1,
        "cost_micro": 5,
        "seconds": 0,
    }


def test_a_cancelled_wait_loses_nothing(store: Store) -> None:
    async def call() -> None:
        journal = store.journal("judge")
        attempt = await journal.intent(KEY)
        task = asyncio.create_task(journal.outcome(attempt, KEY, REPLY, {}))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(call())
    store.flush()
    assert store.get(KEY) == REPLY
    assert store.ambiguous() == []


def test_64_tasks_write_at_once(store: Store) -> None:
    numbers = itertools.count()

    async def worker() -> None:
        journal = store.journal("judge")
        for _ in range(20):
            key = next(numbers).to_bytes(32, "big")
            await journal.outcome(await journal.intent(key), key, Reply("word " * 600), {})

    async def main() -> None:
        await asyncio.gather(*(worker() for _ in range(64)))

    asyncio.run(main())
    assert store.totals()["judge"]["answers"] == 64 * 20


# ---- samples


def test_samples_stream_in_stored_order(store: Store) -> None:
    stored = [Sample(f"{n * 7919 % 2003}", "q") for n in range(2 * PAGE + 3)]
    assert store.put_samples("a/b", 2, iter(stored)) == len(stored)
    assert store.put_samples("empty", 1, []) == 0
    assert list(store.samples("a/b", 2)) == stored
    assert store.sample_count("a/b", 2) == len(stored)
    assert store.tasks() == [("a/b", 2), ("empty", 1)]
    assert list(store.samples("a/b", 1)) == list(store.samples("empty", 1)) == []
    assert store.sample_count("a/b", 1) == 0


def test_the_same_samples_again_change_nothing(store: Store) -> None:
    stored = [Sample("1", metadata={"a": 1, "b": 2}), Sample("2")]
    store.put_samples("t", 1, stored)
    assert store.put_samples("t", 1, [Sample("1", metadata={"b": 2, "a": 1}), Sample("2")]) == 2
    for other in ([], stored[:1], stored[::-1], [*stored, Sample("3")], [stored[0], Sample("2", "new")]):
        with pytest.raises(RunMismatch, match="not those this run began with"):
            store.put_samples("t", 1, other)
    assert list(store.samples("t", 1)) == stored


@pytest.mark.parametrize("place", [1, PAGE - 1, PAGE, 2 * PAGE])
def test_an_id_used_twice_stores_nothing(store: Store, place: int) -> None:
    good = [Sample(str(n)) for n in range(2 * PAGE + 1)]
    twice = [*good[:place], Sample("0"), *good[place + 1 :]]
    with pytest.raises(ConfigError, match="t: sample id '0' is used twice"):
        store.put_samples("t", 1, twice)
    assert store.tasks() == []
    assert list(store.samples("t", 1)) == []
    assert store.put_samples("t", 1, good) == len(good)
    assert list(store.samples("t", 1)) == good


def test_samples_that_break_off_store_nothing(store: Store) -> None:
    def broken() -> Iterator[Sample]:
        yield from (Sample(str(n)) for n in range(PAGE + 1))
        raise OSError("the hub went away")

    with pytest.raises(OSError, match="went away"):
        store.put_samples("t", 1, broken())
    assert store.sample_count("t", 1) == 0
    assert store.put_samples("t", 1, [Sample("0")]) == 1


@pytest.mark.parametrize("bad", [{"x": float("nan")}, {"x": {1, 2}}, {"x": object()}])
def test_a_sample_that_is_not_json(store: Store, bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="t: sample 's' can't be stored as JSON"):
        store.put_samples("t", 1, [Sample("s", metadata=bad)])
