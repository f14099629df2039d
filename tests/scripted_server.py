"""A small OpenAI-compatible server on 127.0.0.1 that does what a test tells it to.

In a test: `with ScriptedServer() as server`, then `server.queue` or `server.behave`. For benches,
as a process of its own: `python tests/scripted_server.py --port 0` prints its URL and serves until
its standard input closes. What it answers is a function of the request alone.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = re.compile(r"\s?\S+|\s+")
LARGEST_BODY = 64 << 20


@dataclass(frozen=True)
class Seen:
    """A request as the server got it; `n` counts POSTs from 0."""

    n: int
    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Act:
    """How to answer one POST. Without `body`, a 200 has the usual answer.

    `drop` resets the connection `before` the headers or in the `middle` of the body; `drip_s` sends
    one byte each so many seconds; `hang` reads the request and never answers.
    """

    status: int = 200
    body: bytes | str | Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: str = ""
    drip_s: float = 0.0
    hang: bool = False


Behaviour = Callable[[Seen], Act | None]


def error(status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None, **more: str) -> Act:
    """An error reply in OpenAI's form."""
    return Act(status, {"error": {"message": message, "code": code, **more}}, headers or {})


def tokens(text: str) -> list[str]:
    """The server's own tokens: words with the space before them."""
    return TOKEN.findall(text)


def number(*parts: object) -> float:
    """A number in [0, 1) that is a function of the parts."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big") / 2**48


def prompt_of(body: Mapping[str, Any]) -> str:
    """The text of a request: its prompt, or its messages' contents, one a line."""
    if "messages" in body:
        return "\n".join(message["content"] for message in body["messages"])
    return str(body["prompt"])


def answer_text(body: Mapping[str, Any]) -> str:
    """The answer to a request: `Answer` and six hexadecimal digits."""
    digest = hashlib.sha256(f"{prompt_of(body)}|{body.get('seed')}".encode()).hexdigest()
    return f"Answer {digest[:6]}"


def likely(context: str, token: str, most: int) -> dict[str, float]:
    """Log-probabilities of the token and of others, summing to one with the rest left out."""
    return {token: -0.1} | {f" t{i}": round(-3.0 - i - number(context, i), 6) for i in range(most - 1)}


def chat_answer(body: Mapping[str, Any], n: int = 0) -> dict[str, Any]:
    """The usual answer of /chat/completions."""
    text = answer_text(body)
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    if body.get("logprobs"):
        most = likely(prompt_of(body), tokens(text)[0], body.get("top_logprobs", 1))
        top = [{"token": token, "logprob": value, "bytes": None} for token, value in most.items()]
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    return envelope("chat.completion", body, choice, tokens(text), n)


def text_answer(body: Mapping[str, Any], n: int = 0) -> dict[str, Any]:
    """The usual answer of /completions, with `echo` and `logprobs` where asked for."""
    prompt, text = prompt_of(body), answer_text(body)
    made = tokens(text)[: body.get("max_tokens", 16)]
    given = tokens(prompt) if body.get("echo") else []
    choice: dict[str, Any] = {"index": 0, "text": "".join(given + made), "finish_reason": "stop"}
    if body.get("logprobs") is not None:
        choice["logprobs"] = text_logprobs(given + made, "" if given else prompt, int(body["logprobs"]))
    return envelope("text_completion", body, choice, made, n)


