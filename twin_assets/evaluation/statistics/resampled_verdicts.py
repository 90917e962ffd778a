"""How often a verdict would be another one, had other questions been drawn.

Belongs here: drawing a candidate's scores anew, the share of draws that is refused, the share that
passes of a candidate exactly at the limit. Does not belong here: which scores (`measures/`), the
limits, the intervals that claims are decided by (`twin_resources/statistics/bootstrap.py`).

A verdict rests on some tens of questions. What it says of the candidate is told by drawing them
again, with replacement and whole documents: the share of draws on the other side of the limit is
how often a model as good as this one would be refused. Drawn around the limit itself, with the same
spread, the share that passes says how much the rule gives away: about a half of a rule that looks
at the value alone, .025 of one that asks for a 95 % interval. Efron and Tibshirani, "An
Introduction to the Bootstrap", 1993, chapter 6; shares that are 0 or 1 have no spread to draw, so
`of_share` draws from the binomial.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from twin_resources.statistics.bootstrap import SEED, resampled

DRAWS = 1000
_ROUNDING = 1e-9  # a mean of equal scores is itself but for its last bits


@dataclass(frozen=True)
class ResampledVerdict:
    """One claim's verdict on scores that were drawn anew.

    Attributes:
        claim: its name; `beside`: the model that it is about, empty where there is one only.
        drawn: independent observations, documents or answers.
        refused: share of draws that are not met.
        passed_at_limit: share of draws that are met, of a candidate whose value is the limit.
    """

    claim: str
    drawn: int
    refused: float
    passed_at_limit: float
    beside: str = ""


def of_mean(
    claim: str,
    scores: Sequence[float],
    *,
    at_least: float,
    documents: Sequence[Hashable] | None = None,
    draws: int = DRAWS,
) -> ResampledVerdict:
    """Of a claim that is met where the mean of scores is at least a limit.

    Args:
        scores: one an answer; `documents`: what each is about, drawn as a whole.

    Raises:
        ValueError: no scores.
    """
    import numpy as np

    values = np.array(scores, dtype=np.float64)
    weights, drawn = resampled(len(values), groups=documents, resamples=draws)
    means = weights @ values / weights.sum(axis=1)
    at_limit = means - values.mean() + at_least
    return ResampledVerdict(
        claim,
        drawn,
        refused=1.0 - _share(means >= at_least - _ROUNDING),
        passed_at_limit=_share(at_limit >= at_least - _ROUNDING),
    )


def of_ratio(
    claim: str,
    columns: Sequence[Sequence[float]],
    *,
    below: float,
    looks: Sequence[tuple[int, float]],
    documents: Sequence[Hashable] | None = None,
    beside: str = "",
    draws: int = DRAWS,
) -> ResampledVerdict:
    """Of a claim that is met where a perplexity ratio's interval ends below a limit.

    Each draw is a gate of its own: it looks as the gate does, stops as it does for this claim
    alone, and has its own interval at each look (Student's t of the ratio's linearised spread over
    documents), so that what stopping costs is in both shares.

    Args:
        columns: nats by which each passage is less likely, and its tokens
            (`perplexity.difference_of`).
        looks: after how many passages an interval is looked at, and what of the level each look
            spends; the last is at all of them (`sequential.planned_looks`). There may be more than
            were read: the draws are as long as the gate would have been.
        documents: what each passage is of, drawn as a whole.

    Raises:
        ValueError: no passages.
    """
    import numpy as np

    nats, tokens = (np.array(column, dtype=np.float64) for column in columns)
    if not len(nats):
        raise ValueError("a ratio of no passages")
    names = list(range(len(nats))) if documents is None else list(documents)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    passages_of: list[list[int]] = [[] for _ in numbers]
    for at, name in enumerate(names):
        passages_of[numbers[name]].append(at)
    # as many documents as hold the passages of the last look
    many = math.ceil(looks[-1][0] * len(numbers) / len(nats))
    at_limit = nats + (math.log(below) - float(nats.sum() / tokens.sum())) * tokens
    chance = np.random.default_rng(SEED)
    refused = passed = 0
    for _ in range(draws):
        drawn = [
            (at, turn)
            for turn, document in enumerate(chance.integers(0, len(numbers), many))
            for at in passages_of[int(document)]
        ]
        places, turns = np.array(drawn)[chance.permutation(len(drawn))].T
        shifted = math.log(below) * tokens[places]
        refused += not _is_met(nats[places] - shifted, tokens[places], turns, looks)
        passed += _is_met(at_limit[places] - shifted, tokens[places], turns, looks)
    return ResampledVerdict(
        claim, len(numbers), refused=refused / draws, passed_at_limit=passed / draws, beside=beside
    )


def _is_met(nats: Any, tokens: Any, documents: Any, looks: Sequence[tuple[int, float]]) -> bool:
    """Whether the first interval of nats a token that is on one side of nought ends below it."""
    import numpy as np
    from scipy.special import stdtrit  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    quantile: Any = stdtrit
    for end, spent in looks:
        some, counts, of = nats[:end], tokens[:end], documents[:end]
        value = float(some.sum() / counts.sum())
        sums: Any = np.bincount(of, weights=some - value * counts)
        many = len(np.unique(of))
        if many < 2:
            continue
        error = math.sqrt(many / (many - 1) * float((sums**2).sum())) / float(counts.sum())
        reach = float(quantile(many - 1, 1 - spent / 2)) * error
        if value + reach < 0.0:
            return True
        if value - reach > 0.0:
            return False
    return False


def of_differences(
    claim: str,
    compared: Sequence[tuple[Sequence[float], float]],
    *,
    level: float,
    documents: Sequence[Hashable] | None = None,
    draws: int = DRAWS,
) -> ResampledVerdict:
    """Of a claim that is met where several means are above their limits, intervals included.

    Each draw has its own intervals: Student's t of the spread of the documents' sums. Exactly at
    the limit is the candidate of which the mean with the thinnest margin, in standard errors, is
    moved to its limit, as are those below theirs, and the others are as they are.

    Args:
        compared: differences, one an answer, and the limit of their mean.
        level: of each interval, in (0, 1).
        documents: what each answer is about, drawn as a whole.

    Raises:
        ValueError: no differences.
    """
    import numpy as np
    from scipy.special import stdtrit  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    quantile: Any = stdtrit
    if not compared or not compared[0][0]:
        raise ValueError("means of no differences")
    count = len(compared[0][0])
    names = list(range(count)) if documents is None else list(documents)
    number = {name: at for at, name in enumerate(dict.fromkeys(names))}
    of = np.array([number[name] for name in names])
    sizes = np.bincount(of).astype(np.float64)
    sums = [
        np.bincount(of, weights=np.array(values, dtype=np.float64) - limit)
        for values, limit in compared
    ]
    many = len(number)
    reach = float(quantile(max(1, many - 1), (1.0 + level) / 2.0))

    def margins(weights: Any) -> Any:
        """Mean over the limit and its error in each draw: two arrays of (comparisons, draws)."""
        total = weights @ sizes
        means = np.array([weights @ one / total for one in sums])
        squares = [
            weights @ one**2 - 2 * mean * (weights @ (one * sizes)) + mean**2 * (weights @ sizes**2)
            for one, mean in zip(sums, means, strict=True)
        ]
        spread = np.clip(np.array(squares), 0.0, None) * many / max(1, many - 1)
        return means, np.sqrt(spread) / total

    means, errors = margins(np.ones((1, many)))
    thinnest = int(np.argmin(means[:, 0] / np.maximum(errors[:, 0], _ROUNDING)))
    weights, _drawn = resampled(many, resamples=draws)
    drawn, spread = margins(weights)
    above = means[:, 0].clip(min=0.0)
    above[thinnest] = 0.0
    shifted = drawn - means + above[:, None]
    return ResampledVerdict(
        claim,
        many,
        refused=1.0 - _share((drawn - reach * spread > 0.0).all(axis=0)),
        passed_at_limit=_share((shifted - reach * spread > 0.0).all(axis=0)),
    )


def of_share(
    claim: str, found: int, of: int, *, at_most: float, draws: int = DRAWS
) -> ResampledVerdict:
    """Of a claim that is met where at most a share of answers have something.

    Raises:
        ValueError: no answers.
    """
    import numpy as np

    if of < 1:
        raise ValueError("a share of no answers")
    chance = np.random.default_rng(SEED)
    most = at_most * of + _ROUNDING
    return ResampledVerdict(
        claim,
        of,
        refused=1.0 - _share(chance.binomial(of, found / of, size=draws) <= most),
        passed_at_limit=_share(chance.binomial(of, at_most, size=draws) <= most),
    )


def _share(flags: Any) -> float:
    return float(flags.mean())
