"""Leaderboards: what shares a column, who is best, what the files say."""

import csv
import importlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from board_runs import made_up, write_runs

from h3eval import itemscores, leaderboard, registry
from h3eval.errors import ConfigError, UsageError

tradeoffs = importlib.import_module("h3eval.reports._tradeoffs")
tables = importlib.import_module("h3eval.reports._tables")


def board(folder: Path, count: int = 12, hostile: bool = False, **more: Any) -> dict[str, Any]:
    return leaderboard.board(leaderboard.entries(write_runs(folder, count, hostile)), **more)


def site(folder: Path, found: dict[str, Any]) -> list[Path]:
    return list(registry.load("reports", "leaderboard").write(found, folder))


def column(found: dict[str, Any], title: str) -> dict[str, Any]:
    (one,) = (each for each in found["columns"] if each["title"] == title)
    return dict(one)


def change(folder: Path, alter: Any) -> None:
    file = folder / "results.json"
    content = json.loads(file.read_text())
    alter(content)
    file.write_text(json.dumps(content))


def cells(found: dict[str, Any], title: str) -> dict[str, dict[str, Any]]:
    one = column(found, title)["id"]
    return {run["slug"]: run["cells"][one] for run in found["runs"] if one in run["cells"]}


# --- columns -------------------------------------------------------------------------------------


def test_a_column_for_each_primary_metric_composites_first(tmp_path: Path) -> None:
    found = board(tmp_path)
    assert [each["title"] for each in found["columns"]] == [
        "3h", "alpaca_eval/v2", "gsm8k/lm_eval", "truthfulqa/joint", "halueval_wild/h3bench-600", "beavertails/pku-700",
        "saladbench/base", "or_bench/hard-1k",
    ]  # fmt: skip
    assert all(len(cells(found, each["title"])) == 12 for each in found["columns"])


@pytest.mark.parametrize(
    ("what", "alter"),
    [
        ("protocol", lambda c: [each.update(protocol="other") for part in ("estimates", "tasks") for each in c[part]]),
        ("version", lambda c: [each.update(version=2) for each in c["tasks"]]),
        ("metric_version", lambda c: [each.update(metric_version=2) for each in c["estimates"]]),
    ],
)
def test_what_differs_shares_no_column(what: str, alter: Any, tmp_path: Path) -> None:
    folders = write_runs(tmp_path, 3)
    change(folders[0], alter)
    found = leaderboard.board(leaderboard.entries(folders))
    gsm8k = [each for each in found["columns"] if each["title"].startswith("gsm8k/")]
    assert len(gsm8k) == 2, what
    assert sorted(sum(each["id"] in run["cells"] for run in found["runs"]) for each in gsm8k) == [1, 2]
    # A composite of other parts is another composite.
    assert len([each for each in found["columns"] if each["kind"] == "composite"]) == 2


@pytest.mark.parametrize("key", ["judge", "version", "template_sha256", "identity"])
def test_another_judge_is_another_column(key: str, tmp_path: Path) -> None:
    def alter(content: dict[str, Any]) -> None:
        for task in content["tasks"]:
            for entry in task["judges"].values():
                entry[key] = {"judge": "other", "version": 7, "template_sha256": "ff", "identity": {"x": 1}}[key]
        for estimate in content["estimates"]:
            estimate["judge"] = "other" if estimate["judge"] and key == "judge" else estimate["judge"]

    folders = write_runs(tmp_path, 3)
    change(folders[0], alter)
    found = leaderboard.board(leaderboard.entries(folders))
    assert len([each for each in found["columns"] if each["title"] == "beavertails/pku-700"]) == 2


def test_where_imported_judgments_came_from_does_not_tell_judges_apart(tmp_path: Path) -> None:
    folders = write_runs(tmp_path, 2)
    for number, folder in enumerate(folders):
        change(folder, lambda c, n=number: [
            entry["identity"].update(files=[n]) for task in c["tasks"] for entry in task["judges"].values()
        ])  # fmt: skip
    assert len(cells(leaderboard.board(leaderboard.entries(folders)), "beavertails/pku-700")) == 2


