"""Settles scores into values for betting: each score once, in an order that never changes.

Scope: closing reader-days, settling judgements, limits on readers and days.
Out of scope: reading scores (`paged_feed.py`), betting (`statistics/`).

The votes of one reader in one stream and UTC day become one value, because the detectors' guarantee
does not hold when several scores of one reader follow each other. The value is the mean of the
reader's votes on the most frequent version and class (the earliest in a tie), since each class is
compared with its own baseline. A day is closed two hours after its end (`ledger.DAY_QUIET_S`), if
everything before its end was read. A vote that is found later joins the open day, unless its
reader's day was settled without it: then it only corrects reports. Each judgement is a separate
value, settled with its day. A settled day is complete, so it can be bet on as a whole. The
transaction that settles a value also assigns its sequence number within the author.

No reader settles more than its share of an author's values in the last `READER_CAP_DAYS` days
(`statistics/poisoning.admit_reader_days`). No day settles more than three usual days (`day_limit`).
Once an author's stream is two weeks old, readers first seen within the last two weeks settle at
most a tenth of a day (`new_reader_limit`). Selection depends on who scored and when, never on the
value.
"""
# pyright: strict

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, groupby
from operator import attrgetter, itemgetter, not_
from statistics import fmean, median
from typing import Any, Literal

import sqlalchemy as sa

from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.report import SyncReport
from twin_resources.quality.ledger.scores import DAY_MS
from twin_resources.statistics.poisoning import (
    NEW_READER_DAYS,
    admit_reader_days,
    day_limit,
    new_reader_limit,
)

READER_CAP_DAYS = 30
DAY_LIMIT_WINDOW_DAYS = 28
VOTE_STREAM = "thumbs"
DayClosing = Literal["daily", "at_once"]
_CLASS_OF = itemgetter("version", "prompt_class")


@dataclass(frozen=True)
class ReaderDay:
    """The votes of one reader in one stream and day, and the resulting value.

    Attributes:
        value: a row of `ledger_settled`, without its number.
        used_vote_ids, unused_vote_ids: the ids of the votes that the value consists of, and of the
            others.
        first_ms: the time of the first vote.
    """

    reader: str
    day: int
    value: Mapping[str, Any]
    used_vote_ids: Sequence[str]
    unused_vote_ids: Sequence[str]
    first_ms: int


def reader_days(votes: Iterable[Mapping[str, Any]]) -> list[ReaderDay]:
    """Group a stream's votes into one value per reader and day, ordered by day and first vote.

    Args:
        votes: rows of `ledger_scores`.
    """
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for vote in votes:
        groups[vote["reader"], vote["day"]].append(vote)
    days: list[ReaderDay] = []
    for (reader, day), group in groups.items():
        group.sort(key=lambda vote: (vote["timestamp_ms"], vote["id"]))
        # The earliest wins a tie.
        most_frequent = Counter(map(_CLASS_OF, group)).most_common(1)[0][0]
        used = [vote for vote in group if _CLASS_OF(vote) == most_frequent]
        unused_vote_ids = [vote["id"] for vote in group if _CLASS_OF(vote) != most_frequent]
        mean = fmean(vote["value"] for vote in used)
        value = {"value": mean, "unit": reader, "day": day, **_stream_fields(used[0])}
        ids = [vote["id"] for vote in used]
        days.append(ReaderDay(reader, day, value, ids, unused_vote_ids, group[0]["timestamp_ms"]))
    days.sort(key=lambda reader_day: (reader_day.day, reader_day.first_ms, reader_day.reader))
    return days


def _stream_fields(score: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: score[name] for name in ("stream", "version", "prompt_class")}