def text_logprobs(parts: Sequence[str], context: str, most: int) -> dict[str, Any]:
    """Log-probabilities of the parts after the context; a text's very first token has none."""
    values: list[float | None] = []
    tops: list[dict[str, float] | None] = []
    offsets = []
    for part in parts:
        offsets.append(len(context))
        values.append(round(-number(context, part), 6) if context else None)
        tops.append(dict(list({part: values[-1] or 0.0, " other": -0.5}.items())[:most]) if context else None)
        context += part
    return {"tokens": list(parts), "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets}


def envelope(kind: str, body: Mapping[str, Any], choice: dict[str, Any], made: Sequence[str], n: int) -> dict[str, Any]:
    used = len(tokens(prompt_of(body)))
    return {
        "id": f"{kind}-{n}",
        "object": kind,
        "model": body.get("model", ""),
        "choices": [choice],
        "usage": {"prompt_tokens": used, "completion_tokens": len(made), "total_tokens": used + len(made)},
    }


class ScriptedServer:
    """The server in a thread of its own; stops by itself at the end of the `with` block.

    Each POST is answered by the next of `queue`, else by `behave`, else in the usual way.
    """

    def __init__(self, behave: Behaviour | None = None, keep: bool = True) -> None:
        self.behave = behave
        self.queue: deque[Act] = deque()
        self.posts = 0
        self.peak = 0
        """The most POSTs that were being answered at once; `in_flight` are those now."""
        self.billed = [0, 0]
        """Tokens in and out of all answers sent in full with status 200."""
        self.seen: list[Seen] = []
        self.keep = keep
        self.port = 0
        self.in_flight = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        """What a client takes for its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "ScriptedServer":
        self._thread.start()
        assert self._ready.wait(120), "the scripted server does not start"
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(120)

    def _run(self) -> None:
        # A runner also ends the handlers that hang.
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self.serve())

    async def serve(self, port: int = 0) -> None:
        """Serve until stopped."""
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, backlog=1024)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method != "POST":
            return self._get(request)
        body = json.loads(await request.read())
        seen = Seen(self.posts, request.path, body, request.headers)
        self.posts += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        if self.keep:
            self.seen.append(seen)
        try:
            act = self.queue.popleft() if self.queue else self.behave(seen) if self.behave else None
            return await self._perform(request, seen, act or Act())
        finally:
            self.in_flight -= 1

    def _get(self, request: web.BaseRequest) -> web.Response:
        if request.path.endswith("/models"):
            return web.json_response({"object": "list", "data": [{"id": "scripted", "object": "model"}]})
        if request.path.endswith("/stats"):
            return web.json_response({"posts": self.posts, "peak": self.peak, "billed": self.billed})
        return web.json_response({"error": {"message": "no such page"}}, status=404)

    async def _perform(self, request: web.BaseRequest, seen: Seen, act: Act) -> web.StreamResponse:
        if act.delay_s:
            await asyncio.sleep(act.delay_s)
        if act.hang:
            await asyncio.sleep(3600)
        transport = request.transport
        if act.drop == "before" and transport:
            transport.abort()
        data = self._bytes(seen, act)
        headers = {"content-type": "application/json", "x-request-id": f"req-{seen.n}", **act.headers}
        if act.drop == "middle" or act.drip_s:
            return await self._slowly(request, act, data, headers)
        return web.Response(status=act.status, body=data, headers=headers)

    def _bytes(self, seen: Seen, act: Act) -> bytes:
        body = act.body
        if body is None:
            body = (
                chat_answer(seen.body, seen.n)
                if seen.path.endswith("/chat/completions")
                else text_answer(seen.body, seen.n)
            )
        usage = body.get("usage") if act.status == 200 and not act.drop and isinstance(body, Mapping) else None
        if isinstance(usage, Mapping):
            self.billed[0] += usage.get("prompt_tokens", 0)
            self.billed[1] += usage.get("completion_tokens", 0)
        if isinstance(body, bytes):
            return body
        return body.encode() if isinstance(body, str) else json.dumps(body).encode()

    async def _slowly(
        self, request: web.BaseRequest, act: Act, data: bytes, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=act.status, headers={**headers, "content-length": str(len(data))})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            if act.drop == "middle" and request.transport:
                await response.write(data[: len(data) // 2])
                await asyncio.sleep(0.02)
                request.transport.abort()
                return response
            for place in range(len(data)):
                await response.write(data[place : place + 1])
                await asyncio.sleep(act.drip_s)
        return response


def faulty(rate: float) -> Behaviour:
    """Let a share of the prompts meet a fault at their first attempt, and an answer at the second."""
    kinds = (
        Act(503, "overloaded"),
        error(429, "slow down", "rate_limit_exceeded", {"retry-after-ms": "20"}),
        Act(drop="before"),
        Act(200, "<html>gateway</html>"),
        Act(200, b""),
    )
    met: set[bytes] = set()

    def behave(seen: Seen) -> Act | None:
        chance = number(prompt_of(seen.body))
        key = hashlib.sha256(prompt_of(seen.body).encode()).digest()[:12]
        if chance >= rate or key in met:
            return None
        met.add(key)
        return kinds[int(chance / rate * len(kinds))]

    return behave


async def _main(port: int, latency_s: float, fault_rate: float) -> None:
    faults = faulty(fault_rate) if fault_rate else None

    def behave(seen: Seen) -> Act | None:
        return (faults and faults(seen)) or Act(delay_s=latency_s)

    server = ScriptedServer(behave, keep=False)
    serving = asyncio.create_task(server.serve(port))
    while not server.port:
        await asyncio.sleep(0.01)
    print(server.url, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    serving.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-s", type=float, default=0.0)
    parser.add_argument("--fault-rate", type=float, default=0.0)
    options = parser.parse_args()
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(_main(options.port, options.latency_s, options.fault_rate))
