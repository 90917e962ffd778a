"""Rows: false retrainings in 5,000 in-control values, through the production decision path."""

from __future__ import annotations

import numpy as np

from tests.bench.retraining.families import FAMILIES, Classes, Family, Values, settled
from tests.bench.retraining.peers import PEERS
from tests.bench.retraining.rows import Form, Row, row
from tests.bench.retraining.vectorised import follow
from twin_resources.statistics.detector import HORIZON, threshold
from twin_resources.statistics.retraining import (
    AlarmContext,
    StreamProgress,
    TrainingFingerprint,
    decide,
)
from twin_resources.statistics.retraining_limits import RetrainingLimits, Usage
from twin_resources.statistics.watch import Batches, Watch, advance, start

BATCHES = Batches()
C = threshold(armed_streams=1)
CHUNK = 500  # streams at once, 22 MB
EVERYTHING = RetrainingLimits(
    automatic=True, cooldown_days=0.0, runs_a_month=None, hours_a_month=None
)


def false_retrainings(form: Form) -> list[Row]:
    """A row a family, and one that says in how many streams the twin and production agree."""
    rows: list[Row] = []
    compared, unequal = 0, 0
    through_production = form.streams(50, quick=3)
    streams = form.streams(5_000, quick=400)
    length = BATCHES.first + HORIZON
    for number, family in enumerate(FAMILIES):
        rng = np.random.default_rng([3, number])
        fired, peers = 0, dict.fromkeys(PEERS, 0.0)
        for chunk in range(0, streams, CHUNK):
            values, classes = family.draw(rng, min(CHUNK, streams - chunk), length)
            followed = follow(values, classes, threshold=C, batches=BATCHES)
            fired += int((followed.first_alarm >= 0).sum())
            if chunk:
                continue
            peers = _peers(form, values)
            for index in range(through_production):
                runs, watch = through_the_sensor(values[index], classes[index])
                same = runs == int(followed.alarms[index]) and watch.detector.wealth == tuple(
                    followed.wealth[:, index].tolist()
                )
                compared, unequal = compared + 1, unequal + (not same)
        rows.append(_row(family, 100.0 * fired / streams, streams, peers))
    rows.append(
        row(f"production and vectorised twin unequal, of {compared}", unequal, "streams", at_most=0)
    )
    return rows


def _row(family: Family, share: float, streams: int, peers: dict[str, float]) -> Row:
    name = f"false retrainings, {family.name} ({streams:,} streams)"
    return row(name, share, "%", at_most=5.0 if family.has_goal else None, peers=peers)


def _peers(form: Form, values: Values) -> dict[str, float]:
    """Percent of streams with a false alarm; ADWIN, value by value, on fewer streams."""
    shares: dict[str, float] = {}
    for name, peer in PEERS.items():
        some = values[: form.streams(100, quick=10)] if name == "ADWIN" else values
        first = peer(some, BATCHES.first, BATCHES.first)
        shares[name] = 100.0 * float((first >= 0).mean())
    return shares


def through_the_sensor(values: Values, classes: Classes) -> tuple[int, Watch]:
    """Retrainings started for one stream: fold, alarm and decision, a tick a value.

    The state goes through JSON at each tick. Every training ends before the next tick, and there is
    always something new to learn, so that nothing holds a retraining back.
    """
    ledger = settled(values, classes)
    stored = start(author="mara", stream="thumbs", version="v1").to_json()
    keys: set[str] = set()
    for tick, value in enumerate(ledger):
        watch = Watch.from_json(stored)
        first = ledger if tick + 1 in {BATCHES.first, BATCHES.second} else ()
        watch, alarm = advance(watch, (value,), first=first, threshold=C, batches=BATCHES)
        stored = watch.to_json()
        progress = StreamProgress(
            watch.stream,
            watch.armed,
            watch.seen,
            BATCHES.first,
            None,
            watch.detector.e_value,
            C,
        )
        decision = decide(
            AlarmContext(
                author="mara",
                version="v1",
                streams=(progress,),
                unreachable="",
                alarm=alarm,
                now_there_is=TrainingFingerprint(f"dataset {tick}", "recipe"),
                stable_learnt=TrainingFingerprint("dataset", "recipe"),
                usage=Usage(),
                limits=EVERYTHING,
                now=60.0 * tick,
                alarmed_authors=int(alarm is not None),
            )
        )
        if decision.kind == "train":
            keys.add(decision.run_key)
    return len(keys), Watch.from_json(stored)
