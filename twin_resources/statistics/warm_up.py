"""Describe the warm-up of a stream, which has too few values to detect a fall.

Scope: the message about the missing values and days, and durations in words.
Out of scope: whether the mean has fallen (`detector.py`).
"""
# pyright: strict

from __future__ import annotations

from twin_resources.statistics.detector import MIN_DAYS


def describe_warm_up(
    value_count: int, required_count: int, *, per_day: float | None, days: int = MIN_DAYS
) -> str:
    """Describe a stream before it can detect a fall: `warm-up 37/100, about 58 days at your rate`.

    Args:
        per_day: the recent number of settled values per day; None or 0 if there are none.
        days: the number of days with values, of which `MIN_DAYS` are needed.
    """
    progress = f"warm-up {value_count:,}/{required_count:,}"
    if 0 < days < MIN_DAYS:
        return f"{progress} values, {days}/{MIN_DAYS} days"
    if value_count >= required_count:
        return f"{progress}, no class of requests has enough values to compare"
    if not per_day or per_day <= 0.0:
        return f"{progress}, no values yet for an estimate" if not value_count else progress
    return f"{progress}, about {format_days((required_count - value_count) / per_day)} at your rate"


def format_days(days: float) -> str:
    """Return a number of days in a readable unit: `3 hours`, `12 days`, `14 months`, `6 years`."""
    for length, unit, max_count in (
        (1 / 24, "hour", 48),
        (1, "day", 60),
        (365.25 / 12, "month", 24),
    ):
        count = max(1, round(days / length))
        if count <= max_count:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{round(days / 365.25)} years"
