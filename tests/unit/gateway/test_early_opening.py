"""What goes out before LiteLLM is entered: the opening of a stream, and LiteLLM's answer, its error
or its reader's leaving behind it; and the whole of an answer that no model writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Send

from tests.unit.gateway.exchanges import create_record
from twin_resources.access.keys import Key
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.early_opening import CLIENT_DISCONNECTED_STATUS, DISCONNECT_NOTE
from twin_resources.gateway.api.idempotency import RecordedResponse, StoredAnswer
from twin_resources.gateway.api.preparation import PreparationMiddleware
from twin_resources.gateway.exchange.exchange import FixedText
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.models.quotes.answer_text import PROSE_HEADING

QUOTED = "> One drop of oil."
SHOWN = f"{QUOTED}\n\n{PROSE_HEADING}\n\n"
PROSE = b'data: {"choices": [{"delta": {"content": "So."}}]}\n\n'
Inner = Callable[[Send], Awaitable[None]]


def quoting(**sent: Any) -> RequestRecord:
    fields: dict[str, Any] = {"stream": True} | sent
    return create_record(opening=QUOTED, **fields)


class Keys:
    """In the place of the keyring."""

    def find(self, authorization: str) -> Key:
        return Key("0123456789abcdef", "reader", frozenset({"*"}), authorization)


def middleware(
    record: RequestRecord, proxy: ASGIApp, logged: list[str], *, fixed: str = ""
) -> ASGIApp:
    async def prepare(question: ChatRequest, key: Key) -> RequestRecord:
        assert (question.author, key.label) == ("ann", "Bearer k")
        record.exchange = replace(record.exchange, fixed_text=FixedText(fixed))
        return record

    keys: Any = Keys()
    return PreparationMiddleware(
        proxy,
        keys,
        prepare,
        lambda told: logged.append(f"fixed: {told.shown_text}"),
        lambda told: logged.append(told.shown_text),
    )


def scope() -> dict[str, Any]:
    return {"type": "http", "method": "POST", "headers": [(b"authorization", b"Bearer k")]}


async def body() -> Message:
    messages = [{"role": "user", "content": "Which oil?"}]
    sent = json.dumps({"model": "twin/ann", "messages": messages}).encode()
    return {"type": "http.request", "body": sent, "more_body": False}


async def asked(
    record: RequestRecord, inner: Inner, *, fixed: str = ""
) -> tuple[list[Message], list[str]]:
    """What the reader gets, and the answers that are logged here."""
    got: list[Message] = []
    logged: list[str] = []

    async def send(message: Message) -> None:
        got.append(message)

    async def proxy(scope: Any, receive: Any, send: Send) -> None:
        assert json.loads((await receive())["body"])["model"] == "twin/ann"
        await inner(send)

    await middleware(record, proxy, logged, fixed=fixed)(scope(), body, send)
    return got, logged


async def not_entered(send: Send) -> None:
    raise AssertionError("LiteLLM was entered")


async def prose(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": PROSE, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def error(send: Send) -> None:
    await send({"type": "http.response.start", "status": 503, "headers": []})
    await send({"type": "http.response.body", "body": b'{"error": {}}'})


def events(messages: list[Message]) -> list[Mapping[str, Any]]:
    body = b"".join(message.get("body", b"") for message in messages).decode()
    parts = [part.removeprefix("data: ") for part in body.split("\n\n") if part]
    return [json.loads(part) for part in parts if part != "[DONE]"]


async def test_an_answer_without_an_opening_passes_as_it_is() -> None:
    got, logged = await asked(create_record(stream=True), error)
    assert [message.get("status") for message in got] == [503, None]
    assert logged == []


async def test_the_opening_stands_before_the_answer_and_the_answer_has_one_head() -> None:
    record = quoting()
    got, logged = await asked(record, prose)
    assert [message["type"] for message in got] == [
        "http.response.start",
        *["http.response.body"] * 3,
    ]
    headers = dict(got[0]["headers"])
    assert headers[b"x-twin-trace-id"] == record.trace_id.encode()
    assert headers[b"content-type"].startswith(b"text/event-stream")
    first, second = events(got)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": SHOWN}
    assert first["twin"]["trace_id"] == record.trace_id
    assert first["model"] == "twin/ann"
    assert second["choices"][0]["delta"] == {"content": "So."}
    assert logged == []


@pytest.mark.parametrize("usage", [True, False])
async def test_without_prose_the_quotation_stays_and_the_answer_says_so(usage: bool) -> None:
    record = quoting(stream_options={"include_usage": usage})
    got, logged = await asked(record, error)
    first, last, *more = events(got)
    assert first["twin"]["answer"] == "quote_and_voice"
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert last["id"] == first["id"]
    assert last["twin"]["answer"] == "quote"
    assert last["twin"]["degraded"] == "no prose: the model server 'base' does not answer"
    assert [one["usage"]["total_tokens"] for one in more] == [0] * usage
    assert got[-1]["body"].endswith(b"data: [DONE]\n\n")
    assert logged == [SHOWN]
    assert record.cost.is_ended


async def test_who_leaves_at_the_quotation_leaves_a_trace_of_what_was_shown() -> None:
    record = quoting()
    waits = asyncio.Event()

    async def model(send: Send) -> None:
        waits.set()
        await asyncio.Event().wait()

    logged: list[str] = []

    async def proxy(scope: Any, receive: Any, send: Send) -> None:
        await model(send)

    app = middleware(record, proxy, logged)
    request = asyncio.ensure_future(app(scope(), body, _ignored))
    await waits.wait()
    request.cancel()
    await asyncio.wait({request})
    assert logged == [SHOWN]
    assert (record.decision.version, record.degraded) == ("quotes", (DISCONNECT_NOTE,))
    assert record.cost.is_ended


async def test_litellms_word_for_a_reader_who_left_is_no_failure_of_the_model() -> None:
    record = quoting()

    async def cancelled(send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": CLIENT_DISCONNECTED_STATUS, "headers": []}
        )
        await send({"type": "http.response.body", "body": b'{"error": {}}'})

    got, logged = await asked(record, cancelled)
    assert len(got) == 2
    assert (record.degraded, logged) == ((DISCONNECT_NOTE,), [SHOWN])


def only_quoting(**sent: Any) -> RequestRecord:
    record = quoting(**sent)
    record.answer_form = "quote"
    return record


@pytest.mark.parametrize("usage", [True, False])
async def test_a_stream_that_only_quotes_never_enters_litellm(usage: bool) -> None:
    record = only_quoting(stream_options={"include_usage": usage})
    got, logged = await asked(record, not_entered, fixed=QUOTED)
    first, last, *more = events(got)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": QUOTED}
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert last["twin"]["cost_usd"] == 0.0
    assert [one["usage"]["total_tokens"] for one in more] == [0] * usage
    assert got[-1]["body"].endswith(b"data: [DONE]\n\n")
    assert logged == [f"fixed: {QUOTED}"]


async def test_a_whole_answer_that_only_quotes_never_enters_litellm() -> None:
    record = only_quoting(stream=False)
    got, logged = await asked(record, not_entered, fixed=QUOTED)
    assert dict(got[0]["headers"])[b"x-twin-trace-id"] == record.trace_id.encode()
    document = json.loads(got[1]["body"])
    assert document["choices"][0]["message"] == {"role": "assistant", "content": QUOTED}
    assert (document["object"], document["model"]) == ("chat.completion", "twin/ann")
    assert document["twin"]["trace_id"] == record.trace_id
    assert document["usage"]["total_tokens"] == 0
    assert logged == [f"fixed: {QUOTED}"]
    assert record.cost.is_ended


@pytest.mark.parametrize(("call_id", "given_back"), [("", 1), ("c1", 0)])
async def test_what_was_set_aside_is_given_back_where_no_provider_was_asked(
    call_id: str, given_back: int
) -> None:
    """A reader who leaves between the reservation and LiteLLM's hook, and one who leaves behind."""
    ends: list[str] = []

    class Bought:
        usd = 0.0

        def settle_unsent(self) -> None:
            ends.append("unsent")

    record = create_record(stream=True)
    bought: Any = Bought()
    record.cost.paid_call, record.call_id = bought, call_id
    await asked(record, error)
    assert len(ends) == given_back


