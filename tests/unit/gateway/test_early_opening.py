"""The opening of a stream before LiteLLM's own answer, its error, or its reader's leaving."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from tests.unit.gateway.test_answer_ending import answering
from twin_resources.gateway.early_opening import LEFT, READER_LEFT, OpeningFirst, begin_answer
from twin_resources.gateway.idempotency import Message, RecordedResponse, Send, StoredAnswer
from twin_resources.gateway.request_record import RequestRecord
from twin_resources.models.quotes.answer_text import HEADING, Opening

QUOTED = "> One drop of oil."
SHOWN = f"{QUOTED}\n\n{HEADING}\n\n"
PROSE = b'data: {"choices": [{"delta": {"content": "So."}}]}\n\n'
Inner = Callable[[Send], Awaitable[None]]


def quoting(**sent: Any) -> RequestRecord:
    record = answering(**sent)
    record.answer, record.opening = "quote_and_voice", Opening(QUOTED)
    return record


async def asked(record: RequestRecord | None, inner: Inner) -> tuple[list[Message], list[str]]:
    """What the reader gets, and the answers that are logged here."""
    got: list[Message] = []
    logged: list[str] = []

    async def send(message: Message) -> None:
        got.append(message)

    async def proxy(scope: Any, receive: Any, send: Send) -> None:
        if record is not None:
            await begin_answer(record, [], record.prefix)
        await inner(send)

    def log(told: RequestRecord, messages: Any) -> None:
        logged.append(told.shown)

    await OpeningFirst(proxy, log)({"type": "http"}, _never, send)
    return got, logged


async def _never() -> Message:
    raise AssertionError("nobody listens")


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
    got, logged = await asked(None, error)
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
    record = quoting(stream=True, stream_options={"include_usage": usage})
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
    assert record.is_over


async def test_who_leaves_at_the_quotation_leaves_a_trace_of_what_was_shown() -> None:
    record = quoting()
    waits = asyncio.Event()

    async def model(send: Send) -> None:
        waits.set()
        await asyncio.Event().wait()

    logged: list[RequestRecord] = []

    async def proxy(scope: Any, receive: Any, send: Send) -> None:
        await begin_answer(record, [], record.prefix)
        await model(send)

    async def send(message: Message) -> None:
        del message

    app = OpeningFirst(proxy, lambda told, _: logged.append(told))
    request = asyncio.create_task(app({"type": "http"}, _never, send))
    await waits.wait()
    request.cancel()
    await asyncio.wait({request})
    assert logged == [record]
    assert record.shown == SHOWN
    assert (record.chosen.version, record.degraded) == ("quotes", (LEFT,))
    assert record.is_over


async def test_litellms_word_for_a_reader_who_left_is_no_failure_of_the_model() -> None:
    record = quoting()

    async def cancelled(send: Send) -> None:
        await send({"type": "http.response.start", "status": READER_LEFT, "headers": []})
        await send({"type": "http.response.body", "body": b'{"error": {}}'})

    got, logged = await asked(record, cancelled)
    assert len(got) == 2
    assert (record.degraded, logged) == ((LEFT,), [SHOWN])


async def test_an_answer_left_in_its_prose_is_logged_by_litellm() -> None:
    record = quoting()

    async def model(send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        record.is_prose_begun = True

    assert (await asked(record, model))[1] == []
    assert record.chosen.version == "base"


async def test_an_answer_without_its_prose_is_not_kept_for_a_retry() -> None:
    kept: list[StoredAnswer] = []

    async def keep(answer: StoredAnswer) -> None:
        kept.append(answer)

    for inner, expected in ((error, 0), (prose, 1)):
        recording = RecordedResponse(_ignored, keep)
        for message in (await asked(quoting(), inner))[0]:
            await recording(message)
        assert len(kept) == expected
        assert recording.is_kept == bool(expected)


async def _ignored(message: Message) -> None:
    del message
