"""Test the Traces tab in a real browser, with the embedded trace store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.live.chat.conftest import WAIT_MS, PageProcess, needs_browser
from tests.unit.trace_store.conftest import encode_attributes
from tests.unit.trace_store.test_trace_reading import make_span
from twin_resources.access.account import open_account
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state

pytestmark = needs_browser
TRACE_COUNT = 30
MALICIOUS_HTML = '<img src=x onerror="window.hurt=1"> **stiff**'
QUESTIONS_AND_ANSWERS = (
    ("How much oil does a clock want?", "One drop on each pivot, and no more than one drop."),
    ("How do I clean old brass?", "With lemon and patience; polish takes the engraving away."),
    ("When should I wind it?", "At the same hour every week, and it will keep better time."),
    ("Why is my pendulum slow?", "Because it is long: a metre takes about a second a side."),
)
HOUR_NS = 3_600_000_000_000


def post_span(store: httpx.Client, number: int, **options: Any) -> None:
    body = dict(make_span(number, **options))
    question, answer = QUESTIONS_AND_ANSWERS[number % len(QUESTIONS_AND_ANSWERS)]
    body["attributes"] |= {
        "langfuse.observation.input": json.dumps(
            [
                {
                    "role": "user",
                    "content": f"From my posts:\n\n[1] On oil\n{answer}\n\nQuestion: {question}",
                }
            ]
        ),
        "langfuse.observation.output": json.dumps({"role": "assistant", "content": answer}),
    }
    started = time.time_ns() - (TRACE_COUNT + 2 - number) * HOUR_NS
    body |= {
        "startTimeUnixNano": str(started),
        "endTimeUnixNano": str(started + 2_000_000_000),
        "attributes": encode_attributes(body["attributes"]),
    }
    export = {
        "resourceSpans": [
            {
                "resource": {"attributes": []},
                "scopeSpans": [{"scope": {"name": "litellm"}, "spans": [body]}],
            }
        ]
    }
    assert store.post("/api/public/otel/v1/traces", json=export).status_code == 200


def post_score(store: httpx.Client, number: int, name: str, value: Any, **fields: Any) -> None:
    body = {"traceId": f"{number:032x}", "name": name, "value": value, "dataType": "NUMERIC"}
    assert store.post("/api/public/scores", json=body | fields).status_code == 200


@pytest.fixture(scope="module")
def stored_traces(trace_store: httpx.Client) -> httpx.Client:
    """Store thirty answers of two versions, each with a support score.

    The newest answer has a negative vote and an edit.
    """
    for number in range(1, TRACE_COUNT + 1):
        is_tuned = number % 3 > 0
        route = "stable" if is_tuned else "alias:base"
        post_span(trace_store, number, version="v1" if is_tuned else "base", route=route)
        post_score(trace_store, number, "support", (number % 10) / 10)
    post_score(trace_store, TRACE_COUNT, "thumbs", 0, comment=MALICIOUS_HTML)
    post_score(trace_store, TRACE_COUNT, "output", MALICIOUS_HTML, dataType="CORRECTION")
    return trace_store


@pytest.fixture
def traces_tab(tab: Any, stored_traces: httpx.Client) -> Any:
    tab.get_by_role("tab", name="Traces").click()
    tab.locator(".twin-traces").wait_for(timeout=WAIT_MS)
    return tab


def list_shown_traces(tab: Any) -> list[int]:
    """Return the numbers of the traces in the list, in order."""
    traces = tab.evaluate(
        "[...document.querySelectorAll('.twin-traces a[data-trace]')].map((a) => a.dataset.trace)"
    )
    return [int(trace, 16) for trace in traces]


def wait_for_list(tab: Any, expected: list[int]) -> None:
    deadline = time.monotonic() + WAIT_MS / 1000
    while (actual := list_shown_traces(tab)) != expected:
        assert time.monotonic() < deadline, actual
        time.sleep(0.1)


def set_score_filter(tab: Any, value: str) -> None:
    field = tab.locator("#filter-score input")
    field.fill(value)
    field.press("Enter")


def test_the_list_is_newest_first_paged_and_filtered(traces_tab: Any) -> None:
    all_numbers = list(range(TRACE_COUNT, 0, -1))
    wait_for_list(traces_tab, all_numbers[:12])
    traces_tab.locator("#older").click()
    wait_for_list(traces_tab, all_numbers[12:24])
    traces_tab.locator("#older").click()
    wait_for_list(traces_tab, all_numbers[24:])
    traces_tab.locator("#newer").click()
    wait_for_list(traces_tab, all_numbers[12:24])
    set_score_filter(traces_tab, "thumbs<0.5")
    wait_for_list(traces_tab, [TRACE_COUNT])
    set_score_filter(traces_tab, "support<0.2")
    wait_for_list(traces_tab, [30, 21, 20, 11, 10, 1])
    set_score_filter(traces_tab, "support<")
    traces_tab.locator("#look-notice .twin-bad").wait_for(timeout=WAIT_MS)
    assert "support<0.3" in traces_tab.locator("#look-notice").inner_text()
    set_score_filter(traces_tab, "")
    wait_for_list(traces_tab, all_numbers[:12])


def test_a_click_shows_a_trace_in_full_and_back_returns_to_the_list(
    traces_tab: Any, take_screenshot: Callable[..., None]
) -> None:
    """The trace shows the prompt, the route and commented scores as text (see fixture `tab`)."""
    traces_tab.locator(".twin-traces a[data-trace]").first.click()
    tree = traces_tab.locator(".twin-trace")
    tree.wait_for(timeout=WAIT_MS)
    assert traces_tab.url.endswith(f"/?trace={TRACE_COUNT:032x}")
    text = tree.inner_text()
    for part in (
        MALICIOUS_HTML,
        "alias:base",
        "$0.000034",
        "support",
        "When should I wind it?",
        "same hour",
    ):
        assert part in text, part
    tree.locator("summary", has_text="user").click()
    assert "From my posts" in tree.locator("pre").first.inner_text()
    traces_tab.go_back()
    traces_tab.locator(".twin-traces").wait_for(timeout=WAIT_MS)
    assert not traces_tab.locator(".twin-trace").is_visible()
    traces_tab.locator(".twin-traces a[data-trace]").nth(1).click()
    tree.locator("summary", has_text="user").click()
    take_screenshot(traces_tab, "page-trace", full_page=True)


def test_urls_open_the_list_and_a_trace(
    slow_page: PageProcess, stored_traces: httpx.Client, browser: Any
) -> None:
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(slow_page.link(view="traces"))
    tab.locator(".twin-traces").wait_for(timeout=WAIT_MS)
    tab.goto(f"{slow_page.url}/?trace={TRACE_COUNT:032x}")
    tab.locator(".twin-trace").wait_for(timeout=WAIT_MS)
    tab.goto(f"{slow_page.url}/?trace={'f' * 32}")
    tab.locator("#look-notice .twin-bad").wait_for(timeout=WAIT_MS)
    assert "no observations" in tab.locator("#look-notice").inner_text()
    context.close()


@pytest.fixture
def half_a_dollar_spent(slow_home: Settings) -> None:
    """Book $0.50 just before the test, because "today" ends at midnight."""
    state = open_home_state(slow_home)
    account = open_account(slow_home, state)
    account.settle(account.reserve(purpose="answer", author="ann", key="", max_usd=0.5), 0.5)
    state.close()


def test_the_tab_shows_todays_spending(half_a_dollar_spent: None, traces_tab: Any) -> None:
    figures = traces_tab.locator("#figures")
    figures.locator("[role=meter]").wait_for(timeout=WAIT_MS)
    assert "Paid model, today: $0.5000 of $2.00" in figures.inner_text()
    assert figures.locator("[role=meter]").get_attribute("aria-valuenow") == "0.5000"


def test_an_answer_has_an_address_for_whoever_may_open_the_page(
    tab: Any, stored_traces: httpx.Client, slow_page: PageProcess
) -> None:
    address = f"{slow_page.url}/a/{TRACE_COUNT:032x}"
    tab.goto(address)
    question, answer = QUESTIONS_AND_ANSWERS[TRACE_COUNT % len(QUESTIONS_AND_ANSWERS)]
    assert tab.locator("h1").inner_text() == question
    assert answer in tab.locator("main").inner_text()
    stranger = httpx.get(address, trust_env=False)
    assert stranger.status_code == 403
    assert answer not in stranger.text
    response = tab.request.get(f"{slow_page.url}/a/{'f' * 32}")
    assert response.status == 404
    assert "No answer can be shown here" in response.text()
