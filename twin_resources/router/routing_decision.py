"""Choose the model that answers one question, with the reason in words.

Scope: scoring a question with a policy.
Out of scope: fitting, the budget left (`pacing.py` chooses the step), calling a model (the request
path).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

from twin_resources.router.features import Floats, feature_rows
from twin_resources.router.fixed_sequence import choose_models
from twin_resources.router.policy_file import RoutingPolicy


@dataclass(frozen=True)
class RoutingDecision:
    """The model for one question.

    Attributes:
        model_index: the index in `RoutingPolicy.models`; 0 is the home's model.
        gains: the predicted gain of each more expensive model over the home's, shape (models − 1,).
        threshold: the minimum gain of the most expensive model at this step; −inf if it answers
            all.
        is_margin_held: whether the step is certified; false if the budget forced a cheaper one.
        reason: one clause with the numbers.
    """

    model_index: int
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


def choose_model(
    policy: RoutingPolicy, features: Floats, *, step_index: int | None = None
) -> RoutingDecision:
    """Choose the model that answers a question.

    Args:
        features: the features from `question_features`.
        step_index: the index of the operating point, or None for the one in force.
    """
    gains = policy.gain.predict_one(features)
    price_step = policy.step if step_index is None else policy.steps[step_index]
    prices = policy.prices
    model_index = int(choose_models(gains[None], prices, price_step.weight)[0])
    threshold = price_step.weight * float(prices[-1] - prices[0])
    comparison_text = f"gain {gains[-1]:.3f}, threshold {threshold:.3f}"
    reason = f"{comparison_text}: {policy.models[model_index].name}"
    if not price_step.certified:
        reason += "; margin not held: the remaining budget is too small"
    return RoutingDecision(
        model_index=model_index,
        gains=tuple(float(gain) for gain in gains),
        threshold=threshold,
        is_margin_held=price_step.certified,
        reason=reason,
    )
