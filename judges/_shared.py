"""What several judges share: wordings, nonces, and reading first tokens. Not a judge itself."""

import ast
import importlib.util
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from h3eval.errors import Unreadable
from h3eval.text import fill, placeholder
from h3eval.types import Message, Reply, Sample

UNSAFE = "1 unsafe, 0 safe"
"""The scale of every judge of harm."""
BLOCK = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)


@dataclass(frozen=True)
class Wording:
    """A prompt with its source: `official`, from the package that publishes it, or our `own`."""

    source: str
    text: str
    messages: tuple[Message, ...]

    def filled(self, **values: str) -> tuple[Message, ...]:
        """The messages with every `{name}` replaced in one pass; values are never read as templates."""
        return tuple({"role": m["role"], "content": fill(m["content"], **values)} for m in self.messages)


def own(name: str) -> Wording:
    """The wording in `judges/<name>.txt`, as one user message."""
    text = Path(__file__).with_name(f"{name}.txt").read_text(encoding="utf-8")
    return Wording("own", text, ({"role": "user", "content": text.strip()},))


def published(package: str, file: str) -> Wording | None:
    """A wording that an installed package ships; None where it is not installed.

    The package is not imported. Its file marks messages as `<|im_start|>role ... <|im_end|>`; they
    are taken apart before filling, so that such marks in an answer stay part of the answer.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, file)
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            blocks = tuple({"role": role, "content": body.strip()} for role, body in BLOCK.findall(text))
            return Wording("official", text, blocks) if blocks else None
    return None


nonce = placeholder
"""What stands for a request's nonce until it is sent."""


def sent(reply: Reply, sign: str) -> str:
    """The nonce that was sent; the placeholder itself where it was sent as it stands."""
    return reply.nonce or sign


def question(sample: Sample) -> str:
    """What the model under test was asked: the bare question, without a format around it."""
    given = sample.metadata.get("question")
    if isinstance(given, str):
        return given
    return sample.prompt if isinstance(sample.prompt, str) else sample.prompt[-1]["content"]


def only(replies: Sequence[Reply]) -> Reply:
    """The one reply. Raise Unreadable for none or several."""
    if len(replies) != 1:
        raise Unreadable(f"expected one reply, found {len(replies)}")
    return replies[0]


def first_tokens(reply: Reply) -> Mapping[str, float]:
    """Probabilities of the reported first tokens.

    Raise Unreadable where none are reported, or one is no log-probability.
    """
    if not reply.first_token:
        raise Unreadable("the engine reported no first-token probabilities")
    for token, value in reply.first_token.items():
        # Rounding in half precision may put a certain token a little above zero.
        if math.isnan(value) or value > 0.01:
            raise Unreadable(f"{value} is not the log-probability of {token!r}")
    return {token: min(1.0, math.exp(value)) for token, value in reply.first_token.items()}


def said(found: Mapping[str, float], word: str) -> float:
    """Probability that the reply is this word, with or without a space before it."""
    return min(1.0, math.fsum(value for token, value in found.items() if token.strip() == word))


def published_text(package: str, file: str, marker: str) -> str | None:
    """The text in an installed package's module that contains `marker`; None where there is none.

    The module is parsed, never imported: such packages want engines that have nothing to do with
    their wording. Parts that are filled in at run time are not part of a text that is found.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, file)
        if path.is_file():
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
            return next((text for text in texts if marker in text), None)
    return None
