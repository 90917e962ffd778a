"""The tab Look in a real browser: on the embedded store, and on answers that a Langfuse gave."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import httpx
import pytest

from tests.http_server import Request, Response, http_server
from tests.live.chat.conftest import WAIT_MS, Page, end, needs_browser
from tests.unit.trace_store.conftest import attributes
from tests.unit.trace_store.test_trace_reading import span
from twin_resources.access.account import open_account
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State

pytestmark = needs_browser
TRACES = 30
SPITEFUL = '<img src=x onerror="window.hurt=1"> **stiff**'
TALK = (
    ("How much oil does a clock want?", "One drop on each pivot, and no more than one drop."),
    ("How do I clean old brass?", "With lemon and patience; polish takes the engraving away."),
    ("When should I wind it?", "At the same hour every week, and it will keep better time."),
    ("Why is my pendulum slow?", "Because it is long: a metre takes about a second a side."),
)
HOUR_NS = 3_600_000_000_000


def post_span(store: httpx.Client, number: int, **how: Any) -> None:
    given = dict(span(number, **how))
    asked, said = TALK[number % len(TALK)]
    given["attributes"] |= {
        "langfuse.observation.input": json.dumps(
            [
                {
                    "role": "user",
                    "content": f"From my posts:\n\n[1] On oil\n{said}\n\nQuestion: {asked}",
                }
            ]
        ),
        "langfuse.observation.output": json.dumps({"role": "assistant", "content": said}),
    }
    started = time.time_ns() - (TRACES + 2 - number) * HOUR_NS
    given |= {
        "startTimeUnixNano": str(started),
        "endTimeUnixNano": str(started + 2_000_000_000),
        "attributes": attributes(given["attributes"]),
    }
    body = {
        "resourceSpans": [
            {
                "resource": {"attributes": []},
                "scopeSpans": [{"scope": {"name": "litellm"}, "spans": [given]}],
            }
        ]
    }
    assert store.post("/api/public/otel/v1/traces", json=body).status_code == 200


def post_score(store: httpx.Client, number: int, name: str, value: Any, **more: Any) -> None:
    body = {"traceId": f"{number:032x}", "name": name, "value": value, "dataType": "NUMERIC"}
    assert store.post("/api/public/scores", json=body | more).status_code == 200


@pytest.fixture(scope="module")
def stored(trace_store: httpx.Client) -> httpx.Client:
    """Thirty answers of two versions, each with a support; the newest is voted down and edited."""
    for number in range(1, TRACES + 1):
        tuned = number % 3 > 0
        route = "stable" if tuned else "alias:base"
        post_span(trace_store, number, version="v1" if tuned else "base", route=route)
        post_score(trace_store, number, "support", (number % 10) / 10)
    post_score(trace_store, TRACES, "thumbs", 0, comment=SPITEFUL)
    post_score(trace_store, TRACES, "output", SPITEFUL, dataType="CORRECTION")
    return trace_store


@pytest.fixture
def look(tab: Any, stored: httpx.Client) -> Any:
    tab.get_by_role("tab", name="Look").click()
    tab.locator(".twin-traces").wait_for(timeout=WAIT_MS)
    return tab


def listed(tab: Any) -> list[int]:
    """The numbers of the traces in the list, in its order."""
    found = tab.evaluate(
        "[...document.querySelectorAll('.twin-traces a[data-trace]')].map((a) => a.dataset.trace)"
    )
    return [int(trace, 16) for trace in found]


def wait_for_list(tab: Any, expected: list[int]) -> None:
    until = time.monotonic() + WAIT_MS / 1000
    while (found := listed(tab)) != expected:
        assert time.monotonic() < until, found
        time.sleep(0.1)


def choose(tab: Any, name: str, value: str) -> None:
    field = tab.locator(f"#filter-{name} input")
    field.fill(value)
    field.press("Enter")


def test_the_list_is_newest_first_paged_and_filtered(look: Any) -> None:
    every = list(range(TRACES, 0, -1))
    wait_for_list(look, every[:12])
    look.locator("#older").click()
    wait_for_list(look, every[12:24])
    look.locator("#older").click()
    wait_for_list(look, every[24:])
    look.locator("#newer").click()
    wait_for_list(look, every[12:24])
    choose(look, "version", "base")
    wait_for_list(look, [number for number in every if number % 3 == 0])
    choose(look, "score", "thumbs<0.5")
    wait_for_list(look, [TRACES])
    choose(look, "score", "support<0.2")
    wait_for_list(look, [30, 21])
    choose(look, "score", "support<")
    look.locator("#look-notice .twin-bad").wait_for(timeout=WAIT_MS)
    assert "support<0.3" in look.locator("#look-notice").inner_text()
    choose(look, "score", "")
    choose(look, "version", "")
    choose(look, "route", "stable")
    wait_for_list(look, [number for number in every if number % 3][:12])


def test_a_click_shows_one_trace_in_full_and_back_leads_back(
    look: Any, picture: Callable[..., None]
) -> None:
    """The prompt, what decided, scores with why; nothing of it is markup (see `tab`)."""
    look.locator(".twin-traces a[data-trace]").first.click()
    tree = look.locator(".twin-trace")
    tree.wait_for(timeout=WAIT_MS)
    assert look.url.endswith(f"/?trace={TRACES:032x}")
    said = tree.inner_text()
    for part in (
        SPITEFUL,
        "alias:base",
        "$0.000034",
        "support",
        "When should I wind it?",
        "same hour",
    ):
        assert part in said, part
    tree.locator("summary", has_text="user").click()
    assert "From my posts" in tree.locator("pre").first.inner_text()
    look.go_back()
    look.locator(".twin-traces").wait_for(timeout=WAIT_MS)
    assert not look.locator(".twin-trace").is_visible()
    look.locator(".twin-traces a[data-trace]").nth(1).click()
    tree.locator("summary", has_text="user").click()
    picture(look, "page-trace", full_page=True)


def test_addresses_open_the_list_and_a_trace(
    slow_page: Page, stored: httpx.Client, browser: Any
) -> None:
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(slow_page.link(view="traces"))
    tab.locator(".twin-traces").wait_for(timeout=WAIT_MS)
    tab.goto(f"{slow_page.url}/?trace={TRACES:032x}")
    tab.locator(".twin-trace").wait_for(timeout=WAIT_MS)
    tab.goto(f"{slow_page.url}/?trace={'f' * 32}")
    tab.locator("#look-notice .twin-bad").wait_for(timeout=WAIT_MS)
    assert "no observations" in tab.locator("#look-notice").inner_text()
    context.close()


@pytest.fixture
def half_a_dollar_spent(slow_home: Settings) -> None:
    """Book $0.50 right before the page is read, because "today" ends at midnight."""
    state = State.open(slow_home.state_address)
    account = open_account(slow_home, state)
    account.settle(account.reserve(purpose="answer", author="ann", key="", max_usd=0.5), 0.5)
    state.close()


def test_spending_and_the_gates_plots(half_a_dollar_spent: None, look: Any) -> None:
    figures = look.locator("#figures")
    figures.locator("[role=meter]").wait_for(timeout=WAIT_MS)
    said = figures.inner_text()
    assert "Paid model, today: $0.5000 of $2.00" in said
    assert "Langfuse 4.16.0" in said
    assert figures.locator("[role=meter]").get_attribute("aria-valuenow") == "0.5000"
    drawn = [image.get_attribute("alt") for image in figures.locator("img").all()]
    assert drawn == ["voice", "gains of the gate"]
    look.locator("#figures img").first.wait_for(timeout=WAIT_MS)


def recorded_in(folder: Path) -> Callable[[Request], Response]:
    """The answers that Langfuse 4.16.0 gave, filtered by trace and type as it does."""

    def answered(request: Request) -> Response:
        address = urlparse(request.path)
        asked = {name: values[-1] for name, values in parse_qs(address.query).items()}
        path = address.path.removeprefix("/api/public/")
        if path == "v3/scores":
            return Response({"data": [], "meta": {"limit": 100}})
        name = {
            "v2/observations": "get-v2-observations",
            "projects": "get-projects",
            "health": "get-health",
        }[path]
        body = json.loads((folder / f"{name}.json").read_text())["response"]
        if path == "v2/observations":
            body["data"] = [
                one
                for one in body["data"]
                if asked.get("traceId") in (None, one["traceId"])
                and asked.get("type") in (None, one["type"])
                and "twin.author" not in asked.get("filter", "")
            ]
        return Response(body)

    return answered


@pytest.fixture(scope="module")
def on_langfuse(
    slow_home: Settings, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """The page of a home whose traces are in a real Langfuse: its recorded answers over HTTP."""
    with http_server(recorded_in(shared_data / "langfuse-golden")) as url:
        real = {
            "LANGFUSE_HOST": url,
            "LANGFUSE_PUBLIC_KEY": "pk-lf-twin",
            "LANGFUSE_SECRET_KEY": "sk-lf-twin",
        }
        made = Page(slow_home, tmp_path_factory.mktemp("langfuse") / "chat.log", environ=real)
        yield made
        end(made.process)


def test_a_real_langfuse_is_read_and_linked(
    on_langfuse: Page, shared_data: Path, browser: Any
) -> None:
    """Its recorded traces are of no author of this home, so they are opened by their address."""
    recorded = json.loads(
        (shared_data / "langfuse-golden" / "get-v2-observations.json").read_text()
    )
    trace = next(
        one["traceId"] for one in recorded["response"]["data"] if one["model"] == "twin-7b"
    )
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(on_langfuse.link(view="traces"))
    tab.locator("#figures .twin-small").first.wait_for(timeout=WAIT_MS)
    assert "Langfuse 4.16.0 at http://127.0.0.1" in tab.locator("#figures").inner_text()
    tab.goto(f"{on_langfuse.url}/?trace={trace}")
    tree = tab.locator(".twin-trace")
    tree.wait_for(timeout=WAIT_MS)
    assert "twin-7b" in tree.inner_text()
    assert "not written by this gateway" in tree.inner_text()
    link = tree.get_by_role("link", name="Open it in Langfuse").get_attribute("href")
    assert re.fullmatch(rf"http://127\.0\.0\.1:\d+/project/twin/traces/{trace}", link)
    context.close()
