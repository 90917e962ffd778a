"""Test complete answers that are requested as streams from the model server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from twin_resources.gateway.api.stream_aggregation import StreamingTransport, aggregate_chunks

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
CHUNKS = [
    {"choices": [{"delta": {"role": "assistant", "content": None}, "finish_reason": None}]},
    {"choices": [{"delta": {"content": "Öl, "}, "finish_reason": None}]},
    {"choices": [{"delta": {"content": "\n\n{}"}, "finish_reason": None}]},
    {"choices": [{"delta": {}, "finish_reason": "length"}]},
    {"choices": [], "usage": USAGE, "timings": {"predicted_ms": 3}},
]
BODY = {"model": "base", "messages": [], "temperature": 0}


def encode_stream(chunks: list[dict[str, object]]) -> bytes:
    documents = ({"id": "chatcmpl-1", "created": 3, "model": "base"} | chunk for chunk in chunks)
    return b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents)


class FakeServer(httpx.AsyncBaseTransport):
    """A model server that returns the given bytes, or starts a response that never ends."""

    def __init__(self, body: bytes, *, status: int = 200, is_endless: bool = False) -> None:
        self.body, self.status, self.is_endless = body, status, is_endless
        self.requests: list[dict[str, object]] = []
        self.is_closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert int(request.headers["content-length"]) == len(request.content)
        self.requests.append(json.loads(request.content))
        server = self

        class Body(httpx.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield server.body[:20]
                if server.is_endless:
                    await asyncio.sleep(60)
                yield server.body[20:]

            async def aclose(self) -> None:
                server.is_closed = True

        return httpx.Response(self.status, stream=Body())


def create_client(server: FakeServer, *, timeout: float = 5.0) -> httpx.AsyncClient:
    transport = StreamingTransport(server, lambda address: address.startswith("http://ours/"))
    return httpx.AsyncClient(transport=transport, timeout=timeout)


async def post(server: FakeServer, url: str = "http://ours/v1/chat/completions", **fields: object):
    async with create_client(server) as client:
        return await client.post(url, json=BODY | fields)


async def test_a_streamed_answer_is_returned_complete() -> None:
    server = FakeServer(encode_stream(CHUNKS) + b"data: [DONE]\n\n")
    answer = (await post(server)).json()
    assert server.requests == [BODY | {"stream": True, "stream_options": {"include_usage": True}}]
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
async def test_other_requests_are_not_changed(url: str, fields: dict[str, object]) -> None:
    server = FakeServer(b"x" * 40)
    assert (await post(server, url, **fields)).content == b"x" * 40
    assert server.requests == [BODY | fields]


async def test_a_refusal_keeps_its_status_and_message() -> None:
    response = await post(FakeServer(b'{"error": {"message": "too long"}}', status=400))
    assert (response.status_code, response.json()["error"]["message"]) == (400, "too long")


async def test_a_cancelled_request_closes_the_connection_to_the_server() -> None:
    server = FakeServer(b"x" * 40, is_endless=True)
    request_task = asyncio.create_task(post(server))
    while not server.requests:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    request_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request_task
    assert server.is_closed


async def test_the_timeout_applies_to_the_whole_answer() -> None:
    server = FakeServer(b"x" * 40, is_endless=True)
    async with create_client(server, timeout=0.05) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post("http://ours/v1/chat/completions", json=BODY)
    assert server.is_closed


@pytest.mark.parametrize(
    "body",
    [encode_stream(CHUNKS[:3]), b"", encode_stream(CHUNKS[:3]) + b'error: {"code": 500}\n\n',
     encode_stream(CHUNKS[:3]) + b'data: {"error": {"code": 500}}\n\n'],
)  # fmt: skip
def test_an_interrupted_stream_is_an_error(body: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        aggregate_chunks(body)
