"""Test what leaves the machine, how an author is paused, and where the disclosure is placed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.gateway.exchanges import (
    ANN,
    KEY,
    FakeRetriever,
    change_snapshot,
    create_path,
    create_record,
    find_passage,
    prepare,
    read_chat,
)
from tests.unit.gateway.test_quoting import FIRST, create_quoting_path
from twin_resources.access.keys import NO_LIMITS
from twin_resources.access.refusals import RefusedError
from twin_resources.authors import Author, write_author
from twin_resources.authors.pausing import pause_author, resume_author
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.hooks.trace_logger import span_attributes
from twin_resources.gateway.request_path import NO_CONSENT
from twin_resources.models.quotes.answer_text import NOTICE_PREFIX, extract_prose
from twin_resources.models.quotes.quoter import QuoteResult
from twin_resources.settings import Settings

PAYING_KEY = replace(KEY, limits=NO_LIMITS)
MAIL = "ann.bell@gmail.com"
TURNS = [
    {"role": "user", "content": f"I am {MAIL}."},
    {"role": "assistant", "content": "Good day."},
    {"role": "user", "content": f"Which oil? Write to {MAIL}."},
]


def create_paid_path(home: Settings, author: Author) -> Any:
    options = {"paid_model": "openai/gpt-4o-mini"}
    return create_path(
        home, FakeRetriever(find_passage), author=author, options=options, has_paid_route=True
    )


async def ask_paid(path: Any, **fields: Any) -> Any:
    turns = [{"role": "user", "content": "Which oil?"}]
    chat_request = read_chat({"model": "twin/ann@paid", "messages": turns} | fields)
    return await path.prepare(chat_request, PAYING_KEY)


async def test_a_provider_gets_posts_with_consent_but_no_personal_data(home: Settings) -> None:
    path = create_paid_path(home, replace(ANN, consent="2020-01-02: by mail"))
    prepared = await ask_paid(path, messages=TURNS)
    prompt = "\n".join(message["content"] for message in prepared.exchange.messages)
    assert MAIL not in prompt
    assert prompt.count("[e-mail]") == 2
    assert "Oil sparingly." in prompt
    metadata = prepared.trace_metadata()
    assert metadata["twin.provider"] == "openai/gpt-4o-mini"
    assert metadata["twin.provider_saw"] == "question, 2 earlier turns, 1 passages"


async def test_without_consent_a_provider_gets_no_post(home: Settings) -> None:
    prepared = await ask_paid(create_paid_path(home, ANN))
    assert "Oil sparingly." not in str(prepared.exchange.messages)
    assert prepared.degraded == (NO_CONSENT,)
    assert prepared.twin_field()["sources"] == []
    assert prepared.trace_metadata()["twin.provider_saw"] == "question"


async def test_a_question_that_stays_on_the_machine_is_not_redacted(home: Settings) -> None:
    prepared = await prepare(create_paid_path(home, ANN), messages=TURNS)
    assert MAIL in prepared.exchange.messages[-1]["content"]
    assert prepared.trace_metadata()["twin.provider_saw"] == ""


def test_a_pause_survives_an_unreadable_author_file(home: Settings) -> None:
    write_author(home, ANN)
    live_config = LiveConfig(home)
    live_config.refresh()
    assert live_config.current.paused == {}
    pause_author(home, "ann", reason="she asked\n for it")
    assert live_config.refresh()
    assert live_config.current.paused["ann"].endswith("UTC: she asked for it")
    (home.authors_dir / "ann.toml").write_text("name = ")  # an incomplete file
    live_config.refresh()
    assert "ann" in live_config.current.paused
    assert resume_author(home, "ann")
    assert live_config.refresh()
    assert live_config.current.paused == {}
    assert not resume_author(home, "ann")


@pytest.mark.parametrize("model", ["twin/ann", "twin/ann@base"])
async def test_questions_to_a_paused_author_are_refused(home: Settings, model: str) -> None:
    path = create_path(home, FakeRetriever(find_passage))
    change_snapshot(path, paused={"ann": "since today: a mistake"})
    with pytest.raises(RefusedError, match="since today: a mistake") as excinfo:
        await prepare(path, model=model)
    assert (excinfo.value.status, excinfo.value.code) == (503, "author_paused")


def prepare_with_disclosure(disclosure: str, *turns: str, **body: Any) -> Any:
    history = [
        {"role": ("user", "assistant")[index % 2], "content": text}
        for index, text in enumerate(turns)
    ]
    messages = [*history, {"role": "user", "content": "Which oil?"}]
    return create_record(author=replace(ANN, disclosure=disclosure), messages=messages, **body)


def test_the_disclosure_precedes_the_text_if_the_author_chose_that() -> None:
    notice = "ⓘ Written by a language model that was not trained on Ann's posts"
    assert prepare_with_disclosure("field").prefix == ""
    assert prepare_with_disclosure("first").prefix.startswith(notice)
    assert prepare_with_disclosure("first", "Hello", "Good day.").prefix == ""
    assert prepare_with_disclosure("each", "Hello", "Good day.").prefix.startswith(notice)
    json_form = {"response_format": {"type": "json_object"}}
    assert (
        prepare_with_disclosure("each", **json_form).prefix == ""
    )  # The text must stay valid JSON.
    assert prepare_with_disclosure("A machine wrote this.").prefix == ""
    custom = prepare_with_disclosure("A machine\nwrote this.")
    assert custom.twin_field()["disclosure"] == "A machine\nwrote this."


def test_the_disclosure_is_removed_from_earlier_turns() -> None:
    assert extract_prose(f"{NOTICE_PREFIX}A machine wrote this.\n\nOne drop.") == "One drop."


async def test_positions_of_quotations_include_the_disclosure_above_them(home: Settings) -> None:
    path = create_quoting_path(home, QuoteResult((FIRST,)), disclosure="each")
    record = await prepare(path)
    text = record.prefix
    [quote] = record.twin_field()["quotes"]
    start, end = quote["at"]
    assert text[start:end] == "\n".join(f"> {line}" for line in quote["text"].splitlines())
    assert [text[citation["url_citation"]["start_index"]] for citation in record.citations] == [">"]
    assert text.startswith(NOTICE_PREFIX)


async def test_a_span_has_no_personal_data_although_the_model_gets_it(home: Settings) -> None:
    prepared = await prepare(create_path(home, FakeRetriever(find_passage)), messages=TURNS)
    prepared.shown_text = f"I shall write to {MAIL}."
    attributes = span_attributes(prepared)
    assert MAIL in str(prepared.exchange.messages)
    assert MAIL not in str(attributes)
    assert "Which oil? Write to [e-mail]." in str(attributes["langfuse.observation.input"])
    assert "I shall write to [e-mail]." in str(attributes["langfuse.observation.output"])
