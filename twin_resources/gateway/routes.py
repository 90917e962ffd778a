"""The door in front of the LiteLLM proxy: which (method, path) exist, and who and what may enter.

Belongs here: the allow-list of routes, the refusal of a request before LiteLLM sees it, the removal
of client headers, and the answers that need no LiteLLM (models, readiness, feedback, the one line
at `/`).
Does not belong here: the rules (`keys.py`, `request_body.py`, `choice.py`, `feedback.py`) and
everything after LiteLLM.

The proxy exposes some hundred routes, and any valid key may call most of them past the plugin. So
the list is of what exists, not of what is forbidden: everything else answers 404 before
authentication. Interface: https://asgi.readthedocs.io/en/latest/specs/www.html
"""
# pyright: strict

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from twin_resources.gateway.choice import answers_of, choose, models_for
from twin_resources.gateway.feedback import FeedbackDesk
from twin_resources.gateway.keys import Key, Keyring
from twin_resources.gateway.live import Live
from twin_resources.gateway.refusals import Refused
from twin_resources.gateway.request_body import (
    MAX_BODY_BYTES,
    parse_body,
    read_question,
    too_large,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

CHAT_ROUTES = frozenset({("POST", "/v1/chat/completions"), ("POST", "/chat/completions")})
MODELS_ROUTE = ("GET", "/v1/models")
FEEDBACK_ROUTE = ("POST", "/twin/feedback")
LIVELINESS_ROUTE = ("GET", "/health/liveliness")
READINESS_ROUTE = ("GET", "/health/readiness")
# Whoever opens the address in a browser learns what it is: no key, no name, no number in it.
WHAT_ROUTE = ("GET", "/")
WHAT = (
    "The gateway of an LLM Twin: OpenAI's API under /v1, with a key of it. "
    "To talk in a browser: `twin open`, on the machine of the twin.\n"
)
OPEN_ROUTES = frozenset({WHAT_ROUTE, LIVELINESS_ROUTE, READINESS_ROUTE})  # without a key
ROUTES = CHAT_ROUTES | {MODELS_ROUTE, FEEDBACK_ROUTE} | OPEN_ROUTES

# What LiteLLM needs. The rest of the client's headers steers LiteLLM (x-litellm-*, langfuse_*),
# names a trace of its own (traceparent), or is nobody's business (user agent, addresses).
_KEPT_HEADERS = frozenset({b"authorization", b"accept", b"host", b"idempotency-key"})
# What LiteLLM tells its own operators: versions, addresses of model servers, spend.
_HIDDEN_ANSWER_HEADERS = (b"x-litellm-", b"llm_provider-", b"x-ratelimit-")


class Background(Protocol):
    """What runs beside the requests; `following.Following` is one."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


@dataclass
class Door:
    """An ASGI application around the proxy's own.

    Attributes:
        proxy: the LiteLLM proxy.
        keyring: knows the keys.
        live: the snapshot that questions are held against.
        background: started when the proxy has started, before the first request.
        feedback: stores what readers think.
    """

    proxy: Application
    keyring: Keyring
    live: Live
    background: Background
    feedback: FeedbackDesk
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # no route of ours is one
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = (scope["method"], scope["path"])
        if route not in ROUTES:
            await _answer(send, 404, _no_such_route(*route))
        elif route == LIVELINESS_ROUTE:
            await self.proxy(_stripped(scope), receive, _hiding(send))
        elif route == READINESS_ROUTE:
            await self._readiness(send)
        elif route == WHAT_ROUTE:
            await _tell_what(send)
        else:
            try:
                key = await asyncio.to_thread(self.keyring.find, _header(scope, b"authorization"))
                if route == MODELS_ROUTE:
                    await self._models(key, send)
                    return
                if route == FEEDBACK_ROUTE:
                    await _answer(
                        send, 200, await self.feedback.take(key, await _read_body(receive))
                    )
                    return
                body = await self._checked_body(key, receive)
            except Refused as error:
                await _answer(send, error.status, error.body())
                return
            await self.proxy(
                _stripped(scope, length=len(body)), _replay(body, receive), _hiding(send)
            )

    async def _checked_body(self, key: Key, receive: Receive) -> bytes:
        """Read the body, refuse what cannot be answered, and write it anew.

        Written anew so that LiteLLM parses exactly what was checked here.
        """
        body = parse_body(await _read_body(receive))
        choose(self.live.current, read_question(body), key=key, day=datetime.now(UTC).date())
        return json.dumps(body).encode()

    async def _models(self, key: Key, send: Send) -> None:
        created = int(self.started_at.timestamp())
        names = models_for(self.live.current, key)
        snapshot = self.live.current
        data = [
            {
                "id": name,
                "object": "model",
                "created": created,
                "owned_by": "llm-twin",
                "twin": answers_of(snapshot, name),
            }
            for name in names
        ]
        await _answer(send, 200, {"object": "list", "data": data})

    async def _readiness(self, send: Send) -> None:
        snapshot = self.live.current
        ready = sorted(name for name, server in snapshot.servers.items() if server.ready)
        document: dict[str, Any] = {
            "status": "ready" if ready else "waiting for a model server",
            "servers": ready,
            "authors": sorted(snapshot.authors),
            "problems": [*snapshot.problems, *snapshot.author_problems.values()],
        }
        await _answer(send, 200 if ready else 503, document)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def hear() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.background.stop()
            return message

        async def tell(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                await self.background.start()
            await send(message)

        await self.proxy(scope, hear, tell)


def _no_such_route(method: str, path: str) -> Mapping[str, Any]:
    listed = ", ".join(f"{verb} {route}" for verb, route in sorted(ROUTES))
    return Refused(
        404,
        "no_such_route",
        tried=f"{method} {path}"[:200],
        found="no such route",
        next_step=f"use one of {listed}",
    ).body()


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _stripped(scope: Scope, *, length: int | None = None) -> Scope:
    """The scope as LiteLLM sees it: no client address, no query, few headers, a JSON body."""
    headers = [(name, value) for name, value in scope["headers"] if name in _KEPT_HEADERS]
    if length is not None:
        headers.append((b"content-type", b"application/json"))
        headers.append((b"content-length", str(length).encode()))
    return {**scope, "headers": headers, "query_string": b"", "client": None}


async def _read_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise too_large(size)
        parts.append(part)
        more = bool(message.get("more_body", False))
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def hear() -> Message:
        return waiting.pop() if waiting else await receive()

    return hear


def _hiding(send: Send) -> Send:
    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                (name, value)
                for name, value in message.get("headers", [])
                if not bytes(name).lower().startswith(_HIDDEN_ANSWER_HEADERS)
            ]
        await send(message)

    return tell


async def _tell_what(send: Send) -> None:
    body = WHAT.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _answer(send: Send, status: int, document: Mapping[str, Any]) -> None:
    body = json.dumps(document, ensure_ascii=False).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
