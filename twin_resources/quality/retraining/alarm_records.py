"""Alarms as rows: recorded with their notice when raised, closed with their decision.

Scope: recording, finding what is open, closing, counting the fleet's.
Out of scope: raising one (`score_watch.py`), deciding (`statistics/retraining.py`).

A row is never deleted and its key (author, stream, version, number) never used twice: this is what
keeps one drop from being answered twice, whatever else is lost.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa

from twin_resources.observability.notifications import Notice, announce
from twin_resources.quality.ledger.ledger_tables import scores, traces
from twin_resources.quality.ledger.scores import NOT_MAPPED
from twin_resources.statistics.detector import Alarm, StreamEvidence
from twin_resources.statistics.retraining import TOGETHER_S, RetrainingDecision
from twin_resources.storage.state.state_tables import alarms

DAY_S = 86_400.0
ALARM_KEY = ("author", "stream", "version", "number")
NOT_IN_SCORES = "not in [scores]: "  # before the name of a score, as the reason why it is left out

# What became of a score, in words; `ledger_tables.scores` says what each status means.
_FATE = sa.case(
    (scores.c.status == "settled", "counted"),
    (scores.c.status == "beside", "counted in one value with its reader's others of that day"),
    (scores.c.status == "open", "waits until its day is settled"),
    (scores.c.status == "kept", "an edit or a comparison, which is no vote"),
    (scores.c.status == "deleted", "deleted in the trace store"),
    (scores.c.status == "capped", "reader above its share"),
    (scores.c.status == "beyond", "of a day with more than three usual days have"),
    (scores.c.status == "new", "of readers of the last two weeks, above a tenth of a day"),
    (scores.c.status == "late", "late: its reader's day was settled"),
    (scores.c.reason == NOT_MAPPED, sa.literal(NOT_IN_SCORES) + scores.c.name),
    else_=scores.c.reason,
)


@dataclass(frozen=True)
class AlarmRecord:
    """One alarm and what became of it.

    Attributes:
        alarm: the evidence.
        raised_at, decided_at: seconds since the epoch; None: not decided.
        is_open: whether a tick decides it (again).
        decision: kind of the newest decision; empty: none yet.
        decided_by: the rule that did (`limits`, `learnt_before` …).
        message: in the words of that tick.
        tags: evidence and decision, as on the run.
        run_key: of the retraining that it started; empty: none.
    """

    alarm: Alarm
    raised_at: float
    is_open: bool
    decision: str = ""
    decided_by: str = ""
    message: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    run_key: str = ""
    decided_at: float | None = None


def record(
    connection: sa.Connection, evidence: StreamEvidence, *, threshold: float, at: float
) -> None:
    """Store the alarm that this evidence raises, and tell people: once a day for a stream and
    version.

    Args:
        threshold: that it has reached.
        at: seconds since the epoch.
    """
    key = evidence.author, evidence.stream, evidence.version
    mine = sa.tuple_(alarms.c.author, alarms.c.stream, alarms.c.version) == key
    newest = connection.execute(sa.select(sa.func.max(alarms.c.number)).where(mine)).scalar()
    alarm = Alarm(
        *key,
        number=int(newest or 0) + 1,
        sequence=evidence.last,
        e_value=evidence.e_value,
        threshold=threshold,
        bets=evidence.values,
        since=evidence.since,
    )
    connection.execute(
        sa.insert(alarms).values(
            **{name: getattr(alarm, name) for name in ALARM_KEY},
            evidence=asdict(alarm),
            raised_at=at,
            status="open",
            decision="",
            decided_by="",
            message="",
            tags={},
            run_key="",
            decided_at=None,
        )
    )
    announce(
        connection,
        Notice(
            key=f"alarm:{alarm.author}:{alarm.version}:{alarm.stream}:{int(at // DAY_S)}",
            event="alarm",
            author=alarm.author,
            title=f"Quality of {alarm.author} fell",
            text=f"{alarm.words}. What follows from it, or what it waits for, is in the messages "
            "of the sensor quality_dropped; `twin status` says where the loop stands, and "
            "`twin retrain --reason TEXT` starts a training by hand.",
        ),
        at=at,
    )


def open_alarms(connection: sa.Connection) -> dict[str, AlarmRecord]:
    """Author → the oldest alarm that waits for a decision."""
    rows = connection.execute(
        sa.select(alarms)
        .where(alarms.c.status == "open")
        .order_by(alarms.c.raised_at, alarms.c.stream, alarms.c.number)
    ).mappings()
    by_author: dict[str, AlarmRecord] = {}
    for row in rows:
        by_author.setdefault(row["author"], _record_of(dict(row)))
    return by_author


def of_author(
    connection: sa.Connection, author: str, *, stream: str = "", version: str = "", limit: int = 100
) -> list[AlarmRecord]:
    """An author's alarms, newest first.

    Args:
        stream, version: of this one alone; empty: of all.
    """
    mine = alarms.c.author == author
    for column, value in ((alarms.c.stream, stream), (alarms.c.version, version)):
        mine &= column == value if value else sa.true()
    rows = connection.execute(
        sa.select(alarms)
        .where(mine)
        .order_by(alarms.c.raised_at.desc(), alarms.c.number.desc())
        .limit(limit)
    ).mappings()
    return [_record_of(dict(row)) for row in rows]


def alarmed_together(connection: sa.Connection, *, at: float) -> list[str]:
    """Authors with an alarm within two days of this one.

    Args:
        at: when it was raised, seconds since the epoch.
    """
    near = alarms.c.raised_at.between(at - TOGETHER_S, at + TOGETHER_S)
    found = connection.execute(sa.select(alarms.c.author).where(near).distinct()).scalars()
    return sorted(str(one) for one in found)


def not_counted(connection: sa.Connection, author: str) -> dict[str, int]:
    """Scores of an author that never became a value, by reason: bad ones by theirs, those that its
    file does not map by their name, those above their reader's share, and those that came late."""
    lost = scores.c.status.in_(("bad", "capped", "late", "beyond", "new"))
    return {str(fate): count for fate, count in _counted(connection, author, lost, _FATE)}


