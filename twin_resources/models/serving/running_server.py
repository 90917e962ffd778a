"""Define what clients need to know about a running model server: address, alias and key.

Scope: the record `RunningServer`. Out of scope: starting a server (`model_server.py`), finding a
server at an address (`named_server.py`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunningServer:
    """An OpenAI-compatible server that serves exactly one model version.

    Attributes:
        url: ends in `/v1`.
        alias: value of `model` in a request.
        key: bearer token; may be empty.
        pid: id of the server's process, or None for an external server.
        engine: name and version of the inference engine; a different engine may change the answers.
    """

    url: str
    alias: str
    key: str
    pid: int | None
    engine: str
