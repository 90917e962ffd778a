"""Whole answers asked by stream: what the server is sent, and what LiteLLM gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from twin_resources.gateway.api.stream_aggregation import StreamingTransport, aggregate

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
PIECES = [
    {"choices": [{"delta": {"role": "assistant", "content": None}, "finish_reason": None}]},
    {"choices": [{"delta": {"content": "Öl, "}, "finish_reason": None}]},
    {"choices": [{"delta": {"content": "\n\n{}"}, "finish_reason": None}]},
    {"choices": [{"delta": {}, "finish_reason": "length"}]},
    {"choices": [], "usage": USAGE, "timings": {"predicted_ms": 3}},
]
BODY = {"model": "base", "messages": [], "temperature": 0}


def stream(pieces: list[dict[str, object]]) -> bytes:
    told = ({"id": "chatcmpl-1", "created": 3, "model": "base"} | piece for piece in pieces)
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in told)


class Server(httpx.AsyncBaseTransport):
    """A model server that answers with these bytes, and with `forever` never ends."""

    def __init__(self, raw: bytes, *, status: int = 200, forever: bool = False) -> None:
        self.raw, self.status, self.forever = raw, status, forever
        self.asked: list[dict[str, object]] = []
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert int(request.headers["content-length"]) == len(request.content)
        self.asked.append(json.loads(request.content))
        server = self

        class Body(httpx.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield server.raw[:20]
                if server.forever:
                    await asyncio.sleep(60)
                yield server.raw[20:]

            async def aclose(self) -> None:
                server.closed = True

        return httpx.Response(self.status, stream=Body())


def client(server: Server, **fields: float) -> httpx.AsyncClient:
    transport = StreamingTransport(server, lambda address: address.startswith("http://ours/"))
    return httpx.AsyncClient(transport=transport, timeout=fields.get("timeout", 5))


async def ask(server: Server, url: str = "http://ours/v1/chat/completions", **fields: object):
    async with client(server) as asking:
        return await asking.post(url, json=BODY | fields)


async def test_the_server_is_asked_by_stream_and_the_answer_is_in_one_piece() -> None:
    server = Server(stream(PIECES) + b"data: [DONE]\n\n")
    answer = (await ask(server)).json()
    assert server.asked == [BODY | {"stream": True, "stream_options": {"include_usage": True}}]
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Öl, \n\n{}"}
    assert (choice["finish_reason"], answer["usage"], answer["id"]) == (
        "length",
        USAGE,
        "chatcmpl-1",
    )
    assert "timings" not in answer


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("http://ours/v1/chat/completions", {"stream": True}),
        ("http://provider/v1/chat/completions", {}),
        ("http://ours/v1/models", {}),
    ],
)
async def test_everything_else_passes_as_it_is(url: str, fields: dict[str, object]) -> None:
    server = Server(b"x" * 40)
    assert (await ask(server, url, **fields)).content == b"x" * 40
    assert server.asked == [BODY | fields]


async def test_a_refusal_of_the_server_keeps_its_status_and_words() -> None:
    answer = await ask(Server(b'{"error": {"message": "too long"}}', status=400))
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "too long")


async def test_who_leaves_closes_the_connection_to_the_server() -> None:
    server = Server(b"x" * 40, forever=True)
    asking = asyncio.create_task(ask(server))
    while not server.asked:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert server.closed


async def test_the_time_limit_is_for_the_whole_answer() -> None:
    server = Server(b"x" * 40, forever=True)
    async with client(server, timeout=0.05) as asking:
        with pytest.raises(httpx.ReadTimeout):
            await asking.post("http://ours/v1/chat/completions", json=BODY)
    assert server.closed


@pytest.mark.parametrize(
    "raw",
    [stream(PIECES[:3]), b"", stream(PIECES[:3]) + b'error: {"code": 500}\n\n',
     stream(PIECES[:3]) + b'data: {"error": {"code": 500}}\n\n'],
)  # fmt: skip
def test_a_stream_that_breaks_off_is_an_error(raw: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        aggregate(raw)
