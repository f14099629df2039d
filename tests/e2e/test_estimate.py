"""What a run would ask, before anything is sent."""

from pathlib import Path

import pytest
from small_runs import h3eval


def test_a_conversation_s_turns_are_counted_once(tmp_path: Path) -> None:
    model = "openai:m,base_url=http://127.0.0.1:9/v1,price_in=1,price_out=2"
    made = h3eval(
        "estimate", "--model", model, "--tasks", "mt_bench", "--data", "demo", "--judge", f"mt_bench={model}",
        cwd=tmp_path, COLUMNS="200",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    rows = {line.split()[0]: line.split() for line in made.stdout.splitlines() if "mt_bench" in line}
    # Eight questions of two turns: the sample of the second turn repeats the first one's request.
    assert "16" in rows["generate"]
    assert "16" in rows["judge"]
    assert "nothing was sent" in made.stdout


PRICED = "openai:m,base_url=http://127.0.0.1:9/v1,price_in=1,price_out=2"
UNPRICED = "openai:m,base_url=http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("model", "judge", "total", "words"),
    [
        (PRICED, f"alpaca_eval={PRICED}", "0.", ()),
        (UNPRICED, f"alpaca_eval={PRICED}", "unknown", (f"{UNPRICED} (price_in",)),
        (PRICED, f"alpaca_eval={UNPRICED}", "unknown", (f"{UNPRICED} (price_in",)),
        (PRICED, "", "unknown", ("judge alpaca_eval (give it a judge)",)),
        (UNPRICED, "", "unknown", (UNPRICED, "judge alpaca_eval")),
        # An engine of one's own costs nothing, and that is known.
        ("outputs:answers.jsonl", f"alpaca_eval={PRICED}", "0.", ()),
    ],
)
def test_an_unknown_price_is_unknown_in_the_total(
    tmp_path: Path, model: str, judge: str, total: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "answers.jsonl").write_text('{"task": "alpaca_eval", "id": "1", "text": "x"}\n')
    judges = ("--judge", judge) if judge else ()
    made = h3eval(
        "estimate", "--model", model, "--tasks", "alpaca_eval", "--data", "demo", *judges, cwd=tmp_path, COLUMNS="240"
    )
    assert made.returncode == 0, made.stderr
    (row,) = [line for line in made.stdout.splitlines() if line.startswith("total")]
    assert row.split()[-1].startswith(total)
    assert ("total is not known" in made.stdout) == (total == "unknown")
    assert all(word in made.stdout for word in words), made.stdout
