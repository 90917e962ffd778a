"""What a person set for the loop, as the values that `statistics/` asks for.

Belongs here: settings → batches, threshold, limits. Does not belong here: defaults (`settings.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass, field

from twin_resources.authors import Author
from twin_resources.settings import Settings
from twin_resources.statistics.baseline import TOLERANCE
from twin_resources.statistics.detector import ALPHA, HORIZON
from twin_resources.statistics.retraining_limits import RetrainingLimits
from twin_resources.statistics.watch import Batches, shares_from

# How much more often the bound lets a home alarm than a home in control does. With the threshold of
# a bound of 5 %, 0 of 100 simulated homes alarmed in 5,600 values; with that of 25 %, 1 of 100, and
# 2 of 60 whose days differ by .05. A fall of .1 is then found after 375 values instead of 525.
BOUND_TO_RATE = 5.0


@dataclass(frozen=True)
class LoopRules:
    """How streams are watched.

    Attributes:
        batches: how many values certify a baseline.
        horizon, alpha: P(false alarm of the fleet within `horizon` values) ≤ `alpha`, the bound.
        tolerance: a fall of the mean by less is none.
        by_day: whether values of a day may depend on each other; not where a value is settled as
            soon as it is there (`reader_days`, in tests and the demo).
    """

    batches: Batches = field(default_factory=Batches)
    horizon: int = HORIZON
    alpha: float = ALPHA
    tolerance: float = TOLERANCE
    by_day: bool = True


def rules_of(settings: Settings) -> LoopRules:
    """The rules of this home."""
    return LoopRules(
        Batches(shares_from(settings.baseline_values, settings.baseline_values_later)),
        horizon=settings.alarm_horizon,
        alpha=min(0.99, BOUND_TO_RATE * settings.alarm_rate),
        tolerance=settings.fall_tolerance,
        by_day=settings.reader_days == "daily",
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
