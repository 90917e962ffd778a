"""Has a judge moved, which gives the same answers other scores now than it did at first?

Belongs here: what one day's scores of kept answers weigh, the e-value that the judge has moved,
since when and by how much.
Does not belong here: which answers are kept, storage, what follows
(`quality/retraining/judge_reference_set.py`).
Sources: e-detectors, Shin, Ramdas and Rinaldo (`detector.py`); the design effect of days, Kish,
Survey Sampling (1965), with the upper end of its interval (`common_cause.py`).

Each kept answer is its own control: y is its score of today less the mean of its first
`FIRST_SCORES`. With z = (1 + y)/2 ∈ [0, 1], for a judge that gives less,

    F_dk = Π (1 + λ_k·(m − z)),  m = (1 − MATTERS)/2, λ_k = .9·r_k/(1 − m)

over the answers of day d, and the same of −y for one that gives more. Then

    E = mean_k Σ_s Π_{d ≥ s} F_dk^(1/D_s)                 moved when E ≥ C = H/α

with s over the newest `WINDOW_DAYS` days and k over the bets on either direction. As long as the
mean of y, given the past, is within `MATTERS` of 0, each day adds at most 1 to what is expected of
E: within H days P(E ≥ C) ≤ α. `MATTERS` is there for the error that the first scores leave in what
all later ones are held against: .12/√280 = .007 of 40 answers with seven scores that scatter by
.12. A service may have days of its own (its load, its version of the day): D_s is by how much days
differ more than chance would have it, of the days before s; of fewer than seven nothing is known,
and nothing is bet.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from twin_resources.statistics.bets import BETS
from twin_resources.statistics.detector import ALPHA, stakes
from twin_resources.statistics.values import ImpossibleValue

FIRST_SCORES = 7  # of an answer, whose mean its later ones are held against
MATTERS = 0.01  # a third of the fall that an alarm is about
HORIZON_DAYS = 500  # 5,000 values of a judge that scores ten answers a day
WINDOW_DAYS = 60  # in which a move may have begun; most answers are kept no longer
KNOWN_DAYS = 56  # before it, by which D is known
FEWEST_DAYS = 7
_BOUND = (1.0 - MATTERS) / 2.0
_STAKES = stakes(_BOUND)
_MOST_LOG = 700.0  # exp of more is infinite
_ONE_SIDED_95 = 1.6448536269514722
_TWO_SIDED_95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class KeptDay:
    """What one judge gave the kept answers on one day.

    Attributes:
        day: days since the epoch, UTC.
        count, total, squares: of y, in [−1, 1]: how many, Σy and Σy².
        logs: log Π (1 + λ_k·…), first the bets that the judge gives less, then that it gives more.
    """

    day: int
    count: int
    total: float
    squares: float
    logs: tuple[float, ...]


@dataclass(frozen=True)
class JudgeMove:
    """Where the detector of one judge stands.

    Attributes:
        e_value, threshold: E and C.
        since: the day from which on the evidence is largest; None: nothing is bet yet.
        move: mean of y since then, or over the window where nothing is bet; below zero: less.
        error: half the width of its 95 % interval, with that of the first scores; as if `since` had
            been known beforehand.
        scores: behind it.
    """

    e_value: float
    threshold: float
    since: int | None
    move: float
    error: float
    scores: int

    @property
    def has_moved(self) -> bool:
        """Whether this is more than chance and the days' own levels explain."""
        return self.e_value >= self.threshold

    @property
    def words(self) -> str:
        """`.050 ± .012 less (320 scores)`, or more."""
        direction = "less" if self.move <= 0 else "more"
        return f"{abs(self.move):.3f} ± {self.error:.3f} {direction} ({self.scores:,} scores)"


