"""Restrict the LiteLLM proxy to an allow-list of routes, and check each request first.

Scope: the allow-list of routes, the body's allowed keys, headers in both directions, refusals, and
the answers that do not need LiteLLM (models, readiness, metrics, feedback, alarms, the text at `/`,
the widget's file, the author's page of questions).
Out of scope: the rules (`keys.py`, `request_body.py`, `admission.py`, `feedback.py`,
`outside_alarms.py`), and everything after LiteLLM (`provider.py`).

The proxy exposes about a hundred routes, and any valid key may call most of them. The allow-list
therefore names the available routes, and every other route returns 404 before authentication.

Interface: https://asgi.readthedocs.io/en/latest/specs/www.html
"""
# pyright: strict

from __future__ import annotations

import asyncio
import json
import secrets as random_source
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twin_resources.access.keys import ROLES, Key, Keyring, Role
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.admission import AdmissionControl
from twin_resources.gateway.api.agent_tools import AgentTools
from twin_resources.gateway.api.feedback import store_feedback
from twin_resources.gateway.api.json_answers import failure_events, send_json, send_refusal
from twin_resources.gateway.api.outside_alarms import store_alarm
from twin_resources.gateway.api.questions_page import QuestionsPage
from twin_resources.gateway.api.recent_responses import RecentResponses
from twin_resources.gateway.api.widget import build_widget_response
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.exchange.exchange import TRACE_HEADER, AnswerCall, current_call
from twin_resources.gateway.request.request_body import (
    API_KEYS,
    MAX_BODY_BYTES,
    MODEL_NAME,
    RESPONSES_PATH,
    admit_body,
    body_too_large_refusal,
    decode_object,
    match_model_name,
)
from twin_resources.gateway.routing.model_names import (
    check_author_access,
    model_fields,
    model_names_for_key,
)
from twin_resources.observability.langfuse.outbox import Outbox
from twin_resources.observability.metrics import CONTENT_TYPE as METRICS_CONTENT_TYPE
from twin_resources.observability.metrics import RequestOutcome, measure_request, render_metrics
from twin_resources.registry.route_names import TASK

ANSWER_ROUTES = frozenset(("POST", path) for path in API_KEYS)
MODELS_ROUTE = ("GET", "/v1/models")
_MODEL_PREFIX = MODELS_ROUTE[1] + "/"  # followed by a twin's name, which contains a slash
FEEDBACK_ROUTE = ("POST", "/twin/feedback")
MCP_ROUTE = ("POST", "/mcp")
WIDGET_ROUTE = ("GET", "/twin.js")
QUESTIONS_PATH = "/questions"
QUESTIONS_ROUTES = frozenset({("GET", QUESTIONS_PATH), ("POST", QUESTIONS_PATH)})
ALARM_ROUTE = ("POST", "/twin/alarm")
METRICS_ROUTE = ("GET", "/metrics")
# Routes with roles of their own; these roles call nothing else.
ROLES_BY_ROUTE: Mapping[tuple[str, str], frozenset[Role]] = {
    METRICS_ROUTE: frozenset({"monitor", "admin"}),
    ALARM_ROUTE: frozenset({"alarm", "admin"}),
}
LIVELINESS_ROUTE = ("GET", "/health/liveliness")
READINESS_ROUTE = ("GET", "/health/readiness")
# Shown to a person who opens the address in a browser. It contains no key, name or number.
ROOT_ROUTE = ("GET", "/")
ROOT_TEXT = (
    "The gateway of an LLM Twin. It serves OpenAI's API under /v1 and requires a key. "
    "To chat in a browser, run `twin open` on the twin's machine.\n"
)
# These need no key in the header; the page of questions reads it from its form.
OPEN_ROUTES = QUESTIONS_ROUTES | {ROOT_ROUTE, WIDGET_ROUTE, LIVELINESS_ROUTE, READINESS_ROUTE}
ROUTES = ANSWER_ROUTES | {MODELS_ROUTE, FEEDBACK_ROUTE, MCP_ROUTE, *ROLES_BY_ROUTE} | OPEN_ROUTES
# Checked during an answer, so that revoking a key also ends its streams.
KEY_CHECK_INTERVAL_S = 1.0
# Enough for 256 KB over any connection usable for chat. Without a limit, a body that never ended
# was kept in memory forever.
BODY_TIMEOUT_S = 10.0
_BODY_TIMEOUT_PARTS = 20

