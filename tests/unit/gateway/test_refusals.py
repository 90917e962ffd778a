"""Test the body of a refusal."""

from __future__ import annotations

import pytest

from twin_resources.access.refusals import RefusedError

NO_ANSWER = "The twin cannot answer right now; please try again"
NOT_STORED = "Your feedback could not be stored; please try again"
TEXT = "twin/x@voice cannot answer, the server 'x' is dead; run `twin status`."


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
    refusal = RefusedError(status, "a_word", "Ask again.", param="model")
    error = refusal.body()["error"]
    assert error["type"] == error_type
    assert (error["code"], error["param"]) == ("a_word", "model")
    assert error["message"] == refusal.client_message


@pytest.mark.parametrize(
    ("status", "code", "retry_after_s", "message"),
    [
        (503, "model_server_failed", None, f"{NO_ANSWER} in a minute."),
        (503, "provider_failed", 7, f"{NO_ANSWER} in 7 s."),
        (500, "gateway_failed", None, f"{NO_ANSWER} in a minute."),
        (503, "outbox_full", None, f"{NOT_STORED} in a minute."),
        (503, "author_paused", None, TEXT),
        (400, "bad_request", None, TEXT),
        (429, "key_limit", None, TEXT),
    ],
)  # fmt: skip
def test_a_client_reads_one_sentence_where_only_the_operator_can_act(
    capsys: pytest.CaptureFixture[str],
    status: int,
    code: str,
    retry_after_s: int | None,
    message: str,
) -> None:
    refusal = RefusedError(status, code, TEXT, retry_after_s=retry_after_s)
    assert refusal.body()["error"]["message"] == message
    refusal.log_operator_fault()
    logged = capsys.readouterr().err
    assert logged == ("" if message == TEXT else f"{code}: {TEXT}\n")
