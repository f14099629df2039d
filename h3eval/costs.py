"""What a run's calls came to, by stage: an unknown price is unknown, and never 0."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Total = dict[str, Any]
# An attempt under way has no cost yet: `ambiguous` lists those.
TOTALS = (
    "SELECT stage, COUNT(*), COUNT(DISTINCT CASE WHEN outcome = 'answer' THEN key END), SUM(usage_in),"
    " SUM(usage_out), SUM(cost_micro), SUM(done_ns - sent_ns),"
    " SUM(unknown AND billed = 'yes'), SUM(usage_in * unknown), SUM(usage_out * unknown),"
    " SUM(unknown AND billed != 'yes')"
    " FROM (SELECT *, done_ns IS NOT NULL AND cost_micro IS NULL AS unknown FROM attempt)"
    " GROUP BY stage ORDER BY stage"
)


def total(row: Sequence[int | None]) -> Total:
    """`calls`, `answers`, `tokens_in`, `tokens_out`, `cost_micro` (millionths of a dollar) and `seconds` of one stage.

    Where some calls' cost is not known, `cost_micro` is None, `cost_known_micro` is what the others cost, and `unknown`
    says of how many calls the price was not known (`unpriced`, with their tokens) and how many were sent and their
    answers lost, so that nobody knows whether they were paid for (`lost`).
    """
    calls, answers, tokens_in, tokens_out, micro, ns, unpriced, priceless_in, priceless_out, lost = (
        number or 0 for number in row
    )
    made: Total = {
        "calls": calls,
        "answers": answers,
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "cost_micro": micro,
        "seconds": ns / 1e9,
    }
    if unpriced or lost:
        unknown = {"unpriced": unpriced, "tokens_in": priceless_in, "tokens_out": priceless_out, "lost": lost}
        made |= {"cost_micro": None, "cost_known_micro": micro, "unknown": unknown}
    return made


def known_usd(totals: Iterable[Mapping[str, Any]]) -> float:
    """US dollars of all the calls whose cost is known."""
    return sum(int(each.get("cost_known_micro", each["cost_micro"])) for each in totals) / 1e6


def unknown(totals: Iterable[Mapping[str, Any]], key: str) -> int:
    """One of the numbers of calls, or of their tokens, of which the cost is not known."""
    return sum(int(each.get("unknown", {}).get(key, 0)) for each in totals)
