"""Restrict the LiteLLM proxy to an allow-list of routes, and check each request first.

The proxy exposes about a thousand routes, and any valid key may call most of them. The allow-list
names the available ones, and every other route is 404 before authentication. What needs no LiteLLM
(models, readiness, metrics, feedback, alarms, agents, the widget, the author's page of questions)
is answered here.

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
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twin_resources.access.keys import ROLES, Key, Keyring, Role
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.admission import AdmissionControl
from twin_resources.gateway.api.agent_tools import AgentTools
from twin_resources.gateway.api.feedback import store_feedback
from twin_resources.gateway.api.json_answers import failure_events, refusal_response
from twin_resources.gateway.api.outside_alarms import store_alarm
from twin_resources.gateway.api.questions_page import QuestionsPage
from twin_resources.gateway.api.recent_responses import RecentResponses
from twin_resources.gateway.api.widget import build_widget_response
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.exchange.exchange import TRACE_HEADER, AnswerCall, current_call
from twin_resources.gateway.request.request_body import (
    CONVERSATION_KEYS,
    MAX_BODY_BYTES,
    MODEL_NAME,
    RESPONSES_PATH,
    body_too_large_refusal,
    decode_object,
    match_model_name,
    split_body,
)
from twin_resources.gateway.routing.model_names import (
    check_author_access,
    model_fields,
    model_names_for_key,
)
from twin_resources.observability.langfuse.outbox import Outbox
from twin_resources.observability.metrics import CONTENT_TYPE as METRICS_CONTENT_TYPE
from twin_resources.observability.metrics import measure_request, render_metrics
from twin_resources.registry.route_names import TASK

ANSWER_ROUTES = frozenset(("POST", path) for path in CONVERSATION_KEYS)
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
TASK_HEADER = "x-twin-task"
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
            route = (scope["method"], scope["path"])
            is_model = _is_model_path(*route)
            label = MODELS_ROUTE[1] if is_model else route[1] if route in ROUTES else "other"
            with measure_request(label) as outcome:

                async def send_and_record(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        outcome.status = message["status"]
                        _complete_headers(message)
                    await send(message)

                try:
                    await self._answer(route, Request(scope, receive), send_and_record)
                except RefusedError as error:
                    refusal = refusal_response(error, is_json_rpc=route == MCP_ROUTE)
                    await refusal(scope, receive, send_and_record)
                except ClientDisconnect:
                    return  # no client is left to answer

    async def _answer(self, route: tuple[str, str], request: Request, send: Send) -> None:
        """Answer a request; whatever needs LiteLLM is sent by `_forward_to_proxy`.

        Raises:
            RefusedError: the request is refused before an answer begins.
            ClientDisconnect: the client left while it sent the body.
        """
        response: Response | None
        if route[1] == MCP_ROUTE[1] and route != MCP_ROUTE:
            # A client that finds no stream of the server's own expects this status.
            response = Response(status_code=405, headers={"allow": "POST"})
        elif route not in ROUTES and not _is_model_path(*route):
            method, path = route
            names = ", ".join(f"{verb} {name}" for verb, name in sorted(ROUTES))
            message = f"{f'{method} {path}'[:200]} does not exist; use one of these: {names}."
            raise RefusedError(404, "no_such_route", message)
        elif route == LIVELINESS_ROUTE:
            response = JSONResponse("I'm alive!")
        elif route == READINESS_ROUTE:
            response = self._read_readiness()
        elif route == ROOT_ROUTE:
            response = PlainTextResponse(ROOT_TEXT)
        elif route == WIDGET_ROUTE:
            response = build_widget_response(request)
        elif route in QUESTIONS_ROUTES:
            response = await self.questions_page.respond(await self._read_body(request))
        else:
            response = await self._answer_key(route, request, send)
        if response is not None:
            await response(request.scope, request.receive, send)

    async def _answer_key(
        self, route: tuple[str, str], request: Request, send: Send
    ) -> Response | None:
        """Answer a route that needs a key; None if the answer was sent."""
        key = await asyncio.to_thread(self.keyring.find, request.headers.get("authorization", ""))
        key.check_origin(request.headers.get("origin", ""))
        # Keys for metrics and alarms call only their route, and readers' keys neither.
        roles = ROLES_BY_ROUTE.get(route, frozenset(ROLES) - {"monitor", "alarm"})
        if key.role not in roles:
            message = (
                f"{route[1]} needs a key with the role {' or '.join(sorted(roles))}, not one with "
                f"the role {key.role}."
            )
            raise RefusedError(403, "role_not_allowed", message)
        if route == METRICS_ROUTE:
            metrics = await asyncio.to_thread(render_metrics, self.home_metrics)
            return Response(metrics, media_type=METRICS_CONTENT_TYPE)
        names = model_names_for_key(self.live_config.current, key)
        if route == MODELS_ROUTE:
            entries = [self._model_entry(name) for name in names]
            return JSONResponse({"object": "list", "data": entries})
        if route not in ROUTES:
            name = route[1].removeprefix(_MODEL_PREFIX)
            if name not in names:
                message = f"This key has no model {name}; its models are {', '.join(names[:20])}."
                raise RefusedError(404, "model_not_found", message, param="model")
            return JSONResponse(self._model_entry(name))
        if route in ANSWER_ROUTES:
            with self.admission.admit_for_key(key.reader):
                raw = await self._read_body(request)
                body, call = await asyncio.to_thread(self._read_request, route[1], raw, key)
                if request.headers.get(TASK_HEADER):
                    call.model = f"{call.model.partition('@')[0]}@{TASK}"
                await self._forward_to_proxy(request, call, json.dumps(body).encode(), send)
            return None
        raw = await self._read_body(request)
        if route == FEEDBACK_ROUTE:
            return JSONResponse(await store_feedback(self.outbox, key, raw))
        if route == MCP_ROUTE:
            await self.agent_tools.handle(request, raw, send, key=key, gateway=self)
            return None
        state = await asyncio.to_thread(lambda: self.keyring.state)
        authors = self.live_config.current.authors
        named = request.query_params.get("author", "")
        return JSONResponse(await store_alarm(state, key, raw, named=named, authors=authors))

    def _read_request(self, path: str, raw: bytes, key: Key) -> tuple[dict[str, Any], AnswerCall]:
        """Return the body for LiteLLM, and what the provider needs beside it.

        Reads the state store if the request names an earlier answer.
        """
        body, parameters = split_body(decode_object(raw), path)
        match = match_model_name(body.get("model"))
        check_author_access(self.live_config.current, match["author"], key)
        call = AnswerCall(key, match.string, parameters)
        if path == RESPONSES_PATH:
            call.lost_references, call.store = self.responses.replace_references(body, key.reader)
        return body, call

    async def _forward_to_proxy(
        self, request: Request, call: AnswerCall, body: bytes, send: Send
    ) -> None:
        """Let the proxy answer the checked body, and cancel it if the key is revoked.

        Raises:
            RefusedError: 401 if the key was revoked before the answer began.
        """
        bodies: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        path, has_started, is_refused = request.scope["path"], False, False

        async def replay_body() -> Message:
            return bodies.pop() if bodies else await request.receive()

        async def forward(message: Message) -> None:
            nonlocal has_started, is_refused
            if message["type"] == "http.response.start":
                has_started = True
                if call.refusal is not None:
                    is_refused = True
                    await refusal_response(call.refusal)(request.scope, request.receive, send)
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

        kept = [(name, value) for name, value in request.headers.raw if name in _KEPT_HEADERS]
        kept += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        scope = {**request.scope, "headers": kept, "query_string": b"", "client": None}
        current_call.set(call)
        answer = asyncio.ensure_future(self.proxy(scope, replay_body, forward))
        revocation: RefusedError | None = None
        try:
            while revocation is None:
                await asyncio.wait({answer}, timeout=KEY_CHECK_INTERVAL_S)
                if answer.done():
                    if not answer.cancelled():
                        answer.result()  # raises the task's error, if there was one
                    return
                try:
                    authorization = request.headers["authorization"]
                    await asyncio.to_thread(self.keyring.find, authorization)
                except RefusedError as error:
                    revocation = error if error.status == 401 else None
        finally:
            answer.cancel()  # has no effect on a finished task
            await asyncio.wait({answer})
        if not has_started:
            raise revocation
        await send({"type": "http.response.body", "body": failure_events(revocation)})

    async def _read_body(self, request: Request) -> bytes:
        """Read a body that arrives within `body_timeout_s` and is not too large.

        Raises:
            RefusedError: 408 or 413.
            ClientDisconnect: the client left.
        """

        async def read() -> bytes:
            body = bytearray()
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise body_too_large_refusal(len(body))
            return bytes(body)

        read_task = asyncio.ensure_future(read())
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
        message = f"Send the body within {self.body_timeout_s:g} s; it is still incomplete."
        raise RefusedError(408, "body_too_slow", message)

    def _model_entry(self, name: str) -> Mapping[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": int(self.started_at.timestamp()),
            "owned_by": "llm-twin",
            "twin": model_fields(self.live_config.current, name),
        }

    def _read_readiness(self) -> Response:
        snapshot = self.live_config.current
        ready_servers = sorted(name for name, server in snapshot.servers.items() if server.ready)
        missing = ["an author"] * (not snapshot.authors)
        missing += ["a model server"] * (not ready_servers)
        problems = [*snapshot.problems, *snapshot.author_problems.values()]
        document = {
            "status": f"waiting for {' and '.join(missing)}" if missing else "ready",
            "servers": ready_servers,
            "authors": sorted(snapshot.authors),
            "problems": [problem for problem in problems if problem],
        }
        return JSONResponse(document, 503 if missing else 200)

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


def _is_model_path(method: str, path: str) -> bool:
    name = path.removeprefix(_MODEL_PREFIX)
    return method == MODELS_ROUTE[0] and name != path and MODEL_NAME.fullmatch(name) is not None


def _complete_headers(message: Message) -> None:
    """Remove LiteLLM's headers, and add an id and, on 429 and 503, `Retry-After`.

    The id of an answer with a trace is the trace id, so that a client's log leads to the trace.
    """
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
