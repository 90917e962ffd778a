"""LiteLLM's own answers and chunks, ended: what the reader gets, the reason, and the trace."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from litellm.types.utils import Delta, ModelResponse, ModelResponseStream, StreamingChoices

from tests.unit.gateway.exchanges import ANN, exchange_of
from twin_resources.authors import Author
from twin_resources.gateway.costs.answer_cost import AnswerCost
from twin_resources.gateway.costs.cost import Throughput
from twin_resources.gateway.exchange.answer_ending import end_prose, truncate_stream
from twin_resources.gateway.exchange.exchange import AnswerParts, Fallback, FixedText
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.models.quotes.answer_text import AnswerOpening

LOOP = "The clock is a machine that tells the time of the day. "
CUT = "It went well. And then the clock"


def answering(
    *,
    author: Author = ANN,
    withheld: str = "",
    opening: str = "",
    fallback: Fallback | None = None,
    **sent: Any,
) -> RequestRecord:
    """A record of prose, below an opening where there is one."""
    exchange = exchange_of(
        sent=sent,
        author=author,
        answer_parts=AnswerParts(opening=AnswerOpening(opening)),
        fixed_text=FixedText(guard_refusal=withheld),
        sampling={"max_tokens": 200} | sent,
        fallback=fallback,
    )
    chosen = RouteDecision("base", "base", "", "", "base", 1.0)
    answer = "quote_and_voice" if opening else "voice"
    return RequestRecord(exchange, AnswerCost(0.1, None), chosen, answer)


def whole(text: str, reason: str) -> ModelResponse:
    return ModelResponse(
        choices=[{"finish_reason": reason, "message": {"role": "assistant", "content": text}}]
    )


def chunk(text: str | None, reason: str | None = None) -> ModelResponseStream:
    delta = Delta(role="assistant", content=text)
    return ModelResponseStream(choices=[StreamingChoices(finish_reason=reason, delta=delta)])


async def chunks(parts: Sequence[str], reason: str) -> AsyncGenerator[Any, None]:
    for part in parts:
        yield chunk(part)
    yield chunk(None, reason)


async def read(record: RequestRecord, source: AsyncGenerator[Any, None]) -> tuple[str, str | None]:
    text, reason = "", None
    async for part in truncate_stream(record, source):
        text += part.choices[0].delta.content or ""
        assert reason is None, "nothing comes behind the reason"
        reason = part.choices[0].finish_reason
    return text, reason


def test_an_answer_that_was_cut_off_ends_with_its_last_sentence() -> None:
    record, got = answering(), whole(CUT, "length")
    end_prose(record, got)
    assert got.choices[0].message.content == record.shown_text == "It went well."
    assert got.choices[0].finish_reason == "stop", "the limit is ours, and nothing is half"
    assert record.degraded == ()


async def test_near_the_limit_a_stream_never_shows_half_a_sentence() -> None:
    record = answering(stream=True)
    words = [f"w{number} " for number in range(150)]
    sentences = " ".join(
        "".join(words[start : start + 10]).strip() + "." for start in range(0, 150, 10)
    )
    parts = [f"{word} " for word in f"{sentences} And this one is not".split()]
    text, reason = await read(record, chunks(parts, "length"))
    assert text == sentences
    assert reason == "stop"
    assert record.shown_text == text, "the trace holds what the reader got"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_loop_is_ended_and_told(stream: bool) -> None:
    record = answering(stream=stream)
    written = LOOP * 8
    if stream:
        parts = [f"{word} " for word in written.split()]
        text, reason = await read(record, chunks(parts, "stop"))
    else:
        got = whole(written, "stop")
        end_prose(record, got)
        text, reason = got.choices[0].message.content, got.choices[0].finish_reason
    assert text == LOOP.strip()
    assert record.shown_text == text
    assert reason == "stop"
    assert "repeated itself" in record.twin_field()["degraded"]


@pytest.mark.parametrize(
    "sent",
    [
        {"max_tokens": 50},
        {"max_completion_tokens": 50},
        {"stop": ["x"]},
        {"response_format": {"type": "json_object"}},
    ],
)
async def test_what_the_client_bounds_himself_stays(sent: dict[str, Any]) -> None:
    for text in (CUT, LOOP * 8):
        got = whole(text, "length")
        end_prose(answering(**sent), got)
        assert got.choices[0].message.content == text
        record = answering(stream=True, **sent)
        assert await read(record, chunks([text], "length")) == (text, "length")
        assert record.shown_text == ""
        assert record.degraded == ()


async def test_what_ends_by_itself_stays_and_what_is_withheld_is_not_looked_at() -> None:
    text = "It went well. The clock is"
    record = answering(stream=True)
    parts = [text[start : start + 3] for start in range(0, len(text), 3)]
    assert await read(record, chunks(parts, "stop")) == (text, "stop")
    assert record.shown_text == text
    withheld = answering(withheld="guard")
    got = whole(LOOP * 8, "stop")
    end_prose(withheld, got)
    assert got.choices[0].message.content == LOOP * 8


async def test_another_version_that_begins_anew_may_say_the_same() -> None:
    stable = RouteDecision("ann/v1", "v1", "c", "", "stable", 1.0)
    record = answering(stream=True, fallback=Fallback(stable, "t", [], Throughput()))
    once = "I oil it once in eight years and then I listen to it for two weeks on the wall. "
    second = "Nobody else listens, they say, and they may be right in that, for once in a while. "

    async def broken() -> AsyncGenerator[Any, None]:
        for word in f"{once}{second}".split():
            yield chunk(f"{word} ")
        record.record_fallback("canary broke off")
        yield chunk("\n\n")
        for word in f"{once}{second}".split():
            yield chunk(f"{word} ")
        yield chunk(None, "stop")

    text, reason = await read(record, broken())
    assert text == f"{once}{second}\n\n{once}{second}"
    assert reason == "stop"
    assert record.degraded == ("canary broke off",)


async def test_the_same_version_that_is_asked_again_may_say_the_same() -> None:
    record = answering()
    once = " ".join(f"word{number}" for number in range(40)) + "."

    async def broken() -> AsyncGenerator[Any, None]:
        for word in once.split():
            yield chunk(f"{word} ")
        record.record_restart()
        yield chunk("\n\n")
        for word in once.split():
            yield chunk(f"{word} ")
        yield chunk(None, "stop")

    text, reason = await read(record, broken())
    assert (text, reason) == (f"{once} \n\n{once} ", "stop")
    assert record.degraded == ("base broke off: asked again",)
    assert record.can_restart
    assert not answering(withheld="guard").can_restart
