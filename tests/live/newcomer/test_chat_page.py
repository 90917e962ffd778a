"""The chat page of a fresh installation in a browser, and the error when it cannot start."""

from __future__ import annotations

import json
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
from twin_resources.processes.stack import find_stack

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


def test_a_page_that_cannot_start_is_reported_at_once(started: StartedStack) -> None:
    """A fresh installation used to be silent for two minutes, then gave useless advice."""
    stack = find_stack(started.newcomer.settings)
    assert stack is not None
    stack.supervisor.stop_program("chat")  # `twin up` has started it
    site = next((started.newcomer.bin.parent / "lib").glob("python3*/site-packages"))
    (site / "itsdangerous").rename(site / "itsdangerous.gone")
    try:
        chat_command = started.newcomer.run("twin", "chat")
        assert chat_command.returncode == 1
        assert "No module named 'itsdangerous'" in chat_command.stdout
        log = (started.newcomer.settings.logs_dir / "chat.log").read_text(encoding="utf-8")
        tries = log.count("No module named 'itsdangerous'")
        assert 1 <= tries <= 3, "the failure was not reported at the first exit"
        status = json.loads(started.newcomer.run("twin", "status", "--json").stdout)
        [chat] = [program for program in status["programs"] if program["name"] == "chat"]
        assert chat["state"] not in {"RUNNING", "STARTING"}
    finally:
        (site / "itsdangerous.gone").rename(site / "itsdangerous")


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
