"""Test answers that start before LiteLLM is called or that need no model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Send

from tests.unit.gateway.exchanges import KEY, create_record
from twin_resources.access.keys import Key
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.early_opening import CLIENT_DISCONNECTED_STATUS, DISCONNECT_NOTE
from twin_resources.gateway.api.preparation import (
    CHECKED_REQUEST,
    CheckedRequest,
    PreparationMiddleware,
)
from twin_resources.gateway.exchange.exchange import FixedText
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.request.request_body import ChatRequest, read_question

QUOTATION = "> One drop of oil."
PROSE = b'data: {"choices": [{"delta": {"content": "So."}}]}\n\n'
Respond = Callable[[Send], Awaitable[None]]


def create_quoting_record(**body_fields: Any) -> RequestRecord:
    fields: dict[str, Any] = {"stream": True} | body_fields
    return create_record(opening=QUOTATION, **fields)


def create_middleware(
    record: RequestRecord, proxy: ASGIApp, log: list[str], *, fixed_text: str = ""
) -> ASGIApp:
    async def prepare(question: ChatRequest, key: Key) -> RequestRecord:
        assert (question.author, key) == ("ann", KEY)
        record.exchange = replace(record.exchange, fixed_text=FixedText(fixed_text))
        return record

    return PreparationMiddleware(
        proxy,
        prepare,
        lambda record: log.append(f"fixed: {record.shown_text}"),
        lambda record: log.append(record.shown_text),
    )


def create_scope() -> dict[str, Any]:
    messages = [{"role": "user", "content": "Which oil?"}]
    body = {"model": "twin/ann", "messages": messages}
    request = CheckedRequest(KEY, read_question(body), json.dumps(body).encode())
    return {"type": "http", "method": "POST", CHECKED_REQUEST: request}


async def receive_nothing() -> Message:
    raise AssertionError("LiteLLM alone reads the body")


async def send_request(
    record: RequestRecord, respond: Respond, *, fixed_text: str = ""
) -> tuple[list[Message], list[str]]:
    """Return the messages to the reader and the logged answers."""
    messages: list[Message] = []
    log: list[str] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def proxy(_: Any, receive: Any, send: Send) -> None:
        assert receive is receive_nothing
        await respond(send)

    app = create_middleware(record, proxy, log, fixed_text=fixed_text)
    await app(create_scope(), receive_nothing, send)
    return messages, log


async def fail_if_called(send: Send) -> None:
    raise AssertionError("LiteLLM was called")


async def send_prose(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": PROSE, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def send_error(send: Send) -> None:
    await send({"type": "http.response.start", "status": 503, "headers": []})
    await send({"type": "http.response.body", "body": b'{"error": {}}'})


def read_events(messages: list[Message]) -> list[Mapping[str, Any]]:
    stream = b"".join(message.get("body", b"") for message in messages).decode()
    parts = [part.removeprefix("data: ") for part in stream.split("\n\n") if part]
    return [json.loads(part) for part in parts if part != "[DONE]"]


async def test_an_answer_without_an_opening_is_not_changed() -> None:
    messages, log = await send_request(create_record(stream=True), send_error)
    assert [message.get("status") for message in messages] == [503, None]
    assert log == []


async def test_the_opening_precedes_the_answer_with_one_response_start() -> None:
    record = create_quoting_record()
    messages, log = await send_request(record, send_prose)
    assert [message["type"] for message in messages] == [
        "http.response.start",
        *["http.response.body"] * 3,
    ]
    headers = dict(messages[0]["headers"])
    assert headers[b"x-twin-trace-id"] == record.trace_id.encode()
    assert headers[b"content-type"].startswith(b"text/event-stream")
    first, second = read_events(messages)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": QUOTATION}
    assert first["twin"]["trace_id"] == record.trace_id
    assert first["model"] == "twin/ann"
    assert second["choices"][0]["delta"] == {"content": "So."}
    assert log == []


@pytest.mark.parametrize("include_usage", [True, False])
async def test_a_failed_model_leaves_the_quotation_and_is_reported(include_usage: bool) -> None:
    record = create_quoting_record(stream_options={"include_usage": include_usage})
    messages, log = await send_request(record, send_error)
    first, last, *usage_chunks = read_events(messages)
    assert first["twin"]["answer"] == "quote_and_voice"
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert last["id"] == first["id"]
    assert last["twin"]["answer"] == "quote"
    assert last["twin"]["degraded"] == "no prose: the model server 'base' does not answer"
    assert [chunk["usage"]["total_tokens"] for chunk in usage_chunks] == [0] * include_usage
    assert messages[-1]["body"].endswith(b"data: [DONE]\n\n")
    assert log == [QUOTATION]
    assert record.cost.is_ended


async def test_a_reader_who_disconnects_at_the_quotation_is_logged() -> None:
    record = create_quoting_record()
    is_waiting = asyncio.Event()

    async def model(send: Send) -> None:
        is_waiting.set()
        await asyncio.Event().wait()

    log: list[str] = []

    async def proxy(_: Any, receive: Any, send: Send) -> None:
        await model(send)

    app = create_middleware(record, proxy, log)
    request = asyncio.ensure_future(app(create_scope(), receive_nothing, _ignore_message))
    await is_waiting.wait()
    request.cancel()
    await asyncio.wait({request})
    assert log == [QUOTATION]
    assert (record.decision.version, record.degraded) == ("quotes", (DISCONNECT_NOTE,))
    assert record.cost.is_ended


async def test_a_disconnect_reported_by_litellm_is_not_a_model_failure() -> None:
    record = create_quoting_record()

    async def send_disconnect(send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": CLIENT_DISCONNECTED_STATUS, "headers": []}
        )
        await send({"type": "http.response.body", "body": b'{"error": {}}'})

    messages, log = await send_request(record, send_disconnect)
    assert len(messages) == 2
    assert (record.degraded, log) == ((DISCONNECT_NOTE,), [QUOTATION])


def create_quotes_only_record(**body_fields: Any) -> RequestRecord:
    record = create_quoting_record(**body_fields)
    record.answer_form = "quote"
    return record


@pytest.mark.parametrize("include_usage", [True, False])
async def test_a_stream_of_quotations_does_not_reach_litellm(include_usage: bool) -> None:
    record = create_quotes_only_record(stream_options={"include_usage": include_usage})
    messages, log = await send_request(record, fail_if_called, fixed_text=QUOTATION)
    first, last, *usage_chunks = read_events(messages)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": QUOTATION}
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert last["twin"]["cost_usd"] == 0.0
    assert [chunk["usage"]["total_tokens"] for chunk in usage_chunks] == [0] * include_usage
    assert messages[-1]["body"].endswith(b"data: [DONE]\n\n")
    assert log == [f"fixed: {QUOTATION}"]


async def test_an_answer_of_quotations_does_not_reach_litellm() -> None:
    record = create_quotes_only_record(stream=False)
    messages, log = await send_request(record, fail_if_called, fixed_text=QUOTATION)
    assert dict(messages[0]["headers"])[b"x-twin-trace-id"] == record.trace_id.encode()
    document = json.loads(messages[1]["body"])
    assert document["choices"][0]["message"] == {"role": "assistant", "content": QUOTATION}
    assert (document["object"], document["model"]) == ("chat.completion", "twin/ann")
    assert document["twin"]["trace_id"] == record.trace_id
    assert document["usage"]["total_tokens"] == 0
    assert log == [f"fixed: {QUOTATION}"]
    assert record.cost.is_ended


@pytest.mark.parametrize(("call_id", "released_count"), [("", 1), ("c1", 0)])
async def test_a_reservation_is_released_if_no_provider_was_called(
    call_id: str, released_count: int
) -> None:
    """The call id is set when LiteLLM's hook runs, after the reservation."""
    settlements: list[str] = []

    class FakePaidCall:
        usd = 0.0

        def settle_unsent(self) -> None:
            settlements.append("unsent")

    record = create_record(stream=True)
    paid_call: Any = FakePaidCall()
    record.cost.paid_call, record.call_id = paid_call, call_id
    await send_request(record, send_error)
    assert len(settlements) == released_count


async def test_an_internal_error_is_a_500() -> None:
    async def prepare(question: ChatRequest, key: Key) -> RequestRecord:
        raise KeyError("ann")

    app = PreparationMiddleware(_fail_if_proxied, prepare, _fail_if_logged, _fail_if_logged)
    with pytest.raises(RefusedError) as excinfo:
        await app(create_scope(), receive_nothing, _ignore_message)
    assert (excinfo.value.status, excinfo.value.code) == (500, "gateway_failed")


async def _fail_if_proxied(_scope: Any, _receive: Any, _send: Send) -> None:
    raise AssertionError("LiteLLM was called")


def _fail_if_logged(record: RequestRecord) -> None:
    raise AssertionError("nothing was answered")


async def test_a_disconnect_during_the_prose_is_logged_by_litellm() -> None:
    record = create_quoting_record()

    async def model(send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        record.has_prose = True

    assert (await send_request(record, model))[1] == []
    assert record.decision.version == "base"


async def _ignore_message(message: Message) -> None:
    del message
