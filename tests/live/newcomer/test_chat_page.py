"""The chat page of a fresh installation in a browser, and the error when it cannot start."""

from __future__ import annotations

import re

import pytest

from tests.browser import launch_browser
from tests.live.chat.conftest import (
    NOTES,
    ask,
    needs_browser,
    wait_for_answers,
    wait_until_ready,
)
from tests.live.newcomer.conftest import QUESTION, StartedStack

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


@needs_browser
def test_the_page_opens_and_answers(started: StartedStack) -> None:
    chat = started.newcomer.run("twin", "chat")
    link = re.search(r"http://\S+/open\?link=\S+", chat.stdout)
    assert link, chat.stdout
    errors: list[str] = []
    with launch_browser() as browser:
        tab = browser.new_page()
        tab.on("pageerror", lambda error: errors.append(str(error)))
        response = tab.goto(link.group())
        assert response is not None
        assert response.ok
        wait_until_ready(tab)
        ask(tab, QUESTION)
        wait_for_answers(tab)
        assert "How to carry a clock" in tab.locator(NOTES).inner_text()
    assert errors == []
