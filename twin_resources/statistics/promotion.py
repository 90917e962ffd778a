"""When to promote: betting on the differences between candidate and incumbent.

Scope: the two tests, their state, the verdict after any pair, how many pairs to expect.
Out of scope: who may judge (`judges.py`), how pairs come about (`release_mode.py`,
`shadow_pairs`), moving a version (`registry/moves.py`).
Sources: Waudby-Smith and Ramdas (2024), `bets.py`; testing by betting, Shafer, JRSS A 184 (2021).

d = candidate − incumbent on the same prompt with the same context, z = (1 + d)/2, margin ε:

    U = mean_k Π(1 + λ_k·(z − m)), m = (1 − ε)/2       H0: worse than incumbent − ε     E[z] ≤ m
    B = the same of d̄ with m = ½                       H0: not better                   E[z] ≤ ½
    D = mean_k Π(1 + λ'_k·((1 − z) − ½))               H0: not worse                    E[z] ≥ ½

with λ_k = .9·r_k/m and λ'_k = .9·r_k/½: under its null each is a test supermartingale, reaches 1/α
with probability at most α, and may be looked at after every pair. Several claims (topic, voice)
are judged together: what reached U ≥ 1/α for *each* claim is not worse by ε, each at level α on its
own (a candidate that fails one must win that very bet by luck); rolled back is what reached D ≥ k/α
for any of k (union bound).

U alone promotes candidates that are worse by less than ε: of such as a retraining gives, N(−.02,
.05), nearly half, and small losses would add up over releases. So it is necessary, and one of two
is asked besides:

- B ≥ 1/α, at any pair: of worse candidates at most α are promoted by it;
- once all prompts of the trial are used, at a moment that no difference has chosen: mean d̄ ≥ 0
  where its standard error is at most `MAX_ERROR`; where it is larger (few prompts, a judge that
  scatters, thumbs), the lower 1 − α bound of the mean: of worse ones again at most α.

Both are about d̄, the mean of d over the claims: asked of each claim, of equal candidates with two
claims a quarter would pass. With ε = 0 (against an answer model) U asks for more than either.

**An incumbent that passed no gate** (`forced`: a person released it all the same) may be better in
one claim because it is broken in another: answers to other questions, in a voice more like the
author's. Nobody has to be as good as that in each. There is no U then, and D, like B, is of d̄:
worse than a version that no gate passed means worse on the whole.
"""
# pyright: strict

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Literal

from twin_resources.statistics.baseline import MARGIN
from twin_resources.statistics.bets import FRACTIONS, NO_WEALTH, STAKE, log_mean, log_stake
from twin_resources.statistics.values import ImpossibleValue

ALPHA = 0.05
ON_THE_WHOLE = "mean of the claims"
"""The one bet D beside an incumbent that passed no gate."""
MAX_ERROR = 0.0125
SPREAD = 0.57  # standard deviation of d of two independent thumbs of .80
"""Of the mean difference at a trial's end, beyond which its lower bound counts. At this error 4 %
of candidates N(−.02, .05) are worse and promoted, and .95 is gained of what an oracle gains."""
Verdict = Literal["promote", "roll_back", "undecided"]
_NO_SUMS = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class PairedDifference:
    """One difference a claim, on one prompt, or of one reader's canary day.

    Attributes:
        sequence: increasing; each pair is used once.
        incumbent: claim → candidate − incumbent, in [−1, 1].
    """

    sequence: int
    incumbent: Mapping[str, float]


