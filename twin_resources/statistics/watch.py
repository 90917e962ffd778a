"""One stream of the version now stable, followed value by value: count, certify, bet, alarm.

Belongs here: the order of these steps, and the state that is stored between ticks.
Does not belong here: reading the ledger, storing the row, deciding on an alarm (`retraining.py`).
Method: `detector.py`, `baseline.py`.

Everything follows from the settled values in their order: whatever the ticks are, however often
one is repeated or a cursor is lost, the same values give the same baseline, bits and alarms.
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twin_resources.statistics import baseline as baselines
from twin_resources.statistics.baseline import Baseline
from twin_resources.statistics.detector import Alarm, Detector, fold
from twin_resources.statistics.values import ImpossibleValue, SettledValue


@dataclass(frozen=True)
class Batches:
    """How many values certify a baseline; fixed before the first is seen.

    Attributes:
        first, second: 500 and 2,000; the demo uses 150, and prints that.
        fewest: values of a class that is not pooled.
        delta: of each batch.
    """

    first: int = baselines.FIRST_BATCH
    second: int = baselines.SECOND_BATCH
    fewest: int = baselines.FEWEST
    delta: float = baselines.DELTA


@dataclass(frozen=True)
class Watch:
    """The state of one stream of one version.

    Attributes:
        certifies: False for a forced version: it is held to the floor only.
        floor: prompt class → best certified m − ε of earlier versions; empty for the first.
        seen: values of this stream and version consumed.
        baseline: in force; None while arming.
        detector: the bets.
    """

    author: str
    stream: str
    version: str
    certifies: bool
    floor: Mapping[str, float]
    seen: int
    baseline: Baseline | None
    detector: Detector

    @property
    def armed(self) -> bool:
        """Whether something is bet on; N of the threshold counts these."""
        return self.baseline is not None and bool(self.baseline.bounds)

    def to_json(self) -> str:
        """One line; `from_json` gives an equal value back, bit for bit."""
        held = None if self.baseline is None else vars(self.baseline)
        stored = {**vars(self), "baseline": held, "detector": vars(self.detector)}
        return json.dumps(stored, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Watch:
        """The state that `to_json` wrote."""
        stored: dict[str, Any] = json.loads(text)
        held: dict[str, Any] | None = stored.pop("baseline")
        detector = Detector.from_values(stored.pop("detector"))
        if held is not None:
            held["pooled"] = tuple(held["pooled"])
        baseline = None if held is None else Baseline(**held)
        return cls(**stored, baseline=baseline, detector=detector)


def start(
    *,
    author: str,
    stream: str,
    version: str,
    floor: Mapping[str, float] | None = None,
    certifies: bool = True,
) -> Watch:
    """The state before the first value of a version that has just become stable.

    Args:
        floor: `baseline.floor_of` the earlier versions; with one, the version is bet on from its
            first value, without it (an author's first) it waits for its first batch.
        certifies: False for a forced version.
    """
    floor = dict(floor or {})
    return Watch(
        author, stream, version, certifies, floor, 0, baselines.from_floor(floor), Detector()
    )


def batch_due(watch: Watch, new_values: int, *, batches: Batches | None = None) -> int:
    """How many first values `advance` may need for so many new ones; 0: `first` may be empty.

    So that a tick reads 500 or 2,000 rows once in the life of a version, not at each tick.
    """
    batches = batches or Batches()
    if not watch.certifies:
        return 0
    due = [
        size
        for size in (batches.first, batches.second)
        if watch.seen < size <= watch.seen + new_values
    ]
    return max(due, default=0)


def advance(
    watch: Watch,
    values: Sequence[SettledValue],
    *,
    first: Sequence[SettledValue],
    threshold: float,
    batches: Batches | None = None,
    bet: bool = True,
) -> tuple[Watch, Alarm | None]:
    """The state after new values, up to the first alarm among them.

    It stops at an alarm, so that each is stored with the state that it left, in one transaction;
    call again with the same values for the rest.

    Args:
        values: in the order of their sequence; those of other streams and versions are passed
            over, those up to `watch.detector.last_sequence` change nothing.
        first: the first values of this stream and version, at least `batch_due` of them.
        threshold: C, `detector.threshold(armed_streams=N)`.
        bet: False while disarmed: values are counted, nothing is bet, the detector is restarted.

    Raises:
        ImpossibleValue: another author's value, or `first` does not reach as far as a batch needs.
    """
    batches = batches or Batches()
    detector, held, seen = watch.detector, watch.baseline, watch.seen
    newest = detector.last_sequence
    alarm: Alarm | None = None
    if not bet and detector.bets:
        detector = Detector(last_sequence=newest, alarms=detector.alarms)
    for value in values:
        if value.sequence <= newest:
            continue
        if value.version != watch.version or value.stream != watch.stream:
            continue
        if value.author != watch.author:
            raise ImpossibleValue(
                f"follow {watch.stream} of {watch.author}",
                found=f"score {value.sequence} of {value.author}",
                next_step="pass the values of one author",
            )
        bound = held.bounds.get(value.prompt_class) if held is not None and bet else None
        detector, alarm = fold(detector, value, bound, threshold=threshold)
        newest = value.sequence
        seen += 1
        if watch.certifies and seen in {batches.first, batches.second}:
            held = _certified(replace(watch, baseline=held), first, value, seen, batches)
        if alarm is not None:
            break
    if newest == watch.detector.last_sequence and detector is watch.detector:
        return watch, None
    return replace(watch, seen=seen, baseline=held, detector=detector), alarm


def _certified(
    watch: Watch, first: Sequence[SettledValue], value: SettledValue, seen: int, batches: Batches
) -> Baseline:
    """The baseline once `seen` values are in; from the next value on it is bet on."""
    batch = [
        item for item in first if item.version == watch.version and item.stream == watch.stream
    ][:seen]
    if len(batch) < seen or batch[-1].sequence != value.sequence:
        raise ImpossibleValue(
            f"certify the baseline of {watch.stream} of {watch.author}, version {watch.version}",
            found=f"{len(batch)} of its first {seen} values, or not those up to {value.sequence}",
            next_step="pass `first` from the ledger, with every value of this stream and version",
        )
    baseline = baselines.certify(
        batch, floor=watch.floor, delta=batches.delta, fewest=batches.fewest
    )
    if watch.baseline is not None and watch.baseline.certified_from:
        return baselines.raised(watch.baseline, baseline)
    return baseline


@dataclass(frozen=True)
class DetectorStep:
    """One value as the detector saw it, for a plot.

    Attributes:
        bound: m of its class; None: nothing was bet.
        e_value: after it; at an alarm the value that raised it, before the restart.
        alarm: its number, if it raised one.
    """

    sequence: int
    value: float
    bound: float | None
    e_value: float
    alarm: int | None


def steps(
    watch: Watch,
    values: Sequence[SettledValue],
    *,
    first: Sequence[SettledValue],
    threshold: float,
    batches: Batches | None = None,
) -> list[DetectorStep]:
    """What `advance` does, value by value; arguments as there."""
    detector_steps: list[DetectorStep] = []
    for value in values:
        held = watch.baseline
        after, alarm = advance(watch, (value,), first=first, threshold=threshold, batches=batches)
        if after.seen > watch.seen:
            e_value = after.detector.e_value if alarm is None else alarm.e_value
            number = None if alarm is None else alarm.number
            bound = None if held is None else held.bounds.get(value.prompt_class)
            detector_steps.append(DetectorStep(value.sequence, value.value, bound, e_value, number))
        watch = after
    return detector_steps
