"""Made labels: questions in a plane of topics, a gain that follows from the topic.

Scope: drawing them, and the policy that they fit. Out of scope: tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twin_resources.router.class_table import class_table
from twin_resources.router.features import Floats, feature_rows, fit_scale
from twin_resources.router.fixed_order import cheapest_certified, compute_price_steps
from twin_resources.router.gain import assign_folds, fit
from twin_resources.router.policy_file import PricedModel, RoutingPolicy

OWN = PricedModel("own", "checkpoint", 0.0, 0.1, 0.00001)
PAID = PricedModel("paid", "seller/model", 2.0, 8.0, 0.001)
HARD = 0.6  # gain on half of the questions, none on the others
HARD_USD, EASY_USD = 0.0016, 0.0004  # of a paid answer
MARGIN = 0.03


@dataclass(frozen=True)
class Drawn:
    """Questions with their true mean gains and their labels, shapes (n, d), (n,), (n, 1)."""

    vectors: Floats
    true: Floats
    gains: Floats
    lengths: tuple[int, ...]
    closeness: tuple[float, ...]


def drawn(count: int, *, seed: int, hard: float = HARD, noise: float = 0.2) -> Drawn:
    """Questions of one of two topics each, with labels around the topic's gain."""
    random = np.random.default_rng(seed)
    is_hard = random.random(count) < 0.5
    centre = np.where(is_hard[:, None], np.eye(8)[0], np.eye(8)[1])
    vectors = centre + 0.2 * random.standard_normal((count, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    true = np.where(is_hard, hard, 0.0)
    gains = np.clip(true + noise * random.standard_normal(count), -1.0, 1.0)
    lengths = tuple(int(length) for length in random.integers(20, 200, count))
    return Drawn(vectors, true, gains[:, None], lengths, tuple(random.random(count)))


def features(found: Drawn) -> Floats:
    """Their rows, on their own scale."""
    scale = fit_scale(found.lengths, found.closeness)
    return feature_rows(found.vectors, found.lengths, found.closeness, scale=scale)


def fitted_policy(found: Drawn) -> RoutingPolicy:
    """The policy of these labels, at its cheapest certified step."""
    count = len(found.gains)
    names = tuple(f"{number:032x}" for number in range(count))
    made = fit(features(found), found.gains, assign_folds(names), ridges=[3.0])
    order = compute_price_steps(found.gains, made.cross_fitted, [OWN.usd, PAID.usd], margin=MARGIN)
    best = cheapest_certified(order)
    assert best is not None
    classes = ["hard" if true else "easy" for true in found.true]
    return RoutingPolicy(
        author="mara",
        models=(OWN, PAID),
        embedder="made",
        judges=("topic@1",),
        margin=MARGIN,
        scale=fit_scale(found.lengths, found.closeness),
        gain=made.model,
        steps=order,
        active_step_index=order.index(best),
        label_ids=names,
        gains=found.gains,
        cross_fitted=made.cross_fitted,
        classes=class_table(classes, [float(gain) for gain in found.gains[:, 0]]),
        last_sequence=count,
        written_at="2026-11-21T00:00:00+00:00",
        usd=np.where(found.true > 0, HARD_USD, EASY_USD),
    )
