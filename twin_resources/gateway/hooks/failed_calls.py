"""Convert a failed model call into the refusal that the client receives.

Scope: converting LiteLLM's exceptions. A refusal repeats a provider's status, code and
`Retry-After`, but none of its text.
Out of scope: the fallback (`routing/rules.py`), sending the refusal (`routes.py`).

Exceptions: https://docs.litellm.ai/docs/exception_mapping
"""

from __future__ import annotations

import math
import re
from typing import Any

from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.exchange.exchange import RequestRecord
from twin_resources.gateway.request.response_format import unenforceable_format_refusal
from twin_resources.registry.route_names import PAID

_CODE = re.compile(r"[a-z][a-z0-9_]{0,60}")
_MAX_WAIT_S = 86_400  # larger values of a provider's header are ignored


def refusal_for_error(record: RequestRecord, error: Exception) -> RefusedError:
    """Return the refusal of a request whose model failed."""
    status = int(getattr(error, "status_code", None) or 503)
    action = f"answer with {record.chat_request.model}"
    if status == 400:
        return _prompt_refusal(record, error, action)
    if record.decision.server_key == PAID or record.decision.is_elsewhere:
        return _provider_refusal(status, error, action)
    server_key = record.decision.server_key
    return RefusedError(
        503,
        "model_server_failed",
        tried=action,
        found=f"the model server {server_key!r} does not answer ({type(error).__name__})",
        next_step="try again in a few seconds; `twin status` and the log `models` show the reason",
    )


def _prompt_refusal(record: RequestRecord, error: Exception, action: str) -> RefusedError:
    if record.chat_request.response_format is not None and "exceed" not in str(error).lower():
        # An error that is not about the length of the prompt is about the format.
        return unenforceable_format_refusal(record.chat_request.model, str(error))
    server_key = record.decision.server_key
    return RefusedError(
        400,
        "model_refused",
        tried=action,
        found=f"the model server {server_key!r} refused the prompt ({type(error).__name__})",
        next_step="shorten the question and the conversation; they are too long for the model",
    )


def _provider_refusal(status: int, error: Exception, action: str) -> RefusedError:
    """Return the refusal for a provider's error, without details that concern its key."""
    wait_s = _retry_after(error)
    retry_advice = f"try again in {wait_s} s" if wait_s else "try again later"
    if status == 429:
        return RefusedError(
            429,
            _provider_error_code(error) or "provider_rate_limited",
            tried=action,
            found="its provider accepts no more requests for now",
            next_step=retry_advice,
            retry_after_s=wait_s,
        )
    if status in {401, 403, 404}:
        return RefusedError(
            502,
            "provider_refused",
            tried=action,
            found=f"its provider refuses the gateway (status {status})",
            next_step="ask the operator of the twin to check the model's name, address and key",
        )
    is_timeout = status == 408
    is_server_error = 500 <= status < 600 and not _is_connection_error(error)
    return RefusedError(
        504 if is_timeout else status if is_server_error else 503,
        "provider_too_slow" if is_timeout else "provider_failed",
        tried=action,
        found=f"its provider does not answer ({type(error).__name__})",
        next_step=retry_advice,
        retry_after_s=wait_s,
    )


def _is_connection_error(error: BaseException) -> bool:
    """Return whether the connection failed, which LiteLLM also reports as status 500."""
    import httpx
    from openai import APIConnectionError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, httpx.TransportError | APIConnectionError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _retry_after(error: Exception) -> int | None:
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


def _provider_error_code(error: Exception) -> str:
    """Return the provider's error code, such as `insufficient_quota`, or an empty string."""
    body = getattr(error, "body", None)
    codes = [getattr(error, "code", None), body.get("code") if isinstance(body, dict) else None]
    return next((code for code in codes if isinstance(code, str) and _CODE.fullmatch(code)), "")
