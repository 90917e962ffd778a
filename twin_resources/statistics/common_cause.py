"""A fall that the authors of a home share: one e-detector over all values, by days of the home.

Belongs here: what an author's day weighs, the e-value of the home, since when, how much days count.
Does not belong here: the bets of one stream (`detector.py`), storage and notices
(`quality/retraining/incidents.py`), what an incident leads to (`retraining.py`).
Sources: e-detectors, Shin, Ramdas and Rinaldo (`detector.py`); "at least u of n are non-null",
Benjamini and Heller, Biometrics 64 (2008), https://doi.org/10.1111/j.1541-0420.2007.00984.x;
design effect, Kish, Survey Sampling (1965).

For the block means x of an author's day d, each against the bound m of its own stream and class,

    F_adk = Π (1 + λ_k·(m − x)), λ_k = .9·r_k/(1 − m)         of several streams of an author: mean
    E = mean_k Σ_s Π_{d ≥ s} Π_a F_adk^(1/D_s)                alarm when E ≥ C = H/α

with s over the newest 28 days of the home. As long as E[x | past] ≥ m for every author, each day
adds at most 1 to the expectation: within H days P(alarm) ≤ α, however many authors there are. A
mean over streams, since thumbs and judges see the same answers. What has to hold is that of the
mean over authors, so that the bounds here are those of one stream alone (`watch.home_bounds`):
each is right with 95 %, their mean by many standard errors.

*Common* is a claim about several: "fewer than u authors fell" is what has to be rejected, u = 3 or
a tenth of them, whichever is more. For each k and s what the u − 1 authors won whose bets won most
is left out. So E is at most what it is without those who really fell, whichever they are, and one
broken model, or two, are never an incident. Nor are those that fell one after the other: what an
author won whose own alarm is more than a week old is left out as well.

Days of the home may have levels of their own (weekends, a slow server) that all values of a day
share. D_s is the design effect of the 28 days before s, 1 where it is within a standard error of
1, else the upper end of its 95 % interval: n values of a day tell as much as n/D independent ones.
A sum of bets whose variance is D times as large has, divided by D, an expected exponential of at
most 1, as far as it is normal. Of fewer than seven days nothing is known, and nothing is bet.
"""
# pyright: strict

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from twin_resources.statistics.bets import BETS
from twin_resources.statistics.blocks import DayBlock
from twin_resources.statistics.detector import ALPHA, HORIZON, stakes

WINDOW_DAYS = 28  # in which a common fall may have begun, and from which days are known before it
FEWEST_DAYS = 7
FEWEST_AUTHORS = 3
TOGETHER_DAYS = 7  # alarms of authors that are further apart have nothing in common
SHARED_BY = 0.1  # of the authors with an armed stream
_MOST_LOG = 700.0  # exp of more is infinite
_ONE_SIDED_95 = 1.6448536269514722


@dataclass(frozen=True)
class DayBets:
    """What one stream of an author says about one day of the home.

    Attributes:
        day: days since the epoch, UTC.
        logs: log Π (1 + λ_k·(m − x)) over its blocks, one a bet.
        blocks: how many.
        total, squares: sums of x and x² over them.
    """

    author: str
    day: int
    logs: tuple[float, ...]
    blocks: int
    total: float
    squares: float


@dataclass(frozen=True)
class FleetEvidence:
    """Where the detector of the home stands.

    Attributes:
        e_value, threshold: E and C.
        since: the day from which on the evidence is largest; None: nothing is bet.
        authors: with an armed stream. `fallen`: whose bets won since then, the most first.
        design_effect: D of that day.
    """

    e_value: float
    threshold: float
    since: int | None
    authors: int
    fallen: tuple[str, ...]
    design_effect: float

    @property
    def is_common(self) -> bool:
        """Whether this is an alarm of the home."""
        return self.e_value >= self.threshold


def day_bets(
    author: str, day: int, blocks: Sequence[DayBlock], bounds: Mapping[str, float]
) -> DayBets | None:
    """The bets of one stream on one day; None: none of its classes has a bound.

    Args:
        blocks: of `blocks.blocks_of`.
        bounds: prompt class → m, fixed before the day was seen.
    """
    bet = [block for block in blocks if block.last.prompt_class in bounds]
    if not bet:
        return None
    logs = [0.0] * BETS
    for block in bet:
        baseline = bounds[block.last.prompt_class]
        gap = baseline - block.value
        for k, stake in enumerate(stakes(baseline)):
            logs[k] += math.log1p(stake * gap)
    return DayBets(
        author,
        day,
        tuple(logs),
        len(bet),
        math.fsum(block.value for block in bet),
        math.fsum(block.value**2 for block in bet),
    )


def added(left: DayBets, right: DayBets) -> DayBets:
    """Both, of one stream and day: what was settled later is of the same day."""
    return DayBets(
        left.author,
        left.day,
        tuple(a + b for a, b in zip(left.logs, right.logs, strict=True)),
        left.blocks + right.blocks,
        left.total + right.total,
        left.squares + right.squares,
    )


def needed_authors(armed: int) -> int:
    """u: how many must have fallen for the cause to be common; 3, or a tenth of the armed ones."""
    return max(FEWEST_AUTHORS, math.ceil(SHARED_BY * armed))


