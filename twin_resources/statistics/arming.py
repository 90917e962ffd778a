"""Describe how far a stream is from being armed, and define the margin of a release.

Scope: the message about a stream that has too few values to detect a fall, durations in words, and
the margin that several modules share.
Out of scope: whether the mean has fallen (`detector.py`).
"""
# pyright: strict

from __future__ import annotations

from twin_resources.statistics.detector import MIN_DAYS

MARGIN = 0.1  # ε of a release (`promotion.py`): the maximum by which a candidate may be worse


def describe_arming(
    value_count: int, required_count: int, *, per_day: float | None, days: int = MIN_DAYS
) -> str:
    """Describe how far a stream is from being armed: `arming 37/100, about 58 days at your rate`.

    Args:
        per_day: the recent number of settled values per day; None or 0 if there are none.
        days: the number of days with values, of which `MIN_DAYS` are needed.
    """
    progress = f"arming {value_count:,}/{required_count:,}"
    if 0 < days < MIN_DAYS:
        return f"{progress} values, {days}/{MIN_DAYS} days"
    if value_count >= required_count:
        return f"{progress}, no class of requests has enough values to compare"
    if not per_day or per_day <= 0.0:
        return f"{progress}, no values yet for an estimate" if not value_count else progress
    return (
        f"{progress}, about {format_duration((required_count - value_count) / per_day)} at "
        f"your rate"
    )


def format_duration(days: float) -> str:
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
