"""What leaves the machine, who is paused, and where a reader is told who wrote an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.gateway import test_quoting as quotations
from tests.unit.gateway.test_answer_ending import answering
from tests.unit.gateway.test_request_path import ANN, FOUND, KEY, Found, Retrieving, path, prepare
from twin_resources.access.keys import NO_LIMITS
from twin_resources.access.refusals import RefusedError
from twin_resources.authors import Author, write_author
from twin_resources.authors.pausing import pause_author, resume_author
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.hooks.tracing import span_attributes
from twin_resources.gateway.request.request_body import read_question
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.stages.outbound_redaction import NO_CONSENT
from twin_resources.models.quotes.answer_text import NOTICE_PREFIX, extract_prose
from twin_resources.models.quotes.quoter import QuoteResult
from twin_resources.settings import Settings

PAYING = replace(KEY, limits=NO_LIMITS)
MAIL = "ann.bell@gmail.com"
TURNS = [
    {"role": "user", "content": f"I am {MAIL}."},
    {"role": "assistant", "content": "Good day."},
    {"role": "user", "content": f"Which oil? Write to {MAIL}."},
]


def paid_path(home: Settings, author: Author) -> Any:
    way = path(home, Retrieving(lambda: Found((FOUND,))))
    snapshot: Snapshot = way.live_config.current
    way.live_config.current = replace(snapshot, authors={"ann": author}, has_paid_route=True)
    way.paid_model = "openai/gpt-4o-mini"
    return way


async def ask_paid(way: Any, **fields: Any) -> Any:
    turns = [{"role": "user", "content": "Which oil?"}]
    asked = read_question({"model": "twin/ann@paid", "messages": turns} | fields)
    return await way.prepare(asked, PAYING)


async def test_a_provider_sees_posts_with_consent_and_no_readers_data(home: Settings) -> None:
    way = paid_path(home, replace(ANN, consent="2020-01-02: by mail"))
    prepared = await ask_paid(way, messages=TURNS)
    told = "\n".join(message["content"] for message in prepared.exchange.messages)
    assert MAIL not in told
    assert told.count("[e-mail]") == 2
    assert "Oil sparingly." in told
    traced = prepared.trace_metadata()
    assert traced["twin.provider"] == "openai/gpt-4o-mini"
    assert traced["twin.provider_saw"] == "question, 2 earlier turns, 1 passages"


async def test_without_consent_it_sees_no_post_and_the_answer_says_so(home: Settings) -> None:
    prepared = await ask_paid(paid_path(home, ANN))
    assert "Oil sparingly." not in str(prepared.exchange.messages)
    assert prepared.degraded == (NO_CONSENT,)
    assert prepared.twin_field()["sources"] == []
    assert prepared.trace_metadata()["twin.provider_saw"] == "question"


async def test_what_stays_on_the_machine_is_asked_as_it_was(home: Settings) -> None:
    prepared = await prepare(paid_path(home, ANN), messages=TURNS)
    assert MAIL in prepared.exchange.messages[-1]["content"]
    assert prepared.trace_metadata()["twin.provider_saw"] == ""


def test_a_pause_is_followed_and_outlives_the_authors_file(home: Settings) -> None:
    write_author(home, ANN)
    live = LiveConfig(home)
    live.refresh()
    assert live.current.paused == {}
    pause_author(home, "ann", reason="she asked\n for it")
    assert live.refresh()
    assert live.current.paused["ann"].endswith("UTC: she asked for it")
    (home.authors_dir / "ann.toml").write_text("name = ")  # half of a file
    live.refresh()
    assert "ann" in live.current.paused
    assert resume_author(home, "ann")
    assert live.refresh()
    assert live.current.paused == {}
    assert not resume_author(home, "ann")


@pytest.mark.parametrize("model", ["twin/ann", "twin/ann@base"])
async def test_a_paused_author_answers_nobody(home: Settings, model: str) -> None:
    way = path(home, Retrieving(lambda: Found((FOUND,))))
    way.live_config.current = replace(
        way.live_config.current, paused={"ann": "since today: a mistake"}
    )
    with pytest.raises(RefusedError, match="since today: a mistake") as refused:
        await prepare(way, model=model)
    assert (refused.value.status, refused.value.code) == (503, "author_paused")


def with_disclosure(place: str, *turns: str, **sent: Any) -> Any:
    history = [
        {"role": ("user", "assistant")[number % 2], "content": text}
        for number, text in enumerate(turns)
    ]
    messages = [*history, {"role": "user", "content": "Which oil?"}]
    return answering(author=replace(ANN, disclosure=place), messages=messages, **sent)


def test_the_disclosure_stands_above_the_text_where_the_author_wants_it() -> None:
    said = "ⓘ Written by a language model that was not trained on Ann's posts"
    assert with_disclosure("field").prefix == ""
    assert with_disclosure("first").prefix.startswith(said)
    assert with_disclosure("first", "Hello", "Good day.").prefix == ""
    assert with_disclosure("each", "Hello", "Good day.").prefix.startswith(said)
    json_form = {"response_format": {"type": "json_object"}}
    assert with_disclosure("each", **json_form).prefix == ""  # it would be no JSON
    assert with_disclosure("A machine wrote this.").prefix == ""
    own = with_disclosure("A machine\nwrote this.")
    assert own.twin_field()["disclosure"] == "A machine\nwrote this."


def test_a_model_is_not_shown_its_own_disclosure() -> None:
    assert extract_prose(f"{NOTICE_PREFIX}A machine wrote this.\n\nOne drop.") == "One drop."


async def test_places_of_quotations_count_the_disclosure_above_them(home: Settings) -> None:
    way = quotations.path(home, quotations.Quoting(QuoteResult((quotations.FIRST,))))
    author = replace(quotations.ANN, disclosure="each")
    way.live_config.current = replace(way.live_config.current, authors={"ann": author})
    record = await prepare(way)
    text = record.prefix
    [quote] = record.twin_field()["quotes"]
    begin, end = quote["at"]
    assert text[begin:end] == "\n".join(f"> {line}" for line in quote["text"].splitlines())
    assert [text[citation["url_citation"]["start_index"]] for citation in record.citations] == [">"]
    assert text.startswith(NOTICE_PREFIX)


async def test_a_span_holds_no_readers_data_though_the_model_was_asked_as_it_was(
    home: Settings,
) -> None:
    prepared = await prepare(path(home, Retrieving(lambda: Found((FOUND,)))), messages=TURNS)
    attributes = span_attributes(
        prepared,
        messages=prepared.exchange.messages,
        answer=f"I shall write to {MAIL}.",
        usage={},
        model_parameters={},
    )
    assert MAIL in str(prepared.exchange.messages)
    assert MAIL not in str(attributes)
    assert "Which oil? Write to [e-mail]." in str(attributes["langfuse.observation.input"])
    assert "I shall write to [e-mail]." in str(attributes["langfuse.observation.output"])
