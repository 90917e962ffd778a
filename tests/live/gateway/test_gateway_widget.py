"""Test the widget on a static site of the sample author's posts, in headless Chromium."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from twin_cli.commands.questions import EndpointAnswer, ask, make_client

from tests.browser import launch_browser
from tests.live.chat.conftest import WAIT_MS, needs_browser
from tests.live.chat.test_page_layout import find_violations
from tests.live.gateway.stack import Stack, new_stack
from tests.live.gateway.test_gateway_agents import write_gateway
from tests.stored_passages import SAMPLE_POSTS, build_passages, split_posts, store_passages
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.models.retrieval.title_matching import normalize_words
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

pytestmark = [pytest.mark.live, needs_browser]
QUESTION = "How do I carry a clock?"
QUESTIONS = [
    f"What do you know about {title[0].lower()}{title[1:]}?" for title, _ in SAMPLE_POSTS.values()
]
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title} – Mara's bench</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src {gateway};
connect-src {gateway}"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="canonical" href="{address}">{line}<main><h1>{title}</h1><p>A post.</p></main></html>"""


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, gateway_weights: Path, tiny_gguf: Path
) -> Iterator[Stack]:
    """Serve the posts as Ann's and as Bob's, whose prose is released, and name a paid model."""
    paid = {"TWIN_PAID_MODEL": "openai/gpt-4o-mini", "TWIN_PAID_BUDGET_PER_DAY": "1.0"}
    paid |= {"OPENAI_API_KEY": "sk-of-a-provider-that-is-not-called"}
    folder = tmp_path_factory.mktemp("widget")
    with new_stack(folder, gateway_weights, tiny_gguf, environ=paid) as stack:
        tables = Tables(stack.settings.tables_base, state=open_home_state(stack.settings))
        rows = split_posts(SAMPLE_POSTS)
        passages = build_passages(rows, load_embedder(stack.settings))
        for author in ("ann", "bob"):
            store_passages(tables, author, passages)
        write_gateway(stack, f"{stack.url}/v1", stack.key)
        stack.release("bob", 1)
        stack.start_model("bob/v1")
        stack.start_gateway()
        yield stack


