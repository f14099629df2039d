"""What a page in Chromium asks for."""

import json
from typing import Any


def requested(browser: Any) -> list[str]:
    """Addresses asked for by local pages since the log was last read; the browser's own start page is not one."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [each["request"]["url"] for each in asked if each["documentURL"].startswith("file:")]
