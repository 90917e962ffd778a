"""Test the body of a refusal."""

from __future__ import annotations

import pytest

from twin_resources.access.refusals import RefusedError


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_the_error_type_depends_on_the_status(status: int, error_type: str) -> None:
    refusal = RefusedError(
        status, "a_word", tried="ask", found="nothing", next_step="ask again", param="model"
    )
    error = refusal.body()["error"]
    assert error["type"] == error_type
    assert (error["code"], error["param"]) == ("a_word", "model")
    assert error["message"] == str(refusal)
