"""What an alarm is about: when the drop began, which classes fell, and a cause outside the weights.

Belongs here: the change point, the fallen classes, causes that no training can mend.
Does not belong here: measuring them (traces), deciding (`retraining.py`).
Method: the change point maximises the growth of the best bet, as in CUSUM (Page, Biometrika 41,
1954), of which the e-detector is the e-value form (`detector.py`).
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twin_resources.statistics.bets import FRACTIONS, factor
from twin_resources.statistics.values import SettledValue

# A share (retrieval hits, degraded answers) that moved by as much explains a fall by itself.
NOTABLE = 0.15


@dataclass(frozen=True)
class Fall:
    """A class whose mean since the drop is below its baseline."""

    prompt_class: str
    mean: float
    baseline: float
    values: int


@dataclass(frozen=True)
class Conditions:
    """How answers came about, before the drop or since.

    Attributes:
        retrieval_hit_rate, degraded_share: in [0, 1]; None: no traces.
        template, base, server: hashes or versions in use.
    """

    retrieval_hit_rate: float | None
    degraded_share: float | None
    template: str
    base: str
    server: str


def since_the_drop(
    values: Sequence[SettledValue], bounds: Mapping[str, float]
) -> tuple[SettledValue, ...]:
    """The values from the most likely beginning of the drop to the alarm.

    Of one class alone where its own bet, at the price of having been chosen among them, has grown
    more than the bet on all: in a fall of one class of four the others' values say the contrary,
    and who reads them is no witness of it.

    Args:
        values: of one stream, from the detector's restart to the alarm, in order.
        bounds: prompt class → m; values of other classes are left out.
    """
    bet = [value for value in values if value.prompt_class in bounds]
    grown, begin = _best_suffix(bet, bounds)
    drop = tuple(bet[begin:])
    classes = sorted({value.prompt_class for value in bet})
    for name in classes if len(classes) > 1 else ():
        of_class = [value for value in bet if value.prompt_class == name]
        alone, begin = _best_suffix(of_class, bounds)
        if alone - math.log(len(classes)) > grown:
            grown, drop = alone - math.log(len(classes)), tuple(of_class[begin:])
    return drop


def _best_suffix(bet: Sequence[SettledValue], bounds: Mapping[str, float]) -> tuple[float, int]:
    """Log growth of the best bet over the values from an index to the end, and that index."""
    best, begin = -math.inf, 0
    for fraction in FRACTIONS:
        total = 0.0
        for index in range(len(bet) - 1, -1, -1):
            bound = bounds[bet[index].prompt_class]
            total += math.log(factor(1.0 - bet[index].value, 1.0 - bound, fraction))
            if total > best:
                best, begin = total, index
    return best, begin


def fallen_classes(values: Sequence[SettledValue], bounds: Mapping[str, float]) -> tuple[Fall, ...]:
    """Classes below their baseline among the values of `since_the_drop`, deepest fall first."""
    values_by_class: dict[str, list[float]] = {}
    for value in values:
        if value.prompt_class in bounds:
            values_by_class.setdefault(value.prompt_class, []).append(value.value)
    falls = [
        Fall(name, math.fsum(scores) / len(scores), bounds[name], len(scores))
        for name, scores in values_by_class.items()
        if math.fsum(scores) / len(scores) < bounds[name]
    ]
    return tuple(sorted(falls, key=lambda fall: (fall.mean - fall.baseline, fall.prompt_class)))


def cause_outside_the_weights(before: Conditions, since: Conditions) -> str | None:
    """A change that explains the fall without the weights, in words; None: none was seen."""
    for name, old, new in (
        ("prompt template", before.template, since.template),
        ("base model", before.base, since.base),
        ("model server", before.server, since.server),
    ):
        if old and new and old != new:  # what was not told has not changed
            return f"the {name} changed from {old} to {new}"
    for name, first, second, sign in (
        ("retrieval hit rate", before.retrieval_hit_rate, since.retrieval_hit_rate, -1.0),
        ("share of degraded answers", before.degraded_share, since.degraded_share, 1.0),
    ):
        if first is not None and second is not None and sign * (second - first) >= NOTABLE:
            return f"the {name} went from {first:.0%} to {second:.0%}"
    return None
