"""Adopt, keep or withdraw a routing policy.

Scope: the bets against "the dearest model answers all" and against the policy in force, the number
of missing labels, and the reason as a sentence.
Out of scope: fitting (`gain.py`), the steps (`fixed_order.py`), the file.

Both bets are those of `statistics/promotion.py`: a policy that loses more than the margin is
adopted with probability at most α, however often it is tested. A t-test after every label adopts it
in a third of all cases. Every policy is compared with the dearest model, so that small losses do
not accumulate from one policy to the next.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from twin_resources.router.features import Floats
from twin_resources.router.fixed_order import PriceStep, cheapest_certified, log_evidence
from twin_resources.statistics.judges import has_lost_certificate
from twin_resources.statistics.promotion import ALPHA, expected_pairs

# Minimum share of the questions that an adopted policy moves away from the dearest model.
MIN_SAVED_SHARE = 0.05


@dataclass(frozen=True)
class AdoptionDecision:
    """The decision on a candidate.

    Attributes:
        adopted: whether it comes into force.
        step: its operating point, or None if none was certified.
        missing_labels: estimated number of further labels needed; 0 if none, or if more would not
            help.
        reason: one sentence with the numbers.
    """

    adopted: bool
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
    alpha: float = ALPHA,
) -> AdoptionDecision:
    """Decide whether a candidate comes into force.

    Args:
        steps: the steps from `fixed_order.compute_price_steps`.
        labels: number of labels on which they were measured.
        spread: standard deviation of the gain over the labels.
        margin: margin of both bets.
        differences_to_policy_in_force: for each step, candidate − policy in force on the labels
            that arrived after the latter was fitted, in order; None if no policy is in force.
    """
    step = cheapest_certified(steps)
    if step is None or 1.0 - step.kept < MIN_SAVED_SHARE:
        missing = estimate_missing_labels(
            steps, labels=labels, spread=spread, margin=margin, alpha=alpha
        )
        if missing == 0:
            return AdoptionDecision(
                False,
                step,
                0,
                f"{labels} labels: no operating point keeps the margin of {margin:g}",
            )
        return AdoptionDecision(
            False, step, missing, f"{labels} labels; about {missing} more are missing at {margin:g}"
        )
    if differences_to_policy_in_force is not None:
        needed = math.log(1.0 / alpha)
        # In the same fixed order, the first bet that is not won ends the search.
        won_steps = 0
        while (
            won_steps < len(steps)
            and steps[won_steps].certified
            and log_evidence(differences_to_policy_in_force[won_steps], margin=margin) >= needed
        ):
            won_steps += 1
        if not won_steps or 1.0 - steps[won_steps - 1].kept < MIN_SAVED_SHARE:
            return _reject_candidate(
                differences_to_policy_in_force[won_steps], step, spread, margin=margin, alpha=alpha
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
    differences: Floats, step: PriceStep, spread: float, *, margin: float, alpha: float
) -> AdoptionDecision:
    known = len(differences)
    mean = float(differences.mean()) if known else 0.0
    deviation = float(differences.std()) if known > 1 else spread
    required = expected_pairs(deviation, margin=margin, alpha=alpha, better_by=mean)
    missing = 0 if math.isinf(required) else max(1, math.ceil(required) - known)
    evidence, needed = log_evidence(differences, margin=margin), math.log(1.0 / alpha)
    return AdoptionDecision(
        False,
        step,
        missing,
        f"not shown to be as good as the policy in force within {margin:g} "
        f"({known} labels since it was fitted, evidence {evidence:.1f} of {needed:.1f})",
    )


def estimate_missing_labels(
    steps: Sequence[PriceStep],
    *,
    labels: int,
    spread: float,
    margin: float,
    alpha: float = ALPHA,
) -> int:
    """Estimate how many more labels would certify a policy; 0 if more would not help.

    The estimate uses the first step that moves at least `MIN_SAVED_SHARE` away from the dearest
    model: its measured loss, and the spread of the gain on that share of the questions.
    """
    first = next((step for step in steps if 1.0 - step.kept >= MIN_SAVED_SHARE), None)
    if first is None:
        required = expected_pairs(0.0, margin=margin, alpha=alpha)
        return max(1, math.ceil(required) - labels)
    deviation = spread * math.sqrt(1.0 - first.kept)
    # A few labels may show a loss that does not exist, so the estimate then assumes none.
    expected = first.value if first.value > -margin / 2.0 or labels >= 1_000 else 0.0
    required = expected_pairs(deviation, margin=margin, alpha=alpha, better_by=expected)
    return 0 if math.isinf(required) else max(1, math.ceil(required) - labels)


def has_degraded(
    differences_to_dearest: Sequence[float], *, margin: float, alpha: float = ALPHA
) -> bool:
    """Return whether the labels since its fit show that a policy loses more than the margin.

    Args:
        differences_to_dearest: policy − dearest model on those labels, in [−1, 1], in order.
    """
    # `has_lost_certificate` bets against "at least ε better", here with ε = −margin.
    return has_lost_certificate(differences_to_dearest, margin=-margin, alpha=alpha)
