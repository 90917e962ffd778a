"""Request whole answers from a model server as streams, so that a disconnect ends the generation.

Scope: the HTTP transport under LiteLLM that requests a stream and joins its chunks.
Out of scope: streams that a client requested; LiteLLM forwards those.

LiteLLM cancels its call when the client disconnects (`cancel_on_disconnect`), and the connection
closes. llama.cpp notices this only when it writes the next chunk of a stream. After a client
disconnected at 902 of 1,500 tokens, llama.cpp generated 1,143 tokens with a stream and all 1,500
without one (xllamacpp 2026.10). LiteLLM receives one whole answer in both cases.
Stream format: https://platform.openai.com/docs/api-reference/chat-streaming
"""
# pyright: strict, reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx

_KEPT_FIELDS = ("id", "created", "model", "system_fingerprint")


def install_stream_transport(is_own_server: Callable[[str], bool]) -> None:
    """Install this transport in LiteLLM's OpenAI client and keep the client's other settings.

    The client does not follow redirects, so that the prompt and the key reach only the configured
    provider.

    Args:
        is_own_server: see `StreamingTransport`.

    Raises:
        TypeError: LiteLLM created no HTTP client.
    """
    import litellm
    from litellm.llms.openai.common_utils import BaseOpenAILLM

    litellm_module: Any = litellm
    client: Any = BaseOpenAILLM.get_async_http_client()
    if client is None:
        raise TypeError(
            "LiteLLM created no HTTP client: adapt stream_aggregation.py to this version"
        )
    client._transport = StreamingTransport(client._transport, is_own_server)
    client.follow_redirects = False
    litellm_module.aclient_session = client


class StreamingTransport(httpx.AsyncBaseTransport):
    """A transport that requests whole chat answers as streams and forwards other requests.

    Args:
        inner: the transport that sends the requests.
        is_own_server: returns whether an address belongs to a model server of this home. A
            provider may count or price a stream differently, and stops generating after a
            disconnect anyway.
    """

    def __init__(
        self, inner: httpx.AsyncBaseTransport, is_own_server: Callable[[str], bool]
    ) -> None:
        self._inner = inner
        self._is_own_server = is_own_server

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its response.

        Raises:
            httpx.ReadTimeout: the answer did not end within the client's read timeout. The timeout
                applies to the whole answer, as it does to an unstreamed one.
            httpx.RemoteProtocolError: the stream is incomplete or contains an error.
        """
        body = self._stream_body(request)
        if body is None:
            return await self._inner.handle_async_request(request)
        headers = [pair for pair in request.headers.raw if pair[0].lower() != b"content-length"]
        stream_request = httpx.Request(
            request.method,
            request.url,
            headers=headers,
            content=body,
            extensions=request.extensions,
        )
        timeouts: dict[str, Any] = request.extensions.get("timeout") or {}
        try:
            async with asyncio.timeout(timeouts.get("read")):
                response = await self._inner.handle_async_request(stream_request)
                try:
                    content = await response.aread()
                finally:
                    await response.aclose()  # also after a disconnect: this ends the generation
        except TimeoutError as error:
            raise httpx.ReadTimeout("the answer took too long", request=request) from error
        if response.status_code == 200:
            content = json.dumps(aggregate_chunks(content)).encode()
        response_headers = {"content-type": "application/json"}
        return httpx.Response(response.status_code, headers=response_headers, content=content)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _stream_body(self, request: httpx.Request) -> bytes | None:
        if request.method != "POST" or not request.url.path.endswith("/chat/completions"):
            return None
        if not self._is_own_server(str(request.url)):
            return None
        body: dict[str, Any] = json.loads(request.content)
        if body.get("stream"):
            return None
        stream_body = body | {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(stream_body).encode()


def aggregate_chunks(raw: bytes) -> dict[str, Any]:
    """Join the chunks of a stream into one whole answer.

    Raises:
        httpx.RemoteProtocolError: the stream is incomplete or contains an error.
    """
    answer: dict[str, Any] = {"object": "chat.completion"}
    pieces: list[str] = []
    finish_reason = None
    for line in raw.split(b"\n"):
        field, _, data = line.partition(b":")
        if field == b"error" or b'"error"' in data[:12]:
            raise httpx.RemoteProtocolError("the model server ended the stream with an error")
        if field != b"data" or data.strip() == b"[DONE]":
            continue
        chunk: dict[str, Any] = json.loads(data)
        for name in _KEPT_FIELDS:
            if chunk.get(name) is not None:
                answer.setdefault(name, chunk[name])
        if chunk.get("usage"):
            answer["usage"] = chunk["usage"]
        for choice in chunk.get("choices") or ():
            delta: dict[str, Any] = choice.get("delta") or {}
            pieces.append(delta.get("content") or "")
            finish_reason = choice.get("finish_reason") or finish_reason
    if finish_reason is None:
        raise httpx.RemoteProtocolError("the model server ended the stream inside an answer")
    message = {"role": "assistant", "content": "".join(pieces)}
    return answer | {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}
