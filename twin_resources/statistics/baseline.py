"""The baseline of a version: below which mean, for each class of request, quality has dropped.

Belongs here: certifying it from a batch fixed beforehand, pooling of rare classes, the floor that
a new version inherits, how far a stream is from being armed.
Does not belong here: the bets on it (`detector.py`), when it is made (`watch.py`).
Source of the bounds: `bounds.py`. A plug-in mean of 50 scores gave 43 % false alarms, its lower
bound 5 %.

Classes are bet on apart, since a mere change in the mix of requests moves a pooled mean: 89 %
false alarms against 2.6 % in simulation. C classes share delta, each bound holds at delta/C, so
all hold together at delta; the second batch spends delta again.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from twin_resources.statistics.bounds import lower_bound
from twin_resources.statistics.values import ImpossibleValue, SettledValue

FIRST_BATCH = 500
SECOND_BATCH = 2_000
FEWEST = 60  # values of a class with a bound of its own; rarer ones are pooled
REST = "rest"
HIGHEST = 0.99  # λ = .9·r/(1 − m) needs m < 1
DELTA = 0.05
MARGIN = 0.1  # ε: by how much a new version may be worse than the best certified one


@dataclass(frozen=True)
class Baseline:
    """What one stream of one version is held to.

    Attributes:
        id: hash of all below; the detector's row names it.
        certified_from: values behind `certified`; 0 while only the floor is known.
        certified: prompt class → lower bound from the version's own values.
        counts: prompt class → values behind it; pooled classes are counted under `rest`.
        pooled: classes whose bound is that of `rest`.
        bounds: prompt class → m in force, the larger of certified bound and floor. A class that is
            not here is not bet on.
    """

    id: str
    certified_from: int
    certified: Mapping[str, float]
    counts: Mapping[str, int]
    pooled: tuple[str, ...]
    bounds: Mapping[str, float]


@dataclass(frozen=True)
class ClassBounds:
    """Lower bounds of one batch: `bounds` a prompt class, `counts` a stratum, `pooled` classes."""

    bounds: Mapping[str, float]
    counts: Mapping[str, int]
    pooled: tuple[str, ...]


def class_bounds(
    classes: Sequence[str], values: Sequence[float], *, delta: float = DELTA, fewest: int = FEWEST
) -> ClassBounds:
    """A lower bound for each class of a batch, at confidence 1 − delta for all of them together.

    Classes with under `fewest` values are pooled into `rest`; if all of `rest` is under it, too,
    they have no bound and are not bet on. Bounds are at most .99.
    """
    by_class: dict[str, list[float]] = {}
    for name, value in zip(classes, values, strict=True):
        by_class.setdefault(name, []).append(value)
    rare = {name for name, bound in by_class.items() if len(bound) < fewest}
    strata = {name: bound for name, bound in by_class.items() if name not in rare}
    rest = [value for name, value in zip(classes, values, strict=True) if name in rare]
    pooled = tuple(sorted(rare)) if len(rest) >= fewest else ()
    share = delta / max(1, len(strata) + bool(pooled))
    bounds = {name: min(HIGHEST, lower_bound(bound, delta=share)) for name, bound in strata.items()}
    counts = {name: len(bound) for name, bound in strata.items()}
    if pooled:
        of_rest = min(HIGHEST, lower_bound(rest, delta=share))
        bounds |= dict.fromkeys(pooled, of_rest)
        counts[REST] = len(rest)
    return ClassBounds(dict(sorted(bounds.items())), dict(sorted(counts.items())), pooled)


def certify(
    batch: Sequence[SettledValue],
    *,
    floor: Mapping[str, float] | None = None,
    delta: float = DELTA,
    fewest: int = FEWEST,
) -> Baseline:
    """The baseline from a version's first values of one stream.

    Args:
        batch: all of one author, stream and version, in the order of settling; as many as were
            fixed beforehand (500, then 2,000).
        floor: of `floor_of`; m is never below it.

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
    class_bound = class_bounds(
        [value.prompt_class for value in batch],
        [value.value for value in batch],
        delta=delta,
        fewest=fewest,
    )
    return baseline_of(class_bound, certified_from=len(batch), held_to=floor or {})


def raised(earlier: Baseline, later: Baseline) -> Baseline:
    """The baseline after the second batch: for each class the larger bound.

    A class that was pooled and now has its own bound takes that one: the mean of `rest` was never
    a bound of its members. A class without a later bound keeps the earlier one.
    """
    leaves_rest = set(earlier.pooled) - set(later.pooled)
    bounds = {
        name: bound
        for name, bound in earlier.bounds.items()
        if not (name in leaves_rest and name in later.bounds)
    }
    certified = {name: bound for name, bound in earlier.certified.items() if name in bounds}
    merged = ClassBounds(_larger(certified, later.certified), later.counts, later.pooled)
    return baseline_of(
        merged, certified_from=later.certified_from, held_to=_larger(bounds, later.bounds)
    )


def baseline_of(
    bounds_of_classes: ClassBounds, *, certified_from: int, held_to: Mapping[str, float]
) -> Baseline:
    """The baseline with these bounds, each at least what the version is held to anyway."""
    bounds = {
        name: min(HIGHEST, bound)
        for name, bound in _larger(bounds_of_classes.bounds, held_to).items()
    }
    # A bound of 0 cannot be fallen below.
    bounds = {name: bound for name, bound in bounds.items() if bound > 0.0}
    facts = [
        certified_from,
        dict(sorted(bounds_of_classes.bounds.items())),
        dict(sorted(bounds_of_classes.counts.items())),
        bounds_of_classes.pooled,
        bounds,
    ]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return Baseline(
        id=digest[:16],
        certified_from=certified_from,
        certified=bounds_of_classes.bounds,
        counts=bounds_of_classes.counts,
        pooled=bounds_of_classes.pooled,
        bounds=bounds,
    )


def floor_of(earlier: Iterable[Baseline], *, margin: float = MARGIN) -> dict[str, float]:
    """What a new version is held to from its first value: best certified m_c − ε, a class.

    Args:
        earlier: baselines of this author and judge, without those of forced versions.
        margin: ε.

    So a baseline never falls by itself; a lower floor needs a person, with a reason in the
    registry, who then passes it instead of this.
    """
    best: dict[str, float] = {}
    for baseline in earlier:
        best = _larger(best, baseline.certified)
    return {name: bound - margin for name, bound in best.items() if bound - margin > 0.0}


def from_floor(floor: Mapping[str, float]) -> Baseline | None:
    """The baseline of a version before its own batch; None for an author's first version."""
    return baseline_of(ClassBounds({}, {}, ()), certified_from=0, held_to=floor) if floor else None


def _larger(left: Mapping[str, float], right: Mapping[str, float]) -> dict[str, float]:
    return {
        name: max(left.get(name, 0.0), right.get(name, 0.0)) for name in sorted({*left, *right})
    }


def arming(have: int, needed: int, *, per_day: float | None) -> str:
    """How far a stream is from being armed: `arming 37/500, about 14 months at your rate`.

    Args:
        per_day: settled values a day, lately; None or 0: none yet.
    """
    progress = f"arming {have:,}/{needed:,}"
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
