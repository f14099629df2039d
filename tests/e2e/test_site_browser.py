"""The leaderboard, the comparison, the sample browser and the pages of models in Debian's Chromium."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from attacks import PAYLOADS
from board_runs import write_runs
from browsing import Visit, hacked, tab_to
from made_pages import fused, merged, read, swept
from made_pages import hostile as attacked
from run_fixture import HOSTILE, confident, judged_run, sample_run
from small_judged import run_of

from h3eval import leaderboard, registry
from h3eval.cards import card
from h3eval.labels import Label, Labels
from h3eval.types import Reading

axe = pytest.importorskip("axe_core_python.sync_playwright", reason="axe-core-python is not installed")
expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
# The contrast of translucent colours, which axe leaves undecided.
CONTRAST = """
() => {
  const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const inks = new Map();
  const ink = (text) => {
    if (!inks.has(text)) {
      c.clearRect(0, 0, 1, 1); c.fillStyle = text; c.fillRect(0, 0, 1, 1);
      inks.set(text, [...c.getImageData(0, 0, 1, 1).data]);
    }
    return inks.get(text);
  };
  const linear = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = (rgb) => rgb.slice(0, 3).reduce((sum, v, k) => sum + linear(v / 255) * [.2126, .7152, .0722][k], 0);
  const over = (top, under) => top.slice(0, 3).map((v, k) => v * top[3] / 255 + under[k] * (1 - top[3] / 255));
  const back = (e) => e ? over(ink(getComputedStyle(e).backgroundColor), back(e.parentElement)) : [255, 255, 255];
  const ratio = (text, under) => {
    const [high, low] = [light(over(ink(text), under)), light(under)].sort((x, y) => y - x);
    return (high + .05) / (low + .05);
  };
  const poor = new Set();
  for (const e of document.querySelectorAll('body *')) {
    const inside = e.closest('svg');
    const words = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!words || (inside ? e.tagName !== 'text' : !e.offsetParent)) continue;
    const style = getComputedStyle(e);
    if (inside && style.fill === 'none') continue;
    const least = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
    const found = ratio(inside ? style.fill : style.color, back(inside || e));
    if (found < least) poor.add(`${e.tagName}.${e.className.baseVal ?? e.className}: ${found.toFixed(2)}`);
  }
  return [...poor];
}
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each page, of hostile runs where a run's words are on it."""
    folder = tmp_path_factory.mktemp("pages")
    for name, hostile, count in (("site", False, 20), ("hostile", True, len(PAYLOADS))):
        runs = leaderboard.entries(write_runs(folder / f"runs-{name}", count, hostile))
        board = {**leaderboard.board(runs), "nights": nights(hostile)}
        registry.load("reports", "leaderboard").write(board, folder / name)
    registry.load("reports", "comparison").write(comparison(), folder)
    registry.load("reports", "html").write(sample_run(210, True), folder / "large")
    small = sample_run(6, True)
    small = replace(small, results=(*small.results, confident(70)))
    registry.load("reports", "html").write(small, folder / "small")
    return {
        "index": folder / "site" / "index.html",
        "hostile index": folder / "hostile" / "index.html",
        "model": folder / "hostile" / "models" / "run-008.html",
        "methods": folder / "hostile" / "methods.html",
        "history": folder / "hostile" / "history.html",
        "comparison": folder / "comparison.html",
        "samples": folder / "large" / "samples.html",
        "report": folder / "small" / "report.html",
        "card": judge_card(folder),
        **model_pages(folder / "models"),
    }


def judge_card(folder: Path) -> Path:
    """How far a judge agrees with two people, whose words attack."""
    readings = [Reading(HOSTILE[k % 15], float(k % 3 == 0), 0.1 + k % 8 / 10) for k in range(90)]
    run, plan = run_of(registry.task("beavertails/pku-700"), readings)
    people = tuple(
        Label(HOSTILE[0], f"s{k}", word=HOSTILE[(k + who) % 2], score=float(k % (3 + who) == 0), annotator=HOSTILE[who])
        for k in range(90) for who in (0, 1)
    )  # fmt: skip
    made = card(replace(run, model=HOSTILE[1]), plan, "beaver_dam", Labels(HOSTILE[2], "0", people))
    file = folder / "card.html"
    file.write_text(registry.load("reports", "html").card(made))
    return file


def model_pages(folder: Path) -> dict[str, Path]:
    """A merge's, a fusion's and a sweep's, with names that attack."""
    contents = {
        "merge": read(merged(folder / "real", "r_tsvm"), "merge_report.json"),
        "fusion": fused(),
        "sweep": swept(),
    }
    (folder / "sweep" / "point0" / "run").mkdir(parents=True)
    (folder / "sweep" / "point0" / "run" / "report.html").write_text("<title>a run</title>")
    return {
        name: registry.load("reports", name).write(attacked(content), folder / name)[0]
        for name, content in contents.items()
    }


