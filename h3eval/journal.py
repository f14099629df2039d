"""How things get into a run's database: packed, checksummed, and committed in groups by one thread.

`Writer` owns the only connection that writes. While one commit waits for the disk, the next rows
gather and share the following one, so that many calls at once cost few syncs. `AttemptJournal` is
what a backend that costs money writes to: an intent before each call, its outcome after it. Knows
nothing of run folders, locks or reading: that is `h3eval.store`.
"""

import asyncio
import contextlib
import json
import math
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, fields
from pathlib import Path

from h3eval.errors import DiskFull, StoreDamaged
from h3eval.text import canonical
from h3eval.types import Fault, Json, Reply, Sample

WORTH_ZLIB = 512
"""Bytes from which text is compressed."""
BACKLOG = 4096
"""Rows that may wait for the disk before `submit` waits too: keeps memory flat."""
DEEPEST = 200
"""Tables and lists within each other that are stored: far from where reading them would end in the interpreter."""
LARGEST = 10**12
"""Ceiling for numbers a server reports of itself: nine million of them still add up in 63 bits."""
FLOATS = ("first_token", "probabilities")

ENDING = (
    "outcome", "billed", "http_status", "request_id", "retry_after_ms", "usage_in", "usage_out", "cost_micro", "fault"
)  # fmt: skip
"""The columns that say how an attempt ended, in the table's order."""
OPEN = "NULL, NULL, 'unknown'" + ", NULL" * 7
"""`done_ns` and `ENDING` of an attempt that has not ended."""
ENDED = ", ".join(f":{name}" for name in ENDING)
# Each row carries a checksum over all its columns: h3eval.schema says of which.
INTENT = (
    f"INSERT INTO attempt(stage, key, sent_ns, done_ns, {', '.join(ENDING)}, crc)"
    f" VALUES(:stage, :key, :sent_ns, {OPEN}, crc(:stage, :key, :sent_ns, {OPEN}))"
)
DONE = (
    f"UPDATE attempt SET (done_ns, {', '.join(ENDING)}, crc) ="
    f" (sent_ns + :elapsed_ns, {ENDED}, crc(stage, key, sent_ns, sent_ns + :elapsed_ns, {ENDED}))"
    " WHERE id = :attempt AND key = :key AND done_ns IS NULL"
)
# The first answer stands: what was once acknowledged never changes under a reader.
ANSWER = "INSERT INTO answer(key, attempt, reply) VALUES(?, ?, ?) ON CONFLICT(key) DO NOTHING"

Work = Callable[[sqlite3.Connection], int]
Waiter = Future[int] | asyncio.Future[int]


def encoded(value: Json) -> bytes:
    """Canonical JSON as bytes; lone surrogates pass. Raise ValueError for NaN and infinities."""
    return canonical(value).encode("utf-8", "surrogatepass")


