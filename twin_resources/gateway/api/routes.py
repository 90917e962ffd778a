"""The allow-list in front of the LiteLLM proxy: which routes exist, and who and what may enter.

Scope: the allow-list of routes, the refusal of a request before LiteLLM sees it, the removal
of client headers, and the answers that need no LiteLLM (models, readiness, feedback, the one line
at `/`).
Out of scope: the rules (`keys.py`, `request_body.py`, `other_apis.py`, `admission.py`,
`origins.py`, `routing/`, `feedback.py`), what an answer is changed into on its way out
(`response_middleware.py`), and everything after LiteLLM.

The proxy exposes some hundred routes, and any valid key may call most of them past the plugin. So
the list is of what exists, not of what is forbidden: everything else answers 404 before
authentication. Interface: https://asgi.readthedocs.io/en/latest/specs/www.html
"""
# pyright: strict

from __future__ import annotations

import asyncio
import json
import secrets as random_source
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from twin_resources.access.keys import Key, Keyring
from twin_resources.access.refusals import Refused
from twin_resources.gateway.api.admission import Admission
from twin_resources.gateway.api.feedback import FeedbackService
from twin_resources.gateway.api.forced_tools import from_forced_tool
from twin_resources.gateway.api.json_answers import broken_off, refuse, send_json
from twin_resources.gateway.api.origins import Origins
from twin_resources.gateway.api.other_apis import (
    AnswerConverter,
    CarriedRequest,
    from_completions,
    from_responses,
)
from twin_resources.gateway.api.recent_responses import RecentResponses
from twin_resources.gateway.api.response_middleware import Message, Send, carried_back, dressed
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.costs.cost import TokenPrices
from twin_resources.gateway.request.request_body import (
    MAX_BODY_BYTES,
    MODEL_NAME,
    admitted,
    decode_object,
    read_question,
    too_large,
)
from twin_resources.gateway.routing.decision import RouteRequest
from twin_resources.gateway.routing.model_names import answers_of, models_for, named
from twin_resources.gateway.routing.rules import choose
from twin_resources.registry.route_names import PAID, TASK

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

CHAT_ROUTES = frozenset({("POST", "/v1/chat/completions"), ("POST", "/chat/completions")})
CHAT_PATH = "/v1/chat/completions"
# They are carried over the chat API: LiteLLM's own routes for them are not reached.
CARRIED_ROUTES: Mapping[
    tuple[str, str], Callable[[Mapping[str, Any], RecentResponses, str], CarriedRequest]
] = {
    ("POST", "/v1/completions"): from_completions,
    ("POST", "/v1/responses"): from_responses,
}
MODELS_ROUTE = ("GET", "/v1/models")
_ONE_MODEL = MODELS_ROUTE[1] + "/"  # and the name of a twin, which has a slash in it
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
ROUTES = CHAT_ROUTES | CARRIED_ROUTES.keys() | {MODELS_ROUTE, FEEDBACK_ROUTE} | OPEN_ROUTES
# After the client has left. LiteLLM ends a whole answer by itself, in milliseconds, and tells its
# hooks; a stream it ends so only before its first piece.
WHOLE_ENDS_WITHIN_S, STREAM_ENDS_WITHIN_S = 1.0, 0.1
# During an answer: who revokes a key wants its streams to end.
KEY_LOOKED_UP_EVERY_S = 1.0
# Of 256 KB over any line on which somebody would chat. A body that never ended was held for ever.
BODY_WITHIN_S = 10.0
_BODY_WAITS = 20

# A model that is faster than the gateway fills the buffers, and a stream whose next piece is there
# already never waits: nothing else ran, so nobody heard that its reader had left, and 8 of 12
# streams were written to their end, 1,500 tokens.
_LET_OTHERS_RUN_S = 0.01

# A program says by it that it asks for itself: a title, tags, a summary.
TASK_HEADER = b"x-twin-task"
# What LiteLLM needs. The rest of the client's headers steers LiteLLM (x-litellm-*, langfuse_*),
# names a trace of its own (traceparent), or is nobody's business (user agent, addresses).
_KEPT_HEADERS = frozenset({b"authorization", b"accept", b"host", b"idempotency-key"})