def nights(hostile: bool) -> list[dict[str, Any]]:
    """Five nights, of which the fourth fails."""
    number = {
        "id": "c", "kind": "task", "title": HOSTILE[0] if hostile else "gsm8k/lm_eval", "dimension": "helpful",
        "axis": "", "metric": "accuracy", "unit": "proportion", "direction": "higher", "judge": "", "n": 100,
    }  # fmt: skip
    return [
        {
            "night": f"2026-11-0{k}", "name": "small", "model": "m", "run": "r", "run_code": 0, "baseline": "",
            "outcome": "fail" if k == 4 else "pass", "failed": [f"{number['title']}: accuracy"] if k == 4 else [],
            "unsure": [], "page": "", "numbers": [{**number, "value": 0.6 - 0.2 * (k == 4), "ci": [0.3, 0.7]}],
        }
        for k in range(1, 6)
    ]  # fmt: skip


def comparison() -> dict[str, Any]:
    """Two runs whose every text is an attack."""
    flips = [
        {
            "id": text, "old": 0.0, "new": 1.0, "old_label": text, "new_label": "right", "question": text * 3,
            "old_answer": {"text": f"one {text} two", "failure": "", "verdicts": [
                {"role": "judge", "label": text, "score": 0.0, "raw": text}]},
            "new_answer": {"text": f"one two {PAYLOADS[k - 1]}", "failure": "", "verdicts": []},
        }
        for k, text in enumerate(PAYLOADS)
    ]  # fmt: skip
    change = {
        "task": "gsm8k/lm_eval", "dimension": "helpful", "axis": None, "metric": "accuracy", "primary": True,
        "unit": "proportion", "direction": "higher", "old": 0.5, "new": 0.6, "difference": 0.1, "se": 0.02,
        "ci": [0.06, 0.14], "p": 0.001, "p_adjusted": 0.001, "method": "", "n": 100, "shared": 100, "unscored": 0,
        "only_old": 0, "only_new": 0, "note": None, "flips": flips, "changed": len(flips),
    }  # fmt: skip
    parts = [{**change, "primary": False, "metric": f"accuracy[{name}]", "flips": []} for name in ("a", HOSTILE[0])]
    check = {"name": HOSTILE[2], "outcome": "pass", "margin": 1.0, "worst": -0.1, "best": 0.2, "note": HOSTILE[1]}
    gate = {"outcome": "pass", "note": "all 1 pass", "alpha": 0.05, "checks": [check]}
    return {
        "schema_version": 1, "old": HOSTILE[0], "new": HOSTILE[3], "changes": [change, *parts], "means": [],
        "refused": {HOSTILE[5]: HOSTILE[6]}, "gate": gate,
    }  # fmt: skip


