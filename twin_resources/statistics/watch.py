"""One stream of the version now stable, followed day by day: count, certify, bet, alarm.

Belongs here: the order of these steps, and the state that is stored between ticks.
Does not belong here: reading the ledger, storing the row, deciding on an alarm (`retraining.py`).
Method: `detector.py`, `baseline.py`.

Everything follows from the settled values in their order: whatever the ticks are, however often
one is repeated or a cursor is lost, the same values give the same baseline, bits and alarms.
"""
# pyright: strict

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from twin_resources.statistics import baseline as baselines
from twin_resources.statistics.baseline import Baseline
from twin_resources.statistics.blocks import blocks_of, days_of
from twin_resources.statistics.detector import Alarm, Detector, fold
from twin_resources.statistics.values import ImpossibleValue, SettledValue

# Which rules a stored watch was made by. A watch of others is made anew from the settled values;
# the alarms that it raised stand. 1: each value a bet, two batches, rare classes pooled. 2: a
# batch of any number of days certified.
RULES = 3
# Number of values that certify → its share of delta. Most of it where most streams are for most of
# their life: shared alike a fall of .1 is found after 590 values, so after 520.
SHARES = {100: 0.05, 200: 0.05, 500: 0.25, 1_000: 0.3, 2_000: 0.2, 4_000: 0.1, 8_000: 0.05}


def shares_from(first: int, last: int) -> dict[int, float]:
    """`SHARES` above `first` up to `last`; the first batch takes what is left of 1, or .05."""
    later = {size: share for size, share in SHARES.items() if first < size <= last}
    found = {first: max(0.05, 1.0 - math.fsum(later.values()))} | later
    return {size: share / math.fsum(found.values()) for size, share in found.items()}


@dataclass(frozen=True)
class Batches:
    """How many values certify a baseline; fixed before the first is seen.

    Attributes:
        shares: number of values → its share of delta; rising. The demo begins with 150, and prints
            that.
        fewest: values of a class with a bound of its own.
        delta: of all batches together, for all armed streams of a home.
    """

    shares: Mapping[int, float] = field(default_factory=lambda: dict(SHARES))
    fewest: int = baselines.FEWEST
    delta: float = baselines.DELTA

    @property
    def first(self) -> int:
        """The values from which a stream may be armed."""
        return min(self.shares)

    def after(self, seen: int) -> int:
        """The next batch of a stream with so many values; the last one when all are over."""
        return min((size for size in self.shares if size > seen), default=max(self.shares))


@dataclass(frozen=True)
class Watch:
    """The state of one stream of one version.

    Attributes:
        certifies: False for a forced version: it is held to the floor only.
        floor: prompt class → best certified bound of earlier versions less the tolerance; empty
            for the first.
        seen: values of this stream and version consumed; `days`: on how many days.
        baseline: in force; None while arming.
        detector: the bets.
        after: sequence up to which values are history (`twin lower-floor`); 0: none is.
        tolerance: that it is followed with.
        fleet: armed streams of the home at each certification, which shared delta.
        rules: `RULES` of the code that made it.
        together: prompt class → m certified with a delta that no other stream takes a share of; for
            what all authors say together (`home_bounds`).
    """

    author: str
    stream: str
    version: str
    certifies: bool
    floor: Mapping[str, float]
    seen: int
    baseline: Baseline | None
    detector: Detector
    after: int = 0
    tolerance: float = baselines.TOLERANCE
    fleet: tuple[int, ...] = ()
    rules: int = RULES
    together: Mapping[str, float] = field(default_factory=dict[str, float])
    days: int = 0

    @property
    def home_bounds(self) -> Mapping[str, float]:
        """What the values are held to beside those of other authors (`common_cause.py`); empty
        while arming.

        There the mean over authors has to be right, which it is by far where each bound is with
        95 %; all of them at once, as `baseline.bounds`, would cost a fall of .1 days.
        """
        if self.baseline is None:
            return {}
        return {
            name: max(bound, self.together.get(name, 0.0))
            for name, bound in self.baseline.bounds.items()
        }

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
        """The state that `to_json` wrote, of this release or of one before it."""
        stored: dict[str, Any] = json.loads(text)
        held: dict[str, Any] | None = stored.pop("baseline")
        detector = Detector.from_values(stored.pop("detector"))
        stored["fleet"] = tuple(stored.get("fleet", ()))
        stored.setdefault("rules", 1)
        if held is not None and "pooled" in held:
            pooled = held.pop("pooled")
            held["certified"] = {
                name: bound for name, bound in held["certified"].items() if name not in pooled
            }
            held["blocks"] = None
        return cls(**stored, baseline=Baseline(**held) if held else None, detector=detector)


