"""A run of 100,000 samples: what writing its pages costs, and how its sample browser does in Debian's Chromium."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from browsing import Visit, tab_to

psutil = pytest.importorskip("psutil", reason="psutil is not installed")
expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytestmark = pytest.mark.slow

N = 100_000
TESTS = Path(__file__).parents[1]
# In a process of its own, whose peak is then that of writing; answers get a usual length.
WRITING = """
import json, sys, time
from dataclasses import replace
from pathlib import Path
from run_fixture import judged_run
from h3eval import registry
from h3eval.types import Generation, Reply

run = judged_run(int(sys.argv[1]))
(result,) = run.results

def items():
    for item in result.items():
        yield replace(item, generation=Generation(item.sample.id, (Reply(item.generation.text + 80 * " and a coat"),)))

run = replace(run, results=(replace(result, items=items),))
writer, began = registry.load("reports", "html"), time.perf_counter()
writer.write(run, Path(sys.argv[2]))
seconds = time.perf_counter() - began
(peak,) = (int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "peak_mb": peak / 1024}))
"""


def write(folder: Path, samples: int) -> dict[str, float]:
    """Write such a run's pages; the seconds it took, and the process's peak of resident memory in MB."""
    made = subprocess.run(
        [sys.executable, "-c", WRITING, str(samples), str(folder)],
        cwd=TESTS, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    cost: dict[str, float] = json.loads(made.stdout)
    print(f"{samples:,} samples written: {cost}")
    return cost


def memory(browser: Any) -> tuple[float, float]:
    """MB of the largest process that draws pages, all that it shares counted; and of all of Chromium's processes, with
    what they share divided among them. With an empty page Debian's Chromium 156 takes 335 MB altogether."""
    told = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    found = [(each["type"], psutil.Process(each["id"]).memory_full_info()) for each in told]
    largest = max(used.rss for kind, used in found if kind == "renderer")
    return largest / 1e6, sum(used.pss for _, used in found) / 1e6


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """The folder of the large run's pages, and what writing them cost."""
    folder = tmp_path_factory.mktemp("large")
    return folder, write(folder, N)


def test_writing_takes_little_time_and_memory(large: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    assert large[1]["seconds"] <= 20
    assert large[1]["peak_mb"] <= 500
    assert write(tmp_path, N // 10)["seconds"] <= 3


@pytest.mark.parametrize("name", ["report.html", "samples.html"])
def test_it_paints_at_once_and_stays_small(
    name: str, browser: Any, visit: Visit, large: tuple[Path, dict[str, float]]
) -> None:
    page = visit.open(large[0] / name)
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    if name == "samples.html":
        find_and_sort(page)
    page_mb, all_mb = memory(browser)
    print(
        f"{name}: first paint after {painted:.0f} ms; the page takes {page_mb:.0f} MB, all of Chromium {all_mb:.0f} MB"
    )
    assert painted <= 2000
    assert page_mb <= 500
    assert visit.complaints == []


def find_and_sort(page: Any) -> None:
    """Whatever a reader does, by keyboard, must give the right samples."""
    samples, count = page.locator(".sample"), page.locator("#filter-count")
    expect(count).to_have_text("100,000 of 100,000 samples", timeout=20_000)
    tab_to(page, page.locator("#filter-text"))
    page.keyboard.type("CASE 9999")
    expect(count).to_have_text("11 of 100,000 samples")
    expect(samples.last.locator(".count")).to_have_text("100,000")
    page.locator("#filter-text").press("ControlOrMeta+a")
    page.keyboard.press("Delete")
    tab_to(page, page.locator("#sort"))
    page.keyboard.press("ArrowDown")
    expect(page.locator("#sort option:checked")).to_have_text("longest answer")
    # The second sample's answer is the one of 48,000 characters.
    expect(samples.first.locator(".count")).to_have_text("2")
    tab_to(page, samples.first.locator("summary"))
    page.keyboard.press("Enter")
    expect(samples.first).to_contain_text("bytes left out")
