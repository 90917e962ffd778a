"""Test the refusals for failed calls: status, code and `Retry-After`."""

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

PROVIDER_TEXT = "a text of the provider with an address in it"


def create_error(error_type: Any, **headers: str) -> Exception:
    error = error_type(message=PROVIDER_TEXT, model="m", llm_provider="openai")
    error.litellm_response_headers = httpx.Headers(headers)
    return error


@pytest.mark.parametrize(
    ("error_type", "details", "status", "code", "retry_after"),
    [
        (RateLimitError, {"retry-after": "6.2"}, 429, "provider_rate_limited", "7"),
        (RateLimitError, {"retry-after": "a while"}, 429, "provider_rate_limited", None),
        (RateLimitError, {"retry-after": "1e9"}, 429, "provider_rate_limited", None),
        (InternalServerError, {"retry-after": "3"}, 503, "provider_failed", "3"),
        (Timeout, {}, 504, "provider_too_slow", None),
        (AuthenticationError, {}, 502, "provider_refused", None),
        (BadRequestError, {}, 400, "model_refused", None),
        (None, {}, 503, "provider_failed", None),
    ],
)
def test_an_error_of_a_provider_becomes_a_refusal(
    error_type: Any, details: dict[str, Any], status: int, code: str, retry_after: str | None
) -> None:
    record = create_record()
    record.decision = replace(record.decision, server_key=PAID)
    error = create_error(error_type, **details) if error_type else RuntimeError(PROVIDER_TEXT)
    refusal = refusal_for_error(record, error)
    assert (refusal.status, refusal.code) == (status, code)
    assert refusal.headers().get("retry-after") == retry_after
    assert PROVIDER_TEXT not in str(refusal)


def test_a_valid_error_code_of_the_provider_is_kept() -> None:
    record = create_record()
    record.decision = replace(record.decision, server_key=PAID)
    error: Any = create_error(RateLimitError)
    error.code = "insufficient_quota"
    assert refusal_for_error(record, error).code == "insufficient_quota"
    error.code = "<b>no</b>"
    assert refusal_for_error(record, error).code == "provider_rate_limited"


def test_the_refusal_names_a_server_of_this_home() -> None:
    refusal = refusal_for_error(create_record(), create_error(InternalServerError))
    assert (refusal.status, refusal.code) == (503, "model_server_failed")
    assert "'base'" in str(refusal)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "litellm.BadRequestError: OpenAIException - Error code: 400 - {'error': {'code': 400, "
            "'message': 'Unable to generate parser for this template. Automatic parser generation "
            "failed: JSON schema error at #: unrecognized type no', 'type': 'invalid'}}. "
            "Received Model Group=ann/v1",
            "JSON schema error at #: unrecognized type no",
        ),
        (
            "Error code: 400 - {'message': 'Failed to initialize samplers: failed to parse "
            "grammar', 'type': 'invalid_request_error'} http://127.0.0.1:1/v1",
            "failed to parse grammar",
        ),
        ("Error code: 400 - http://127.0.0.1:1/v1", "it gives no reason"),
    ],
)
def test_a_servers_refusal_of_a_format_is_reported_without_its_address(
    message: str, reason: str
) -> None:
    error = BadRequestError(message=message, model="m", llm_provider="openai")
    refusal = refusal_for_error(create_record(response_format={"type": "json_object"}), error)
    assert (refusal.status, refusal.param) == (400, "response_format")
    assert f"does not accept this response_format ({reason});" in str(refusal)
