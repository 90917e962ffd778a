"""Choose the model that answers one question, with the reason in words.

Scope: scoring a question with a policy.
Out of scope: fitting, the budget left (`pacing.py` chooses the step), calling a model (the request
path).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

from twin_resources.router.features import Floats, feature_rows
from twin_resources.router.fixed_order import choose_models
from twin_resources.router.policy_file import RoutingPolicy


@dataclass(frozen=True)
class RoutingDecision:
    """The model for one question.

    Attributes:
        model: the index in `RoutingPolicy.models`; 0 is the home's model.
        gains: the predicted gain of each more expensive model over the home's, shape (models − 1,).
        threshold: the minimum gain of the most expensive model at this step; −inf if it answers
            all.
        is_margin_held: whether the step is certified; false if the budget forced a cheaper one.
        reason: one clause with the numbers.
    """

    model: int
    gains: tuple[float, ...]
    threshold: float
    is_margin_held: bool
    reason: str

    @property
    def gain(self) -> float:
        """Predicted gain of the most expensive model."""
        return self.gains[-1]


def question_features(
    policy: RoutingPolicy, vector: Floats, *, length: int, closeness: float
) -> Floats:
    """Return the question's features, shape (d,)."""
    return feature_rows(vector[None], [length], [closeness], scale=policy.scale)[0]


def choose_model(policy: RoutingPolicy, row: Floats, *, step: int | None = None) -> RoutingDecision:
    """Choose a model.

    Args:
        row: the features from `question_features`.
        step: the index of the operating point, or None for the one in force.
    """
    gains = policy.gain.predict_one(row)
    index = policy.active_step_index if step is None else step
    price_step = policy.steps[index]
    prices = policy.prices
    model = int(choose_models(gains[None], prices, price_step.weight)[0])
    threshold = price_step.weight * float(prices[-1] - prices[0])
    comparison_text = f"gain {gains[-1]:.3f}, threshold {threshold:.3f}"
    reason = f"{comparison_text}: {policy.models[model].name}"
    if not price_step.certified:
        reason += "; margin not held: the remaining budget is too small"
    return RoutingDecision(
        model=model,
        gains=tuple(float(gain) for gain in gains),
        threshold=threshold,
        is_margin_held=price_step.certified,
        reason=reason,
    )
