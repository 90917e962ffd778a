"""Convert a failed model call into the refusal that the client receives.

A refusal repeats a provider's status, code and `Retry-After`, but none of its text, which may
concern its key. Exceptions: https://docs.litellm.ai/docs/exception_mapping
"""

from __future__ import annotations

import math
import re
from typing import Any

from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.exchange.exchange import RequestRecord
from twin_resources.registry.route_names import PAID

_CODE = re.compile(r"[a-z][a-z0-9_]{0,60}")
_MAX_WAIT_S = 86_400  # larger values of a provider's header are ignored
# Errors of llama.cpp: "JSON schema error at #/…: …", "… failed to parse grammar".
_SCHEMA_ERROR = re.compile(r"""(JSON schema|failed to parse grammar)[^"'{}\\]{0,200}""")


def refusal_for_error(record: RequestRecord, error: Exception) -> RefusedError:
    """Return the refusal of a request whose model failed."""
    status = int(getattr(error, "status_code", None) or 503)
    model, server_key = record.chat_request.model, record.decision.server_key
    kind = type(error).__name__
    if status == 400:
        # With a format, an error that is not about the length of the prompt is about the format.
        if record.chat_request.response_format is not None and "exceed" not in str(error).lower():
            match = _SCHEMA_ERROR.search(str(error))
            reason = " ".join(match[0].split()) if match else "it gives no reason"
            message = (
                f"The model of {model} does not accept this response_format ({reason}); send a "
                "simpler schema, or omit response_format."
            )
            return RefusedError(400, "model_refused", message, param="response_format")
        message = (
            f"The model server {server_key!r} refused the prompt ({kind}); shorten the question "
            "and the conversation."
        )
        return RefusedError(400, "model_refused", message)
    if server_key != PAID and not record.decision.is_elsewhere:
        message = (
            f"The model server {server_key!r} does not answer ({kind}); `twin status` and the log "
            "`models` show the reason."
        )
        return RefusedError(503, "model_server_failed", message)
    wait_s = _read_retry_after(error)
    advice = f"try again in {wait_s} s" if wait_s else "try again later"
    if status == 429:
        message = f"The provider of {model} accepts no more requests for now; {advice}."
        code = _read_error_code(error) or "provider_rate_limited"
        return RefusedError(429, code, message, retry_after_s=wait_s)
    if status in {401, 403, 404}:
        message = (
            f"The provider of {model} refuses the gateway (status {status}); its operator should "
            "check the model's name, address and key."
        )
        return RefusedError(502, "provider_refused", message)
    message = f"The provider of {model} does not answer ({kind}); {advice}."
    status, code = (504, "provider_too_slow") if status == 408 else (503, "provider_failed")
    return RefusedError(status, code, message, retry_after_s=wait_s)


def _read_retry_after(error: Exception) -> int | None:
    """Return the provider's `Retry-After` in whole seconds, or None without a usable value."""
    response = getattr(error, "response", None)
    headers: Any = getattr(error, "litellm_response_headers", None)
    if headers is None:
        headers = getattr(response, "headers", None) or {}
    try:
        seconds = math.ceil(float(headers.get("retry-after", "")))
    except ValueError:
        return None  # no header, or a date
    return seconds if 0 < seconds <= _MAX_WAIT_S else None


def _read_error_code(error: Exception) -> str:
    """Return the provider's error code, such as `insufficient_quota`, or an empty string."""
    body = getattr(error, "body", None)
    codes = [getattr(error, "code", None), body.get("code") if isinstance(body, dict) else None]
    return next((code for code in codes if isinstance(code, str) and _CODE.fullmatch(code)), "")
