"""Decide on a promotion by betting on the differences between candidate and incumbent.

Scope: the two tests, their state, the verdict after each pair, and the expected number of pairs.
Out of scope: certificates of judges (`judge_certification.py`), the source of pairs
(`release_mode.py`, `shadow_pairs`), and moving a version (`registry/moves.py`).
Sources: Waudby-Smith and Ramdas (2024), `bets.py`; testing by betting, Shafer, JRSS A 184 (2021).

d = candidate − incumbent on the same prompt with the same context, z = (1 + d)/2, margin ε:

    U = mean_k Π(1 + λ_k·(z − m)), m = (1 − ε)/2       H0: worse than incumbent − ε     E[z] ≤ m
    B = the same for d̄ with m = ½                      H0: not better                   E[z] ≤ ½
    D = mean_k Π(1 + λ'_k·((1 − z) − ½))               H0: not worse                    E[z] ≥ ½

with λ_k = .9·r_k/m and λ'_k = .9·r_k/½. Under its null, each is a test supermartingale, reaches 1/α
with probability at most α, and may be read after every pair. Several claims (topic, voice) are
judged together. A candidate is not worse by ε if U ≥ 1/α for *each* claim, each at level α. A
candidate that fails a claim can win that claim's bet only by luck. A candidate is rolled back if
D ≥ k/α for any of k claims (union bound).

U alone also promotes candidates that are worse by less than ε. These are nearly half of the
candidates that retraining gives, N(−.02, .05), and small losses would add up over releases. U is
therefore necessary, and one of two further conditions must be met:

- B ≥ 1/α, at any pair. This promotes at most α of the worse candidates.
- The mean d̄ ≥ 0 once all prompts of the trial are used, if its standard error is at most
  `MAX_STANDARD_ERROR`. That moment does not depend on the differences. With a larger error (few
  prompts, a judge of high variance, thumbs), the lower 1 − α bound of the mean must be ≥ 0. That
  also promotes at most α of the worse candidates.

Both conditions use d̄, the mean of d over the claims. If each of two claims had to meet them, only
a quarter of equal candidates would pass. With ε = 0 (against an answer model), U is stricter than
either.

**An incumbent that passed no gate** (`is_incumbent_ungated`: a person released it anyway) may be
better in one claim because it is broken in another. For example, its answers miss the question but
sound more like the author. A candidate need not equal such a version in each claim. There is then
no U, and D, like B, uses d̄. A candidate is worse than such a version only if it is worse on
average.
"""
# pyright: strict

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Literal

from twin_resources.statistics.bets import (
    FRACTIONS,
    INITIAL_LOG_WEALTH,
    STAKE_SHARE,
    log_mean_wealth,
    update_log_wealth,
)
from twin_resources.statistics.bounds import OutOfRangeError

ALPHA = 0.05
NON_INFERIORITY_MARGIN = 0.1  # ε: the maximum by which a candidate may be worse
MEAN_OF_CLAIMS = "mean of the claims"
"""The name of the only bet D against an incumbent that passed no gate."""
MAX_STANDARD_ERROR = 0.0125
"""The standard error of the mean difference, at a trial's end, above which the lower bound is used.

At this error, 4 % of candidates from N(−.02, .05) are worse but promoted, and the promotions gain
.95 of what an oracle's would.
"""
DEFAULT_SPREAD = 0.57  # standard deviation of d for two independent thumbs of mean .80
Verdict = Literal["promote", "roll_back", "undecided"]
_NO_SUMS = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class PairedDifference:
    """One difference per claim, on one prompt or for one reader's canary day.

    Attributes:
        sequence: an increasing number. Each pair is used once.
        differences: claim → candidate − incumbent, in [−1, 1].
    """

    sequence: int
    differences: Mapping[str, float]


