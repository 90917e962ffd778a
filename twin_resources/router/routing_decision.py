"""Which model answers one question, with the probability of that and the reason in words.

Belongs here: scoring a question by a policy, the lot of exploration.
Does not belong here: fitting, whether money is left (`pacing.py` says which step holds), calling a
model (the request path).

A small share of the questions goes another way by lot, each model with the same chance; so every
model has a propensity above 0 and what readers say values any policy (`off_policy.py`). The lot is
the question's own, not the reader's day's: two questions of one reader are two draws.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

from twin_resources.router.features import Floats, rows
from twin_resources.router.fixed_order import choices
from twin_resources.router.policy_file import RoutingPolicy


@dataclass(frozen=True)
class RoutingDecision:
    """A decision.

    Attributes:
        model: index in `RoutingPolicy.models`; 0 is the own one.
        gains: predicted, of each dearer model over the own one, shape (models − 1,).
        threshold: what the dearest model's gain has to reach at this step; −inf: it answers all.
        propensity: probability of this model, in (0, 1].
        margin_held: the step is certified; False: money forced a cheaper one.
        reason: one clause, with the numbers.
    """

    model: int
    gains: tuple[float, ...]
    threshold: float
    propensity: float
    margin_held: bool
    reason: str

    @property
    def gain(self) -> float:
        """Of the dearest model."""
        return self.gains[-1]


def features_of(policy: RoutingPolicy, vector: Floats, *, length: int, closeness: float) -> Floats:
    """The question's row of numbers, shape (d,)."""
    return rows(vector[None], [length], [closeness], scale=policy.scale)[0]


def decide(
    policy: RoutingPolicy, row: Floats, *, point: float, step: int | None = None
) -> RoutingDecision:
    """Choose a model.

    Args:
        row: `features_of`.
        point: in [0, 1), drawn by lot for this question.
        step: index of the operating point; None: the one in force.
    """
    gains = policy.gain.predict_one(row)
    index = policy.in_force if step is None else step
    standing = policy.steps[index]
    rule = int(choices(gains[None], policy.prices, standing.weight)[0])
    model, propensity, by_lot = lot(
        rule, models=len(policy.models), share=policy.explored, point=point
    )
    prices = policy.prices
    threshold = standing.weight * float(prices[-1] - prices[0])
    compared = f"gain {gains[-1]:.3f}, threshold {threshold:.3f}"
    reason = f"{compared}: {policy.models[rule].name}"
    if by_lot:
        reason = f"by lot, against the rule ({reason})"
    if not standing.certified:
        reason += "; margin not held: the money left allows no more"
    return RoutingDecision(
        model=model,
        gains=tuple(float(gain) for gain in gains),
        threshold=threshold,
        propensity=propensity,
        margin_held=standing.certified,
        reason=reason,
    )


def lot(rule: int, *, models: int, share: float, point: float) -> tuple[int, float, bool]:
    """The model that a point in [0, 1) draws, its probability, whether it is against the rule.

    Args:
        rule: index of the model that the policy chooses.
        share: of the questions that go to another one, in [0, 1).
    """
    if point >= share or models < 2:
        return rule, 1.0 - share if models > 1 else 1.0, False
    others = [model for model in range(models) if model != rule]
    drawn = others[min(int(point / share * len(others)), len(others) - 1)]
    return drawn, share / len(others), True


def point_of(trace_id: str) -> float:
    """A point in [0, 1) from a trace id, whose digits are random."""
    return int(trace_id[:13], 16) / 16**13