def score_fates(
    connection: sa.Connection, author: str, *, since_ms: int
) -> dict[str, dict[str, int]]:
    """Name of a score → what became of an author's scores since an instant → how many.

    Args:
        since_ms: of the scores' own time, Unix milliseconds.
    """
    found: dict[str, dict[str, int]] = {}
    late = scores.c.timestamp_ms >= since_ms
    for name, fate, count in _counted(connection, author, late, scores.c.name, _FATE):
        found.setdefault(str(name), {})[str(fate)] = count
    return found


def _counted(
    connection: sa.Connection, author: str, which: sa.ColumnElement[bool], *columns: Any
) -> list[Any]:
    """Values of the columns, and how many scores of an author have them; the most first."""
    # A bad score carries no author: its trace does, if it has one.
    theirs = sa.or_(scores.c.author == author, traces.c.author == author)
    count = sa.func.count()
    rows = connection.execute(
        sa.select(*columns, count)
        .select_from(scores.outerjoin(traces, traces.c.trace_id == scores.c.trace_id))
        .where(which, theirs)
        .group_by(*columns)
        .order_by(*columns[:-1], count.desc())
    )
    return list(rows)


def decide(
    connection: sa.Connection, alarm: Alarm, decision: RetrainingDecision, *, at: float
) -> bool:
    """Store a decision; False: another tick has closed this alarm meanwhile, and nothing is
    stored."""
    done = connection.execute(
        sa.update(alarms)
        .where(
            *(alarms.c[name] == getattr(alarm, name) for name in ALARM_KEY),
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
    return done.rowcount == 1


def close_open(
    connection: sa.Connection, author: str, *, message: str, at: float, stream: str = ""
) -> int:
    """Close an author's open alarms because the floor was lowered; how many there were.

    Args:
        stream: those of this one alone; empty: all.
    """
    done = connection.execute(
        sa.update(alarms)
        .where(alarms.c.author == author, alarms.c.status == "open")
        .where(alarms.c.stream == stream if stream else sa.true())
        .values(
            status="closed",
            decision="held_back",
            decided_by="lowered_floor",
            message=message,
            decided_at=at,
        )
    )
    return done.rowcount


def _record_of(row: dict[str, Any]) -> AlarmRecord:
    alarm = Alarm(**row.pop("evidence"))
    kept = {name: row[name] for name in row if name not in ALARM_KEY}
    return AlarmRecord(alarm, is_open=kept.pop("status") == "open", **kept)
