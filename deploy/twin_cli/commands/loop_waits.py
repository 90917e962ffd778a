"""Report the event that an author's loop waits for, and its time, in one line of `twin status`.

Scope: reading the data from the state store, and the wording.
Out of scope: decisions (`statistics/retraining.py`, `quality/release`), the other lines
of a status (`author_quality.py`).
"""
# pyright: strict

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from twin_resources.quality.release import trial_rows
from twin_resources.quality.release.release_mode import MAX_CANARY_DAYS
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


def waiting_line(connection: sa.Connection, author: str, *, now: float) -> str:
    """Return the first wait that applies, or empty if nothing waits and the versions are watched.

    The order is: a retraining, an open alarm, a trial, a fall reported to a person, the time when
    the next retraining may start.

    Args:
        now: seconds since the epoch.
    """
    return (
        _retraining_line(connection, author)
        or _open_alarm_line(connection, author)
        or _trial_line(connection, author)
        or _manual_action_line(connection, author, now=now)
        or _backoff_line(connection, author, now=now)
    )


def _retraining_line(connection: sa.Connection, author: str) -> str:
    unfinished = [
        retraining
        for retraining in retrainings.unfinished_retrainings(connection)
        if retraining.author == author
    ]
    if not unfinished:
        return ""
    one = unfinished[0]
    run = f"run {one.run_id[:8]}" if one.run_id else "its run is about to start"
    return (
        f"waits: for the retraining {one.run_key}, attempt {one.attempt} of {MAX_ATTEMPTS}: {run}"
    )


def _open_alarm_line(connection: sa.Connection, author: str) -> str:
    record = alarm_records.oldest_open_alarms(connection).get(author)
    if record is None:
        return ""
    return f"fell: {record.message or f'{record.alarm.stream}: alarm {record.alarm.number}'}"


def _trial_line(connection: sa.Connection, author: str) -> str:
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
        began_at, last_paired_at, pairs = (
            datetime.fromisoformat(entry_move.moved_at).timestamp(),
            None,
            0,
        )
    else:
        began_at, last_paired_at, pairs = (
            latest_state.began_at,
            latest_state.paired_at,
            latest_state.evidence.pairs,
        )
    status_text = (
        f"waits: v{trial.version} on trial as {trial.mode} against "
        f"v{trial.incumbent}, {pairs} pairs"
    )
    if trial.mode == "canary":
        return f"{status_text}; decided by {format_date(began_at + MAX_CANARY_DAYS * DAY_S)}"
    until = format_date(max(began_at, last_paired_at or 0.0) + MAX_IDLE_DAYS * DAY_S)
    return f"{status_text}; parked on {until} unless a pair comes before"


def _manual_action_line(connection: sa.Connection, author: str, *, now: float) -> str:
    newest = next(iter(alarm_records.list_alarms(connection, author, limit=1)), None)
    stable = score_watch.stable_versions(connection).get(author)
    if newest is None or stable is None or newest.alarm.version != score_watch.version_name(stable):
        return ""
    needs_person = newest.decision in MANUAL_DECISIONS or newest.decided_by == "few_readers"
    if not needs_person or now - newest.raised_at > MANUAL_ACTION_SHOWN_DAYS * DAY_S:
        return ""
    return f"fell on {format_date(newest.raised_at)}, waits for an operator: {newest.message}"


def _backoff_line(connection: sa.Connection, author: str, *, now: float) -> str:
    """Return when an alarm may start the next training run, after runs without a release."""
    fruitless_count, ended_at = retrainings.count_unreleased_trainings(connection, author)
    usage = TrainingUsage(unreleased_trainings=fruitless_count, last_unreleased_at=ended_at)
    next_allowed_at = next_alarm_training_at(usage)
    return describe_back_off(usage, next_allowed_at) if now < next_allowed_at else ""
