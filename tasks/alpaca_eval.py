"""AlpacaEval: how often a judge prefers the model's answers to a baseline model's.

805 instructions, one answer each, judged once against the baseline's answer. Protocol `v2`:
baseline gpt4_1106_preview, weighted preference; `v1`: baseline text_davinci_003, ranking. Source:
https://github.com/tatsu-lab/alpaca_eval (0.6.6), data set tatsu-lab/alpaca_eval (CC BY-NC 4.0).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from h3eval.errors import DataMissing
from h3eval.text import digest
from h3eval.types import Json, Reply, Request, Sample, Source, Task

from ._alpaca_eval import LENGTH_CONTROLLED, RATES, ROLE, gamed_rows
from ._shared import DEMO_TOKENS

HUB = "tatsu-lab/alpaca_eval"
JOINED = "alpaca_eval/eval_set_805.jsonl"
GAMED = ("alpaca_eval/df_gamed.csv", "df_gamed.csv")
MAX_TOKENS = 2048


@dataclass(frozen=True)
class Samples:
    """Reads the instructions with one baseline's answers. `files`: AlpacaEval's own file of them."""

    baseline: str
    config: str
    gamed: bool = False

    def __call__(self, source: Source) -> Iterator[Sample]:
        own = f"{self.config}.json"
        files = (JOINED, f"alpaca_eval/{own}", own)
        rows = source.rows(HUB, self.config, "eval", files=files, demo="alpaca_eval")
        # The fit belongs to the real instructions: its rows are found by their place in the whole set.
        file = None if source.demo or not self.gamed else source.file(*GAMED)
        gamed = gamed_rows(file) if file else {}
        for place, row in enumerate(rows):
            yield Sample(
                id=digest(row["instruction"])[:16],
                prompt=({"role": "user", "content": row["instruction"]},),
                reference=self._answer(row, source.demo),
                metadata={
                    "dataset": row.get("dataset", ""),
                    "index": place,
                    "max_tokens": DEMO_TOKENS if source.demo else MAX_TOKENS,
                    **gamed.get(place, {}),
                },
            )

    def _answer(self, row: dict[str, Json], demo: bool) -> str:
        column = f"baseline_{self.baseline}"
        # Each form has its columns: a row that lacks one says so.
        joined = row[column] if column in row else row["output"]
        ours = column in row or demo or row["generator"] == self.baseline
        if not ours or not isinstance(joined, str):
            raise DataMissing(
                f"alpaca_eval: no answer of the baseline {self.baseline} in the data; put {JOINED} or "
                f"{self.config}.json of {HUB} under --data-dir"
            )
        return joined


def ask(sample: Sample, replies: tuple[Reply, ...]) -> tuple[Request, ...]:
    """Once, greedily: AlpacaEval fixes no setting, each entry of its leaderboard has its own."""
    most = int(sample.metadata.get("max_tokens", MAX_TOKENS))
    return () if replies else (Request("complete", sample.prompt, max_tokens=most),)


NOTES = (
    f"Answers are greedy, at most {MAX_TOKENS} tokens ({DEMO_TOKENS} in the demo); AlpacaEval leaves that open.",
    "Constant answers that attack the judge have reached the top of AlpacaEval's leaderboard: read some.",
)

TASK = (
    Task(
        name="alpaca_eval",
        version=1,
        dimension="helpful",
        protocol="v2",
        samples=Samples("gpt4_1106_preview", "alpaca_eval_gpt4_baseline", gamed=True),
        metrics=(*RATES, LENGTH_CONTROLLED),
        primary="win_rate",
        ask=ask,
        judges={ROLE: "alpaca_eval_v2"},
        about="Win rate against GPT-4 Turbo's answers to 805 instructions (AlpacaEval 2).",
        notes=NOTES,
    ),
    Task(
        name="alpaca_eval",
        version=1,
        dimension="helpful",
        protocol="v1",
        samples=Samples("text_davinci_003", "alpaca_eval"),
        metrics=RATES,
        primary="win_rate",
        ask=ask,
        judges={ROLE: "alpaca_eval_v1"},
        about="Win rate against text-davinci-003's answers to 805 instructions (AlpacaEval 1).",
        notes=NOTES,
    ),
)
