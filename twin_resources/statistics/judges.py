"""Certify a measure on planted answers before it may promote a candidate.

Scope: the plants of each claim, the certificate, and its withdrawal.
Out of scope: making and scoring plants.
Method: `bounds.py` for the certificate, `bets.py` for the withdrawal. Without a certificate a
constant or random judge promotes 98–100 % of candidates in simulation.

On the author's held-out prompts a measure scores the author's own answer and a planted bad answer.
It is certified if the 95 % lower bound of the mean difference is at least ε for each kind of plant
that its claim is about. Later 5 % of each batch are plants, and a measure that no longer
distinguishes them loses its certificate.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twin_resources.statistics.baseline import MARGIN
from twin_resources.statistics.bets import INITIAL_LOG_WEALTH, log_mean_wealth, update_log_wealth
from twin_resources.statistics.bounds import betting_lower_bound
from twin_resources.statistics.values import OutOfRangeError

PROBE_SHARE = 0.05
DELTA = 0.05


@dataclass(frozen=True)
class JudgeCertificate:
    """Whether a measure may decide on its claim.

    Attributes:
        bounds: kind of plant → 95 % lower bound of own − plant, in [−1, 1].
        counts: kind of plant → number of answer pairs.
        reason: one line with the numbers.
    """

    measure: str
    claim: str
    certified: bool
    bounds: Mapping[str, float]
    counts: Mapping[str, int]
    reason: str


def certify(
    measure: str,
    claim: str,
    differences: Mapping[str, Sequence[float]],
    *,
    margin: float = MARGIN,
    delta: float = DELTA,
) -> JudgeCertificate:
    """Return the certificate of a measure for one claim.

    Args:
        differences: each kind of plant that the claim is about → score of the author's own answer −
            score of the plant, one per held-out prompt. A kind without values is not passed.

    A measure is wrongly certified with probability at most delta: it must pass every kind.

    Raises:
        OutOfRangeError: no kind of plant, or a difference outside [−1, 1].
    """
    if not differences:
        raise OutOfRangeError(
            f"certify {measure}",
            found=f"no kind of plants for the claim {claim!r}",
            next_step="name those on which the measure must be right",
        )
    for kind, values in differences.items():
        _check_differences(measure, kind, values)
    bounds = {
        kind: 2.0 * betting_lower_bound([(1.0 + item) / 2.0 for item in values], delta=delta) - 1.0
        for kind, values in differences.items()
    }
    certified = all(bound >= margin for bound in bounds.values())
    message = ", ".join(
        f"own above {kind} by at least {bounds[kind]:.2f} ({len(differences[kind])} pairs)"
        for kind in bounds
    )
    return JudgeCertificate(
        measure=measure,
        claim=claim,
        certified=certified,
        bounds=bounds,
        counts={kind: len(values) for kind, values in differences.items()},
        reason=f"{measure} {'may' if certified else 'may not'} decide on {claim}: {message}; "
        f"needed {margin:g}",
    )


def probe_count(batch_size: int, *, share: float = PROBE_SHARE) -> int:
    """Return how many answers of a judged batch are plants: 5 %, at least one."""
    return max(1, math.ceil(share * batch_size)) if batch_size else 0


def has_lost_certificate(
    differences: Sequence[float], *, margin: float = MARGIN, alpha: float = DELTA
) -> bool:
    """Return whether the plants since the certificate show that the measure has become unreliable.

    The test is an e-process against H0 "own above plants by at least ε", read after every plant. A
    measure for which H0 is true is withdrawn with probability at most alpha.
    """
    _check_differences("the measure", "plants", differences)
    null = (1.0 - margin) / 2.0
    logs = INITIAL_LOG_WEALTH
    for item in differences:
        logs = update_log_wealth(logs, (1.0 - item) / 2.0, null)
        if log_mean_wealth(logs) >= math.log(1.0 / alpha):
            return True
    return False


def _check_differences(measure: str, kind: str, differences: Sequence[float]) -> None:
    out_of_range = [item for item in differences if not -1.0 <= item <= 1.0]
    if out_of_range:
        raise OutOfRangeError(
            f"judge {measure} on {kind}",
            found=f"the difference {out_of_range[0]}",
            next_step="scores are in [0, 1], so that differences are in [−1, 1]",
        )
