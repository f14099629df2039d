"""Nonces that nobody can know who writes an answer: which secret a run has, and what it makes of a request.

A judge writes a placeholder, which is a function of public text: the addresses of replies are taken over it, so that
they are the same in every run. What is sent has a nonce in its place, made from the run's secret. The secret lies in
the run's database beside the manifest, is no part of what identifies the run, and is never shown.
"""

import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import replace

from h3eval.errors import ConfigError
from h3eval.store import Reader, Store, call_key
from h3eval.text import NONCE_LENGTH
from h3eval.types import Call, Json, Message, Prompt, Request

META = "secret"
VARIABLE = "H3EVAL_SECRET"
"""The environment variable that gives new runs their secret: runs that share it ask judges the same, to the byte."""
HEX = re.compile(r"[0-9a-f]{64}")


def secret_of(run: Reader) -> bytes | None:
    """The secret of a run's folder; None for one that began before there were secrets: its nonces are public."""
    found = run.meta(META)
    return bytes.fromhex(found) if isinstance(found, str) else None


def begin(store: Store) -> None:
    """Give a run that has not begun its secret: the user's own, or a new one.

    Raise ConfigError for a secret in the environment that is none.
    """
    if store.meta("manifest") is not None or store.meta(META) is not None:
        return
    given = os.environ.get(VARIABLE, "")
    if given and not HEX.fullmatch(given):
        raise ConfigError(f"{VARIABLE}: must be 64 of the digits 0-9 and a-f; `openssl rand -hex 32` makes one")
    store.put_meta(META, given or os.urandom(32).hex())


def nonce_for(secret: bytes | None, request: Request) -> str:
    """What is sent in place of the request's placeholder; without a secret the placeholder itself, or empty."""
    if not request.nonce or secret is None:
        return request.nonce
    # Of the request alone, not of who is asked: so a recorded run can be replayed.
    content = request.nonce.encode() + call_key("judge", {}, request)
    return hmac.digest(secret, content, "sha256").hex()[:NONCE_LENGTH]


def sealed(call: Call, secret: bytes | None) -> Call:
    """The call as it is sent."""
    nonce = nonce_for(secret, call.request)
    if nonce == call.request.nonce:
        return call
    return Call(call.key, _filled(call.request, call.request.nonce, nonce), call.request.nonce)


def unsealed(call: Call) -> Request:
    """The request whose address the call's key is."""
    return _filled(call.request, call.request.nonce, call.placeholder) if call.placeholder else call.request


def _filled(request: Request, old: str, new: str) -> Request:
    """The request with one nonce in place of another, wherever it stands."""
    prompt: Prompt
    if isinstance(request.prompt, str):
        prompt = request.prompt.replace(old, new)
    else:
        prompt = tuple(_message(message, old, new) for message in request.prompt)
    return replace(
        request,
        prompt=prompt,
        continuation=request.continuation.replace(old, new),
        stop=tuple(text.replace(old, new) for text in request.stop),
        options={name: _within(value, old, new) for name, value in request.options.items()},
        nonce=new,
    )


def _message(message: Message, old: str, new: str) -> Message:
    return {name: text.replace(old, new) for name, text in message.items()}


def _within(value: Json, old: str, new: str) -> Json:
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, Mapping):
        return {name: _within(each, old, new) for name, each in value.items()}
    return [_within(each, old, new) for each in value] if isinstance(value, list | tuple) else value
