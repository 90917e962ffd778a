"""Refuse a request with a status, a code, and a sentence for whoever sent it.

Shape of an error: https://platform.openai.com/docs/guides/error-codes
"""
# pyright: strict

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from twin_resources.errors import TwinError

# Clients check the type before the status. LiteLLM treats every `invalid_request_error` as a 400,
# so only a 400 has that type.
_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    422: "unprocessable_entity_error",
    429: "rate_limit_error",
}


class RefusedError(Exception):
    """Raised for a request that is refused.

    Args:
        status: HTTP status code.
        code: a short word that a program can test, such as `unknown_author`.
        message: what is wrong, and what to send or to do instead.
        param: the invalid key of the body, or empty.
        retry_after_s: value of the header `Retry-After`. If None, the allow-list sends two seconds
            with 429 and 503, and no header with other codes.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str = "",
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    def headers(self) -> dict[str, str]:
        """Return the refusal's headers, which are sent in addition to those of every answer."""
        if self.retry_after_s is None:
            return {}
        return {"retry-after": str(self.retry_after_s)}

    @property
    def is_operator_fault(self) -> bool:
        """Whether only the operator can remove the cause; a pause tells its own reason."""
        return self.status >= 500 and self.code != "author_paused"

    @property
    def client_message(self) -> str:
        """What the client reads: one sentence where only the operator could use the whole text."""
        if not self.is_operator_fault:
            return str(self)
        wait = f"in {self.retry_after_s} s" if self.retry_after_s else "in a minute"
        failure = (
            "Your feedback could not be stored"
            if self.code.startswith("outbox")
            else "The twin cannot answer right now"
        )
        return f"{failure}; please try again {wait}."

    def log_operator_fault(self) -> None:
        """Write the whole text, which the client does not read, to the log."""
        if self.is_operator_fault:
            sys.stderr.write(f"{self.code}: {self}\n")

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the JSON document from which the `openai` client reads its message."""
        default_type = "invalid_request_error" if self.status < 500 else "server_error"
        return {
            "error": {
                "message": self.client_message,
                "type": _ERROR_TYPES.get(self.status, default_type),
                "param": self.param or None,
                "code": self.code,
            }
        }


def bad_request(message: str, *, param: str = "", code: str = "bad_request") -> RefusedError:
    """Return the refusal of an invalid request, with status 400; see `RefusedError`."""
    return RefusedError(400, code, message, param=param)


@contextmanager
def refuse_if_store_fails(code: str, message: str) -> Generator[None]:
    """Refuse the request with status 503 if the state store cannot be read or written.

    Args:
        message: what cannot be done, and what to do; the store's error stands before it in the log.

    Raises:
        RefusedError: the store failed, or the enclosed code refuses the request.
    """
    try:
        yield
    except (SQLAlchemyError, TwinError) as error:
        reason = f"The state store does not answer ({type(error).__name__}): {message}"
        raise RefusedError(503, code, reason) from error
