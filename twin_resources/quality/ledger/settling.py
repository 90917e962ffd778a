"""Settles scores into values for betting: each score once, in an order that never changes.

Scope: closing reader-days, settling judgements, limits on readers and days.
Out of scope: reading scores (`paged_feed.py`), betting (`statistics/`).

The votes of one reader in one stream and UTC day become one value, because the detectors' guarantee
does not hold when several scores of one reader follow each other. The value is the mean of the
reader's votes on the most frequent version and class (the earliest in a tie), since each class is
compared with its own baseline. A day is closed two hours after its end (`ledger.DAY_QUIET_S`), if
everything before its end was read. A vote that is found later joins the open day, unless its
reader's day was settled without it: then it only corrects reports. Each judgement is a value of its
own, settled with its day. A settled day is complete, so it can be bet on as a whole. The
transaction that settles a value also assigns its sequence number within the author.

No reader settles more than its share of an author's values of the last `READER_CAP_DAYS` days
(`statistics/poisoning.admitted`), and no day more than three usual days (`day_limit`). Once an
author's stream is two weeks old, readers first seen within the last two weeks settle at most a
tenth of a day (`new_reader_limit`). Selection depends on who scored and when, never on the value.
"""
# pyright: strict

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
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


@dataclass(frozen=True)
class ReaderDay:
    """The votes of one reader on one author in one day, and the resulting value."""

    author: str
    reader: str
    day: int
    version: str
    prompt_class: str
    value: float
    used_vote_ids: tuple[str, ...]
    unused_vote_ids: tuple[str, ...]
    first_ms: int


