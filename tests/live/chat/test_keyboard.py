"""Test the page by keyboard alone: controls are reachable in reading order, with visible focus."""

from __future__ import annotations

from typing import Any

import pytest

from tests.live.chat.conftest import WAIT_MS, SlowGateway, needs_browser, wait_for_answers

pytestmark = [pytest.mark.live, needs_browser]

FOCUSED_ELEMENT_JS = """(selector) => {
    const element = document.activeElement;
    if (!element || !element.closest(selector)) return null;
    const styles = [element, element.closest(selector)].map((each) => getComputedStyle(each));
    const isVisible = styles.some((style) =>
        (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) ||
        style.boxShadow !== 'none');
    return {isVisible, label: element.getAttribute('aria-label') || element.title
        || element.innerText || element.placeholder || ''};
}"""


def tab_to(tab: Any, selector: str, *, max_presses: int = 60) -> dict[str, Any]:
    """Press Tab until `selector` has the focus; return its label, and whether focus is visible."""
    for _ in range(max_presses):
        tab.keyboard.press("Tab")
        element = tab.evaluate(FOCUSED_ELEMENT_JS, selector)
        if element is not None:
            return element
    raise AssertionError(f"{selector} was not reached with {max_presses} presses of Tab")


def test_a_reader_asks_reads_and_votes_by_keyboard(tab: Any, slow_gateway: SlowGateway) -> None:
    tab.evaluate("document.activeElement.blur()")
    box = tab_to(tab, "#question textarea")
    assert box["isVisible"]
    tab.keyboard.type("How much oil?")
    tab.evaluate("document.body.dataset.talk = 'asked'")
    tab.keyboard.press("Enter")
    wait_for_answers(tab)

    tab.evaluate("document.activeElement.blur()")
    thumb = tab_to(
        tab, "#conversation button[aria-label*='like' i], #conversation button[title*='like' i]"
    )
    assert thumb["isVisible"]
    assert thumb["label"]
    tab.keyboard.press("Enter")
    assert slow_gateway.wait_for("feedback", count=1)
    note = tab_to(tab, ".twin-note > summary")
    assert note["isVisible"]
    assert "oil" in note["label"].lower()
    tab.keyboard.press("Enter")
    link = tab_to(tab, ".twin-note a[href^='https://']")
    assert link["isVisible"]
    assert link["label"] == "Read the post"


def test_enter_opens_the_focused_tab(tab: Any) -> None:
    tab.evaluate("document.activeElement.blur()")
    tab_to(tab, "[role=tab]")
    for _ in range(3):
        if tab.evaluate("document.activeElement.innerText") == "Before | after":
            break
        tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    tab.locator("#compare-question textarea").wait_for(state="visible", timeout=WAIT_MS)
    assert tab_to(tab, "#compare-question textarea")["isVisible"]
