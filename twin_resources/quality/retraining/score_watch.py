"""Following an author's settled values: day sums, evidence, alarm and notice, in one transaction.

Scope: which days are compared, storing the evidence and the alarm; lowering the floor.
Out of scope: the evidence itself (`statistics/detector.py`), what an alarm leads to
(`statistics/retraining.py`).

Everything follows from the settled values and from the alarms that stand in the store: whatever the
ticks are, the same values give the same alarms. The rows of `watches` are what was computed last;
one that is lost, or of a release with another detector, is computed again.

Compared with are the days of every version of the author that a gate has released. Left out are

- what a person made history (`twin lower-floor`);
- what an earlier version said since the fall that it left by;
- of the version that answers, everything up to its last alarm. Where that alarm led to no release,
  gate or trial found nothing better than this version, so it is held to what is said from then on.
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

ALARMS = 1_000  # of a stream that are looked at: three years of one a day
DAYS_AT_ONCE = 400  # of an author that one call looks at: a few CPU seconds


def name_of(version: ModelVersion) -> str:
    """A version as traces and settled values name it: `v3`."""
    return f"v{version.version}"


def follow(
    state: State,
    stable: ModelVersion,
    rules: LoopRules,
    *,
    now: float,
    limit: int = DAYS_AT_ONCE,
) -> tuple[int, bool]:
    """Look at each day that was settled since the last call, up to the next alarm of each stream.

    Args:
        stable: the author's stable version.
        now: seconds since the epoch, for the record of an alarm.
        limit: of days.

    Returns:
        How many days were looked at, and whether some are left for the next call.
    """
    author, version = stable.author, name_of(stable)
    with state.transaction() as connection:
        mark = connection.execute(sa.select(followed).where(followed.c.author == author)).first()
        read_to, done = 0 if mark is None else int(mark.read_to), 0
        held = watches_now(connection).get(author, []) if mark is not None else []
        if mark is None or mark.version != version:  # only what answers is watched
            mine = watches.c.author == author
            connection.execute(sa.update(watches).where(mine).values(armed=False))
            held = []
        last = daily_aggregates.last_sequence_of(connection, author)
        streams = {one.stream for one in held}
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
        upsert(
            connection,
            followed,
            [
                {
                    "author": author,
                    "version": version,
                    "read_to": reached,
                    "streams": sorted(streams),
                }
            ],
        )
    return done, reached < last


@dataclass(frozen=True)
class StreamDays:
    """The days of one stream that the version that answers is compared by.

    Attributes:
        sums: of this version and of those before it.
        waits: an alarm of this version and stream waits for its decision; none is raised beside it.
    """

    author: str
    stream: str
    version: str
    sums: tuple[DaySum, ...]
    waits: bool
    tolerance: float
    fewest: int

    @classmethod
    def of(
        cls, connection: sa.Connection, stable: ModelVersion, stream: str, rules: LoopRules
    ) -> StreamDays:
        """The days as they are compared now."""
        author, version = stable.author, name_of(stable)
        after = history_until(connection, author, stream)
        sums = daily_aggregates.day_sums(
            connection, author, stream=stream, after=after, by_day=rules.by_day
        )
        allowed = {version, *_released(connection, author)}
        records = alarm_records.of_author(connection, author, stream=stream, limit=ALARMS)
        begin, fallen = 0, dict[str, int]()
        for record in sorted(records, key=lambda one: one.alarm.sequence):
            alarm = record.alarm
            if alarm.version not in allowed:
                continue
            if alarm.version == version and record.is_open:
                continue
            later = [of for of in sums if of.version == alarm.version and of.first > alarm.sequence]
            if alarm.version == version or _certifies(later, rules):
                begin = max(begin, alarm.sequence)
            else:
                fallen[alarm.version] = alarm.since
        kept = tuple(
            one
            for one in sums
            if one.version in allowed
            and one.first > begin
            and one.first < fallen.get(one.version, one.first + 1)
        )
        mine = [one for one in records if one.alarm.version == version]
        waits = any(one.is_open for one in mine)
        tolerance = rules.tolerance
        return cls(author, stream, version, kept, waits, tolerance, rules.fewest)

    def ends_after(self, sequence: int) -> list[int]:
        """The last sequence number of each day of this version that ends above one, in order."""
        ends: dict[tuple[int, int], int] = {}
        for one in self.sums:
            if one.version == self.version and one.last > sequence:
                day = one.settled_ms, one.day
                ends[day] = max(one.last, ends.get(day, 0))
        return sorted(ends.values())

    def evidence(self, *, until: int) -> StreamEvidence:
        """What the days up to this sequence number say."""
        return evidence_of(
            [one for one in self.sums if one.last <= until],
            author=self.author,
            stream=self.stream,
            version=self.version,
            tolerance=self.tolerance,
            fewest=self.fewest,
        )


def _certifies(sums: Sequence[DaySum], rules: LoopRules) -> bool:
    """Whether these days are enough to be compared with."""
    days = {one.day for one in sums}
    return len(days) >= MIN_DAYS and sum(one.count for one in sums) >= rules.fewest


def _released(connection: sa.Connection, author: str) -> set[str]:
    """Versions of an author that have answered and that nobody forced past the gate."""
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
    """Author → evidence of the version that is followed, by stream; without that of a release with
    another detector, which the next tick computes again."""
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
    """Whether `follow` has anything to do for a stable version; three queries for a whole fleet."""
    last = daily_aggregates.last_sequences(connection)
    marks = {str(row.author): row for row in connection.execute(sa.select(followed))}
    there = {
        author: {one.stream for one in held} for author, held in watches_now(connection).items()
    }

    def has_score(stable: ModelVersion) -> bool:
        mark, author = marks.get(stable.author), stable.author
        if mark is None or mark.version != name_of(stable):
            return author in last
        return mark.read_to < last.get(author, 0) or bool(
            set(mark.streams) - there.get(author, set())
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
    """What was settled for an author until now is history: every stream is certified again, from
    the next value on, and held to no earlier version; what alarms were open is closed.

    Args:
        at: seconds since the epoch.
        stream: this one alone; empty: all.

    Returns:
        The last sequence number that is history, and how many alarms were closed.
    """
    after = daily_aggregates.last_sequence_of(connection, author)
    row = {"author": author, "after_sequence": after, "asked_by": asked_by, "reason": reason}
    connection.execute(sa.insert(lowered_floors).values(**row, asked_at=at, stream=stream))
    # Of retired versions as well: one that is rolled back to, or that an alarm routes a class to
    # (`rerouting.py`), must not stand for what other readers said.
    of_author = sa.delete(watches).where(watches.c.author == author)
    connection.execute(of_author.where(watches.c.stream == stream) if stream else of_author)
    message = f"{asked_by} lowered the floor: {reason}"
    closed = alarm_records.close_open(connection, author, message=message, at=at, stream=stream)
    return after, closed


def stable_versions(connection: sa.Connection) -> dict[str, ModelVersion]:
    """Author → the tuned version now stable, in one query; one that is tainted does not answer.

    Not an answer model: no training made it, so none could mend it.
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
    """N: streams of the whole fleet that are bet on now; `beside`: without this one."""
    counted = sa.select(sa.func.count()).select_from(watches).where(watches.c.armed)
    if beside is not None:
        key = beside.author, beside.stream, beside.version
        columns = sa.tuple_(watches.c.author, watches.c.stream, watches.c.version)
        counted = counted.where(columns != key)
    return int(connection.execute(counted).scalar_one())


def history_until(connection: sa.Connection, author: str, stream: str) -> int:
    """The sequence number at which the floor of a stream was lowered last; 0: it never was."""
    newest = sa.select(sa.func.max(lowered_floors.c.after_sequence)).where(
        lowered_floors.c.author == author, lowered_floors.c.stream.in_(("", stream))
    )
    return int(connection.execute(newest).scalar() or 0)


def _store(connection: sa.Connection, evidence: StreamEvidence) -> None:
    key = {name: getattr(evidence, name) for name in ("author", "stream", "version")}
    upsert(connection, watches, [{**key, "watch": evidence.to_json(), "armed": evidence.armed}])
