"""Convert the loop's settings to the values that `statistics/` uses.

Scope: settings → threshold, limits.
Out of scope: defaults (`settings.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

from twin_resources.authors import Author
from twin_resources.authors.consent import find_consent_date, missing_consent_reason
from twin_resources.settings import Settings
from twin_resources.statistics import detector
from twin_resources.statistics.retraining_limits import RetrainingLimits


@dataclass(frozen=True)
class LoopRules:
    """The rules for watching streams.

    Attributes:
        min_values: the number of values before a fall with which those since it are compared.
        horizon, alpha: the false-alarm rate is `alpha` within `horizon` values.
        tolerance: the smallest decrease of the mean that counts as a fall.
        groups_by_day: whether the values of one day may depend on each other. False if each value
            is settled at once (`reader_days`, in tests and the demo).
    """

    min_values: int = detector.MIN_VALUES
    horizon: int = detector.HORIZON
    alpha: float = detector.ALPHA
    tolerance: float = detector.TOLERANCE
    groups_by_day: bool = True

    @property
    def required_values(self) -> int:
        """The number of values that a stream needs before a fall can be detected."""
        return self.min_values + detector.MIN_VALUES_SINCE

    def threshold(self, armed_streams: int) -> float:
        """Return the threshold C·N for N armed streams; zero streams count as one."""
        count = max(1, armed_streams)
        return detector.compute_threshold(
            armed_streams=count, horizon=self.horizon, alpha=self.alpha
        )


def rules_from_settings(settings: Settings) -> LoopRules:
    """Return the rules that this home's settings define."""
    return LoopRules(
        settings.baseline_values,
        horizon=settings.alarm_horizon,
        alpha=settings.alarm_rate,
        groups_by_day=settings.reader_days == "daily",
    )


def limits_for_author(settings: Settings, author: Author) -> RetrainingLimits:
    """Return the limits of an author's retrainings, none of which start without consent.

    The author's own `auto_retrain` setting takes precedence.
    """
    return RetrainingLimits(
        automatic=settings.auto_retrain if author.auto_retrain is None else author.auto_retrain,
        missing_consent="" if find_consent_date(author) else missing_consent_reason(author),
        cooldown_days=settings.retrain_cooldown_days,
        hours_a_month=settings.retrain_hours_a_month,
        new_posts=settings.retrain_new_posts,
        new_pairs=settings.retrain_new_pairs,
    )
