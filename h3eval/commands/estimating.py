"""`estimate`: requests, tokens and money of a run. Sends nothing, loads no model."""

from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.table import Table

from h3eval.commands.running import prepare
from h3eval.judgeplan import JudgePlan, seats
from h3eval.store import call_key
from h3eval.terminal import output
from h3eval.text import canonical
from h3eval.types import Backend, Generation, Reply, Request, Sample, Task

CHARACTERS_PER_TOKEN = 4.0
NO_MODEL, NO_JUDGE = "(no model)", "(no judge given)"
Price = tuple[float, float] | None
"""US dollars for a million tokens in and out; None where they are not known."""


@dataclass
class Tally:
    """Requests of one stage on one task. Tokens are guesses: characters over four."""

    stage: str
    task: str
    model: str
    requests: int = 0
    tokens_in: float = 0.0
    tokens_out: float = 0.0
    seen: set[bytes] = field(default_factory=set)
    """What is asked already: the same request is sent, and paid for, once."""

    def add(self, requests: Iterable[Request]) -> None:
        for request in requests:
            key = call_key("gen", {}, request)
            if key in self.seen:
                continue
            self.seen.add(key)
            text = request.prompt if isinstance(request.prompt, str) else canonical(request.prompt)
            self.requests += 1
            self.tokens_in += len(text + request.continuation) / CHARACTERS_PER_TOKEN
            self.tokens_out += request.max_tokens if request.kind == "complete" else 0


def estimate(args: Namespace) -> int:
    """Print the most that the run can ask for."""
    job = prepare(args)
    tallies = []
    for task in job.plan.tasks:
        tallies.append(_generating(task, job.samples(task), str(job.model)))
        for role in task.judges:
            tallies += [_judging(seat, task, job.samples(task)) for seat in seats(job.plan.judges, role)]
    _print(tallies, {spec: price(engine) for spec, engine in job.engines.items()})
    return 0


def _generating(task: Task, samples: Iterable[Sample], model: str) -> Tally:
    tally = Tally("generate", task.id, model)
    for sample in samples:
        replies: tuple[Reply, ...] = ()
        for _ in range(task.turns):
            requests = task.ask(sample, replies)
            tally.add(requests)
            replies += tuple(Reply() for _ in requests)
    return tally


def _judging(role: JudgePlan, task: Task, samples: Iterable[Sample]) -> Tally:
    tally = Tally(f"judge {role.role}", task.id, role.spec or (NO_JUDGE if role.needs_model else NO_MODEL))
    for sample in samples:
        answer_tokens = sum(request.max_tokens for request in task.ask(sample, ()))
        # A longest possible answer stands in for the one that is not there yet.
        answer = Reply(text="x" * int(answer_tokens * CHARACTERS_PER_TOKEN))
        tally.add(role.judge.ask(sample, Generation(sample.id, (answer,)), ()))
    return tally


def price(engine: Backend) -> Price:
    """What an engine's tokens cost: nothing where it runs here, and None where nobody knows."""
    found: Price = getattr(engine, "price", None) if engine.paid else (0.0, 0.0)
    return found


def _print(tallies: list[Tally], prices: dict[str, Price]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("stage", "task", "model"):
        table.add_column(name)
    for name in ("requests", "tokens in", "tokens out, at most", "US dollars, at most"):
        table.add_column(name, justify="right")
    spent = [cost(tally, prices) for tally in tallies]
    for tally, amount in zip(tallies, spent, strict=True):
        table.add_row(
            tally.stage, tally.task, tally.model, f"{tally.requests:,}", f"{tally.tokens_in:,.0f}",
            f"{tally.tokens_out:,.0f}", "unknown" if amount is None else f"{amount:,.2f}",
        )  # fmt: skip
    known = sum(amount for amount in spent if amount is not None)
    total = "unknown" if None in spent else f"{known:,.2f}"
    table.add_row("total", "", "", f"{sum(t.requests for t in tallies):,}", "", "", total, style="bold")
    output().print(table)
    if None in spent:
        print(f"The total is not known: {known:,.2f} US dollars, at most, and the price of:", _unknown(tallies, spent))
    print("Tokens are characters over four; nothing was sent.")


def cost(tally: Tally, prices: dict[str, Price]) -> float | None:
    """The most that a tally's requests cost, in US dollars; None where nobody knows."""
    if not tally.requests or tally.model == NO_MODEL:
        return 0.0
    # A judge that nobody has named yet has no price, and will not be free for that.
    price = prices.get(tally.model)
    return None if price is None else (price[0] * tally.tokens_in + price[1] * tally.tokens_out) / 1e6


def _unknown(tallies: list[Tally], spent: list[float | None]) -> str:
    """Whose price is not known, with the cure."""
    cures = {
        f"{tally.stage} (give it a judge)"
        if tally.model == NO_JUDGE
        else f"{tally.model} (price_in=USD,price_out=USD)": 0
        for tally, amount in zip(tallies, spent, strict=True)
        if amount is None
    }
    return "; ".join(cures)
