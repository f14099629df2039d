"""What goes wrong with an API call, and what is to be done about it. Pure.

One reading of statuses, headers and error bodies, so that each fault is treated alike everywhere.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum

from h3eval.backends._openai_client import Answer, Lost
from h3eval.backends._openai_wire import answer_of
from h3eval.types import Fault, Json, Reply, Request
from h3eval.untrusted import values

CONTEXT = re.compile(
    r"context[ _](length|window)|maximum (context|prompt|model)|max_model_len|too many tokens|prompt is too long", re.I
)
QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated")
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DETAIL = 300
"""Characters of an endpoint's own message that are kept."""


class Remedy(Enum):
    """What to do after a fault."""

    RECORD = "this call has no better answer: record the fault"
    WAIT = "the endpoint is busy: ask again when it says, however often"
    RETRY = "the endpoint is broken: ask again a few times"
    RENAME = "ask again, calling the limit on tokens by its other name"
    LEAVE = "the endpoint takes no more calls: go to another, or stop"
    STOP = "every call would fail like this one: stop"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault, its remedy, and how long the endpoint wants to be left alone."""

    fault: Fault
    remedy: Remedy
    wait_s: float | None = None


def read(request: Request, answer: Answer | Lost) -> tuple[Reply | Trouble, Json]:
    """What an exchange means, and the parsed body (None where there is none)."""
    if isinstance(answer, Lost):
        fault = Fault(answer.reason, short(answer.detail), "unknown" if answer.sent else "no")
        return Trouble(fault, Remedy.STOP if answer.refused else Remedy.RETRY), None
    data, problem = parsed(answer.body)
    if answer.status != 200:
        return _refusal(answer, data), None
    if problem:
        return Trouble(Fault("protocol", problem, "unknown"), Remedy.RETRY), None
    if isinstance(data, dict) and data.get("error") and not data.get("choices"):
        # Some gateways report an upstream error with status 200.
        return Trouble(Fault("server error", _message(data), "unknown"), Remedy.RETRY), None
    reply = answer_of(request, data)
    return (reply if isinstance(reply, Reply) else Trouble(reply, Remedy.RECORD)), data


def parsed(body: bytes) -> tuple[Json, str]:
    """The JSON of a body, or what is wrong with it."""
    if not body.strip():
        return None, "an empty body"
    try:
        data = values.reply(body)
    except ValueError:
        return None, f"not JSON: {body[:80]!r}"
    return data, "" if isinstance(data, dict) else f"not a JSON object: {body[:80]!r}"


def _refusal(answer: Answer, data: Json) -> Trouble:
    status, message = answer.status, _message(data) or f"HTTP {answer.status}"
    codes = {str(value) for value in (_error(data).get("code"), _error(data).get("type"))}
    wait = retry_after_s(answer.headers)
    if status == 402 or codes & set(QUOTA):
        return Trouble(Fault("quota", message), Remedy.LEAVE)
    if status == 429:
        return Trouble(Fault("rate limit", message), Remedy.WAIT, wait)
    if status in (401, 403):
        return Trouble(Fault("credentials", message), Remedy.LEAVE)
    if status in (404, 405, 410) or 300 <= status < 400:
        return Trouble(Fault("endpoint", _moved(answer) or message), Remedy.STOP)
    if status in (408, 409, 425) or status >= 500:
        return Trouble(Fault("server error", f"HTTP {status}: {message}"), Remedy.RETRY, wait)
    if "max_completion_tokens" in message and _error(data).get("param") in (None, "max_tokens"):
        return Trouble(Fault("bad request", message), Remedy.RENAME)
    return Trouble(_bad_request(codes, message), Remedy.RECORD)


def _bad_request(codes: set[str], message: str) -> Fault:
    if "context_length_exceeded" in codes or CONTEXT.search(message):
        return Fault("context", message, transient=False)
    if codes & {"content_filter", "content_policy_violation"}:
        return Fault("filtered", message, transient=False)
    return Fault("bad request", message, transient=False)


def _moved(answer: Answer) -> str:
    if answer.status >= 400:
        return ""
    return f"HTTP {answer.status}: it redirects to {answer.headers.get('location', 'nowhere')}, which is not followed"


def _error(data: Json) -> Mapping[str, Json]:
    error = data.get("error") if isinstance(data, dict) else None
    return error if isinstance(error, dict) else {}


def _message(data: Json) -> str:
    """An error body's message: OpenAI's form, or those of FastAPI and older vLLM servers."""
    if not isinstance(data, dict):
        return ""
    loose = data.get("error") if isinstance(data.get("error"), str) else data.get("message") or data.get("detail")
    return short(str(_error(data).get("message") or loose or ""))


def short(text: str) -> str:
    """One line of at most `DETAIL` characters."""
    line = " ".join(text.split())
    return line if len(line) <= DETAIL else line[: DETAIL - 1] + "…"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long an endpoint asks to wait: `retry-after-ms`, else `retry-after` in seconds or as a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = _number(headers.get(name, ""))
        if value is not None:
            return value * unit
    return _until(headers.get("retry-after", ""), headers.get("date", ""))


def _until(then: str, now: str) -> float | None:
    """Seconds from one HTTP date to another: by the server's own clock, ours may be wrong."""
    try:
        return max(0.0, (parsedate_to_datetime(then) - parsedate_to_datetime(now)).total_seconds())
    except (ValueError, TypeError):
        return None


def exhausted_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until the endpoint takes requests again, where its quota for now is used up."""
    if headers.get("x-ratelimit-remaining-requests") != "0":
        return None
    text = headers.get("x-ratelimit-reset-requests", "")
    parts = DURATION.findall(text)
    return sum(float(number) * UNITS[unit] for number, unit in parts) if parts else _number(text)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
