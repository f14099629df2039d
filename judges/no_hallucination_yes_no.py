"""Does the answer make nothing up? Yes or no from any model, in our own wording, for HaluEval-Wild.

A general judge, quick and crude: it sees no reference, and one question for all kinds of requests. Not comparable with
published numbers.
"""

from ._shared import own
from ._yes_no import OwnYesNo

JUDGE = OwnYesNo(
    "no_hallucination_yes_no", own("no_hallucination_yes_no"), ("no_hallucination", "hallucination"),
    words="1 responds without hallucination, 0 not",
)  # fmt: skip
