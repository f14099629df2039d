"""What the names in an endpoint's replies say about the model that was asked for."""

from collections import Counter

import pytest

from h3eval.answered import (
    ANOTHER,
    AS_ASKED,
    LONGEST_NAME,
    MOST_NAMES,
    SEVERAL,
    SNAPSHOT_OF,
    UNDATED,
    UNNAMED,
    Answered,
    meaning,
    warnings,
)
from h3eval.types import Fault, Reply

SAME = [
    ("gpt-4.1", "gpt-4.1"),
    ("gpt-4.1", "GPT-4.1"),
    ("openai/gpt-4.1", "gpt-4.1"),
    ("gpt-4.1", "openai/gpt-4.1"),
    ("openrouter/openai/gpt-4.1", "OpenAI/gpt-4.1"),
    ("models/gemini-2.5-flash", "gemini-2.5-flash"),
    ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
    ("/srv/models/own", "own"),
    ("google/gemma-3-27b-it:free", "google/gemma-3-27b-it"),
    ("smollm2", "smollm2:latest"),
    ("ft:gpt-4o-mini-2024-07-18:us::abc", "ft:gpt-4o-mini-2024-07-18:us::abc"),
    ("gpt-4-0613", "gpt-4-0613"),
]
SNAPSHOTS = [
    ("gpt-4.1", "gpt-4.1-2025-04-14"),
    ("openai/gpt-4.1", "gpt-4.1-2025-04-14"),
    ("gpt-4", "gpt-4-0613"),
    ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
    ("claude-sonnet-4", "claude-sonnet-4@20250514"),
    ("mistral-large-latest", "mistral-large-2411"),
    ("gemini-1.5-pro", "gemini-1.5-pro-002"),
    ("gemini-2.5-flash-preview", "gemini-2.5-flash-preview-05-20"),
]
OTHERS = [
    ("gpt-4.1", "gpt-4.1-mini"),
    ("gpt-4.1", "gpt-4.1-mini-2025-04-14"),
    ("gpt-4", "gpt-4-turbo-2024-04-09"),
    ("gpt-4", "gpt-4-32k"),
    ("gpt-4.1-2025-04-14", "gpt-4.1-2025-06-01"),
    ("qwen2.5:7b", "qwen2.5:0.5b"),
    ("one/llama-3-8b", "two/llama-3-8b"),
    ("openai/gpt-4.1", "azure/openai-mini/gpt-4.1"),
    ("gpt-4.1", "gpt-4.10"),
    ("model", "model-9999"),
    ("big", "big-4096"),
    ("gpt-4.1", "."),
]


@pytest.mark.parametrize(("asked", "named"), SAME)
def test_the_same_model_in_another_dress_is_no_swap(asked: str, named: str) -> None:
    assert meaning(asked, [named]) == AS_ASKED


@pytest.mark.parametrize(("asked", "named"), SNAPSHOTS)
def test_a_dated_snapshot_of_an_alias_is_noted_and_no_swap(asked: str, named: str) -> None:
    assert meaning(asked, [named]) == SNAPSHOT_OF
    assert meaning(named, [asked]) == UNDATED


@pytest.mark.parametrize(("asked", "named"), OTHERS[:9])
def test_another_model_is_a_swap(asked: str, named: str) -> None:
    assert meaning(asked, [named]) == ANOTHER
    assert meaning(asked, [asked, named, ""]) == ANOTHER


@pytest.mark.parametrize(("asked", "named"), OTHERS[9:])
def test_a_number_that_is_no_date_is_no_snapshot(asked: str, named: str) -> None:
    assert meaning(asked, [named]) == ANOTHER


def test_a_change_within_a_run_is_one_even_among_snapshots() -> None:
    assert meaning("gpt-4.1", ["gpt-4.1-2025-04-14", "gpt-4.1-2025-06-01"]) == SEVERAL
    assert meaning("gpt-4.1", ["gpt-4.1", "gpt-4.1-2025-04-14"]) == SEVERAL
    assert meaning("gpt-4.1", ["gpt-4.1", "openai/GPT-4.1", ""]) == AS_ASKED


def test_an_endpoint_that_names_nothing_is_unknown() -> None:
    assert meaning("gpt-4.1", ["", ""]) == UNNAMED


def test_counts_are_by_seat_and_bounded() -> None:
    names = Answered()
    names.add("", [Reply(model=f"model {k} {'x' * 10_000}") for k in range(100)])
    names.add("judge", [Reply(model="m"), Fault("down"), Reply(model="m")])
    table = names.table({"": {"backend": "openai", "model": "m"}, "judge": {"backend": "openai", "model": "m"}})
    assert len(table[""]["answered"]) == MOST_NAMES + 1
    assert sum(table[""]["answered"].values()) == 100
    assert max(map(len, table[""]["answered"])) <= LONGEST_NAME
    assert table["judge"] == {"asked": "m", "meaning": AS_ASKED, "answered": {"m": 2}}
    (warning,) = warnings(table)
    assert "ANOTHER MODEL ANSWERED" in warning


def test_a_local_engine_s_own_name_is_not_compared() -> None:
    names = Answered({"": Counter({"answers.jsonl": 3})})
    assert names.table({"": {"backend": "outputs", "sha256": "00"}}) == {}
