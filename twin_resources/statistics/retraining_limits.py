"""What else starts a retraining, in which order, and what holds every one back.

Scope: causes and their priority, one run at a time, cooldown, budgets, thresholds of growth.
Out of scope: the decision on an alarm (`retraining.py`), reading runs, starting them.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from twin_resources.statistics.baseline import duration

Cause = Literal["forget", "by_hand", "quality", "new_posts", "new_pairs"]
# `dagster/priority` in the pool of trainings: a duty first, then a wish, then what may wait.
PRIORITY: Mapping[Cause, int] = {
    "forget": 40,
    "by_hand": 30,
    "quality": 20,
    "new_posts": 10,
    "new_pairs": 5,
}
DAY = 86_400.0
FIRST_WAIT_DAYS = 7.0
MAX_WAIT_DAYS = 182.0


@dataclass(frozen=True)
class RetrainingLimits:
    """What a person allows.

    Attributes:
        automatic: `--auto-retrain`; off by default outside the demo.
        cooldown_days: between the starts of two trainings of an author.
        runs_a_month, hours_a_month: budgets; None: no limit.
        new_posts, new_pairs: since the last training, from which on it is worth one.
    """

    automatic: bool = False
    cooldown_days: float = 1.0
    runs_a_month: int | None = 8
    hours_a_month: float | None = 40.0
    new_posts: int = 25
    new_pairs: int = 200


@dataclass(frozen=True)
class Usage:
    """What trainings of one author have used.

    Attributes:
        in_flight: id of the run that is queued or running; empty: none.
        last_started: seconds since the epoch; None: never.
        runs, hours: in the last 30 days.
        in_vain: trainings by alarm since the last promotion, none of which was promoted.
        in_vain_at: when the newest of them ended, seconds since the epoch.
    """

    in_flight: str = ""
    last_started: float | None = None
    runs: int = 0
    hours: float = 0.0
    in_vain: int = 0
    in_vain_at: float = 0.0


def held_back_by(cause: Cause, usage: Usage, limits: RetrainingLimits, *, now: float) -> str | None:
    """Why a training for this cause may not start now; None: it may.

    One run at a time holds for all. A forget request is a duty and a person's order is an order:
    they do not wait for cooldown, budget or `--auto-retrain`.

    Args:
        now: seconds since the epoch. A clock set back counts as no time passed.
    """
    if usage.in_flight:
        return f"run {usage.in_flight} is in flight"
    if cause in {"forget", "by_hand"}:
        return None
    if not limits.automatic:
        return "automatic retraining is off (--auto-retrain turns it on)"
    if usage.last_started is not None:
        waited = max(0.0, now - usage.last_started) / DAY
        if waited < limits.cooldown_days:
            return f"cooldown, {duration(limits.cooldown_days - waited)} left"
    if limits.runs_a_month is not None and usage.runs >= limits.runs_a_month:
        return f"budget reached: {usage.runs} of {limits.runs_a_month} runs in 30 days"
    if cause == "quality" and now < (until := next_by_alarm(usage)):
        return backed_off(usage, until)
    if limits.hours_a_month is not None and usage.hours >= limits.hours_a_month:
        return f"budget reached: {usage.hours:.1f} of {limits.hours_a_month:g} hours in 30 days"
    return None


def next_by_alarm(usage: Usage) -> float:
    """From when on an alarm may start a training again, seconds since the epoch; 0: now.

    7 days after the first that came to nothing, then 14, 28, 56, 112, at most 182: six useless
    trainings in a year of false alarms and two in each after it, whatever raises the alarms.
    """
    if not usage.in_vain:
        return 0.0
    days = min(MAX_WAIT_DAYS, FIRST_WAIT_DAYS * 2.0 ** min(usage.in_vain - 1, 10))
    return usage.in_vain_at + days * DAY


def backed_off(usage: Usage, until: float) -> str:
    """Why an alarm starts no training before `until`."""
    many = "the last training" if usage.in_vain == 1 else f"the last {usage.in_vain} trainings"
    return (
        f"{many} by alarm led to no release: the next may start on {date(until)}; `twin retrain "
        "--reason TEXT` starts one now"
    )


def date(moment: float) -> str:
    """`2026-11-26`, UTC, of seconds since the epoch."""
    return datetime.fromtimestamp(moment, UTC).date().isoformat()


def first_cause(causes: Iterable[Cause]) -> Cause | None:
    """The cause that a training is started for, if several call for one."""
    return max(causes, key=lambda cause: PRIORITY[cause], default=None)


def growth(new_posts: int, new_pairs: int, limits: RetrainingLimits) -> Cause | None:
    """`new_posts` or `new_pairs` when there are enough of them since the last training."""
    causes: list[Cause] = []
    if new_posts >= limits.new_posts:
        causes.append("new_posts")
    if new_pairs >= limits.new_pairs:
        causes.append("new_pairs")
    return first_cause(causes)