# Set by a program that sends a request for its own use: a title, tags or a summary.
TASK_HEADER = b"x-twin-task"
# The headers that LiteLLM needs. The others control LiteLLM (x-litellm-*, langfuse_*), name the
# client's own trace (traceparent), or identify the client (user agent, addresses).
_KEPT_HEADERS = frozenset({b"authorization", b"accept", b"host"})
# LiteLLM's headers for its operators: versions, addresses of model servers, spend.
_HIDDEN_HEADER_PREFIXES = (b"x-litellm-", b"llm_provider-", b"x-ratelimit-")
_REQUEST_ID, _RETRY_AFTER = b"x-request-id", b"retry-after"
# A model server restarts in about two seconds, and a queue has a free place sooner.
RETRY_AFTER_S = b"2"


class BackgroundService(Protocol):
    """Tasks that run alongside the requests; `background_tasks.BackgroundTasks` implements this."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


@dataclass
class RouteAllowlist:
    """An ASGI application that wraps the proxy's application.

    Attributes:
        proxy: the LiteLLM proxy.
        keyring: finds the key of a request.
        live_config: the configuration against which requests are checked.
        background_tasks: tasks that start after the proxy and before the first request.
        outbox: stores feedback from readers.
        responses: earlier answers that clients of the Responses API may name.
        home_metrics: the state of the home, for the metrics route.
        agent_tools: answers agents' messages.
        questions_page: answers an author's forms.
        admission: counts the requests in progress.
        body_timeout_s: seconds that a body may take to arrive.
    """

    proxy: ASGIApp
    keyring: Keyring
    live_config: LiveConfig
    background_tasks: BackgroundService
    outbox: Outbox
    responses: RecentResponses
    home_metrics: Collector
    agent_tools: AgentTools
    questions_page: QuestionsPage
    admission: AdmissionControl = field(default_factory=lambda: AdmissionControl(32, 64))
    body_timeout_s: float = BODY_TIMEOUT_S
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._handle_lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # no route is a websocket
        elif scope["type"] == "http":
            await self._handle_http(scope, receive, send)

    async def _handle_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        send = _add_answer_headers(send)
        route = (scope["method"], scope["path"])
        with measure_request(_route_label(*route)) as outcome:
            await self._dispatch(route, scope, receive, _record_status(send, outcome))

    async def _dispatch(
        self, route: tuple[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        if route[1] == MCP_ROUTE[1] and route != MCP_ROUTE:
            # A client that finds no stream of the server's own expects this status.
            await Response(status_code=405, headers={"allow": "POST"})(scope, receive, send)
        elif route not in ROUTES and not _is_model_path(*route):
            await send_json(send, 404, _unknown_route_document(*route))
        elif route == LIVELINESS_ROUTE:
            await self.proxy(_strip_scope(scope), receive, send)
        elif route == READINESS_ROUTE:
            await self._send_readiness(send)
        elif route == ROOT_ROUTE:
            await PlainTextResponse(ROOT_TEXT)(scope, receive, send)
        elif route == WIDGET_ROUTE:
            await build_widget_response(Request(scope))(scope, receive, send)
        else:
            try:
                if route in QUESTIONS_ROUTES:
                    body = await self._receive_body(receive)
                    await (await self.questions_page.respond(body))(scope, receive, send)
                else:
                    await self._handle_authenticated(scope, receive, send)
            except RefusedError as error:
                await send_refusal(send, error, is_json_rpc=route == MCP_ROUTE)
            except _ClientDisconnectedError:
                return  # no client is left to answer

    async def _handle_authenticated(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a route that needs a key; refusals happen before the proxy is called."""
        route = (scope["method"], scope["path"])
        key = await asyncio.to_thread(self.keyring.find, _header(scope, b"authorization"))
        key.check_origin(_header(scope, b"origin"))
        _check_role(key, route)
        if route == METRICS_ROUTE:
            metrics = await asyncio.to_thread(render_metrics, self.home_metrics)
            await Response(metrics, media_type=METRICS_CONTENT_TYPE)(scope, receive, send)
        elif route == MODELS_ROUTE:
            await self._send_models(key, send)
        elif route == FEEDBACK_ROUTE:
            raw = await self._receive_body(receive)
            await send_json(send, 200, await store_feedback(self.outbox, key, raw))
        elif route == MCP_ROUTE:
            raw = await self._receive_body(receive)
            await self.agent_tools.handle(scope, raw, receive, send, key=key, gateway=self)
        elif route == ALARM_ROUTE:
            raw, query = await self._receive_body(receive), scope["query_string"].decode("latin-1")
            state = await asyncio.to_thread(lambda: self.keyring.state)
            authors = self.live_config.current.authors
            document = await store_alarm(state, key, raw, query=query, authors=authors)
            await send_json(send, 200, document)
        elif route not in ROUTES:
            await self._send_model(key, scope["path"].removeprefix(_MODEL_PREFIX), send)
        else:
            with self.admission.admit_for_key(key.reader):
                raw = await self._receive_body(receive)
                body, call = await asyncio.to_thread(self._read_request, route[1], raw, key)
                if _header(scope, TASK_HEADER):
                    call.model = f"{call.model.partition('@')[0]}@{TASK}"
                # Serialized again, so that LiteLLM parses exactly the body that was checked here.
                checked_body = json.dumps(body).encode()
                await self._forward_to_proxy(
                    _strip_scope(scope, length=len(checked_body)), call, checked_body, receive, send
                )

    def _read_request(self, path: str, raw: bytes, key: Key) -> tuple[dict[str, Any], AnswerCall]:
        """Return the body for LiteLLM, and what the provider needs beside it.

        Reads the state store if the request names an earlier answer.
        """
        body, admitted = admit_body(decode_object(raw), path)
        match = match_model_name(body.get("model"))
        check_author_access(self.live_config.current, match["author"], key)
        call = AnswerCall(key, match.string, admitted)
        if path == RESPONSES_PATH:
            ignored, call.store = self.responses.replace_references(body, key.reader)
            admitted["ignored"] += ignored
        return body, call

    async def _forward_to_proxy(
        self, scope: Scope, call: AnswerCall, body: bytes, receive: Receive, send: Send
    ) -> None:
        """Let the proxy answer, and cancel it if the key is revoked.

        Raises:
            RefusedError: 401 if the key was revoked before the answer began.
        """
        path, is_body_sent, has_started, is_refused = scope["path"], False, False, False

        async def replay_body() -> Message:
            nonlocal is_body_sent
            if not is_body_sent:
                is_body_sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        async def forward(message: Message) -> None:
            nonlocal has_started, is_refused
            if message["type"] == "http.response.start":
                has_started = True
                if call.refusal is not None:
                    is_refused = True
                    await send_refusal(send, call.refusal)
                    return
                headers = call.record.headers().items() if call.record is not None else ()
                added = [(name.encode(), value.encode()) for name, value in headers]
                message["headers"] = [*message.get("headers", []), *added]
                await send(message)
            elif call.refusal is not None and not is_refused and path != RESPONSES_PATH:
                is_refused = True  # the stream broke off; LiteLLM's words name LiteLLM
                await send({"type": "http.response.body", "body": failure_events(call.refusal)})
            elif not is_refused:
                await send(message)

        current_call.set(call)
        answer_task = asyncio.ensure_future(self.proxy(scope, replay_body, forward))
        revocation_watch = asyncio.ensure_future(self._wait_for_revocation(scope))
        try:
            await asyncio.wait({answer_task, revocation_watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            revocation_watch.cancel()
            answer_task.cancel()  # has no effect on a finished task
            await asyncio.wait({answer_task})
        if not answer_task.cancelled():
            answer_task.result()  # raises the task's error, if there was one
        elif revocation_watch.done() and not revocation_watch.cancelled():
            if not has_started:
                raise revocation_watch.result()
            await send(
                {"type": "http.response.body", "body": failure_events(revocation_watch.result())}
            )

    async def _wait_for_revocation(self, scope: Scope) -> RefusedError:
        """Wait until the key is revoked, and return the refusal."""
        authorization = _header(scope, b"authorization")
        while True:
            await asyncio.sleep(KEY_CHECK_INTERVAL_S)
            try:
                await asyncio.to_thread(self.keyring.find, authorization)
            except RefusedError as error:
                if error.status == 401:
                    return error

    async def _receive_body(self, receive: Receive) -> bytes:
        read_task = asyncio.ensure_future(_read_body(receive))
        try:
            for _ in range(_BODY_TIMEOUT_PARTS):
                # Each wait counts as its nominal length, even if a busy event loop ends it late.
                # With a single deadline, 20 of 400 concurrent streams got 408 although their
                # bodies had arrived.
                await asyncio.wait({read_task}, timeout=self.body_timeout_s / _BODY_TIMEOUT_PARTS)
                if read_task.done():
                    return read_task.result()
        finally:
            read_task.cancel()
        raise RefusedError(
            408,
            "body_too_slow",
            tried="read the request",
            found=f"a body that was still incomplete after {self.body_timeout_s:g} s",
            next_step="send the whole body at once",
        )

    async def _send_models(self, key: Key, send: Send) -> None:
        names = model_names_for_key(self.live_config.current, key)
        await send_json(
            send, 200, {"object": "list", "data": [self._model_entry(name) for name in names]}
        )

    async def _send_model(self, key: Key, name: str, send: Send) -> None:
        names = model_names_for_key(self.live_config.current, key)
        if name not in names:
            name_list = ", ".join(names[:20])
            raise RefusedError(
                404,
                "model_not_found",
                tried=f"find the model {name}",
                found="no model with that name for this key",
                next_step=f"use one of these names: {name_list}"
                if name_list
                else "wait until a twin is ready",
                param="model",
            )
        await send_json(send, 200, self._model_entry(name))

    def _model_entry(self, name: str) -> Mapping[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": int(self.started_at.timestamp()),
            "owned_by": "llm-twin",
            "twin": model_fields(self.live_config.current, name),
        }

    async def _send_readiness(self, send: Send) -> None:
        snapshot = self.live_config.current
        ready_servers = sorted(name for name, server in snapshot.servers.items() if server.ready)
        is_missing_by_part = {
            "an author": not snapshot.authors,
            "a model server": not ready_servers,
        }
        missing_parts = [part for part, is_missing in is_missing_by_part.items() if is_missing]
        problems = [*snapshot.problems, *snapshot.author_problems.values()]
        document: dict[str, Any] = {
            "status": f"waiting for {' and '.join(missing_parts)}" if missing_parts else "ready",
            "servers": ready_servers,
            "authors": sorted(snapshot.authors),
            "problems": [problem for problem in problems if problem],
        }
        await send_json(send, 503 if missing_parts else 200, document)

    async def _handle_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_and_stop() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.background_tasks.stop()
            return message

        async def start_and_send(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                await self.background_tasks.start()
            await send(message)

        async with self.agent_tools.run():
            await self.proxy(scope, receive_and_stop, start_and_send)


class _ClientDisconnectedError(Exception):
    """The client closed the connection before the body was complete."""


def _is_model_path(method: str, path: str) -> bool:
    name = path.removeprefix(_MODEL_PREFIX)
    return method == MODELS_ROUTE[0] and name != path and MODEL_NAME.fullmatch(name) is not None


def _route_label(method: str, path: str) -> str:
    """Return the path for the metrics; `other` if no route has it."""
    if (method, path) in ROUTES:
        return path
    return MODELS_ROUTE[1] if _is_model_path(method, path) else "other"


def _record_status(send: Send, outcome: RequestOutcome) -> Send:
    """Return a `send` that records the answer's status."""

    async def send_and_record(message: Message) -> None:
        if message["type"] == "http.response.start":
            outcome.status = message["status"]
        await send(message)

    return send_and_record


def _add_answer_headers(send: Send) -> Send:
    """Wrap `send` to remove LiteLLM's headers, and add an id and, on 429 and 503, `Retry-After`.

    The id of an answer with a trace is the trace id, so that a client's log leads to the trace.
    """

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [
                (bytes(name).lower(), value)
                for name, value in message.get("headers", [])
                if not bytes(name).lower().startswith((*_HIDDEN_HEADER_PREFIXES, _REQUEST_ID))
            ]
            by_name = dict(headers)
            request_id = by_name.get(TRACE_HEADER.encode(), random_source.token_hex(16).encode())
            headers.append((_REQUEST_ID, request_id))
            if message["status"] in {429, 503} and _RETRY_AFTER not in by_name:
                headers.append((_RETRY_AFTER, RETRY_AFTER_S))
            message["headers"] = headers
        await send(message)

    return send_with_headers


def _check_role(key: Key, route: tuple[str, str]) -> None:
    """Check that keys for metrics and alarms call only their route, and readers' keys neither.

    Raises:
        RefusedError: 403 if the role of the key does not allow the route.
    """
    allowed_roles = ROLES_BY_ROUTE.get(route, frozenset(ROLES) - {"monitor", "alarm"})
    if key.role not in allowed_roles:
        raise RefusedError(
            403,
            "role_not_allowed",
            tried=f"call {route[1]}",
            found=f"a key with the role {key.role}",
            next_step=f"use a key with the role {' or '.join(sorted(allowed_roles))}",
        )


def _unknown_route_document(method: str, path: str) -> Mapping[str, Any]:
    route_list = ", ".join(f"{verb} {route}" for verb, route in sorted(ROUTES))
    return RefusedError(
        404,
        "no_such_route",
        tried=f"call {method} {path}"[:200],
        found="this route does not exist",
        next_step=f"use one of these routes: {route_list}",
    ).body()


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _strip_scope(scope: Scope, *, length: int | None = None) -> Scope:
    """Return the scope for LiteLLM, without the client's address, the query and most headers."""
    headers = [(name, value) for name, value in scope["headers"] if name in _KEPT_HEADERS]
    if length is not None:
        headers.append((b"content-type", b"application/json"))
        headers.append((b"content-length", str(length).encode()))
    return {**scope, "headers": headers, "query_string": b"", "client": None}


async def _read_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    has_more = True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientDisconnectedError
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise body_too_large_refusal(size)
        parts.append(part)
        has_more = bool(message.get("more_body", False))
    return b"".join(parts)
