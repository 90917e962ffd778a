"""Certify a judge on negative probes before it may promote a candidate.

Scope: the probes of each claim, the certificate, and its withdrawal.
Out of scope: creating and scoring probes.
Method: `bounds.py` for the certificate, `bets.py` for the withdrawal. In simulations without
certificates, a constant or random judge promotes 98–100 % of candidates.

On each of the author's held-out prompts, a judge scores the author's own answer and a probe, which
is a bad answer. The judge is certified if the 95 % lower bound of the mean difference is at least ε
for each kind of probe that its claim covers. Afterwards, 5 % of each batch are probes. A judge that
no longer distinguishes them loses its certificate.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twin_resources.statistics.bets import INITIAL_LOG_WEALTH, log_mean_wealth, update_log_wealth
from twin_resources.statistics.bounds import OutOfRangeError, betting_lower_bound
from twin_resources.statistics.promotion import NON_INFERIORITY_MARGIN

PROBE_SHARE = 0.05
DELTA = 0.05


@dataclass(frozen=True)
class JudgeCertificate:
    """Whether a judge may decide on its claim.

    Attributes:
        bounds: kind of probe → the 95 % lower bound of own − probe, in [−1, 1].
        counts: kind of probe → the number of answer pairs.
        reason: one line that gives the numbers.
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
    margin: float = NON_INFERIORITY_MARGIN,
) -> JudgeCertificate:
    """Return the certificate of a judge for one claim.

    A judge must pass every kind, so it is wrongly certified with probability at most `DELTA`.

    Args:
        differences: each kind of probe that the claim covers → score of the author's own answer −
            score of the probe, one per held-out prompt. A kind without values is not passed.

    Raises:
        OutOfRangeError: there is no kind of probe, or a difference is outside [−1, 1].
    """
    if not differences:
        raise OutOfRangeError(
            f"certify {measure}",
            found=f"no kind of probe for the claim {claim!r}",
            next_step="pass the differences for at least one kind of probe",
        )
    for kind, values in differences.items():
        _check_differences(measure, kind, values)
    bounds = {
        kind: 2.0
        * betting_lower_bound([(1.0 + difference) / 2.0 for difference in values], delta=DELTA)
        - 1.0
        for kind, values in differences.items()
    }
    is_certified = all(bound >= margin for bound in bounds.values())
    message = ", ".join(
        f"own answers at least {bounds[kind]:.2f} above {kind} ({len(differences[kind])} pairs)"
        for kind in bounds
    )
    return JudgeCertificate(
        measure=measure,
        claim=claim,
        certified=is_certified,
        bounds=bounds,
        counts={kind: len(values) for kind, values in differences.items()},
        reason=f"{measure} {'may' if is_certified else 'may not'} decide on {claim}: {message}; "
        f"needed {margin:g}",
    )


def probe_count(batch_size: int) -> int:
    """Return how many answers of a judged batch are probes: 5 %, but at least one."""
    return max(1, math.ceil(PROBE_SHARE * batch_size)) if batch_size else 0


def has_lost_certificate(
    differences: Sequence[float], *, margin: float = NON_INFERIORITY_MARGIN, alpha: float = DELTA
) -> bool:
    """Return whether the probes since the certificate show that the judge has become unreliable.

    The test is an e-process against H0 "own above probes by at least ε", read after every probe. A
    judge for which H0 is true loses its certificate with probability at most alpha.
    """
    _check_differences("the measure", "probes", differences)
    null_mean = (1.0 - margin) / 2.0
    log_wealth = INITIAL_LOG_WEALTH
    for difference in differences:
        log_wealth = update_log_wealth(log_wealth, (1.0 - difference) / 2.0, null_mean)
        if log_mean_wealth(log_wealth) >= math.log(1.0 / alpha):
            return True
    return False


def _check_differences(measure: str, kind: str, differences: Sequence[float]) -> None:
    out_of_range = [difference for difference in differences if not -1.0 <= difference <= 1.0]
    if out_of_range:
        raise OutOfRangeError(
            f"judge {measure} on {kind}",
            found=f"the difference {out_of_range[0]}",
            next_step="correct the measure: scores are in [0, 1], so differences are in [−1, 1]",
        )