def settle(
    connection: sa.Connection,
    report: SyncReport,
    *,
    frontier_ms: int,
    day_closing: DayClosing,
    now_ms: int,
) -> None:
    """Settle all scores that can be settled now, inside the ledger's transaction.

    Args:
        report: the report that counts settled and held values.
        frontier_ms: the time before which all scores were read.
        day_closing: `at_once` closes a reader-day at its first vote (for demonstrations and tests,
            where each reader has one score).
    """
    before_day = 2**31 - 1 if day_closing == "at_once" else frontier_ms // DAY_MS
    _settle_judgements(connection, report, before_day, now_ms)
    table = ledger_tables.scores
    votes = connection.execute(
        sa.select(table)
        .where(table.c.status == "open", table.c.kind == "vote", table.c.day < before_day)
        .order_by(table.c.day, table.c.author, table.c.reader)
    ).mappings()
    by_stream: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for vote in votes:
        by_stream[vote["author"], vote["stream"]].append(dict(vote))
    for (author, stream), scores in sorted(by_stream.items()):
        by_status = _group_by_status(
            connection, author, stream, reader_days(scores), day_closing=day_closing
        )
        settled = by_status.pop("settled")
        values = [(reader_day.value, reader_day.used_vote_ids) for reader_day in settled]
        _store_settled_values(connection, report, author, values, now_ms)
        unused_vote_ids = [score for reader_day in settled for score in reader_day.unused_vote_ids]
        _set_status(connection, dict.fromkeys(unused_vote_ids), "beside")
        for status, unsettled in by_status.items():
            unused = [
                score
                for reader_day in unsettled
                for score in (*reader_day.used_vote_ids, *reader_day.unused_vote_ids)
            ]
            _set_status(connection, dict.fromkeys(unused), status)
            report.unsettled_days[status] += len(unsettled)


def _settle_judgements(
    connection: sa.Connection, report: SyncReport, before_day: int, now_ms: int
) -> None:
    table = ledger_tables.scores
    end_ms = before_day * DAY_MS
    rows = connection.execute(
        sa.select(table)
        .where(table.c.status == "open", table.c.kind == "judge", table.c.timestamp_ms < end_ms)
        .order_by(table.c.timestamp_ms, table.c.id)
    ).mappings()
    by_author: dict[str, list[tuple[Mapping[str, Any], Sequence[str]]]] = defaultdict(list)
    for row in rows:
        day = row["timestamp_ms"] // DAY_MS
        value = {"value": row["value"], "unit": row["id"], "day": day, **_stream_fields(row)}
        by_author[row["author"]].append((value, [row["id"]]))
    for author, values in by_author.items():
        _store_settled_values(connection, report, author, values, now_ms)


def _group_by_status(
    connection: sa.Connection,
    author: str,
    stream: str,
    days: Sequence[ReaderDay],
    *,
    day_closing: DayClosing,
) -> dict[str, list[ReaderDay]]:
    """Group reader-days by their new status: `settled`, `capped`, `beyond` or `new`."""
    first = days[0].day
    sizes = _count_settled_by(
        connection, author, stream, "day", since_day=first - DAY_LIMIT_WINDOW_DAYS
    )
    counts_by_reader = _count_settled_by(
        connection, author, stream, "unit", since_day=first - READER_CAP_DAYS
    )
    by_status: dict[str, list[ReaderDay]] = {
        "settled": [],
        "capped": [],
        "beyond": [],
        "new": [],
    }
    new_readers = (
        _NewReaders.from_ledger(connection, author, stream) if day_closing == "daily" else None
    )
    for day, group in groupby(days, key=attrgetter("day")):
        today = list(group)
        known_readers, unknown = (
            (today, []) if new_readers is None else new_readers.split_new_readers(today)
        )
        is_admitted = admit_reader_days(
            [reader_day.reader for reader_day in known_readers], counts_by_reader
        )
        by_status["new"] += unknown
        by_status["capped"] += compress(known_readers, map(not_, is_admitted))
        admitted = list(compress(known_readers, is_admitted))
        limit = day_limit([size for other, size in sizes.items() if other < day])
        room = len(admitted) if new_readers is None or limit is None else max(0, limit - sizes[day])
        sizes[day] += min(room, len(admitted))  # with the values that the day already has
        by_status["settled"] += admitted[:room]
        by_status["beyond"] += admitted[room:]
    return by_status


