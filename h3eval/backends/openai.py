"""Any number of OpenAI-compatible endpoints over HTTP: OpenAI, vLLM serve, SGLang, gateways.

`openai:MODEL[,base_url=URL|URL,api=chat|completions,concurrency=N,max_cost=USD,...]`. The key comes
from $OPENAI_API_KEY or the variable that `api_key_env` names. Every attempt is journaled.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from h3eval.backends import _openai_settings
from h3eval.backends._openai_calls import Asking, Memory
from h3eval.backends._openai_prices import Purse
from h3eval.backends._openai_session import Session
from h3eval.budget import Budget
from h3eval.config import ModelSpec
from h3eval.errors import BackendError
from h3eval.types import Backend, Call, Fault, Journal, Json, Reply


class OpenAI:
    """A backend over HTTP. Nothing is sent before the first call.

    `answer` raises BackendError where no call can succeed (unknown model, wrong URL),
    ProviderStopped where no more can be paid for or the key is refused.
    """

    paid = True

    def __init__(self, spec: ModelSpec) -> None:
        self.settings = _openai_settings.read(spec, os.environ)
        self._memory = Memory(Purse(self.settings.price, Budget(self.settings.max_cost)))
        scores = {"loglikelihood"} if self.settings.api == "completions" else set()
        self.can = frozenset({"complete"} | scores)
        self.identity: Mapping[str, Json] = {"backend": "openai", "model": spec.model, "api": self.settings.api}

    @property
    def price(self) -> tuple[float, float] | None:
        """US dollars for a million tokens in and out; None where they are not known."""
        return self.settings.price

    @property
    def usd_spent(self) -> float | None:
        """What this backend's calls have cost so far, in US dollars; None where prices are not known."""
        return self._memory.purse.spent if self.settings.price else None

    def share(self, budget: Budget) -> None:
        """Spend from a budget that other engines spend from too; call it before the first answer."""
        self._memory = Memory(Purse(self.settings.price, budget))

    def answer(self, calls: Iterable[Call], journal: Journal) -> Iterator[tuple[Call, Reply | Fault]]:
        """Answer calls as they come; closing the iterator waits for those under way."""
        ahead = 2 * self.settings.concurrency * len(self.settings.urls)
        session = Session(partial(Asking, self.settings, self._memory, journal), self._check, ahead)
        yield from session.answers(calls)

    def close(self) -> None:
        """Nothing is held between two `answer`s."""

    def _check(self, call: Call) -> None:
        if call.request.kind not in self.can:
            cure = "; api=completions can" if call.request.kind == "loglikelihood" else ""
            raise BackendError(f"{self.settings.model} over HTTP can't answer {call.request.kind} requests{cure}")
        if call.request.kind == "loglikelihood" and not isinstance(call.request.prompt, str):
            raise BackendError(
                f"{self.settings.model} over HTTP can't score choices after chat messages (the server renders them): "
                "leave --apply_chat_template out, or use a local backend"
            )


BACKEND: Callable[[ModelSpec], Backend] = OpenAI