def run_twin(stack: Stack, *arguments: str) -> Any:
    program = Path(sys.executable).with_name("twin")
    command = [program, *arguments, "--home", str(stack.settings.home), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.fixture(scope="module")
def site(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a page for each post, one for Bob's twin, and one that asks the paid model."""
    folder = tmp_path_factory.mktemp("site")
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        origin = f"http://127.0.0.1:{server.server_port}"
        limits = ("--origin", origin, "--usd-per-day", "0.000000001")
        ann, bob = (run_twin(stack, "widget", name, *limits)["html"] for name in ("ann", "bob"))
        pages = {name: (title, ann) for name, (title, _) in SAMPLE_POSTS.items()}
        pages |= {"index": ("Posts", ann), "bob": ("Bob", bob)}
        pages |= {"paid": ("Paid", ann.replace('"ann"', '"ann@paid"'))}
        for name, (title, line) in pages.items():
            address = f"https://mara.example/{name}/"
            text = PAGE.format(title=title, line=line, gateway=stack.url, address=address)
            (folder / f"{name}.html").write_text(text, encoding="utf-8")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield origin
        server.shutdown()


@pytest.fixture
def open_page(process_logs: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a page in a window of its own; no page may have an error."""
    folder = Path(os.environ.get("TWIN_SCREENSHOTS") or process_logs)
    pages: list[Any] = []
    errors: list[str] = []
    with launch_browser() as browser:

        def open_address(address: str, *, width: int = 1280, scheme: str = "light") -> Any:
            window = {"width": width, "height": 720}
            page = browser.new_context(viewport=window, color_scheme=scheme).new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(address)
            pages.append(page)
            return page

        yield open_address
        for number, page in enumerate(pages):
            page.screenshot(path=folder / f"{request.node.name}-{number}.png")
            assert page.context.cookies() == []
            assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert errors == []


def ask_page(page: Any, question: str = QUESTION) -> Any:
    """Open the panel, ask, and wait until the answer is whole or refused; return the panel."""
    panel = page.get_by_role("dialog")
    if not panel.is_visible():
        page.get_by_role("button", name="Ask").click()
    panel.get_by_role("textbox").fill(question)
    panel.get_by_role("textbox").press("Enter")
    panel.get_by_role("button", name="Stop").wait_for(state="hidden", timeout=WAIT_MS)
    return panel


def read_first_quotation(panel: Any) -> tuple[str, str]:
    """Return the words of the first quotation, and the title of its post."""
    figure = panel.locator("figure").first
    title = figure.locator("figcaption a").inner_text()
    return normalize_words(figure.locator("blockquote").inner_text()), title


def get_first_quotation(answer: EndpointAnswer) -> tuple[str, str]:
    quotation = (answer.quotes or answer.nearest)[0]
    return normalize_words(quotation["text"]), quotation["title"]


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (1280, "dark")])
def test_a_reader_asks_and_votes_by_keyboard(
    site: str, open_page: Callable[..., Any], width: int, scheme: str
) -> None:
    page = open_page(f"{site}/index.html", width=width, scheme=scheme)
    assert find_violations(page) == []
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="Ask Ann Bell")
    panel.get_by_role("button", name="Not helpful").wait_for(timeout=WAIT_MS)
    # Who wrote what follows is said before it.
    assert panel.locator(".answer > *").first.inner_text() == (
        "Ann Bell's own sentences, found in the posts by a program; no model wrote them."
    )
    assert read_first_quotation(panel)[1] == "How to carry a clock"
    assert find_violations(page) == []
    box = panel.bounding_box()
    assert 0 <= box["x"] < box["x"] + box["width"] <= width
    panel.get_by_role("button", name="Helpful", exact=True).press("Enter")
    panel.get_by_text("Your vote was stored").wait_for(timeout=WAIT_MS)
    page.keyboard.press("Escape")
    assert not panel.is_visible()
    page.keyboard.press("Enter")  # the focus is on the button again
    assert panel.is_visible()


def test_the_widget_finds_what_twin_ask_finds(
    stack: Stack, site: str, open_page: Callable[..., Any]
) -> None:
    client = make_client(f"{stack.url}/v1", stack.key)
    page = open_page(f"{site}/index.html")
    answers: dict[str, EndpointAnswer] = {}
    assert len(QUESTIONS) == 40
    for question in QUESTIONS:
        page.reload()  # a new conversation
        answers[question] = ask(client, question, model="twin/ann")
        found = read_first_quotation(ask_page(page, question))
        assert found == get_first_quotation(answers[question]), question

    # On the page of another post that is quoted, that post comes first, unless it is unwanted.
    question, other = next(
        (question, quote)
        for question, answer in answers.items()
        for quote in answer.quotes[1:]
        if quote["document_id"] != answer.quotes[0]["document_id"]
    )
    page.goto(f"{site}/{other['document_id']}.html")
    assert read_first_quotation(ask_page(page, question))[1] == other["title"]
    page.reload()
    page.get_by_role("button", name="Ask").click()
    page.get_by_role("checkbox", name=other["title"]).uncheck()
    found = read_first_quotation(ask_page(page, question))
    assert found == get_first_quotation(answers[question])


def test_what_a_model_wrote_stands_below_its_label(
    site: str, open_page: Callable[..., Any]
) -> None:
    panel = ask_page(open_page(f"{site}/bob.html"))
    disclosure, label, *prose = panel.locator(".answer > p").all_inner_texts()
    assert disclosure.startswith("Written by a language model")
    assert label == "Written by a program, not by Bob Stone"
    assert any(prose)


def test_a_site_reads_why_it_is_refused(
    stack: Stack, site: str, open_page: Callable[..., Any]
) -> None:
    foreign_site = site.replace("127.0.0.1", "localhost")
    run_twin(stack, "keys", "revoke", f"bob at {site}")
    for address, reason in (
        (f"{foreign_site}/index.html", f"no key for pages of {foreign_site}"),
        (f"{site}/paid.html", "limit"),
        (f"{site}/bob.html", "was revoked"),
    ):
        page = open_page(address)
        page.wait_for_timeout(1500)  # the gateway keeps a key for a second
        panel = ask_page(page)
        assert reason in panel.get_by_role("status").inner_text()
        assert panel.locator("figure").count() == 0