@dataclass(frozen=True)
class PairEvidence:
    """The state of a candidate's test.

    Attributes:
        claims: each must be won for a promotion; any may roll back.
        vetoes: claims that may only roll back.
        margin, alpha: ε and α.
        up, down: log wealth of each bet, a claim. Beside an incumbent that passed no gate `up` is
            empty, and `down` is of the mean (`ON_THE_WHOLE`).
        better: log wealth of B.
        sums: number, Σd̄ and Σd̄² of the differences from the incumbent.
        highest: largest log U so far, by claim: a bet once won stays won.
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
        """Whether each U is won: not worse than the incumbent by ε.

        Without a U (the incumbent passed no gate) the gate has said what there is to say.
        """
        return all(log >= self.log_needed_up for log in self.highest.values())

    @property
    def is_better(self) -> bool:
        """Whether B is won now."""
        return log_mean(self.better) >= self.log_needed_up

    @property
    def log_needed_up(self) -> float:
        """log 1/α: each U must have reached it."""
        return math.log(1.0 / self.alpha)

    @property
    def log_needed_down(self) -> float:
        """log k/α: any of the k D rolls back that reaches it."""
        return math.log(len(self.down) / self.alpha)

    def to_json(self) -> str:
        """One line; `from_json` gives an equal value back, bit for bit."""
        return json.dumps(vars(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> PairEvidence:
        """The state that `to_json` wrote; in one of before B and the sums, they begin now, and bets
        against a third version are over."""
        stored: dict[str, Any] = json.loads(text)
        stored["better"] = tuple(stored.get("better", NO_WEALTH))
        stored["sums"] = tuple(stored.get("sums", _NO_SUMS))
        for name in ("up", "down"):
            stored[name] = {claim: tuple(logs) for claim, logs in stored[name].items()}
        for name in ("claims", "vetoes"):
            stored[name] = tuple(stored[name])
        stored["highest"] = {name: stored["highest"][name] for name in stored["up"]}
        return cls(**{name: stored[name] for name in cls.__dataclass_fields__})


def begin(
    *,
    claims: tuple[str, ...],
    vetoes: tuple[str, ...] = (),
    forced: bool = False,
    margin: float = MARGIN,
    alpha: float = ALPHA,
) -> PairEvidence:
    """The state before the first pair.

    Args:
        claims: measures with a certificate for their own claim.
        vetoes: reported measures that may only roll back.
        forced: whether the incumbent passed no gate.

    Raises:
        ImpossibleValue: no claim, a claim twice, ε outside [0, 1), α outside (0, 1).
    """
    names = (*claims, *vetoes)
    sound = claims and len(set(names)) == len(names) and 0.0 <= margin < 1.0 and 0.0 < alpha < 1.0
    if not sound:
        raise ImpossibleValue(
            "start a test of promotion",
            found=f"claims {names}, margin {margin}, alpha {alpha}",
            next_step="name at least one claim, each once; margin from 0, alpha between 0 and 1",
        )
    up = {} if forced else dict.fromkeys(claims, NO_WEALTH)
    return PairEvidence(
        claims=claims,
        vetoes=vetoes,
        margin=margin,
        alpha=alpha,
        pairs=0,
        last_sequence=0,
        up=up,
        better=NO_WEALTH,
        down=dict.fromkeys((ON_THE_WHOLE,) if forced else names, NO_WEALTH),
        sums=_NO_SUMS,
        highest=dict.fromkeys(up, 0.0),
        verdict="undecided",
    )


def fold(evidence: PairEvidence, pair: PairedDifference) -> PairEvidence:
    """The state after one more pair; a replay, or a pair after the verdict, changes nothing.

    It promotes what is better (B) and not worse (U); what else may be promoted is known when the
    prompts are used up (`at_the_end`). If the same pair wins every promotion bet and a roll-back
    bet, it rolls back.

    Raises:
        ImpossibleValue: a claim without a difference, or a difference outside [−1, 1].
    """
    if pair.sequence <= evidence.last_sequence or evidence.verdict != "undecided":
        return evidence
    null_up = (1.0 - evidence.margin) / 2.0
    up = {
        name: log_stake(evidence.up[name], _z(pair, pair.incumbent, name), null_up)
        for name in evidence.up
    }
    of_claims = [_difference(pair, pair.incumbent, name) for name in evidence.claims]
    mean = math.fsum(of_claims) / len(of_claims)
    differences = {**pair.incumbent, ON_THE_WHOLE: mean}
    down = {
        name: log_stake(logs, 1.0 - _z(pair, differences, name), 0.5)
        for name, logs in evidence.down.items()
    }
    number, total, squares = evidence.sums
    after = replace(
        evidence,
        pairs=evidence.pairs + 1,
        last_sequence=pair.sequence,
        up=up,
        better=log_stake(evidence.better, (1.0 + mean) / 2.0, 0.5),
        down=down,
        sums=(number + 1.0, total + mean, squares + mean * mean),
        highest={name: max(log_mean(logs), evidence.highest[name]) for name, logs in up.items()},
    )
    if any(log_mean(logs) >= after.log_needed_down for logs in down.values()):
        return replace(after, verdict="roll_back")
    if after.is_not_worse and after.is_better:
        return replace(after, verdict="promote")
    return after


def at_the_end(evidence: PairEvidence) -> Verdict:
    """The verdict when all prompts are used: also what is not worse by ε, and no worse by its mean.

    Asked once, at a moment that no difference has chosen. The bound is the normal one: what has won
    U has dozens of pairs.
    """
    if evidence.verdict != "undecided" or not evidence.is_not_worse:
        return evidence.verdict
    return "promote" if least_mean(evidence) >= 0.0 else "undecided"


def least_mean(evidence: PairEvidence) -> float:
    """What of the mean difference counts at the end: the mean, or where its standard error is above
    `MAX_ERROR` its lower 1 − α bound; −∞ before the second pair."""
    mean, error = mean_difference(evidence)
    return mean if error <= MAX_ERROR else mean - NormalDist().inv_cdf(1 - evidence.alpha) * error


def mean_difference(evidence: PairEvidence) -> tuple[float, float]:
    """Mean of d̄ over the pairs and its standard error; (0, ∞) before the second pair."""
    number, total, squares = evidence.sums
    if number < 2:
        return 0.0, math.inf
    mean = total / number
    return mean, math.sqrt(max(0.0, squares - total * mean) / (number - 1.0) / number)


def pairs_expected(evidence: PairEvidence) -> float:
    """About how many pairs the trial takes in all for an equal candidate, by the spread of d̄ so
    far (`SPREAD` before the tenth pair); at least those that there are."""
    number = evidence.sums[0]
    spread = SPREAD if number < 10 else mean_difference(evidence)[1] * math.sqrt(number)
    return max(evidence.pairs, expected_pairs(spread, margin=evidence.margin, alpha=evidence.alpha))


def expected_pairs(
    spread: float, *, margin: float = MARGIN, alpha: float = ALPHA, better_by: float | None = None
) -> float:
    """About how many pairs it takes to win U for a candidate that is `better_by` the incumbent.

    The n at which the mean wealth reaches 1/α when each log bet is where it is expected, plus .4
    standard deviations (the test stops when it is lucky): n·g + .4·λ·(s/2)·√n, with the growth
    g = λ·μ − λ²·((s/2)² + μ²)/2 to second order. Within a tenth of the simulated median for
    spreads of .1 to .7 and margins of .1 and .2.

    Args:
        spread: standard deviation s of d.
        better_by: mean of d; infinite at −ε and below. None: 0, an equal one; where ε is 0 and an
            equal one never wins, `MARGIN`.
    """
    if better_by is None:
        better_by = 0.0 if margin > 0.0 else MARGIN
    mean = (margin + better_by) / 2.0  # μ, of z − m
    if mean <= 0.0:
        return math.inf
    stakes = [STAKE * fraction / ((1.0 - margin) / 2.0) for fraction in FRACTIONS]
    second = (spread / 2.0) ** 2 + mean * mean
    growths = [stake * mean - stake * stake * second / 2.0 for stake in stakes]

    def enough(pairs: float) -> bool:
        luck = 0.4 * math.sqrt(pairs) * spread / 2.0
        logs = [
            pairs * growth + stake * luck for growth, stake in zip(growths, stakes, strict=True)
        ]
        return log_mean(logs) >= math.log(1.0 / alpha)

    high = 1.0
    while not enough(high) and high < 1e9:
        high *= 2.0
    low = high / 2.0
    while high - low > 0.5:
        middle = (low + high) / 2.0
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _z(pair: PairedDifference, differences: Mapping[str, float], claim: str) -> float:
    return (1.0 + _difference(pair, differences, claim)) / 2.0


def _difference(pair: PairedDifference, differences: Mapping[str, float], claim: str) -> float:
    difference = differences.get(claim, math.nan)
    if not -1.0 <= difference <= 1.0:
        raise ImpossibleValue(
            f"bet on pair {pair.sequence}",
            found=f"the difference {difference} for {claim}",
            next_step="pass one difference in [−1, 1] for each claim",
        )
    return difference
