"""Which earlier version is surely better than one that fell, by what both were certified for.

Belongs here: the test, and the choice among several. Does not belong here: reading what versions
were certified for, moving one (`quality/retraining/earlier_versions.py`).
Method: the e-detector (`detector.py`) once more, over the values that raised the alarm.

An alarm says that the mean is below the fallen version's own baseline. Going back needs more: the
mean must be below the earlier version's certified bound by more than the tolerance. So the same
values are bet on against m = that bound less the tolerance, and where they would have raised an
alarm of the same threshold, "the mean is at least m" is rejected with the same certainty, from
whichever value on the fall began.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from twin_resources.statistics.blocks import blocks_of, days_of
from twin_resources.statistics.detector import Detector, fold
from twin_resources.statistics.values import SettledValue


def better_version(
    certified: Mapping[str, Mapping[str, float]],
    values: Sequence[SettledValue],
    fallen: Collection[str],
    *,
    own: Mapping[str, float],
    tolerance: float,
    threshold: float,
    blocks: int | None,
) -> str:
    """The version to go back to; empty: none is surely better.

    Args:
        certified: earlier version → prompt class → lower bound of the mean of its own values.
        values: of the version that fell, of one stream, from the detector's restart to the alarm.
        fallen: classes that fell. An earlier version needs a bound for each.
        own: prompt class → bound that the fallen version was certified for. Of a class that did not
            fall, it must not be above the earlier version's by more than the tolerance.
        tolerance: by how much less is not worse.
        threshold: C of the alarm.
        blocks: bets of a class and day, as of the fallen version's baseline.

    Of several the one whose lowest bound among the fallen classes is highest, then the newest name.
    """
    possible = {
        name: min(bounds[one] for one in fallen)
        for name, bounds in certified.items()
        if fallen
        and all(bounds.get(one, 0.0) > tolerance for one in fallen)
        and all(
            bound <= bounds.get(one, 0.0) + tolerance
            for one, bound in own.items()
            if one not in fallen
        )
    }
    for name in sorted(possible, key=lambda one: (possible[one], one), reverse=True):
        limits = {one: certified[name][one] - tolerance for one in fallen}
        if _all_below(values, limits) and _raises(values, limits, threshold, blocks):
            return name
    return ""


def _all_below(values: Sequence[SettledValue], limits: Mapping[str, float]) -> bool:
    """Whether each class's mean is below its limit at all."""
    by_class: dict[str, list[float]] = {}
    for one in values:
        by_class.setdefault(one.prompt_class, []).append(one.value)
    return all(
        name in by_class and math.fsum(by_class[name]) / len(by_class[name]) < limit
        for name, limit in limits.items()
    )


def _raises(
    values: Sequence[SettledValue],
    limits: Mapping[str, float],
    threshold: float,
    blocks: int | None,
) -> bool:
    """Whether bets that the mean is below these limits would have raised an alarm."""
    detector = Detector()
    for day in days_of(values):
        for block in blocks_of(day, most=blocks):
            detector, alarm = fold(detector, block, limits, threshold=threshold)
            if alarm is not None:
                return True
    return False