def test_models_that_judge_themselves_are_not_ranked(tmp_path: Path) -> None:
    folders = write_runs(tmp_path, 3)
    for folder in folders:
        change(folder, lambda c: [
            entry.update(self_judged=True) for task in c["tasks"] for entry in task["judges"].values()
        ])  # fmt: skip
    found = leaderboard.board(leaderboard.entries(folders))
    assert column(found, "beavertails/pku-700")["judge"] == leaderboard.SELF
    assert not any("place" in cell for cell in cells(found, "beavertails/pku-700").values())


def test_a_missing_number_stays_in_its_column_with_the_reason(tmp_path: Path) -> None:
    found = board(tmp_path)
    cell = cells(found, "truthfulqa/joint")["run-008"]
    assert cell["value"] is None
    assert "no judge was given" in cell["note"]
    assert cells(found, "3h")["run-008"]["missing"] == ["truthfulqa/joint: true_and_informative"]
    assert found["runs"][-1]["slug"] == "run-008"


# --- order and marks -----------------------------------------------------------------------------


@pytest.mark.parametrize(("title", "sign"), [("gsm8k/lm_eval", -1), ("beavertails/pku-700", 1)])
def test_best_and_second_best(title: str, sign: int, tmp_path: Path) -> None:
    found = sorted(cells(board(tmp_path), title).values(), key=lambda cell: sign * cell["value"])
    values = sorted({cell["value"] for cell in found}, reverse=sign < 0)
    for cell in found:
        assert cell.get("place", 0) == {values[0]: 1, values[1]: 2}.get(cell["value"], 0)


def test_a_run_of_few_items_is_neither_best_nor_hidden(tmp_path: Path) -> None:
    folders = write_runs(tmp_path, 4)
    change(folders[2], lambda c: [each.update(n=10, value=1.0) for each in c["estimates"] if each["task"] == "gsm8k"])
    found = leaderboard.board(leaderboard.entries(folders))
    few = cells(found, "gsm8k/lm_eval")["run-002"]
    assert "place" not in few
    assert sorted(cell.get("place", 0) for cell in cells(found, "gsm8k/lm_eval").values()) == [0, 0, 1, 2]
    assert "of 10 items" in site(tmp_path / "site", found)[0].read_text()


def test_the_front_is_what_no_run_beats_in_both(tmp_path: Path) -> None:
    found = board(tmp_path)
    assert len(found["fronts"]) == 4
    for front in found["fronts"]:
        good = {}
        for axis in ("x", "y"):
            (one,) = (each for each in found["columns"] if each["id"] == front[axis])
            sign = 1 if one["direction"] == "higher" else -1
            good[axis] = {run["slug"]: sign * run["cells"][one["id"]]["value"] for run in found["runs"]
                          if run["slug"] in front["runs"]}  # fmt: skip
        pairs = {slug: (good["x"][slug], good["y"][slug]) for slug in front["runs"]}
        beaten = {
            a for a in pairs for b in pairs.values() if b != pairs[a] and b[0] >= pairs[a][0] and b[1] >= pairs[a][1]
        }
        assert set(front["front"]) <= set(pairs) - beaten
        assert {pairs[slug] for slug in front["front"]} == {pairs[slug] for slug in set(pairs) - beaten}


def test_ranks_are_over_the_items_that_runs_share() -> None:
    items = [f"i{k}" for k in range(200)]
    scores = {"a": [1.0] * 150 + [0.0] * 50, "b": [1.0] * 149 + [None] + [0.0] * 50, "c": [1.0] * 20 + [0.0] * 180}
    found = {name: {"items": items, "scores": each, "clusters": None} for name, each in scores.items()}
    found["other"] = {"items": [f"j{k}" for k in range(200)], "scores": scores["a"], "clusters": None}
    made = leaderboard.Column("id", "task", "t/p", "helpful", "", "m", "proportion", "higher", "")
    made.cells = {"a": {"value": 0.75}, "b": {"value": 149 / 199}, "c": {"value": 0.1}, "other": {"value": 0.75}}
    itemscores._rank(made, found)
    assert [made.cells[name]["rank"] for name in "abc"] == [1, 2, 3]
    assert (made.cells["a"]["rank_low"], made.cells["a"]["rank_high"]) == (1, 2)
    assert (made.cells["c"]["rank_low"], made.cells["c"]["rank_high"]) == (3, 3)
    assert "rank" not in made.cells["other"]
    assert (made.ranks["items"], made.ranks["runs"]) == (200, 3)


