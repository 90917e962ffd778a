"""Test the author's Monday: what readers asked and no post answered, and what the author does."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import datetime, timedelta, tzinfo
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import lxml.html
import numpy as np
import pytest
import uvicorn
from scipy.optimize import linear_sum_assignment
from starlette.requests import Request
from starlette.types import Receive, Scope, Send
from twin_cli.commands.console import SafeConsole
from twin_cli.commands.unanswered_command import run_questions

from tests.browser import launch_browser
from tests.erasure_targets import reader_target
from tests.graph.feedback.staged_questions import STAGED_QUESTIONS
from tests.graph.knowledge.test_quotations import (
    MARA,
    ImportedHome,
    ask,
    imported,
    imported_home,
    run_assets,
)
from tests.json_examples import read_json_example, shape
from tests.live.chat.conftest import WAIT_MS, needs_browser
from tests.live.chat.test_page_layout import find_violations
from tests.mail_server import mail_server
from tests.materialization import create_instance
from tests.unit.gateway.exchanges import FakeRetriever, create_path, prepare
from tests.unit.trace_store.conftest import KEYS, Store
from tests.unit.trace_store.conftest import store as store  # noqa: PLC0414 - a fixture
from tests.unit.trace_store.test_trace_reading import make_span, post_score
from twin_assets.definitions import default_resources
from twin_resources.access.keys import add_key, open_keyring
from twin_resources.authors import Author
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.state_store import StateStore
from twin_resources.gateway.api.admission import AdmissionControl
from twin_resources.gateway.api.key_limits import KeyRequestCounter
from twin_resources.gateway.api.questions_page import QuestionsPage
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.passage_finder import create_passage_finder
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.models.quotes.quoter import MIN_EVIDENCE, choose_quotes
from twin_resources.models.retrieval.page_ranking import Page
from twin_resources.models.retrieval.question_rules import QuestionRule, read_rules, save_rules
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.notifications import deliver, parse_channels
from twin_resources.registry.route_names import FRONT_DESK
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_sensors.unanswered_questions import list_unanswered_questions

__all__ = ["imported", "imported_home"]  # fixtures
QUESTIONS = [(name, text) for name, texts in STAGED_QUESTIONS.items() for text in texts]
SCREENSHOTS = os.environ.get("TWIN_SCREENSHOTS")  # a fixture deletes the variable
READERS = [f"{index:016x}" for index in range(0xABCDEF000001, 0xABCDEF000001 + len(QUESTIONS))]
DELIVER = """
import sys, time
from twin_resources.observability.notifications import deliver, parse_channels
from twin_resources.settings import load_settings
from twin_resources.storage.state.home_state import open_home_state
deliver(open_home_state(load_settings()), parse_channels([sys.argv[1]]), now=time.time())
"""
NEW_QUESTION = "I found woodworm holes in my clock case, what can I do?"


@pytest.fixture
def run_command(store: Store, imported_home: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs the command on the 20 questions, as they are answered now."""
    keys: dict[str, Any] = {"public_key": KEYS.public, "secret_key": KEYS.secret}
    http: Any = store.http
    client = LangfuseClient("http://testserver", http=http, **keys)
    monkeypatch.setattr(LangfuseClient, "from_settings", lambda _settings: client)
    monkeypatch.setattr(LangfuseClient, "close", lambda _self: None)  # the fixture closes it
    now_ns, retriever = time.time_ns(), create_passage_finder(imported_home).open_retriever()
    for number, ((_, text), reader) in enumerate(zip(QUESTIONS, READERS, strict=True), start=1):
        result = choose_quotes(retriever.retrieve(MARA, text), lambda _passage: [])
        messages = [{"role": "user", "content": f"Question: {text}"}]
        fields = {
            "langfuse.observation.input": json.dumps(messages),
            "user.id": READERS[number - 1],
        }
        span = make_span(number, version="quotes", author=MARA, **fields)
        store.post_spans(span | {"startTimeUnixNano": str(now_ns), "endTimeUnixNano": str(now_ns)})
        post_score(store, number, "quotations", len(result.quotes))
        post_score(store, number, "quote_score", result.best_score)
        post_score(store, number, "quote_threshold", result.threshold)
        if result.quotes:  # a passage about something else
            post_score(store, number, "thumbs", 0.0, metadata={"twin.reader": reader})
    for number, version in ((101, "quotes"), (102, FRONT_DESK)):  # a good answer, and a greeting
        store.post_spans(make_span(number, version=version, author=MARA))
        post_score(store, number, "quotations", 3.0 if version == "quotes" else 0.0)

    def run(**options: Any) -> Any:
        stream = io.StringIO()
        defaults: dict[str, Any] = dict.fromkeys(("write", "quote", "passage", "never", "undo"), "")
        console = SafeConsole(file=stream, width=120, soft_wrap=True)
        arguments = defaults | {"days": 90, "as_json": True} | options
        assert run_questions(imported_home, MARA, **arguments, console=console) == 0
        return json.loads(stream.getvalue()) if arguments["as_json"] else stream.getvalue()

    return run


