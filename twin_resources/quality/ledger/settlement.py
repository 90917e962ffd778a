"""Settle scores into values: each score once, in an order that never changes.

Scope: closing reader-days, settling judgements, limits on readers and days.
Out of scope: reading scores (`paged_feed.py`), detecting a fall (`statistics/`).

The votes of one reader in one stream and UTC day become one value, because consecutive scores by
one reader would void the detectors' guarantee. The value is the mean of the reader's votes on the
most frequent version and class (the earliest in a tie), since each class has its own baseline. A
day is closed two hours after its end (`ledger.DAY_QUIET_S`), once every score from before its end
has been read. A vote that is read later joins the open day, unless its reader's day was settled
without it. It then corrects only reports. Each score of a judge or an annotator is a separate
value, settled with its day; an annotator's counts as often as the author's file says. A settled
day is complete, so the detector can use its sum. The transaction that settles a value also assigns
its sequence number within the author.

No reader settles more than a fixed share of an author's values in the last `READER_CAP_DAYS` days
(`statistics/vote_limits.admit_reader_days`). No day settles more values than three usual days
(`max_values_per_day`). Once an author's stream is two weeks old, readers first seen within the last
two weeks settle at most a tenth of a day's values (`max_new_reader_values`). Selection depends on
the reader and the time, never on the value.
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
from twin_resources.quality.ledger.scores import DAY_MS, SINGLE_VALUE_KINDS
from twin_resources.statistics.vote_limits import (
    NEW_READER_DAYS,
    admit_reader_days,
    max_new_reader_values,
    max_values_per_day,
)
from twin_resources.storage.state.state_tables import upsert

READER_CAP_DAYS = 30
DAY_LIMIT_WINDOW_DAYS = 28
DayClosing = Literal["daily", "at_once"]
_get_class = itemgetter("version", "prompt_class")


@dataclass(frozen=True)
class ReaderDay:
    """The votes of one reader in one stream and day, and the resulting value.

    Attributes:
        value: a row of `ledger_settled`, without its sequence number.
        used_vote_ids, unused_vote_ids: the ids of the votes that the value includes and omits.
        first_ms: the time of the first vote.
    """

    reader: str
    day: int
    value: Mapping[str, Any]
    used_vote_ids: Sequence[str]
    unused_vote_ids: Sequence[str]
    first_ms: int


def group_into_reader_days(votes: Iterable[Mapping[str, Any]]) -> list[ReaderDay]:
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
        # In a tie, the earliest class wins.
        main_class = Counter(map(_get_class, group)).most_common(1)[0][0]
        used_votes = [vote for vote in group if _get_class(vote) == main_class]
        unused_vote_ids = [vote["id"] for vote in group if _get_class(vote) != main_class]
        mean = fmean(vote["value"] for vote in used_votes)
        value = {"value": mean, "unit": reader, "day": day, **_stream_fields(used_votes[0])}
        ids = [vote["id"] for vote in used_votes]
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
        report: the report that counts settled and unsettled values.
        frontier_ms: the time before which all scores were read.
        day_closing: `at_once` closes a reader-day at its first vote. The demo and tests use it,
            because each of their readers gives one score.
    """
    before_day = 2**31 - 1 if day_closing == "at_once" else frontier_ms // DAY_MS
    _settle_single_scores(connection, report, before_day, now_ms)
    table = ledger_tables.scores
    votes = connection.execute(
        sa.select(table)
        .where(table.c.status == "open", table.c.kind == "vote", table.c.day < before_day)
        .order_by(table.c.day, table.c.author, table.c.reader)
    ).mappings()
    votes_by_stream: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for vote in votes:
        votes_by_stream[vote["author"], vote["stream"]].append(dict(vote))
    for (author, stream), stream_votes in sorted(votes_by_stream.items()):
        days_by_status = _group_by_status(
            connection,
            author,
            stream,
            group_into_reader_days(stream_votes),
            day_closing=day_closing,
        )
        settled_days = days_by_status.pop("settled")
        _store_settled_values(connection, report, author, settled_days, now_ms)
        unused_vote_ids = [
            vote_id for reader_day in settled_days for vote_id in reader_day.unused_vote_ids
        ]
        _set_status(connection, dict.fromkeys(unused_vote_ids), "beside")
        for status, unsettled_days in days_by_status.items():
            vote_ids = [
                vote_id
                for reader_day in unsettled_days
                for vote_id in (*reader_day.used_vote_ids, *reader_day.unused_vote_ids)
            ]
            _set_status(connection, dict.fromkeys(vote_ids), status)
            report.unsettled_days[status] += len(unsettled_days)


