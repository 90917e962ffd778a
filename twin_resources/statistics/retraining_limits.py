"""Order the causes of retrainings and limit how often they start.

Scope: causes and their priority, one run at a time, cooldown, budgets, thresholds for new posts
and pairs.
Out of scope: the decision on an alarm (`retraining.py`), reading runs, and starting them.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from twin_resources.statistics.warm_up import format_days

Cause = Literal["forget", "by_hand", "quality", "new_posts", "new_pairs"]
# `dagster/priority` in the training pool: obligations first, then requests, then other causes.
PRIORITY: Mapping[Cause, int] = {
    "forget": 40,
    "by_hand": 30,
    "quality": 20,
    "new_posts": 10,
    "new_pairs": 5,
}
DAY_S = 86_400.0
FIRST_WAIT_DAYS = 7.0
MAX_WAIT_DAYS = 182.0


@dataclass(frozen=True)
class RetrainingLimits:
    """The limits that a person sets for an author's retrainings.

    Attributes:
        automatic: `--auto-retrain`; off by default outside the demo.
        missing_consent: why the author's consent is missing; empty if it is recorded.
        cooldown_days: the minimum time between the starts of an author's training runs.
        runs_a_month, hours_a_month: budgets, or None for no limit.
        new_posts, new_pairs: the numbers since the last training run that start another run.
    """

    automatic: bool = False
    missing_consent: str = ""
    cooldown_days: float = 1.0
    runs_a_month: int | None = 8
    hours_a_month: float | None = 40.0
    new_posts: int = 25
    new_pairs: int = 200


@dataclass(frozen=True)
class TrainingUsage:
    """One author's recent training runs and their duration.

    Attributes:
        in_flight_run_id: the id of the queued or running run; empty if there is none.
        last_started: the start of the last run, in seconds since the epoch, or None.
        runs, hours: the number of runs and their hours in the last 30 days.
        unreleased_trainings: the number of training runs that alarms have started since the last
            promotion; none of them led to a release.
        last_unreleased_at: the end of the newest of these, in seconds since the epoch.
    """

    in_flight_run_id: str = ""
    last_started: float | None = None
    runs: int = 0
    hours: float = 0.0
    unreleased_trainings: int = 0
    last_unreleased_at: float = 0.0


def find_blocking_limit(
    cause: Cause, usage: TrainingUsage, limits: RetrainingLimits, *, now: float
) -> str | None:
    """Return why a training run for this cause must not start now, or None if it may start.

    One run at a time, and no run without consent, applies to every cause. Forget requests and a
    person's requests do not wait for cooldown, budget or `--auto-retrain`.

    Args:
        now: seconds since the epoch. If the clock was set back, no time counts as passed.
    """
    if usage.in_flight_run_id:
        return f"run {usage.in_flight_run_id} is in flight"
    if limits.missing_consent:
        return f"nothing is trained without the author's consent: {limits.missing_consent}"
    if cause in {"forget", "by_hand"}:
        return None
    if not limits.automatic:
        return "automatic retraining is off (--auto-retrain turns it on)"
    if usage.last_started is not None:
        waited_days = max(0.0, now - usage.last_started) / DAY_S
        if waited_days < limits.cooldown_days:
            return f"cooldown, {format_days(limits.cooldown_days - waited_days)} left"
    if limits.runs_a_month is not None and usage.runs >= limits.runs_a_month:
        return f"budget reached: {usage.runs} of {limits.runs_a_month} runs in 30 days"
    if cause == "quality" and now < (wait_end := next_alarm_training_at(usage)):
        return describe_back_off(usage, wait_end)
    if limits.hours_a_month is not None and usage.hours >= limits.hours_a_month:
        return f"budget reached: {usage.hours:.1f} of {limits.hours_a_month:g} hours in 30 days"
    return None


def next_alarm_training_at(usage: TrainingUsage) -> float:
    """Return when an alarm may next start a training run, in seconds since the epoch; 0 means now.

    The wait is 7 days after the first run without a release, then 14, 28, 56, 112 and at most 182.
    Continuous false alarms therefore cause six useless runs in the first year and two in each later
    year.
    """
    if not usage.unreleased_trainings:
        return 0.0
    days = min(MAX_WAIT_DAYS, FIRST_WAIT_DAYS * 2.0 ** min(usage.unreleased_trainings - 1, 10))
    return usage.last_unreleased_at + days * DAY_S


def describe_back_off(usage: TrainingUsage, until: float) -> str:
    """Describe why an alarm does not start training before `until`."""
    trainings = (
        "the last training"
        if usage.unreleased_trainings == 1
        else f"the last {usage.unreleased_trainings} trainings"
    )
    return (
        f"{trainings} after an alarm led to no release: the next may start on "
        f"{format_date(until)}; `twin retrain --reason TEXT` starts one now"
    )


def format_date(timestamp: float) -> str:
    """Return the UTC date (`2026-11-26`) of seconds since the epoch."""
    return datetime.fromtimestamp(timestamp, UTC).date().isoformat()


def find_growth_cause(new_posts: int, new_pairs: int, limits: RetrainingLimits) -> Cause | None:
    """Return `new_posts` or `new_pairs` if enough have arrived since the last training run."""
    if new_posts >= limits.new_posts:
        return "new_posts"
    return "new_pairs" if new_pairs >= limits.new_pairs else None
