"""Serve the embedded trace store: one machine's traces and scores over HTTP on loopback.

Scope: the endpoints listed below, the key check, the process, and deleting traces older than 90
days.
Out of scope: a user interface, prompts, datasets, metrics; the client (`client.py`).
API: the part of https://api.reference.langfuse.com that the gateway, LiteLLM and the SDK use, as in
version 4.16.0. Every other path returns 404, including paths that version 4.16.0 removed.

    POST   /api/public/otel/v1/traces     GET    /api/public/v2/observations
    POST   /api/public/scores             GET    /api/public/v3/scores
    DELETE /api/public/scores/{id}        GET    /api/public/projects
    DELETE /api/public/traces[/{id}]      GET    /api/public/health (no key)
    GET    /  (no key; one line that describes the server)
"""

from __future__ import annotations

import argparse
import base64
import binascii
import os
import secrets
import socket
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from twin_resources.atomic_writes import replace_file
from twin_resources.errors import TwinError
from twin_resources.observability.trace_store import (
    observation_documents,
    observations,
    posted_scores,
    queries,
)
from twin_resources.observability.trace_store.filters import (
    RequestRefusedError,
    build_invalid_request_error,
)
from twin_resources.observability.trace_store.observation_documents import (
    EMBEDDED_STORE_ID,
    PROJECT_ID,
)
from twin_resources.observability.trace_store.otlp import ExportRefusedError, read_export
from twin_resources.observability.trace_store.trace_tables import TraceTables
from twin_resources.settings import load_secrets, load_settings
from twin_resources.untrusted_json import parse_untrusted_json

API_VERSION = "4.16.0"  # this store reproduces recorded responses of this server version
MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_INGESTION_VERSION = 4
# The ledger reads each trace only once, and keeps its copy for the same time (`LedgerRules`).
RETENTION_DAYS = 90
DAY_MS = 86_400_000
CLEANUP_INTERVAL_MS = 600_000
DESCRIPTION = (
    f"The trace store of an LLM Twin: a part of Langfuse {API_VERSION}'s public API, for programs. "
    "To look at traces in a browser: `twin open traces`; in the terminal: `twin traces`.\n"
)


