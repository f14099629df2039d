"""What API calls cost, and a purse that is never overdrawn."""

import re
from dataclasses import dataclass

from h3eval.budget import Budget
from h3eval.types import Request

PRICES_AS_OF = "2026-03"
# US dollars for a million tokens in and out, as OpenAI's price page had them (standard tier).
PRICES: dict[str, tuple[float, float]] = {
    "gpt-5.1": (1.25, 10.0),
    "gpt-5": (1.25, 10.0),
    "gpt-5-mini": (0.25, 2.0),
    "gpt-5-nano": (0.05, 0.4),
    "gpt-4.1": (2.0, 8.0),
    "gpt-4.1-mini": (0.4, 1.6),
    "gpt-4.1-nano": (0.1, 0.4),
    "gpt-4o": (2.5, 10.0),
    "gpt-4o-mini": (0.15, 0.6),
    "gpt-4-turbo": (10.0, 30.0),
    "gpt-4-1106-preview": (10.0, 30.0),
    "gpt-4-0125-preview": (10.0, 30.0),
    "gpt-4": (30.0, 60.0),
    "gpt-4-0613": (30.0, 60.0),
    "gpt-3.5-turbo": (0.5, 1.5),
    "gpt-3.5-turbo-0125": (0.5, 1.5),
    "davinci-002": (2.0, 2.0),
    "babbage-002": (0.4, 0.4),
    "o3": (2.0, 8.0),
    "o3-mini": (1.1, 4.4),
    "o4-mini": (1.1, 4.4),
}
# The first gpt-4o cost twice as much: a date is no licence to guess.
OTHER_PRICES = {"gpt-4o-2024-05-13": (5.0, 15.0)}
DATED = re.compile(r"-20\d\d-\d\d-\d\d\Z")
BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 16
"""Role, separators and the opening of the answer: no known chat format needs more."""


def price_of(model: str) -> tuple[float, float] | None:
    """US dollars for a million tokens in and out; None for a model that is not in the table."""
    return OTHER_PRICES.get(model) or PRICES.get(DATED.sub("", model))


def text_bytes(request: Request) -> int:
    """Size of all the text that is sent, in UTF-8."""
    texts = [request.prompt] if isinstance(request.prompt, str) else [m["content"] for m in request.prompt]
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in [*texts, request.continuation])


def most_tokens_in(request: Request) -> int:
    """A bound: byte-level tokenizers make at most one token of each byte."""
    messages = 1 if isinstance(request.prompt, str) else len(request.prompt)
    return text_bytes(request) + TOKENS_PER_MESSAGE * (messages + 1)


def own_count(size: int) -> int:
    """A guess at the tokens of so many bytes, where an endpoint reports none."""
    return -(-size // BYTES_PER_TOKEN)


@dataclass
class Purse:
    """One model's prices, in US dollars for a million tokens in and out, and the budget they come from.

    `spent` is this model's own part of what the budget's engines have spent.
    """

    price: tuple[float, float] | None
    budget: Budget
    spent: float = 0.0
    possible: float = 0.0

    @property
    def cap(self) -> float | None:
        """US dollars that all engines on this budget may spend."""
        return self.budget.cap

    @property
    def holders(self) -> int:
        """Calls under way that hold a reservation."""
        return self.budget.holders

    def cost(self, tokens_in: int, tokens_out: int) -> float | None:
        """US dollars; None where prices are not known: unknown is not nothing."""
        if self.price is None:
            return None
        return (self.price[0] * tokens_in + self.price[1] * tokens_out) / 1e6

    def most(self, request: Request) -> float:
        """The most that one attempt can cost, to be set aside; 0 where that is not known: then there is no cap."""
        most = self.cost(most_tokens_in(request), request.max_tokens if request.kind == "complete" else 1)
        return most or 0.0

    def reserve(self, amount: float) -> bool:
        """Set the amount aside; false where the budget does not allow it now."""
        return self.budget.reserve(amount)

    def settle(self, amount: float, spent: float = 0.0, possible: float = 0.0) -> None:
        """Give back what was set aside, and book what was spent or possibly spent."""
        self.budget.settle(amount, spent, possible)
        self.spent += spent
        self.possible += possible

    def bill(self) -> str:
        """What was spent, in words."""
        if self.price is None:
            return "prices are not known, so neither is what was spent"
        lost = f", and at most ${self.possible:.4f} more for answers that were lost" if self.possible else ""
        return f"spent ${self.spent:.4f}{lost}"