def test_what_is_no_mean_of_scores_has_no_rank() -> None:
    items = [f"i{k}" for k in range(10)]
    made = leaderboard.Column("id", "task", "t/p", "helpful", "", "m", "points", "higher", "")
    made.cells = {"a": {"value": 7.5}, "b": {"value": 0.4}}
    itemscores._rank(made, {name: {"items": items, "scores": [1.0] * 4 + [0.0] * 6, "clusters": None} for name in "ab"})
    assert made.ranks == {}


# --- files ---------------------------------------------------------------------------------------


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize("hostile", [False, True])
def test_the_site_is_the_same_bytes_and_links_hold(hostile: bool, tmp_path: Path) -> None:
    found = board(tmp_path / "runs", hostile=hostile)
    first, second = site(tmp_path / "a", found), site(tmp_path / "b", found)
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    assert len(first) == 6 + 12
    for file in (file for file in first if file.suffix == ".html"):
        for tag, facts in Tags(file.read_text()).tags:
            assert tag not in ("img", "iframe", "object", "base", "link") or facts.get("rel") == "icon"
            assert not any(name.startswith("on") or name == "style" for name in facts)
            link = facts.get("href") or ""
            if tag == "a" and not link.startswith("#"):
                assert (file.parent / link).is_file(), link
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in first)


def test_every_number_of_the_table_is_in_the_page(tmp_path: Path) -> None:
    found = board(tmp_path / "runs")
    page = site(tmp_path / "site", found)[0].read_text()
    shown = sorted(float(value) for value in re.findall(r'data-v="([^"]+)"', page))
    known = [cell["value"] for run in found["runs"] for cell in run["cells"].values() if cell["value"] is not None]
    assert shown == sorted(known)


def test_csv_holds_every_number_and_runs_no_formula(tmp_path: Path) -> None:
    found = board(tmp_path / "runs", 15, hostile=True)
    site(tmp_path / "site", found)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "site" / "leaderboard.csv").read_text())))
    assert len(rows) == sum(len(run["cells"]) for run in found["runs"])
    assert any(row["run"].startswith("'=cmd") for row in rows)
    assert not any(value.startswith(("=", "+", "@")) for row in rows for value in row.values())
    (one,) = (row for row in rows if row["run"].startswith("'=cmd") and row["column"] == "gsm8k/lm_eval")
    assert float(one["value"]) == made_up(14).results[1].estimates[0].value


def test_latex_and_markdown_mark_the_best_and_escape_names(tmp_path: Path) -> None:
    found = board(tmp_path / "runs", 5)
    found["runs"][0]["name"] = "a_b & 100% #1 $x$ {y} \\z | *w*"
    sheets = tables.sheets(found)
    tex, markdown = "".join(tables.latex(sheets)), "".join(tables.markdown(sheets))
    assert r"a\_b \& 100\% \#1 \$x\$ \{y\} \textbackslash{}z" in tex
    assert r"a\_b & 100% \#1 $x$ \{y\} \\z \| \*w\*" in markdown
    columns = len(found["columns"])
    assert all(
        tex.count(f"\\{mark}{{") == markdown.count(sign) for mark, sign in (("textbf", "| **"), ("underline", "<u>"))
    )
    assert tex.count("\\textbf{") >= columns
    assert all(
        line.count("&") == columns or "&" not in line.replace(r"\&", "") or r"\&" in line for line in tex.splitlines()
    )


# --- published tables ----------------------------------------------------------------------------


def test_published_numbers_stand_apart(tmp_path: Path, shared_data: Path) -> None:
    table = leaderboard.published(shared_data / "seed_tables" / "table3_llama3_static.csv")
    found = board(tmp_path / "runs", published=[table])
    site(tmp_path / "site", found)
    assert [sheet.published for sheet in tables.sheets(found)] == [False, True]
    assert "published, not measured" in (tmp_path / "site" / "methods.html").read_text()
    sheet = tables.sheets(found)[1]
    place = [name for name, _ in sheet.columns].index("AVG")
    marked = {row.name: row.cells[place] for row in sheet.rows if row.cells[place][1]}
    assert marked == {"TSVM": ("64.70", 1), "DELLA Ties": ("63.57", 2)}


