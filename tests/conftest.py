"""Fixtures for all tests. Real benchmark data is used where it is there, and its absence is shown."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Visit
from hypothesis import HealthCheck, settings
from scripted_server import ScriptedServer

from h3eval.errors import NoSandbox
from h3eval.sandbox import choice
from h3eval.sandbox.runner import Jail
from h3eval.store import Store

ROOT = Path(__file__).parents[1]

# On a busy machine an example may take any time: that is no fault of what is tested.
settings.register_profile("no-clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no-clock")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Local copies of real benchmarks: $H3EVAL_TEST_DATA, or shared/data beside the checkout."""
    named = os.environ.get("H3EVAL_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real benchmark data is not at {folder}; set H3EVAL_TEST_DATA")
    return folder


@pytest.fixture
def no_openai_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, address or proxy of the machine's own."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """An OpenAI-compatible server on 127.0.0.1 that does as it is told."""
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A run that has just begun."""
    with Store.open(tmp_path / "run") as opened:
        yield opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright, whose event loop holds this thread until the module ends: no asyncio.run
    in a module that asks for this."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if not program:
        pytest.skip("no Chromium here: apt-get install chromium")
    with driver.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, chromium_sandbox=False)
        yield running
        running.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """A window of that browser with nothing left over from another test."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield Visit(context)


@pytest.fixture(scope="module")
def jails() -> Iterator[tuple[Jail, Jail]]:
    """Two of this machine's best jails: for tests, and for the program that they test."""
    try:
        chosen = choice.choose()
    except NoSandbox as error:
        pytest.skip(str(error))
    with Jail(chosen.tier) as checker, Jail(chosen.tier) as jail:
        yield checker, jail
