"""How soon a fall would be found: the detector itself, on an author's own values made worse.

Belongs here: drawing days, lowering them, counting how many the detector takes.
Does not belong here: the detector (`watch.py`), reading values, wording (`retraining/outlook.py`).
Method: what is promised of false alarms holds for any scores; how soon a fall is found depends on
how the scores vary and on the baseline. So days are drawn with replacement (Efron 1979) from
those that came lately, lowered, and followed by `watch.advance`, as the sensor follows them.
"""
# pyright: strict

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median_low

from twin_resources.statistics import watch as watching
from twin_resources.statistics.blocks import days_of
from twin_resources.statistics.detector import Detector
from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.watch import Batches, Watch

FALLS = (0.1, 0.2)
FEWEST_DRAWN_FROM = 20  # values: of fewer nothing can be said of how they vary
# A path costs 5 microseconds a value; the median of 15 is right to about a tenth.
PATHS = 15
MOST = 3_000  # values of a path: what takes longer is not found soon
_PIECE = 25

Lowered = Callable[[float, random.Random], float]


@dataclass(frozen=True)
class FallDelay:
    """How many values after a fall of `fall` the alarm is raised.

    Attributes:
        fall: by how much the mean of the scores is lower, in [0, 1].
        values: the median; None: more than half of the paths took more than 3,000.
    """

    fall: float
    values: int | None


def delays(
    watch: Watch,
    values: Sequence[SettledValue],
    *,
    threshold: float,
    judged: bool = False,
    batches: Batches | None = None,
    falls: Sequence[float] = FALLS,
) -> list[FallDelay]:
    """The median delay of each fall, in values of this stream.

    Args:
        watch: as it stands. One that is not armed is armed first, by a batch drawn from `values`.
        values: of this stream and version, lately; at least 20.
        threshold: C, `detector.threshold`.
        judged: a judge scores every answer a little lower; a reader who was content is not at all,
            which is why thumbs take longer. Each is lowered so that the mean falls by `fall`.

    Returns:
        One a fall, the same for the same arguments; empty with too few values, or where no class of
        them is frequent enough for a baseline.
    """
    batches = batches or Batches()
    if len(values) < FEWEST_DRAWN_FROM:
        return []
    armed = watch if watch.armed else _armed(watch, values, batches)
    if not armed.armed:
        return []
    began = replace(armed, certifies=False, detector=Detector(last_sequence=_last(armed)))
    return [
        FallDelay(
            fall,
            _median(
                [
                    _path(began, values, _lowering(values, fall, judged=judged), seed, threshold)
                    for seed in range(PATHS)
                ]
            ),
        )
        for fall in falls
    ]


def _armed(watch: Watch, values: Sequence[SettledValue], batches: Batches) -> Watch:
    """The watch as it would be after 500 values, if they go on as they were."""
    fresh = watching.start(
        author=watch.author,
        stream=watch.stream,
        version=watch.version,
        tolerance=watch.tolerance,
    )
    generator = random.Random(0)
    first = _drawn(fresh, values, max(500, batches.first), generator, lambda value, _: value)
    after, _ = watching.advance(fresh, first, first=first, threshold=math.inf, batches=batches)
    return after


def _path(
    watch: Watch, values: Sequence[SettledValue], lowered: Lowered, seed: int, threshold: float
) -> int | None:
    generator = random.Random(seed)
    began = _last(watch)
    while _last(watch) - began < MOST:
        piece = _drawn(watch, values, _PIECE, generator, lowered)
        watch, alarm = watching.advance(watch, piece, first=(), threshold=threshold)
        if alarm is not None:
            return alarm.sequence - began
    return None


def _drawn(
    watch: Watch,
    values: Sequence[SettledValue],
    count: int,
    generator: random.Random,
    lowered: Lowered,
) -> list[SettledValue]:
    """The next days of the watch's stream, of at least so many values together."""
    days = list(days_of(values))
    found: list[SettledValue] = []
    while len(found) < count:
        drawn = days[generator.randrange(len(days))]
        begin = _last(watch) + 1 + len(found)
        found += [
            replace(
                value,
                sequence=sequence,
                author=watch.author,
                stream=watch.stream,
                version=watch.version,
                value=lowered(value.value, generator),
                day=None if value.day is None else begin,
            )
            for sequence, value in enumerate(drawn, start=begin)
        ]
    return found


def _lowering(values: Sequence[SettledValue], fall: float, *, judged: bool) -> Lowered:
    mean = math.fsum(one.value for one in values) / len(values)
    if judged:
        step = _step([one.value for one in values], fall)
        return lambda value, _: max(0.0, value - step)
    chance = min(1.0, fall / mean) if mean > 0.0 else 1.0
    return lambda value, generator: 0.0 if generator.random() < chance else value


def _step(values: Sequence[float], fall: float) -> float:
    """By how much every value is lowered, as far as 0, so that their mean falls by `fall`."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2.0
        fell = math.fsum(min(value, middle) for value in values) / len(values)
        low, high = (middle, high) if fell < fall else (low, middle)
    return high


def _median(delays: Sequence[int | None]) -> int | None:
    """None: the middle one was not found."""
    middle = median_low([MOST + 1 if one is None else one for one in delays])
    return None if middle > MOST else middle


def _last(watch: Watch) -> int:
    return watch.detector.last_sequence
