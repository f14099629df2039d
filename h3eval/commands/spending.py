"""The money a command may spend: its cap, and what earlier sessions of the run have spent of it."""

from argparse import Namespace
from collections.abc import Mapping

from h3eval import costs
from h3eval.budget import Budget
from h3eval.engines import share_budget
from h3eval.store import Reader
from h3eval.terminal import say
from h3eval.types import Backend


def budget_for(args: Namespace, engines: Mapping[str, Backend]) -> Budget:
    """The run's budget; shared by the engines where `--max-cost` sets a cap."""
    budget = Budget(args.max_cost)
    if args.max_cost is not None:
        share_budget(engines.values(), budget)
    return budget


def spent_before(store: Reader, engines: Mapping[str, Backend], cap: float | None) -> float:
    """US dollars that earlier sessions of this run have spent, at most.

    Calls made while their price was not known are counted at the dearest price of today's engines, where a cap must
    hold; lost answers, of which nobody knows whether they were paid for, are said aloud.
    """
    totals = list(store.totals().values())
    spent = costs.known_usd(totals)
    if cap is None:
        return spent
    if unpriced := costs.unknown(totals, "unpriced"):
        prices: list[tuple[float, float]] = [each.price for each in engines.values() if each.paid]  # type: ignore[attr-defined]
        tokens_in, tokens_out = costs.unknown(totals, "tokens_in"), costs.unknown(totals, "tokens_out")
        spent += max((per[0] * tokens_in + per[1] * tokens_out for per in prices), default=0.0) / 1e6
        say(f"--max-cost: earlier calls without a known price ({unpriced}) are counted at today's dearest one")
    if lost := costs.unknown(totals, "lost"):
        say(f"--max-cost: earlier calls whose answers were lost ({lost}) may have been billed, and are not counted")
    return spent