def find_cluster(document: dict[str, Any], subject: str) -> str:
    """Return the id of the group with most questions of a subject."""
    texts = set(STAGED_QUESTIONS[subject])
    best = max(document["clusters"], key=lambda cluster: len(texts & {*cluster["questions"]}))
    return str(best["id"])


def count_in_their_group(document: dict[str, Any]) -> int:
    """Return how many questions are in the group of their subject, each subject having one."""
    names = list(STAGED_QUESTIONS)
    counts = np.zeros((len(document["clusters"]), len(names)), int)
    for row, cluster in enumerate(document["clusters"]):
        for name, text in QUESTIONS:
            counts[row, names.index(name)] += text in cluster["questions"]
    return int(counts[linear_sum_assignment(-counts)].sum())


def hold_monday() -> None:
    with create_instance(MARA) as instance:
        run = list_unanswered_questions.execute_in_process(
            instance=instance, partition_key=MARA, resources=default_resources()
        )
    assert run.success


class NextWeek(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> NextWeek:
        return super().now(tz) + timedelta(days=7)


def test_twenty_questions_become_five_subjects_one_mail_and_the_next_readers_answer(
    run_command: Any,
    imported: ImportedHome,
    imported_home: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    document = run_command()
    listed = [text for cluster in document["clusters"] for text in cluster["questions"]]
    assert set(listed) == {text for _, text in QUESTIONS}
    assert count_in_their_group(document) >= 17, document
    assert all(1 <= len(cluster["nearest"]) <= 3 for cluster in document["clusters"])

    with mail_server() as (address, mails):
        hold_monday()
        command = [sys.executable, "-c", DELIVER, address]
        processes = [subprocess.Popen(command) for _ in range(2)]  # at once
        assert [process.wait() for process in processes] == [0, 0]
        hold_monday()  # a restart in the same week repeats it
        with monkeypatch.context() as a_week_later:
            a_week_later.setattr("twin_sensors.unanswered_questions.datetime", NextWeek)
            hold_monday()  # nothing was asked since
        with closing(open_home_state(imported_home)) as state:
            deliver(state, parse_channels([address]), now=time.time())
    (mail,) = mails
    text = unescape("".join(part.get_content() for part in mail.walk() if not part.is_multipart()))
    assert "20 questions" in mail["subject"]
    assert "4 asked: " in text
    assert sum(question in text for _, question in QUESTIONS) >= 5
    shown = json.dumps(document) + run_command(as_json=False) + f"{mail} {text}"
    assert not any(reader in shown for reader in READERS)

    group = find_cluster(document, "woodworm")
    draft = Path(run_command(write=group)["file"])
    assert draft.parent == imported.posts / "answers"
    answer = "Woodworm in a clock case is treated with cold: freeze the empty case for two weeks."
    assert "woodworm" in draft.read_text()
    draft.write_text(draft.read_text().replace("draft: true\n", "") + answer + "\n")
    run_assets()

    result = ask(imported_home, NEW_QUESTION).quote_result
    assert result is not None
    assert result.quotes[0].text == answer
    remaining = [text for item in run_command()["clusters"] for text in item["questions"]]
    assert set(listed) - set(remaining) == set(STAGED_QUESTIONS["woodworm"])


async def test_a_quoted_passage_and_a_declined_subject_reach_the_next_reader_until_undone(
    run_command: Any, imported_home: Settings
) -> None:
    document = run_command()
    books, value = find_cluster(document, "books"), find_cluster(document, "value")
    passage = "Take off the pendulum first."
    assert run_command(quote=books, passage=passage)["document_id"]
    assert run_command(never=value)["action"] == "never"

    author = Author(MARA, "Mara Lindqvist", language="en")
    path = create_path(imported_home, FakeRetriever(), author=author)
    path.passage_finder = create_passage_finder(imported_home)

    async def answer(question: str) -> tuple[str, str]:
        record = await prepare(path, question, model=f"twin/{MARA}")
        return (
            record.exchange.fixed_text.front_desk,
            record.exchange.opening.text or record.exchange.fixed_text.text,
        )

    assert passage in (await answer("Which books would you recommend on clock repair?"))[1]
    declined = "Mara Lindqvist does not answer this question here."
    assert await answer("What is my old mantel clock worth?") == ("never", declined)
    assert (await answer("How do I carry a clock?"))[0] == ""
    document = run_command()
    assert shape(document) == shape(read_json_example("questions"))
    remaining = {text for item in document["clusters"] for text in item["questions"]}
    assert not remaining & {*STAGED_QUESTIONS["value"]}
    assert run_command(undo=value)["count"] >= 3
    with closing(open_home_state(imported_home)) as state:
        rules = read_rules(state, MARA)
    reader = reader_target(READERS[0], traces=[rules[0].trace_id])
    installation = Installation.for_settings(imported_home)
    StateStore(installation).erase(reader)
    assert read_rules(installation.state, MARA) == rules[1:]
    installation.state.close()


@pytest.fixture
def page(imported_home: Settings, imported: ImportedHome) -> QuestionsPage:
    """Return the page of a gateway with Mara and another author."""
    live_config, keyring = LiveConfig(imported_home), open_keyring(imported_home)
    mara = Author(MARA, "Mara Lindqvist", sources=(str(imported.posts),))
    live_config.current = Snapshot({MARA: mara, "bob": Author("bob", "Bob")}, None, {})
    limits = (AdmissionControl(8, 8), KeyRequestCounter(lambda: keyring.state))
    finder = create_passage_finder(imported_home)
    return QuestionsPage(imported_home, keyring, live_config, finder, *limits)


async def press(page: QuestionsPage, button: Any, **fields: str) -> Any:
    """Send the form of a button, which is None for a form's only one; return the next page."""
    if button is not None:
        fields |= {item.name: item.value for item in button.xpath("ancestor::form//input")}
        fields |= {button.get("name"): button.get("value")}
    response = await page.respond(urlencode(fields).encode())
    assert response.status_code == 200, response.body
    assert not any(reader in bytes(response.body).decode() for reader in READERS)
    return lxml.html.fromstring(bytes(response.body))


def find_button(document: Any, name: str, subject: str) -> Any:
    """Return the first button with this name in the section with most questions of a subject."""
    texts = STAGED_QUESTIONS[subject]
    sections = document.xpath("//section[form/ol]")
    section = max(sections, key=lambda item: sum(text in item.text_content() for text in texts))
    return section.xpath(f".//button[@name='{name}']")[0]


async def test_an_author_decides_on_the_page_by_three_buttons(
    run_command: Any, page: QuestionsPage, imported: ImportedHome
) -> None:
    document = run_command()
    state = page.keyring.state
    key = add_key(state, role="author", authors=["*"], label="Mara")
    choice = await press(page, None, key=key)
    (button,) = choice.xpath("//button[@name='author'][text()='Mara Lindqvist']")
    shown = await press(page, button)
    assert "20 questions" in shown.xpath("//p[@class='facts']")[0].text_content()
    for cluster in document["clusters"]:
        assert cluster["questions"][0] in shown.xpath("//h2/text()")
        assert f"asked {cluster['count']} time" in shown.text_content()
    assert len(shown.xpath("//button[@name='quote']")) == sum(
        len(cluster["nearest"]) for cluster in document["clusters"]
    )

    quote = find_button(shown, "quote", "books")
    shown = await press(page, quote)
    assert "are answered with" in shown.xpath("//p[@role='status']")[0].text_content()
    shown = await press(page, find_button(shown, "never", "value"))
    assert "are declined" in shown.xpath("//p[@role='status']")[0].text_content()
    places = {rule.cluster: rule.chunk_id for rule in read_rules(state, MARA)}
    assert places == {
        find_cluster(document, "books"): quote.get("value"), find_cluster(document, "value"): ""
    }  # fmt: skip
    listed = " ".join(shown.xpath("//section[form/ol]//text()"))
    assert not any(text in listed for text in STAGED_QUESTIONS["value"])

    shown = await press(page, find_button(shown, "write", "woodworm"))
    (draft,) = (imported.posts / "answers").iterdir()
    assert draft.name in shown.xpath("//p[@role='status']")[0].text_content()
    for button in shown.xpath("//button[@name='undo']"):
        shown = await press(page, button)
    assert read_rules(state, MARA) == []
    assert "20 questions" in shown.xpath("//p[@class='facts']")[0].text_content()


@needs_browser
@pytest.mark.long
def test_the_page_is_used_by_keyboard_at_every_width(
    run_command: Any, page: QuestionsPage, tmp_path: Path
) -> None:
    del run_command  # it has staged the questions
    key = add_key(page.keyring.state, role="author", authors=[MARA], label="Mara")
    folder = Path(SCREENSHOTS or tmp_path)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        await (await page.respond(body))(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/questions"
    with launch_browser() as browser:
        for width, scheme in ((320, "light"), (1280, "dark")):
            window = {"width": width, "height": 720}
            tab = browser.new_context(viewport=window, color_scheme=scheme).new_page()
            tab.goto(address)
            assert find_violations(tab) == []
            tab.keyboard.press("Tab")
            tab.keyboard.type(key)
            tab.keyboard.press("Enter")
            tab.get_by_role("heading", level=2).first.wait_for(timeout=WAIT_MS)
            assert find_violations(tab) == []
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            tab.screenshot(path=folder / f"questions-{width}.png", full_page=True)
            while tab.evaluate("document.activeElement.name") != "never":
                tab.keyboard.press("Tab")
            tab.keyboard.press("Enter")
            tab.get_by_role("status").wait_for(timeout=WAIT_MS)
            assert "are declined" in tab.get_by_role("status").inner_text()
            assert find_violations(tab) == []
    server.should_exit = True
    thread.join()


async def test_the_authors_rule_precedes_the_page_on_which_a_reader_asks(
    imported_home: Settings,
) -> None:
    question = "How do I carry a clock?"
    ranked = create_passage_finder(imported_home).open_retriever().retrieve(MARA, question).ranked
    named, first = ranked[-1], ranked[0]
    shown = next(item for item in ranked if item.document_id != first.document_id)
    assert first.evidence > shown.evidence >= MIN_EVIDENCE > named.evidence

    async def answer() -> list[str]:
        found = await create_passage_finder(imported_home).find(
            MARA, [question], token_budget=1000, with_quotes=True, page=Page(title=shown.title)
        )
        assert found.quote_result is not None
        return [quote.document_id for quote in found.quote_result.quotes]

    assert (await answer())[0] == shown.document_id
    rule = QuestionRule("a trace", MARA, "c", question, "", named.document_id, named.chunk_id)
    with closing(open_home_state(imported_home)) as state:
        save_rules(state, [rule])
    assert (await answer())[:2] == [named.document_id, shown.document_id]
