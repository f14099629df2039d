"""An endpoint that sends another model than was asked for is reported before the numbers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from judging_server import judged
from scripted_server import Act, ScriptedServer, Seen, chat_answer
from small_runs import data, h3eval


def naming(subject: list[str], judge: list[str]) -> Any:
    """An endpoint whose answers name these models in turn: the first as the model under test, the others as judge."""
    counts = {"subject": 0, "judge": 0}

    def behave(seen: Seen) -> Act:
        who, names = ("judge", judge) if seen.body.get("max_tokens") == 1 else ("subject", subject)
        body = (judged if who == "judge" else chat_answer)(seen.body, seen.n)
        counts[who] += 1
        name = names[(counts[who] - 1) % len(names)]
        if name == "(none)":
            del body["model"]
        else:
            body["model"] = name
        return Act(body=body)

    return behave


@pytest.mark.parametrize(
    ("subject", "judge", "words"),
    [
        (["m"], ["m"], ()),
        (["m-2025-04-14"], ["openai/M"], ()),
        (["(none)"], ["(none)"], ()),
        (["m-mini"], ["m"], ("ANOTHER MODEL ANSWERED", "the model under test", "m-mini (4)")),
        (["m"], ["m-mini"], ("ANOTHER MODEL ANSWERED", "the judge alpaca_eval", "m-mini (4)")),
        (["m", "m-mini"], ["m"], ("ANOTHER MODEL ANSWERED", "m (2), m-mini (2)")),
        (["m-2025-04-14", "m-2025-06-01"], ["m"], ("THE MODEL CHANGED", "m-2025-04-14 (2), m-2025-06-01 (2)")),
    ],
)
def test_a_swap_is_said_before_the_numbers(
    tmp_path: Path, subject: list[str], judge: list[str], words: tuple[str, ...]
) -> None:
    folder = data(tmp_path / "data", 4)
    with ScriptedServer(naming(subject, judge)) as server:
        endpoint = f"openai:m,base_url={server.url},concurrency=1"
        made = h3eval(
            "run", "--model", endpoint, "--judge", f"alpaca_eval={endpoint}", "--tasks", "alpaca_eval",
            "--data-dir", str(folder), "--out", "run", cwd=tmp_path, COLUMNS="400",
        )  # fmt: skip
    assert made.returncode == 0, made.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    found = [each for each in results["warnings"] if "ANOTHER MODEL" in each or "CHANGED" in each]
    assert len(found) == bool(words)
    page = (tmp_path / "run" / "report.html").read_text()
    for word in words:
        assert word in found[0]
        assert word in page[: page.index("Headline</h2>")]
        # The terminal breaks lines inside its box.
        assert word in re.sub(r"[\s│]+", " ", made.stdout[: made.stdout.index("Estimates")])
    by = results["manifest"]["answered_by"]
    assert set(by) == {"model under test", "alpaca_eval"}
    assert by["model under test"]["asked"] == "m"
    assert sum(by["model under test"]["answered"].values()) == 4
