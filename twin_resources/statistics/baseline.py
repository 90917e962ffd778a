"""The baseline of a version: below which mean, for each class of request, quality has dropped.

Belongs here: certifying it from batches fixed beforehand, the floor that a new version inherits,
how far a stream is from being armed.
Does not belong here: the bets on it (`detector.py`), when it is made (`watch.py`).
Source of the bounds: `bounds.py`. A plug-in mean of 50 scores gave 43 % false alarms, its lower
bound 5 %.

Classes are bet on apart, since a mere change in the mix of requests moves a pooled mean: 89 %
false alarms against 2.6 % in simulation. C classes share the delta of a batch: each bound holds at
delta/C, so all hold together. A class without values enough for a bound of its own is not bet on:
two classes of .95 that were pooled with a rare one of .4 gave 89 % when that one became less rare.

What is held is the bound or the mean less a tolerance, whichever is lower: a fall that is too
small to matter costs nobody a training, however many values there are.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from twin_resources.statistics.blocks import MOST_BLOCKS, blocks_a_day
from twin_resources.statistics.bounds import clustered_lower, lower_bound
from twin_resources.statistics.values import ImpossibleValue, SettledValue

FIRST_BATCH = 500  # of a version that is compared with others (`release/certified.py`)
FEWEST = 60  # values of a class with a bound; rarer ones are not bet on
# Two weekends, and enough days for what they differ by: of four days t knows next to nothing. A
# home that settles each value by itself has no days, and each value stands for one.
FEWEST_DAYS = 14
FEWEST_READERS = 5  # of whom something follows for others
HIGHEST = 0.99  # λ = .9·r/(1 − m) needs m < 1
DELTA = 0.05
MARGIN = (
    0.1  # ε of a release (`promotion.py`): what a candidate may be worse by on the same prompts
)
TOLERANCE = 0.03  # a fall of the mean by less is not worth a training


@dataclass(frozen=True)
class Baseline:
    """What one stream of one version is held to.

    Attributes:
        id: hash of all below; the detector's row names it.
        certified_from: values behind `certified`; 0 while only the floor is known.
        certified: prompt class → lower bound of the mean of the version's own values.
        counts: prompt class → values behind it.
        bounds: prompt class → m in force. A class that is not here is not bet on.
        blocks: bets that the values of a class and day are at most; None: each value is one.
    """

    id: str
    certified_from: int
    certified: Mapping[str, float]
    counts: Mapping[str, int]
    bounds: Mapping[str, float]
    blocks: int | None


@dataclass(frozen=True)
class ClassBounds:
    """One batch, a prompt class: lower bounds of its mean, means, and how many values it has."""

    bounds: Mapping[str, float]
    means: Mapping[str, float]
    counts: Mapping[str, int]


def class_bounds(
    values: Sequence[SettledValue], *, delta: float = DELTA, fewest: int = FEWEST
) -> ClassBounds:
    """A lower bound for each class of a batch, at confidence 1 − delta for all of them together.

    The lowest of the bound for any distribution and those for values that go together by day and
    by reader (`bounds.clustered_lower`). Fewer than five readers are a circle of their own: what is
    certified is what these readers say, and nothing is known of others. Classes with under
    `fewest` values have none. Bounds are at most .99.
    """
    by_class: dict[str, list[SettledValue]] = {}
    for value in values:
        by_class.setdefault(value.prompt_class, []).append(value)
    large = {name: those for name, those in sorted(by_class.items()) if len(those) >= fewest}
    share = delta / max(1, len(large))
    return ClassBounds(
        {name: min(HIGHEST, _lower(those, delta=share)) for name, those in large.items()},
        {name: math.fsum(one.value for one in those) / len(those) for name, those in large.items()},
        {name: len(those) for name, those in large.items()},
    )


def _lower(values: Sequence[SettledValue], *, delta: float) -> float:
    scores = [one.value for one in values]
    bounds = [lower_bound(scores, delta=delta)]
    days: list[Hashable] = [one.sequence if one.day is None else f"day {one.day}" for one in values]
    readers: list[Hashable] = [one.reader or one.sequence for one in values]
    if len(set(days)) < len(values):
        bounds.append(clustered_lower(scores, days, delta=delta))
    if FEWEST_READERS <= len(set(readers)) < len(values):
        bounds.append(clustered_lower(scores, readers, delta=delta))
    return min(bounds)


def certify(
    batch: Sequence[SettledValue],
    *,
    floor: Mapping[str, float] | None = None,
    delta: float = DELTA,
    fewest: int = FEWEST,
    tolerance: float = TOLERANCE,
) -> Baseline:
    """The baseline from a version's first values of one stream.

    Args:
        batch: all of one author, stream and version, in the order of settling; as many as were
            fixed beforehand (`watch.Batches`).
        floor: of `floor_of`; m is never below it.
        tolerance: m is below the mean of the batch by as much at least.

    Raises:
        ImpossibleValue: an empty batch, or values of several streams or versions.
    """
    kinds = {(value.author, value.stream, value.version) for value in batch}
    if len(kinds) != 1:
        raise ImpossibleValue(
            "certify a baseline",
            found=f"values of {len(kinds)} streams and versions",
            next_step="pass the first values of one stream of one version",
        )
    own = class_bounds(batch, delta=delta, fewest=fewest)
    held = {name: min(own.bounds[name], mean - tolerance) for name, mean in own.means.items()}
    return baseline_of(
        certified_from=len(batch),
        certified=own.bounds,
        counts=own.counts,
        bounds=_larger(held, floor or {}),
        blocks=blocks_a_day(batch),
    )


def raised(earlier: Baseline, later: Baseline) -> Baseline:
    """The baseline after a further batch: for each class the larger bound, and its blocks."""
    return baseline_of(
        certified_from=later.certified_from,
        certified=_larger(earlier.certified, later.certified),
        counts=later.counts,
        bounds=_larger(earlier.bounds, later.bounds),
        blocks=later.blocks,
    )


def baseline_of(
    *,
    certified_from: int,
    certified: Mapping[str, float],
    counts: Mapping[str, int],
    bounds: Mapping[str, float],
    blocks: int | None,
) -> Baseline:
    """The baseline with these bounds, at most .99; one of 0 cannot be fallen below."""
    held = {name: min(HIGHEST, bound) for name, bound in sorted(bounds.items()) if bound > 0.0}
    facts = [certified_from, dict(certified), dict(counts), held, blocks]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return Baseline(digest[:16], certified_from, certified, counts, held, blocks)


def floor_of(earlier: Iterable[Baseline], *, tolerance: float = TOLERANCE) -> dict[str, float]:
    """What a new version is held to from its first value: best certified bound less a tolerance.

    Args:
        earlier: baselines of this author and judge, without those of forced versions.

    So a baseline never falls by itself; a lower floor needs a person, with a reason
    (`twin lower-floor`).
    """
    best: dict[str, float] = {}
    for baseline in earlier:
        best = _larger(best, baseline.certified)
    return {name: bound - tolerance for name, bound in best.items() if bound - tolerance > 0.0}


def from_floor(floor: Mapping[str, float]) -> Baseline | None:
    """The baseline of a version before its own first batch; None for an author's first version.

    How its readers' days go is not known yet: blocks.
    """
    if not floor:
        return None
    return baseline_of(certified_from=0, certified={}, counts={}, bounds=floor, blocks=MOST_BLOCKS)


def _larger(left: Mapping[str, float], right: Mapping[str, float]) -> dict[str, float]:
    return {
        name: max(left.get(name, 0.0), right.get(name, 0.0)) for name in sorted({*left, *right})
    }


def arming(have: int, needed: int, *, per_day: float | None, days: int = FEWEST_DAYS) -> str:
    """How far a stream is from being armed: `arming 37/100, about 58 days at your rate`.

    Args:
        per_day: settled values a day, lately; None or 0: none yet.
        days: on which there are values, of the `FEWEST_DAYS` that certify.
    """
    progress = f"arming {have:,}/{needed:,}"
    if 0 < days < FEWEST_DAYS:
        return f"{progress} values, {days}/{FEWEST_DAYS} days"
    if have >= needed:
        return f"{progress}, no class of requests has values enough for a baseline"
    if not per_day or per_day <= 0.0:
        return f"{progress}, no values yet to tell how long" if not have else progress
    return f"{progress}, about {duration((needed - have) / per_day)} at your rate"


def duration(days: float) -> str:
    """Days in the unit a person would use: `3 hours`, `12 days`, `14 months`, `6 years`."""
    for length, unit, most in ((1 / 24, "hour", 48), (1, "day", 60), (365.25 / 12, "month", 24)):
        count = max(1, round(days / length))
        if count <= most:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{round(days / 365.25)} years"
