"""Watch an author's settled values, and store their evidence and alarms in one transaction.

Scope: the choice of days to compare, storing the evidence and the alarm, lowering the floor.
Out of scope: the evidence (`statistics/detector.py`), the decision on an alarm
(`statistics/retraining.py`).

The result depends only on the settled values and the stored alarms. The same values give the same
alarms, whenever the ticks run. An author's row of `watches` contains the last result; a missing row
is recomputed.

The comparison includes the days of every version of the author that passed the gate, except:

- days that a person excluded as history (`twin lower-floor`);
- days of an earlier version since the fall that led to its replacement;
- days of the answering version up to its last alarm. If that alarm led to no release, the gate or
  the trial found nothing better, so the version is compared with its values since then.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.retraining import alarm_records, daily_aggregates
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.registry.moves import ModelVersion
from twin_resources.statistics.detector import (
    MIN_DAYS,
    DaySum,
    StreamEvidence,
    compute_evidence,
)
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import (
    loop_requests,
    model_versions,
    moves,
    upsert,
    watches,
)

MAX_ALARMS = 1_000  # alarms per stream: one per day for three years
MAX_DAYS_PER_CALL = 400  # days per author and call: a few CPU seconds


def version_name(version: ModelVersion) -> str:
    """Return the name of a version in traces and settled values: `v3`."""
    return f"v{version.version}"


def check_new_days(
    state: State, stable: ModelVersion, rules: LoopRules, *, now: float
) -> tuple[int, bool]:
    """Check each day settled since the last call, up to the next alarm of each stream.

    Args:
        stable: the author's stable version.
        now: seconds since the epoch, for the record of an alarm.

    Returns:
        The number of days that were checked, and whether some are left for the next call.
    """
    author, version = stable.author, version_name(stable)
    with state.transaction() as connection:
        is_author = watches.c.author == author
        position = connection.execute(sa.select(watches).where(is_author)).first()
        last_read, checked_days = 0 if position is None else int(position.read_to), 0
        last_sequence = ledger_tables.find_last_sequence(connection, author)
        current: dict[str, StreamEvidence] = {}
        if position is not None and position.version == version:  # else it is another version's
            if last_read >= last_sequence:
                return 0, False
            current = _evidence_from_row(position.evidence)
        other_armed_count = count_armed_streams(connection, except_author=author)
        streams = daily_aggregates.find_streams(connection, author, version)
        next_position = last_sequence
        for stream in sorted(streams):
            days = ComparedDays.from_ledger(connection, stable, stream, rules)
            new_day_ends = days.find_day_ends(last_read)
            if len(new_day_ends) > MAX_DAYS_PER_CALL:
                new_day_ends = new_day_ends[:MAX_DAYS_PER_CALL]
                next_position = min(next_position, new_day_ends[-1])
            evidence = days.evidence(until=last_sequence)
            for day_end in new_day_ends:
                checked_days += 1
                evidence = days.evidence(until=day_end)
                armed_count = other_armed_count + sum(
                    other.is_armed for other in current.values() if other.stream != stream
                )
                threshold = rules.threshold(armed_count + 1)
                if evidence.likelihood_ratio >= threshold and not days.has_open_alarm:
                    alarm_records.record_alarm(connection, evidence, threshold=threshold, at=now)
                    next_position = min(next_position, day_end)
                    break
            current[stream] = evidence
        store_evidence(connection, author, version, current, read_to=next_position)
    return checked_days, next_position < last_sequence


@dataclass(frozen=True)
class ComparedDays:
    """The days of one stream with which the answering version is compared.

    Attributes:
        sums: the day sums of this version and of earlier versions.
        has_open_alarm: whether an alarm of this version and stream awaits its decision. Until
            then, no further alarm is raised.
    """

    author: str
    stream: str
    version: str
    sums: tuple[DaySum, ...]
    has_open_alarm: bool
    rules: LoopRules

    @classmethod
    def from_ledger(
        cls, connection: sa.Connection, stable: ModelVersion, stream: str, rules: LoopRules
    ) -> ComparedDays:
        """Read the days to compare now."""
        author, version = stable.author, version_name(stable)
        sums = sum_days_since_floor(connection, author, stream, rules)
        compared_versions = {version, *_released_versions(connection, author)}
        records = alarm_records.list_alarms(connection, author, stream=stream, limit=MAX_ALARMS)
        start_sequence, fall_start_by_version = 0, dict[str, int]()
        for record in sorted(records, key=lambda record: record.alarm.sequence):
            alarm = record.alarm
            is_own_alarm = alarm.version == version
            if alarm.version not in compared_versions or (is_own_alarm and record.is_open):
                continue
            later_sums = [
                row for row in sums if row.version == alarm.version and row.first > alarm.sequence
            ]
            if is_own_alarm or _has_enough_days(later_sums, rules):
                start_sequence = max(start_sequence, alarm.sequence)
            else:
                fall_start_by_version[alarm.version] = alarm.since
        compared_sums = tuple(
            row
            for row in sums
            if row.version in compared_versions
            and row.first > start_sequence
            and row.first < fall_start_by_version.get(row.version, row.first + 1)
        )
        has_open_alarm = any(
            record.is_open and record.alarm.version == version for record in records
        )
        return cls(author, stream, version, compared_sums, has_open_alarm, rules)

    def find_day_ends(self, sequence: int) -> list[int]:
        """Return the last sequence numbers above `sequence` of this version's days, in order."""
        end_by_day: dict[tuple[int, int], int] = {}
        for row in self.sums:
            if row.version == self.version and row.last > sequence:
                day = row.settled_ms, row.day
                end_by_day[day] = max(row.last, end_by_day.get(day, 0))
        return sorted(end_by_day.values())

    def evidence(self, *, until: int) -> StreamEvidence:
        """Return the evidence of the days up to this sequence number."""
        return compute_evidence(
            [row for row in self.sums if row.last <= until],
            author=self.author,
            stream=self.stream,
            version=self.version,
            tolerance=self.rules.tolerance,
            min_values=self.rules.min_values,
        )


