"""Why a model did not answer, as the client is told it.

Scope: LiteLLM's exceptions as refusals: a provider's status, code and `Retry-After` as they
came, and none of its text. Out of scope: who answers instead (`routing/rules.py`), sending
the refusal (`early_opening.py`).

Exceptions: https://docs.litellm.ai/docs/exception_mapping
"""

from __future__ import annotations

import math
import re
from typing import Any

from twin_resources.access.refusals import Refused
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.request.response_format import not_kept
from twin_resources.registry.route_names import PAID

_CODE = re.compile(r"[a-z][a-z0-9_]{0,60}")
_MAX_WAIT_S = 86_400  # of a header that somebody else wrote


def failed_call(answering: RequestRecord, error: Exception) -> Refused:
    """The refusal of a request whose model failed."""
    status = int(getattr(error, "status_code", None) or 503)
    tried = f"answer with {answering.asked.model}"
    if status == 400:
        return _refused_prompt(answering, error, tried)
    if answering.chosen.server_key == PAID or answering.chosen.is_elsewhere:
        return _provider_failed(status, error, tried)
    name = answering.chosen.server_key
    return Refused(
        503,
        "model_server_failed",
        tried=tried,
        found=f"that the model server {name!r} does not answer ({type(error).__name__})",
        next_step="ask again in some seconds; `twin status` and the log `models` say why",
    )


def _refused_prompt(answering: RequestRecord, error: Exception, tried: str) -> Refused:
    if answering.asked.response_format is not None and "exceed" not in str(error).lower():
        return not_kept(answering.asked.model, str(error))  # not a prompt that is too long
    name = answering.chosen.server_key
    return Refused(
        400,
        "model_refused",
        tried=tried,
        found=f"that the model server {name!r} refused the prompt ({type(error).__name__})",
        next_step="shorten question and conversation: together they are too long for the model",
    )


def _provider_failed(status: int, error: Exception, tried: str) -> Refused:
    """What another's server has said; its key is the operator's business, not the reader's."""
    wait_s = _retry_after(error)
    again = f"ask again in {wait_s} s" if wait_s else "ask again later"
    if status == 429:
        return Refused(
            429,
            _code_of(error) or "provider_rate_limited",
            tried=tried,
            found="that its provider takes no more requests now",
            next_step=again,
            retry_after_s=wait_s,
        )
    if status in {401, 403, 404}:
        return Refused(
            502,
            "provider_refused",
            tried=tried,
            found=f"that its provider refuses the gateway (status {status})",
            next_step="the operator of the twin checks the model's name, address and key",
        )
    timed_out = status == 408
    answered = 500 <= status < 600 and not _was_not_reached(error)
    return Refused(
        504 if timed_out else status if answered else 503,
        "provider_too_slow" if timed_out else "provider_failed",
        tried=tried,
        found=f"that its provider does not answer ({type(error).__name__})",
        next_step=again,
        retry_after_s=wait_s,
    )


def _was_not_reached(error: BaseException) -> bool:
    """Whether the connection failed: LiteLLM gives that a status 500 of its own."""
    import httpx
    from openai import APIConnectionError

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, httpx.TransportError | APIConnectionError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _retry_after(error: Exception) -> int | None:
    """Whole seconds of the provider's header; None: it names none."""
    response = getattr(error, "response", None)
    headers: Any = getattr(error, "litellm_response_headers", None)
    if headers is None:
        headers = getattr(response, "headers", None) or {}
    try:
        seconds = math.ceil(float(headers.get("retry-after", "")))
    except ValueError:
        return None  # no header, or a date
    return seconds if 0 < seconds <= _MAX_WAIT_S else None


def _code_of(error: Exception) -> str:
    """The provider's word for it, as `insufficient_quota`."""
    body = getattr(error, "body", None)
    codes = [getattr(error, "code", None), body.get("code") if isinstance(body, dict) else None]
    return next((code for code in codes if isinstance(code, str) and _CODE.fullmatch(code)), "")
