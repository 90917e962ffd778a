"""Fit a policy to an author's labels, certify it, and compare it with the current policy.

Scope: the labels and models of a policy, keeping or withdrawing the policy in force.
Out of scope: the mathematics (`router/`), buying labels, the asset.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from twin_resources.quality.judges.label_rows import LabelArrays
from twin_resources.router import adoption
from twin_resources.router.adoption import AdoptionDecision
from twin_resources.router.class_table import class_table
from twin_resources.router.features import Floats, feature_rows, fit_scale
from twin_resources.router.fixed_sequence import (
    STEP_SHARE,
    PriceStep,
    choose_models,
    compute_price_steps,
    prepend_own_model,
)
from twin_resources.router.gain import assign_folds, fit
from twin_resources.router.policy_file import PricedModel, RoutingPolicy

MIN_LABELS = 30  # with fewer labels, no policy can be fitted or certified


@dataclass(frozen=True)
class ModelPrices:
    """US dollars per million tokens for the home's model (marginal) and the paid model."""

    own: float
    paid_prompt: float
    paid_answer: float


@dataclass(frozen=True)
class FitOutcome:
    """The result of fitting a policy and deciding about it.

    Attributes:
        policy: policy in force after the fit, or None if nothing is routed.
        decision: decision about the new policy.
        withdrawal_reason: why the previous policy was withdrawn; empty if it was not withdrawn or
            did not exist.
    """

    policy: RoutingPolicy | None
    decision: AdoptionDecision
    withdrawal_reason: str = ""


def price_models(
    labels: LabelArrays, own: str, paid: str, prices: ModelPrices
) -> tuple[PricedModel, ...]:
    """Return the home's and the paid model with their prices and mean costs on the labels."""
    tokens = labels.prompt_tokens + labels.answer_tokens
    mean_tokens = float(tokens.mean()) if len(labels) else 0.0
    mean_usd = float(labels.usd.mean()) if len(labels) else 0.0
    return (
        PricedModel("own", own, prices.own, prices.own, prices.own * mean_tokens / 1e6),
        PricedModel("paid", paid, prices.paid_prompt, prices.paid_answer, mean_usd),
    )


def refit(
    author: str,
    labels: LabelArrays,
    current_policy: RoutingPolicy | None,
    *,
    models: Sequence[PricedModel],
    embedder: str,
    judges: tuple[str, ...],
    margin: float,
) -> FitOutcome:
    """Fit a policy to the labels and decide which policy is in force.

    The policy in force stays unless its models, embedder, judges or margin differ, later labels
    show that it loses more than the margin, or a new policy is adopted.

    Raises:
        TwinError: the prices do not ascend.
    """
    models = tuple(models)
    withdrawal_reason = ""
    if current_policy is not None:
        withdrawal_reason = _find_withdrawal_reason(
            current_policy, labels, models, embedder, judges, margin
        )
        if withdrawal_reason:
            current_policy = None
    if len(labels) < MIN_LABELS:
        return FitOutcome(current_policy, _defer_adoption(len(labels), margin), withdrawal_reason)
    scale = fit_scale(labels.lengths, labels.closeness)
    features = feature_rows(labels.vectors, labels.lengths, labels.closeness, scale=scale)
    fit_result = fit(features, labels.gains, assign_folds(labels.groups))
    price_steps = compute_price_steps(
        labels.gains, fit_result.cross_fitted, [model.usd for model in models], margin=margin
    )
    decision = _decide_adoption(
        labels, current_policy, price_steps, fit_result.cross_fitted, models, margin=margin
    )
    if not decision.is_adopted or decision.step is None:
        return FitOutcome(current_policy, decision, withdrawal_reason)
    if current_policy is not None and current_policy.label_ids == labels.prompt_ids:
        return FitOutcome(current_policy, decision)  # no new labels: the file is not rewritten
    new_policy = RoutingPolicy(
        author=author,
        models=models,
        embedder=embedder,
        judges=judges,
        margin=margin,
        scale=scale,
        gain=fit_result.model,
        steps=price_steps,
        active_step_index=price_steps.index(decision.step),
        label_ids=labels.prompt_ids,
        gains=labels.gains,
        cross_fitted=fit_result.cross_fitted,
        classes=class_table(labels.prompt_classes, [float(gain) for gain in labels.gains[:, -1]]),
        last_sequence=labels.sequences[-1],
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        usd=labels.usd,
    )
    return FitOutcome(new_policy, decision, withdrawal_reason)