def common_fall(
    days: Iterable[DayBets],
    *,
    authors: int,
    after: int | None = None,
    alone: Mapping[str, int] | None = None,
    design_effect: float | None = None,
    horizon: int = HORIZON,
    alpha: float = ALPHA,
) -> FleetEvidence:
    """What all authors' values say together.

    Args:
        days: of the newest 2·28 days of the home; a row a stream and day.
        authors: with an armed stream.
        after: a fall that began up to this day has been told; None: none was.
        alone: author → day of its newest alarm of its own.
        design_effect: D, known from before a fall that goes on; None: from the days before each s.
        horizon, alpha: H days, and the probability of a false alarm within them.

    Cost: about 10 ms for 200 authors.
    """
    threshold = horizon / alpha
    by_day: dict[int, list[DayBets]] = defaultdict(list)
    for one in days:
        by_day[one.day].append(one)
    nothing = FleetEvidence(0.0, threshold, None, authors, (), 1.0)
    if authors < FEWEST_AUTHORS or not by_day:
        return nothing
    newest = max(by_day)
    known = {author for author, on in (alone or {}).items() if on < newest - TOGETHER_DAYS}
    since: dict[str, tuple[float, ...]] = {}
    strongest, evidence, wealth = -math.inf, nothing, [0.0] * BETS
    for day in sorted(by_day, reverse=True):
        if day <= newest - WINDOW_DAYS or (after is not None and day <= after):
            break
        for author, logs in _authors_of(by_day[day]).items():
            before = since.get(author, (0.0,) * BETS)
            since[author] = tuple(a + b for a, b in zip(before, logs, strict=True))
        effect = _design_effect_before(by_day, day) if design_effect is None else design_effect
        if effect is None:
            continue
        left = _without_the_strongest(since, known, needed_authors(authors) - 1)
        grown = [math.exp(min(_MOST_LOG, log / effect)) for log in left]
        wealth = [a + b for a, b in zip(wealth, grown, strict=True)]
        if max(grown) > strongest:
            strongest = max(grown)
            fallen = _winners(since, grown.index(strongest))
            evidence = FleetEvidence(0.0, threshold, day, authors, fallen, effect)
    e_value = math.fsum(wealth) / BETS
    return FleetEvidence(
        e_value, threshold, evidence.since, authors, evidence.fallen, evidence.design_effect
    )


def design_effect_of_days(days: Mapping[int, Sequence[DayBets]]) -> float:
    """By how much the home's mean varies more than if what one day brings were independent.

    As `blocks.design_effect`, with differences from the author's own mean over these days.
    """
    totals: dict[str, float] = defaultdict(float)
    squares: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for rows in days.values():
        for one in rows:
            totals[one.author] += one.total
            squares[one.author] += one.squares
            counts[one.author] += one.blocks
    means = {author: totals[author] / counts[author] for author in totals}
    own = math.fsum(squares[author] - totals[author] * means[author] for author in totals)
    sums = [
        math.fsum(one.total - one.blocks * means[one.author] for one in rows)
        for rows in days.values()
    ]
    if own <= 0.0:
        return 1.0
    return len(sums) / (len(sums) - 1) * math.fsum(one * one for one in sums) / own


def _design_effect_before(by_day: Mapping[int, Sequence[DayBets]], day: int) -> float | None:
    """D of the 28 days before one; None: too few of them are known."""
    before = {one: rows for one, rows in by_day.items() if day - WINDOW_DAYS <= one < day}
    count = len(before)
    if count < FEWEST_DAYS:
        return None
    effect = design_effect_of_days(before)
    if effect <= 1.0 + math.sqrt(2.0 / count):
        return 1.0
    # (G − 1)·D̂/D is chi-square of G − 1 degrees of freedom; its 5 % point by Wilson and Hilferty.
    part = 2.0 / (9.0 * (count - 1))
    return effect / (1.0 - part - _ONE_SIDED_95 * math.sqrt(part)) ** 3


def _authors_of(rows: Sequence[DayBets]) -> dict[str, tuple[float, ...]]:
    """Author → log of the mean over its streams, one a bet."""
    by_author: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for one in rows:
        by_author[one.author].append(one.logs)
    return {
        author: streams[0]
        if len(streams) == 1
        else tuple(_log_mean([logs[k] for logs in streams]) for k in range(BETS))
        for author, streams in by_author.items()
    }


def _log_mean(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(log - top) for log in logs) / len(logs))


def _without_the_strongest(
    logs: Mapping[str, Sequence[float]], known: Collection[str], most: int
) -> list[float]:
    """Sums over authors, one a bet, without what `known` ones have won, and of the others the
    `most` that won most."""
    sums: list[float] = []
    for k in range(BETS):
        others = sorted((of[k] for author, of in logs.items() if author not in known), reverse=True)
        lost = [min(0.0, of[k]) for author, of in logs.items() if author in known]
        won = [max(0.0, log) for log in others[:most]]
        sums.append(math.fsum(others) + math.fsum(lost) - math.fsum(won))
    return sums


def _winners(logs: Mapping[str, Sequence[float]], k: int) -> tuple[str, ...]:
    """Authors whose bets won, the most first."""
    won = sorted((-of[k], author) for author, of in logs.items() if of[k] > 0.0)
    return tuple(author for _, author in won)
