"""A visit to a page in Chromium, with all that it asks for and complains about."""

from pathlib import Path
from typing import Any

import pytest


class Visit:
    """One window. `asked` are the addresses that its pages, frames and pop-ups asked for; `complaints` are what
    stands in their consoles, errors that nobody caught among it."""

    def __init__(self, context: Any) -> None:
        self.asked: list[str] = []
        self.complaints: list[str] = []
        context.on("request", lambda request: self.asked.append(request.url))
        context.on("console", lambda message: self.complaints.append(message.text))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self.page = context.new_page()

    def open(self, file: Path) -> Any:
        """Go to a local file; the page."""
        self.page.goto(file.as_uri())
        return self.page

    def unfold(self, most: int = 10_000) -> None:
        """Open the page's details, and give time to whatever they set off."""
        unfolding = "(all, most) => all.slice(0, most).forEach((e) => { e.open = true; })"
        self.page.locator("details").evaluate_all(unfolding, most)
        self.page.wait_for_timeout(300)


def hacked(page: Any) -> bool:
    """Did one of run_fixture's attacks run? It would have left its mark."""
    return bool(page.evaluate("'hacked' in window"))


def tab_to(page: Any, wanted: Any, most: int = 100) -> None:
    """Press Tab until this element has the focus, and shows that it has."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if wanted.evaluate("e => e === document.activeElement"):
            assert wanted.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
            return
    pytest.fail(f"{most} times Tab do not lead to {wanted}")
