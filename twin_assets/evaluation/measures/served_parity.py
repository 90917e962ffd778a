"""Check that the served model's log-probabilities match those of the trained model.

Scope: the stored figures of the comparison, the limits, and the claim. Out of scope: comparing
(`served/parity.py`) and choosing the prompts (`sequential_plan.py`).
"""
# pyright: strict

from __future__ import annotations

import math
from dataclasses import dataclass

from twin_assets.evaluation.measures.measure import ClaimRule, Measure
from twin_assets.evaluation.served.parity import Parity
from twin_assets.evaluation.statistics.bootstrap import Interval
from twin_assets.evaluation.statistics.sequential import decide_side
from twin_resources.models.serving.served_precision import F16, LIMITS, precision_limits
from twin_resources.registry.moves import GateClaim

CLAIM = "served_model_matches"
PARITY_MEAN, PARITY_LARGEST = LIMITS[F16]


@dataclass(frozen=True)
class ServedParity:
    """Differences between log-probabilities of the served model and of transformers + PEFT.

    Attributes:
        parity_mean, parity_largest: mean and largest difference in nats, or None if there is
            nothing to compare.
        parity_prompts: number of prompts, each asked twice.
        parity_interval: interval of the mean, or None with fewer than two prompts.
        parity_precision: precision of the served weights, which determines the limits.
    """

    parity_mean: float | None
    parity_largest: float | None
    parity_prompts: int
    parity_interval: Interval | None = None
    parity_precision: str = F16


def summarize_parity(parity: Parity | None) -> ServedParity:
    """Return the figures that the claim uses.

    Args:
        parity: the comparison, or None if every answer was empty or nothing was asked.
    """
    if parity is None:
        return ServedParity(None, None, 0)
    return ServedParity(
        parity.mean, parity.largest, parity.prompt_count, parity.interval, parity.precision
    )


def is_undecided(parity: Parity) -> bool:
    """Return whether too few prompts were compared to decide if the served model matches.

    Differences are capped at twice the limit of the mean, so that one of eight prompts cannot
    decide the test alone. Adapters with their rows in the wrong order differ by 0.12 on average.
    """
    means = parity.by_prompt
    mean, largest = precision_limits(parity.precision)
    if parity.largest >= largest or not all(map(math.isfinite, means)):
        return False  # decided: the served model is not the trained model
    cap = 2 * mean
    closeness = [1.0 - min(prompt_mean, cap) / cap for prompt_mean in means]
    return decide_side(closeness, limit=1.0 - mean / cap) is None


def _decide_claim(served_parity: ServedParity) -> GateClaim:
    mean, largest = served_parity.parity_mean, served_parity.parity_largest
    mean_limit, largest_limit = precision_limits(served_parity.parity_precision)
    if mean is None or largest is None:
        return GateClaim(
            CLAIM, None, None, mean_limit, "not decided: the served model returned no tokens"
        )
    mean_interval = served_parity.parity_interval
    interval_text = (
        ""
        if mean_interval is None
        else f"95 %: {mean_interval.low:.4f} to {mean_interval.high:.4f}; "
    )
    detail = (
        f"log-probabilities of the served model differ from transformers + PEFT by {mean:.4f} on "
        f"average ({interval_text}limit {mean_limit}) and {largest:.4f} at most (limit "
        f"{largest_limit}) over {served_parity.parity_prompts} prompts, each asked twice"
    )
    if served_parity.parity_precision != F16:
        detail += f", served in {served_parity.parity_precision}"
    is_met = mean < mean_limit and largest < largest_limit
    return GateClaim(CLAIM, is_met, mean, mean_limit, detail)


MEASURE = Measure(
    name="served_parity",
    value_type=ServedParity,
    compute=lambda context: summarize_parity(context.parity),
    needs_no_answers=True,
    claims=(
        ClaimRule(
            CLAIM,
            "The served log-probabilities match those of transformers + PEFT.",
            _decide_claim,
            is_in_first_verdict=True,
        ),
    ),
    is_flat=True,
)