@dataclass(frozen=True)
class _NewReaders:
    """The first day of each of an author's readers, and the number of reader-days per day.

    Attributes:
        first: reader → the first day on which the reader asked or voted, in days since the epoch.
        began: the first settled day of the stream; without one, its first day with a vote.
        sizes: day → the number of reader-days with a vote, regardless of their status.
    """

    first: Mapping[str, int]
    began: int
    sizes: Mapping[int, int]

    @classmethod
    def from_ledger(cls, connection: sa.Connection, author: str, stream: str) -> _NewReaders:
        scores, settled, traces = (
            ledger_tables.scores, ledger_tables.settled, ledger_tables.traces
        )  # fmt: skip
        voted = (scores.c.author == author) & (scores.c.stream == stream)
        counted = (settled.c.author == author) & (settled.c.stream == stream)
        first_days: dict[str, int] = {}
        for reader, at_day, conditions in (
            (traces.c.reader, traces.c.started_ms // DAY_MS, traces.c.author == author),
            (scores.c.reader, scores.c.day, voted),
            (settled.c.unit, settled.c.day, counted),
        ):
            firsts = sa.select(reader, sa.func.min(at_day)).where(conditions).group_by(reader)
            for name, day in connection.execute(firsts).tuples():
                first_days[name] = min(day, first_days.get(name, day))
        sizes = connection.execute(
            sa.select(scores.c.day, sa.func.count(sa.distinct(scores.c.reader)))
            .where(voted)
            .group_by(scores.c.day)
        ).tuples()
        began = connection.execute(sa.select(sa.func.min(settled.c.day)).where(counted)).scalar()
        days = {int(day): int(count) for day, count in sizes}
        return cls(first_days, min(days, default=0) if began is None else int(began), days)

    def split_new_readers(
        self, reader_days_of_day: Sequence[ReaderDay]
    ) -> tuple[list[ReaderDay], list[ReaderDay]]:
        """Return the reader-days of one day that may settle, and those of new readers to hold."""
        day = reader_days_of_day[0].day
        since = day - NEW_READER_DAYS
        if since < self.began:  # a new stream has no earlier readers
            return list(reader_days_of_day), []
        new = [one for one in reader_days_of_day if self.first.get(one.reader, day) > since]
        earlier = [
            size for at, size in self.sizes.items() if day - DAY_LIMIT_WINDOW_DAYS <= at < day
        ]
        limit = new_reader_limit(
            len(reader_days_of_day) - len(new), median(earlier) if earlier else 0.0
        )
        unsettled = new[limit:]
        return [one for one in reader_days_of_day if one not in unsettled], unsettled


def _count_settled_by(
    connection: sa.Connection, author: str, stream: str, name: str, *, since_day: int
) -> Counter[Any]:
    """Count a stream's settled values since a day, by column `day` or `unit` (the reader)."""
    table = ledger_tables.settled
    conditions = (table.c.author == author, table.c.stream == stream, table.c.day >= since_day)
    rows = connection.execute(
        sa.select(table.c[name], sa.func.count()).where(*conditions).group_by(table.c[name])
    )
    return Counter({value: int(count) for value, count in rows})


def _store_settled_values(
    connection: sa.Connection,
    report: SyncReport,
    author: str,
    values: Sequence[tuple[Mapping[str, Any], Sequence[str]]],
    now_ms: int,
) -> None:
    """Store values under new sequence numbers.

    Args:
        values: rows of `ledger_settled`, each with the ids of the scores that it consists of.
    """
    if not values:
        return
    table = ledger_tables.sequences
    last = connection.execute(sa.select(table.c.last).where(table.c.author == author)).scalar() or 0
    ledger_tables.upsert(connection, table, [{"author": author, "last": last + len(values)}])
    common = {"author": author, "settled_ms": now_ms}
    numbered = list(enumerate(values, start=last + 1))
    rows = [{**value, **common, "sequence": number} for number, (value, _) in numbered]
    connection.execute(sa.insert(ledger_tables.settled), rows)
    by_score = {score: number for number, (_, scores) in numbered for score in scores}
    _set_status(connection, by_score, "settled")
    report.settled[author] += len(values)


def _set_status(connection: sa.Connection, scores: Mapping[str, int | None], status: str) -> None:
    """Store the status of each score, and the sequence number of its value."""
    if not scores:
        return
    table = ledger_tables.scores
    connection.execute(
        sa.update(table)
        .where(table.c.id == sa.bindparam("score"))
        .values(status=status, sequence=sa.bindparam("number")),
        [{"score": score, "number": number} for score, number in scores.items()],
    )
