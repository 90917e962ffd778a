"""Follow an author's settled values: day sums, evidence, alarm and notice in one transaction.

Scope: the choice of days to compare, storing the evidence and the alarm, lowering the floor.
Out of scope: the evidence (`statistics/detector.py`), the decision on an alarm
(`statistics/retraining.py`).

The result depends only on the settled values and the stored alarms: the same values give the same
alarms, however the ticks are timed. The rows of `watches` hold the last result. A row that is lost,
or that a release with another detector wrote, is computed again.

The days of every version of the author that a gate has released are compared, except

- days that a person declared history (`twin lower-floor`);
- days of an earlier version since the fall for which it was replaced;
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
    evidence_of,
)
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import (
    followed,
    lowered_floors,
    model_versions,
    moves,
    watches,
)

ALARMS = 1_000  # alarms read per stream: three years of one a day
DAYS_AT_ONCE = 400  # days of an author that one call reads: a few CPU seconds


def name_of(version: ModelVersion) -> str:
    """Return the name of a version in traces and settled values: `v3`."""
    return f"v{version.version}"


def follow(
    state: State,
    stable: ModelVersion,
    rules: LoopRules,
    *,
    now: float,
    limit: int = DAYS_AT_ONCE,
) -> tuple[int, bool]:
    """Check each day settled since the last call, up to the next alarm of each stream.

    Args:
        stable: the author's stable version.
        now: seconds since the epoch, for the record of an alarm.
        limit: maximum number of days.

    Returns:
        The number of days that were checked, and whether some are left for the next call.
    """
    author, version = stable.author, name_of(stable)
    with state.transaction() as connection:
        mark = connection.execute(sa.select(followed).where(followed.c.author == author)).first()
        read_to, done = 0 if mark is None else int(mark.read_to), 0
        held = watches_now(connection).get(author, []) if mark is not None else []
        if mark is None or mark.version != version:  # only the answering version is watched
            of_author = watches.c.author == author
            connection.execute(sa.update(watches).where(of_author).values(armed=False))
            held = []
        last = daily_aggregates.last_sequence_of(connection, author)
        streams = {watch.stream for watch in held}
        streams |= daily_aggregates.streams_of(connection, author, version)
        reached = last
        for stream in sorted(streams):
            days = StreamDays.of(connection, stable, stream, rules)
            news = days.ends_after(read_to)
            if len(news) > limit:
                news = news[:limit]
                reached = min(reached, news[-1])
            evidence = days.evidence(until=last)
            for end in news:
                done += 1
                evidence = days.evidence(until=end)
                limit_now = rules.threshold(armed_streams(connection, beside=evidence) + 1)
                if evidence.e_value >= limit_now and not days.waits:
                    alarm_records.record(connection, evidence, threshold=limit_now, at=now)
                    reached = min(reached, end)
                    break
            _store(connection, evidence)
        row = {"author": author, "version": version, "read_to": reached, "streams": sorted(streams)}
        upsert(connection, followed, [row])
    return done, reached < last


@dataclass(frozen=True)
class StreamDays:
    """The days of one stream that are compared for the answering version.

    Attributes:
        sums: day sums of this version and of earlier versions.
        waits: whether an alarm of this version and stream waits for its decision; no other alarm
            is raised meanwhile.
    """

    author: str
    stream: str
    version: str
    sums: tuple[DaySum, ...]
    waits: bool
    rules: LoopRules

    @classmethod
    def of(
        cls, connection: sa.Connection, stable: ModelVersion, stream: str, rules: LoopRules
    ) -> StreamDays:
        """Read the days that are compared now."""
        author, version = stable.author, name_of(stable)
        after = history_until(connection, author, stream)
        sums = daily_aggregates.day_sums(
            connection, author, stream=stream, after=after, by_day=rules.by_day
        )
        allowed = {version, *_released(connection, author)}
        records = alarm_records.of_author(connection, author, stream=stream, limit=ALARMS)
        begin, fallen = 0, dict[str, int]()
        for record in sorted(records, key=lambda item: item.alarm.sequence):
            alarm = record.alarm
            is_own = alarm.version == version
            if alarm.version not in allowed or (is_own and record.is_open):
                continue
            later = [
                row for row in sums if row.version == alarm.version and row.first > alarm.sequence
            ]
            if is_own or _certifies(later, rules):
                begin = max(begin, alarm.sequence)
            else:
                fallen[alarm.version] = alarm.since
        kept = tuple(
            row
            for row in sums
            if row.version in allowed
            and row.first > begin
            and row.first < fallen.get(row.version, row.first + 1)
        )
        waits = any(record.is_open and record.alarm.version == version for record in records)
        return cls(author, stream, version, kept, waits, rules)

    def ends_after(self, sequence: int) -> list[int]:
        """Return the last sequence numbers above `sequence` of this version's days, in order."""
        ends: dict[tuple[int, int], int] = {}
        for row in self.sums:
            if row.version == self.version and row.last > sequence:
                day = row.settled_ms, row.day
                ends[day] = max(row.last, ends.get(day, 0))
        return sorted(ends.values())

    def evidence(self, *, until: int) -> StreamEvidence:
        """Return the evidence of the days up to this sequence number."""
        return evidence_of(
            [row for row in self.sums if row.last <= until],
            author=self.author,
            stream=self.stream,
            version=self.version,
            tolerance=self.rules.tolerance,
            fewest=self.rules.fewest,
        )