def _settle_single_scores(
    connection: sa.Connection, report: SyncReport, before_day: int, now_ms: int
) -> None:
    table = ledger_tables.scores
    end_ms = before_day * DAY_MS
    rows = connection.execute(
        sa.select(table)
        .where(
            table.c.status == "open",
            table.c.kind.in_(SINGLE_VALUE_KINDS),
            table.c.timestamp_ms < end_ms,
        )
        .order_by(table.c.timestamp_ms, table.c.id)
    ).mappings()
    scores_by_author: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        # Each score is a separate value, whose unit is its own id; with a weight, it is several.
        for copy in range(1, row["weight"] + 1):
            unit = row["id"] if copy == 1 else f"{row['id']}#{copy}"
            score = dict(row) | {"reader": unit, "day": row["timestamp_ms"] // DAY_MS}
            scores_by_author[row["author"]].append(score)
    for author, scores in scores_by_author.items():
        days = group_into_reader_days(scores)
        _store_settled_values(connection, report, author, days, now_ms)


def _group_by_status(
    connection: sa.Connection,
    author: str,
    stream: str,
    days: Sequence[ReaderDay],
    *,
    day_closing: DayClosing,
) -> dict[str, list[ReaderDay]]:
    """Group reader-days by their new status: `settled`, `capped`, `beyond` or `new`."""
    first_day = days[0].day
    size_by_day = _count_settled_by(
        connection, author, stream, "day", since_day=first_day - DAY_LIMIT_WINDOW_DAYS
    )
    counts_by_reader = _count_settled_by(
        connection, author, stream, "unit", since_day=first_day - READER_CAP_DAYS
    )
    days_by_status: dict[str, list[ReaderDay]] = {
        status: [] for status in ("settled", "capped", "beyond", "new")
    }
    new_readers = (
        _NewReaders.from_ledger(connection, author, stream) if day_closing == "daily" else None
    )
    for day, group in groupby(days, key=attrgetter("day")):
        reader_days = list(group)
        known_reader_days, new_reader_days = (
            (reader_days, []) if new_readers is None else new_readers.split_new_readers(reader_days)
        )
        is_admitted = admit_reader_days(
            [reader_day.reader for reader_day in known_reader_days], counts_by_reader
        )
        days_by_status["new"] += new_reader_days
        days_by_status["capped"] += compress(known_reader_days, map(not_, is_admitted))
        admitted_days = list(compress(known_reader_days, is_admitted))
        limit = max_values_per_day(
            [size for other_day, size in size_by_day.items() if other_day < day]
        )
        capacity = (
            len(admitted_days)
            if new_readers is None or limit is None
            else max(0, limit - size_by_day[day])
        )
        size_by_day[day] += min(capacity, len(admitted_days))  # includes the day's earlier values
        days_by_status["settled"] += admitted_days[:capacity]
        days_by_status["beyond"] += admitted_days[capacity:]
    return days_by_status


@dataclass(frozen=True)
class _NewReaders:
    """The first day of each of an author's readers, and the number of reader-days per day.

    Attributes:
        first_day_by_reader: reader → the first day on which the reader asked or voted, in days
            since the epoch.
        stream_start_day: the stream's first settled day, or its first day with a vote if none is
            settled.
        reader_days_by_day: day → the number of reader-days with a vote, regardless of their status.
    """

    first_day_by_reader: Mapping[str, int]
    stream_start_day: int
    reader_days_by_day: Mapping[int, int]

    @classmethod
    def from_ledger(cls, connection: sa.Connection, author: str, stream: str) -> _NewReaders:
        scores, settled, traces = (
            ledger_tables.scores, ledger_tables.settled, ledger_tables.traces
        )  # fmt: skip
        is_vote = (scores.c.author == author) & (scores.c.stream == stream)
        is_settled = (settled.c.author == author) & (settled.c.stream == stream)
        asked_day = (traces.c.started_ms // DAY_MS).label("day")
        days = sa.union_all(
            sa.select(traces.c.reader, asked_day).where(traces.c.author == author),
            sa.select(scores.c.reader, scores.c.day).where(is_vote),
            sa.select(settled.c.unit, settled.c.day).where(is_settled),
        ).subquery()
        first_days = connection.execute(
            sa.select(days.c.reader, sa.func.min(days.c.day)).group_by(days.c.reader)
        ).tuples()
        day_sizes = connection.execute(
            sa.select(scores.c.day, sa.func.count(sa.distinct(scores.c.reader)))
            .where(is_vote)
            .group_by(scores.c.day)
        ).tuples()
        first_settled = connection.execute(
            sa.select(sa.func.min(settled.c.day)).where(is_settled)
        ).scalar()
        reader_days_by_day = {int(day): int(count) for day, count in day_sizes}
        return cls(
            dict(first_days.all()),
            min(reader_days_by_day, default=0) if first_settled is None else int(first_settled),
            reader_days_by_day,
        )

    def split_new_readers(
        self, reader_days: Sequence[ReaderDay]
    ) -> tuple[list[ReaderDay], list[ReaderDay]]:
        """Split one day's reader-days into those that may settle and those above the limit."""
        day = reader_days[0].day
        start_day = day - NEW_READER_DAYS
        if start_day < self.stream_start_day:  # a new stream has no earlier readers
            return list(reader_days), []
        new_reader_days = [
            reader_day
            for reader_day in reader_days
            if self.first_day_by_reader.get(reader_day.reader, day) > start_day
        ]
        earlier_sizes = [
            size
            for size_day, size in self.reader_days_by_day.items()
            if day - DAY_LIMIT_WINDOW_DAYS <= size_day < day
        ]
        limit = max_new_reader_values(
            len(reader_days) - len(new_reader_days),
            median(earlier_sizes) if earlier_sizes else 0.0,
        )
        unsettled_days = new_reader_days[limit:]
        return [
            reader_day for reader_day in reader_days if reader_day not in unsettled_days
        ], unsettled_days


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
    days: Sequence[ReaderDay],
    now_ms: int,
) -> None:
    """Store the values under new sequence numbers."""
    if not days:
        return
    last_number = ledger_tables.find_last_sequence(connection, author)
    new_last_row = {"author": author, "last": last_number + len(days)}
    upsert(connection, ledger_tables.sequences, [new_last_row])
    rows: list[dict[str, Any]] = []
    sequence_by_score: dict[str, int | None] = {}
    for sequence, reader_day in enumerate(days, start=last_number + 1):
        position = {"author": author, "settled_ms": now_ms, "sequence": sequence}
        rows.append({**reader_day.value, **position})
        sequence_by_score |= dict.fromkeys(reader_day.used_vote_ids, sequence)
    connection.execute(sa.insert(ledger_tables.settled), rows)
    _set_status(connection, sequence_by_score, "settled")
    report.settled_values[author] += len(days)


def _set_status(connection: sa.Connection, scores: Mapping[str, int | None], status: str) -> None:
    """Store the status of each score, and the sequence number of its value."""
    if not scores:
        return
    table = ledger_tables.scores
    connection.execute(
        sa.update(table)
        .where(table.c.id == sa.bindparam("score"))
        .values(status=status, sequence=sa.bindparam("number")),
        [{"score": score_id, "number": sequence} for score_id, sequence in scores.items()],
    )
