"""The pages of merges, fusions and sweeps: every number is the report's own, and names are only text."""

import importlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from board_runs import write_runs
from made_pages import fused, hostile, merged, models, read, swept
from run_fixture import HOSTILE

from h3eval import registry
from h3eval.backends._weights import weights_digest
from h3eval.cli import main
from h3eval.merge import layers

HARMLESS = {"id", "class", "href", "role", "tabindex", "dir", "lang", "value", "scope", "colspan", "rowspan", "title",
            "charset", "content", "name", "rel", "http-equiv", "open"}  # fmt: skip
DRAWN = {"transform", "d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "rx", "ry", "viewbox"}


class Page(HTMLParser):
    """What a page's markup holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.numbers: list[float] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]
        self.numbers += [float(value or "") for name, value in attrs if (tag, name) == ("data", "value")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page(kind: str, content: Any, folder: Path) -> Page:
    """The page that a report's content makes."""
    (written,) = registry.load("reports", kind).write(content, folder)
    return Page(written.read_text(encoding="utf-8"))


def numbers(content: Any) -> Iterator[float]:
    """All numbers of a report."""
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for each in content:
            yield from numbers(each)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield float(content)


def check(made: Page) -> None:
    """Nothing on it can run, or load anything."""
    assert not made.tags & {"script", "img", "iframe", "object", "embed", "base", "form", "image", "foreignobject"}
    odd = made.attributes - HARMLESS - DRAWN
    assert all(re.match(r"(aria|stroke|fill|font|text|data)-|(stroke|fill|opacity)$", name) for name in odd), odd
    assert all(re.fullmatch(r"#[a-z-]+|data:,|point\d/(run/report|model/merge_report)\.html", e) for e in made.links)


@pytest.fixture(scope="module")
def merges(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real merges, by method."""
    ways = {"ties": ("--set", "density=0.3"), "r_tsvm": (), "model_stock": ()}
    return {name: merged(tmp_path_factory.mktemp(name), name, *flags) for name, flags in ways.items()}


@pytest.mark.parametrize("method", ["ties", "r_tsvm", "model_stock"])
def test_a_merge_writes_its_page_and_all_its_numbers_are_the_reports(method: str, merges: dict[str, Path]) -> None:
    made, report = Page((merges[method] / "merge_report.html").read_text()), read(merges[method], "merge_report.json")
    check(made)
    assert set(made.numbers) <= set(numbers(report))
    for facts in (*report["tensors"].values(), *report["kinds"], report["summary"]):
        assert {facts["sign_conflicts"], facts["merged_norm"], *facts["norm"].values()} <= set(made.numbers)
    words = "".join(made.words)
    assert all(digest in words for each in report["inputs"] for digest in each["files"].values())
    shown = {"r_tsvm": "Weights α", "model_stock": "t", "ties": "Sign conflicts"}[method]
    assert shown in [each.strip() for each in made.words]


def test_kinds_and_layers_sum_up_their_tensors(merges: dict[str, Path]) -> None:
    report = read(merges["r_tsvm"], "merge_report.json")
    held = [facts for name, facts in report["tensors"].items() if "up_proj" in name]
    kind = next(each for each in report["kinds"] if each["kind"] == "mlp.up_proj")
    assert kind["tensors"] == len(held) == 4
    assert kind["merged_norm"] == pytest.approx(sum(each["merged_norm"] ** 2 for each in held) ** 0.5)
    assert kind["rank"] == pytest.approx(sum(each["rank"] for each in held) / 4)
    assert kind["alpha"]["honest"] == pytest.approx(sum(each["alpha"]["honest"] for each in held) / 4)
    third = next(each for each in report["layers"] if (each["kind"], each["layer"]) == ("mlp.up_proj", 3))
    assert third["norm"] == report["tensors"]["model.layers.3.mlp.up_proj.weight"]["norm"]
    assert not any(each["kind"].startswith("model.embed") for each in report["layers"])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("model.layers.12.self_attn.q_proj.weight", ("self_attn.q_proj", 12)),
        ("model.layers.3.block_sparse_moe.experts.7.w1.weight", ("block_sparse_moe.experts.w1", 3)),
        ("transformer.h.0.attn.c_attn.bias", ("attn.c_attn.bias", 0)),
        ("model.norm.weight", ("model.norm", None)),
        ("layers.5", ("layers", 5)),
    ],
)
def test_a_tensors_place(name: str, wanted: tuple[str, int | None]) -> None:
    assert layers.place(name) == wanted


def test_experts_in_one_tensor_are_one_kind_of_their_layer() -> None:
    facts = {"elements": 10, "kept": {"a": 1.0}, "norm": {"a": 3.0}, "sign_conflicts": 0.5, "merged_norm": 3.0}
    other = {
        **facts,
        "norm": {"a": 4.0},
        "matrices": [{"rank": 2, "alpha": {"a": 0.5}}, {"rank": 4, "alpha": {"a": 1}}],
    }
    made = layers.by_layer({"m.layers.0.experts.0.w1.weight": facts, "m.layers.0.experts.1.w1.weight": other})
    assert made == [{"kind": "experts.w1", "layer": 0, "tensors": 2, "elements": 20, "kept": {"a": 1.0},
                     "sign_conflicts": 0.5, "norm": {"a": 5.0}, "merged_norm": pytest.approx(18**0.5), "rank": 3.0,
                     "alpha": {"a": 0.75}}]  # fmt: skip


def test_a_fusions_numbers_are_the_reports(tmp_path: Path) -> None:
    report = fused()
    made = page("fusion", report, tmp_path)
    check(made)
    assert set(made.numbers) <= set(numbers(report))
    routing = report["routing"]
    for row in (*routing["activation"]["dimension"].values(), *routing["activation"]["source"].values()):
        assert {row["loss"], *row["mean_probability"].values(), *row["in_top_k"].values()} <= set(made.numbers)
    calibration, cost = routing["calibration"], report["cost"]
    assert {calibration["classwise_ece"], calibration["top"]["ece_width"], 669683712.0} <= set(made.numbers)
    assert {calibration["brier_sum"]["value"], *calibration["brier_sum"]["ci"]} <= set(made.numbers)
    assert set(cost["seconds"].values()) <= set(made.numbers)
    assert {each["gating_loss"] for each in report["training"]["history"][:-1]} <= set(made.numbers)
    words = "".join(made.words)
    assert "Don't deploy it" in words
    assert all(each["sha256"] in words for each in report["inputs"].values())


def test_pages_of_an_expert_an_ensemble_and_an_untrained_fusion(tmp_path: Path) -> None:
    whole = fused()
    untrained = {key: whole[key] for key in ("method", "settings", "experts", "construction", "serving", "inputs")}
    kinds = {
        "An aligned expert": {"settings": {"base": "b"}, "base_sha256": "ab" * 32, "rows": 9, "losses": [2.5, 1.5],
                              "steps": 2},
        "Instruct": {"method": "instruct", "settings": {"base": "b", "experts": {"a": "x"}}, "experts": ["a"],
                     "rows": 9, "losses": [3.5]},
        "MoCaE": {**untrained, "training": {"note": "untrained: the router is random"}},
    }  # fmt: skip
    for name, report in kinds.items():
        made = page("fusion", report, tmp_path / name)
        check(made)
        assert name in "".join(made.words)
        assert set(made.numbers) <= set(numbers(report)) | {1.0, 2.0}
    assert "untrained" in "".join(made.words)


def test_a_sweeps_numbers_and_links(tmp_path: Path) -> None:
    sweep = swept()
    for name in ("point0/run/report.html", "point1/model/merge_report.html"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    made = page("sweep", sweep, tmp_path)
    check(made)
    assert set(made.numbers) <= set(numbers(sweep))
    assert {score for each in sweep["points"] for score in each["scores"].values() if score} <= set(made.numbers)
    away = [each for each in made.links if each.startswith("point")]
    # Each of three plots and the table lead to the run.
    assert away.count("point0/run/report.html") == 4
    assert away.count("point1/model/merge_report.html") == 1
    words = [each.strip() for each in made.words]
    assert words.count("unbeaten") == 3
    assert words.count("missing") == 2
    assert words.count("incomplete") == 1
    assert "lowest to highest" not in " ".join(words)
    told = page("sweep", {**sweep, "rescaled": ["mt_bench/single: score, 1 to 10 points"]}, tmp_path)
    assert "lowest to highest: mt_bench/single: score, 1 to 10 points." in " ".join(told.words)


def test_a_sweep_leads_only_into_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "out" / "run").mkdir(parents=True)
    (tmp_path / "out" / "run" / "report.html").touch()
    sweep = swept()
    sweep["points"][0]["point"] = "../out"
    sweep["points"][1]["point"] = str(tmp_path / "out")
    (tmp_path / "sweep").mkdir()
    check(page("sweep", sweep, tmp_path / "sweep"))


@pytest.mark.parametrize("kind", ["merge", "fusion", "sweep"])
def test_hostile_names_are_only_text(kind: str, merges: dict[str, Path], tmp_path: Path) -> None:
    content = {"merge": lambda: read(merges["ties"], "merge_report.json"), "fusion": fused, "sweep": swept}[kind]()
    attacked = hostile(content)
    assert json.dumps(attacked) != json.dumps(content)
    made = page(kind, attacked, tmp_path)
    check(made)
    words = "".join(made.words)
    assert sum(each in words for each in HOSTILE[:8]) >= 3
    assert not re.search("[\x00-\x08\x1b\u202e\u2066\u200b]", words)


def test_report_writes_the_page_again(
    merges: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = merges["ties"]
    first = (folder / "merge_report.html").read_bytes()
    (folder / "merge_report.html").unlink()
    assert main(["report", str(folder)]) == 0
    assert (folder / "merge_report.html").read_bytes() == first
    assert "merge_report.html" in capsys.readouterr().err
    assert main(["report", str(folder), "--report-dir", str(tmp_path / "away")]) == 0
    assert (tmp_path / "away" / "merge_report.html").read_bytes() == first
    assert main(["report", str(folder), "--format", "html"]) == 2
    assert "whose one report is merge" in capsys.readouterr().err


def test_the_leaderboard_says_what_a_model_was_made_of(merges: dict[str, Path], tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "runs", 3)
    folder = merges["ties"]
    for place, run in enumerate(runs):
        results = read(run, "results.json")
        identity = {"backend": "transformers", "weights": weights_digest(folder) if place < 2 else "00" * 32}
        results["manifest"]["model"] = {"spec": f"transformers:{folder if place else 'gone'}", "identity": identity}
        (run / "results.json").write_text(json.dumps(results))
    assert main(["leaderboard", *map(str, runs), "--out", str(tmp_path / "site")]) == 0
    pages = {run.name: (tmp_path / "site" / "models" / f"{run.name}.html").read_text() for run in runs}
    assert [name for name, text in pages.items() if "Made of" in text] == [runs[1].name]
    made = Page(pages[runs[1].name])
    words = "".join(made.words)
    assert "A merge by ties" in words
    assert "density 0.3" in words
    for each in read(folder, "merge_report.json")["inputs"]:
        assert each["path"] in words
        assert next(iter(each["files"].values()))[:16] in words
    board = read(tmp_path / "site", "leaderboard.json")
    assert [bool(each["made"]) for each in board["runs"]].count(True) == 1


def test_a_merge_without_a_page(tmp_path: Path) -> None:
    base, *others = models(tmp_path)
    words = [word for path in others for word in ("--model", str(path))]
    out = tmp_path / "out"
    assert main(["merge", "--method", "model_stock", "--base", str(base), *words, "--no-page", "--out", str(out)]) == 0
    assert (out / "merge_report.json").is_file()
    assert not (out / "merge_report.html").exists()


def test_words_in_a_heat_map_can_be_read_in_both_themes() -> None:
    made = importlib.import_module("h3eval.reports._panels")
    svg = str(made.shades([{"x": "a", "y": "b", "v": 1.0, "t": "100%"}], "", ("", "")))
    (opacity,) = {float(each) for each in re.findall(r' opacity="([0-9.]+)"', svg)} - {1.0}
    style = (Path(made.__file__).parent / "html.css").read_text(encoding="utf-8")
    for theme in style.split("@media")[:2]:
        ink, panel, colour = (rgb(theme, name) for name in ("ink", "panel", "helpful"))
        under = [opacity * c + (1 - opacity) * p for c, p in zip(colour, panel, strict=True)]
        high, low = sorted((light(ink), light(under)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5


def rgb(style: str, name: str) -> list[float]:
    """A variable's colour."""
    found = re.search(rf"--{name}: #(..)(..)(..);", style)
    assert found
    return [int(each, 16) / 255 for each in found.groups()]


def light(colour: list[float]) -> float:
    """Relative luminance, WCAG 2."""
    linear = [each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
