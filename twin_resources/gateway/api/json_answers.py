"""The answer to a refused request, and the end of a stream that broke off."""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from twin_resources.access.refusals import RefusedError

_INVALID_REQUEST = -32600  # JSON-RPC's code


def refusal_response(error: RefusedError, *, is_json_rpc: bool = False) -> JSONResponse:
    """Return a refusal with the headers that its status requires, and log an operator's fault.

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
    return JSONResponse(body, error.status, headers)


def failure_events(error: RefusedError) -> bytes:
    """Return the last events of a stream that broke off: the error and the end marker."""
    error.log_operator_fault()
    return f"data: {json.dumps(error.body(), ensure_ascii=False)}\n\ndata: [DONE]\n\n".encode()
