"""Test the chat page in a real browser with a real gateway: questions, votes, edits, access."""

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

from tests.live.chat.conftest import (
    NOTES,
    WAIT_MS,
    PageProcess,
    ask,
    needs_browser,
    wait_for_answers,
    wait_until_free,
    wait_until_ready,
)
from tests.live.gateway.conftest import gateway_weights, tiny_gguf  # noqa: F401 - fixtures
from tests.live.gateway.stack import (
    PASSAGES,
    Stack,
    embed_passages,
    new_stack,
    read_server_metrics,
    stop_process,
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
    with new_stack(tmp_path_factory.mktemp("chat"), gateway_weights, tiny_gguf) as stack:
        embed_passages(stack.settings, "ann")
        stack.start("base")
        yield stack


@pytest.fixture(scope="module")
def page(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageProcess]:
    page = PageProcess(stack.settings, tmp_path_factory.mktemp("log") / "chat.log")
    yield page
    stop_process(page.process)


@needs_browser
def test_a_reader_asks_sees_sources_votes_and_edits(
    page: PageProcess, stack: Stack, browser: Any
) -> None:
    tab = browser.new_page(viewport={"width": 1280, "height": 860})
    outside_requests: list[str] = []
    tab.on(
        "request",
        lambda request: (
            outside_requests.append(request.url)
            if not request.url.startswith((page.url, "data:", "blob:"))
            else None
        ),
    )
    tab.goto(page.link())
    wait_until_ready(tab)
    ask(tab, QUESTION)
    wait_for_answers(tab)
    assert tab.locator("h1").inner_text() == "Ann Bell"
    assert 1 <= tab.locator(f"{NOTES} .twin-note").count() <= len(PASSAGES)
    tab.locator(f"{NOTES} .twin-about > summary").click()
    facts = tab.locator(f"{NOTES} .twin-about").inner_text()
    assert "quotations alone" in facts, "no model wrote the answer"
    assert "nothing" in facts.partition("Cost")[2]
    trace_id = next(
        word for word in facts.split() if len(word) == 32 and set(word) <= set("0123456789abcdef")
    )

    tab.get_by_label("Like", exact=True).first.click()
    comment = tab.locator("#why textarea, #why input").first
    comment.fill("It names the pivot.")
    comment.press("Enter")
    tab.locator("#why").wait_for(state="hidden", timeout=WAIT_MS)
    tab.locator("#improve").click()
    tab.locator("#wording-text textarea").fill(EDIT)
    tab.get_by_role("button", name="Send my wording").click()
    tab.locator("#wording").wait_for(state="hidden", timeout=WAIT_MS)
    scores = _wait_for_scores(page.settings, trace_id, comment="It names the pivot.")
    assert scores["thumbs"] == 1
    assert scores["output"] == EDIT
    assert stack.trace(trace_id)["metadata"]["twin.author"] == "ann"

    tab.locator(f"{NOTES} a[data-trace]").click()
    tree = tab.locator(".twin-trace")
    tree.wait_for(timeout=WAIT_MS)
    text = tree.inner_text()
    assert QUESTION in text
    assert "It names the pivot." in text
    assert outside_requests == []
    tab.close()


@needs_browser
def test_stop_cancels_the_answer_in_the_model_server(
    page: PageProcess, stack: Stack, slow_base: ServerProcess, browser: Any
) -> None:
    """Stopping reaches llama.cpp through page and gateway, long before the answer's 600 tokens."""
    tab = browser.new_page()
    tab.goto(page.link())
    wait_until_ready(tab)
    tab.locator("#version input").click()
    tab.get_by_role("option", name="base model").click()
    decoded_before = read_server_metrics(slow_base)["decoded"]
    ask(tab, "Write a very long story about a clock, with every detail.")
    stack.wait(lambda: read_server_metrics(slow_base)["processing"])
    tab.wait_for_function(
        "(document.querySelector('#conversation .bot.message')?.innerText || '').length > 20",
        timeout=WAIT_MS,
    )
    assert read_server_metrics(slow_base)["processing"]  # the answer has not yet ended
    # force: Playwright would wait for a stable layout, which streaming text may prevent.
    tab.locator("#stop").click(force=True)
    stack.wait(lambda: not read_server_metrics(slow_base)["processing"])
    assert read_server_metrics(slow_base)["decoded"] - decoded_before < 500
    wait_until_free(tab)
    assert "Stopped" in tab.locator("#notice").inner_text()
    tab.close()


@pytest.fixture
def slow_base(stack: Stack) -> Iterator[ServerProcess]:
    """Replace the tiny model, which writes too fast to be stopped, with the real base model."""
    process = ServerProcess(stack.settings, base_gguf(), alias="base")
    author = Author("ann", "Ann Bell", max_tokens=600, temperature=0.0)
    write_author(stack.settings, author)
    try:
        stack.serve_base_with(process)
        yield process
    finally:
        stack.serve_base_with(stack.models["base"])
        process.stop()
        write_author(stack.settings, replace(author, max_tokens=24))


@needs_browser
def test_a_link_opens_the_page_once(page: PageProcess, browser: Any) -> None:
    link = make_link(page.settings, page.url)
    first, second = browser.new_context(), browser.new_context()
    assert first.new_page().goto(link).status == 200
    assert second.new_page().goto(link).status == 403
    response = first.new_page().goto(page.url)
    assert response.status == 200
    first.close()
    second.close()


def test_the_page_refuses_requests_without_a_link(page: PageProcess) -> None:
    with httpx.Client(base_url=page.url, trust_env=False) as client:
        for path in ("/", "/config", "/gradio_api/info", "/gradio_api/queue/data", "/open?link=x"):
            assert client.get(path).status_code == 403, path
        assert client.post("/gradio_api/queue/join", json={}).status_code == 403
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_a_link_redirects_to_its_view(page: PageProcess) -> None:
    with httpx.Client(trust_env=False) as client:
        for view, location in (("", "/"), ("traces", "/?view=traces")):
            response = client.get(make_link(page.settings, page.url, view=view))
            assert (response.status_code, response.headers["location"]) == (303, location)
        assert client.get(f"{page.url}/?view=traces").status_code == 200


def test_a_link_expires(home: Settings) -> None:
    link = make_link(home, "http://127.0.0.1:1")
    token = link.rpartition("=")[2]
    (link_file,) = link_folder(home).glob("link-*")
    assert token not in link_file.name
    old = time.time() - LINK_LIFETIME_S - 1
    os.utime(link_file, (old, old))
    assert not use_link(home, token)


def test_the_page_key_has_the_role_reader_and_is_replaced_after_revocation(home: Settings) -> None:
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
def test_sigterm_ends_the_process_while_the_page_is_open(page: PageProcess, browser: Any) -> None:
    """An open page keeps a connection to the process."""
    tab = browser.new_page()
    tab.goto(page.link())
    wait_until_ready(tab)
    page.process.send_signal(signal.SIGTERM)
    assert page.process.wait(120) in (0, -signal.SIGTERM)


def _wait_for_scores(settings: Settings, trace_id: str, *, comment: str) -> dict[str, Any]:
    """Wait for a reader's vote with this comment and for the edit; return the values by name."""
    deadline = time.monotonic() + WAIT_MS / 1000
    with LangfuseClient.from_settings(settings) as client:
        while True:
            scores = list(client.scores(trace_id=[trace_id]))
            values = {
                score["name"]: score["value"]
                for score in scores
                if score["name"] in ("thumbs", "output")
            }
            comments = [score["comment"] for score in scores if score["name"] == "thumbs"]
            if (len(values) == 2 and comments == [comment]) or time.monotonic() > deadline:
                assert comments == [comment]
                return values
            time.sleep(0.3)
