"""`leaderboard`: a static site of many stored runs. Calls no model."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from h3eval import leaderboard, registry
from h3eval.commands.lineage import lineage
from h3eval.errors import ConfigError
from h3eval.terminal import output, say
from h3eval.text import visible
from h3eval.types import Json

MOST_ROWS, MOST_COLUMNS = 40, 5
WIDE = 32
"""Characters of names that columns must leave room for."""
SCORES = "scores"


def site(args: Namespace) -> int:
    """Write the site and print its table."""
    tables = published(args.published, args.lower)
    files = write([Path(run) for run in args.runs], Path(args.out), tables)
    say(f"site: {files[0].resolve()}")
    return 0


def write(
    runs: Sequence[Path], out: Path, tables: Sequence[Json] = (), nights: Sequence[Json] = ()
) -> tuple[Path, ...]:
    """The site's files, index.html first."""
    board = leaderboard.board(leaderboard.entries(runs), out / SCORES, tables)
    for run in board["runs"]:
        run["made"] = lineage(run["results"])
    written: tuple[Path, ...] = registry.load("reports", "leaderboard").write({**board, "nights": list(nights)}, out)
    _show(board)
    return written


def published(files: Sequence[str], lower: str | None) -> list[dict[str, Any]]:
    """Tables that others have published. Raise ConfigError where `lower` names a column that none of them has."""
    turned = [name.strip() for name in (lower or "").split(",") if name.strip()]
    tables = [leaderboard.published(Path(file), turned) for file in files]
    known = {column["title"] for table in tables for column in table["columns"]}
    if unknown := sorted(set(turned) - known):
        there = ", ".join(sorted(known)) or "none: give --published FILE"
        raise ConfigError(f"--lower {', '.join(unknown)}: no such column (columns: {there})")
    return tables


def _show(board: Mapping[str, Any]) -> None:
    """The first rows, and the first columns that have a number, as the site has them."""
    known = {name for run in board["runs"] for name, cell in run["cells"].items() if cell["value"] is not None}
    columns = [column for column in board["columns"] if column["id"] in known][:MOST_COLUMNS]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(
        "run", overflow="fold", min_width=min(WIDE, max((len(run["name"]) for run in board["runs"]), default=0))
    )
    for column in columns:
        table.add_column(Text("\n".join(dict.fromkeys((column["title"], column["metric"])))), justify="right")
    for run in board["runs"][:MOST_ROWS]:
        table.add_row(
            Text(visible(run["name"])), *(_cell(column, run["cells"].get(column["id"])) for column in columns)
        )
    output().print(table)
    for column in columns:
        apart = {
            run["name"]: cell["apart"]
            for run in board["runs"]
            if "apart" in (cell := run["cells"].get(column["id"], {}))
        }
        for name, why in apart.items():
            say(f"{column['title']}: {name}: not ranked: {why}")
    hidden = {"runs": len(board["runs"]) - MOST_ROWS, "columns": len(board["columns"]) - len(columns)}
    if more := [f"{count} {what}" for what, count in hidden.items() if count > 0]:
        say(f"not shown here: {' and '.join(more)}")


def _cell(column: Mapping[str, Any], cell: Mapping[str, Any] | None) -> Text:
    if not cell or cell["value"] is None:
        return Text("missing" if cell else "", style="red")
    factor = 100.0 if column["unit"] == "proportion" else 1.0
    rank = f" (rank {cell['rank_low']}-{cell['rank_high']})" if "rank" in cell else ""
    return Text(f"{cell['value'] * factor:.2f}{rank}", style="bold" if cell.get("place") == 1 else "")
