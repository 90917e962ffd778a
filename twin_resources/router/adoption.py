"""Adopt, keep or withdraw a routing policy.

Scope: the bets against "the most expensive model answers all" and against the policy in force, the
number of missing labels, and the reason as a sentence.
Out of scope: fitting (`gain.py`), the steps (`fixed_order.py`), the file.

Both bets are those of `statistics/promotion.py`. A policy that loses more than the margin is
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
from twin_resources.router.fixed_order import (
    LOG_THRESHOLD,
    PriceStep,
    find_cheapest_step,
    log_evidence,
)
from twin_resources.statistics.judges import has_lost_certificate
from twin_resources.statistics.promotion import ALPHA, expected_pairs

# The minimum share of questions that an adopted policy moves away from the most expensive model.
MIN_SAVED_SHARE = 0.05


@dataclass(frozen=True)
class AdoptionDecision:
    """The decision on a candidate.

    Attributes:
        is_adopted: whether the candidate comes into force.
        step: its operating point, or None if none was certified.
        missing_labels: the estimated number of further labels needed; 0 if no labels are missing
            or more labels would not help.
        reason: one sentence with the numbers.
    """

    is_adopted: bool
    step: PriceStep | None
    missing_labels: int
    reason: str


def decide_adoption(
    steps: Sequence[PriceStep],
    *,
    labels: int,
    spread: float,
    margin: float,
    differences_to_policy_in_force: Sequence[Floats] | None = None,
) -> AdoptionDecision:
    """Decide whether a candidate comes into force.

    Args:
        steps: the steps from `fixed_order.compute_price_steps`.
        labels: the number of labels on which they were measured.
        spread: the standard deviation of the gain over the labels.
        margin: the margin of both bets.
        differences_to_policy_in_force: for each step, candidate − policy in force on the labels
            that arrived after that policy was fitted, in order; None if no policy is in force.
    """
    step = find_cheapest_step(steps)
    if step is None or 1.0 - step.kept < MIN_SAVED_SHARE:
        missing_labels = estimate_missing_labels(steps, labels=labels, spread=spread, margin=margin)
        if missing_labels == 0:
            return AdoptionDecision(
                False,
                step,
                0,
                f"{labels} labels: no operating point keeps the margin of {margin:g}",
            )
        return AdoptionDecision(
            False,
            step,
            missing_labels,
            f"{labels} labels; about {missing_labels} more are needed for a margin of {margin:g}",
        )
    if differences_to_policy_in_force is not None:
        # The order is the same, and the first bet that is not won ends the search.
        won_steps = 0
        while (
            won_steps < len(steps)
            and steps[won_steps].certified
            and log_evidence(differences_to_policy_in_force[won_steps], margin=margin)
            >= LOG_THRESHOLD
        ):
            won_steps += 1
        if not won_steps or 1.0 - steps[won_steps - 1].kept < MIN_SAVED_SHARE:
            return _reject_candidate(
                differences_to_policy_in_force[won_steps], step, spread, margin=margin
            )
        step = steps[won_steps - 1]
    return AdoptionDecision(
        True,
        step,
        0,
        f"certified on {labels} labels: loses at most {-step.lower:.3f} ({margin:g} is "
        f"allowed) and sends {1.0 - step.kept:.0%} of the questions to cheaper models",
    )


def _reject_candidate(
    differences: Floats, step: PriceStep, spread: float, *, margin: float
) -> AdoptionDecision:
    labels = len(differences)
    mean = float(differences.mean()) if labels else 0.0
    deviation = float(differences.std()) if labels > 1 else spread
    required_labels = expected_pairs(deviation, margin=margin, better_by=mean)
    missing_labels = (
        0 if math.isinf(required_labels) else max(1, math.ceil(required_labels) - labels)
    )
    evidence = log_evidence(differences, margin=margin)
    return AdoptionDecision(
        False,
        step,
        missing_labels,
        f"not shown to be as good as the policy in force within {margin:g} "
        f"({labels} labels since it was fitted, evidence {evidence:.1f} of {LOG_THRESHOLD:.1f})",
    )


def estimate_missing_labels(
    steps: Sequence[PriceStep],
    *,
    labels: int,
    spread: float,
    margin: float,
) -> int:
    """Estimate how many more labels would certify a policy; 0 if more would not help.

    The estimate uses the first step that moves at least `MIN_SAVED_SHARE` away from the most
    expensive model: its measured loss, and the spread of the gain on that share of the questions.
    """
    first_step = next((step for step in steps if 1.0 - step.kept >= MIN_SAVED_SHARE), None)
    if first_step is None:
        required_labels = expected_pairs(0.0, margin=margin)
        return max(1, math.ceil(required_labels) - labels)
    deviation = spread * math.sqrt(1.0 - first_step.kept)
    # A few labels may show a loss that does not exist, so a large one counts from 1,000 labels on.
    expected_gain = first_step.value if first_step.value > -margin / 2.0 or labels >= 1_000 else 0.0
    required_labels = expected_pairs(deviation, margin=margin, better_by=expected_gain)
    return 0 if math.isinf(required_labels) else max(1, math.ceil(required_labels) - labels)


def has_degraded(differences_to_most_expensive: Sequence[float], *, margin: float) -> bool:
    """Return whether the labels since its fit show that a policy loses more than the margin.

    Args:
        differences_to_most_expensive: policy − most expensive model on those labels, in [−1, 1],
            in order.
    """
    # `has_lost_certificate` bets against "at least ε better", here with ε = −margin.
    return has_lost_certificate(differences_to_most_expensive, margin=-margin, alpha=ALPHA)