def _certifies(sums: Sequence[DaySum], rules: LoopRules) -> bool:
    """Return whether these days are enough for a comparison."""
    days = {row.day for row in sums}
    return len(days) >= MIN_DAYS and sum(row.count for row in sums) >= rules.fewest


def _released(connection: sa.Connection, author: str) -> set[str]:
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


def watches_now(connection: sa.Connection) -> dict[str, list[StreamEvidence]]:
    """Return author → evidence of the followed version, by stream.

    Evidence that a release with another detector wrote is left out; the next tick computes it.
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


def has_news(connection: sa.Connection) -> Callable[[ModelVersion], bool]:
    """Return a test of whether `follow` has work for a stable version; three queries for all."""
    last = daily_aggregates.last_sequences(connection)
    marks = {str(row.author): row for row in connection.execute(sa.select(followed))}
    stored = {
        author: {watch.stream for watch in held} for author, held in watches_now(connection).items()
    }

    def has_score(stable: ModelVersion) -> bool:
        mark, author = marks.get(stable.author), stable.author
        if mark is None or mark.version != name_of(stable):
            return author in last
        return mark.read_to < last.get(author, 0) or bool(
            set(mark.streams) - stored.get(author, set())
        )

    return has_score


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
    after = daily_aggregates.last_sequence_of(connection, author)
    row = {"author": author, "after_sequence": after, "asked_by": asked_by, "reason": reason}
    connection.execute(sa.insert(lowered_floors).values(**row, asked_at=at, stream=stream))
    # Retired versions too: a version that answers again, or to which an alarm routes a class
    # (`rerouting.py`), must not keep the evidence of other readers.
    of_author = sa.delete(watches).where(watches.c.author == author)
    connection.execute(of_author.where(watches.c.stream == stream) if stream else of_author)
    message = f"{asked_by} lowered the floor: {reason}"
    closed = alarm_records.close_open(connection, author, message=message, at=at, stream=stream)
    return after, closed


def stable_versions(connection: sa.Connection) -> dict[str, ModelVersion]:
    """Return author → the stable tuned version, in one query; a tainted version does not answer.

    Answer models are left out: no training made them, so none could improve them.
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


def armed_streams(connection: sa.Connection, *, beside: StreamEvidence | None = None) -> int:
    """Return N, the number of armed streams of all authors, without the stream `beside`."""
    counted = sa.select(sa.func.count()).select_from(watches).where(watches.c.armed)
    if beside is not None:
        key = beside.author, beside.stream, beside.version
        columns = sa.tuple_(watches.c.author, watches.c.stream, watches.c.version)
        counted = counted.where(columns != key)
    return int(connection.execute(counted).scalar_one())


def history_until(connection: sa.Connection, author: str, stream: str) -> int:
    """Return the sequence number at which a stream's floor was last lowered; 0 if never."""
    newest = sa.select(sa.func.max(lowered_floors.c.after_sequence)).where(
        lowered_floors.c.author == author, lowered_floors.c.stream.in_(("", stream))
    )
    return int(connection.execute(newest).scalar() or 0)


def _store(connection: sa.Connection, evidence: StreamEvidence) -> None:
    key = {name: getattr(evidence, name) for name in ("author", "stream", "version")}
    upsert(connection, watches, [{**key, "watch": evidence.to_json(), "armed": evidence.armed}])
