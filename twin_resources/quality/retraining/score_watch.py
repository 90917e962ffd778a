"""Follow an author's settled values: day sums, evidence, alarm and notice in one transaction.

Scope: the choice of days to compare, storing the evidence and the alarm, lowering the floor.
Out of scope: the evidence (`statistics/detector.py`), the decision on an alarm
(`statistics/retraining.py`).

The result depends only on the settled values and the stored alarms: the same values give the same
alarms, however the ticks are timed. The rows of `watches` hold the last result. A row that is lost,
or that a release with a different detector wrote, is recomputed.

The days of every version of the author that a gate has released are compared, except

- days that a person excluded as history (`twin lower-floor`);
- days of an earlier version from the fall that led to its replacement onwards;
- days of the answering version up to its last alarm. If that alarm led to no release, gate or
  trial found nothing better than this version, so it is compared with its values since then.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from twin_resources.quality.ledger.ledger_tables import upsert
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
    followed,
    lowered_floors,
    model_versions,
    moves,
    watches,
)

MAX_ALARMS = 1_000  # alarms read per stream: one per day for three years
MAX_DAYS_PER_CALL = 400  # days of an author that one call reads: a few CPU seconds


def version_name(version: ModelVersion) -> str:
    """Return the name of a version in traces and settled values: `v3`."""
    return f"v{version.version}"


def check_new_days(
    state: State,
    stable: ModelVersion,
    rules: LoopRules,
    *,
    now: float,
    limit: int = MAX_DAYS_PER_CALL,
) -> tuple[int, bool]:
    """Check each day settled since the last call, up to the next alarm of each stream.

    Args:
        stable: the author's stable version.
        now: seconds since the epoch, for the record of an alarm.
        limit: the maximum number of days.

    Returns:
        The number of days that were checked, and whether some are left for the next call.
    """
    author, version = stable.author, version_name(stable)
    with state.transaction() as connection:
        position = connection.execute(
            sa.select(followed).where(followed.c.author == author)
        ).first()
        last_read, checked_days = 0 if position is None else int(position.read_to), 0
        stored_evidence = (
            current_evidence(connection).get(author, []) if position is not None else []
        )
        if position is None or position.version != version:  # only the answering version is watched
            of_author = watches.c.author == author
            connection.execute(sa.update(watches).where(of_author).values(armed=False))
            stored_evidence = []
        last = daily_aggregates.last_sequence(connection, author)
        streams = {watch.stream for watch in stored_evidence}
        streams |= daily_aggregates.streams_of_version(connection, author, version)
        reached = last
        for stream in sorted(streams):
            days = ComparedDays.from_ledger(connection, stable, stream, rules)
            new_day_ends = days.find_day_ends(last_read)
            if len(new_day_ends) > limit:
                new_day_ends = new_day_ends[:limit]
                reached = min(reached, new_day_ends[-1])
            evidence = days.evidence(until=last)
            for end in new_day_ends:
                checked_days += 1
                evidence = days.evidence(until=end)
                threshold = rules.threshold(armed_streams(connection, exclude=evidence) + 1)
                if evidence.e_value >= threshold and not days.has_open_alarm:
                    alarm_records.record_alarm(connection, evidence, threshold=threshold, at=now)
                    reached = min(reached, end)
                    break
            _store(connection, evidence)
        row = {"author": author, "version": version, "read_to": reached, "streams": sorted(streams)}
        upsert(connection, followed, [row])
    return checked_days, reached < last


@dataclass(frozen=True)
class ComparedDays:
    """The days of one stream that are compared for the answering version.

    Attributes:
        sums: the day sums of this version and of earlier versions.
        has_open_alarm: whether an alarm of this version and stream waits for its decision; no
            further alarm is raised meanwhile.
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
        """Read the days that are compared now."""
        author, version = stable.author, version_name(stable)
        after = floor_sequence(connection, author, stream)
        sums = daily_aggregates.day_sums(
            connection, author, stream=stream, after=after, groups_by_day=rules.groups_by_day
        )
        allowed = {version, *_released_versions(connection, author)}
        records = alarm_records.list_alarms(connection, author, stream=stream, limit=MAX_ALARMS)
        start_sequence, fall_start_by_version = 0, dict[str, int]()
        for record in sorted(records, key=lambda item: item.alarm.sequence):
            alarm = record.alarm
            is_own = alarm.version == version
            if alarm.version not in allowed or (is_own and record.is_open):
                continue
            later_sums = [
                row for row in sums if row.version == alarm.version and row.first > alarm.sequence
            ]
            if is_own or _has_enough_days(later_sums, rules):
                start_sequence = max(start_sequence, alarm.sequence)
            else:
                fall_start_by_version[alarm.version] = alarm.since
        compared_sums = tuple(
            row
            for row in sums
            if row.version in allowed
            and row.first > start_sequence
            and row.first < fall_start_by_version.get(row.version, row.first + 1)
        )
        waits = any(record.is_open and record.alarm.version == version for record in records)
        return cls(author, stream, version, compared_sums, waits, rules)

    def find_day_ends(self, sequence: int) -> list[int]:
        """Return the last sequence numbers above `sequence` of this version's days, in order."""
        ends: dict[tuple[int, int], int] = {}
        for row in self.sums:
            if row.version == self.version and row.last > sequence:
                day = row.settled_ms, row.day
                ends[day] = max(row.last, ends.get(day, 0))
        return sorted(ends.values())

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
    """Return the versions of an author that have answered and were not forced past the gate."""
    rows = connection.execute(
        sa.select(moves.c.version)
        .join(
            model_versions,
            (model_versions.c.author == moves.c.author)
            & (model_versions.c.version == moves.c.version),
        )
        .where(
            moves.c.author == author,
            moves.c.to_state == "stable",
            model_versions.c.forced.is_(False),
        )
    ).scalars()
    return {f"v{number}" for number in rows}


