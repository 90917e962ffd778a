"""The body of a refusal: the type by which clients tell one from another."""

from __future__ import annotations

import pytest

from twin_resources.access.refusals import RefusedError


@pytest.mark.parametrize(
    ("status", "kind"),
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
def test_the_type_says_what_the_status_says(status: int, kind: str) -> None:
    refused = RefusedError(
        status, "a_word", tried="ask", found="nothing", next_step="ask again", param="model"
    )
    error = refused.body()["error"]
    assert error["type"] == kind
    assert (error["code"], error["param"]) == ("a_word", "model")
    assert error["message"] == str(refused)
