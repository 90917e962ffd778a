"""Rows: values from a fall to the alarm, on thumbs of .80 and on four classes of .95 to .60."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.bench.retraining.families import (
    CLASS_MEANS,
    GOOD,
    Drawn,
    Values,
    drawn,
    settled,
    votes,
)
from tests.bench.retraining.peers import PEERS
from tests.bench.retraining.rows import Form, Row, row
from tests.bench.retraining.streams import followed
from twin_resources.statistics.baseline import FIRST_BATCH

CERTIFIED = 500  # values: the 14 days that certify a version have 420 at 30 a day


@dataclass(frozen=True)
class FallCase:
    """One fall: by how much, from which value on, of one of four classes or of all that there is.

    `goal` in values; `watched`: long enough for the median and for the stream that takes long.
    """

    name: str
    fall: float
    goal: float | None
    watched: int
    after: int = CERTIFIED
    classes: bool = False
    one_class: bool = False

    def draw(self, rng: np.random.Generator, streams: int) -> Drawn:
        shape = (streams, self.after + self.watched)
        classes = rng.integers(0, 4, shape) if self.classes else np.zeros(shape, dtype=np.int64)
        quality: Values = CLASS_MEANS[classes] if self.classes else np.full(shape, GOOD)
        falls = np.broadcast_to(np.arange(shape[1]) >= self.after, shape)
        if self.one_class:
            falls = falls & (classes == 0)
        return drawn(votes(rng, np.where(falls, quality - self.fall, quality)), classes=classes)


FALLS = (
    FallCase("all values .05 lower", 0.05, 3_000.0, 10_000),
    FallCase("all values .1 lower", 0.1, 600.0, 4_000),
    FallCase("all values .2 lower", 0.2, 180.0, 1_000),
    FallCase("all values .4 lower", 0.4, 70.0, 500),
    FallCase("one class of four .2 lower", 0.2, 1_200.0, 5_000, classes=True, one_class=True),
    FallCase("one class of four .4 lower", 0.4, 300.0, 2_000, classes=True, one_class=True),
    FallCase("all of four classes .1 lower", 0.1, None, 5_000, classes=True),
)


def delays(form: Form) -> list[Row]:
    """A row a fall; a stream with an alarm before the fall is left out."""
    streams = form.streams(300, quick=8)
    rows: list[Row] = []
    for number, case in enumerate(FALLS):
        found = case.draw(np.random.default_rng([5, number]), streams)
        taken = [_taken(found, index, case.after) for index in range(streams)]
        known = [one for one in taken if one is not None]
        peers = _peers(form, found.values, case.after) if not case.classes else {}
        median = float(np.median(known))
        name = f"median delay, {case.name} ({streams:,} streams)"
        rows.append(row(name, median, "values", at_most=case.goal, peers=peers))
    return rows


def _taken(found: Drawn, index: int, after: int) -> float | None:
    """Values from the fall to the first alarm; infinite: none. None: one came before it."""
    alarms = followed(settled(found, index), only_first=True).alarms
    if not alarms:
        return float("inf")
    first = alarms[0].alarm.sequence
    return float(first - after) if first > after else None


def _peers(form: Form, values: Values, begins: int) -> dict[str, float]:
    """Median delay of each peer among the streams where it kept silent before the fall, if any."""
    reference = min(FIRST_BATCH, begins)
    found: dict[str, float] = {}
    for name, peer in PEERS.items():
        some = values[: form.streams(100, quick=2)] if name == "ADWIN" else values
        first = peer(some, reference, reference)
        late = first[(first >= begins) | (first < 0)]
        if len(late) >= 5:
            found[name] = float(np.median(np.where(late < 0, np.inf, late - begins + 1.0)))
    return {name: delay for name, delay in found.items() if np.isfinite(delay)}
