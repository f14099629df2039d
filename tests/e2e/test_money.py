"""A cost cap stops a run before it is exceeded, loses nothing, and holds across sessions."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from judging_server import judging
from scripted_server import Act, ScriptedServer
from small_runs import data, h3eval

from h3eval.store import Reader

Run = Callable[..., subprocess.CompletedProcess[str]]
PRICES = "concurrency=4,price_in=1000,price_out=1000"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = data(tmp_path / "data", 60)

    def command(server: ScriptedServer, *more: str, prices: str = PRICES) -> subprocess.CompletedProcess[str]:
        endpoint = f"openai:own,base_url={server.url},{prices}"
        return h3eval(
            "run", "--model", endpoint, "--judge", f"alpaca_eval={endpoint}", "--tasks", "alpaca_eval",
            "--data-dir", str(folder), "--out", "run", *more, cwd=tmp_path,
        )  # fmt: skip

    return command


def spent(folder: Path) -> float:
    with Reader(folder) as reader:
        return sum(int(total["cost_micro"]) for total in reader.totals().values()) / 1e6


def test_a_cap_is_kept_over_sessions_and_nothing_is_lost(tmp_path: Path, run: Run) -> None:
    with ScriptedServer(judging()) as server:
        stopped = run(server, "--max-cost", "3")
        assert stopped.returncode == 5, stopped.stderr
        assert "max_cost" in stopped.stderr
        assert "Traceback" not in stopped.stderr
        before, posts = spent(tmp_path / "run"), server.posts
        assert 0 < before <= 3
        again = run(server, "--max-cost", "3")
        assert again.returncode == 5
        assert spent(tmp_path / "run") <= 3
        finished = run(server, "--max-cost", "1000")
        assert finished.returncode == 0, finished.stderr
        assert posts < server.posts == 120


def test_a_cap_without_prices_is_refused_before_anything_is_sent(tmp_path: Path, run: Run) -> None:
    with ScriptedServer(judging()) as server:
        refused = run(server, "--max-cost", "3", prices="concurrency=4")
        assert refused.returncode == 2
        assert "price_in" in refused.stderr
        assert server.posts == 0


def test_an_unknown_price_is_unknown_in_the_costs_and_the_report(tmp_path: Path, run: Run) -> None:
    with ScriptedServer(judging()) as server:
        made = run(server, "--limit", "3", prices="concurrency=4")
    assert made.returncode == 0, made.stderr
    costs = json.loads((tmp_path / "run" / "costs.json").read_text())["costs"]
    for stage in ("gen", "judge"):
        assert costs[stage]["cost_micro"] is None
        assert costs[stage]["cost_known_micro"] == 0
        assert costs[stage]["unknown"]["unpriced"] == 3
    assert "unknown (calls without a known price: 3)" in (tmp_path / "run" / "report.html").read_text()


def test_a_price_of_nothing_is_known(tmp_path: Path, run: Run) -> None:
    with ScriptedServer(judging()) as server:
        assert run(server, "--limit", "3", prices="price_in=0,price_out=0").returncode == 0
    costs = json.loads((tmp_path / "run" / "costs.json").read_text())["costs"]
    assert {stage: each["cost_micro"] for stage, each in costs.items()} == {"gen": 0, "judge": 0}
    assert "unknown" not in costs["gen"]


def test_what_was_spent_before_its_price_was_known_counts_against_the_cap(tmp_path: Path, run: Run) -> None:
    with ScriptedServer(judging()) as server:
        assert run(server, "--limit", "5", prices="concurrency=4").returncode == 0
        asked = server.posts
        again = ["judge", "run", "--judge", f"alpaca_eval=openai:other,base_url={server.url},{PRICES}"]
        stopped = h3eval(*again, "--max-cost", "0.01", cwd=tmp_path)
        assert stopped.returncode == 5, stopped.stderr
        assert "earlier calls without a known price (10) are counted" in stopped.stderr
        assert server.posts == asked


def test_a_lost_answer_has_an_unknown_cost(tmp_path: Path, run: Run) -> None:
    with ScriptedServer(lambda seen: Act(drop="middle")) as server:
        run(server, "--limit", "2", prices=f"{PRICES},attempts=1")
    with Reader(tmp_path / "run") as reader:
        total = reader.totals()["gen"]
    assert total["cost_micro"] is None
    assert total["unknown"]["lost"] == 2
    assert "calls whose answers were lost: 2" in (tmp_path / "run" / "report.html").read_text()
