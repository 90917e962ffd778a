"""Values of one class and day as one bet, because they are not one opinion each.

Belongs here: days of a stream, blocks of a day, by how much the values of a day say the same.
Does not belong here: the bet (`detector.py`), bounds that know of days (`bounds.py`).

The guarantee of the detector needs the mean of the next value *given the past*. Within a day it is
not what was certified: a slow server, a debate, a mood is in all values of that day, and the past
then knows of it. Between days it is, as far as days come and go. So the values of a class and day
are at most four bets, each their mean. Where values of a day are as different as those of several
days (the design effect of Kish, "Survey Sampling", 1965, is near 1), each is a bet of its own,
because a block finds a fall later: of .1 after 732 values instead of 510.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from twin_resources.statistics.values import SettledValue

MOST_BLOCKS = 4  # of a class and a day


@dataclass(frozen=True)
class DayBlock:
    """One bet.

    Attributes:
        first: sequence of its oldest value.
        last: the newest of its values; author, stream, version and class are those of all.
        value: their mean.
        size: how many.
    """

    first: int
    last: SettledValue
    value: float
    size: int


def days_of(values: Sequence[SettledValue]) -> Iterator[list[SettledValue]]:
    """Runs of values of one day, in their order; a value without a day is a day."""
    for _, run in groupby(values, key=lambda one: (one.day, one.sequence * (one.day is None))):
        yield list(run)


def blocks_of(day: Sequence[SettledValue], *, most: int | None) -> list[DayBlock]:
    """The bets of one day, in the order in which they were complete.

    Args:
        day: all values of one stream and day.
        most: blocks of a class; each takes its share of the class in the order of settling. None:
            every value is a block.
    """
    classes: dict[str, list[SettledValue]] = {}
    for value in day:
        classes.setdefault(value.prompt_class, []).append(value)
    found: list[DayBlock] = []
    for values in classes.values():
        count = len(values) if most is None else min(most, len(values))
        ends = [round(len(values) * part / count) for part in range(count + 1)]
        for begin, end in pairwise(ends):
            piece = values[begin:end]
            mean = _mean([one.value for one in piece])
            found.append(DayBlock(piece[0].sequence, piece[-1], mean, len(piece)))
    return sorted(found, key=lambda block: block.last.sequence)


def design_effect(values: Sequence[SettledValue]) -> float:
    """By how much the mean of all values varies more than if those of a day were independent.

    G/(G − 1)·Σ_days(Σ r)² / Σ r², with r the difference from the mean of the value's class: 1 for
    independent values; 1 + (n − 1)·ρ for days of n values whose correlation is ρ. Infinite for
    fewer than two days; 1 where nothing varies.
    """
    by_class: dict[str, list[float]] = {}
    for value in values:
        by_class.setdefault(value.prompt_class, []).append(value.value)
    means = {name: _mean(found) for name, found in by_class.items()}
    sums = [
        math.fsum(value.value - means[value.prompt_class] for value in day)
        for day in days_of(values)
    ]
    if len(sums) < 2:
        return math.inf
    squares = math.fsum((value.value - means[value.prompt_class]) ** 2 for value in values)
    if squares == 0.0:
        return 1.0
    return len(sums) / (len(sums) - 1) * math.fsum(one * one for one in sums) / squares


def blocks_a_day(values: Sequence[SettledValue]) -> int | None:
    """How many bets the values of a class and day are from here on; None: each is one.

    Each where the design effect is at most one standard error above 1, 1 + √(2/G) of G days: five
    in six batches of independent values. Of days that differ by .08, 30 thumbs each (an effect of
    2.2), one in eight batches of 17 days is taken for independent, and hardly one of 33. Chosen
    from values that were settled before those it is for: no bet is biased by it.
    """
    if all(value.day is None for value in values):
        return None
    days = sum(1 for _ in days_of(values))
    return None if design_effect(values) <= 1.0 + math.sqrt(2.0 / days) else MOST_BLOCKS


def _mean(values: Sequence[float]) -> float:
    return min(1.0, max(0.0, math.fsum(values) / len(values)))
