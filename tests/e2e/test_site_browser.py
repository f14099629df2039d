"""The leaderboard, the comparison, the sample browser and the pages of models in Debian's Chromium."""

from pathlib import Path
from typing import Any

import pytest
from board_runs import write_runs
from browsing import requested
from made_pages import fused, merged, read, swept
from made_pages import hostile as attacked
from run_fixture import HOSTILE, judged_run, sample_run

from h3eval import leaderboard, registry

axe = pytest.importorskip("axe_core_python.selenium", reason="axe-core-python is not installed")
# The contrast of translucent colours, which axe leaves undecided.
CONTRAST = """
const ink = (text) => {
  const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  c.fillStyle = text; c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data];
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
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each page, of hostile runs where a run's words are on it."""
    folder = tmp_path_factory.mktemp("pages")
    for name, hostile in (("site", False), ("hostile", True)):
        runs = leaderboard.entries(write_runs(folder / f"runs-{name}", 20, hostile))
        board = {**leaderboard.board(runs), "nights": nights(hostile)}
        registry.load("reports", "leaderboard").write(board, folder / name)
    registry.load("reports", "comparison").write(comparison(), folder)
    registry.load("reports", "html").write(sample_run(210, True), folder / "large")
    registry.load("reports", "html").write(sample_run(6, True), folder / "small")
    return {
        "index": folder / "site" / "index.html",
        "hostile index": folder / "hostile" / "index.html",
        "model": folder / "hostile" / "models" / "run-008.html",
        "methods": folder / "hostile" / "methods.html",
        "history": folder / "hostile" / "history.html",
        "comparison": folder / "comparison.html",
        "samples": folder / "large" / "samples.html",
        "report": folder / "small" / "report.html",
        **model_pages(folder / "models"),
    }


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
            "new_answer": {"text": f"one two {HOSTILE[k - 1]}", "failure": "", "verdicts": []},
        }
        for k, text in enumerate(HOSTILE)
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


def opened(browser: Any, page: Path) -> list[str]:
    """Open a page with all its details; the addresses that were asked for."""
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(page.as_uri())
    settle(browser, 200)
    browser.execute_script("document.querySelectorAll('details').forEach((e, k) => { if (k < 30) e.open = true })")
    settle(browser, 200)
    return requested(browser)


def settle(browser: Any, milliseconds: int = 250) -> None:
    browser.execute_async_script("setTimeout(arguments[1], arguments[0])", milliseconds)


def put(browser: Any, field: str, value: str) -> None:
    browser.execute_script(
        "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true}));",
        field, value,
    )  # fmt: skip
    settle(browser)


def column(browser: Any, place: int) -> list[str]:
    """What the visible rows say in one column, top down."""
    return list(browser.execute_script(
        "return [...document.querySelectorAll('#board tbody tr')].filter((e) => !e.hidden)"
        ".map((e) => e.cells[arguments[0]].dataset.v ?? e.cells[arguments[0]].textContent)", place,
    ))  # fmt: skip


