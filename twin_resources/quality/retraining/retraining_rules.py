"""What a person set for the loop, as the values that `statistics/` asks for.

Belongs here: settings → batches, threshold, limits. Does not belong here: defaults (`settings.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass, field

from twin_resources.authors import Author
from twin_resources.settings import Settings
from twin_resources.statistics.baseline import MARGIN
from twin_resources.statistics.detector import ALPHA, HORIZON
from twin_resources.statistics.retraining_limits import RetrainingLimits
from twin_resources.statistics.watch import Batches


@dataclass(frozen=True)
class LoopRules:
    """How streams are watched.

    Attributes:
        batches: how many values certify a baseline.
        horizon, alpha: P(false alarm of the fleet within `horizon` values) ≤ `alpha`.
        margin: ε of the floor that a new version is held to.
    """

    batches: Batches = field(default_factory=Batches)
    horizon: int = HORIZON
    alpha: float = ALPHA
    margin: float = MARGIN


def rules_of(settings: Settings) -> LoopRules:
    """The rules of this home."""
    return LoopRules(
        Batches(first=settings.baseline_values, second=settings.baseline_values_later),
        horizon=settings.alarm_horizon,
        alpha=settings.alarm_rate,
        margin=settings.margin,
    )


def limits_of(settings: Settings, author: Author) -> RetrainingLimits:
    """What this author's retrainings may use; the author's own word on automatic ones counts."""
    return RetrainingLimits(
        automatic=settings.auto_retrain if author.auto_retrain is None else author.auto_retrain,
        cooldown_days=settings.retrain_cooldown_days,
        runs_a_month=settings.retrain_runs_a_month,
        hours_a_month=settings.retrain_hours_a_month,
        new_posts=settings.retrain_new_posts,
        new_pairs=settings.retrain_new_pairs,
    )
