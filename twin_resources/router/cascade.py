"""The own model first, the dearer one where its answer scores low: for whole answers and batches.

Belongs here: the score below which an answer is asked for again, certified as every step is.
Does not belong here: scoring an answer (`twin_resources/quality/judges`), streams, which cannot be
taken back.
Source: Chen, Zaharia and Zou, "FrugalGPT", https://arxiv.org/abs/2305.05176
"""
# pyright: strict

from __future__ import annotations

from dataclasses import replace

from twin_resources.router.features import Floats
from twin_resources.router.fixed_order import PriceStep, cheapest_certified, steps
from twin_resources.statistics.promotion import ALPHA


def cascade_step(
    own_scores: Floats,
    gains: Floats,
    *,
    own_usd: float,
    paid_usd: float,
    margin: float,
    alpha: float = ALPHA,
) -> PriceStep | None:
    """The cheapest certified cascade; None: none keeps the margin.

    Args:
        own_scores: what the score at hand says of the own answers, shape (n,); not the judges' that
            made the gains, whose luck would be counted twice.
        gains: paid − own, shape (n,), in the order of arrival.

    Returns:
        The step, with what both models cost together; `asks_again` reads it.
    """
    found = steps(gains[:, None], -own_scores[:, None], [0.0, 1.0], margin=margin, alpha=alpha)
    best = cheapest_certified(found)
    return best and replace(best, usd=own_usd + best.kept * paid_usd)


def asks_again(step: PriceStep, own_score: float) -> bool:
    """Whether an own answer with this score is asked for again: −score ≥ w."""
    return -own_score >= step.weight