@dataclass(frozen=True)
class PairEvidence:
    """The state of a candidate's test.

    Attributes:
        claims: the claims that must all be won for a promotion; any of them may roll back.
        vetoes: the claims that may only roll back.
        margin, alpha: ε and α.
        up, down: the log wealth of each bet, by claim. Against an incumbent that passed no gate,
            `up` is empty, and `down` has only the mean (`MEAN_OF_CLAIMS`).
        better: the log wealth of B.
        sums: the number, Σd̄ and Σd̄² of the differences from the incumbent.
        highest: the largest log U so far, by claim. A bet that was won remains won.
        verdict: final once it is not `undecided`; later pairs change nothing.
    """

    claims: tuple[str, ...]
    vetoes: tuple[str, ...]
    margin: float
    alpha: float
    pairs: int
    last_sequence: int
    up: Mapping[str, tuple[float, ...]]
    better: tuple[float, ...]
    down: Mapping[str, tuple[float, ...]]
    sums: tuple[float, float, float]
    highest: Mapping[str, float]
    verdict: Verdict

    @property
    def is_not_worse(self) -> bool:
        """Whether each U is won: the candidate is not worse than the incumbent by ε.

        True without a U (the incumbent passed no gate), because the gate has already decided this.
        """
        return all(log >= self.log_promotion_threshold for log in self.highest.values())

    @property
    def is_better(self) -> bool:
        """Whether B is won now."""
        return log_mean_wealth(self.better) >= self.log_promotion_threshold

    @property
    def log_promotion_threshold(self) -> float:
        """log 1/α, which each U must reach."""
        return math.log(1.0 / self.alpha)

    @property
    def log_rollback_threshold(self) -> float:
        """log k/α: any of the k bets D that reaches it rolls the candidate back."""
        return math.log(len(self.down) / self.alpha)

    def to_json(self) -> str:
        """Return one line of JSON, from which `from_json` restores an equal value, bit for bit."""
        return json.dumps(vars(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> PairEvidence:
        """Restore the state that `to_json` wrote."""
        document: dict[str, Any] = json.loads(text)
        for name in ("better", "sums"):
            document[name] = tuple(document[name])
        for name in ("up", "down"):
            document[name] = {claim: tuple(logs) for claim, logs in document[name].items()}
        for name in ("claims", "vetoes"):
            document[name] = tuple(document[name])
        document["highest"] = {name: document["highest"][name] for name in document["up"]}
        return cls(**document)


def start_test(
    *,
    claims: tuple[str, ...],
    vetoes: tuple[str, ...] = (),
    is_incumbent_ungated: bool = False,
    margin: float = NON_INFERIORITY_MARGIN,
    alpha: float = ALPHA,
) -> PairEvidence:
    """Return the state before the first pair.

    Args:
        claims: the claims with a certified judge.
        vetoes: the claims with a judge that may only roll back.
        is_incumbent_ungated: whether the incumbent passed no gate.

    Raises:
        OutOfRangeError: no claim, a duplicate claim, ε outside [0, 1), or α outside (0, 1).
    """
    names = (*claims, *vetoes)
    is_valid = (
        claims and len(set(names)) == len(names) and 0.0 <= margin < 1.0 and 0.0 < alpha < 1.0
    )
    if not is_valid:
        raise OutOfRangeError(
            "start a promotion test",
            found=f"claims {names}, margin {margin}, alpha {alpha}",
            next_step="name each claim once, with a margin in [0, 1) and an alpha in (0, 1)",
        )
    up = {} if is_incumbent_ungated else dict.fromkeys(claims, INITIAL_LOG_WEALTH)
    return PairEvidence(
        claims=claims,
        vetoes=vetoes,
        margin=margin,
        alpha=alpha,
        pairs=0,
        last_sequence=0,
        up=up,
        better=INITIAL_LOG_WEALTH,
        down=dict.fromkeys(
            (MEAN_OF_CLAIMS,) if is_incumbent_ungated else names, INITIAL_LOG_WEALTH
        ),
        sums=_NO_SUMS,
        highest=dict.fromkeys(up, 0.0),
        verdict="undecided",
    )


def add_pair(evidence: PairEvidence, pair: PairedDifference) -> PairEvidence:
    """Return the state after one more pair; a replay, or a pair after the verdict, changes nothing.

    A candidate that is better (B) and not worse (U) is promoted. Other candidates may be promoted
    when the prompts are used up (`final_verdict`). If one pair wins every promotion bet and also a
    rollback bet, the verdict is to roll back.

    Raises:
        OutOfRangeError: a claim has no difference, or a difference is outside [−1, 1].
    """
    if pair.sequence <= evidence.last_sequence or evidence.verdict != "undecided":
        return evidence
    null_up = (1.0 - evidence.margin) / 2.0
    up = {
        name: update_log_wealth(evidence.up[name], _scale(pair, pair.differences, name), null_up)
        for name in evidence.up
    }
    claim_differences = [_difference(pair, pair.differences, name) for name in evidence.claims]
    mean = math.fsum(claim_differences) / len(claim_differences)
    differences = {**pair.differences, MEAN_OF_CLAIMS: mean}
    down = {
        name: update_log_wealth(logs, 1.0 - _scale(pair, differences, name), 0.5)
        for name, logs in evidence.down.items()
    }
    pair_count, total, squares = evidence.sums
    updated_evidence = replace(
        evidence,
        pairs=evidence.pairs + 1,
        last_sequence=pair.sequence,
        up=up,
        better=update_log_wealth(evidence.better, (1.0 + mean) / 2.0, 0.5),
        down=down,
        sums=(pair_count + 1.0, total + mean, squares + mean * mean),
        highest={
            name: max(log_mean_wealth(logs), evidence.highest[name]) for name, logs in up.items()
        },
    )
    if any(
        log_mean_wealth(logs) >= updated_evidence.log_rollback_threshold for logs in down.values()
    ):
        return replace(updated_evidence, verdict="roll_back")
    if updated_evidence.is_not_worse and updated_evidence.is_better:
        return replace(updated_evidence, verdict="promote")
    return updated_evidence


def final_verdict(evidence: PairEvidence) -> Verdict:
    """Return the verdict when all prompts are used: promote if neither U nor the mean is worse.

    It is called once, at a moment that does not depend on the differences. The bound uses the
    normal distribution, because a candidate that has won U has dozens of pairs.
    """
    if evidence.verdict != "undecided" or not evidence.is_not_worse:
        return evidence.verdict
    return "promote" if mean_lower_bound(evidence) >= 0.0 else "undecided"


def mean_lower_bound(evidence: PairEvidence) -> float:
    """Return the mean difference that `final_verdict` uses; −∞ before the second pair.

    It is the mean, or its lower 1 − α bound if the standard error is above `MAX_STANDARD_ERROR`.
    """
    mean, error = mean_difference(evidence)
    return (
        mean
        if error <= MAX_STANDARD_ERROR
        else mean - NormalDist().inv_cdf(1 - evidence.alpha) * error
    )


def mean_difference(evidence: PairEvidence) -> tuple[float, float]:
    """Return the mean of d̄ over the pairs and its standard error; (0, ∞) before the second pair."""
    pair_count, total, squares = evidence.sums
    if pair_count < 2:
        return 0.0, math.inf
    mean = total / pair_count
    return mean, math.sqrt(max(0.0, squares - total * mean) / (pair_count - 1.0) / pair_count)


def estimate_trial_pairs(evidence: PairEvidence) -> float:
    """Estimate how many pairs the trial of an equal candidate takes in total.

    The estimate uses the spread of d̄ so far (`DEFAULT_SPREAD` before the tenth pair). It is at
    least the number of pairs so far.
    """
    pair_count = evidence.sums[0]
    spread = (
        DEFAULT_SPREAD if pair_count < 10 else mean_difference(evidence)[1] * math.sqrt(pair_count)
    )
    return max(evidence.pairs, expected_pairs(spread, margin=evidence.margin, alpha=evidence.alpha))


def expected_pairs(
    spread: float,
    *,
    margin: float = NON_INFERIORITY_MARGIN,
    alpha: float = ALPHA,
    better_by: float | None = None,
) -> float:
    """Estimate how many pairs a candidate of mean difference `better_by` needs to win U.

    The result is the n at which the mean wealth reaches 1/α. Each log bet is taken at its
    expectation plus .4 standard deviations, because the test stops when it is lucky. It is then
    n·g + .4·λ·(s/2)·√n, with growth g = λ·μ − λ²·((s/2)² + μ²)/2 to second order. The result is
    within a tenth of the simulated median for spreads of .1 to .7 and margins of .1 and .2.

    Args:
        spread: the standard deviation s of d.
        better_by: the mean of d; the result is infinite at −ε and below. None means 0, an equal
            candidate. If ε is 0, None means `NON_INFERIORITY_MARGIN`, because an equal candidate
            then never wins.
    """
    if better_by is None:
        better_by = 0.0 if margin > 0.0 else NON_INFERIORITY_MARGIN
    mean = (margin + better_by) / 2.0  # μ, the mean of z − m
    if mean <= 0.0:
        return math.inf
    stakes = [STAKE_SHARE * fraction / ((1.0 - margin) / 2.0) for fraction in FRACTIONS]
    second_moment = (spread / 2.0) ** 2 + mean * mean
    growths = [stake * mean - stake * stake * second_moment / 2.0 for stake in stakes]

    def has_reached_threshold(pairs: float) -> bool:
        luck = 0.4 * math.sqrt(pairs) * spread / 2.0
        log_wealths = [
            pairs * growth + stake * luck for growth, stake in zip(growths, stakes, strict=True)
        ]
        return log_mean_wealth(log_wealths) >= math.log(1.0 / alpha)

    high = 1.0
    while not has_reached_threshold(high) and high < 1e9:
        high *= 2.0
    low = high / 2.0
    while high - low > 0.5:
        middle = (low + high) / 2.0
        low, high = (low, middle) if has_reached_threshold(middle) else (middle, high)
    return high


def _scale(pair: PairedDifference, differences: Mapping[str, float], claim: str) -> float:
    return (1.0 + _difference(pair, differences, claim)) / 2.0


def _difference(pair: PairedDifference, differences: Mapping[str, float], claim: str) -> float:
    difference = differences.get(claim, math.nan)
    if not -1.0 <= difference <= 1.0:
        raise OutOfRangeError(
            f"bet on pair {pair.sequence}",
            found=f"the difference {difference} for {claim}",
            next_step="pass one difference in [−1, 1] for each claim",
        )
    return difference
