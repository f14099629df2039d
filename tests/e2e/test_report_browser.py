"""report.html in Debian's Chromium: nothing runs, nothing is fetched, the filters work."""

from pathlib import Path
from typing import Any

import pytest
from browsing import requested
from run_fixture import sample_run

from h3eval import registry


def opened(browser: Any, folder: Path, hostile: bool = False, n: int = 45) -> list[str]:
    """Open a report; the addresses that were asked for."""
    file = registry.load("reports", "html").write(sample_run(n, hostile), folder)[0]
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(file.as_uri())
    return requested(browser)


def shown(browser: Any) -> int:
    return browser.execute_script(
        "return [...document.querySelectorAll('.sample')].filter(e => e.offsetParent !== null).length"
    )


def choose(browser: Any, field: str, value: str) -> None:
    browser.execute_script(
        "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event('change')); e.dispatchEvent(new Event('input'));",
        field, value,
    )  # fmt: skip
    browser.execute_async_script("setTimeout(arguments[0], 200)")


@pytest.mark.parametrize("hostile", [False, True])
def test_nothing_is_fetched_nothing_runs_nothing_complains(browser: Any, tmp_path: Path, hostile: bool) -> None:
    asked = opened(browser, tmp_path, hostile)
    browser.execute_script("document.querySelectorAll('details').forEach(each => { each.open = true })")
    browser.execute_async_script("setTimeout(arguments[0], 300)")
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert len([url for url in asked if url.startswith("file:")]) == 1
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.hacked") is None
    assert browser.execute_script("return document.querySelectorAll('script').length") == 1
    assert browser.execute_script("return document.querySelectorAll('img, iframe, base, object').length") == 0


def test_the_policy_stops_what_slips_through(browser: Any, tmp_path: Path) -> None:
    opened(browser, tmp_path)
    browser.execute_script(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"x\" onerror=\"window.hacked=1\">');"
    )
    browser.execute_async_script("setTimeout(arguments[0], 300)")
    assert browser.execute_script("return window.hacked") is None
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


def test_filters_by_task_verdict_and_text(browser: Any, tmp_path: Path) -> None:
    opened(browser, tmp_path)
    assert shown(browser) == 6 * 45
    choose(browser, "filter-task", "3")
    assert shown(browser) == 45
    choose(browser, "filter-task", "")
    choose(browser, "filter-verdict", "failed")
    assert shown(browser) == 5 + 2 + 45
    choose(browser, "filter-verdict", "")
    choose(browser, "filter-text", "CASE 17?")
    assert shown(browser) == 1
    assert browser.find_element("id", "filter-count").text == "1 of 270 shown"
    choose(browser, "filter-text", "no such words anywhere")
    assert shown(browser) == 0
    choose(browser, "filter-text", "")
    assert shown(browser) == 270


def test_filters_by_one_label(browser: Any, tmp_path: Path) -> None:
    opened(browser, tmp_path)
    value = browser.execute_script(
        "return [...document.querySelectorAll('#filter-verdict option')]"
        ".find(each => each.textContent === 'beaver_dam: unsafe').value"
    )
    choose(browser, "filter-verdict", value)
    assert shown(browser) == sum(index % 6 == 0 and index % 20 != 5 for index in range(45))


@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_never_scrolls_sideways(browser: Any, tmp_path: Path, width: int) -> None:
    opened(browser, tmp_path, True)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.execute_script("document.querySelectorAll('details').forEach(each => { each.open = true })")
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= width


def test_reads_without_javascript(browser: Any, tmp_path: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened(browser, tmp_path)
        first = browser.find_element("css selector", ".sample")
        first.find_element("css selector", "summary").send_keys("\ue007")
        assert "What would you pack" in first.text
        assert not browser.find_element("id", "filters").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