def kept_day(day: int, differences: Sequence[float]) -> KeptDay:
    """One day of a judge.

    Args:
        differences: y of each answer, in [−1, 1].

    Raises:
        ImpossibleValue: none, or one outside.
    """
    if not differences or any(abs(one) > 1.0 for one in differences):
        raise ImpossibleValue(
            "hold scores against an answer's first ones",
            found=f"{len(differences)} differences, from {min(differences, default=None)} to "
            f"{max(differences, default=None)}",
            next_step="pass differences of scores in [0, 1], one an answer",
        )
    logs = [0.0] * (2 * BETS)
    for one in differences:
        for place, lowered in ((0, one), (BETS, -one)):
            gap = _BOUND - (1.0 + lowered) / 2.0
            for k, stake in enumerate(_STAKES):
                logs[place + k] += math.log1p(stake * gap)
    squares = math.fsum(one * one for one in differences)
    return KeptDay(day, len(differences), math.fsum(differences), squares, tuple(logs))


def judge_move(
    days: Sequence[KeptDay], *, horizon: int = HORIZON_DAYS, alpha: float = ALPHA
) -> JudgeMove:
    """What a judge's days say together.

    Args:
        days: in their order, of one judge since its answers were kept first, or it was set aside;
            those before the newest `WINDOW_DAYS` + `KNOWN_DAYS` change nothing.
        horizon, alpha: H days, and the probability of a false finding within them.
    """
    threshold = horizon / alpha
    newest = days[-1].day if days else 0
    days = [one for one in days if one.day > newest - WINDOW_DAYS - KNOWN_DAYS]
    wealth, since, strongest = [0.0] * (2 * BETS), None, -math.inf
    sums, effect_since = [0.0] * (2 * BETS), 1.0
    for place in range(len(days) - 1, -1, -1):
        one = days[place]
        if one.day <= newest - WINDOW_DAYS:
            break
        sums = [a + b for a, b in zip(sums, one.logs, strict=True)]
        known = [before for before in days[:place] if before.day >= one.day - KNOWN_DAYS]
        if len(known) < FEWEST_DAYS:
            continue
        effect = _upper_design_effect(known)
        grown = [math.exp(min(_MOST_LOG, log / effect)) for log in sums]
        wealth = [a + b for a, b in zip(wealth, grown, strict=True)]
        if max(grown) > strongest:
            strongest, since, effect_since = max(grown), one.day, effect
    e_value = math.fsum(wealth) / len(wealth)
    begin = newest - WINDOW_DAYS + 1 if since is None else since
    behind = [one for one in days if one.day >= begin]
    scores = sum(one.count for one in behind)
    if not scores:
        return JudgeMove(e_value, threshold, None, 0.0, 1.0, 0)
    move = math.fsum(one.total for one in behind) / scores
    scatter = max(0.0, math.fsum(one.squares for one in behind) / scores - move * move)
    answers = max(one.count for one in behind)
    variance = scatter * (effect_since / scores + 1.0 / (FIRST_SCORES * answers))
    error = _TWO_SIDED_95 * math.sqrt(variance)
    return JudgeMove(e_value, threshold, since, move, error, scores)


def _upper_design_effect(days: Sequence[KeptDay]) -> float:
    """By how much a day's mean varies more than if its scores were independent: 1 where that is
    within a standard error of 1, else the upper end of its 95 % interval."""
    count = math.fsum(one.count for one in days)
    mean = math.fsum(one.total for one in days) / count
    own = math.fsum(one.squares for one in days) - count * mean * mean
    if own <= 0.0:
        return 1.0
    groups = len(days)
    between = math.fsum((one.total - one.count * mean) ** 2 for one in days)
    effect = groups / (groups - 1) * between / own
    if effect <= 1.0 + math.sqrt(2.0 / groups):
        return 1.0
    # (G − 1)·D̂/D is chi-square of G − 1 degrees of freedom; its 5 % point by Wilson and Hilferty.
    part = 2.0 / (9.0 * (groups - 1))
    return effect / (1.0 - part - _ONE_SIDED_95 * math.sqrt(part)) ** 3