def start(
    *,
    author: str,
    stream: str,
    version: str,
    floor: Mapping[str, float] | None = None,
    certifies: bool = True,
    after: int = 0,
    tolerance: float = baselines.TOLERANCE,
) -> Watch:
    """The state before the first value of a version that has just become stable.

    Args:
        floor: `baseline.floor_of` the earlier versions; with one, the version is bet on from its
            first value, without it (an author's first) it waits for its first batch.
        certifies: False for a forced version.
        after: sequence up to which values are history.
    """
    return Watch(
        author,
        stream,
        version,
        certifies,
        dict(floor or {}),
        0,
        baselines.from_floor(floor or {}),
        Detector(last_sequence=after),
        after,
        tolerance,
    )


def batch_due(watch: Watch, new_values: int, *, batches: Batches | None = None) -> int:
    """How many first values `advance` may need for so many new ones; 0: `first` may be empty.

    So that a tick reads the first 100, 200 … 8,000 rows once each in the life of a version, not at
    each tick; in its first two weeks with each day that has come.
    """
    batches = batches or Batches()
    if not watch.certifies:
        return 0
    seen = watch.seen + new_values
    return seen if _due(watch, batches, seen=seen) else 0


def _due(watch: Watch, batches: Batches, *, seen: int) -> list[int]:
    """Sizes of batches that so many values complete and that have not certified."""
    before = watch.baseline.certified_from if watch.baseline is not None else 0
    return [size for size in batches.shares if before < size <= seen]


def advance(
    watch: Watch,
    values: Sequence[SettledValue],
    *,
    first: Sequence[SettledValue],
    threshold: float,
    batches: Batches | None = None,
    fleet: int = 1,
) -> tuple[Watch, Alarm | None]:
    """The state after new values, up to the first day among them with an alarm.

    It stops at an alarm, so that each is stored with the state that it left, in one transaction;
    call again with the same values for the rest. The rest of an alarm's day is part of it.

    Args:
        values: in the order of their sequence, of each day all that there are; those of other
            streams and versions are passed over, those up to `watch.detector.last_sequence` change
            nothing.
        first: the first values of this stream and version, at least `batch_due` of them.
        threshold: C, `detector.threshold(armed_streams=N)`.
        fleet: N; a baseline that is certified now takes delta/N.

    Raises:
        ImpossibleValue: another author's value, or `first` does not reach as far as a batch needs.
    """
    batches = batches or Batches()
    for day in days_of(_new(watch, values)):
        watch, alarm = _after_day(watch, day, threshold=threshold)
        if watch.certifies:
            watch = _certified(watch, first, day, batches, fleet)
        if alarm is not None:
            return watch, alarm
    return watch, None


def _new(watch: Watch, values: Sequence[SettledValue]) -> list[SettledValue]:
    """The values that this watch has not consumed."""
    found: list[SettledValue] = []
    newest = watch.detector.last_sequence
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
        found.append(value)
        newest = value.sequence
    return found


def _after_day(
    watch: Watch, day: Sequence[SettledValue], *, threshold: float
) -> tuple[Watch, Alarm | None]:
    """The bets of one day; after an alarm the detector begins again with the next day."""
    held, detector = watch.baseline, watch.detector
    bounds: Mapping[str, float] = held.bounds if held is not None else {}
    most = held.blocks if held is not None else None
    end = day[-1].sequence
    alarm: Alarm | None = None
    for block in blocks_of(day, most=most):
        detector, alarm = fold(detector, block, bounds, threshold=threshold)
        if alarm is not None:
            alarm = replace(alarm, sequence=end)
            detector = replace(detector, last_sequence=end)
            break
    after = replace(watch, seen=watch.seen + len(day), days=watch.days + 1, detector=detector)
    return after, alarm


