"""Sample questions of two topics with labels, and fit a routing policy to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twin_resources.router.class_table import class_table
from twin_resources.router.features import Floats, feature_rows, fit_scale
from twin_resources.router.fixed_sequence import compute_price_steps, find_cheapest_step
from twin_resources.router.gain import assign_folds, fit
from twin_resources.router.policy_file import PricedModel, RoutingPolicy

OWN = PricedModel("own", "checkpoint", 0.0, 0.1, 0.00001)
PAID = PricedModel("paid", "seller/model", 2.0, 8.0, 0.001)
HARD_GAIN = 0.6  # on half of the questions; there is no gain on the others
HARD_USD, EASY_USD = 0.0016, 0.0004  # of a paid answer
MARGIN = 0.03


@dataclass(frozen=True)
class SampledQuestions:
    """Questions with true mean gains and labels, of shapes (n, d), (n,) and (n, 1)."""

    vectors: Floats
    true_gains: Floats
    gains: Floats
    lengths: tuple[int, ...]
    closeness: tuple[float, ...]


def sample_questions(count: int, *, seed: int, noise: float = 0.2) -> SampledQuestions:
    """Sample questions of two topics, with labels around the topic's gain."""
    rng = np.random.default_rng(seed)
    is_hard = rng.random(count) < 0.5
    topic_vectors = np.where(is_hard[:, None], np.eye(8)[0], np.eye(8)[1])
    vectors = topic_vectors + 0.2 * rng.standard_normal((count, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    true_gains = np.where(is_hard, HARD_GAIN, 0.0)
    gains = np.clip(true_gains + noise * rng.standard_normal(count), -1.0, 1.0)
    lengths = tuple(int(length) for length in rng.integers(20, 200, count))
    return SampledQuestions(vectors, true_gains, gains[:, None], lengths, tuple(rng.random(count)))


def features(questions: SampledQuestions) -> Floats:
    """Return the features of the questions, scaled by the spread of these questions."""
    scale = fit_scale(questions.lengths, questions.closeness)
    return feature_rows(questions.vectors, questions.lengths, questions.closeness, scale=scale)


def fitted_policy(questions: SampledQuestions) -> RoutingPolicy:
    """Return the policy of these labels at its cheapest certified step."""
    count = len(questions.gains)
    label_ids = tuple(f"{number:032x}" for number in range(count))
    fitted = fit(features(questions), questions.gains, assign_folds(label_ids))
    steps = compute_price_steps(
        questions.gains, fitted.cross_fitted, [OWN.usd, PAID.usd], margin=MARGIN
    )
    active_step = find_cheapest_step(steps)
    assert active_step is not None
    classes = ["hard" if gain else "easy" for gain in questions.true_gains]
    return RoutingPolicy(
        author="mara",
        models=(OWN, PAID),
        embedder="made",
        judges=("topic@1",),
        margin=MARGIN,
        scale=fit_scale(questions.lengths, questions.closeness),
        gain=fitted.model,
        steps=steps,
        active_step_index=steps.index(active_step),
        label_ids=label_ids,
        gains=questions.gains,
        cross_fitted=fitted.cross_fitted,
        classes=class_table(classes, [float(gain) for gain in questions.gains[:, 0]]),
        last_sequence=count,
        written_at="2026-11-21T00:00:00+00:00",
        usd=np.where(questions.true_gains > 0, HARD_USD, EASY_USD),
    )
