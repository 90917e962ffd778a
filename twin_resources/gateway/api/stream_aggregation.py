"""Whole answers are asked of a model server as streams, so that one that nobody waits for ends.

Scope: the HTTP transport under LiteLLM that asks by stream and puts the pieces together.
Out of scope: streams that a reader asked for; LiteLLM hands those through.

LiteLLM ends its call when the reader has left (`cancel_on_disconnect`), and the connection closes.
llama.cpp notices that where it writes, at the next piece of a stream: 1,143 of 1,500 tokens were
written for a reader who left after 902. An answer in one piece it writes to the end: 1,500 of
1,500 (xllamacpp 2026.10). As a client of OpenAI's API, LiteLLM sees one answer in one piece either
way. Stream: https://platform.openai.com/docs/api-reference/chat-streaming
"""
# pyright: strict, reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx

_KEPT = ("id", "created", "model", "system_fingerprint")


def ask_by_stream(is_ours: Callable[[str], bool]) -> None:
    """Put this transport under LiteLLM's client of OpenAI's API, which keeps all else it has.

    The client follows no redirect: a provider that was named gets prompt and key, and nobody to
    whom it sends them on.

    Args:
        is_ours: see `WholeAnswers`.
    """
    import litellm
    from litellm.llms.openai.common_utils import BaseOpenAILLM

    library: Any = litellm
    client: Any = BaseOpenAILLM.get_async_http_client()
    if client is None:
        raise TypeError("LiteLLM makes no HTTP client: see stream_aggregation.py, and its new way")
    client._transport = WholeAnswers(client._transport, is_ours)
    client.follow_redirects = False
    library.aclient_session = client


class WholeAnswers(httpx.AsyncBaseTransport):
    """Asks for whole chat answers by stream; everything else passes as it is.

    Args:
        inner: the transport that connects.
        is_ours: whether an address is a model server's of this home. A provider's may count or
            price a stream otherwise, and ends its work by itself.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, is_ours: Callable[[str], bool]) -> None:
        self._inner = inner
        self._is_ours = is_ours

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request.

        Raises:
            httpx.ReadTimeout: the answer was not over in the time that the client gives it. That
                time is for the whole of it, as it is for an answer in one piece.
            httpx.RemoteProtocolError: the server broke off.
        """
        body = self._as_stream(request)
        if body is None:
            return await self._inner.handle_async_request(request)
        headers = [one for one in request.headers.raw if one[0].lower() != b"content-length"]
        streamed = httpx.Request(
            request.method,
            request.url,
            headers=headers,
            content=body,
            extensions=request.extensions,
        )
        limits: dict[str, Any] = request.extensions.get("timeout") or {}
        try:
            async with asyncio.timeout(limits.get("read")):
                response = await self._inner.handle_async_request(streamed)
                try:
                    raw = await response.aread()
                finally:
                    await response.aclose()  # also when the reader has left: this ends the work
        except TimeoutError as error:
            raise httpx.ReadTimeout("no whole answer in time", request=request) from error
        if response.status_code == 200:
            raw = json.dumps(put_together(raw)).encode()
        head = {"content-type": "application/json"}
        return httpx.Response(response.status_code, headers=head, content=raw)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _as_stream(self, request: httpx.Request) -> bytes | None:
        if request.method != "POST" or not request.url.path.endswith("/chat/completions"):
            return None
        if not self._is_ours(str(request.url)):
            return None
        body: dict[str, Any] = json.loads(request.content)
        if body.get("stream"):
            return None
        streamed = body | {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(streamed).encode()


def put_together(raw: bytes) -> dict[str, Any]:
    """The answer in one piece of a stream's bytes.

    Raises:
        httpx.RemoteProtocolError: the stream has no end, or tells of an error.
    """
    answer: dict[str, Any] = {"object": "chat.completion"}
    pieces: list[str] = []
    reason = None
    for line in raw.split(b"\n"):
        field, _, data = line.partition(b":")
        if field == b"error" or b'"error"' in data[:12]:
            raise httpx.RemoteProtocolError("the model server broke off with an error")
        if field != b"data" or data.strip() == b"[DONE]":
            continue
        chunk: dict[str, Any] = json.loads(data)
        for name in _KEPT:
            if chunk.get(name) is not None:
                answer.setdefault(name, chunk[name])
        if chunk.get("usage"):
            answer["usage"] = chunk["usage"]
        for choice in chunk.get("choices") or ():
            delta: dict[str, Any] = choice.get("delta") or {}
            pieces.append(delta.get("content") or "")
            reason = choice.get("finish_reason") or reason
    if reason is None:
        raise httpx.RemoteProtocolError("the model server broke off in the middle of an answer")
    message = {"role": "assistant", "content": "".join(pieces)}
    return answer | {"choices": [{"index": 0, "message": message, "finish_reason": reason}]}