@dataclass(frozen=True)
class Keys:
    """The store's only key pair."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return "Keys(…)"


def build_app(
    tables: TraceTables,
    *,
    keys: Keys,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> Starlette:
    """Return the ASGI application that serves these tables.

    Args:
        now_ms: the clock for arrival times, in Unix milliseconds.
    """
    app = Starlette(
        routes=[
            Route("/", _get_description, methods=["GET"]),
            Route("/api/public/health", _get_health, methods=["GET"]),
            Route("/api/public/projects", _require_keys(_get_projects), methods=["GET"]),
            Route("/api/public/otel/v1/traces", _require_keys(_post_traces), methods=["POST"]),
            Route("/api/public/v2/observations", _require_keys(_get_observations), methods=["GET"]),
            Route("/api/public/v3/scores", _require_keys(_get_scores), methods=["GET"]),
            Route("/api/public/scores", _require_keys(_post_scores), methods=["POST"]),
            Route("/api/public/scores/{id}", _require_keys(_delete_score), methods=["DELETE"]),
            Route("/api/public/traces", _require_keys(_delete_traces), methods=["DELETE"]),
            Route("/api/public/traces/{id}", _require_keys(_delete_trace), methods=["DELETE"]),
        ],
        exception_handlers={
            404: _respond_not_found,
            405: _respond_not_found,
            RequestRefusedError: _respond_refused,
            sqlite3.Error: _respond_storage_error,
        },
    )
    app.router.redirect_slashes = False
    app.state.tables, app.state.keys, app.state.now_ms = tables, keys, now_ms
    app.state.last_cleanup_ms = 0  # so that the first export deletes old traces
    return app


Endpoint = Callable[[Request], Awaitable[Response]]


def _require_keys(endpoint: Endpoint) -> Endpoint:
    async def endpoint_with_keys(request: Request) -> Response:
        keys: Keys = request.app.state.keys
        authorization = request.headers.get("authorization", "")
        if not authorization:
            return _json_message(401, "No authorization header")
        try:
            scheme, _, encoded_keys = authorization.partition(" ")
            public_key, _, secret_key = (
                base64.b64decode(encoded_keys, validate=True).decode().partition(":")
            )
        except (binascii.Error, UnicodeDecodeError):
            return _json_message(401, "Invalid authorization header")
        if scheme.lower() != "basic":
            return _json_message(401, "Invalid authorization header")
        is_public_key_valid = secrets.compare_digest(public_key.encode(), keys.public.encode())
        if (
            not secrets.compare_digest(secret_key.encode(), keys.secret.encode())
            or not is_public_key_valid
        ):
            return _json_message(
                401,
                "Invalid credentials. Confirm that you've configured the correct host.",
            )
        return await endpoint(request)

    return endpoint_with_keys


def _json_message(status: int, message: str, error: Any = None) -> JSONResponse:
    body = {"message": message} | ({} if error is None else {"error": error})
    return JSONResponse(body, status_code=status)


async def _respond_not_found(request: Request, _error: Exception) -> Response:
    return _json_message(
        404, f"No such endpoint: {request.method} {request.url.path}", "NotFoundError"
    )


async def _respond_refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestRefusedError):
        raise error
    return _json_message(error.status, error.message, error.error)


async def _respond_storage_error(request: Request, error: Exception) -> Response:
    print(f"trace store: {request.method} {request.url.path}: {error}", file=sys.stderr)  # noqa: T201
    return _json_message(503, "The trace store cannot reach its database", str(error))


async def _read_body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise RequestRefusedError(
                413, f"Body exceeds {MAX_BODY_BYTES} bytes", "PayloadTooLarge"
            )
        chunks.append(chunk)
    return b"".join(chunks)


async def _read_json_body(request: Request) -> Any:
    try:
        return parse_untrusted_json(await _read_body(request))
    except ValueError as error:
        message = f"Invalid JSON in request body: {error}"
        raise RequestRefusedError(400, message, "InvalidRequestError") from error


def _query_parameters(request: Request) -> dict[str, list[str]]:
    return {name: request.query_params.getlist(name) for name in request.query_params}


async def _get_description(_request: Request) -> Response:
    return PlainTextResponse(DESCRIPTION)


async def _get_health(request: Request) -> Response:
    await run_in_threadpool(request.app.state.tables.check_readable)
    health = {"status": "OK", "version": API_VERSION}
    names = sorted(request.app.state.tables.unreadable_rows)
    return JSONResponse(health | ({"unreadableRows": names} if names else {}))


async def _get_projects(request: Request) -> Response:
    store_id = await run_in_threadpool(request.app.state.tables.read_store_id)
    project = {"id": PROJECT_ID, "name": PROJECT_ID, "organization": {"id": "org", "name": "org"}}
    return JSONResponse({"data": [project | {"metadata": {EMBEDDED_STORE_ID: store_id}}]})


async def _post_traces(request: Request) -> Response:
    headers, state = request.headers, request.app.state
    version = headers.get("x-langfuse-ingestion-version", "")
    if version and not (version.isdigit() and int(version) <= MAX_INGESTION_VERSION):
        message = f'Unsupported x-langfuse-ingestion-version: "{version}". Maximum supported: "4".'
        return JSONResponse({"error": message}, status_code=400)
    body = await _read_body(request)

    def store_spans() -> None:
        spans = read_export(
            body,
            content_type=headers.get("content-type", ""),
            content_encoding=headers.get("content-encoding", ""),
        )
        now_ms = state.now_ms()
        state.tables.put_observations(
            [observations.build_observation(span, now_ms=now_ms) for span in spans]
        )
        if now_ms - state.last_cleanup_ms >= CLEANUP_INTERVAL_MS:
            state.last_cleanup_ms = now_ms
            state.tables.delete_old_traces(before_ms=now_ms - RETENTION_DAYS * DAY_MS)

    try:
        await run_in_threadpool(store_spans)
    except ExportRefusedError as error:
        return JSONResponse({"error": error.response_text}, status_code=400)
    return JSONResponse({})


async def _get_observations(request: Request) -> Response:
    query = queries.parse_observation_query(_query_parameters(request))
    rows, has_more = await run_in_threadpool(request.app.state.tables.observations, query)
    data = [
        observation_documents.build_observation_document(
            row, groups=query.groups, expand_metadata=query.expand_metadata
        )
        for row in rows
    ]
    cursor = {"cursor": queries.encode_observation_cursor(rows[-1])} if has_more and rows else {}
    return JSONResponse({"data": data, "meta": cursor})


async def _post_scores(request: Request) -> Response:
    """Store one score. An array of scores, as SDK 5 sends it, is refused like in version 4.16."""
    payload = await _read_json_body(request)
    if issues := posted_scores.validate_score(payload):
        raise build_invalid_request_error(issues)
    state = request.app.state
    row = posted_scores.build_score_row(payload, now_ms=state.now_ms())
    await run_in_threadpool(state.tables.put_scores, [row])
    return JSONResponse({"id": row.id})


async def _get_scores(request: Request) -> Response:
    query = queries.parse_score_query(_query_parameters(request))
    rows, has_more = await run_in_threadpool(request.app.state.tables.scores, query)
    cursor = {"cursor": queries.encode_score_cursor(rows[-1])} if has_more and rows else {}
    data = [posted_scores.build_score_document(row, groups=query.groups) for row in rows]
    return JSONResponse({"data": data, "meta": {"limit": query.limit} | cursor})


async def _delete_score(request: Request) -> Response:
    await run_in_threadpool(request.app.state.tables.delete_score, request.path_params["id"])
    return _json_message(202, "Score deletion queued successfully")


async def _delete_trace(request: Request) -> Response:
    await run_in_threadpool(request.app.state.tables.delete_traces, [request.path_params["id"]])
    return _json_message(200, "Trace deleted successfully")


async def _delete_traces(request: Request) -> Response:
    payload = await _read_json_body(request)
    ids = payload.get("traceIds") if isinstance(payload, dict) else None
    if not isinstance(ids, list) or not ids or not all(isinstance(item, str) for item in ids):
        message = "Invalid input: expected a non-empty array of strings"
        raise build_invalid_request_error(
            [{"code": "invalid_type", "path": ["traceIds"], "message": message}]
        )
    await run_in_threadpool(request.app.state.tables.delete_traces, ids)
    return _json_message(200, "Traces deleted successfully")


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 selects a free port.

    The socket queues connections until the server accepts them.

    Raises:
        TwinError: the port is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise TwinError(
            f"listen on {host}:{port} for the trace store",
            found=error.strerror or str(error),
            next_step="stop the program that uses the port, or change TWIN_TRACES_PORT",
        ) from error
    return listener


def _load_keys(home: str | None) -> Keys:
    public = os.environ.get("TWIN_TRACES_PUBLIC_KEY", "")
    secret = os.environ.get("TWIN_TRACES_SECRET_KEY", "")
    if public and secret:
        return Keys(public, secret)
    saved_secrets = load_secrets(load_settings(home))
    return Keys(saved_secrets.traces_public_key, saved_secrets.traces_secret_key)


def main(argv: list[str] | None = None) -> None:
    """Serve until SIGTERM arrives; write the port to `--port-file` once the socket listens."""
    import uvicorn

    parser = argparse.ArgumentParser(
        prog="python -m twin_resources.observability.trace_store.local_store"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=None, help="default: TWIN_TRACES_PORT, 4318")
    parser.add_argument("--db", type=Path, default=None, help="default: <home>/traces.sqlite")
    parser.add_argument("--home", default=None)
    parser.add_argument("--port-file", type=Path, default=None)
    arguments = parser.parse_args(argv)
    settings = load_settings(arguments.home)
    try:
        tables = TraceTables(arguments.db or settings.home / "traces.sqlite")
        port = settings.traces_port if arguments.port is None else arguments.port
        listener = listen(arguments.host, port)
        app = build_app(tables, keys=_load_keys(arguments.home))
    except TwinError as error:
        raise SystemExit(str(error)) from error  # prints the message, and the status is 1
    if arguments.port_file is not None:
        replace_file(arguments.port_file, str(listener.getsockname()[1]))
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
