"""One call from admission to answer: a place, the money, the journal, the exchange, the retries.

tenacity is not used for the retries: it keeps the state of one call, while most waiting here is
shared by all calls of an endpoint; what would be left for it is the loop of `Asking.answer`.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from h3eval.backends import _openai_faults as faults
from h3eval.backends import _openai_wire as wire
from h3eval.backends._openai_client import Answer, Client, Lost
from h3eval.backends._openai_endpoints import LONGEST_REST_S, Endpoint, Pool
from h3eval.backends._openai_faults import Remedy, Trouble
from h3eval.backends._openai_prices import Purse
from h3eval.backends._openai_settings import OPENAI, Settings
from h3eval.errors import BackendError, ProviderStopped
from h3eval.types import Call, Fault, Journal, Json, Reply

NOT_SENT = Fault("not sent", "the run was stopped")
REMEMBERED_IDS = 4096


@dataclass
class Memory:
    """What a backend keeps from one session to the next."""

    purse: Purse
    limit_name: str = "max_tokens"
    jitter: random.Random = field(default_factory=lambda: random.Random(0))


class Asking:
    """Answers calls over HTTP, on one event loop. `fail` ends the session with an error."""

    def __init__(
        self, settings: Settings, memory: Memory, journal: Journal, fail: Callable[[BaseException], None]
    ) -> None:
        self.settings = settings
        self.memory = memory
        self.journal = journal
        self.fail = fail
        rules = (settings.concurrency, settings.patience_s, settings.backoff_s)
        self.pool = Pool([Endpoint(url, *rules) for url in settings.urls], time.monotonic)
        self.clients = {url: Client(url, settings.key, settings.timeout_s) for url in settings.urls}
        self._halt = asyncio.Event()
        self._settled = asyncio.Event()
        self._ids: deque[str] = deque(maxlen=REMEMBERED_IDS)
        self._known: set[str] = set()

    def stop(self) -> None:
        """Send nothing more; answers that are under way are still taken."""
        self._halt.set()
        self._settled.set()
        self.pool.stop()

    async def close(self) -> None:
        """Close all connections."""
        for client in self.clients.values():
            await client.close()

    async def answer(self, call: Call) -> Reply | Fault | None:
        """Ask until there is an answer worth recording; None where the session stopped before."""
        began, tries = time.monotonic(), 0
        fault: Fault | None = None
        endpoint: Endpoint | None = None
        while endpoint := await self._admit(call, endpoint):
            outcome = await self._attempt(endpoint, call)
            if not isinstance(outcome, Trouble):
                return outcome or fault
            fault = outcome.fault
            tries += outcome.remedy in (Remedy.RETRY, Remedy.RENAME)
            late = outcome.remedy is Remedy.WAIT and time.monotonic() - began > self.settings.patience_s
            if outcome.remedy is Remedy.RECORD or tries >= self.settings.attempts or late:
                return fault
            if outcome.remedy is Remedy.RETRY:
                await self._pause(tries)
        return fault if self._halt.is_set() else Fault("endpoint down", self.pool.why_down())

    async def _pause(self, failures: int) -> None:
        """Wait before a retry: twice as long each time, spread at random."""
        delay = min(self.settings.backoff_s * 2 ** min(failures - 1, 16), LONGEST_REST_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay * self.memory.jitter.uniform(0.5, 1.0)):
                await self._halt.wait()

    async def _admit(self, call: Call, avoid: Endpoint | None) -> Endpoint | None:
        """A place at an endpoint, with the most that the call can cost set aside; None: no place any more."""
        purse = self.memory.purse
        most = purse.most(call.request)
        while True:
            endpoint = await self.pool.acquire(avoid)
            if endpoint is None or purse.reserve(most):
                return endpoint
            self.pool.release(endpoint)
            if not purse.holders:
                why = f"the next call may cost ${most:.4f}, max_cost is ${purse.cap:g}: {purse.bill()}"
                self.fail(ProviderStopped(f"{self.settings.model}: {why}"))
                return None
            # Those under way will cost less than was set aside for them.
            self._settled.clear()
            await self._settled.wait()

    async def _attempt(self, endpoint: Endpoint, call: Call) -> Reply | Trouble | None:
        """Send once, and journal it; place and money are given back. None where it was not sent."""
        purse = self.memory.purse
        most = purse.most(call.request)
        spent = possible = 0.0
        try:
            attempt = await self.journal.intent(call.key)
            if self._halt.is_set():
                await self.journal.outcome(attempt, call.key, NOT_SENT, {})
                return None
            # From here on an answer may be paid for, even if we never see it.
            possible, sent_at = most, time.monotonic()
            answer = await self._exchange(endpoint, call)
            outcome, info = self._read(call, answer)
            kept = outcome.fault if isinstance(outcome, Trouble) else outcome
            possible = most if isinstance(kept, Fault) and kept.billed == "unknown" else 0.0
            spent = purse.cost(info["usage_in"], info["usage_out"]) or 0.0
            await self.journal.outcome(attempt, call.key, kept, info)
            self._learn(endpoint, answer, outcome, sent_at)
            return outcome
        finally:
            purse.settle(most, spent, possible)
            self._settled.set()
            self.pool.release(endpoint)

    async def _exchange(self, endpoint: Endpoint, call: Call) -> Answer | Lost:
        path = wire.path_of(call.request, self.settings.api)
        most_top = wire.MOST_TOP_OPENAI_TEXT if endpoint.url == OPENAI else wire.MOST_TOP
        body = wire.body_of(call.request, self.settings.model, path, self.memory.limit_name, most_top)
        return await self.clients[endpoint.url].post(path, body)

    def _read(self, call: Call, answer: Answer | Lost) -> tuple[Reply | Trouble, dict[str, Json]]:
        """What came back, with no trace of the key, and what the journal wants to know of it."""
        outcome, data = faults.read(call.request, answer)
        info: dict[str, Json] = {"usage_in": 0, "usage_out": 0, "cost_micro": 0}
        if isinstance(answer, Answer):
            wait = faults.retry_after_s(answer.headers)
            info["http_status"] = answer.status
            info["request_id"] = self._redacted(answer.headers.get("x-request-id", ""))
            info["retry_after_ms"] = int(1000 * wait) if wait is not None else 0
        if data is not None:
            tokens_in, tokens_out, _ = wire.usage_of(call.request, data)
            if isinstance(outcome, Reply):
                tokens_in, tokens_out = outcome.tokens_in, outcome.tokens_out
                outcome = self._marked(outcome, str(data.get("id") or ""))
            cost = self.memory.purse.cost(tokens_in, tokens_out)
            micro = None if cost is None else round(1e6 * cost)
            info |= {"usage_in": tokens_in, "usage_out": tokens_out, "cost_micro": micro}
        if isinstance(outcome, Trouble) and outcome.fault.billed == "unknown":
            # The answer was lost, and may have been paid for: nobody knows what it cost.
            info["cost_micro"] = None
        if isinstance(outcome, Trouble):
            outcome = replace(outcome, fault=replace(outcome.fault, detail=self._redacted(outcome.fault.detail)))
        return outcome, info

    def _marked(self, reply: Reply, name: str) -> Reply:
        """Mark a reply whose id another one had: it may have been meant for another call."""
        if name in self._known:
            return replace(reply, extra={**reply.extra, "repeated_id": name})
        if name:
            if len(self._ids) == REMEMBERED_IDS:
                self._known.discard(self._ids[0])
            self._ids.append(name)
            self._known.add(name)
        return reply

    def _redacted(self, text: str) -> str:
        return text.replace(self.settings.key, "[key]") if self.settings.key else text

    def _learn(self, endpoint: Endpoint, answer: Answer | Lost, outcome: Reply | Trouble, sent_at: float) -> None:
        """Note what an attempt says about its endpoint, and end the session where it can't go on."""
        now = time.monotonic()
        rest = faults.exhausted_s(answer.headers) if isinstance(answer, Answer) else None
        if rest is not None:
            endpoint.rest(now + rest)
        if not isinstance(outcome, Trouble) or outcome.remedy is Remedy.RECORD:
            endpoint.went_well()
            return
        why = f"{outcome.fault.reason}: {outcome.fault.detail}"
        if outcome.remedy is Remedy.WAIT:
            endpoint.was_busy(sent_at, now, outcome.wait_s, why)
        elif outcome.remedy is Remedy.RETRY:
            endpoint.failed(sent_at, now, outcome.wait_s, why)
        elif outcome.remedy is Remedy.RENAME:
            endpoint.went_well()
            self.memory.limit_name = "max_completion_tokens"
        elif outcome.remedy is Remedy.STOP:
            self.fail(BackendError(f"{self.settings.model} at {endpoint.url}: {why}. {HINT}"))
        else:
            self._leave(endpoint, why)

    def _leave(self, endpoint: Endpoint, why: str) -> None:
        """Send this endpoint nothing more; stop where no other takes calls."""
        endpoint.closed = why
        if all(each.closed for each in self.pool.endpoints):
            key = f" (key: ${self.settings.key_name})" if self.settings.key else " (no key was sent)"
            where = f"{self.settings.model} at {endpoint.url}{key}"
            self.fail(ProviderStopped(f"{where} takes no more calls: {why}. {self.memory.purse.bill()}"))


HINT = "Check model and base_url (it usually ends in /v1); a model that only chats needs api=chat"
