"""report.html in Debian's Chromium: nothing runs, nothing is fetched, the filters work."""

from pathlib import Path
from typing import Any

import pytest
from attacks import ACTIVE, PAYLOADS, everywhere
from browsing import Visit, hacked, tab_to
from run_fixture import HOSTILE, sample_run

from h3eval import registry

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect


def report(folder: Path, hostile: bool = False) -> Path:
    """The report of 45 samples of each of six tasks."""
    written: tuple[Path, ...] = registry.load("reports", "html").write(sample_run(45, hostile), folder)
    return written[0]


def shown(page: Any) -> Any:
    """The samples that can be seen."""
    return page.locator(".sample:visible")


@pytest.mark.parametrize("hostile", [False, True])
def test_nothing_is_fetched_nothing_runs_nothing_complains(visit: Visit, tmp_path: Path, hostile: bool) -> None:
    file = report(tmp_path, hostile)
    page = visit.open(file)
    visit.unfold()
    assert visit.asked == [file.as_uri()]
    assert visit.complaints == []
    assert not hacked(page)
    assert page.locator("script").count() == 1
    assert page.locator("img, iframe, base, object").count() == 0


def test_the_attacks_are_real(visit: Visit) -> None:
    for element in ACTIVE:
        visit.page.set_content(f"<style>@keyframes a {{}}</style><p>{element}")
        visit.page.wait_for_function("'hacked' in window")
        visit.page.evaluate("delete window.hacked")


@pytest.mark.parametrize("first", range(0, len(PAYLOADS), 30))
def test_no_attack_does_anything_in_any_text(visit: Visit, tmp_path: Path, first: int) -> None:
    payloads = PAYLOADS[first : first + 30]
    (file,) = registry.load("reports", "html").write(everywhere(payloads), tmp_path)
    page = visit.open(file)
    visit.unfold()
    shown = page.locator("body").text_content()
    assert all(shown.count(text) > 50 for text in payloads if text not in HOSTILE)
    assert visit.asked == [file.as_uri()]
    assert visit.complaints == []
    assert not hacked(page)
    assert page.locator("script").count() == 1
    assert page.locator("img, iframe, base, object, form, video, math, animate, [autofocus], [style]").count() == 0
    assert page.locator("a:not([href^='#'])").count() == 0


def test_the_policy_stops_what_slips_through(visit: Visit, tmp_path: Path) -> None:
    page = visit.open(report(tmp_path))
    assert visit.complaints == []
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=\"x\" onerror=\"window.hacked=1\">')")
    page.wait_for_timeout(300)
    assert not hacked(page)
    assert any("Content Security Policy" in each for each in visit.complaints)


def test_filters_by_task_verdict_and_text(visit: Visit, tmp_path: Path) -> None:
    page = visit.open(report(tmp_path))
    text, task, verdict = (page.locator(f"#filter-{name}") for name in ("text", "task", "verdict"))
    expect(shown(page)).to_have_count(6 * 45)
    task.select_option("3")
    expect(shown(page)).to_have_count(45)
    task.select_option("")
    verdict.select_option("failed")
    expect(shown(page)).to_have_count(5 + 2 + 45)
    verdict.select_option(label="beaver_dam: unsafe")
    expect(shown(page)).to_have_count(sum(index % 6 == 0 and index % 20 != 5 for index in range(45)))
    verdict.select_option("")
    tab_to(page, text)
    page.keyboard.type("CASE 17?")
    expect(shown(page)).to_have_count(1)
    expect(page.locator("#filter-count")).to_have_text("1 of 270 shown")
    text.fill("no such words anywhere")
    expect(shown(page)).to_have_count(0)
    text.fill("")
    expect(shown(page)).to_have_count(270)


@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_never_scrolls_sideways(visit: Visit, tmp_path: Path, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 800})
    page = visit.open(report(tmp_path, hostile=True))
    visit.unfold()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_reads_without_javascript(browser: Any, tmp_path: Path) -> None:
    with browser.new_page(java_script_enabled=False) as page:
        page.goto(report(tmp_path).as_uri())
        first = page.locator(".sample").first
        first.locator("summary").press("Enter")
        expect(first).to_contain_text("What would you pack", use_inner_text=True)
        expect(page.locator("#filters")).to_be_hidden()
