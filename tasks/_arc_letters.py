"""ARC as chat models are asked it: the options are shown, and the likeliest of the letters A to D counts.

Protocol `letters-dev`: the development questions that have four options, 295 of ARC-Challenge and 567 of ARC-Easy.
The merging benchmark's tables (arXiv 2502.06876) name no protocol, but nearly nine in ten of their numbers are whole
counts out of 295 and 567, and no more than chance would have it are counts out of ARC's test sets. The wording is the
plain one of MMLU, without examples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from h3eval.stats.estimates import proportion
from h3eval.text import fill
from h3eval.types import Metric, Sample, Source, Task

from ._letters import LETTERS, ask, asked, continuations, rule
from ._lm_eval_metrics import stored

HUB = "allenai/ai2_arc"
PROMPT = """\
Question: {question}
A. {a}
B. {b}
C. {c}
D. {d}
Answer:"""


@dataclass(frozen=True)
class Samples:
    """The four-option questions of one half, `Challenge` or `Easy`."""

    half: str
    demo: str

    def __call__(self, source: Source) -> Iterator[Sample]:
        split = "test" if source.demo else "validation"
        rows = source.rows(HUB, f"ARC-{self.half}", split, files=(f"arc/ARC-{self.half}-Dev.jsonl",), demo=self.demo)
        chat = bool(source.options.get("apply_chat_template"))
        for number, row in enumerate(rows):
            texts, labels = row["choices"]["text"], list(row["choices"]["label"])
            if len(texts) == len(LETTERS):
                text = fill(PROMPT, question=row["question"], **dict(zip("abcd", texts, strict=True)))
                yield Sample(
                    f"{self.demo}_dev-{number}", asked(text, source.options.get("system_instruction"), chat),
                    continuations(len(LETTERS), chat), labels.index(row["answerKey"]), {"question": row["question"]},
                )  # fmt: skip


def letters(name: str, half: str, count: int) -> Task:
    """The protocol `letters-dev` of one half."""
    return Task(
        name=name,
        version=1,
        dimension="helpful",
        protocol="letters-dev",
        samples=Samples(half, name),
        ask=ask,
        rule=rule,
        metrics=(Metric("acc", partial(stored, "acc"), proportion),),
        primary="acc",
        about=f"The likeliest letter on {count} development questions with their four options (arXiv 1803.05457).",
        notes=(
            "The options are shown: models score far higher than on lm-eval's protocol, which does not show them.",
            "The merging benchmark's numbers are counts out of these questions. Its tables give no prompt: this is the "
            "plain form, without examples.",
        ),
    )