NAMES = (
    "index", "hostile index", "model", "methods", "history", "comparison", "samples", "report", "card", "merge",
    "fusion", "sweep",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs_nothing_is_fetched_and_everybody_can_read_it(
    name: str, visit: Visit, pages: dict[str, Path]
) -> None:
    page = visit.open(pages[name])
    visit.unfold(30)
    first, *more = visit.asked
    assert first == pages[name].as_uri()
    assert all(url.startswith("file:") and url.endswith(".js") for url in more) if name == "samples" else not more, more
    assert visit.complaints == []
    assert not hacked(page)
    assert page.locator("img, iframe, base, object").count() == 0
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(CONTRAST) == [], scheme
    found = axe.Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "best-practice"]})["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def column(page: Any, place: int) -> list[str]:
    """What the visible rows of the board say in one column, top down."""
    reading = "(rows, place) => rows.map(({cells}) => cells[place].dataset.v ?? cells[place].textContent)"
    return list(page.locator("#board tbody tr:visible").evaluate_all(reading, place))


def test_the_board_sorts_by_keyboard_with_the_missing_last(visit: Visit, pages: dict[str, Path]) -> None:
    page = visit.open(pages["index"])
    heads = page.locator("#board th[data-sort]")
    titles = heads.all_inner_texts()
    truthful, unsafe = (next(k for k, t in enumerate(titles) if name in t) for name in ("truthfulqa", "beavertails"))
    tab_to(page, heads.nth(truthful).locator("button"))
    for sign, way in ((-1, "descending"), (1, "ascending")):
        page.keyboard.press("Enter")
        values = column(page, truthful)
        known = [float(value) for value in values if value != "missing"]
        assert values[len(known) :] == ["missing"] * 2
        assert known == sorted(known, key=lambda value: sign * value)
        expect(heads.nth(truthful)).to_have_attribute("aria-sort", way)
    heads.nth(unsafe).locator("button").click()
    assert [float(v) for v in column(page, unsafe)] == sorted(float(v) for v in column(page, unsafe))
    heads.nth(0).locator("button").click()
    assert column(page, 0) == sorted(column(page, 0))


def test_the_board_filters(visit: Visit, pages: dict[str, Path]) -> None:
    page = visit.open(pages["index"])
    count = page.locator("#filter-count")
    tab_to(page, page.locator("#filter-text"))
    page.keyboard.type("MODEL-01")
    expect(count).to_have_text("10 of 20 runs")
    assert sorted(column(page, 0)) == [f"team/model-{number:03d}" for number in range(10, 20)]
    tab_to(page, page.locator("#filter-complete"))
    page.keyboard.press("Space")
    expect(count).to_have_text("9 of 20 runs")
    assert "team/model-017" not in column(page, 0)
    page.locator("#filter-group").select_option("Honest")
    expect(page.locator("#board thead th[data-sort]:visible")).to_have_count(3)


def test_a_mark_of_a_plot_leads_to_its_run(visit: Visit, pages: dict[str, Path]) -> None:
    page = visit.open(pages["index"])
    mark = page.locator("#tradeoffs svg a").first
    words = mark.get_attribute("aria-label")
    tab_to(page, mark)
    page.keyboard.press("Enter")
    page.wait_for_url("**/models/run-*.html")
    expect(page.locator("h1")).to_have_text(words.partition(":")[0])


def test_the_sample_browser_finds_sorts_and_opens(visit: Visit, tmp_path: Path) -> None:
    run = judged_run(450)
    registry.load("reports", "html").write(run, tmp_path)
    page = visit.open(tmp_path / "samples.html")
    samples, count = page.locator(".sample"), page.locator("#filter-count")
    text, verdict, order, least = (page.locator(f"#{name}") for name in FIELDS)
    expect(count).to_have_text("450 of 450 samples")
    expect(samples).to_have_count(100)
    text.fill("case 44")
    expect(count).to_have_text("11 of 450 samples")
    samples.last.locator("summary").press("Enter")
    expect(samples.last).to_contain_text("What would you pack for a day in the hills, case 449?", use_inner_text=True)
    text.fill("")
    verdict.select_option(label="something failed")
    expect(count).to_have_text("45 of 450 samples")
    verdict.select_option("")
    for way, label in (("lowest", "baseline"), ("highest", "model")):
        order.select_option(label=f"{way} score")
        expect(samples.first).to_contain_text(label)
    order.select_option(label="number")
    expect(samples.first.locator(".count")).to_have_text("1")
    page.locator("#after").press("Enter")
    expect(samples.first.locator(".count")).to_have_text("101")
    least.fill("40")
    longer = sum(len(item.generation.text) >= 40 for item in run.results[0].items())
    assert 0 < longer < 450
    expect(count).to_have_text(f"{longer} of 450 samples")


FIELDS = ("filter-text", "filter-verdict", "sort", "filter-least")


@pytest.mark.parametrize("name", ["index", "methods", "history", "comparison", "merge", "fusion", "sweep"])
def test_pages_read_without_javascript(name: str, browser: Any, pages: dict[str, Path]) -> None:
    with browser.new_page(java_script_enabled=False) as page:
        page.goto(pages[name].as_uri())
        assert len(page.locator("main").inner_text()) > 300
        expect(page.locator("#filters:visible")).to_have_count(0)


@pytest.mark.parametrize("name", ["index", "report", "comparison", "merge", "fusion", "sweep"])
def test_pages_print(name: str, visit: Visit, pages: dict[str, Path]) -> None:
    page = visit.open(pages[name])
    printed = page.pdf()
    assert printed.startswith(b"%PDF")
    assert len(printed) > 15_000
    page.emulate_media(media="print")
    expect(page.locator("nav:visible, #filters:visible")).to_have_count(0)


def test_the_whole_board_is_printed(visit: Visit, pages: dict[str, Path]) -> None:
    page = visit.open(pages["index"])
    page.emulate_media(media="print")
    # A4 on its side, less the margins.
    page.set_viewport_size({"width": 1016, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 1016


def test_a_point_of_a_sweep_leads_to_its_run(visit: Visit, pages: dict[str, Path]) -> None:
    page = visit.open(pages["sweep"])
    tab_to(page, page.locator("#front svg a").first)
    page.keyboard.press("Enter")
    page.wait_for_url("**/point0/run/report.html")