def ordered(value: Json) -> bytes:
    """JSON as bytes that reads back as what it was, keys in the order given; for what is kept, not for addresses.

    Raise TypeError for a key that is no text, which JSON would make one, ValueError for NaN, infinities and what is
    nested too deeply to be read again.
    """
    _texts(value, 0)
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def _texts(value: Json, depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError(f"nested more than {DEEPEST} deep")
    if isinstance(value, Mapping):
        for key, each in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is no text")
            _texts(each, depth + 1)
    elif isinstance(value, list | tuple):
        for each in value:
            _texts(each, depth + 1)


def pack(raw: bytes, salt: bytes) -> bytes:
    """JSON bytes as stored: compressed where that pays, with a crc32 over `salt` and contents last."""
    # zlib data begins with "x", which no JSON does: the reader needs no flag.
    data = zlib.compress(raw, 1) if len(raw) >= WORTH_ZLIB else raw
    return data + zlib.crc32(data, zlib.crc32(salt)).to_bytes(4, "big")


def unpack(packed: object, salt: bytes, name: str) -> Json:
    """The value that was packed. Raise StoreDamaged naming the row where a bit has changed."""
    # A bit can change in the row's header too: the blob may come back as another type.
    data, crc = (packed[:-4], packed[-4:]) if isinstance(packed, bytes) else (b"", b"")
    if zlib.crc32(data, zlib.crc32(salt)).to_bytes(4, "big") != crc:
        raise StoreDamaged(f"{name} is damaged (crc32 differs): restore run.db from a copy")
    raw = zlib.decompress(data) if data[:1] == b"x" else data
    return parsed(raw)


def parsed(raw: bytes) -> Json:
    """The value of JSON bytes."""
    return json.loads(raw.decode("utf-8", "surrogatepass"))


def plain(noun: object) -> dict[str, Json]:
    """A noun's fields as JSON values, by name; but a nonce, which follows from the others and the run's secret."""
    names = [field.name for field in fields(noun) if field.name != "nonce"]  # type: ignore[arg-type]
    record = {name: getattr(noun, name) for name in names}
    for name, value in record.items():
        if isinstance(value, Mapping):
            record[name] = dict(value)
        elif name == "prompt" and not isinstance(value, str):
            record[name] = [dict(message) for message in value]
    return record


def number(value: float) -> float | str:
    """A float as JSON has it: the infinite log-probability of an impossible token becomes text."""
    return float(value) if math.isfinite(value) else repr(float(value))


def encoded_reply(reply: Reply) -> bytes:
    """A reply as JSON bytes, exact to the last bit of every float."""
    record = plain(reply)
    for name in FLOATS:
        record[name] = {label: number(value) for label, value in record[name].items()}
    record["logprob"] = None if reply.logprob is None else number(reply.logprob)
    return encoded(record)


def reply_of(record: dict[str, Json]) -> Reply:
    for name in FLOATS:
        record[name] = {label: float(value) for label, value in record[name].items()}
    record["logprob"] = None if record["logprob"] is None else float(record["logprob"])
    return Reply(**record)


def sample_of(record: dict[str, Json]) -> Sample:
    if not isinstance(record["prompt"], str):
        record["prompt"] = tuple(record["prompt"])
    return Sample(**record | {"choices": tuple(record["choices"])})


def counted(value: Json) -> int:
    """A count a server reports, made fit for the database: never negative, never absurd."""
    # A whole number of thousands of digits fits into no float: it is compared, never converted.
    usable = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return min(max(int(value), 0), LARGEST) if usable else 0


def printable(value: Json) -> str | None:
    """Text as SQLite can hold it: lone surrogates escaped."""
    return None if value is None else str(value).encode("utf-8", "backslashreplace").decode()


def intent(stage: str, key: bytes, sent_ns: int) -> Work:
    """The work that opens an attempt; its value is the attempt's number."""
    row = {"stage": stage, "key": key, "sent_ns": sent_ns}
    return lambda db: db.execute(INTENT, row).lastrowid or 0


def ending(answer: Reply | Fault, key: bytes, paid: bool, info: Mapping[str, Json]) -> dict[str, Json]:
    """How an attempt ended, by the names of `ENDING`."""
    if isinstance(answer, Reply):
        end: dict[str, Json] = {"outcome": "answer", "billed": "yes" if paid else "no", "fault": None}
        tokens_in, tokens_out = answer.tokens_in, answer.tokens_out
    else:
        end = {"outcome": "fault", "billed": answer.billed, "fault": pack(encoded(plain(answer)), key)}
        tokens_in, tokens_out = 0, 0
    return {
        **end,
        "http_status": counted(info.get("http_status")),
        "request_id": printable(info.get("request_id")),
        "retry_after_ms": counted(info.get("retry_after_ms")),
        "usage_in": counted(info.get("usage_in", tokens_in)),
        "usage_out": counted(info.get("usage_out", tokens_out)),
        # None is a cost that nobody knows; a call of which nothing is said cost nothing.
        "cost_micro": None if "cost_micro" in info and info["cost_micro"] is None else counted(info.get("cost_micro")),
    }


def finish(attempt: int, key: bytes, end: Mapping[str, Json], reply: bytes | None, elapsed_ns: int) -> Work:
    """The work that closes an open attempt and stores its answer; its value is 0 if none was open."""
    row = {**end, "attempt": attempt, "key": key, "elapsed_ns": elapsed_ns}

    def work(db: sqlite3.Connection) -> int:
        closed = db.execute(DONE, row).rowcount
        if reply is not None:
            db.execute(ANSWER, (key, attempt, reply))
        return closed

    return work


def packed_answer(answer: Reply | Fault, key: bytes) -> bytes | None:
    return pack(encoded_reply(answer), key) if isinstance(answer, Reply) else None


@dataclass(frozen=True, slots=True)
class Job:
    """Work for the next commit, and who waits for it."""

    work: Work
    waiter: Waiter | None


def settle(pairs: Iterable[tuple[Waiter, int | Exception]]) -> None:
    """Tell each who waits the value of their work, or what stopped it."""
    for waiter, value in pairs:
        if waiter.done():
            continue  # cancelled meanwhile: the row is stored all the same
        if isinstance(value, Exception):
            waiter.set_exception(value)
        else:
            waiter.set_result(value)


def announce(group: Iterable[Job], values: Iterable[int | Exception]) -> None:
    """Settle a whole group, waking each event loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Waiter, int | Exception]]] = {}
    for job, value in zip(group, values, strict=True):
        if isinstance(job.waiter, asyncio.Future):
            loops.setdefault(job.waiter.get_loop(), []).append((job.waiter, value))
        elif job.waiter is not None:
            settle([(job.waiter, value)])
    for loop, pairs in loops.items():
        with contextlib.suppress(RuntimeError):  # a closed loop: nobody waits there any more
            loop.call_soon_threadsafe(settle, pairs)


class Writer:
    """The thread that owns the writing connection. After its first error it writes nothing more."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self._closing = False
        self._failure = ""
        self._thread = threading.Thread(target=self._run, name="h3eval-store", daemon=True)
        self._thread.start()

    def submit(self, work: Work, waiter: Waiter | None = None) -> None:
        """Queue work for the next commit. Raise DiskFull once the database can't be written."""
        with self._changed:
            while len(self._jobs) >= BACKLOG and not self._failure:
                self._changed.wait()
            if self._closing:
                raise ValueError(f"{self._name} is closed")
            if self._failure:
                raise DiskFull(self._failure)
            self._jobs.append(Job(work, waiter))
            self._changed.notify_all()

    def call(self, work: Work) -> int:
        """Commit the work and all that was queued before it; its value. Raise DiskFull."""
        waiter: Future[int] = Future()
        self.submit(work, waiter)
        return waiter.result()

    async def commit(self, work: Work) -> int:
        """As `call`, leaving the event loop free."""
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.submit(work, waiter)
        return await waiter

    def close(self) -> None:
        """Write what is queued, end the thread and close the connection."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        with contextlib.suppress(sqlite3.Error):  # no room for a checkpoint: the log holds every commit
            self._connection.close()

    def _run(self) -> None:
        group: list[Job] = []
        try:
            while group := self._take():
                self._commit(group)
        except BaseException as error:
            self._fail(group, error)  # a defect of ours: whoever waits must hear of it
            raise

    def _take(self) -> list[Job]:
        with self._changed:
            while not self._jobs and not self._closing:
                self._changed.wait()
            group, self._jobs = self._jobs, []
            self._changed.notify_all()
            return group

    def _commit(self, group: list[Job]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            values = [job.work(self._connection) for job in group]
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(group, error)
        else:
            announce(group, values)

    def _fail(self, group: list[Job], error: BaseException) -> None:
        # No second try: after a failed sync a later one may succeed without the data being there.
        with contextlib.suppress(sqlite3.Error):
            self._connection.rollback()
        with self._changed:
            self._failure = (
                f"{self._name} can't be written ({error}): all answers acknowledged so far are safe;"
                " make room, then run the same command again"
            )
            lost, self._jobs = group + self._jobs, []
            self._changed.notify_all()
        announce(lost, [DiskFull(self._failure) for _ in lost])


class AttemptJournal:
    """The journal of one stage's paid calls: see `h3eval.types.Journal`.

    An intent is refused with DiskFull while fewer than `reserve` bytes are free on the disk, so that
    the answers already paid for still find room.
    """

    def __init__(self, writer: Writer, folder: Path, stage: str, reserve: int) -> None:
        self._writer = writer
        self._folder = folder
        self._stage = stage
        self._reserve = reserve
        self._sent: dict[int, int] = {}

    async def intent(self, key: bytes) -> int:
        """Note durably that a call is about to be sent; the attempt's number. Raise DiskFull."""
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < self._reserve:
            raise DiskFull(
                f"{self._folder}: fewer than {self._reserve >> 20} MiB free; no further call is paid for."
                " Make room, then run the same command again"
            )
        attempt = await self._writer.commit(intent(self._stage, key, time.time_ns()))
        self._sent[attempt] = time.monotonic_ns()
        return attempt

    async def outcome(self, attempt: int, key: bytes, answer: Reply | Fault, info: Mapping[str, Json]) -> None:
        """Note durably how the attempt ended. Raise DiskFull; ValueError if it was not open."""
        now = time.monotonic_ns()
        elapsed = now - self._sent.pop(attempt, now)
        end = ending(answer, key, paid=True, info=info)
        work = finish(attempt, key, end, packed_answer(answer, key), elapsed)
        if not await self._writer.commit(work):
            raise ValueError(f"attempt {attempt} of call {key.hex()} is not open")
