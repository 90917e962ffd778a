"""The e-detector: has the quality of answers dropped below its certified baseline?

Belongs here: the state of one stream, the fold over settled values, the alarm and its threshold.
Does not belong here: where the baseline comes from (`baseline.py`), what an alarm leads to
(`retraining.py`), storage.
Sources: Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change
detection", NEJSDS 2024, https://arxiv.org/abs/2203.03532; bets after Waudby-Smith and Ramdas
(`bets.py`).

For a value x ∈ [0, 1] of a class with baseline m, and bets k = 1…8,

    L_k = 1 + λ_k·(m − x), λ_k = .9·r_k/(1 − m)        M_k ← L_k·(M_k + 1), M_k = 0 at the start
    alarm when mean_k M_k ≥ C = H·N/α

As long as E[x | past, class] ≥ m, E[L_k | past] ≤ 1. So E[M_t | past] ≤ M_{t−1} + 1, and
M_t + (H − t) is a nonnegative supermartingale that starts at H: by Ville's inequality M reaches C
within H values with probability at most H/C = α/N. N armed streams: α for the fleet. The +1 opens
a new bet at every value, so that a drop is found wherever it begins.

C bounds M between alarms (.1 ≤ M_k < 8·C before the last factor, which is at most 1 + .9·99), so
it can be kept as it is, without logs: a fold then is sums and products alone, which IEEE 754
rounds alike everywhere; another machine recomputes the same bits, hence the same alarm.
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from twin_resources.statistics.bets import BETS, FRACTIONS, STAKE
from twin_resources.statistics.values import ImpossibleValue, SettledValue

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
    """The state of one stream of one version: 8 numbers and where they stand.

    Attributes:
        wealth: M_k, one a bet; all 0 after a start or an alarm.
        last_sequence: of the newest value consumed; a value up to it changes nothing.
        bets: values bet on since the last restart.
        since: sequence of the first of them; 0 while there is none.
        alarms: raised so far; the next one has this number plus 1.
    """

    wealth: tuple[float, ...] = (0.0,) * BETS
    last_sequence: int = 0
    bets: int = 0
    since: int = 0
    alarms: int = 0

    @property
    def e_value(self) -> float:
        """mean_k M_k, compared with the threshold."""
        return mean_wealth(self.wealth)

    def to_json(self) -> str:
        """One line; `from_json` gives the same bits back (floats are written exactly)."""
        return json.dumps(vars(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Detector:
        """The state that `to_json` wrote.

        Raises:
            ImpossibleValue: not 8 nonnegative numbers.
        """
        return cls.from_values(json.loads(text))

    @classmethod
    def from_values(cls, stored: Mapping[str, object]) -> Detector:
        """The state from the parsed JSON."""
        wealth = stored["wealth"]
        numbers: list[object] = list(wealth) if isinstance(wealth, list) else []  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        numbers_read = tuple(
            float(item) for item in numbers if isinstance(item, float) and item >= 0.0
        )
        counts = {
            name: value
            for name in ("last_sequence", "bets", "since", "alarms")
            if isinstance(value := stored[name], int)
        }
        if len(numbers_read) != BETS or len(numbers) != BETS or len(counts) != 4:
            raise ImpossibleValue(
                "read the state of a detector",
                found=f"{stored}",
                next_step="delete the row; the ledger gives the same state again",
            )
        return cls(wealth=numbers_read, **counts)


@dataclass(frozen=True)
class Alarm:
    """The evidence at the moment of an alarm; it becomes the tags of the run.

    Attributes:
        number: 1 for the first of this stream and version.
        sequence: of the value that raised it.
        e_value, threshold: mean_k M_k, and C.
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


def fold(
    state: Detector, value: SettledValue, baseline: float | None, *, threshold: float
) -> tuple[Detector, Alarm | None]:
    """The state after one more value, and the alarm if this value raised one.

    Args:
        baseline: m of the value's class, fixed before the value was seen; None: the class has none,
            nothing is bet (the value is consumed, wealth stays).
        threshold: C, from `threshold`.

    A replay (a sequence already consumed) gives the same state back. An alarm restarts the
    detector. Cost: about 3 microseconds.
    """
    if value.sequence <= state.last_sequence:
        return state, None
    if baseline is None:
        return Detector(state.wealth, value.sequence, state.bets, state.since, state.alarms), None
    gap = baseline - value.value
    wealth = tuple(
        [
            (1.0 + stake * gap) * (before + 1.0)
            for stake, before in zip(stakes(baseline), state.wealth, strict=True)
        ]
    )
    bets, since = state.bets + 1, state.since or value.sequence
    e_value = mean_wealth(wealth)
    if e_value < threshold:
        return Detector(wealth, value.sequence, bets, since, state.alarms), None
    alarm = Alarm(
        author=value.author,
        stream=value.stream,
        version=value.version,
        number=state.alarms + 1,
        sequence=value.sequence,
        e_value=e_value,
        threshold=threshold,
        bets=bets,
        since=since,
    )
    return Detector(last_sequence=value.sequence, alarms=alarm.number), alarm
