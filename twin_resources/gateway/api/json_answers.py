"""Send a JSON document or a refusal as the whole answer to a request.

Scope: the two ASGI messages of the answer.
Out of scope: the content of a refusal (`access/refusals.py`), and the rules that refuse a request.

Interface: https://asgi.readthedocs.io/en/latest/specs/www.html
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.types import Send

from twin_resources.access.refusals import RefusedError

_INVALID_REQUEST = -32600  # JSON-RPC's code


async def send_json(
    send: Send,
    status: int,
    document: Mapping[str, Any],
    *,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Send a document with its content type, its length and the given headers."""
    body = json.dumps(document, ensure_ascii=False).encode()
    header_pairs = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *((name.encode(), value.encode()) for name, value in (headers or {}).items()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": header_pairs})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_refusal(send: Send, error: RefusedError, *, is_json_rpc: bool = False) -> None:
    """Send a refusal with the headers that its status requires, and log an operator's fault.

    Args:
        is_json_rpc: whether the client reads JSON-RPC's errors, as agents do.
    """
    error.log_operator_fault()
    headers = error.headers()
    if error.status in {408, 413}:
        # The rest of the body is not read; without this header, the connection would wait for it.
        headers |= {"connection": "close"}
    if error.status == 401:
        headers |= {"www-authenticate": "Bearer"}
    body: Mapping[str, Any] = error.body()
    if is_json_rpc:
        fault = {"code": _INVALID_REQUEST, "message": error.client_message}
        body = {"jsonrpc": "2.0", "id": None, "error": fault}
    await send_json(send, error.status, body, headers=headers)


def failure_events(error: RefusedError) -> bytes:
    """Return the last events of a stream that broke off: the error and the end marker."""
    error.log_operator_fault()
    return f"data: {json.dumps(error.body(), ensure_ascii=False)}\n\ndata: [DONE]\n\n".encode()
