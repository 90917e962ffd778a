"""The page by keyboard alone: everything that a mouse reaches, in the order in which it is read."""

from __future__ import annotations

from typing import Any

import pytest

from tests.live.chat.conftest import WAIT_MS, SlowGateway, answered, needs_browser

pytestmark = [pytest.mark.live, needs_browser]

FOCUSED = """(wanted) => {
    const at = document.activeElement;
    if (!at || !at.closest(wanted)) return null;
    const style = getComputedStyle(at);
    const around = getComputedStyle(at.closest(wanted));
    const seen = [style, around].some((one) =>
        (one.outlineStyle !== 'none' && parseFloat(one.outlineWidth) > 0) ||
        one.boxShadow !== 'none');
    return {seen, named: at.getAttribute('aria-label') || at.title || at.innerText
        || at.placeholder || ''};
}"""


def tab_to(tab: Any, wanted: str, *, within: int = 60) -> dict[str, Any]:
    """Press Tab until the focus is there; fails when it does not come."""
    for _ in range(within):
        tab.keyboard.press("Tab")
        found = tab.evaluate(FOCUSED, wanted)
        if found is not None:
            return found
    raise AssertionError(f"{wanted} is not reached within {within} presses of Tab")


def test_a_question_is_asked_read_and_voted_on(tab: Any, slow_gateway: SlowGateway) -> None:
    tab.evaluate("document.activeElement.blur()")
    box = tab_to(tab, "#question textarea")
    assert box["seen"]
    tab.keyboard.type("How much oil?")
    tab.evaluate("document.body.dataset.talk = 'asked'")
    tab.keyboard.press("Enter")
    answered(tab)

    tab.evaluate("document.activeElement.blur()")
    thumb = tab_to(
        tab, "#conversation button[aria-label*='like' i], #conversation button[title*='like' i]"
    )
    assert thumb["seen"]
    assert thumb["named"]
    tab.keyboard.press("Enter")
    assert slow_gateway.wait_for("feedback", count=1)
    note = tab_to(tab, ".twin-note > summary")
    assert note["seen"]
    assert "oil" in note["named"].lower()
    tab.keyboard.press("Enter")
    link = tab_to(tab, ".twin-note a[href^='https://']")
    assert link["seen"]
    assert link["named"] == "Read the post"


def test_the_tabs_change_by_arrows_or_enter(tab: Any) -> None:
    tab.evaluate("document.activeElement.blur()")
    tab_to(tab, "[role=tab]")
    for _ in range(3):
        if tab.evaluate("document.activeElement.innerText") == "Before | after":
            break
        tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    tab.locator("#compare-question textarea").wait_for(state="visible", timeout=WAIT_MS)
    assert tab_to(tab, "#compare-question textarea")["seen"]
