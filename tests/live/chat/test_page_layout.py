"""Test layout and accessibility of the page on a phone and a desktop, light and dark.

Scope: layout and accessibility of all three tabs, and the pictures in deploy/docs/your-blog.md. Out
of scope: the effects of clicks (the other files).
Source: https://github.com/dequelabs/axe-core/blob/develop/doc/rule-descriptions.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.live.chat.conftest import (
    ANSWERS,
    NOTES,
    WAIT_MS,
    PageProcess,
    SlowGateway,
    ask,
    needs_browser,
    wait_for_answers,
    wait_until_free,
    wait_until_ready,
)
from tests.live.chat.test_traces_tab import stored_traces  # noqa: F401 - a fixture

pytestmark = [pytest.mark.live, needs_browser]
HEIGHTS_BY_WIDTH = {390: 844, 1400: 900}
TABS = {"talk": "Talk", "compare": "Before | after", "look": "Traces"}
OVERFLOWING_JS = """() => [...document.querySelectorAll('.gradio-container *')].filter((node) => {
    const place = node.getBoundingClientRect();
    return place.width > 1 && place.height > 1 && getComputedStyle(node).visibility === 'visible'
        && (place.right > innerWidth + 1 || place.left < -1);
}).map((node) => node.outerHTML.slice(0, 120))"""
WRAPPED_FACTS_JS = """() => [...document.querySelectorAll('.twin-facts > span:not(.twin-chips)')]
    .filter((node) => node.getClientRects().length > 1).map((node) => node.innerText)"""


@pytest.fixture(
    params=[(390, "light"), (1400, "dark"), pytest.param((1400, "light"), marks=pytest.mark.long)],
    ids=str,
)
def sized_tab(
    request: pytest.FixtureRequest, slow_page: PageProcess, slow_gateway: SlowGateway, browser: Any
) -> Iterator[Any]:
    """Open the page in a window with the parameter's width and color scheme."""
    width, scheme = request.param
    slow_gateway.reset()
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHTS_BY_WIDTH[width]}, color_scheme=scheme
    )
    page = context.new_page()
    page.goto(slow_page.link())
    wait_until_ready(page)
    yield page
    context.close()


def open_tab(tab: Any, name: str) -> None:
    """Open a tab and fill it with content."""
    tab.get_by_role("tab", name=TABS[name]).click()
    if name == "talk":
        ask(tab, "How much oil does a clock want?")
        wait_for_answers(tab)
        tab.locator(f"{NOTES} .twin-note summary").first.click()
        tab.locator(f"{NOTES} .twin-about > summary").click()
    elif name == "compare":
        tab.locator("#compare-question textarea").wait_for(timeout=WAIT_MS)
        ask(tab, "How much oil does a clock want?", view="compare")
        wait_until_free(tab, view="compare")
    else:
        tab.locator(".twin-traces").wait_for(timeout=WAIT_MS)
        tab.locator("#figures [role=meter]").wait_for(timeout=WAIT_MS)


def find_violations(tab: Any) -> list[str]:
    """Return axe-core's serious and critical violations, with their elements."""
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['failureSummary']}"
        for rule in Axe().run(tab).response["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def test_no_tab_has_accessibility_violations_or_overflow(
    sized_tab: Any,
    stored_traces: httpx.Client,  # noqa: F811
    request: pytest.FixtureRequest,
    take_screenshot: Callable[..., None],
) -> None:
    width, scheme = request.node.callspec.params["sized_tab"]
    assert find_violations(sized_tab) == []
    for name in TABS:
        open_tab(sized_tab, name)
        assert find_violations(sized_tab) == [], name
        assert sized_tab.evaluate(OVERFLOWING_JS) == [], name
        if scheme == "light":
            take_screenshot(
                sized_tab, f"page-{name}-{width}", full_page=(name, width) == ("look", 1400)
            )
    assert sized_tab.evaluate(WRAPPED_FACTS_JS) == []
    column = sized_tab.locator(".twin-traces > li > div").first.bounding_box()
    assert column["width"] >= 0.85 * min(width, 900)
    sized_tab.locator(".twin-traces a[data-trace]").first.click()
    sized_tab.locator(".twin-trace").wait_for(timeout=WAIT_MS)
    assert find_violations(sized_tab) == []
    assert sized_tab.evaluate(OVERFLOWING_JS) == []


@pytest.mark.parametrize("sized_tab", [(390, "light")], indirect=True, ids=str)
def test_the_question_box_does_not_move_and_the_question_stays_visible(
    sized_tab: Any, slow_gateway: SlowGateway
) -> None:
    def position() -> tuple[float, float]:
        box = sized_tab.locator("#composer").bounding_box()
        return box["y"], box["height"]

    def require_visible(question: str) -> None:
        row = sized_tab.locator("#conversation .user-row", has_text=question).bounding_box()
        log = sized_tab.locator("#conversation").bounding_box()
        assert log["y"] - 1 <= row["y"] <= log["y"] + log["height"] - row["height"]

    window = sized_tab.viewport_size
    assert sum(position()) <= window["height"]
    assert sized_tab.evaluate("document.documentElement.scrollHeight") <= window["height"]
    ask(
        sized_tab, "A first and long question, asked in order to have a whole screen above the next"
    )
    wait_for_answers(sized_tab)
    # Not earlier: Gradio resizes an empty box to one line some time after showing it.
    expected = position()
    ask(sized_tab, "And a long, slow one?")
    sized_tab.locator(ANSWERS).nth(1).wait_for(timeout=WAIT_MS)
    require_visible("And a long, slow one?")
    assert position() == expected
    sized_tab.locator("#stop").click()
    wait_until_free(sized_tab)
    ask(sized_tab, "And a long one?")
    wait_until_free(sized_tab)
    require_visible("And a long one?")
    # The start of the answer, not its end, is expected below the question.
    sized_tab.locator("#conversation blockquote").last.wait_for(timeout=WAIT_MS)
    quotation = sized_tab.locator("#conversation blockquote").last.bounding_box()
    log = sized_tab.locator("#conversation").bounding_box()
    assert log["y"] <= quotation["y"] <= log["y"] + log["height"]
    sized_tab.locator("#improve").click()
    sized_tab.locator("#wording-text textarea").wait_for(timeout=WAIT_MS)
    assert position() == expected
    assert sized_tab.evaluate("document.documentElement.scrollHeight") <= window["height"]
