"""A code task of assertions, as docs/sandbox.md shows it, from the command line to its numbers."""

import json
import re
from pathlib import Path
from typing import Any

from evalplus_runs import needs_sandbox
from small_runs import h3eval

DOCS = Path(__file__).parents[2] / "docs" / "sandbox.md"
CHECK = "def check(candidate):\n    assert candidate([3, 1]) == [1, 3]\n    assert candidate([]) == []\n"
ROWS = {
    "sorted": ("ordered", CHECK),
    "cheat": ("ordered", CHECK),
    "wrong": ("ordered", CHECK),
    "slow": ("ordered", CHECK),
    "never": ("ordered", "assert True"),
}
SLOW = "import time\ndef ordered(x):\n    end = time.process_time() + 0.7\n    while time.process_time() < end: pass\n"
ANSWERS = {
    "words": "Sure:\n```python\ndef words(text):\n    return len(text.split())\n```",
    "sorted": "def ordered(x):\n    return sorted(x)",
    "cheat": "import builtins, os\nbuiltins.AssertionError = None\n\ndef ordered(x):\n    os._exit(0)\n    return x",
    "wrong": "def ordered(x):\n    return x",
    "slow": SLOW + "    return sorted(x)",
    "never": "def ordered(x):\n    return sorted(x)",
}


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (found,) = (text for text in blocks if containing in text)
    return str(found)


def written(folder: Path) -> list[str]:
    """The documentation's task and line of data, with more lines and answers; its command, on these answers."""
    for name in ("mine", "data"):
        (folder / name).mkdir()
    (folder / "mine" / "functions.py").write_text(block("python", "TASK = Task("))
    more = [
        {"id": name, "question": "Orders a list.", "entry_point": entry, "test": test}
        for name, (entry, test) in ROWS.items()
    ]
    lines = "".join(json.dumps(row) + "\n" for row in more)
    (folder / "data" / "functions.jsonl").write_text(block("json", "words(text)") + lines)
    told = [{"task": "functions", "id": name, "text": text} for name, text in ANSWERS.items()]
    (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, told)))
    return block("sh", "--tasks functions").replace("path/to/model", "outputs:answers.jsonl").split()[1:]


def verdicts(folder: Path) -> dict[str, dict[str, Any]]:
    """Sample to the judge's verdict on it."""
    lines = (folder / "run" / "samples_functions_chat.jsonl").read_text().splitlines()
    return {row["h3eval_id"]: row["h3eval_verdicts"].get("asserts", {}) for row in map(json.loads, lines)}


def program(verdict: dict[str, Any]) -> dict[str, Any]:
    return dict(verdict["details"]["programs"][0])


def test_the_documented_task_runs(tmp_path: Path) -> None:
    needs_sandbox()
    command = written(tmp_path)
    assert len(block("python", "TASK = Task(").splitlines()) < 40
    made = h3eval(*command, "--out", "run", cwd=tmp_path)
    # One sample's tests are broken, which is counted as a failure.
    assert made.returncode == 3, made.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    (estimate,) = results["estimates"]
    assert (estimate["metric"], estimate["value"], estimate["n"], estimate["n_failed"]) == ("pass@1", 0.6, 5, 1)
    assert [each["reason"] for each in results["failures"]] == ["broken tests"]
    assert "canaries held" in results["manifest"]["environment"]["sandbox"]
    found = verdicts(tmp_path)
    labels = {name: found[name]["label"] for name in ANSWERS if name != "never"}
    assert labels == {"words": "pass", "sorted": "pass", "cheat": "fail", "wrong": "fail", "slow": "pass"}
    assert program(found["wrong"])["tests"]["reason"] == "AssertionError at line 2 of the tests"
    assert program(found["cheat"])["tests"]["reason"] == "died: exit status 0"
    # Run again alone, with the full time.
    assert program(found["slow"])["first"]["tests"]["reason"].startswith("timeout: ")


def test_it_is_scored_again_without_running_and_says_unsandboxed(tmp_path: Path) -> None:
    command = written(tmp_path)
    made = h3eval(*command, "--out", "run", "--limit", "2", "--unsafe-code", cwd=tmp_path, H3EVAL_UNSAFE="1")
    assert made.returncode == 0, made.stderr
    assert {each["label"] for each in verdicts(tmp_path).values()} == {"pass UNSANDBOXED"}
    before = (tmp_path / "run" / "results.json").read_text()
    assert any("UNSANDBOXED" in warning for warning in json.loads(before)["warnings"])
    again = h3eval("score", "run", "--include-path", "mine", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "run" / "results.json").read_text())["estimates"] == json.loads(before)["estimates"]
