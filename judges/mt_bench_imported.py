"""MT-Bench judgments made elsewhere: reads what `h3eval import` stored, as FastChat reads it.

Asks no model anything: its requests only name the row. The rating is the first `[[number]]`, else the
first `[number]`, whatever the number and whatever follows: FastChat's rule, with its faults.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from h3eval.errors import Unreadable
from h3eval.types import Generation, Reading, Reply, Request, Sample

from ._mt_bench import POINTS, first_rating
from ._shared import only


@dataclass(frozen=True)
class Imported:
    """Implements `types.Judge`."""

    name: str = "mt_bench_imported"
    version: int = 1
    calls: int = 1
    complete_reply: bool = False
    wording: str = "official"
    template: str = ""
    scale: str = POINTS

    def ask(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Sequence[Request]:
        if replies:
            return ()
        return (Request("complete", f"judgment {sample.metadata.get('judge', '')} of {sample.id}", max_tokens=1),)

    def read(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Reading:
        text = only(replies).text
        points = first_rating(text)
        if points is None:
            raise Unreadable(f"no rating: {text[-80:]!r}")
        return Reading(f"{points:g}", points)


JUDGE = Imported()