async def test_an_error_of_ours_is_refused_as_ours() -> None:
    async def prepare(question: ChatRequest, key: Key) -> RequestRecord:
        raise KeyError("ann")

    keys: Any = Keys()
    app = PreparationMiddleware(_never_entered, keys, prepare, _not_logged, _not_logged)
    with pytest.raises(RefusedError) as refused:
        await app(scope(), body, _ignored)
    assert (refused.value.status, refused.value.code) == (500, "gateway_failed")


async def _never_entered(scope: Any, receive: Any, send: Send) -> None:
    raise AssertionError("LiteLLM was entered")


def _not_logged(record: RequestRecord) -> None:
    raise AssertionError("nothing was answered")


async def test_an_answer_left_in_its_prose_is_logged_by_litellm() -> None:
    record = quoting()

    async def model(send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        record.has_prose = True

    assert (await asked(record, model))[1] == []
    assert record.decision.version == "base"


async def test_an_answer_without_its_prose_is_not_kept_for_a_retry() -> None:
    kept: list[StoredAnswer] = []

    async def keep(answer: StoredAnswer) -> None:
        kept.append(answer)

    for inner, expected in ((error, 0), (prose, 1)):
        recording = RecordedResponse(_ignored, keep)
        for message in (await asked(quoting(), inner))[0]:
            await recording(message)
        assert len(kept) == expected
        assert recording.is_stored == bool(expected)


async def _ignored(message: Message) -> None:
    del message
