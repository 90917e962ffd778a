"""Test the widget on a static site of the sample author's posts, in headless Chromium."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
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
from tests.simulated_provider.paid_provider import PaidProvider
from tests.simulated_provider.provider_answers import Behavior
from tests.stored_passages import build_passages, store_passages
from twin_assets.knowledge.passages import split_into_passages
from twin_resources.authors import SAMPLES_DIR
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.models.retrieval.title_matching import normalize_words
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

pytestmark = [pytest.mark.live, needs_browser]
POSTS = sorted((SAMPLES_DIR / "mara-lindqvist" / "_posts").glob("*.md"))
SITE = "https://mara.example"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title} – Mara's bench</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src {gateway};
connect-src {gateway}"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="canonical" href="{address}">{line}<main><h1>{title}</h1><p>{text}</p></main></html>"""


def read_post(path: Path) -> tuple[str, str]:
    """Return the title and the text of a sample post."""
    _, front_matter, text = path.read_text(encoding="utf-8").split("---\n", 2)
    return front_matter.split('"')[1], text.strip()


TITLES = {path.stem: read_post(path)[0] for path in POSTS}
QUESTIONS = [f"What do you know about {title[0].lower()}{title[1:]}?" for title in TITLES.values()]


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, gateway_weights: Path, tiny_gguf: Path
) -> Iterator[Stack]:
    """Serve the sample's posts as Ann's, Bob's released prose, and a paid model."""
    folder = tmp_path_factory.mktemp("widget")
    provider = PaidProvider(Behavior(), folder / "bill.jsonl")
    provider.start()
    environ = {
        "TWIN_PAID_MODEL": "openai/gpt-4o-mini",
        "TWIN_PAID_BUDGET_PER_DAY": "1.0",
        "OPENAI_API_KEY": "sk-of-the-provider",
        "OPENAI_BASE_URL": provider.url,
    }
    with new_stack(folder, gateway_weights, tiny_gguf, environ=environ) as stack:
        rows = [
            {
                "chunk_id": f"{path.stem}-{number}", "document_id": path.stem, "title": title,
                "url": f"{SITE}/{path.stem}/", "text": text[span.start : span.end],
                "position": number, "start": span.start, "end": span.end,
            }
            for path in POSTS
            for title, text in [read_post(path)]
            for number, span in enumerate(split_into_passages(text))
        ]  # fmt: skip
        tables = Tables(stack.settings.tables_base, state=open_home_state(stack.settings))
        embedder = load_embedder(stack.settings)
        for author in ("ann", "bob"):
            store_passages(tables, author, build_passages(rows, embedder))
        write_gateway(stack, f"{stack.url}/v1", stack.key)
        stack.release("bob", 1)
        stack.start("base", "bob/v1")
        yield stack
    provider.end()


