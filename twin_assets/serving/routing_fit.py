"""Turn an author's labels into a policy: fit, certify, compare with the one in force.

Scope: the labels and models of a policy, the fate of the one in force.
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
from twin_resources.router.features import Floats, rows, scale_of
from twin_resources.router.fixed_order import STEP, PriceStep, choices, steps, with_own
from twin_resources.router.gain import fit, folds_of
from twin_resources.router.policy_file import PricedModel, RoutingPolicy

FEWEST = 30  # labels; with fewer, nothing can be fitted or certified


@dataclass(frozen=True)
class ModelPrices:
    """US dollars per million tokens of the own model (marginal) and of the paid one."""

    own: float
    paid_prompt: float
    paid_answer: float


@dataclass(frozen=True)
class FitOutcome:
    """The result of a fit.

    Attributes:
        policy: policy in force from now on, or None if nothing is routed.
        adopted: decision about the new policy.
        withdrawn: why the previous policy is no longer in force; empty if it stays or was absent.
    """

    policy: RoutingPolicy | None
    adopted: AdoptionDecision
    withdrawn: str = ""


def models_of(
    labels: LabelArrays, own: str, paid: str, prices: ModelPrices
) -> tuple[PricedModel, ...]:
    """Return the own and the paid model with their mean prices on the labels."""
    tokens = labels.prompt_tokens + labels.answer_tokens
    mean = float(tokens.mean()) if len(labels) else 0.0
    usd = float(labels.usd.mean()) if len(labels) else 0.0
    return (
        PricedModel("own", own, prices.own, prices.own, prices.own * mean / 1e6),
        PricedModel("paid", paid, prices.paid_prompt, prices.paid_answer, usd),
    )


def refit(
    author: str,
    labels: LabelArrays,
    standing: RoutingPolicy | None,
    *,
    models: Sequence[PricedModel],
    embedder: str,
    judges: tuple[str, ...],
    margin: float,
) -> FitOutcome:
    """Fit the labels and decide which policy is in force.

    The policy in force stays unless its models, embedder, judges or margin differ, later labels
    show that it loses more than the margin, or a new policy is adopted.

    Raises:
        TwinError: a margin or a price is unusable.
    """
    models = tuple(models)
    before, withdrawn = standing, ""
    if standing is not None:
        withdrawn = _lapsed(standing, models, embedder, judges, margin)
        if not withdrawn and adoption.fallen(_against_paid(standing, labels), margin=margin):
            withdrawn = "labels since it was fitted show that it loses more than the margin"
        if withdrawn:
            standing = None
    if len(labels) < FEWEST:
        missing = adoption.labels_missing((), labels=len(labels), spread=0.3, margin=margin)
        reason = f"{len(labels)} labels; about {missing} more are missing at {margin:g}"
        return FitOutcome(standing, AdoptionDecision(False, None, missing, reason), withdrawn)
    scale = scale_of(labels.lengths, labels.closeness)
    features = rows(labels.vectors, labels.lengths, labels.closeness, scale=scale)
    fitted = fit(features, labels.gains, folds_of(labels.groups))
    order = steps(labels.gains, fitted.cross_fitted, [model.usd for model in models], margin=margin)
    decided = _decision(labels, standing, order, fitted.cross_fitted, models, margin=margin)
    if not decided.adopted or decided.step is None:
        return FitOutcome(standing, decided, withdrawn)
    if (
        before is not None
        and not withdrawn
        and before.label_ids == labels.label_ids
        and len(before.usd)
    ):
        return FitOutcome(before, decided)  # no new labels: the file stays as it is
    fresh = RoutingPolicy(
        author=author,
        models=models,
        embedder=embedder,
        judges=judges,
        margin=margin,
        scale=scale,
        gain=fitted.model,
        steps=order,
        in_force=order.index(decided.step),
        label_ids=labels.label_ids,
        gains=labels.gains,
        cross_fitted=fitted.cross_fitted,
        classes=class_table(labels.classes, [float(gain) for gain in labels.gains[:, -1]]),
        last_sequence=labels.sequences[-1],
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        usd=labels.usd,
    )
    return FitOutcome(fresh, decided, withdrawn)


def _decision(
    labels: LabelArrays,
    standing: RoutingPolicy | None,
    order: tuple[PriceStep, ...],
    cross_fitted: Floats,
    models: Sequence[PricedModel],
    *,
    margin: float,
) -> AdoptionDecision:
    """Decide which step is adopted, if any, by the labels and against the policy in force."""
    spread = float(labels.gains[:, -1].std(ddof=1))
    decided = adoption.adopt(order, labels=len(labels), spread=spread, margin=margin)
    if standing is None or decided.step is None:
        return decided
    against = _against(standing, labels, cross_fitted, models, order)
    decided = adoption.adopt(
        order, labels=len(labels), spread=spread, margin=margin, against_standing=against
    )
    if decided.adopted and decided.step is not None and _is_dearer(decided.step, standing):
        why = "the policy in force leaves more to the own model, and stands"
        return replace(decided, adopted=False, reason=why)
    return decided


def _lapsed(
    standing: RoutingPolicy,
    models: Sequence[PricedModel],
    embedder: str,
    judges: tuple[str, ...],
    margin: float,
) -> str:
    """Return why a policy no longer matches the current models; empty if it does."""
    if standing.models[0].model != models[0].model:
        return "another version is stable"
    if len(standing.models) != len(models):
        return f"its labels are of {len(standing.models)} models"
    if standing.models[-1].model != models[-1].model:
        return f"the paid model was {standing.models[-1].model}"
    if standing.embedder != embedder:
        return "its labels are of another embedder"
    if standing.judges != judges:
        return "other judges are certified now"
    if standing.margin != margin:
        return f"its margin was {standing.margin:g}"
    return ""


def _is_dearer(step: PriceStep, standing: RoutingPolicy) -> bool:
    """Return whether it leaves less to the own model than the policy in force, by over a step."""
    return step.kept > standing.step.kept + 1.5 * STEP


def _since(standing: RoutingPolicy, labels: LabelArrays) -> np.ndarray:
    return np.asarray([number > standing.last_sequence for number in labels.sequences], np.bool_)


def _chosen(standing: RoutingPolicy, labels: LabelArrays, since: np.ndarray) -> np.ndarray:
    features = rows(labels.vectors, labels.lengths, labels.closeness, scale=standing.scale)[since]
    return choices(standing.gain.predict(features), standing.prices, standing.step.weight)


def _against_paid(standing: RoutingPolicy, labels: LabelArrays) -> list[float]:
    """Return the gains of the policy in force over the paid model on labels since its fit."""
    since = _since(standing, labels)
    if not since.any():
        return []
    gains = with_own(labels.gains[since])
    chosen = _chosen(standing, labels, since)
    return [float(row[model] - row[-1]) for row, model in zip(gains, chosen, strict=True)]


def _against(
    standing: RoutingPolicy,
    labels: LabelArrays,
    cross_fitted: Floats,
    models: Sequence[PricedModel],
    order: Sequence[PriceStep],
) -> list[Floats]:
    """Return new policy − policy in force at every step, on labels since the latter's fit."""
    since = _since(standing, labels)
    if not since.any():
        return [np.zeros(0) for _ in order]
    prices = np.asarray([model.usd for model in models], np.float64)
    old = _chosen(standing, labels, since)
    gains = with_own(labels.gains[since])
    every = np.arange(len(gains))
    current = gains[every, old]
    return [
        gains[every, choices(cross_fitted[since], prices, step.weight)] - current for step in order
    ]
