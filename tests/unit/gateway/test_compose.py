"""Test how an answer is composed: its opening, its prose, a failing model, a leaving reader."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.gateway.exchanges import (
    FakeRouter,
    compose,
    create_call,
    create_composer,
    create_record,
)
from twin_resources.access.keys import Key, KeyLimits, open_key_store
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.compose import DISCONNECT_NOTE, READER_LEFT
from twin_resources.gateway.exchange.exchange import FixedText, RequestRecord
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.prompt.templates import ANSWER_MODEL_TEMPLATE, DEFAULT_TEMPLATE, Template
from twin_resources.settings import Settings

QUOTATION = "> One drop of oil."
HEADING = "\n\n✎ **Written by a program, not by Ann**\n\n"
REPEATED_SENTENCE = "The clock is a machine that tells the time of the day. "
TRUNCATED_TEXT = "It went well. And then the clock"
BROKEN = RuntimeError("the connection was lost")
STABLE = RouteDecision("ann/v1", "v1", "c", "", "stable", 1.0)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin_resources.gateway.compose.FIRST_PAUSE_S", 0.0)


def create_quoting_record(**body: Any) -> RequestRecord:
    fields: dict[str, Any] = {"stream": True} | body
    return create_record(opening=QUOTATION, **fields)


def create_canary_record(**body: Any) -> RequestRecord:
    record = create_record(**body)
    exchange = record.exchange
    fallback = replace(exchange, decision=STABLE, sampling={**exchange.sampling, "max_tokens": 55})
    record.exchange = replace(exchange, fallback=fallback)
    record.decision = replace(record.decision, server_key="ann/v2", version="v2", route="canary")
    return record


def split_words(text: str) -> list[str]:
    return [f"{word} " for word in text.split()]


async def test_the_opening_is_sent_before_the_model_is_called() -> None:
    record, router = create_quoting_record(), FakeRouter(["So."])
    answer = create_composer(record, router).answer(record.chat_request, create_call())
    assert (await anext(answer), router.calls) == (QUOTATION, [])
    assert [piece async for piece in answer] == [f"{HEADING}So."]
    assert record.shown_text == "So.", "the trace contains the prose, which the loop judges"
    assert (record.usage["total"], record.is_ended) == (7, True)


async def test_a_whole_answer_is_read_as_a_stream_below_its_opening() -> None:
    """A server notices a reader who left only when it writes the next chunk."""
    record, router = create_quoting_record(stream=False), FakeRouter(["So."])
    pieces, traced = await compose(record, router)
    assert "".join(pieces) == f"{QUOTATION}{HEADING}So."
    assert traced == [("So.", "")]
    assert router.calls[0]["stream"] is True


@pytest.mark.parametrize(
    ("template", "engine", "body", "is_banned"),
    [
        (ANSWER_MODEL_TEMPLATE, "xllamacpp 2026.10", {}, True),
        (ANSWER_MODEL_TEMPLATE, "vllm 0.32", {}, False),  # it takes token ids, which are unknown
        (DEFAULT_TEMPLATE, "xllamacpp 2026.10", {}, False),
        # a program's yes or no
        (ANSWER_MODEL_TEMPLATE, "xllamacpp 2026.10", {"model": "twin/ann@stable"}, False),
        (
            ANSWER_MODEL_TEMPLATE,
            "xllamacpp 2026.10",
            {"response_format": {"type": "json_object"}},
            False,
        ),
    ],
)
async def test_a_named_model_may_not_begin_with_yes_or_no(
    template: Template, engine: str, body: dict[str, Any], is_banned: bool
) -> None:
    record, router = create_record(**body), FakeRouter(["So."])
    record.exchange = replace(record.exchange, template=template)
    record.decision = replace(record.decision, engine=engine)
    await compose(record, router)
    banned = [word.strip() for word, _ in router.calls[0].get("logit_bias", [])]
    assert {"Yes", "No"} <= set(banned) if is_banned else not banned


async def test_a_fixed_answer_calls_no_model() -> None:
    record = create_quoting_record()
    record.answer_form = "quote"
    record.exchange = replace(record.exchange, fixed_text=FixedText(QUOTATION))
    assert await compose(record) == ([QUOTATION], [(QUOTATION, "")])
    assert record.twin_field()["cost_usd"] == 0.0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failed_model_leaves_a_streams_quotation_and_is_reported(stream: bool) -> None:
    record = create_quoting_record(stream=stream)
    if not stream:
        with pytest.raises(RefusedError) as caught:
            await compose(record, FakeRouter(*[BROKEN] * 4))
        assert (caught.value.status, caught.value.code) == (503, "model_server_failed")
        return
    assert await compose(record, FakeRouter(*[BROKEN] * 4)) == ([QUOTATION], [(QUOTATION, "")])
    twin = record.twin_field()
    assert (twin["answer"], record.finish_reason) == ("quote", "stop")
    assert twin["degraded"] == "no prose: the model server 'base' does not answer"


async def test_without_the_servers_address_nothing_is_sent() -> None:
    """LiteLLM would send the prompt to OpenAI."""
    record, router = create_record(), FakeRouter()
    record.decision = replace(record.decision, server_key="gone/v9")
    with pytest.raises(RefusedError) as caught:
        await compose(record, router)
    assert (caught.value.code, router.calls) == ("model_server_failed", [])


@pytest.mark.parametrize(
    ("has_opening", "text", "traced", "notes"),
    [
        (True, "", (QUOTATION, ""), (DISCONNECT_NOTE,)),
        (True, "One drop is enough for it", ("One drop", ""), ()),
        (True, "One drop", (QUOTATION, ""), (DISCONNECT_NOTE,)),
        (False, "", ("", READER_LEFT), ()),
    ],
)
async def test_a_reader_who_leaves_ends_the_model_and_is_traced(
    has_opening: bool, text: str, traced: tuple[str, str], notes: tuple[str, ...]
) -> None:
    record = create_record(opening=QUOTATION * has_opening, stream=True)
    is_waiting = asyncio.Event()

    class WaitingRouter(FakeRouter):
        async def _stream(self, parts: Any) -> Any:
            try:
                async for chunk in super()._stream(parts[:-1]):
                    if chunk.choices[0].finish_reason is None:
                        yield chunk
                        continue
                    is_waiting.set()
                    await asyncio.Event().wait()
            finally:
                self.closed_count += 1

    router = WaitingRouter([*split_words(text), ""])
    composer = create_composer(record, router)
    answer = composer.answer(record.chat_request, create_call())

    async def read() -> None:
        async for _ in answer:
            pass

    reader = asyncio.ensure_future(read())
    await is_waiting.wait()
    reader.cancel()
    await asyncio.wait({reader})
    await answer.aclose()
    tracer: Any = composer.tracer
    [(shown, error)] = tracer.answers
    assert (shown.strip()[: len(traced[0])], error) == traced
    assert (record.degraded, record.is_ended) == (notes, True)
    assert router.closed_count
    assert list(composer.admission.counts._local_table) == [], "its place is free again"


async def test_a_failing_canary_is_answered_for_by_the_stable_version() -> None:
    record = create_canary_record(stream=True)
    router = FakeRouter(BROKEN, BROKEN, ["One drop."])
    pieces, _ = await compose(record, router)
    assert "".join(pieces).endswith("One drop.")
    assert record.degraded == ("canary failed (RuntimeError): answered by stable",)
    models = [call["model"] for call in router.calls]
    assert models == ["openai/ann/v2", "openai/ann/v1", "openai/ann/v1"], "it is asked twice"
    assert router.calls[-1]["max_tokens"] == 55


async def test_if_the_stable_version_fails_too_the_answer_is_refused() -> None:
    record = create_canary_record()
    with pytest.raises(RefusedError):
        await compose(record, FakeRouter(*[BROKEN] * 5))
    assert record.degraded == ("canary failed, and so did stable",)


@pytest.mark.parametrize(
    ("create", "note"),
    [
        (create_canary_record, "canary broke off: answered again by stable"),
        (create_record, "base broke off: answered again"),
    ],
)
async def test_a_stream_that_breaks_off_is_answered_again_below_the_first_text(
    create: Any, note: str
) -> None:
    """The second answer may repeat the first, which is no loop of the model."""
    once = split_words("".join(f"word{number} " for number in range(40)) + ". ")
    record = create(stream=True)
    pieces, _ = await compose(record, FakeRouter([*once, BROKEN], once))
    text = "".join(once).strip()
    assert "".join(pieces).removeprefix(record.heading).strip() == f"{text} \n\n{text}"
    assert record.degraded == (note,)


async def test_json_is_not_answered_again_after_its_first_text() -> None:
    record = create_record(stream=True, response_format={"type": "json_object"})
    with pytest.raises(RefusedError):
        await compose(record, FakeRouter(['{"a"', BROKEN], ['{"a": 1}']))
    record = create_record(response_format={"type": "json_object"})
    pieces, _ = await compose(record, FakeRouter([BROKEN], ['{"a": 1}']))
    assert pieces == ['{"a": 1}']


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_reaches_the_limit_ends_with_a_whole_sentence(stream: bool) -> None:
    words = [f"w{number} " for number in range(150)]
    sentences = " ".join(
        "".join(words[start : start + 10]).strip() + "." for start in range(0, 150, 10)
    )
    record = create_record(stream=stream)
    router = FakeRouter(split_words(f"{sentences} And this one is not"), reason="length")
    pieces, _ = await compose(record, router)
    assert "".join(pieces).removeprefix(record.heading) == sentences
    assert record.finish_reason == "stop", (
        "the limit is the author's, and no sentence is incomplete"
    )
    assert record.shown_text == sentences, "the trace contains the text that the reader received"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeating_answer_is_ended_and_reported(stream: bool) -> None:
    record = create_record(stream=stream)
    pieces, _ = await compose(record, FakeRouter(split_words(REPEATED_SENTENCE * 8)))
    assert "".join(pieces).removeprefix(record.heading) == REPEATED_SENTENCE.strip()
    assert record.finish_reason == "stop"
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
        for stream in (False, True):
            record = create_record(stream=stream, **body)
            pieces, _ = await compose(record, FakeRouter([text], reason="length"))
            assert "".join(pieces).removeprefix(record.heading) == text
            assert (record.finish_reason, record.degraded) == ("length", ())


class FakeCall:
    """A paid call that lists its settlements; the first one counts."""

    usd = 0.0

    def __init__(self) -> None:
        self.settlements: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.settlements.append(name)


@pytest.mark.parametrize(
    ("answers", "first"),
    [
        (None, "settle_unsent"),
        ((["One drop."],), "record_text"),
        ((BROKEN,), "settle_failed"),
        (([],), "settle_answer"),
    ],
)
async def test_a_paid_call_is_settled_once_whatever_happens(answers: Any, first: str) -> None:
    record, paid_call = create_record(), FakeCall()
    call: Any = paid_call
    record.paid_call = call
    composer = create_composer(record, FakeRouter(*(answers or ())))
    if answers is None:
        composer.admission.max_per_server = 0
    try:
        async for _ in composer.answer(record.chat_request, create_call()):
            pass
    except RefusedError:
        assert first in {"settle_unsent", "settle_failed"}
    assert paid_call.settlements[0] == first
    if first == "record_text":
        assert paid_call.settlements[1] == "settle_answer"


async def test_an_internal_error_is_a_500() -> None:
    composer, record = create_composer(KeyError("ann")), create_record()
    with pytest.raises(RefusedError) as caught:
        await anext(composer.answer(record.chat_request, create_call()))
    assert (caught.value.status, caught.value.code) == (500, "gateway_failed")


async def test_a_key_at_its_limit_is_refused_until_the_answer_ends(home: Settings) -> None:
    key = Key("r", "site", frozenset({"*"}), "my site", "k1", KeyLimits(at_once=1))
    with closing(open_key_store(home)) as state:
        record = create_record(stream=True)
        composer = create_composer(
            record, FakeRouter(["One ", "drop."], ["One."]), open_state=lambda: state
        )
        call, stored = create_call(key), []
        call.store = lambda trace_id, text: stored.append((trace_id, text))
        answer = composer.answer(record.chat_request, call)
        first = await anext(answer)
        with pytest.raises(RefusedError) as caught:
            await anext(composer.answer(record.chat_request, create_call(key)))
        assert (caught.value.code, caught.value.retry_after_s) == ("key_busy", 2)
        rest = [piece async for piece in answer]
        assert stored == [(record.trace_id, first + "".join(rest))]
        again = create_composer(create_record(), FakeRouter(["One."]), open_state=lambda: state)
        async for _ in again.answer(record.chat_request, create_call(key)):
            pass