NAMES = (
    "index", "hostile index", "model", "methods", "history", "comparison", "samples", "report", "merge", "fusion",
    "sweep",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs_nothing_is_fetched_and_everybody_can_read_it(
    name: str, browser: Any, pages: dict[str, Path]
) -> None:
    asked = opened(browser, pages[name])
    assert all(url.startswith(("file:", "data:")) for url in asked), asked
    own = [url for url in asked if url.startswith("file:")]
    assert all(url.endswith(".js") for url in own[1:]) if name == "samples" else len(own) == 1, own
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.hacked") is None
    assert browser.execute_script("return document.querySelectorAll('img, iframe, base, object').length") == 0
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        assert browser.execute_script(CONTRAST) == [], scheme
    found = axe.Axe().run(browser, options={"runOnly": ["wcag2a", "wcag2aa", "best-practice"]})["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []
    for width in (1280, 360):
        assert wide(browser, width) <= width


def wide(browser: Any, width: int) -> int:
    """How wide the page is in a window of this width."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        return int(browser.execute_script("return document.documentElement.scrollWidth"))
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_board_sorts_by_keyboard_with_the_missing_last(browser: Any, pages: dict[str, Path]) -> None:
    opened(browser, pages["index"])
    heads = browser.find_elements("css selector", "#board th[data-sort] button")
    truthful = next(each for each in heads if "truthfulqa" in each.text)
    place = next(k for k, each in enumerate(heads) if each == truthful)
    for sign, way in ((-1, "descending"), (1, "ascending")):
        truthful.send_keys("\ue007")
        values = column(browser, place)
        known = [float(value) for value in values if value != "missing"]
        assert values[len(known) :] == ["missing"] * 2
        assert known == sorted(known, key=lambda value: sign * value)
        assert truthful.find_element("xpath", "..").get_attribute("aria-sort") == way
    unsafe = next(k for k, each in enumerate(heads) if "beavertails" in each.text)
    heads[unsafe].click()
    assert [float(v) for v in column(browser, unsafe)] == sorted(float(v) for v in column(browser, unsafe))
    heads[0].click()
    assert column(browser, 0) == sorted(column(browser, 0))


def test_the_board_filters(browser: Any, pages: dict[str, Path]) -> None:
    opened(browser, pages["index"])
    put(browser, "filter-text", "MODEL-01")
    assert column(browser, 0) == sorted(column(browser, 0), key=column(browser, 0).index)
    assert len(column(browser, 0)) == 10
    assert browser.find_element("id", "filter-count").text == "10 of 20 runs"
    browser.find_element("id", "filter-complete").click()
    settle(browser)
    assert len(column(browser, 0)) == 9
    put(browser, "filter-group", "Honest")
    shown = browser.execute_script(
        "return [...document.querySelectorAll('#board thead th[data-sort]')].filter((e) => e.offsetParent).length"
    )
    assert shown == 3


def test_a_mark_of_a_plot_leads_to_its_run(browser: Any, pages: dict[str, Path]) -> None:
    opened(browser, pages["index"])
    mark = browser.find_element("css selector", "#tradeoffs svg a")
    target, words = mark.get_attribute("href"), mark.get_attribute("aria-label")
    assert (pages["index"].parent / str(target.get("animVal") if isinstance(target, dict) else target)).name
    browser.execute_script("arguments[0].focus()", mark)
    browser.switch_to.active_element.send_keys("\ue007")
    settle(browser)
    assert "/models/run-" in browser.current_url
    assert browser.find_element("css selector", "h1").text == words.partition(":")[0]


def test_the_sample_browser_finds_sorts_and_opens(browser: Any, tmp_path: Path) -> None:
    run = judged_run(450)
    registry.load("reports", "html").write(run, tmp_path)
    opened(browser, tmp_path / "samples.html")
    assert browser.find_element("id", "filter-count").text == "450 of 450 samples"
    assert len(browser.find_elements("css selector", ".sample")) == 100
    put(browser, "filter-text", "case 44")
    assert browser.find_element("id", "filter-count").text == "11 of 450 samples"
    last = browser.find_elements("css selector", ".sample")[-1]
    last.find_element("css selector", "summary").send_keys("\ue007")
    settle(browser)
    assert "What would you pack for a day in the hills, case 449?" in last.text
    put(browser, "filter-text", "")
    put(browser, "filter-verdict", browser.execute_script(
        "return [...document.querySelectorAll('#filter-verdict option')]"
        ".find((e) => e.textContent === 'something failed').value"
    ))  # fmt: skip
    assert browser.find_element("id", "filter-count").text == "45 of 450 samples"
    put(browser, "filter-verdict", "")
    put(browser, "sort", "7")
    lowest = browser.find_elements("css selector", ".sample")[0].text
    put(browser, "sort", "-7")
    assert "baseline" in lowest
    assert "model" in browser.find_elements("css selector", ".sample")[0].text
    put(browser, "sort", "1")
    browser.find_element("id", "after").send_keys("\ue007")
    settle(browser)
    assert browser.find_element("css selector", ".sample .count").text == "101"
    put(browser, "filter-least", "40")
    longer = sum(len(item.generation.text) >= 40 for item in run.results[0].items())
    assert 0 < longer < 450
    assert browser.find_element("id", "filter-count").text == f"{longer} of 450 samples"


def test_pages_read_without_javascript(browser: Any, pages: dict[str, Path]) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        for name in ("index", "methods", "history", "comparison", "merge", "fusion", "sweep"):
            browser.get(pages[name].as_uri())
            text = browser.find_element("css selector", "main").text
            assert len(text) > 300, name
            assert not any(each.is_displayed() for each in browser.find_elements("id", "filters"))
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("name", ["index", "merge", "fusion", "sweep"])
def test_the_board_and_the_pages_of_models_print(name: str, browser: Any, pages: dict[str, Path]) -> None:
    browser.get(pages[name].as_uri())
    printed = browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert len(printed) > 20_000


def test_a_point_of_a_sweep_leads_to_its_run(browser: Any, pages: dict[str, Path]) -> None:
    opened(browser, pages["sweep"])
    mark = browser.find_element("css selector", "#front svg a")
    browser.execute_script("arguments[0].focus()", mark)
    browser.switch_to.active_element.send_keys("\ue007")
    settle(browser)
    assert browser.current_url.endswith("/point0/run/report.html")
