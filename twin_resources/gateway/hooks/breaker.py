"""Test whether a canary is broken, slow or unsafe compared with the stable version.

Scope: the sequential test on the outcomes of requests, its parameters and its error rate.
Out of scope: observing requests and stopping a canary (`canary_watch.py`), the quality of its
answers (`statistics/promotion.py` decides that from scores).
Source: e-detectors, Shin, Ramdas and Rinaldo, https://arxiv.org/abs/2203.03532, with the bets of
`statistics/bets.py`.

Each request to the canary yields up to three values x ∈ {0, 1}:

    errors    it failed and the stable version answered the same question    tolerated: n = .02
    latency   it took longer than 3 times the 95th percentile of the stable
              version's answers (at least 2 s)                               tolerated: n = .05
    safety    its answer has a finding of `safety.py`        tolerated: stable's share + n = .05

    L_k = 1 + λ_k·(x − n), λ_k = .9·r_k/n      M_k ← L_k·(M_k + 1)      stop when mean_k M_k ≥ 3·H/α

While P(x = 1 | past) ≤ n holds for all three, a canary is stopped within its first H = 10,000
requests with probability at most α = .01. This holds for every sequence of requests. A question
that neither version could answer is not counted, so a machine that is down does not stop a canary.
The sliding window of the stable version contains its last 200 answers, none older than 10 minutes.
A canary that always fails is stopped by its 5th request, and one that is always slow by its 6th.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from twin_resources.statistics.bets import BET_COUNT, FRACTIONS, wealth_factor

Cause = Literal["errors", "latency", "safety"]
CAUSES: tuple[Cause, ...] = ("errors", "latency", "safety")
Wealth = tuple[float, ...]
_ZEROS: Wealth = (0.0,) * BET_COUNT


TOLERATED_ERRORS, TOLERATED_SLOW, TOLERATED_UNSAFE = 0.02, 0.05, 0.05  # n of each test
# A healthy canary is stopped within `HORIZON` requests with probability at most `ALPHA`.
HORIZON, ALPHA = 10_000, 0.01
THRESHOLD = len(CAUSES) * HORIZON / ALPHA  # three tests share α
SLOW_FACTOR = 3.0  # times the 95th percentile of the stable version's answers
MIN_SLOW_S = 2.0
# The limit while the window has fewer than `MIN_ANSWERS` answers, too few for a percentile.
DEFAULT_SLOW_S, MIN_ANSWERS = 30.0, 20
MAX_WINDOW_ANSWERS, WINDOW_S = 200, 600.0


@dataclass(frozen=True)
class StableAnswer:
    """One answer of the stable version.

    Attributes:
        ended_at: end of the answer, in seconds of the gateway's clock.
        seconds: duration of the answer.
        is_unsafe: whether `safety.py` reported a finding.
    """

    ended_at: float
    seconds: float
    is_unsafe: bool = False


@dataclass(frozen=True)
class StableWindow:
    """The last answers of the stable version, oldest first."""

    answers: tuple[StableAnswer, ...] = ()

    def with_answer(self, answer: StableAnswer) -> StableWindow:
        """Return the window with one more answer and without expired ones."""
        recent_answers = [
            previous for previous in self.answers if answer.ended_at - previous.ended_at <= WINDOW_S
        ]
        return StableWindow((*recent_answers, answer)[-MAX_WINDOW_ANSWERS:])

    def with_newest_unsafe(self) -> StableWindow:
        """Return the window with its newest answer marked as unsafe."""
        if not self.answers:
            return self
        return StableWindow((*self.answers[:-1], replace(self.answers[-1], is_unsafe=True)))

    def slow_threshold_s(self) -> float:
        """Return the seconds after which an answer counts as slow."""
        if len(self.answers) < MIN_ANSWERS:
            return DEFAULT_SLOW_S
        durations = sorted(answer.seconds for answer in self.answers)
        percentile_95 = durations[math.ceil(0.95 * len(durations)) - 1]
        return max(MIN_SLOW_S, SLOW_FACTOR * percentile_95)

    def unsafe_share(self) -> float:
        """Return the share of answers with a finding; 0 without answers."""
        if not self.answers:
            return 0.0
        return sum(answer.is_unsafe for answer in self.answers) / len(self.answers)


@dataclass(frozen=True)
class Breaker:
    """The state of the three tests of one canary.

    Attributes:
        wealth: cause → M_k, one per bet.
        counts, bad_counts: cause → number of values x, and number of those that were 1.
        tripped_cause: the cause that stopped the canary; None while the canary answers. Later
            values do not change it.
        reason: the cause with its numbers; empty while `tripped_cause` is None.
    """

    wealth: Mapping[Cause, Wealth] = field(default_factory=lambda: dict.fromkeys(CAUSES, _ZEROS))
    counts: Mapping[Cause, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    bad_counts: Mapping[Cause, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    tripped_cause: Cause | None = None
    reason: str = ""

    def with_outcome(self, cause: Cause, is_bad: bool, *, stable: StableWindow) -> Breaker:
        """Return the state after one more value of one test.

        Args:
            cause: the test.
            is_bad: whether x = 1.
            stable: the window before this request, because n must be known before x.
        """
        if self.tripped_cause is not None:
            return self
        n = tolerated_share(cause, stable)
        wealth = tuple(
            wealth_factor(float(is_bad), n, fraction) * (old_wealth + 1.0)
            for fraction, old_wealth in zip(FRACTIONS, self.wealth[cause], strict=True)
        )
        next_state = replace(
            self,
            wealth={**self.wealth, cause: wealth},
            counts={**self.counts, cause: self.counts[cause] + 1},
            bad_counts={**self.bad_counts, cause: self.bad_counts[cause] + is_bad},
        )
        e_value = sum(wealth) / BET_COUNT
        if e_value < THRESHOLD:
            return next_state
        message = _MESSAGES[cause].format(limit=stable.slow_threshold_s())
        reason = (
            f"{cause}: {next_state.bad_counts[cause]} of its {next_state.counts[cause]} requests "
            f"{message}, tolerated "
            f"{n:.0%}; e-value {e_value:.3g} of {THRESHOLD:.3g}"
        )
        return replace(next_state, tripped_cause=cause, reason=reason)


_MESSAGES: Mapping[Cause, str] = {
    "errors": "failed where the stable version answered",
    "latency": "took longer than {limit:.3g} s",
    "safety": "were answered with text that looks like a secret or personal data",
}


def tolerated_share(cause: Cause, stable: StableWindow) -> float:
    """Return n, the largest P(x = 1) that does not stop a canary."""
    if cause == "errors":
        return TOLERATED_ERRORS
    if cause == "latency":
        return TOLERATED_SLOW
    return min(0.99, stable.unsafe_share() + TOLERATED_UNSAFE)
