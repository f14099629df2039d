"""The scripted server with a judge's answers: a request for one token gets `m` or `M`, whatever the run's nonces.

As a process of its own: `python tests/judging_server.py` prints its URL and serves until its
standard input closes.
"""

import asyncio
import contextlib
import math
import re
import sys
from collections.abc import Mapping
from typing import Any

from scripted_server import Act, ScriptedServer, Seen, envelope, number, prompt_of

NONCE = re.compile(r"(?<=[ \[])[0-9a-f]{10}(?=[\]:])")
"""As our own wordings have it: different in each run."""


def judged(body: Mapping[str, Any], n: int) -> dict[str, Any]:
    """A verdict in AlpacaEval's form: the probabilities of the two names, a function of the prompt."""
    share = 0.02 + 0.96 * number(NONCE.sub("", prompt_of(body)))
    top = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in (("m", share), ("M", 1 - share))]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "m" if share > 0.5 else "M"},
        "finish_reason": "length",
        "logprobs": {"content": [{**top[0], "top_logprobs": top}]},
    }
    return envelope("chat.completion", body, choice, ["m"], n)


def judging(delay_s: float = 0.0) -> Any:
    """Behaviour for a ScriptedServer that is model and judge at once."""

    def behave(seen: Seen) -> Act:
        if seen.body.get("max_tokens") == 1 or seen.body.get("max_completion_tokens") == 1:
            return Act(body=judged(seen.body, seen.n), delay_s=delay_s)
        return Act(delay_s=delay_s)

    return behave


async def _main() -> None:
    server = ScriptedServer(judging(), keep=False)
    serving = asyncio.create_task(server.serve())
    while not server.port:
        await asyncio.sleep(0.01)
    print(server.url, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    serving.cancel()


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(_main())
