"""A running model server as its clients see it: address, alias, key and context."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunningServer:
    """An OpenAI-compatible server that answers for exactly one model version.

    Attributes:
        url: base URL, which ends in `/v1`.
        alias: value of `model` in a request.
        key: bearer token; may be empty.
        pid: process id on this machine, or None for an external server.
        engine: name and version of the inference engine; a different engine may change the answers.
        context: tokens of prompt and answer together; 0 if an external server does not report it.
    """

    url: str
    alias: str
    key: str
    pid: int | None
    engine: str
    context: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """Request headers that contain the key."""
        return authorization_headers(self.key)


def authorization_headers(key: str) -> dict[str, str]:
    """Return the headers for a bearer token; empty if there is no token."""
    return {"Authorization": f"Bearer {key}"} if key else {}
