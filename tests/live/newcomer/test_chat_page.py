"""Test the chat page of a fresh installation in a browser."""

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
def test_the_page_opens_and_shows_an_answer_with_its_post(started_stack: StartedStack) -> None:
    chat = started_stack.newcomer.run("twin", "open")
    link_match = re.search(r"http://\S+/open\?link=\S+", chat.stdout)
    assert link_match, chat.stdout
    errors: list[str] = []
    with launch_browser() as browser:
        tab = browser.new_page()
        tab.on("pageerror", lambda error: errors.append(str(error)))
        response = tab.goto(link_match.group())
        assert response is not None
        assert response.ok
        wait_until_ready(tab)
        ask(tab, QUESTION)
        wait_for_answers(tab)
        assert "How to carry a clock" in tab.locator(NOTES).inner_text()
    assert errors == []