def test_published_with_two_columns_of_names_and_a_lower_one(shared_data: Path) -> None:
    table = leaderboard.published(shared_data / "seed_tables" / "s002_table2_sota_finetune.csv", ["SS"])
    assert table["rows"][0]["name"] == "Base Model · H3Fusion"
    assert {each["title"]: each["direction"] for each in table["columns"]}["SS"] == "lower"
    values = [row["values"][1] for row in table["rows"] if row["values"][1] is not None]
    assert table["columns"][1]["best"][0] == min(values)


@pytest.mark.parametrize("text", ["", "Method\n", "Method,A\nx,1,2\n", "Method,A\nx,1\ny,much\n"])
def test_what_is_no_table_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ConfigError, match=r"t\.csv"):
        leaderboard.published(tmp_path / "t.csv")


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, "{", "[]", '{"run": {}}', '{"run": {}, "estimates": [], "schema_version": 9}'])
def test_a_folder_without_results_is_told(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(UsageError, match=r"results\.json"):
        leaderboard.entries([tmp_path])


def test_names_and_slugs_are_never_shared(tmp_path: Path) -> None:
    writer = registry.load("reports", "results")
    folders = [tmp_path / place / "run 1" for place in "ab"] + [tmp_path / "run-1"]
    for folder in folders:
        writer.write(replace(made_up(1), model="same"), folder)
    found = leaderboard.entries(folders)
    assert len({entry.slug for entry in found}) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", entry.slug) for entry in found)


def test_names_tell_local_models_apart_without_saying_where_they_lie(tmp_path: Path) -> None:
    named = {
        "vllm:/home/ann/cache/gemma-3-270m": "vllm:gemma-3-270m",
        "transformers:/home/ann/sweep/1a/model": "transformers:1a/model",
        "transformers:/home/ann/sweep/2b/model": "transformers:2b/model",
        "transformers:./model": "transformers:./model",
        "transformers:~/base,adapter=/home/ann/lora": "transformers:base,adapter=lora",
        "transformers:org/base": "transformers:org/base",
        "openai:gpt-4@http://host:1/v1": "openai:gpt-4@http://host:1/v1",
        "/home/ann/plain": "plain",
        "/a//b": "/a//b",
        "/a/b": "/a/b",
    }
    assert leaderboard.short_names(list(named)) == named
    registry.load("reports", "results").write(replace(made_up(1), model="vllm:/home/ann/base"), tmp_path)
    assert [entry.name for entry in leaderboard.entries([tmp_path])] == ["vllm:base"]


def test_a_picture_holds_no_more_than_text_and_local_links() -> None:
    charts = importlib.import_module("h3eval.reports._charts")
    hostile = "</text><script>window.hacked=1</script>\x1b\u202e\ud800"
    places = ("models/a.html", "https://evil.invalid/", "//evil.invalid", "file:///etc/passwd")
    points = [{"x": k, "y": k, "t": hostile, "href": place, "d": hostile} for k, place in enumerate(places)]
    x, y = charts.axis("x", hostile), charts.axis("y", "y")
    marks = charts.layer("point", {"x": x, "y": y, "href": {"field": "href"}, "description": {"field": "d"}})
    words = charts.layer("text", {"x": x, "y": y, "text": {"field": "t"}})
    made = charts.picture({"data": charts.rows(points), "layer": [marks, words]}, hostile)
    tags = Tags(str(made)).tags
    assert {tag for tag, _ in tags} <= charts.KEPT | {"svg", "title"}
    assert [facts["href"] for tag, facts in tags if tag == "a"] == ["models/a.html"]
    assert not any(name.startswith(("on", "style", "xlink")) for _, facts in tags for name in facts)
    assert made == charts.picture({"data": charts.rows(points), "layer": [marks, words]}, hostile)


def test_colours_of_pictures_are_those_of_the_light_page() -> None:
    charts = importlib.import_module("h3eval.reports._charts")
    css = (Path(charts.__file__).parent / "html.css").read_text()
    light = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", css.partition("@media")[0]))
    assert {name: light[name] for name in charts.COLOURS} == charts.COLOURS
