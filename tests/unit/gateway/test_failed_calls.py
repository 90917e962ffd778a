"""A provider's refusals as the client is told them: status, code and when to ask again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
from litellm.exceptions import (
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    RateLimitError,
    Timeout,
)

from tests.unit.gateway.exchanges import create_record
from twin_resources.gateway.hooks.failed_calls import refusal_for_error
from twin_resources.registry.route_names import PAID

TEXT = "a text of the provider with an address in it"


def raised(kind: Any, *, cause: Exception | None = None, **headers: str) -> Exception:
    error = kind(message=TEXT, model="m", llm_provider="openai")
    error.__cause__ = cause
    error.litellm_response_headers = httpx.Headers(headers)
    return error


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (raised(RateLimitError, **{"retry-after": "6.2"}), 429, "provider_rate_limited", "7"),
        (raised(RateLimitError, **{"retry-after": "a while"}), 429, "provider_rate_limited", None),
        (raised(RateLimitError, **{"retry-after": "1e9"}), 429, "provider_rate_limited", None),
        (raised(InternalServerError, **{"retry-after": "3"}), 500, "provider_failed", "3"),
        (raised(InternalServerError, cause=httpx.ConnectError("")), 503, "provider_failed", None),
        (raised(InternalServerError, cause=httpx.ReadError("")), 503, "provider_failed", None),
        (raised(Timeout), 504, "provider_too_slow", None),
        (raised(AuthenticationError), 502, "provider_refused", None),
        (raised(BadRequestError), 400, "model_refused", None),
        (RuntimeError(TEXT), 503, "provider_failed", None),
    ],
)
def test_a_provider_is_told_as_it_is(
    error: Exception, status: int, code: str, retry_after: str | None
) -> None:
    record = create_record()
    record.decision = replace(record.decision, server_key=PAID)
    refused = refusal_for_error(record, error)
    assert (refused.status, refused.code) == (status, code)
    assert refused.headers().get("retry-after") == retry_after
    assert TEXT not in str(refused)


def test_its_own_word_for_a_limit_is_passed_on_and_nothing_else() -> None:
    record = create_record()
    record.decision = replace(record.decision, server_key=PAID)
    error: Any = raised(RateLimitError)
    error.code = "insufficient_quota"
    assert refusal_for_error(record, error).code == "insufficient_quota"
    error.code = "<b>no</b>"
    assert refusal_for_error(record, error).code == "provider_rate_limited"


def test_a_server_of_this_home_is_named() -> None:
    refused = refusal_for_error(create_record(), raised(InternalServerError))
    assert (refused.status, refused.code) == (503, "model_server_failed")
    assert "'base'" in str(refused)
