"""Adopt, keep or withdraw a routing policy.

Scope: the bets against "the most expensive model answers all" and against the policy in force, the
number of missing labels, and the reason as a sentence.
Out of scope: fitting (`gain.py`), the steps (`fixed_sequence.py`), the file.

Both bets use the method of `statistics/promotion.py`. A policy that loses more than the margin is
adopted with probability at most α, however often it is tested. A t-test after every label would
adopt it in a third of all cases. Every policy is compared with the most expensive model, so that
small losses do not accumulate from one policy to the next.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from twin_resources.router.features import Floats
from twin_resources.router.fixed_sequence import (
    LOG_THRESHOLD,
    PriceStep,
    find_cheapest_step,
    log_evidence,
)
from twin_resources.statistics.judge_certification import has_lost_certificate
from twin_resources.statistics.promotion import ALPHA, expected_pairs

# The minimum share of questions that an adopted policy moves away from the most expensive model.
MIN_SAVED_SHARE = 0.05


@dataclass(frozen=True)
class AdoptionDecision:
    """The decision on a candidate.

    Attributes:
        is_adopted: whether the candidate comes into force.
        step: its operating point, or None if none was certified.
        missing_labels: the estimated number of further labels needed; 0 if none are missing or
            more labels would not help.
        reason: one sentence with the numbers.
    """

    is_adopted: bool
    step: PriceStep | None
    missing_labels: int
    reason: str


def decide_adoption(
    steps: Sequence[PriceStep],
    *,
    label_count: int,
    spread: float,
    margin: float,
    differences_to_policy_in_force: Sequence[Floats] | None = None,
) -> AdoptionDecision:
    """Decide whether a candidate comes into force.

    Args:
        steps: the steps from `fixed_sequence.compute_price_steps`.
        label_count: the number of labels on which they were measured.
        spread: the standard deviation of the gain over the labels.
        margin: the margin of both bets.
        differences_to_policy_in_force: for each step, candidate − policy in force on the labels
            that arrived after that policy was fitted, in order; None if no policy is in force.
    """
    step = find_cheapest_step(steps)
    if step is None or 1.0 - step.kept < MIN_SAVED_SHARE:
        missing_label_count = estimate_missing_labels(
            steps, label_count=label_count, spread=spread, margin=margin
        )
        reason = f"{label_count} labels: no operating point keeps the margin of {margin:g}"
        if missing_label_count:
            needed_text = f"about {missing_label_count} more are needed"
            reason = f"{label_count} labels; {needed_text} for a margin of {margin:g}"
        return AdoptionDecision(False, step, missing_label_count, reason)
    if differences_to_policy_in_force is not None:
        # The steps are tested in the same order, up to the first bet that is not won.
        won_count = 0
        while (
            won_count < len(steps)
            and steps[won_count].certified
            and log_evidence(differences_to_policy_in_force[won_count], margin=margin)
            >= LOG_THRESHOLD
        ):
            won_count += 1
        if not won_count or 1.0 - steps[won_count - 1].kept < MIN_SAVED_SHARE:
            return _reject_candidate(
                differences_to_policy_in_force[won_count], step, spread, margin=margin
            )
        step = steps[won_count - 1]
    return AdoptionDecision(
        True,
        step,
        0,
        f"certified on {label_count} labels: loses at most {-step.lower:.3f} ({margin:g} is "
        f"allowed) and sends {1.0 - step.kept:.0%} of the questions to cheaper models",
    )


def _reject_candidate(
    differences: Floats, step: PriceStep, spread: float, *, margin: float
) -> AdoptionDecision:
    label_count = len(differences)
    mean = float(differences.mean()) if label_count else 0.0
    deviation = float(differences.std()) if label_count > 1 else spread
    required = expected_pairs(deviation, margin=margin, better_by=mean)
    evidence = log_evidence(differences, margin=margin)
    return AdoptionDecision(
        False,
        step,
        _count_missing(required, label_count),
        f"not shown to be as good as the policy in force within {margin:g} "
        f"({label_count} labels since it was fitted, evidence {evidence:.1f} of "
        f"{LOG_THRESHOLD:.1f})",
    )


def estimate_missing_labels(
    steps: Sequence[PriceStep],
    *,
    label_count: int,
    spread: float,
    margin: float,
) -> int:
    """Estimate how many more labels would certify a policy; 0 if more would not help.

    The estimate uses the first step that moves at least `MIN_SAVED_SHARE` away from the most
    expensive model: its measured loss, and the spread of the gain on that share of the questions.
    """
    first_step = next((step for step in steps if 1.0 - step.kept >= MIN_SAVED_SHARE), None)
    if first_step is None:
        return _count_missing(expected_pairs(0.0, margin=margin), label_count)
    deviation = spread * math.sqrt(1.0 - first_step.kept)
    # A few labels may show a loss that does not exist, so a large one counts from 1,000 labels on.
    expected_gain = (
        first_step.value if first_step.value > -margin / 2.0 or label_count >= 1_000 else 0.0
    )
    required = expected_pairs(deviation, margin=margin, better_by=expected_gain)
    return _count_missing(required, label_count)


def _count_missing(required: float, label_count: int) -> int:
    """Return how many more labels are needed, or 0 if no number of labels would be enough."""
    return 0 if math.isinf(required) else max(1, math.ceil(required) - label_count)


def has_degraded(differences_to_most_expensive: Sequence[float], *, margin: float) -> bool:
    """Return whether the labels since its fit show that a policy loses more than the margin.

    Args:
        differences_to_most_expensive: policy − most expensive model on those labels, in [−1, 1],
            in order.
    """
    # `has_lost_certificate` bets against "at least ε better", here with ε = −margin.
    return has_lost_certificate(differences_to_most_expensive, margin=-margin, alpha=ALPHA)
