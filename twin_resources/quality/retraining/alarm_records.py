"""Store alarms as rows, which are added with a notice and closed by a decision.

Scope: recording, reading and closing alarms, counting scores by status.
Out of scope: raising an alarm (`score_watch.py`), deciding (`statistics/retraining.py`).

A row is never deleted, and its key (author, stream, version, number) is never reused. The loop
therefore responds to each fall only once, even if other data is lost.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from twin_resources.observability.notifications import Notice, announce
from twin_resources.quality.ledger.ledger_tables import scores, traces
from twin_resources.quality.ledger.scores import NOT_MAPPED
from twin_resources.statistics.detector import Alarm, StreamEvidence
from twin_resources.statistics.retraining import INCIDENT_WINDOW_S, RetrainingDecision
from twin_resources.statistics.retraining_limits import DAY_S
from twin_resources.storage.state.state_tables import alarms

ALARM_KEY_COLUMNS = ("author", "stream", "version", "number")
DECISION_COLUMNS = ("decision", "decided_by", "message", "run_key")
NOT_IN_SCORES = "not in [scores]: "  # status prefix, followed by an unmapped score's name

# The status of a score in words; `ledger_tables.scores` describes each status.
_STATUS_TEXT = sa.case(
    (scores.c.status == "settled", "counted"),
    (scores.c.status == "beside", "counted in one value with the reader's other scores that day"),
    (scores.c.status == "open", "waiting until its day is settled"),
    (scores.c.status == "kept", "an edit or a comparison, not a vote"),
    (scores.c.status == "deleted", "deleted in the trace store"),
    (scores.c.status == "capped", "above the reader's share"),
    (scores.c.status == "beyond", "from a day with over three times the usual number of scores"),
    (scores.c.status == "new", "from new readers (last two weeks), above their tenth of the day"),
    (scores.c.status == "late", "late: the reader's day was already settled"),
    (scores.c.reason == NOT_MAPPED, sa.literal(NOT_IN_SCORES) + scores.c.name),
    else_=scores.c.reason,
)


@dataclass(frozen=True)
class AlarmRecord:
    """One alarm and its decision.

    Attributes:
        alarm: the evidence.
        raised_at: seconds since the epoch.
        is_open: whether the next tick decides on it (again).
        decision: the kind of the newest decision, or empty if there is none.
        decided_by: the rule that decided (`limits`, `learnt_before` …).
        message: the message of the newest decision.
        run_key: the run key of the retraining that the alarm started, or empty.
    """

    alarm: Alarm
    raised_at: float
    is_open: bool
    decision: str
    decided_by: str
    message: str
    run_key: str


def record_alarm(
    connection: sa.Connection, evidence: StreamEvidence, *, threshold: float, at: float
) -> None:
    """Store the alarm that this evidence raises, and queue at most one notice per stream and day.

    Args:
        threshold: the threshold that the evidence reached.
        at: seconds since the epoch.
    """
    key = evidence.author, evidence.stream, evidence.version
    is_same_series = sa.tuple_(alarms.c.author, alarms.c.stream, alarms.c.version) == key
    newest_number = connection.execute(
        sa.select(sa.func.max(alarms.c.number)).where(is_same_series)
    ).scalar()
    alarm = Alarm(
        *key,
        number=int(newest_number or 0) + 1,
        sequence=evidence.last,
        likelihood_ratio=evidence.likelihood_ratio,
        threshold=threshold,
        values_since_fall=evidence.recent_count,
        since=evidence.since,
    )
    connection.execute(
        sa.insert(alarms).values(
            **{name: getattr(alarm, name) for name in ALARM_KEY_COLUMNS},
            evidence=asdict(alarm),
            raised_at=at,
            status="open",
            **dict.fromkeys(DECISION_COLUMNS, ""),
            tags={},
        )
    )
    announce(
        connection,
        Notice(
            key=f"alarm:{alarm.author}:{alarm.version}:{alarm.stream}:{int(at // DAY_S)}",
            event="alarm",
            author=alarm.author,
            title=f"Quality of {alarm.author} fell",
            text=f"{alarm.description}. The messages of the sensor quality_dropped report the "
            "decision, or what the alarm is waiting for. `twin status` shows the state of the "
            "loop, and `twin retrain --reason TEXT` starts a training run by hand.",
        ),
        at=at,
    )


def oldest_open_alarms(connection: sa.Connection) -> dict[str, AlarmRecord]:
    """Return author → the oldest open alarm."""
    rows = connection.execute(
        sa.select(alarms)
        .where(alarms.c.status == "open")
        .order_by(alarms.c.raised_at, alarms.c.stream, alarms.c.number)
    ).mappings()
    alarm_by_author: dict[str, AlarmRecord] = {}
    for row in rows:
        alarm_by_author.setdefault(row["author"], _record_from_row(row))
    return alarm_by_author


def list_alarms(
    connection: sa.Connection, author: str, *, stream: str = "", limit: int = 100
) -> list[AlarmRecord]:
    """Return an author's alarms, newest first.

    Args:
        stream: the only stream to return; empty for all.
    """
    rows = connection.execute(
        sa.select(alarms)
        .where(alarms.c.author == author, alarms.c.stream == stream if stream else sa.true())
        .order_by(alarms.c.raised_at.desc(), alarms.c.number.desc())
        .limit(limit)
    ).mappings()
    return [_record_from_row(row) for row in rows]


def find_alarmed_authors(connection: sa.Connection, *, at: float) -> list[str]:
    """Return the authors with an alarm within two days of a given time.

    Args:
        at: seconds since the epoch.
    """
    is_near = alarms.c.raised_at.between(at - INCIDENT_WINDOW_S, at + INCIDENT_WINDOW_S)
    authors = connection.execute(sa.select(alarms.c.author).where(is_near).distinct()).scalars()
    return sorted(str(author) for author in authors)


def count_excluded_scores(connection: sa.Connection, author: str) -> dict[str, int]:
    """Count an author's scores that never became a value, by reason.

    These scores are malformed, unmapped, late, or above a limit for their reader or day.
    """
    is_excluded = scores.c.status.in_(("bad", "capped", "late", "beyond", "new"))
    return {
        str(status): count
        for status, count in _count_by(connection, author, is_excluded, _STATUS_TEXT)
    }


def count_scores_by_status(
    connection: sa.Connection, author: str, *, since_ms: int
) -> dict[str, dict[str, int]]:
    """Count an author's scores since a given time: score name → status in words → count.

    Args:
        since_ms: the earliest time of a score, in Unix milliseconds.
    """
    counts: dict[str, dict[str, int]] = {}
    is_recent = scores.c.timestamp_ms >= since_ms
    for name, status, count in _count_by(
        connection, author, is_recent, scores.c.name, _STATUS_TEXT
    ):
        counts.setdefault(str(name), {})[str(status)] = count
    return counts


def _count_by(
    connection: sa.Connection, author: str, condition: sa.ColumnElement[bool], *columns: Any
) -> list[Any]:
    """Return each combination of column values with its score count, most frequent first."""
    # A bad score has no author, but its trace may have one.
    is_by_author = sa.or_(scores.c.author == author, traces.c.author == author)
    count = sa.func.count()
    rows = connection.execute(
        sa.select(*columns, count)
        .select_from(scores.outerjoin(traces, traces.c.trace_id == scores.c.trace_id))
        .where(condition, is_by_author)
        .group_by(*columns)
        .order_by(*columns[:-1], count.desc())
    )
    return list(rows)


def store_decision(
    connection: sa.Connection, alarm: Alarm, decision: RetrainingDecision, *, at: float
) -> bool:
    """Store a decision. Return False, storing nothing, if another tick closed the alarm."""
    result = connection.execute(
        sa.update(alarms)
        .where(
            *(alarms.c[name] == getattr(alarm, name) for name in ALARM_KEY_COLUMNS),
            alarms.c.status == "open",
        )
        .values(
            status="closed" if decision.closes_alarm else "open",
            decision=decision.kind,
            decided_by=decision.tags.get("twin/decided_by", ""),
            message=decision.message,
            tags=dict(decision.tags),
            run_key=decision.run_key,
            decided_at=at,
        )
    )
    return result.rowcount == 1


def close_open_alarms(connection: sa.Connection, author: str, *, message: str, at: float) -> int:
    """Close an author's open alarms because the floor was lowered, and return their number."""
    result = connection.execute(
        sa.update(alarms)
        .where(alarms.c.author == author, alarms.c.status == "open")
        .values(
            status="closed",
            decision="held_back",
            decided_by="lowered_floor",
            message=message,
            decided_at=at,
        )
    )
    return result.rowcount


def _record_from_row(row: sa.RowMapping) -> AlarmRecord:
    values = {name: row[name] for name in ("raised_at", *DECISION_COLUMNS)}
    return AlarmRecord(Alarm(**row["evidence"]), is_open=row["status"] == "open", **values)
