"""Test how truncated or repeating answers end: the text, the finish reason and the trace."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tests.unit.gateway.exchanges import create_chunk, create_record, create_response, stream_chunks
from twin_resources.gateway.costs.cost import ThroughputMeter
from twin_resources.gateway.exchange.answer_ending import truncate_response, truncate_stream
from twin_resources.gateway.exchange.exchange import Fallback
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.routing.decision import RouteDecision

REPEATED_SENTENCE = "The clock is a machine that tells the time of the day. "
TRUNCATED_TEXT = "It went well. And then the clock"


async def read_stream(
    record: RequestRecord, source: AsyncGenerator[Any, None]
) -> tuple[str, str | None]:
    text, reason = "", None
    async for part in truncate_stream(record, source):
        text += part.choices[0].delta.content or ""
        assert reason is None, "no chunk may follow the finish reason"
        reason = part.choices[0].finish_reason
    return text, reason


def test_a_truncated_answer_ends_with_its_last_whole_sentence() -> None:
    record, response = create_record(), create_response(TRUNCATED_TEXT, "length")
    truncate_response(record, response)
    assert response.choices[0].message.content == record.shown_text == "It went well."
    assert response.choices[0].finish_reason == "stop", (
        "the limit is the author's, and no sentence is incomplete"
    )
    assert record.degraded == ()


async def test_a_stream_that_reaches_the_limit_ends_with_a_whole_sentence() -> None:
    record = create_record(stream=True)
    words = [f"w{number} " for number in range(150)]
    sentences = " ".join(
        "".join(words[start : start + 10]).strip() + "." for start in range(0, 150, 10)
    )
    parts = [f"{word} " for word in f"{sentences} And this one is not".split()]
    text, reason = await read_stream(record, stream_chunks(parts, "length"))
    assert text == sentences
    assert reason == "stop"
    assert record.shown_text == text, "the trace contains the text that the reader received"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeating_answer_is_ended_and_reported(stream: bool) -> None:
    record = create_record(stream=stream)
    prose = REPEATED_SENTENCE * 8
    if stream:
        parts = [f"{word} " for word in prose.split()]
        text, reason = await read_stream(record, stream_chunks(parts, "stop"))
    else:
        response = create_response(prose, "stop")
        truncate_response(record, response)
        text, reason = response.choices[0].message.content, response.choices[0].finish_reason
    assert text == REPEATED_SENTENCE.strip()
    assert record.shown_text == text
    assert reason == "stop"
    assert "repeated itself" in record.twin_field()["degraded"]


@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": 50},
        {"max_completion_tokens": 50},
        {"stop": ["x"]},
        {"response_format": {"type": "json_object"}},
    ],
)
async def test_an_answer_whose_length_the_client_chose_is_not_changed(body: dict[str, Any]) -> None:
    for text in (TRUNCATED_TEXT, REPEATED_SENTENCE * 8):
        response = create_response(text, "length")
        truncate_response(create_record(**body), response)
        assert response.choices[0].message.content == text
        record = create_record(stream=True, **body)
        assert await read_stream(record, stream_chunks([text], "length")) == (text, "length")
        assert record.shown_text == ""
        assert record.degraded == ()


async def test_complete_and_withheld_answers_are_not_changed() -> None:
    text = "It went well. The clock is"
    record = create_record(stream=True)
    parts = [text[start : start + 3] for start in range(0, len(text), 3)]
    assert await read_stream(record, stream_chunks(parts, "stop")) == (text, "stop")
    assert record.shown_text == text
    withheld = create_record(withheld="guard")
    response = create_response(REPEATED_SENTENCE * 8, "stop")
    truncate_response(withheld, response)
    assert response.choices[0].message.content == REPEATED_SENTENCE * 8


@pytest.mark.parametrize(
    ("has_fallback", "note"),
    [(True, "canary broke off"), (False, "base broke off: answered again")],
)
async def test_an_answer_that_starts_again_may_repeat_the_first_text(
    has_fallback: bool, note: str
) -> None:
    """The stable version replaces a canary, and any other version starts again itself."""
    stable = RouteDecision("ann/v1", "v1", "c", "", "stable", 1.0)
    fallback = Fallback(stable, "t", [], ThroughputMeter(), 77) if has_fallback else None
    record = create_record(stream=True, fallback=fallback)
    once = "".join(f"word{number} " for number in range(40)).strip() + ". "

    async def stream_twice() -> AsyncGenerator[Any, None]:
        for word in once.split():
            yield create_chunk(f"{word} ")
        if has_fallback:
            record.record_fallback(note)
        else:
            record.record_restart()
        yield create_chunk("\n\n")
        for word in once.split():
            yield create_chunk(f"{word} ")
        yield create_chunk(None, "stop")

    assert await read_stream(record, stream_twice()) == (f"{once}\n\n{once}", "stop")
    assert record.degraded == (note,)
    assert record.can_restart
    assert not create_record(withheld="guard").can_restart