def _certified(
    watch: Watch,
    first: Sequence[SettledValue],
    day: Sequence[SettledValue],
    batches: Batches,
    fleet: int,
) -> Watch:
    """The watch with the baselines of the batches that this day has completed; bet on from the
    next day on."""
    due = _due(watch, batches, seen=watch.seen)
    if not due or watch.days < baselines.FEWEST_DAYS:
        return watch
    batch = [
        item
        for item in first
        if item.version == watch.version
        and item.stream == watch.stream
        and item.sequence > watch.after
    ]
    batch = batch[: watch.seen]
    if len(batch) < watch.seen or batch[-1].sequence != day[-1].sequence:
        raise ImpossibleValue(
            f"certify the baseline of {watch.stream} of {watch.author}, version {watch.version}",
            found=f"{len(batch)} of its first {watch.seen} values, or not those up to "
            f"{day[-1].sequence}",
            next_step="pass `first` from the ledger, with every value of this stream and version",
        )
    baseline = _batch(
        batch,
        due,
        earlier=watch.baseline,
        floor=watch.floor,
        batches=batches,
        fleet=fleet,
        tolerance=watch.tolerance,
    )
    alone = _batch(batch, due, floor=watch.floor, batches=batches, tolerance=watch.tolerance)
    together = {**alone.bounds}
    for name, bound in watch.together.items():
        together[name] = max(bound, together.get(name, 0.0))
    return replace(
        watch,
        baseline=baseline,
        fleet=(*watch.fleet, fleet),
        together=together,
    )


def _batch(
    values: Sequence[SettledValue],
    due: Sequence[int],
    *,
    earlier: Baseline | None = None,
    floor: Mapping[str, float] | None = None,
    batches: Batches,
    fleet: int = 1,
    tolerance: float = baselines.TOLERANCE,
) -> Baseline:
    """The baseline after a batch.

    Args:
        values: all that there are at the end of a day.
        due: sizes that they complete; the batch has the delta of them all.
        earlier: in force before it.
        fleet: N: it takes 1/N of its delta.
    """
    share = math.fsum(batches.shares[size] for size in due)
    found = baselines.certify(
        values,
        floor=floor,
        delta=batches.delta * share / fleet,
        fewest=batches.fewest,
        tolerance=tolerance,
    )
    held = earlier if earlier is not None and earlier.certified_from else None
    return found if held is None else baselines.raised(held, found)


def certified_by(values: Sequence[SettledValue], *, batches: Batches) -> Baseline | None:
    """The baseline that these values certify by themselves, in the batches of a watch.

    Args:
        values: the first of one version, in the order of settling, of each day all.
    """
    held: Baseline | None = None
    count = days = 0
    for day in days_of(values):
        count, days = count + len(day), days + 1
        before = 0 if held is None else held.certified_from
        due = [size for size in batches.shares if before < size <= count]
        if due and days >= baselines.FEWEST_DAYS:
            held = _batch(values[:count], due, earlier=held, batches=batches)
    return held


@dataclass(frozen=True)
class DetectorStep:
    """One value as the detector saw it, for a plot.

    Attributes:
        bound: m of its class; None: nothing was bet.
        e_value: after its day; at an alarm what raised it, before the restart.
        alarm: its number, if it raised one.
    """

    sequence: int
    value: float
    bound: float | None
    e_value: float
    alarm: int | None


def steps(
    watch: Watch,
    day: Sequence[SettledValue],
    *,
    first: Sequence[SettledValue],
    threshold: float = math.inf,
    batches: Batches | None = None,
    fleet: int = 1,
) -> tuple[Watch, list[DetectorStep]]:
    """What `advance` does with one day, value by value; arguments as there."""
    after, alarm = advance(
        watch, day, first=first, threshold=threshold, batches=batches, fleet=fleet
    )
    bounds = watch.baseline.bounds if watch.baseline is not None else dict[str, float]()
    e_value = after.detector.e_value if alarm is None else alarm.e_value
    detector_steps = [
        DetectorStep(value.sequence, value.value, bounds.get(value.prompt_class), e_value, None)
        for value in _new(watch, day)
    ]
    if alarm is not None:
        detector_steps[-1] = replace(detector_steps[-1], alarm=alarm.number)
    return after, detector_steps
