"""Parse the `Retry-After` header (RFC 9110, section 10.2.3).

Scope: the requested wait in seconds. Out of scope: waiting (`relay.py`, `client.py`).
"""
# pyright: strict

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 3600.0


def parse_retry_after_s(header: str, *, now: datetime) -> float | None:
    """Return a Retry-After header's seconds, at most an hour, or None if absent or invalid."""
    text = header.strip()
    try:
        seconds = (
            float(text) if text.isdigit() else (parsedate_to_datetime(text) - now).total_seconds()
        )
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