def current_evidence(connection: sa.Connection) -> dict[str, list[StreamEvidence]]:
    """Return author → evidence of the followed version, by stream.

    Evidence from a release with a different detector is left out; the next tick computes it.
    """
    of_followed = (watches.c.author == followed.c.author) & (
        watches.c.version == followed.c.version
    )
    rows = connection.execute(
        sa.select(watches.c.author, watches.c.watch)
        .join(followed, of_followed)
        .order_by(watches.c.author, watches.c.stream)
    )
    by_author: dict[str, list[StreamEvidence]] = {}
    for author, text in rows:
        if (evidence := StreamEvidence.from_json(text)) is not None:
            by_author.setdefault(str(author), []).append(evidence)
    return by_author


def build_new_values_test(connection: sa.Connection) -> Callable[[ModelVersion], bool]:
    """Return a test, from three queries, of whether `check_new_days` has work for a version."""
    last = daily_aggregates.last_sequences(connection)
    positions = {str(row.author): row for row in connection.execute(sa.select(followed))}
    stored = {
        author: {watch.stream for watch in evidence}
        for author, evidence in current_evidence(connection).items()
    }

    def has_new_values(stable: ModelVersion) -> bool:
        mark, author = positions.get(stable.author), stable.author
        if mark is None or mark.version != version_name(stable):
            return author in last
        return mark.read_to < last.get(author, 0) or bool(
            set(mark.streams) - stored.get(author, set())
        )

    return has_new_values


def lower_floor(
    connection: sa.Connection,
    author: str,
    *,
    asked_by: str,
    reason: str,
    at: float,
    stream: str = "",
) -> tuple[int, int]:
    """Declare all values settled so far for an author history, and close the open alarms.

    Every stream is certified again from the next value on, without any earlier version.

    Args:
        at: seconds since the epoch.
        stream: the only stream to lower, or empty for all streams.

    Returns:
        The last sequence number that is history, and the number of alarms closed.
    """
    after = daily_aggregates.last_sequence(connection, author)
    row = {"author": author, "after_sequence": after, "asked_by": asked_by, "reason": reason}
    connection.execute(sa.insert(lowered_floors).values(**row, asked_at=at, stream=stream))
    # Retired versions too: a version that answers again must not keep other readers' evidence.
    of_author = sa.delete(watches).where(watches.c.author == author)
    connection.execute(of_author.where(watches.c.stream == stream) if stream else of_author)
    message = f"{asked_by} lowered the floor: {reason}"
    closed = alarm_records.close_open_alarms(
        connection, author, message=message, at=at, stream=stream
    )
    return after, closed


def stable_versions(connection: sa.Connection) -> dict[str, ModelVersion]:
    """Return author → the stable tuned version, in one query; a tainted version does not answer.

    Answer models are left out, because training does not create or improve them.
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


def armed_streams(connection: sa.Connection, *, exclude: StreamEvidence | None = None) -> int:
    """Return N, the number of armed streams of all authors, without the stream `exclude`."""
    counted = sa.select(sa.func.count()).select_from(watches).where(watches.c.armed)
    if exclude is not None:
        key = exclude.author, exclude.stream, exclude.version
        columns = sa.tuple_(watches.c.author, watches.c.stream, watches.c.version)
        counted = counted.where(columns != key)
    return int(connection.execute(counted).scalar_one())


def floor_sequence(connection: sa.Connection, author: str, stream: str) -> int:
    """Return the sequence number at which a stream's floor was last lowered; 0 if never."""
    newest = sa.select(sa.func.max(lowered_floors.c.after_sequence)).where(
        lowered_floors.c.author == author, lowered_floors.c.stream.in_(("", stream))
    )
    return int(connection.execute(newest).scalar() or 0)


def _store(connection: sa.Connection, evidence: StreamEvidence) -> None:
    key = {name: getattr(evidence, name) for name in ("author", "stream", "version")}
    upsert(connection, watches, [{**key, "watch": evidence.to_json(), "armed": evidence.is_armed}])