def _defer_adoption(label_count: int, margin: float) -> AdoptionDecision:
    missing_count = adoption.estimate_missing_labels(
        (), label_count=label_count, spread=0.3, margin=margin
    )
    reason = (
        f"{label_count} labels; about {missing_count} more are needed for a margin of {margin:g}"
    )
    return AdoptionDecision(False, None, missing_count, reason)


def _decide_adoption(
    labels: LabelArrays,
    current_policy: RoutingPolicy | None,
    price_steps: tuple[PriceStep, ...],
    cross_fitted: Floats,
    models: Sequence[PricedModel],
    *,
    margin: float,
) -> AdoptionDecision:
    """Decide whether a step is adopted, from the labels and the policy in force."""
    spread = float(labels.gains[:, -1].std(ddof=1))
    decision = adoption.decide_adoption(
        price_steps, label_count=len(labels), spread=spread, margin=margin
    )
    if current_policy is None or decision.step is None:
        return decision
    gains_over_current = _compute_gains_over_current(
        current_policy, labels, cross_fitted, models, price_steps
    )
    decision = adoption.decide_adoption(
        price_steps,
        label_count=len(labels),
        spread=spread,
        margin=margin,
        differences_to_policy_in_force=gains_over_current,
    )
    if (
        decision.is_adopted
        and decision.step is not None
        and _is_more_expensive(decision.step, current_policy)
    ):
        reason = "the policy in force sends more questions to the home's model, so it stays"
        return replace(decision, is_adopted=False, reason=reason)
    return decision


def _find_withdrawal_reason(
    current_policy: RoutingPolicy,
    labels: LabelArrays,
    models: Sequence[PricedModel],
    embedder: str,
    judges: tuple[str, ...],
    margin: float,
) -> str:
    """Return why the policy in force has to be withdrawn, or an empty string if it may stay."""
    if current_policy.models[0].model != models[0].model:
        return "another version is stable"
    if len(current_policy.models) != len(models):
        return f"its labels cover {len(current_policy.models)} models"
    if current_policy.models[-1].model != models[-1].model:
        return f"the paid model was {current_policy.models[-1].model}"
    if current_policy.embedder != embedder:
        return "its labels come from another embedder"
    if current_policy.judges != judges:
        return "other judges are certified now"
    if current_policy.margin != margin:
        return f"its margin was {current_policy.margin:g}"
    if adoption.has_degraded(_compute_gains_over_paid(current_policy, labels), margin=margin):
        return "labels since it was fitted show that it loses more than the margin"
    return ""


def _is_more_expensive(step: PriceStep, current_policy: RoutingPolicy) -> bool:
    """Return whether a step sends clearly fewer questions to the home's model than the policy.

    The threshold is 1.5 times `STEP_SHARE`.
    """
    return step.kept > current_policy.step.kept + 1.5 * STEP_SHARE


def _mask_new_labels(current_policy: RoutingPolicy, labels: LabelArrays) -> np.ndarray:
    return np.asarray(
        [number > current_policy.last_sequence for number in labels.sequences], np.bool_
    )


def _choose_models(
    current_policy: RoutingPolicy, labels: LabelArrays, is_new: np.ndarray
) -> np.ndarray:
    features = feature_rows(
        labels.vectors, labels.lengths, labels.closeness, scale=current_policy.scale
    )[is_new]
    return choose_models(
        current_policy.gain.predict(features), current_policy.prices, current_policy.step.weight
    )


def _compute_gains_over_paid(current_policy: RoutingPolicy, labels: LabelArrays) -> list[float]:
    """Return the gains of the policy in force over the paid model, on labels since its fit."""
    is_new = _mask_new_labels(current_policy, labels)
    if not is_new.any():
        return []
    gains = prepend_own_model(labels.gains[is_new])
    chosen_models = _choose_models(current_policy, labels, is_new)
    return [float(row[model] - row[-1]) for row, model in zip(gains, chosen_models, strict=True)]


def _compute_gains_over_current(
    current_policy: RoutingPolicy,
    labels: LabelArrays,
    cross_fitted: Floats,
    models: Sequence[PricedModel],
    price_steps: Sequence[PriceStep],
) -> list[Floats]:
    """Return each step's gains over the policy in force, on labels since that policy's fit."""
    is_new = _mask_new_labels(current_policy, labels)
    if not is_new.any():
        return [np.zeros(0) for _ in price_steps]
    prices = np.asarray([model.usd for model in models], np.float64)
    current_choices = _choose_models(current_policy, labels, is_new)
    gains = prepend_own_model(labels.gains[is_new])
    row_indexes = np.arange(len(gains))
    current_gains = gains[row_indexes, current_choices]
    return [
        gains[row_indexes, choose_models(cross_fitted[is_new], prices, step.weight)] - current_gains
        for step in price_steps
    ]
