"""Requests as OpenAI's API wants them, and its answers as replies. Pure: no I/O, no state.

Servers differ, and some send nonsense: whatever JSON comes back becomes a Reply or a Fault.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from h3eval.backends._openai_prices import most_tokens_in, own_count, text_bytes
from h3eval.text import cut_at
from h3eval.types import Fault, Json, Reply, Request

CHAT, TEXT = "/chat/completions", "/completions"
MOST_STOPS = 4
"""OpenAI takes no more; the others are applied to the answer."""
MOST_TOP = 20
WIDEST = 1 << 63
MOST_TOP_OPENAI_TEXT = 5


def path_of(request: Request, api: str) -> str:
    """Chat messages go to the chat endpoint; plain text where `api` says."""
    return CHAT if api == "chat" or not isinstance(request.prompt, str) else TEXT


def body_of(request: Request, model: str, path: str, limit_name: str, most_text_top: int) -> bytes:
    """The JSON to send. `limit_name` is what this server calls `max_tokens`."""
    body: dict[str, Json] = {"model": model}
    if request.kind == "loglikelihood":
        # Nothing is generated: prompt and continuation come back with their log-probabilities.
        body |= {"prompt": request.prompt, "max_tokens": 0, "temperature": 0.0, "logprobs": 1, "echo": True}
        body["prompt"] = f"{request.prompt}{request.continuation}"
        return json.dumps(body).encode()
    body |= _prompt(request, path)
    body |= {limit_name: request.max_tokens, "temperature": request.temperature}
    if request.top_p != 1.0:
        body["top_p"] = request.top_p
    if request.stop:
        body["stop"] = list(request.stop[:MOST_STOPS])
    if request.seed is not None:
        # Draws that differ only in `repeat` must differ.
        body["seed"] = request.seed + 1_000_003 * request.repeat
    return json.dumps(body | _logprobs(request, path, most_text_top)).encode()


def _prompt(request: Request, path: str) -> dict[str, Json]:
    if path == TEXT:
        return {"prompt": request.prompt}
    if isinstance(request.prompt, str):
        return {"messages": [{"role": "user", "content": request.prompt}]}
    messages: dict[str, Json] = {"messages": [dict(message) for message in request.prompt]}
    # Servers of open models take it; a judge that needs it can't be asked elsewhere.
    return messages | {name: request.options[name] for name in ("chat_template_kwargs",) if name in request.options}


def _logprobs(request: Request, path: str, most_text_top: int) -> dict[str, Json]:
    wanted = max(request.top_logprobs, MOST_TOP if request.candidates else 0)
    if not wanted:
        return {}
    if path == TEXT:
        return {"logprobs": min(wanted, most_text_top)}
    return {"logprobs": True, "top_logprobs": min(wanted, MOST_TOP)}


def answer_of(request: Request, data: Json) -> Reply | Fault:
    """What the parsed body of a 200 says; tokens are counted in all cases (`usage_of`)."""
    choices = _list(_dict(data).get("choices"))
    choice = _dict(choices[0]) if choices else {}
    message = _dict(choice.get("message"))
    finish = choice.get("finish_reason") or "stop"
    if finish == "content_filter" or message.get("refusal"):
        return Fault("filtered", str(message.get("refusal") or "content filter"), billed="yes", transient=False)
    text = message.get("content") if "message" in choice else choice.get("text")
    if not isinstance(text, str):
        return Fault("empty reply", "no choices" if not choices else "no content", billed="yes")
    tokens_in, tokens_out, counted = usage_of(request, data, text)
    extra: dict[str, Json] = {} if counted else {"usage": "own count"}
    if fingerprint := _dict(data).get("system_fingerprint"):
        extra["system_fingerprint"] = str(fingerprint)
    about: dict[str, Any] = {
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "model": str(_dict(data).get("model") or ""),
        "extra": extra,
    }
    if request.kind == "loglikelihood":
        # vLLM counts a token that it made and does not show.
        added = tokens_out if text != f"{request.prompt}{request.continuation}" else 0
        return _scored(request, _dict(choice.get("logprobs")), added, about)
    cut = cut_at(text, request.stop)
    first = first_token(_dict(choice.get("logprobs")))
    return Reply(cut, "stop" if len(cut) < len(text) else str(finish), first, **about)


def usage_of(request: Request, data: Json, text: str = "") -> tuple[int, int, bool]:
    """Tokens in and out, and whether they are the endpoint's own count.

    A count that can't be true is replaced by ours, or kept where it is larger: the cost cap must
    not be talked down.
    """
    usage = _dict(_dict(data).get("usage"))
    given = [usage.get("prompt_tokens"), usage.get("completion_tokens", 0)]
    own = [own_count(text_bytes(request)), own_count(len(text.encode("utf-8", "surrogatepass")))]
    # Reasoning models bill hidden tokens: only the prompt's count has a bound that we know.
    bounds = [2 * most_tokens_in(request) + 4096, 1 << 24]
    # Nor may a number of thousands of digits, which JSON allows, stop the run: no float and no store has room for it.
    numbers = [value if type(value) is int and 0 <= value < WIDEST else -1 for value in given]
    sound = all(0 <= number <= bound for number, bound in zip(numbers, bounds, strict=True)) and numbers[0] > 0
    if sound:
        return numbers[0], numbers[1], True
    return max(numbers[0], own[0]), max(numbers[1], own[1]), False


def first_token(logprobs: Mapping[str, Json]) -> dict[str, float]:
    """Token to log-probability of all the first tokens that are reported, the chosen one included."""
    content = _list(logprobs.get("content"))
    if content:
        chosen = _dict(content[0])
        entries = [_dict(each) for each in [*_list(chosen.get("top_logprobs")), chosen]]
        pairs = [(each.get("token"), each.get("logprob")) for each in entries]
    else:
        tops = _list(logprobs.get("top_logprobs"))
        chosen_pair = zip(_list(logprobs.get("tokens")), _list(logprobs.get("token_logprobs")), strict=False)
        pairs = [*(_dict(tops[0]).items() if tops else ()), *list(chosen_pair)[:1]]
    found: dict[str, float] = {}
    value: Any
    for token, value in pairs:
        if isinstance(token, str) and _is_logprob(value):
            # Different byte tokens can have the same text: their sum would be no token's.
            found[token] = max(float(value), found.get(token, -math.inf))
    return found


def _scored(request: Request, logprobs: Mapping[str, Json], made: int, about: dict[str, Any]) -> Reply | Fault:
    """The sum over the continuation's tokens of an echoed text; `made` tokens were added to it."""
    tokens, values, tops = (_list(logprobs.get(name)) for name in ("tokens", "token_logprobs", "top_logprobs"))
    end = max(len(tokens) - made, 0)
    start = _start(tokens[:end], request.continuation)
    if start is None or len(values) < end:
        return Fault(
            "no log-probabilities", "the endpoint does not echo the prompt's tokens", billed="yes", transient=False
        )
    part = values[start:end]
    if not all(_is_logprob(value) for value in part):
        return Fault("no log-probabilities", "a token has none: is the prompt empty?", billed="yes", transient=False)
    best = [max((v for v in _dict(top).values() if _is_logprob(v)), default=-math.inf) for top in tops[start:end]]
    greedy = len(best) == len(part) and all(value >= top for value, top in zip(part, best, strict=True))
    return Reply(logprob=math.fsum(part), is_greedy=greedy, **about)


def _start(tokens: Sequence[Json], continuation: str) -> int | None:
    """Where the continuation's tokens begin, from the end: a begin-of-text token shifts offsets.

    A token that spans the border belongs to the continuation. None where texts do not match.
    """
    tail = ""
    for place in range(len(tokens) - 1, -1, -1):
        tail = f"{tokens[place]}{tail}"
        if len(tail) >= len(continuation):
            return place if tail.endswith(continuation) else None
    return None


def _is_logprob(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value) and value <= 1e-3


def _dict(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> Sequence[Json]:
    return value if isinstance(value, list) else ()
