"""From prompts to token ids and back, the same way for both local engines.

Plain text is tokenised the way lm-eval's `hf` model does it, special tokens' names included: such
prompts come from a task or judge that means them. In a chat message the text of a special token is
only text: it can't end a turn or open another.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from jinja2 import TemplateError

from h3eval.errors import ConfigError
from h3eval.types import Json, Message, Prompt, Request
from h3eval.untrusted import templates

ROLES = {"user": "User: ", "assistant": "Assistant: ", "system": ""}
WHOLE = "add_generation_prompt"
"""An option: the messages are a whole conversation, for a template that words a question about it."""
NO_OPTIONS: Mapping[str, Json] = {}
# Stands in for the text of a special token while the chat template is rendered.
MARK = "\ue000{}\ue001"
MARKED = re.compile("\ue000([0-9]+)\ue001")


@dataclass(frozen=True)
class Encoded:
    """A request's prompt as tokens.

    `target` are the continuation's ids of a `loglikelihood`; `candidates` the first token of each
    candidate string; `truncated` says that the prompt was cut on the left to fit the model.
    """

    ids: tuple[int, ...]
    target: tuple[int, ...] = ()
    candidates: tuple[int, ...] = ()
    max_tokens: int = 0
    truncated: bool = False


class Prompts:
    """A tokenizer with the rules for using it. `template` is `auto`, `yes` or `no`; `name` is the model's.

    Raise BackendError for a chat template that renders nothing.
    """

    def __init__(self, tokenizer: Any, max_length: int, template: str = "auto", name: str = "") -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        if template == "yes" and not tokenizer.chat_template:
            raise ConfigError("chat_template=yes, but this model's tokenizer has no chat template")
        self.chats = template != "no" and bool(tokenizer.chat_template)
        if self.chats:
            templates.check(tokenizer, name)
        # lm-eval's prefix token: what an empty context becomes.
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        self.prefix: int | None = bos if bos is not None else eos
        names = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self._special = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or r"(?!)")

    def encode(self, text: str) -> list[int]:
        """Plain text, with the special tokens this tokenizer adds, unless it begins with BOS already."""
        begins = self.prefix is not None and text.startswith(self.tokenizer.decode([self.prefix]))
        ids: list[int] = self.tokenizer.encode(text, **({"add_special_tokens": False} if begins else {}))
        return ids

    def prompt(self, prompt: Prompt, extra: str = "", options: Mapping[str, Json] = NO_OPTIONS) -> list[int]:
        """Token ids of a prompt, with `extra` text at its end.

        Raise ValueError for a conversation to be judged that this model's template does not show.
        """
        if isinstance(prompt, str):
            return self.encode(prompt + extra)
        if self.chats:
            text, hidden = self._rendered(prompt, options)
            return self._pieces(text + extra, hidden)
        if WHOLE in options:
            raise ValueError("this judge is asked by the model's own chat template, and the model has none")
        return self.encode(plain(prompt) + extra)

    def complete(self, request: Request) -> Encoded:
        """A `complete` request. The prompt is cut on the left to leave room for `max_tokens`, but
        never below half the model's length: then the answer gets less room."""
        ids = self._given(request)
        if not ids and self.prefix is not None:
            ids = [self.prefix]
        room = max(self.max_length - request.max_tokens, self.max_length // 2, 1)
        kept = ids[-room:]
        return Encoded(
            tuple(kept),
            candidates=tuple(self._first(request, ids, each) for each in request.candidates),
            max_tokens=max(min(request.max_tokens, self.max_length - len(kept)), 1),
            truncated=len(kept) < len(ids),
        )

    def pair(self, request: Request) -> Encoded:
        """A `loglikelihood` request, split into tokens and cut as lm-eval's `hf` model does.

        After chat messages the continuation begins the answer, as it stands: no space is put before it.
        Raise ValueError for a continuation without tokens, or longer than the model, and for chat
        messages where there is no chat template.
        """
        context, target = self._split(request.prompt, request.continuation)
        if not target:
            raise ValueError("the continuation has no tokens")
        if len(target) > self.max_length:
            raise ValueError(f"the continuation has {len(target)} tokens, the model {self.max_length}")
        kept = context[-(self.max_length + 1 - len(target)) :]
        return Encoded(tuple(kept), tuple(target), truncated=len(kept) < len(context))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated tokens, without special ones."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def _split(self, prompt: Prompt, continuation: str) -> tuple[list[int], list[int]]:
        encode: Callable[[str], list[int]] = self.encode
        if isinstance(prompt, str):
            context = prompt
        elif self.chats:
            context, hidden = self._rendered(prompt, {})
            encode = partial(self._pieces, hidden=hidden)
        else:
            raise ValueError("log-likelihoods after chat messages need a chat template, which this model has not")
        if not context:
            target = self.tokenizer.encode(continuation, add_special_tokens=False)
            if self.prefix is None or target[:1] == [self.prefix]:
                return target[:1], target[1:]
            return [self.prefix], target
        # As in lm-eval, white space at the context's end belongs to the continuation.
        ids = encode(context.rstrip())
        return ids, encode(context + continuation)[len(ids) :]

    def _given(self, request: Request, extra: str = "") -> list[int]:
        """The prompt, what every answer to it begins with, and `extra`."""
        begun = str(request.options.get("answer_prefix", ""))
        if not begun:
            return self.prompt(request.prompt, extra, request.options)
        # Tokenised apart: as the model itself would have written it.
        ids: list[int] = self.tokenizer.encode(begun + extra, add_special_tokens=False)
        return self.prompt(request.prompt, options=request.options) + ids

    def _rendered(self, messages: Sequence[Message], options: Mapping[str, Json]) -> tuple[str, list[str]]:
        """The chat template's text, and the texts that marks in it stand for."""
        found: list[str] = []

        def hide(match: re.Match[str]) -> str:
            found.append(match[0])
            return MARK.format(len(found) - 1)

        safe = [{**message, "content": self._special.sub(hide, message["content"])} for message in messages]
        if WHOLE in options:
            return self._whole(safe, options), found
        # A last message of the assistant's is the beginning of its answer.
        begun = safe[-1]["role"] == "assistant"
        text = templates.rendered(self.tokenizer, safe, add_generation_prompt=not begun, continue_final_message=begun)
        return text, found

    def _whole(self, messages: Sequence[Message], options: Mapping[str, Json]) -> str:
        """A conversation that the template asks about, as guard models' templates do.

        Raise ValueError where it leaves out a message or an argument: another text would be judged.
        """
        given = options.get("chat_template_kwargs") or {}
        wanted = [*(each["content"] for each in messages), *(each for each in given.values() if isinstance(each, str))]
        # Some templates see a text only as a list of typed parts.
        typed = [{**each, "content": [{"type": "text", "text": each["content"]}]} for each in messages]
        for form in (messages, typed):
            with suppress(TemplateError):
                text = templates.rendered(self.tokenizer, form, add_generation_prompt=bool(options[WHOLE]), **given)
                if all(part.strip() in text for part in wanted):
                    return text
        raise ValueError("the chat template leaves out a message, or an argument that this judge needs")

    def _pieces(self, text: str, hidden: Sequence[str]) -> list[int]:
        ids: list[int] = []
        for place, piece in enumerate(MARKED.split(text)):
            # Odd pieces are the numbers of hidden texts.
            mark = place % 2 and int(piece) < len(hidden)
            ids += self.tokenizer.encode(
                hidden[int(piece)] if mark else piece,
                add_special_tokens=False,
                split_special_tokens=bool(mark),
            )
        return ids

    def _first(self, request: Request, ids: list[int], candidate: str) -> int:
        """The token a candidate begins with after this prompt.

        Where the tokenizer would merge the candidate into the prompt's last token, the candidate's
        own first token is meant: the prompt's tokens are given, and can't change any more.
        """
        whole = self._given(request, candidate)
        after = whole[len(ids) :] if whole[: len(ids)] == ids else []
        alone = after or self.tokenizer.encode(candidate, add_special_tokens=False)
        if not alone:
            raise ValueError(f"candidate {candidate!r} has no tokens")
        return int(alone[0])


def plain(messages: Sequence[Message]) -> str:
    """Messages for a model without a chat template.

    A single user message is just its content; else contents follow `User: ` or `Assistant: `
    (the system's stands bare), with a blank line between, and the last line opens the answer.
    """
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    parts = [ROLES.get(message["role"], "User: ") + message["content"] for message in messages]
    return "\n\n".join([*parts, *([] if messages[-1]["role"] == "assistant" else ["Assistant:"])])


def seed(request: Request, ids: Sequence[int]) -> int:
    """A seed of 63 bits from the request's seed and repeat and the prompt: draws do not depend on
    what else is in the batch, and equal prompts with different repeats differ."""
    words = f"{request.seed}|{request.repeat}|{','.join(map(str, ids))}"
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") >> 1
