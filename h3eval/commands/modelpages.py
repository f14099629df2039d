"""The pages of models: what `merge`, `fuse` and `sweep` have made, from the JSON that lies in its folder."""

from argparse import Namespace
from pathlib import Path

from h3eval import registry
from h3eval.config import read_json
from h3eval.errors import UsageError
from h3eval.terminal import say

SOURCES = {"merge": "merge_report.json", "fusion": "fusion_report.json", "sweep": "sweep.json"}
"""Report writer, and what it reads."""
RUN = "run.db"


def kind_of(folder: Path) -> str | None:
    """Which report writer this folder is for; None where it is a run's, or nobody's."""
    if (folder / RUN).exists():
        return None
    return next((kind for kind, name in SOURCES.items() if (folder / name).is_file()), None)


def write(folder: Path, kind: str, out: Path | None = None) -> Path:
    """The folder's page. Raise ConfigError for a file that is not JSON, UsageError where nothing can be written."""
    written: tuple[Path, ...] = registry.load("reports", kind).write(read_json(folder / SOURCES[kind]), out or folder)
    return written[0]


def report(folder: Path, kind: str, args: Namespace) -> int:
    """`h3eval report` of such a folder."""
    if args.format not in (None, kind):
        raise UsageError(f"--format {args.format}: {folder} holds {SOURCES[kind]}, whose one report is {kind}")
    page = write(folder, kind, Path(args.report_dir) if args.report_dir else None)
    say(f"report: {page.resolve()}")
    return 0
