"""A model server as those who ask it know it.

Scope: its address and names. Out of scope: starting one (`model_server.py`), finding
the one at an address (`named_server.py`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunningServer:
    """An OpenAI-compatible address that answers for exactly one model version.

    Attributes:
        url: ends in `/v1`.
        alias: the `model` to ask for.
        key: bearer token; empty: none.
        pid: of the process, None when the server is not ours.
        engine: what computes the answers, with its version: a change of it may change them.
    """

    url: str
    alias: str
    key: str
    pid: int | None
    engine: str
