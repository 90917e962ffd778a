"""Report what an author's loop waits for, and until when, in one line of `twin status`.

Scope: reading the data from the state store, and the wording.
Out of scope: deciding what follows (`statistics/retraining.py`, `quality/release`), the other lines
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
from twin_resources.statistics.retraining import ATTEMPTS
from twin_resources.statistics.retraining_limits import DAY, Usage, backed_off, date, next_by_alarm

TOLD_FOR_DAYS = 30.0
# Decisions after which nothing happens until a person acts.
FOR_A_PERSON = {"nothing_to_learn", "incident"}


def waiting_line(connection: sa.Connection, author: str, *, now: float) -> str:
    """Return the first wait that applies, or empty if nothing waits and the versions are watched.

    The order is: a retraining, an open alarm, a trial, a fall reported to a person, the time when
    the next retraining may start.

    Args:
        now: seconds since the epoch.
    """
    return (
        _retraining(connection, author)
        or _open_alarm(connection, author)
        or _trial(connection, author)
        or _told(connection, author, now=now)
        or _backed_off(connection, author, now=now)
    )


def _retraining(connection: sa.Connection, author: str) -> str:
    mine = [one for one in retrainings.unfinished(connection) if one.author == author]
    if not mine:
        return ""
    one = mine[0]
    run = f"run {one.run_id[:8]}" if one.run_id else "its run is about to start"
    return f"waits: for the retraining {one.run_key}, attempt {one.attempt} of {ATTEMPTS}: {run}"


def _open_alarm(connection: sa.Connection, author: str) -> str:
    record = alarm_records.open_alarms(connection).get(author)
    if record is None:
        return ""
    return f"fell: {record.message or f'{record.alarm.stream}: alarm {record.alarm.number}'}"


def _trial(connection: sa.Connection, author: str) -> str:
    on = trial_rows.on_trial(connection, author)
    if on is None:
        return ""
    known = trial_rows.newest(connection, on)
    if known is None:
        entered = next(
            move for move in registry_rows.history(connection, author) if move.number == on.entered
        )
        began, last, pairs = datetime.fromisoformat(entered.moved_at).timestamp(), None, 0
    else:
        began, last, pairs = known.began_at, known.paired_at, known.evidence.pairs
    said = f"waits: v{on.version} on trial as {on.mode} against v{on.incumbent}, {pairs} pairs"
    if on.mode == "canary":
        return f"{said}; decided by {date(began + MAX_CANARY_DAYS * DAY)}"
    until = date(max(began, last or 0.0) + MAX_IDLE_DAYS * DAY)
    return f"{said}; parked on {until} unless a pair comes before"


def _told(connection: sa.Connection, author: str, *, now: float) -> str:
    newest = next(iter(alarm_records.of_author(connection, author, limit=1)), None)
    stable = score_watch.stable_versions(connection).get(author)
    if newest is None or stable is None or newest.alarm.version != score_watch.name_of(stable):
        return ""
    for_a_person = newest.decision in FOR_A_PERSON or newest.decided_by == "few_readers"
    if not for_a_person or now - newest.raised_at > TOLD_FOR_DAYS * DAY:
        return ""
    return f"fell on {date(newest.raised_at)}, waits for a person: {newest.message}"


def _backed_off(connection: sa.Connection, author: str, *, now: float) -> str:
    """Return when an alarm may start the next training, after trainings without a release."""
    count, ended_at = retrainings.in_vain(connection, author)
    usage = Usage(in_vain=count, in_vain_at=ended_at)
    until = next_by_alarm(usage)
    return backed_off(usage, until) if now < until else ""
