"""How long an answer takes when the machine is busy: one line, measured seconds of service.

Belongs here: the queue's formulas, and the points "so busy, so many tokens a month, so slow".
Does not belong here: prices (`cost.py`), reading what was measured (`ledger/routed.py`).

Assumed: questions come by themselves (Poisson), and the machine computes one answer after another
(M/G/1). A model server takes two at once, but of one machine's arithmetic: both are slower then.
The mean wait is Pollaczek's and Khinchine's (Kleinrock, "Queueing Systems I", 1975, section 5.7),
its tail the exponential with that mean (Abate, Choudhury and Whitt, "Exponential approximations for
tail probabilities in queues", Operations Research 43, 1995), exact where services are exponential:

    E[W] = λ·E[S²] / (2·(1 − ρ))        P(W > t) ≈ ρ·exp(−ρ·t / E[W])        answer in W + S

Measured latencies hold what waiting there was, so a busy machine looks slower than it is.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin_resources.router.features import Floats

SHARE = 0.95
MONTH_S = 30 * 86_400.0
# What is told beside the measured point.
USUAL: tuple[float, ...] = (0.3, 0.5, 0.7, 0.8, 0.9)
FEWEST = 20  # answers: the 95th percentile of fewer is the slowest one
_HALVINGS = 40


@dataclass(frozen=True)
class LoadPoint:
    """A machine that is so busy.

    Attributes:
        utilisation: share of the time in which it computes, in [0, 1).
        tokens_per_month: prompt and answer tokens in 30 days.
        p95_s: seconds within which 95 of 100 answers are there.
        is_measured: it is what readers cause now.
    """

    utilisation: float
    tokens_per_month: float
    p95_s: float
    is_measured: bool = False


def p95_seconds(service_s: Floats, utilisation: float, *, share: float = SHARE) -> float:
    """Seconds within which that share of the answers is there; infinite from utilisation 1 on.

    Args:
        service_s: measured seconds of answers, shape (n,), at least one above 0.
        utilisation: ρ.
    """
    if utilisation >= 1.0:
        return math.inf
    if utilisation <= 0.0:
        return float(np.quantile(service_s, share))
    mean, squares = float(service_s.mean()), float((service_s**2).mean())
    waits = utilisation / mean * squares / (2.0 * (1.0 - utilisation))
    rate = utilisation / waits

    def later(seconds: float) -> float:
        left = seconds - service_s
        # above 0 in the exponent would overflow where the answer alone takes longer
        waiting = utilisation * np.exp(-rate * np.maximum(left, 0.0))
        return float(np.where(left < 0.0, 1.0, waiting).mean())

    low, high = 0.0, float(service_s.max()) + math.log(1.0 / (1.0 - share)) / rate
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if later(middle) > 1.0 - share else (low, middle)
    return high


def load_points(
    service_s: Sequence[float],
    *,
    tokens_per_second: float,
    utilisation: float,
    also: Sequence[float] = USUAL,
) -> tuple[LoadPoint, ...]:
    """Tokens a month and p95 at the measured utilisation and at others, rising.

    Args:
        service_s: measured seconds of answers.
        tokens_per_second: of a busy second, prompt and answer together.
        utilisation: measured; one of 1 and above is left out, no queue of it ends.

    Returns:
        Nothing with fewer than `FEWEST` answers or without a pace.
    """
    known = np.asarray([one for one in service_s if one > 0.0], np.float64)
    if len(known) < FEWEST or tokens_per_second <= 0.0:
        return ()
    wanted = {round(one, 4): False for one in also if 0.0 < one < 1.0}
    if 0.0 <= utilisation < 1.0:
        wanted[round(utilisation, 4)] = True
    return tuple(
        LoadPoint(busy, busy * tokens_per_second * MONTH_S, p95_seconds(known, busy), measured)
        for busy, measured in sorted(wanted.items())
    )