def _has_enough_days(sums: Sequence[DaySum], rules: LoopRules) -> bool:
    """Return whether these days are enough for a comparison."""
    days = {row.day for row in sums}
    return len(days) >= MIN_DAYS and sum(row.count for row in sums) >= rules.min_values


def _released_versions(connection: sa.Connection, author: str) -> set[str]:
    """Return an author's versions that have answered and were not forced past the gate."""
    is_answered = (moves.c.author == author) & (moves.c.to_state == "stable")
    numbers = connection.execute(
        sa.select(model_versions.c.version).where(
            model_versions.c.author == author,
            model_versions.c.forced.is_(False),
            model_versions.c.version.in_(sa.select(moves.c.version).where(is_answered)),
        )
    ).scalars()
    return {f"v{number}" for number in numbers}


def current_evidence(connection: sa.Connection) -> dict[str, list[StreamEvidence]]:
    """Return author → the watched version's evidence, by stream."""
    rows = connection.execute(
        sa.select(watches.c.author, watches.c.evidence).order_by(watches.c.author)
    )
    evidence_by_author = {
        str(slug): [evidence for _, evidence in sorted(_evidence_from_row(documents).items())]
        for slug, documents in rows
    }
    return {slug: evidence for slug, evidence in evidence_by_author.items() if evidence}


def lower_floor(
    connection: sa.Connection,
    author: str,
    *,
    asked_by: str,
    reason: str,
    at: float,
) -> tuple[int, int]:
    """Exclude an author's settled values from later comparisons, and close the open alarms.

    Every stream starts again with its next value, without the days of any version so far.

    Args:
        at: seconds since the epoch.

    Returns:
        The last excluded sequence number, and the number of closed alarms.
    """
    last_sequence = ledger_tables.find_last_sequence(connection, author)
    row = {"author": author, "cause": "lower_floor", "asked_by": asked_by, "reason": reason}
    connection.execute(
        sa.insert(loop_requests).values(
            **row, asked_at=at, run_key="", after_sequence=last_sequence
        )
    )
    # Without a version, the next tick compares every stream again.
    is_author = watches.c.author == author
    connection.execute(sa.update(watches).where(is_author).values(version="", evidence={}, armed=0))
    message = f"{asked_by} lowered the floor: {reason}"
    closed_count = alarm_records.close_open_alarms(connection, author, message=message, at=at)
    return last_sequence, closed_count


def stable_versions(connection: sa.Connection) -> dict[str, ModelVersion]:
    """Return author → the stable tuned version, in one query.

    Tainted versions are excluded because they do not answer, and answer models because training
    neither creates nor improves them.
    """
    rows = connection.execute(
        sa.select(model_versions)
        .where(
            model_versions.c.state == "stable",
            model_versions.c.tainted.is_(False),
            model_versions.c.kind == "tuned",
        )
        .order_by(model_versions.c.author)
    ).mappings()
    return {row["author"]: ModelVersion(**row) for row in rows}


def count_armed_streams(connection: sa.Connection, *, except_author: str = "") -> int:
    """Return the number of armed streams of all authors, not counting those of one author."""
    count_query = sa.select(sa.func.sum(watches.c.armed)).where(watches.c.author != except_author)
    return int(connection.execute(count_query).scalar() or 0)


def sum_days_since_floor(
    connection: sa.Connection, author: str, stream: str, rules: LoopRules
) -> list[DaySum]:
    """Return a stream's sums by day, without the values that a lowered floor made history."""
    newest_query = sa.select(sa.func.max(loop_requests.c.after_sequence)).where(
        loop_requests.c.author == author
    )
    floor = int(connection.execute(newest_query).scalar() or 0)
    return daily_aggregates.sum_by_day(
        connection, author, stream=stream, after=floor, groups_by_day=rules.groups_by_day
    )


def store_evidence(
    connection: sa.Connection,
    author: str,
    version: str,
    evidence_by_stream: Mapping[str, StreamEvidence],
    *,
    read_to: int,
) -> None:
    """Store an author's evidence, and the sequence number up to which values were read."""
    row = {
        "author": author,
        "version": version,
        "read_to": read_to,
        "evidence": {stream: asdict(item) for stream, item in evidence_by_stream.items()},
        "armed": sum(item.is_armed for item in evidence_by_stream.values()),
    }
    upsert(connection, watches, [row])


def _evidence_from_row(documents: Mapping[str, dict[str, Any]]) -> dict[str, StreamEvidence]:
    return {stream: StreamEvidence.from_dict(fields) for stream, fields in documents.items()}