class Background(Protocol):
    """What runs beside the requests; `following.Following` is one."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


@dataclass
class RouteAllowlist:
    """An ASGI application around the proxy's own.

    Attributes:
        proxy: the LiteLLM proxy.
        keyring: knows the keys.
        live: the snapshot that questions are held against.
        background: started when the proxy has started, before the first request.
        feedback: stores what readers think.
        responses: what clients of the Responses API may name.
        prices: what tokens cost, for the models route.
        origins: pages that may ask from a browser.
        admission: counts what is under way.
        body_within_s: how long a body may take to arrive.
        follows: why this home is behind the state store that hosts share, and what a person should
            see to; both empty where nothing is wrong or shared.
    """

    proxy: Application
    keyring: Keyring
    live: LiveConfig
    background: Background
    feedback: FeedbackService
    responses: RecentResponses
    prices: TokenPrices = field(default_factory=lambda: TokenPrices({}, 0.0))
    origins: Origins = field(default_factory=Origins)
    admission: Admission = field(default_factory=lambda: Admission(32, 64))
    body_within_s: float = BODY_WITHIN_S
    follows: Callable[[], tuple[str, str]] = lambda: ("", "")
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # no route of ours is one
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = _header(scope, b"origin")
        send = dressed(
            send, request_id=random_source.token_hex(16), headers=self.origins.of_answer(origin)
        )
        route = (scope["method"], scope["path"])
        if route[0] == "OPTIONS" and self.origins.allows(origin) and _methods_of(route[1]):
            await self._preflight(scope, send)
        elif route not in ROUTES and not _names_a_model(*route):
            await send_json(send, 404, _no_such_route(*route))
        elif route == LIVELINESS_ROUTE:
            await self.proxy(_stripped(scope), receive, send)
        elif route == READINESS_ROUTE:
            await self._readiness(send)
        elif route == WHAT_ROUTE:
            await _tell_what(send)
        else:
            try:
                await self._with_key(scope, receive, send)
            except Refused as error:
                await refuse(send, error)
            except _Left:
                return  # nobody is there to be told

    async def _with_key(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a route that needs a key; whatever is refused is refused before the proxy."""
        route = (scope["method"], scope["path"])
        key = await asyncio.to_thread(self.keyring.find, _header(scope, b"authorization"))
        if route == MODELS_ROUTE:
            await self._models(key, send)
        elif route == FEEDBACK_ROUTE:
            await send_json(send, 200, await self.feedback.take(key, await self._body(receive)))
        elif route not in ROUTES:
            await self._model(key, scope["path"].removeprefix(_ONE_MODEL), send)
        else:
            with self.admission.of_key(key.reader):
                raw = await self._body(receive)
                body, back = await self._chat_body(route, raw, key)
                if _header(scope, TASK_HEADER):
                    body["model"] = f"{str(body.get('model')).partition('@')[0]}@{TASK}"
                # Named before a place is taken: who is refused waits for nobody.
                question = read_question(body)
                reader = key.for_reader(question.user)
                today = datetime.now(UTC).date()
                chosen = choose(RouteRequest(question, reader, today), self.live.current)
                # Written again so that LiteLLM parses exactly what was checked here.
                checked = json.dumps(body).encode()
                with self.admission.to_server(chosen.server_key):
                    await self._proxied(
                        _stripped(scope, length=len(checked), path=CHAT_PATH),
                        checked,
                        receive,
                        send if back is None else carried_back(send, back),
                        ends_within_s=STREAM_ENDS_WITHIN_S
                        if question.stream
                        else WHOLE_ENDS_WITHIN_S,
                    )

    async def _chat_body(
        self, route: tuple[str, str], raw: bytes, key: Key
    ) -> tuple[dict[str, Any], AnswerConverter | None]:
        """What LiteLLM may see of a body, and for another API's the way back of the answer."""
        body = decode_object(raw)
        carry = CARRIED_ROUTES.get(route)
        if carry is None:
            carried = from_forced_tool(body)
        else:
            carried = await asyncio.to_thread(carry, body, self.responses, key.reader)
        if carried is None:
            return admitted(body), None
        return admitted(carried.chat, also_ignored=carried.ignored), carried.back

    async def _proxied(
        self,
        scope: Scope,
        body: bytes,
        receive: Receive,
        send: Send,
        *,
        ends_within_s: float,
    ) -> None:
        """Let the proxy answer, and end its work when the client has left or its key is revoked.

        A stream would be ended only where it sends, and text that a guard holds back is not sent.

        Raises:
            Refused: 401 the key was revoked before the answer began.
        """
        left, begun = asyncio.Event(), asyncio.Event()

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()

        async def note(message: Message) -> None:
            begun.set()
            await send(message)

        answer = asyncio.ensure_future(self.proxy(scope, _replay(body, left), _giving_way(note)))
        watching = asyncio.ensure_future(watch())
        revoking = asyncio.ensure_future(self._revocation(_header(scope, b"authorization")))
        try:
            await asyncio.wait({answer, watching, revoking}, return_when=asyncio.FIRST_COMPLETED)
            if _header(scope, b"idempotency-key") and not revoking.done():
                await asyncio.wait({answer})  # whoever asks again gets this very answer
            elif not (answer.done() or revoking.done()):
                # It has heard it, and ends and logs a whole answer by itself.
                await asyncio.wait({answer}, timeout=ends_within_s)
        finally:
            watching.cancel()
            revoking.cancel()
            answer.cancel()  # nothing to one that is done
            await asyncio.wait({answer})
        if not answer.cancelled():
            answer.result()  # its error, if there was one
        elif revoking.done() and not revoking.cancelled():
            if not begun.is_set():
                raise revoking.result()
            await send({"type": "http.response.body", "body": broken_off(revoking.result())})

    async def _revocation(self, authorization: str) -> Refused:
        """Wait until the key is no longer known; returns the refusal."""
        while True:
            await asyncio.sleep(KEY_LOOKED_UP_EVERY_S)
            try:
                await asyncio.to_thread(self.keyring.find, authorization)
            except Refused as refused:
                if refused.status == 401:
                    return refused

    async def _body(self, receive: Receive) -> bytes:
        reading = asyncio.ensure_future(_read_body(receive))
        try:
            for _ in range(_BODY_WAITS):
                # However late a busy event loop ends it, a wait counts as its own length: by one
                # deadline 20 of 400 streams at once got 408, whose bodies had been there.
                await asyncio.wait({reading}, timeout=self.body_within_s / _BODY_WAITS)
                if reading.done():
                    return reading.result()
        finally:
            reading.cancel()
        raise Refused(
            408,
            "body_too_slow",
            tried="read the request",
            found=f"a body that had not ended after {self.body_within_s:g} s",
            next_step="send the whole body at once",
        )

    async def _preflight(self, scope: Scope, send: Send) -> None:
        requested = _header(scope, b"access-control-request-headers").encode("latin-1")
        headers = self.origins.of_preflight(_methods_of(scope["path"]), requested)
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _models(self, key: Key, send: Send) -> None:
        names = models_for(self.live.current, key)
        await send_json(
            send, 200, {"object": "list", "data": [self._told_of(name) for name in names]}
        )

    async def _model(self, key: Key, name: str, send: Send) -> None:
        names = models_for(self.live.current, key)
        if name not in names:
            raise Refused(
                404,
                "model_not_found",
                tried=f"find the model {name}",
                found="none of that name for this key",
                next_step=f"ask for one of {', '.join(names[:20]) or 'none yet'}",
                param="model",
            )
        await send_json(send, 200, self._told_of(name))

    def _told_of(self, name: str) -> Mapping[str, Any]:
        snapshot = self.live.current
        answering = named(snapshot, name)
        price = self.prices.of(answering.server_key, is_paid=answering.version == PAID)
        return {
            "id": name,
            "object": "model",
            "created": int(self.started_at.timestamp()),
            "owned_by": "llm-twin",
            "twin": answers_of(snapshot, name) | price,
        }

    async def _readiness(self, send: Send) -> None:
        snapshot = self.live.current
        ready = sorted(name for name, server in snapshot.servers.items() if server.ready)
        behind, note = self.follows()
        missing = {
            "an author": not snapshot.authors,
            "a model server": not ready,
            "the newest release": bool(behind),
        }
        waits_for = [what for what, is_missing in missing.items() if is_missing]
        problems = [*snapshot.problems, *snapshot.author_problems.values(), behind, note]
        document: dict[str, Any] = {
            "status": f"waiting for {' and '.join(waits_for)}" if waits_for else "ready",
            "servers": ready,
            "authors": sorted(snapshot.authors),
            "problems": [problem for problem in problems if problem],
        }
        await send_json(send, 503 if waits_for else 200, document)

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


