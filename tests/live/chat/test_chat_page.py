"""The chat page in a real browser, on a real gateway: ask, see the sources, vote, edit.

Also the door: nobody without a link, a link once, the page's key is no admin's.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live.chat.conftest import NOTES, WAIT_MS, Page, answered, ask, free, needs_browser, ready
from tests.live.gateway.conftest import gateway_weights, tiny_gguf  # noqa: F401 - fixtures
from tests.live.gateway.stack import (
    PASSAGES,
    Stack,
    embed_passages,
    end,
    new_stack,
    read_server_metrics,
)
from tests.prepared_base import base_gguf
from twin_resources.access.keys import list_keys, open_key_store, open_keyring, revoke_key
from twin_resources.authors import Author, write_author
from twin_resources.models.serving.model_server import ServerProcess
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.page.links import (
    LINK_LIFETIME_S,
    link_folder,
    load_page_access,
    make_link,
    use_link,
)
from twin_resources.settings import Settings

QUESTION = "How do you repair a clock?"
EDIT = "I would begin with the escapement."


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    gateway_weights: Path,  # noqa: F811
    tiny_gguf: Path,  # noqa: F811
) -> Iterator[Stack]:
    with new_stack(tmp_path_factory.mktemp("chat"), gateway_weights, tiny_gguf) as made:
        embed_passages(made.settings, "ann")
        made.start_traces()
        made.start_relay()
        made.start_model("base")
        made.start_gateway()
        yield made


@pytest.fixture(scope="module")
def page(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    made = Page(stack.settings, tmp_path_factory.mktemp("log") / "chat.log")
    yield made
    end(made.process)


@needs_browser
def test_a_person_asks_sees_sources_votes_and_edits(page: Page, stack: Stack, browser: Any) -> None:
    tab = browser.new_page(viewport={"width": 1280, "height": 860})
    elsewhere: list[str] = []
    tab.on(
        "request",
        lambda request: (
            elsewhere.append(request.url)
            if not request.url.startswith((page.url, "data:", "blob:"))
            else None
        ),
    )
    tab.goto(page.link())
    ready(tab)
    ask(tab, QUESTION)
    answered(tab)
    assert tab.locator("h1").inner_text() == "Ann Bell"
    assert 1 <= tab.locator(f"{NOTES} .twin-note").count() <= len(PASSAGES)
    tab.locator(f"{NOTES} .twin-about > summary").click()
    facts = tab.locator(f"{NOTES} .twin-about").inner_text()
    assert "quotations alone" in facts, "no model has written it, and none is paid"
    assert "nothing" in facts.partition("Cost")[2]
    trace_id = next(
        word for word in facts.split() if len(word) == 32 and set(word) <= set("0123456789abcdef")
    )

    tab.get_by_label("Like", exact=True).first.click()
    why = tab.locator("#why textarea, #why input").first
    why.fill("It names the pivot.")
    why.press("Enter")
    tab.locator("#why").wait_for(state="hidden", timeout=WAIT_MS)
    tab.locator("#improve").click()
    tab.locator("#wording-text textarea").fill(EDIT)
    tab.get_by_role("button", name="Send my wording").click()
    tab.locator("#wording").wait_for(state="hidden", timeout=WAIT_MS)
    found = _scores(page.settings, trace_id, comment="It names the pivot.")
    assert found["thumbs"] == 1
    assert found["output"] == EDIT
    assert stack.trace(trace_id)["metadata"]["twin.author"] == "ann"

    tab.locator(f"{NOTES} a[data-trace]").click()
    tree = tab.locator(".twin-trace")
    tree.wait_for(timeout=WAIT_MS)
    said = tree.inner_text()
    assert QUESTION in said
    assert "It names the pivot." in said
    assert elsewhere == []
    tab.close()


@needs_browser
def test_stop_ends_the_answer_in_the_model_server(
    page: Page, stack: Stack, slow_base: ServerProcess, browser: Any
) -> None:
    """Through page and gateway: llama.cpp soon works on nothing; the whole story is 600 tokens."""
    tab = browser.new_page()
    tab.goto(page.link())
    ready(tab)
    tab.locator("#version input").click()
    tab.get_by_role("option", name="base model").click()
    before = read_server_metrics(slow_base)["decoded"]
    ask(tab, "Write a very long story about a clock, with every detail.")
    stack.wait(lambda: read_server_metrics(slow_base)["processing"])
    tab.wait_for_function(
        "(document.querySelector('#conversation .bot.message')?.innerText || '').length > 20",
        timeout=WAIT_MS,
    )
    assert read_server_metrics(slow_base)["processing"]  # it has not come to its end by itself
    # Not waiting until the page stands still: while text streams it may not, and the answer ends.
    tab.locator("#stop").click(force=True)
    stack.wait(lambda: not read_server_metrics(slow_base)["processing"])
    assert read_server_metrics(slow_base)["decoded"] - before < 500
    free(tab)
    assert "Stopped" in tab.locator("#notice").inner_text()
    tab.close()


@pytest.fixture
def slow_base(stack: Stack) -> Iterator[ServerProcess]:
    """The real base model in the place of the made-up one, which writes too fast to be stopped."""
    process = ServerProcess(stack.settings, base_gguf(), alias="base")
    written = Author("ann", "Ann Bell", max_tokens=600, temperature=0.0)
    write_author(stack.settings, written)
    try:
        stack.answer_base_by(process)
        yield process
    finally:
        stack.answer_base_by(stack.models["base"])
        process.stop()
        write_author(stack.settings, replace(written, max_tokens=24))


@needs_browser
def test_a_link_opens_the_page_once(page: Page, browser: Any) -> None:
    link = make_link(page.settings, page.url)
    first, second = browser.new_context(), browser.new_context()
    assert first.new_page().goto(link).status == 200
    assert second.new_page().goto(link).status == 403
    again = first.new_page().goto(page.url)
    assert again.status == 200
    first.close()
    second.close()


def test_nobody_comes_in_without_a_link(page: Page) -> None:
    with httpx.Client(base_url=page.url, trust_env=False) as client:
        for path in ("/", "/config", "/gradio_api/info", "/gradio_api/queue/data", "/open?link=x"):
            assert client.get(path).status_code == 403, path
        assert client.post("/gradio_api/queue/join", json={}).status_code == 403
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_a_link_leads_to_the_view_that_it_names(page: Page) -> None:
    with httpx.Client(trust_env=False) as client:
        for view, shown in (("", "/"), ("traces", "/?view=traces")):
            opened = client.get(make_link(page.settings, page.url, view=view))
            assert (opened.status_code, opened.headers["location"]) == (303, shown)
        assert client.get(f"{page.url}/?view=traces").status_code == 200


def test_a_link_dies_of_age(home: Settings) -> None:
    link = make_link(home, "http://127.0.0.1:1")
    token = link.rpartition("=")[2]
    (written,) = link_folder(home).glob("link-*")
    assert token not in written.name
    old = time.time() - LINK_LIFETIME_S - 1
    os.utime(written, (old, old))
    assert not use_link(home, token)


def test_the_key_is_a_readers_and_outlives_a_restart_but_not_its_end(home: Settings) -> None:
    first = load_page_access(home)
    assert load_page_access(home) == first
    assert open_keyring(home).find(f"Bearer {first.key}").role == "reader"
    state = open_key_store(home)
    (label,) = (str(row["label"]) for row in list_keys(state))
    revoke_key(state, label)
    state.close()
    assert load_page_access(home).key != first.key
    assert first.key not in repr(first)


@needs_browser
def test_the_process_ends_when_it_is_asked_to(page: Page, browser: Any) -> None:
    """Also while somebody has the page open, which keeps a connection for as long as it is."""
    tab = browser.new_page()
    tab.goto(page.link())
    ready(tab)
    page.process.send_signal(signal.SIGTERM)
    assert page.process.wait(120) in (0, -signal.SIGTERM)


def _scores(settings: Settings, trace_id: str, *, comment: str) -> dict[str, Any]:
    """Name → value of what a reader said of a trace, once it has come with its comment."""
    until = time.monotonic() + WAIT_MS / 1000
    with LangfuseClient.from_settings(settings) as client:
        while True:
            scores = list(client.scores(trace_id=[trace_id]))
            found = {
                score["name"]: score["value"]
                for score in scores
                if score["name"] in ("thumbs", "output")
            }
            said = [score["comment"] for score in scores if score["name"] == "thumbs"]
            if (len(found) == 2 and said == [comment]) or time.monotonic() > until:
                assert said == [comment]
                return found
            time.sleep(0.3)
