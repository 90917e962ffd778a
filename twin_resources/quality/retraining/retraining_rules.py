"""What a person set for the loop, as the values that `statistics/` asks for.

Scope: settings → threshold, limits. Out of scope: defaults (`settings.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

from twin_resources.authors import Author
from twin_resources.settings import Settings
from twin_resources.statistics import detector
from twin_resources.statistics.retraining_limits import RetrainingLimits


@dataclass(frozen=True)
class LoopRules:
    """How streams are watched.

    Attributes:
        fewest: values that a stream needs before a fall can be seen.
        horizon, alpha: at most this share of quiet homes alarms within so many values.
        tolerance: a fall of the mean by less is none.
        by_day: whether values of a day may depend on each other; not where a value is settled as
            soon as it is there (`reader_days`, in tests and the demo).
    """

    fewest: int = detector.MIN_VALUES
    horizon: int = detector.HORIZON
    alpha: float = detector.ALPHA
    tolerance: float = detector.TOLERANCE
    by_day: bool = True

    def threshold(self, armed_streams: int) -> float:
        """C·N with so many streams in which a fall would be seen; one at least."""
        count = max(1, armed_streams)
        return detector.threshold(armed_streams=count, horizon=self.horizon, alpha=self.alpha)


def rules_of(settings: Settings) -> LoopRules:
    """The rules of this home."""
    return LoopRules(
        settings.baseline_values,
        horizon=settings.alarm_horizon,
        alpha=settings.alarm_rate,
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
