"""Format the line of `twin status` that reports which event an author's loop waits for.

Scope: reading the data from the state store, and the wording.
Out of scope: decisions (`statistics/retraining.py`, `quality/release`), and the other status lines
(`author_quality.py`).
"""
# pyright: strict

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from twin_resources.quality.release import trial_rows
from twin_resources.quality.release.releasing import MAX_IDLE_DAYS
from twin_resources.quality.retraining import alarm_records, retrainings, score_watch
from twin_resources.registry import rows as registry_rows
from twin_resources.statistics.retraining import MAX_ATTEMPTS
from twin_resources.statistics.retraining_limits import (
    DAY_S,
    TrainingUsage,
    describe_back_off,
    format_date,
    next_alarm_training_at,
)

MANUAL_ACTION_SHOWN_DAYS = 30.0
# Decisions after which a person must act.
MANUAL_DECISIONS = {"nothing_to_learn", "incident"}


def describe_wait(connection: sa.Connection, author: str, *, now: float) -> str:
    """Return the first wait that applies, or an empty string if the loop does not wait.

    The order is: a retraining, an open alarm, a trial, a drop reported to an operator, and the time
    when the next retraining may start.

    Args:
        now: seconds since the epoch.
    """
    return (
        _describe_retraining(connection, author)
        or _describe_open_alarm(connection, author)
        or _describe_trial(connection, author)
        or _describe_manual_action(connection, author, now=now)
        or _describe_waiting_time(connection, author, now=now)
    )


def _describe_retraining(connection: sa.Connection, author: str) -> str:
    pending_retrainings = [
        row for row in retrainings.unfinished_retrainings(connection) if row.author == author
    ]
    if not pending_retrainings:
        return ""
    row = pending_retrainings[0]
    run = f"run {row.run_id[:8]}" if row.run_id else "its run is about to start"
    attempt = f"attempt {row.attempt} of {MAX_ATTEMPTS}"
    return f"waiting for the retraining {row.run_key}, {attempt}: {run}"


def _describe_open_alarm(connection: sa.Connection, author: str) -> str:
    record = alarm_records.oldest_open_alarms(connection).get(author)
    if record is None:
        return ""
    return (
        f"quality fell: {record.message or f'{record.alarm.stream}: alarm {record.alarm.number}'}"
    )


def _describe_trial(connection: sa.Connection, author: str) -> str:
    trial = trial_rows.candidate_on_trial(connection, author)
    if trial is None:
        return ""
    latest_state = trial_rows.newest_trial(connection, trial)
    if latest_state is None:
        entry_move = next(
            move
            for move in registry_rows.list_moves(connection, author)
            if move.number == trial.entered
        )
        began_at = datetime.fromisoformat(entry_move.moved_at).timestamp()
        last_paired_at, pairs = None, 0
    else:
        began_at, last_paired_at = latest_state.began_at, latest_state.paired_at
        pairs = latest_state.evidence.pairs
    status_text = (
        f"waiting for v{trial.version}, on trial as {trial.mode} against v{trial.incumbent}, "
        f"{pairs} pairs"
    )
    deadline = format_date(max(began_at, last_paired_at or 0.0) + MAX_IDLE_DAYS * DAY_S)
    return f"{status_text}; parked on {deadline} unless a pair arrives first"


def _describe_manual_action(connection: sa.Connection, author: str, *, now: float) -> str:
    record = next(iter(alarm_records.list_alarms(connection, author, limit=1)), None)
    stable_version = score_watch.stable_versions(connection).get(author)
    if (
        record is None
        or stable_version is None
        or record.alarm.version != score_watch.version_name(stable_version)
    ):
        return ""
    needs_person = record.decision in MANUAL_DECISIONS or record.decided_by == "few_readers"
    if not needs_person or now - record.raised_at > MANUAL_ACTION_SHOWN_DAYS * DAY_S:
        return ""
    fell_on = format_date(record.raised_at)
    return f"quality fell on {fell_on}; waiting for an operator: {record.message}"


def _describe_waiting_time(connection: sa.Connection, author: str, *, now: float) -> str:
    """Describe when an alarm may start the next training run after runs without a release."""
    count, ended_at = retrainings.count_unreleased_trainings(connection, author)
    usage = TrainingUsage(unreleased_trainings=count, last_unreleased_at=ended_at)
    next_allowed_at = next_alarm_training_at(usage)
    return describe_back_off(usage, next_allowed_at) if now < next_allowed_at else ""
