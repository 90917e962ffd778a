"""The chat page of a fresh installation, opened in a browser; and one that cannot start."""

from __future__ import annotations

import json
import re

import pytest

from tests.live.chat.conftest import BROWSER, NOTES, answered, ask, needs_browser, ready
from tests.live.newcomer.conftest import QUESTION, Started
from twin_resources.processes.stack import find_stack

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


def test_a_page_that_cannot_start_is_told_at_once(started: Started) -> None:
    """The fault of a fresh installation: two minutes of silence, then advice that cannot help."""
    stack = find_stack(started.newcomer.settings)
    assert stack is not None
    stack.supervisor.stop_program("chat")  # `twin up` has started it
    site = next((started.newcomer.bin.parent / "lib").glob("python3*/site-packages"))
    (site / "itsdangerous").rename(site / "itsdangerous.gone")
    try:
        ran = started.newcomer.run("twin", "chat")
        assert ran.returncode == 1
        assert "No module named 'itsdangerous'" in ran.stdout
        log = (started.newcomer.settings.logs_dir / "chat.log").read_text(encoding="utf-8")
        tries = log.count("No module named 'itsdangerous'")
        assert 1 <= tries <= 3, "at its first exit, and not after nine tries"
        shown = json.loads(started.newcomer.run("twin", "status", "--json").stdout)
        [chat] = [program for program in shown["programs"] if program["name"] == "chat"]
        assert chat["state"] not in {"RUNNING", "STARTING"}
    finally:
        (site / "itsdangerous.gone").rename(site / "itsdangerous")


@needs_browser
def test_the_page_opens_and_answers(started: Started) -> None:
    from playwright.sync_api import sync_playwright

    ran = started.newcomer.run("twin", "chat")
    found = re.search(r"http://\S+/open\?link=\S+", ran.stdout)
    assert found, ran.stdout
    errors: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        tab = browser.new_page()
        tab.on("pageerror", lambda error: errors.append(str(error)))
        opened = tab.goto(found.group())
        assert opened is not None
        assert opened.ok
        ready(tab)
        ask(tab, QUESTION)
        answered(tab)
        assert "How to carry a clock" in tab.locator(NOTES).inner_text()
        browser.close()
    assert errors == []
