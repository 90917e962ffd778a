"""The page as it looks: on a telephone and a desk, light and dark; and for those who do not see it.

Scope: what must hold of layout and accessibility in all three tabs, and the pictures of
deploy/docs/your-blog.md. Out of scope: what a click does (the other files).
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
    Page,
    SlowGateway,
    answered,
    ask,
    free,
    needs_browser,
    ready,
)
from tests.live.chat.test_look import stored  # noqa: F401 - a fixture

pytestmark = [pytest.mark.live, needs_browser]
SIZES = {390: 844, 1400: 900}
TABS = {"talk": "Talk", "compare": "Before | after", "look": "Look"}
SIDEWAYS = """() => [...document.querySelectorAll('.gradio-container *')].filter((one) => {
    const place = one.getBoundingClientRect();
    return place.width > 1 && place.height > 1 && getComputedStyle(one).visibility === 'visible'
        && (place.right > innerWidth + 1 || place.left < -1);
}).map((one) => one.outerHTML.slice(0, 120))"""
BROKEN = """() => [...document.querySelectorAll('.twin-facts > span:not(.twin-chips)')]
    .filter((one) => one.getClientRects().length > 1).map((one) => one.innerText)"""


@pytest.fixture(
    params=[
        (390, "light"),
        (1400, "dark"),
        pytest.param((1400, "light"), marks=pytest.mark.long),
    ],
    ids=str,
)
def shown(
    request: pytest.FixtureRequest, slow_page: Page, slow_gateway: SlowGateway, browser: Any
) -> Iterator[Any]:
    """The page in a window of that width and colour scheme."""
    width, scheme = request.param
    slow_gateway.forget()
    context = browser.new_context(
        viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme
    )
    made = context.new_page()
    made.goto(slow_page.link())
    ready(made)
    yield made
    context.close()


def open_tab(tab: Any, name: str) -> None:
    """Open it with something to be seen in it."""
    tab.get_by_role("tab", name=TABS[name]).click()
    if name == "talk":
        ask(tab, "How much oil does a clock want?")
        answered(tab)
        tab.locator(f"{NOTES} .twin-note summary").first.click()
        tab.locator(f"{NOTES} .twin-about > summary").click()
    elif name == "compare":
        tab.locator("#compare-question textarea").wait_for(timeout=WAIT_MS)
        ask(tab, "How much oil does a clock want?", view="compare")
        free(tab, view="compare")
    else:
        tab.locator(".twin-traces").wait_for(timeout=WAIT_MS)
        tab.locator("#figures [role=meter]").wait_for(timeout=WAIT_MS)


def violations(tab: Any) -> list[str]:
    """What axe-core finds that is serious or critical, with where."""
    found = Axe().run(tab).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {node['target']} {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.drawn(1, of="the layout")
def test_axe_finds_nothing_serious_and_nothing_is_cut(
    shown: Any,
    stored: httpx.Client,  # noqa: F811
    request: pytest.FixtureRequest,
    picture: Callable[..., None],
) -> None:
    width, scheme = request.node.callspec.params["shown"]
    assert violations(shown) == []
    for name in TABS:
        open_tab(shown, name)
        assert violations(shown) == [], name
        assert shown.evaluate(SIDEWAYS) == [], name
        if scheme == "light":
            picture(shown, f"page-{name}-{width}", full_page=(name, width) == ("look", 1400))
    assert shown.evaluate(BROKEN) == []
    column = shown.locator(".twin-traces > li > div").first.bounding_box()
    assert column["width"] >= 0.85 * min(width, 900)
    shown.locator(".twin-traces a[data-trace]").first.click()
    shown.locator(".twin-trace").wait_for(timeout=WAIT_MS)
    assert violations(shown) == []
    assert shown.evaluate(SIDEWAYS) == []


@pytest.mark.drawn(1, of="the layout")
@pytest.mark.parametrize("shown", [(390, "light")], indirect=True, ids=str)
def test_nothing_moves_the_box_and_the_question_stays_in_sight(
    shown: Any, slow_gateway: SlowGateway
) -> None:
    def box() -> tuple[float, float]:
        place = shown.locator("#composer").bounding_box()
        return place["y"], place["height"]

    def question_is_in_sight(question: str) -> None:
        row = shown.locator("#conversation .user-row", has_text=question).bounding_box()
        log = shown.locator("#conversation").bounding_box()
        assert log["y"] - 1 <= row["y"] <= log["y"] + log["height"] - row["height"]

    window = shown.viewport_size
    assert sum(box()) <= window["height"]
    assert shown.evaluate("document.documentElement.scrollHeight") <= window["height"]
    ask(shown, "A first and long question, asked in order to have a whole screen above the next")
    answered(shown)
    stands = (
        box()
    )  # not before: Gradio fits an empty box to its one line some time after it shows it
    ask(shown, "And a long, slow one?")
    shown.locator(ANSWERS).nth(1).wait_for(timeout=WAIT_MS)
    question_is_in_sight("And a long, slow one?")
    assert box() == stands
    shown.locator("#stop").click()
    free(shown)
    ask(shown, "And a long one?")
    free(shown)
    question_is_in_sight("And a long one?")
    # the beginning of the answer, and not its end, stands below the question
    shown.locator("#conversation blockquote").last.wait_for(timeout=WAIT_MS)
    begin = shown.locator("#conversation blockquote").last.bounding_box()
    log = shown.locator("#conversation").bounding_box()
    assert log["y"] <= begin["y"] <= log["y"] + log["height"]
    shown.locator("#improve").click()
    shown.locator("#wording-text textarea").wait_for(timeout=WAIT_MS)
    assert box() == stands
    assert shown.evaluate("document.documentElement.scrollHeight") <= window["height"]
