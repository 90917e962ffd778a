"""The e-detector: has the quality of answers dropped below its certified baseline?

Belongs here: the state of one stream, the fold over blocks of its values, the alarm and its
threshold.
Does not belong here: where the baseline comes from (`baseline.py`), what an alarm leads to
(`retraining.py`), storage.
Sources: Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change
detection", NEJSDS 2024, https://arxiv.org/abs/2203.03532; bets after Waudby-Smith and Ramdas
(`bets.py`).

For a block's mean x ∈ [0, 1] of a class with baseline m, and bets k = 1…8,

    L_k = 1 + λ_k·(m − x), λ_k = .9·r_k/(1 − m)        M_k ← L_k·(M_k + 1), M_k = 0 at the start
    E = ½·mean_k M_k + ½·mean_c mean_k M_k^c           alarm when E ≥ C = H·N/α

with M over the blocks of all classes and M^c over those of class c alone, which a fall of that one
class does not have to outweigh the others in. As long as E[x | past, class] ≥ m, E[L_k | past] ≤ 1.
So E[M_t | past] ≤ M_{t−1} + 1, for each M^c too and hence for E (a mean of e-detectors is one), and
E_t + (H − t) is a nonnegative supermartingale that starts at H: by Ville's inequality E reaches C
within H blocks, of which H values make no more, with probability at most H/C = α/N. N armed
streams: α for the fleet. The +1 opens a new bet at every block, so that a drop is found wherever
it begins.

C bounds M between alarms (.1 ≤ M_k < 8·C before the last factor, which is at most 1 + .9·99), so
it can be kept as it is, without logs: a fold then is sums and products alone, which IEEE 754
rounds alike everywhere; another machine recomputes the same bits, hence the same alarm.
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from twin_resources.statistics.bets import BETS, FRACTIONS, STAKE
from twin_resources.statistics.blocks import DayBlock
from twin_resources.statistics.values import ImpossibleValue

NO_WEALTH = (0.0,) * BETS
HORIZON = 5_000
ALPHA = 0.05


def threshold(*, armed_streams: int, horizon: int = HORIZON, alpha: float = ALPHA) -> float:
    """C = H·N/α: 100,000 for one armed stream, H = 5,000 and α = .05 for the whole fleet."""
    if armed_streams < 1 or horizon < 1 or not 0.0 < alpha < 1.0:
        raise ImpossibleValue(
            "set the threshold of the detectors",
            found=f"{armed_streams} armed streams, horizon {horizon}, alpha {alpha}",
            next_step="count at least the stream itself; horizon ≥ 1, alpha between 0 and 1",
        )
    return horizon * armed_streams / alpha


@dataclass(frozen=True)
class Detector:
    """The state of one stream of one version: 8 numbers, 8 for each class, and where they stand.

    Attributes:
        wealth: M_k, one a bet; all 0 after a start or an alarm.
        last_sequence: of the newest value consumed; a value up to it changes nothing.
        bets: values bet on since the last restart.
        since: sequence of the first of them; 0 while there is none.
        alarms: raised so far; the next one has this number plus 1.
        classes: prompt class → M_k^c; a class that is not here has all 0.
        of_classes: how many classes have a baseline, over which the mean is taken.
    """

    wealth: tuple[float, ...] = NO_WEALTH
    last_sequence: int = 0
    bets: int = 0
    since: int = 0
    alarms: int = 0
    classes: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    of_classes: int = 1

    @property
    def e_value(self) -> float:
        """E, compared with the threshold."""
        of_each = 0.0
        for name in sorted(self.classes):
            of_each = of_each + mean_wealth(self.classes[name])
        return 0.5 * mean_wealth(self.wealth) + 0.5 * (of_each / self.of_classes)

    def to_json(self) -> str:
        """One line; `from_json` gives the same bits back (floats are written exactly)."""
        return json.dumps(vars(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Detector:
        """The state that `to_json` wrote.

        Raises:
            ImpossibleValue: not 8 nonnegative numbers, of all or of a class.
        """
        return cls.from_values(json.loads(text))

    @classmethod
    def from_values(cls, stored: Mapping[str, Any]) -> Detector:
        """The state from the parsed JSON; releases that bet on single values knew no classes."""
        try:
            counts = {name: stored[name] for name in ("last_sequence", "bets", "since", "alarms")}
            counts["of_classes"] = stored.get("of_classes", 1)
            if not all(isinstance(count, int) for count in counts.values()):
                raise TypeError(f"a count is no whole number: {counts}")
            classes = {name: _wealth(of) for name, of in stored.get("classes", {}).items()}
            return cls(wealth=_wealth(stored["wealth"]), classes=classes, **counts)
        except (TypeError, ValueError, KeyError) as error:
            raise ImpossibleValue(
                "read the state of a detector",
                found=f"{stored} ({error})",
                next_step="delete the row; the ledger gives the same state again",
            ) from error


def _wealth(stored: Sequence[Any]) -> tuple[float, ...]:
    """The 8 numbers of a stored row, written as floats."""
    if len(stored) != BETS or not all(isinstance(one, float) and one >= 0.0 for one in stored):
        raise ValueError(f"not {BETS} nonnegative numbers: {stored}")
    return tuple(stored)


@dataclass(frozen=True)
class Alarm:
    """The evidence at the moment of an alarm; it becomes the tags of the run.

    Attributes:
        number: 1 for the first of this stream and version.
        sequence: of the last value of the day that raised it.
        e_value, threshold: E, and C.
        bets: values bet on since the last restart.
        since: sequence of the first of them.
    """

    author: str
    stream: str
    version: str
    number: int
    sequence: int
    e_value: float
    threshold: float
    bets: int
    since: int


def mean_wealth(wealth: tuple[float, ...]) -> float:
    """mean_k M_k, added from left to right (`sum` compensates from Python 3.12 on: other bits)."""
    total = wealth[0]
    for item in wealth[1:]:
        total = total + item
    return total / BETS


@lru_cache(maxsize=4096)
def stakes(baseline: float) -> tuple[float, ...]:
    """λ_k = .9·r_k/(1 − m), one a bet.

    Args:
        baseline: m in [0, .99] (`baseline.py` caps it; at 1 nothing could be staked).
    """
    return tuple(STAKE * fraction / (1.0 - baseline) for fraction in FRACTIONS)


def grown(wealth: tuple[float, ...], baseline: float, value: float) -> tuple[float, ...]:
    """M_k after one more bet: L_k·(M_k + 1)."""
    gap = baseline - value
    return tuple(
        [
            (1.0 + stake * gap) * (before + 1.0)
            for stake, before in zip(stakes(baseline), wealth, strict=True)
        ]
    )


def fold(
    state: Detector, block: DayBlock, bounds: Mapping[str, float], *, threshold: float
) -> tuple[Detector, Alarm | None]:
    """The state after one more block, and the alarm if this block raised one.

    Args:
        bounds: prompt class → m, fixed before the block was seen. A class that is not there is
            consumed: nothing is bet, wealth stays.
        threshold: C, from `threshold`.

    A replay (a sequence already consumed) gives the same state back. An alarm restarts the
    detector. Cost: about 6 microseconds.
    """
    last = block.last
    if last.sequence <= state.last_sequence:
        return state, None
    baseline = bounds.get(last.prompt_class)
    if baseline is None:
        return replace(state, last_sequence=last.sequence), None
    after = Detector(
        wealth=grown(state.wealth, baseline, block.value),
        last_sequence=last.sequence,
        bets=state.bets + block.size,
        since=state.since or block.first,
        alarms=state.alarms,
        classes={
            **state.classes,
            last.prompt_class: grown(
                state.classes.get(last.prompt_class, NO_WEALTH), baseline, block.value
            ),
        },
        of_classes=max(1, len(bounds)),
    )
    e_value = after.e_value
    if e_value < threshold:
        return after, None
    alarm = Alarm(
        author=last.author,
        stream=last.stream,
        version=last.version,
        number=state.alarms + 1,
        sequence=last.sequence,
        e_value=e_value,
        threshold=threshold,
        bets=after.bets,
        since=after.since,
    )
    return Detector(last_sequence=last.sequence, alarms=alarm.number), alarm
