"""The production detector for many streams at once: the same sums and products, in numpy.

Baselines come from the production functions; the fold is written again. `test_watch.py` and
the benchmark compare it with `watch.advance` bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.bench.retraining.families import Classes, Values
from twin_resources.statistics.baseline import Baseline, baseline_of, class_bounds, raised
from twin_resources.statistics.bets import BETS, FRACTIONS, STAKE
from twin_resources.statistics.watch import Batches


@dataclass(frozen=True)
class Followed:
    """What became of each stream.

    Attributes:
        first_alarm: index of the value that raised the first alarm at or after `start`; −1: none.
        alarms: number of all alarms.
        wealth: M at the end (bets × streams).
    """

    first_alarm: NDArray[np.int64]
    alarms: NDArray[np.int64]
    wealth: Values


def bounds_of(
    values: Values, classes: Classes, batches: Batches
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(streams × classes) bounds in force after the first and after the second batch; NaN: none."""
    kinds = int(classes.max()) + 1
    first = np.full((len(values), kinds), np.nan)
    second = first.copy()
    for index in range(len(values)):
        early = _baseline(values[index], classes[index], batches.first, batches)
        _enter(first[index], early)
        if values.shape[1] >= batches.second:
            late = _baseline(values[index], classes[index], batches.second, batches)
            _enter(second[index], raised(early, late))
    return first, second


def _baseline(values: Values, classes: Classes, size: int, batches: Batches) -> Baseline:
    names = [f"class {kind}" for kind in classes[:size].tolist()]
    found = class_bounds(names, values[:size].tolist(), delta=batches.delta, fewest=batches.fewest)
    return baseline_of(found, certified_from=size, held_to={})


def _enter(into: NDArray[np.float64], baseline: Baseline) -> None:
    for name, bound in baseline.bounds.items():
        into[int(name.removeprefix("class "))] = bound


def follow(values: Values, classes: Classes, *, threshold: float, batches: Batches) -> Followed:
    """`watch.advance` over whole streams: arm, raise, bet, alarm, restart."""
    first, second = bounds_of(values, classes, batches)
    return bet(values, classes, first, second, threshold=threshold, batches=batches)


def bet(
    values: Values,
    classes: Classes,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    *,
    threshold: float,
    batches: Batches,
) -> Followed:
    """The fold alone, for bounds given (streams × classes)."""
    streams, length = values.shape
    everyone = np.arange(streams)
    fractions = np.array([STAKE * fraction for fraction in FRACTIONS])[:, None]
    wealth = np.zeros((BETS, streams))
    first_alarm = np.full(streams, -1, dtype=np.int64)
    alarms = np.zeros(streams, dtype=np.int64)
    columns = np.ascontiguousarray(values.T)
    kinds = np.ascontiguousarray(classes.T)
    for moment in range(batches.first, length):
        held = second if moment >= batches.second else first
        bound = held[everyone, kinds[moment]]
        stakes = fractions / (1.0 - bound)
        grown = (1.0 + stakes * (bound - columns[moment])) * (wealth + 1.0)
        without = np.isnan(bound)
        if without.any():
            grown = np.where(without, wealth, grown)
        total = grown[0]
        for item in grown[1:]:
            total = total + item
        alarmed = (total / BETS >= threshold) & ~without
        if alarmed.any():
            grown[:, alarmed] = 0.0
            alarms[alarmed] += 1
            first_alarm[alarmed & (first_alarm < 0)] = moment
        wealth = grown
    return Followed(first_alarm, alarms, wealth)
