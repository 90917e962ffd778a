"""Lower bounds of what a version's readers say of each class of request; how far a stream is.

Belongs here: the bound of each class of a batch, `arming`, lengths of time in words.
Does not belong here: whether the mean has fallen (`detector.py`).
Source of the bounds: `bounds.py`. A plug-in mean of 50 scores gave 43 % false alarms, its lower
bound 5 %.

C classes share the delta of a batch: each bound holds at delta/C, so all hold together.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Hashable, Sequence

from twin_resources.statistics.bounds import clustered_lower, lower_bound
from twin_resources.statistics.detector import FEWEST_DAYS
from twin_resources.statistics.values import SettledValue

FIRST_BATCH = 500  # of a version that is compared with others (`release/certified.py`)
FEWEST = 60  # values of a class with a bound
FEWEST_READERS = 5  # of whom something follows for others
HIGHEST = 0.99
DELTA = 0.05
MARGIN = (
    0.1  # ε of a release (`promotion.py`): what a candidate may be worse by on the same prompts
)


def class_bounds(
    values: Sequence[SettledValue], *, delta: float = DELTA, fewest: int = FEWEST
) -> dict[str, float]:
    """A lower bound for each class of a batch, at confidence 1 − delta for all of them together.

    The lowest of the bound for any distribution and those for values that go together by day and
    by reader (`bounds.clustered_lower`). Fewer than five readers are a circle of their own: what is
    certified is what these readers say, and nothing is known of others. Classes with under
    `fewest` values have none. Bounds are at most .99.
    """
    by_class: dict[str, list[SettledValue]] = {}
    for value in values:
        by_class.setdefault(value.prompt_class, []).append(value)
    large = {name: those for name, those in sorted(by_class.items()) if len(those) >= fewest}
    share = delta / max(1, len(large))
    return {name: min(HIGHEST, _lower(those, delta=share)) for name, those in large.items()}


def _lower(values: Sequence[SettledValue], *, delta: float) -> float:
    scores = [one.value for one in values]
    bounds = [lower_bound(scores, delta=delta)]
    days: list[Hashable] = [one.sequence if one.day is None else f"day {one.day}" for one in values]
    readers: list[Hashable] = [one.reader or one.sequence for one in values]
    if len(set(days)) < len(values):
        bounds.append(clustered_lower(scores, days, delta=delta))
    if FEWEST_READERS <= len(set(readers)) < len(values):
        bounds.append(clustered_lower(scores, readers, delta=delta))
    return min(bounds)


def arming(have: int, needed: int, *, per_day: float | None, days: int = FEWEST_DAYS) -> str:
    """How far a stream is from being armed: `arming 37/100, about 58 days at your rate`.

    Args:
        per_day: settled values a day, lately; None or 0: none yet.
        days: on which there are values, of the `FEWEST_DAYS` that certify.
    """
    progress = f"arming {have:,}/{needed:,}"
    if 0 < days < FEWEST_DAYS:
        return f"{progress} values, {days}/{FEWEST_DAYS} days"
    if have >= needed:
        return f"{progress}, no class of requests has values enough to compare"
    if not per_day or per_day <= 0.0:
        return f"{progress}, no values yet to tell how long" if not have else progress
    return f"{progress}, about {duration((needed - have) / per_day)} at your rate"


def duration(days: float) -> str:
    """Days in the unit a person would use: `3 hours`, `12 days`, `14 months`, `6 years`."""
    for length, unit, most in ((1 / 24, "hour", 48), (1, "day", 60), (365.25 / 12, "month", 24)):
        count = max(1, round(days / length))
        if count <= most:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{round(days / 365.25)} years"
