"""Chromium for tests that open pages: the installed program, and a Playwright browser.

Scope: finding the program and launching the browser. Out of scope: the pages.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
# Chromium itself asks for addresses of its maker, and a test of silence would hear it.
LOOK_UP_NOTHING = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"


@contextmanager
def launch_browser() -> Iterator[Any]:
    """Launch headless Chromium and yield Playwright's browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=BROWSER,
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", LOOK_UP_NOTHING],
        )
        yield browser
        browser.close()