class _Left(Exception):
    """The client closed the connection before its body had ended."""


def _names_a_model(method: str, path: str) -> bool:
    name = path.removeprefix(_ONE_MODEL)
    return method == MODELS_ROUTE[0] and name != path and MODEL_NAME.fullmatch(name) is not None


def _methods_of(path: str) -> str:
    """The methods of a path, separated by commas; empty: there is no such path."""
    there = {method for method, known in ROUTES if known == path}
    if _names_a_model(MODELS_ROUTE[0], path):
        there.add(MODELS_ROUTE[0])
    return ", ".join(sorted(there))


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


def _stripped(scope: Scope, *, length: int | None = None, path: str = "") -> Scope:
    """The scope as LiteLLM sees it: no client address, no query, few headers, a JSON body."""
    headers = [(name, value) for name, value in scope["headers"] if name in _KEPT_HEADERS]
    if length is not None:
        headers.append((b"content-type", b"application/json"))
        headers.append((b"content-length", str(length).encode()))
    path = path or scope["path"]
    named = {"path": path, "raw_path": path.encode()}
    return {**scope, **named, "headers": headers, "query_string": b"", "client": None}


async def _read_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Left
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise too_large(size)
        parts.append(part)
        more = bool(message.get("more_body", False))
    return b"".join(parts)


def _giving_way(send: Send) -> Send:
    """The same, and now and then everything else on the event loop has its turn."""
    clock = asyncio.get_running_loop().time
    since = clock()

    async def tell(message: Message) -> None:
        nonlocal since
        await send(message)
        if clock() - since > _LET_OTHERS_RUN_S:
            await asyncio.sleep(0)
            since = clock()

    return tell


def _replay(body: bytes, left: asyncio.Event) -> Receive:
    """The body once, and then that the client has left, once it has."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def hear() -> Message:
        if waiting:
            return waiting.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    return hear


async def _tell_what(send: Send) -> None:
    body = WHAT.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
