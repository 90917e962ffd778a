"""Rows: false retrainings in 5,000 in-control values, through the production decision path."""

from __future__ import annotations

import numpy as np

from tests.bench.retraining.families import FAMILIES, Family, Values, settled
from tests.bench.retraining.peers import PEERS
from tests.bench.retraining.rows import Form, Row, row
from tests.bench.retraining.streams import followed
from twin_resources.statistics.baseline import FIRST_BATCH
from twin_resources.statistics.detector import HORIZON

LENGTH = FIRST_BATCH + HORIZON


def false_retrainings(form: Form) -> list[Row]:
    """A row a family: streams with an alarm that would have trained, and with any alarm."""
    streams = form.streams(300, quick=4)
    rows: list[Row] = []
    for number, family in enumerate(FAMILIES):
        found = family.draw(np.random.default_rng([3, number]), streams, LENGTH)
        done = [followed(settled(found, index)) for index in range(streams)]
        trained = sum(bool(one.trained) for one in done)
        alarmed = sum(bool(one.alarms) for one in done)
        peers = {"any alarm": 100.0 * alarmed / streams} | _peers(form, found.values)
        rows.append(_row(family, 100.0 * trained / streams, streams, peers))
    return rows


def _row(family: Family, share: float, streams: int, peers: dict[str, float]) -> Row:
    name = f"false retrainings, {family.name} ({streams:,} streams)"
    return row(name, share, "%", at_most=5.0 if family.has_goal else None, peers=peers)


def _peers(form: Form, values: Values) -> dict[str, float]:
    """Percent of streams with a false alarm; ADWIN, value by value, on fewer streams."""
    shares: dict[str, float] = {}
    for name, peer in PEERS.items():
        some = values[: form.streams(100, quick=2)] if name == "ADWIN" else values
        first = peer(some, FIRST_BATCH, FIRST_BATCH)
        shares[name] = 100.0 * float((first >= 0).mean())
    return shares
