"""Parse the header `Retry-After` (RFC 9110, section 10.2.3).

Scope: the seconds to wait. Out of scope: waiting (`relay.py`, `client.py`).
"""
# pyright: strict

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 3600.0


def retry_after_s(header: str, *, now: datetime) -> float | None:
    """Return the seconds of a Retry-After header, at most an hour; None if absent or invalid."""
    text = header.strip()
    try:
        seconds = float(text) if text.isdigit() else _seconds_until(text, now)
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _seconds_until(date: str, now: datetime) -> float:
    retry_at = parsedate_to_datetime(date)
    return (retry_at - now).total_seconds()
