"""The chat page in a real browser, on a real gateway: ask, see the sources, vote, edit.

Also the door: nobody without a link, a link once, the page's key is no admin's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live.gateway.conftest import gateway_weights, tiny_gguf  # noqa: F401 - fixtures
from tests.live.gateway.stack import Stack, embed_passages, end, free_port, new_stack
from twin_resources.chat.links import LINK_LIVES_S, folder_of, load_pass, make_link, use_link
from twin_resources.gateway.keys import keyring_of, list_keys, open_keys, revoke_key
from twin_resources.langfuse.client import LangfuseClient
from twin_resources.settings import Settings

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
needs_browser = pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine")
QUESTION = "How do you repair a clock?"
EDIT = "I would begin with the escapement."


class Page:
    """The chat page's process, on a stack that runs."""

    def __init__(self, stack: Stack, log: Path) -> None:
        self.settings = stack.settings.model_copy(update={"chat_port": free_port()})
        self.url = f"http://127.0.0.1:{self.settings.chat_port}"
        environment = os.environ | {
            "TWIN_HOME": str(self.settings.home),
            "TWIN_GATEWAY_PORT": str(self.settings.gateway_port),
            "TWIN_CHAT_PORT": str(self.settings.chat_port),
        }
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "twin_resources.chat"],
                env=environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until = time.monotonic() + 120
        while True:
            try:
                if httpx.get(f"{self.url}/ready", trust_env=False).is_success:
                    return
            except httpx.TransportError:
                assert time.monotonic() < until, log.read_text()
                assert self.process.poll() is None, log.read_text()
                time.sleep(0.3)


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
    made = Page(stack, tmp_path_factory.mktemp("log") / "chat.log")
    yield made
    end(made.process)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        made = driver.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        yield made
        made.close()


@needs_browser
def test_a_person_asks_sees_sources_votes_and_edits(
    page: Page, stack: Stack, browser: Any, process_logs: Path
) -> None:
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
    tab.goto(make_link(page.settings, page.url))
    box = tab.locator("#question textarea")
    box.wait_for(timeout=60_000)
    tab.locator("#version label").first.wait_for(timeout=30_000)  # authors are read
    box.fill(QUESTION)
    box.press("Enter")
    tab.get_by_text("Sources", exact=True).wait_for(timeout=90_000)
    tab.screenshot(path=process_logs / "chat.png")
    facts = tab.locator("body").inner_text()
    assert "Version base" in facts
    assert "Cost $0.0" in facts
    trace_id = next(
        word for word in facts.split() if len(word) == 32 and set(word) <= set("0123456789abcdef")
    )

    tab.get_by_label("Like", exact=True).first.click()
    tab.get_by_text("Thank you: stored.").first.wait_for(timeout=30_000)
    tab.get_by_label("Edit", exact=True).last.click()
    tab.locator("#conversation textarea").fill(EDIT)
    tab.get_by_label("Submit", exact=True).click()
    found = _scores(page.settings, trace_id, count=2)
    assert found["thumbs"] == 1
    assert found["output"] == EDIT
    assert stack.trace(trace_id)["metadata"]["twin.author"] == "ann"
    assert elsewhere == []
    tab.close()


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
    (written,) = folder_of(home).glob("link-*")
    assert token not in written.name
    old = time.time() - LINK_LIVES_S - 1
    os.utime(written, (old, old))
    assert not use_link(home, token)


def test_the_key_is_a_readers_and_outlives_a_restart_but_not_its_end(home: Settings) -> None:
    first = load_pass(home)
    assert load_pass(home) == first
    assert keyring_of(home).find(f"Bearer {first.key}").role == "reader"
    state = open_keys(home)
    (label,) = (str(row["label"]) for row in list_keys(state))
    revoke_key(state, label)
    state.close()
    assert load_pass(home).key != first.key
    assert first.key not in repr(first)


def test_the_process_ends_when_it_is_asked_to(page: Page) -> None:
    page.process.send_signal(signal.SIGTERM)
    assert page.process.wait(20) in (0, -signal.SIGTERM)


def _scores(settings: Settings, trace_id: str, *, count: int) -> dict[str, Any]:
    """Name → value of the trace's scores, once there are as many as expected."""
    until = time.monotonic() + 30
    with LangfuseClient.from_settings(settings) as client:
        while True:
            found = {
                score["name"]: score["value"]
                for score in client.scores(trace_id=[trace_id])
                if score["name"] in ("thumbs", "output")
            }
            if len(found) >= count or time.monotonic() > until:
                return found
            time.sleep(0.3)
