"""Decide whether the served model's log-probabilities match those of the trained model.

The comparison is made in `served/parity.py`; `sequential_plan.py` chooses how many prompts it has.
"""
# pyright: strict

from __future__ import annotations

import math

from twin_assets.evaluation.measures.measure import ClaimRule, Measure
from twin_assets.evaluation.served.parity import Parity
from twin_assets.evaluation.statistics.sequential import decide_side
from twin_resources.models.serving.served_precision import F16, LIMITS, precision_limits
from twin_resources.registry.moves import GateClaim

CLAIM = "served_model_matches"
PARITY_MEAN, PARITY_LARGEST = LIMITS[F16]


def is_undecided(parity: Parity) -> bool:
    """Return whether too few prompts were compared to decide if the served model matches.

    Differences are capped at twice the limit of the mean, so that one of eight prompts cannot
    decide the test alone. Adapters with their rows in the wrong order differ by 0.12 on average.
    """
    mean, largest = precision_limits(parity.precision)
    if parity.largest >= largest or not all(map(math.isfinite, parity.by_prompt)):
        return False  # decided: the served model is not the trained model
    cap = 2 * mean
    closeness = [1.0 - min(prompt_mean, cap) / cap for prompt_mean in parity.by_prompt]
    return decide_side(closeness, limit=1.0 - mean / cap) is None


def decide_claim(parity: Parity | None) -> GateClaim:
    """Decide the claim; without a comparison, it is undecided."""
    if parity is None:
        detail = "not decided: the served model returned no tokens"
        return GateClaim(CLAIM, None, None, PARITY_MEAN, detail)
    mean_limit, largest_limit = precision_limits(parity.precision)
    interval = parity.interval
    interval_text = f"95 %: {interval.low:.4f} to {interval.high:.4f}; " if interval else ""
    detail = (
        f"log-probabilities of the served model differ from transformers + PEFT by "
        f"{parity.mean:.4f} on average ({interval_text}limit {mean_limit}) and "
        f"{parity.largest:.4f} at most (limit {largest_limit}) over {parity.prompt_count} prompts, "
        "each asked twice"
    )
    if parity.precision != F16:
        detail += f", served in {parity.precision}"
    is_met = parity.mean < mean_limit and parity.largest < largest_limit
    return GateClaim(CLAIM, is_met, parity.mean, mean_limit, detail)


MEASURE = Measure(
    claims=(
        ClaimRule(
            CLAIM,
            "The served log-probabilities match those of transformers + PEFT.",
            is_in_first_verdict=True,
        ),
    ),
    decide=lambda context: (decide_claim(context.parity),),
    needs_no_answers=True,
)
