"""Rows: values from a drop to the alarm, on thumbs of .80."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.bench.retraining.families import GOOD, Values, one_class
from tests.bench.retraining.peers import PEERS
from tests.bench.retraining.rows import Form, Row, row
from tests.bench.retraining.vectorised import bet, bounds_of
from twin_resources.statistics.detector import threshold
from twin_resources.statistics.watch import Batches

BATCHES = Batches()
C = threshold(armed_streams=1)
IN_CONTROL = 500  # armed values before the drop
CHUNK = 500
GOALS = {
    "known mean": {0.05: None, 0.1: 260.0, 0.2: 85.0},
    "certified on 500": {0.05: None, 0.1: 600.0, 0.2: 130.0},
    "certified on 2,000": {0.05: None, 0.1: 360.0, 0.2: 105.0},
}
# Long enough for the median, and for the rare stream that takes ten times as long.
WATCHED = {0.05: 12_000, 0.1: 4_000, 0.2: 1_000}


def delays(form: Form) -> list[Row]:
    """A row a baseline and drop; an alarm before the drop leaves the stream out."""
    rows: list[Row] = []
    for baseline, goals in GOALS.items():
        for drop, goal in goals.items():
            streams = form.streams(2_000 if drop == 0.05 else 10_000, quick=500)
            found: list[NDArray[np.float64]] = []
            peers: dict[str, float] = {}
            rng = np.random.default_rng([5, round(100 * drop), len(baseline)])
            for chunk in range(0, streams, CHUNK):
                values, begins = _fallen(rng, min(CHUNK, streams - chunk), baseline, drop)
                found.append(_delay(values, baseline, begins))
                if not chunk and baseline == "certified on 500" and drop >= 0.1:
                    peers = _peers(form, values, begins)
            median = float(np.median(np.concatenate(found)))
            name = f"median delay, drop {drop:g}, {baseline} ({streams:,} streams)"
            rows.append(row(name, median, "values", at_most=goal, peers=peers))
    return rows


def _fallen(
    rng: np.random.Generator, streams: int, baseline: str, drop: float
) -> tuple[Values, int]:
    """Streams of .80 that fall, and the index of the first fallen value."""
    begins = (BATCHES.second if baseline == "certified on 2,000" else BATCHES.first) + IN_CONTROL
    length = begins + WATCHED[drop]
    quality = np.where(np.arange(length) < begins, GOOD, GOOD - drop)
    return (rng.random((streams, length)) < quality).astype(float), begins


def _delay(values: Values, baseline: str, begins: int) -> NDArray[np.float64]:
    """Values from the drop to the alarm; infinite: none while watched."""
    classes = one_class(*values.shape)
    if baseline == "known mean":
        first = second = np.full((len(values), 1), GOOD)
    else:
        first, second = bounds_of(values, classes, BATCHES)
    followed = bet(values, classes, first, second, threshold=C, batches=BATCHES)
    since = followed.first_alarm - begins + 1.0
    since[followed.first_alarm < 0] = np.inf
    return since[since > 0]


def _peers(form: Form, values: Values, begins: int) -> dict[str, float]:
    """Median delay of each peer among the streams where it kept silent before the drop, if any."""
    found: dict[str, float] = {}
    for name, peer in PEERS.items():
        some = values[: form.streams(100, quick=10)] if name == "ADWIN" else values
        first = peer(some, BATCHES.first, BATCHES.first)
        late = first[(first >= begins) | (first < 0)]
        if len(late) >= 5:
            found[name] = float(np.median(np.where(late < 0, np.inf, late - begins + 1.0)))
    return {name: delay for name, delay in found.items() if np.isfinite(delay)}
