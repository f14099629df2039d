"""What comes from outside is read by h3eval.untrusted alone; whatever else reads is named here, with the reason."""

import ast
from pathlib import Path

import pytest

from tests.architecture.test_architecture import ROOT, ids, sources, tree

READERS = {
    "json.load", "json.loads", "tomllib.load", "tomllib.loads", "yaml.load", "yaml.safe_load", "yaml.full_load",
    "gzip.open", "gzip.decompress", "gzip.GzipFile", "csv.reader", "csv.DictReader", "pickle.load", "pickle.loads",
    "pandas.read_csv", "pandas.read_json", "pandas.read_parquet", "apply_chat_template",
}  # fmt: skip
OURS = {
    "h3eval/nightly.py": "gate.json, which h3eval gate has just written",
    "h3eval/itemscores.py": "a cache of our own",
    "h3eval/folder.py": "the lock file of our own run",
    "h3eval/journal.py": "rows of our own store, under a checksum",
    "h3eval/sandbox/runner.py": "a message of our own process in the jail",
    "h3eval/sandbox/wire.py": "limits of its own: what a candidate's process sends",
    "h3eval/sandbox/inside.py": "runs in the jail, where h3eval is not",
    "h3eval/sandbox/evalplus.py": "a cache of our own",
    "h3eval/backends/sandbox.py": "what our own judge packed",
    "h3eval/backends/_demo.py": "the record of a cache of our own",
    "h3eval/backends/_weights.py": "a cache of our own",
    "h3eval/fusion/folders.py": "what was just written as JSON, to compare",
    "h3eval/fusion/ensembles.py": "our own record of an ensemble",
    "h3eval/fusion/settings.py": "one value of the command line",
    "h3eval/merge/digests.py": "a cache of our own",
    "tasks/_lm_eval_guard.py": "a line of our own worker",
    "tasks/_lm_eval_worker.py": "a line of our own process",
    "tasks/truthfulqa.py": "a file of the installed lm-eval",
    "judges/_programs.py": "what our own sandbox says",
    "judges/alpaca_eval_imported.py": "what our own importer stored",
}
"""Modules that may parse by themselves, for what they read is not from outside, or has limits of its own."""


def readers(file: Path) -> set[str]:
    """Names of the readers that a file calls."""
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            found |= {f"{owner}.{node.func.attr}", node.func.attr} & READERS
    return found


@pytest.mark.parametrize("file", sources("h3eval", "tasks", "judges", "reports"), ids=ids)
def test_what_comes_from_outside_is_read_in_one_place(file: Path) -> None:
    name = ids(file)
    if not name.startswith("h3eval/untrusted/"):
        assert name in OURS or not readers(file), f"{name}: read it by h3eval.untrusted, or say here why not"


def test_no_reason_outlives_its_module() -> None:
    # A module that has moved is named by where it is now.
    gone = [name for name in OURS if not (ROOT / name).is_file() or not readers(ROOT / name)]
    assert not gone
