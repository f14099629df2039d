"""Runs of the command line on small data of our own."""

import json
import os
import subprocess
import sys
from pathlib import Path


def h3eval(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("H3EVAL_", "OPENAI_"))}
    return subprocess.run(
        [sys.executable, "-m", "h3eval.cli", *arguments],
        cwd=cwd, env={**clean, "HF_HUB_OFFLINE": "1", **env}, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip


def data(folder: Path, n: int) -> Path:
    """AlpacaEval's file with `n` rows of our own."""
    (folder / "alpaca_eval").mkdir(parents=True)
    with (folder / "alpaca_eval" / "eval_set_805.jsonl").open("w") as rows:
        for k in range(n):
            row = {"index": k, "dataset": "own", "instruction": f"Count to {k}.", "baseline_gpt4_1106_preview": f"{k}!"}
            rows.write(json.dumps({**row, "baseline_text_davinci_003": f"{k}?"}) + "\n")
    return folder
