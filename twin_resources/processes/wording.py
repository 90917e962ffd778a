"""Format counted nouns and durations in messages.

Scope: singular and plural forms, minutes and hours, and forecasts. Out of scope: whole sentences,
imports from outside the standard library, and syntax newer than Python 3.9, which `preflight.py`
must avoid.
"""
# pyright: strict

from __future__ import annotations

import math


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Format a count with its noun: `1 post`, `2 posts`, `1,200 posts`.

    Args:
        noun: singular form.
        plural: plural form; empty if it is the singular with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def format_duration(seconds: float) -> str:
    """Return seconds as `0:07`, `12:34` or `1:02:03`."""
    minutes, remaining_seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}:{minutes:02d}:{remaining_seconds:02d}"
        if hours
        else f"{minutes}:{remaining_seconds:02d}"
    )


def format_time_left(shortest_s: float, longest_s: float) -> str:
    """Return a forecast: `3 to 7 minutes left`, `1 to 2.5 hours left` or `under 1 minute left`."""
    if longest_s < 60:
        return "under 1 minute left"
    unit, unit_s, steps = ("hours", 3600, 2) if longest_s >= 5400 else ("minutes", 60, 1)
    low = math.floor(max(0.0, shortest_s) / unit_s * steps) / steps
    high = math.ceil(longest_s / unit_s * steps) / steps
    return f"{f'{low:g} to' if low else 'up to'} {high:g} {unit} left"