def run_twin(stack: Stack, *arguments: str) -> str:
    program = Path(sys.executable).with_name("twin")
    command = [program, *arguments, "--home", str(stack.settings.home)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def site(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a page for each post, for Bob's twin (`bob`) and for the paid model (`paid`)."""
    folder = tmp_path_factory.mktemp("site")
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        origin = f"http://127.0.0.1:{server.server_port}"
        lines = {
            author: json.loads(
                run_twin(stack, "widget", author, "--origin", origin, "--json", *limits)
            )["html"]
            for author, *limits in (("ann", "--usd-per-day", "0.000000001"), ("bob",))
        }
        pages = {name: ("ann", title) for name, title in TITLES.items()}
        pages |= {"index": ("ann", "All posts"), "bob": ("bob", "Bob"), "paid": ("ann", "Paid")}
        for name, (author, title) in pages.items():
            line = lines[author]
            if name == "paid":
                line = line.replace('data-author="ann"', 'data-author="ann@paid"')
            text = PAGE.format(
                title=escape(title), line=line, gateway=stack.url, text="Words. " * 400,
                address=f"{SITE}/{name}/",
            )  # fmt: skip
            (folder / f"{name}.html").write_text(text, encoding="utf-8")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield origin
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launch_browser() as chromium:
        yield chromium


@pytest.fixture
def open_page(
    browser: Any, process_logs: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a page in a window of its own; no page may have an error."""
    folder = Path(os.environ.get("TWIN_SCREENSHOTS") or process_logs)
    contexts: list[Any] = []
    errors: list[str] = []

    def open_address(address: str, *, width: int = 1280, scheme: str = "light") -> Any:
        viewport = {"width": width, "height": 720}
        contexts.append(browser.new_context(viewport=viewport, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        return page

    yield open_address
    for number, context in enumerate(contexts):
        context.pages[0].screenshot(path=folder / f"{request.node.name}-{number}.png")
        assert context.cookies() == []
        assert context.pages[0].evaluate("localStorage.length + sessionStorage.length") == 0
        context.close()
    assert errors == []


def ask_page(page: Any, question: str) -> Any:
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


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (1280, "dark"), (1280, "light")])
def test_a_reader_asks_and_votes_by_keyboard(
    stack: Stack, site: str, open_page: Callable[..., Any], width: int, scheme: str
) -> None:
    page = open_page(f"{site}/index.html", width=width, scheme=scheme)
    assert find_violations(page) == []
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.type("How do I carry a clock?")
    with page.expect_response("**/v1/chat/completions") as response:
        page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="Ask Ann Bell")
    panel.get_by_role("button", name="Not helpful").wait_for(timeout=WAIT_MS)
    # Who wrote what follows is said before it.
    first_line = panel.locator(".answer > *").first.inner_text()
    assert first_line == (
        "Ann Bell's own sentences, found in the posts by a program; no model wrote them."
    )
    assert read_first_quotation(panel)[1] == "How to carry a clock"
    link = panel.locator("figcaption a").first
    assert link.get_attribute("href").startswith(SITE)
    assert find_violations(page) == []
    box = panel.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    panel.get_by_role("button", name="Helpful", exact=True).press("Enter")
    panel.get_by_text("Your vote was stored").wait_for(timeout=WAIT_MS)
    page.keyboard.press("Escape")
    assert not panel.is_visible()
    page.keyboard.press("Enter")  # the focus is on the button again
    assert panel.is_visible()

    trace = response.value.headers["x-twin-trace-id"]
    with LangfuseClient.from_settings(stack.settings) as traces:
        stack.wait(lambda: "thumbs" in str(list(traces.scores(trace_id=[trace]))))


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
        panel = ask_page(page, question)
        assert read_first_quotation(panel) == get_first_quotation(answers[question]), question

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
    panel = ask_page(page, question)
    assert read_first_quotation(panel) == get_first_quotation(answers[question])


def test_what_a_model_wrote_stands_below_its_label(
    site: str, open_page: Callable[..., Any]
) -> None:
    panel = ask_page(open_page(f"{site}/bob.html"), "How do I carry a clock?")
    texts = panel.locator(".answer > p").all_inner_texts()
    assert texts[0].startswith("Written by a language model"), texts
    assert "Bob Stone" in texts[1], texts
    assert panel.locator(".answer > p.by").count() == 2, texts
    assert len(texts) > 2, texts


def test_a_site_reads_why_it_is_refused(
    stack: Stack, site: str, open_page: Callable[..., Any]
) -> None:
    foreign_site = site.replace("127.0.0.1", "localhost")
    question = "How do I carry a clock?"
    for address, reason in (
        (f"{foreign_site}/index.html", f"no key for pages of {foreign_site}"),
        (f"{site}/paid.html", "limit"),
    ):
        panel = ask_page(open_page(address), question)
        assert reason in panel.get_by_role("status").inner_text()
        assert panel.locator("figure").count() == 0
    run_twin(stack, "keys", "revoke", f"bob at {site}")
    page = open_page(f"{site}/bob.html")
    page.wait_for_timeout(1500)  # the gateway keeps a key for a second
    assert "was revoked" in ask_page(page, question).get_by_role("status").inner_text()
