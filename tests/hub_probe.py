"""Reads tasks' samples from whatever hub HF_ENDPOINT names: a line of JSON in, a line out, in a process of its own.

In: `{"task": "gsm8k/lm-eval", "n": 3, "data_dir": null}`. Out: `samples`, `used` as the manifest has
it, or `error` with its class.
"""

import json
import os
import sys
import traceback
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from h3eval import registry
from h3eval.commands.loading import limited
from h3eval.datasets import DataSource
from h3eval.errors import H3evalError


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    folder = asked.get("data_dir")
    source = DataSource(Path(folder) if folder else None, options=asked.get("options", {}))
    try:
        samples = list(islice(limited(registry.task(asked["task"]), source, None), asked.get("n")))
    except H3evalError as error:
        return {"error": str(error), "class": type(error).__name__, "exit_code": error.exit_code}
    except Exception:  # noqa: BLE001 - the other side has to see it
        return {"traceback": traceback.format_exc()}
    return {"samples": [asdict(sample) for sample in samples], "used": source.used}


def main() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line)), default=str), file=replies, flush=True)


if __name__ == "__main__":
    main()
