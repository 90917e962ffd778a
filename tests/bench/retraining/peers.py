"""The triggers that others use, from their published rules, on the same streams.

Each function takes one batch of streams (streams × length), of which the first `reference` values
are known to be good, and gives for each stream the index of the first alarm at or after `start`,
−1 for none. Alarms before `start` restart the rule where it has a restart.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tests.bench.retraining.families import Values

First = NDArray[np.int64]
Peer = Callable[[Values, int, int], First]

ROLLING = 100
TOLERANCE = 0.05
FIRST_LOOK = 30
VOTES = 20


def _first_true(fires: NDArray[np.bool_], offset: int) -> First:
    where = fires.argmax(axis=1) + offset
    return np.where(fires.any(axis=1), where, -1)


def rolling_mean(values: Values, reference: int, start: int) -> First:
    """The mean of the last 100 is .05 below the reference mean: the usual dashboard alert."""
    base = values[:, :reference].mean(axis=1, keepdims=True)
    sums = np.cumsum(values, axis=1)
    means = (sums[:, start:] - sums[:, start - ROLLING : -ROLLING]) / ROLLING
    return _first_true(means < base - TOLERANCE, start)


def peeking_t_test(values: Values, reference: int, start: int) -> First:
    """Welch's t-test, one-sided p < .05, of all since the reference against it.

    A look after each value from the 30th on.
    """
    base = values[:, :reference]
    mean = base.mean(axis=1, keepdims=True)
    variance = base.var(axis=1, ddof=1, keepdims=True) / reference
    since = values[:, start:]
    count = np.arange(1, since.shape[1] + 1)
    means = np.cumsum(since, axis=1) / count
    spread = np.maximum(np.cumsum(since**2, axis=1) / count - means**2, 0.0)
    squared = spread[:, FIRST_LOOK:] / (count[FIRST_LOOK:] - 1)
    error = np.maximum(variance + squared, 1e-12)
    freedom = error**2 / np.maximum(
        variance**2 / (reference - 1) + squared**2 / (count[FIRST_LOOK:] - 1), 1e-30
    )
    fires = (means[:, FIRST_LOOK:] - mean) / np.sqrt(error) < stats.t.ppf(0.05, freedom)
    return _first_true(fires, start + FIRST_LOOK)


def page_hinkley(values: Values, reference: int, start: int) -> First:
    """Page (1954), Hinkley (1971), as in river: δ .005, λ 50, forgetting .9999, 30 values first."""
    streams, length = values.shape
    mean, total, highest = np.zeros(streams), np.zeros(streams), np.zeros(streams)
    seen = np.zeros(streams)
    first = np.full(streams, -1, dtype=np.int64)
    for moment in range(length):
        x = values[:, moment]
        seen += 1
        mean += (x - mean) / seen
        total = 0.9999 * total + (x - mean) + 0.005
        highest = np.maximum(highest, total)
        fires = (highest - total > 50.0) & (seen >= 30)
        if moment >= start:
            first[fires & (first < 0)] = moment
        for state in (mean, total, highest, seen):
            state[fires] = 0.0
    return first


def down_over_up(values: Values, reference: int, start: int) -> First:
    """More down than up among the last 20 votes (a value under .5 is down)."""
    net = np.cumsum((values < 0.5).astype(float) - (values > 0.5), axis=1)
    return _first_true(net[:, start:] - net[:, start - VOTES : -VOTES] > 0, start)


def adwin(values: Values, reference: int, start: int) -> First:
    """ADWIN2 (Bifet and Gavaldà, 2007): δ .002, a look each 32 values; cuts downwards count."""
    first = np.full(len(values), -1, dtype=np.int64)
    for index, stream in enumerate(values.tolist()):
        window = _Window()
        for moment, x in enumerate(stream):
            if window.add(x) and moment >= start:
                first[index] = moment
                break
    return first


class _Window:
    """Exponential histogram with at most 5 buckets a level, newest bucket first."""

    def __init__(self) -> None:
        self.levels: list[list[tuple[float, float]]] = [[]]  # (sum, sum of squares)
        self.count = 0
        self.total = 0.0
        self.squares = 0.0

    def add(self, x: float) -> bool:
        """Whether the window was cut, with a lower mean in what is left."""
        self.levels[0].insert(0, (x, x * x))
        self.count += 1
        self.total += x
        self.squares += x * x
        level = 0
        while len(self.levels[level]) > 5:
            if level + 1 == len(self.levels):
                self.levels.append([])
            (a, aa), (b, bb) = self.levels[level].pop(), self.levels[level].pop()
            self.levels[level + 1].insert(0, (a + b, aa + bb))
            level += 1
        return self.count % 32 == 0 and self.count > 10 and self._cut()

    def _cut(self) -> bool:
        fell = False
        while (split := self._split()) is not None:
            fell = fell or split
            self._drop_oldest()
        return fell

    def _split(self) -> bool | None:
        """Whether the newer part is lower, at the first place where they differ; None: none."""
        variance = max(0.0, self.squares / self.count - (self.total / self.count) ** 2)
        confidence = math.log(2.0 * math.log(self.count) / 0.002)
        old, of = 0.0, 0
        for level in range(len(self.levels) - 1, -1, -1):
            for bucket in reversed(self.levels[level]):
                old += bucket[0]
                of += 1 << level
                new = self.count - of
                if of < 5 or new < 5:
                    continue
                inverse = 1.0 / (of - 4) + 1.0 / (new - 4)  # as river, least window 5
                cut = math.sqrt(2.0 * inverse * variance * confidence) + (
                    2.0 / 3.0 * inverse * confidence
                )
                difference = (self.total - old) / new - old / of
                if abs(difference) > cut:
                    return difference < 0.0
        return None

    def _drop_oldest(self) -> None:
        top = len(self.levels) - 1
        total, squares = self.levels[top].pop()
        self.count -= 1 << top
        self.total -= total
        self.squares -= squares
        while len(self.levels) > 1 and not self.levels[-1]:
            self.levels.pop()


PEERS: dict[str, Peer] = {
    "rolling mean": rolling_mean,
    "peeking t-test": peeking_t_test,
    "ADWIN": adwin,
    "Page-Hinkley": page_hinkley,
    "down > up": down_over_up,
}