def reader_days(votes: Iterable[Mapping[str, Any]]) -> list[ReaderDay]:
    """Group votes into one value per author, reader and day, ordered by day and first vote.

    Each vote has author, reader, day, version, prompt_class, value, timestamp_ms and id.
    """
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for vote in votes:
        groups[vote["author"], vote["reader"], vote["day"]].append(vote)
    days: list[ReaderDay] = []
    for (author, reader, day), group in groups.items():
        group.sort(key=lambda vote: (vote["timestamp_ms"], vote["id"]))
        class_counts = Counter((vote["version"], vote["prompt_class"]) for vote in group)
        version, prompt_class = class_counts.most_common(1)[0][0]  # the earliest wins a tie
        used = [
            vote
            for vote in group
            if (vote["version"], vote["prompt_class"]) == (version, prompt_class)
        ]
        unused_vote_ids = tuple(vote["id"] for vote in group if vote not in used)
        mean = math.fsum(vote["value"] for vote in used) / len(used)
        days.append(
            ReaderDay(
                author=author,
                reader=reader,
                day=day,
                version=version,
                prompt_class=prompt_class,
                value=min(max(mean, 0.0), 1.0),
                used_vote_ids=tuple(vote["id"] for vote in used),
                unused_vote_ids=unused_vote_ids,
                first_ms=group[0]["timestamp_ms"],
            )
        )
    days.sort(key=lambda one: (one.day, one.first_ms, one.reader))
    return days


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
        _store_settled_values(
            connection,
            author,
            [
                {
                    "stream": stream,
                    "version": one.version,
                    "prompt_class": one.prompt_class,
                    "value": one.value,
                    "unit": one.reader,
                    "day": one.day,
                    "settled_ms": now_ms,
                }
                for one in settled
            ],
            [one.used_vote_ids for one in settled],
        )
        _set_status(
            connection,
            [(score, None) for one in settled for score in one.unused_vote_ids],
            "beside",
        )
        report.settled.update({author: len(settled)} if settled else {})
        for status, unsettled in by_status.items():
            unused = [
                (score, None)
                for one in unsettled
                for score in (*one.used_vote_ids, *one.unused_vote_ids)
            ]
            _set_status(connection, unused, status)
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
    by_author: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        value = {name: row[name] for name in ("stream", "version", "prompt_class", "value")}
        day = {"day": row["timestamp_ms"] // DAY_MS, "settled_ms": now_ms}
        by_author[row["author"]].append({**value, **day, "unit": row["id"]})
    for author, values in by_author.items():
        _store_settled_values(connection, author, values, [(value["unit"],) for value in values])
        report.settled[author] += len(values)


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
    days_by_number: dict[int, list[ReaderDay]] = defaultdict(list)
    for one in days:
        days_by_number[one.day].append(one)
    settled: list[ReaderDay] = []
    capped: list[ReaderDay] = []
    over_day_limit: list[ReaderDay] = []
    too_new: list[ReaderDay] = []
    new_readers = (
        _NewReaders.from_ledger(connection, author, stream) if day_closing == "daily" else None
    )
    for day in sorted(days_by_number):
        known_readers, unknown = (
            (days_by_number[day], [])
            if new_readers is None
            else new_readers.split_new_readers(days_by_number[day])
        )
        too_new += unknown
        is_admitted = admit_reader_days([one.reader for one in known_readers], counts_by_reader)
        settled += [one for one, does in zip(known_readers, is_admitted, strict=True) if does]
        capped += [one for one, does in zip(known_readers, is_admitted, strict=True) if not does]
        if day_closing == "daily":
            over_day_limit += _remove_over_day_limit(settled, day, sizes)
    return {"settled": settled, "capped": capped, "beyond": over_day_limit, "new": too_new}


@dataclass(frozen=True)
class _NewReaders:
    """The first day of each of an author's readers, and the number of reader-days per day.

    Attributes:
        first: reader → the first day on which it asked or voted, in days since the epoch.
        began: the first settled day of the stream; without one, its first day with a vote.
        sizes: day → the number of reader-days with a vote, whatever their status.
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
        for query in (
            sa.select(traces.c.reader, sa.func.min(traces.c.started_ms) / DAY_MS)
            .where(traces.c.author == author)
            .group_by(traces.c.reader),
            sa.select(scores.c.reader, sa.func.min(scores.c.day))
            .where(voted)
            .group_by(scores.c.reader),
            sa.select(settled.c.unit, sa.func.min(settled.c.day))
            .where(counted)
            .group_by(settled.c.unit),
        ):
            for reader, day in connection.execute(query).tuples():
                first_days[str(reader)] = min(int(day), first_days.get(str(reader), int(day)))
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
        if since < self.began:  # a young stream has no old readers
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


def _remove_over_day_limit(
    settling: list[ReaderDay], day: int, sizes: Counter[int]
) -> list[ReaderDay]:
    """Remove a day's reader-days above its limit from `settling` and return them.

    The earliest stay.
    """
    days_of_date = [one for one in settling if one.day == day]
    settled_count = sizes.get(day, 0)  # values that the day already has
    limit = day_limit([size for other, size in sizes.items() if other < day])
    kept_count = (
        len(days_of_date)
        if limit is None
        else max(0, min(len(days_of_date), limit - settled_count))
    )
    sizes[day] = settled_count + kept_count
    settling[len(settling) - len(days_of_date) :] = days_of_date[:kept_count]
    return days_of_date[kept_count:]


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
    author: str,
    values: list[dict[str, Any]],
    scores: Sequence[Sequence[str]],
) -> None:
    """Store values under new sequence numbers.

    Args:
        scores: for each value, the ids of the scores that it consists of.
    """
    if not values:
        return
    table = ledger_tables.sequences
    last = connection.execute(sa.select(table.c.last).where(table.c.author == author)).scalar() or 0
    ledger_tables.upsert(connection, table, [{"author": author, "last": last + len(values)}])
    numbered = list(enumerate(values, start=last + 1))
    rows = [{**value, "author": author, "sequence": number} for number, value in numbered]
    connection.execute(sa.insert(ledger_tables.settled), rows)
    marks = zip(numbered, scores, strict=True)
    _set_status(connection, [(one, number) for (number, _), ids in marks for one in ids], "settled")


def _set_status(
    connection: sa.Connection, scores: Sequence[tuple[str, int | None]], status: str
) -> None:
    if not scores:
        return
    table = ledger_tables.scores
    connection.execute(
        sa.update(table)
        .where(table.c.id == sa.bindparam("score"))
        .values(status=status, sequence=sa.bindparam("number")),
        [{"score": score, "number": number} for score, number in scores],
    )
