"""When a score becomes a value that is bet on: once, and in an order that never changes.

Scope: closing reader-days, settling judgements, the cap on one reader's share.
Out of scope: reading scores (`paged_feed.py`), betting (`statistics/`).

A vote counts with its reader's others of that day (UTC) in its stream: one value a reader and day,
because the detectors' guarantee is void when several scores of one reader come in a row. The value
is the mean of the reader's votes on the version and class that most of them are about (a tie goes
to the earliest), since a class is bet on against its own baseline. A day is closed when everything
before its end was read, two hours after it ended (`ledger.DAY_QUIET_S`). A vote that is found after
that joins the open day, unless its reader's day was settled without it: then it corrects reports
only. A judgement is a value of its own, settled with its day: what is settled of a day is all there
is of it, and can be bet on as one. The sequence number of an author is given out in the transaction
that settles.

No reader settles above its share of an author's values of the last `CAP_DAYS` days
(`statistics/poisoning.admitted`), no day more than three usual ones (`most_of_a_day`), and readers
who were first seen within two weeks no more than a tenth of a day (`most_new`), once an author's
stream is two weeks old. Whose day is settled depends on who scored and when, never on the value.
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
    admitted,
    most_new,
    most_of_a_day,
)

CAP_DAYS = 30
DAY_SIZES = 28
STREAM_OF_VOTES = "thumbs"
Closing = Literal["daily", "at_once"]


@dataclass(frozen=True)
class ReaderDay:
    """The votes of one reader on one author in one day, and the value they make."""

    author: str
    reader: str
    day: int
    version: str
    prompt_class: str
    value: float
    used: tuple[str, ...]
    beside: tuple[str, ...]
    first_ms: int


def reader_days(votes: Iterable[Mapping[str, Any]]) -> list[ReaderDay]:
    """Group votes (author, reader, day, version, prompt_class, value, timestamp_ms, id) into
    values, in the order of their days and first votes."""
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for vote in votes:
        groups[vote["author"], vote["reader"], vote["day"]].append(vote)
    days: list[ReaderDay] = []
    for (author, reader, day), group in groups.items():
        group.sort(key=lambda vote: (vote["timestamp_ms"], vote["id"]))
        about = Counter((vote["version"], vote["prompt_class"]) for vote in group)
        version, prompt_class = about.most_common(1)[0][0]  # a tie: the first that was met
        used = [
            vote
            for vote in group
            if (vote["version"], vote["prompt_class"]) == (version, prompt_class)
        ]
        beside = tuple(vote["id"] for vote in group if vote not in used)
        mean = math.fsum(vote["value"] for vote in used) / len(used)
        days.append(
            ReaderDay(
                author=author,
                reader=reader,
                day=day,
                version=version,
                prompt_class=prompt_class,
                value=min(max(mean, 0.0), 1.0),
                used=tuple(vote["id"] for vote in used),
                beside=beside,
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
    closing: Closing,
    now_ms: int,
) -> None:
    """Settle what can be settled now; run inside the ledger's transaction.

    Args:
        report: what is settled or held back is counted there.
        frontier_ms: scores before it were read.
        closing: `at_once` closes a reader-day at its first vote (demonstration and tests, where
            a reader has one score).
    """
    before_day = 2**31 - 1 if closing == "at_once" else frontier_ms // DAY_MS
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
        by_status = _by_status(connection, author, stream, reader_days(scores), closing=closing)
        settled = by_status.pop("settled")
        _number(
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
            [one.used for one in settled],
        )
        _mark(connection, [(score, None) for one in settled for score in one.beside], "beside")
        report.settled.update({author: len(settled)} if settled else {})
        for status, held in by_status.items():
            unused = [(score, None) for one in held for score in (*one.used, *one.beside)]
            _mark(connection, unused, status)
            report.held[status] += len(held)


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
        _number(connection, author, values, [(value["unit"],) for value in values])
        report.settled[author] += len(values)


def _by_status(
    connection: sa.Connection,
    author: str,
    stream: str,
    days: Sequence[ReaderDay],
    *,
    closing: Closing,
) -> dict[str, list[ReaderDay]]:
    """What becomes of each reader-day: `settled`, `capped`, `beyond` or `new`."""
    first = days[0].day
    sizes = _settled_by(connection, author, stream, "day", since_day=first - DAY_SIZES)
    counted = _settled_by(connection, author, stream, "unit", since_day=first - CAP_DAYS)
    coming: dict[int, list[ReaderDay]] = defaultdict(list)
    for one in days:
        coming[one.day].append(one)
    settled: list[ReaderDay] = []
    capped: list[ReaderDay] = []
    beyond: list[ReaderDay] = []
    too_new: list[ReaderDay] = []
    seen = _NewReaders.of(connection, author, stream) if closing == "daily" else None
    for day in sorted(coming):
        known, unknown = (coming[day], []) if seen is None else seen.split(coming[day])
        too_new += unknown
        settles = admitted([one.reader for one in known], counted)
        settled += [one for one, does in zip(known, settles, strict=True) if does]
        capped += [one for one, does in zip(known, settles, strict=True) if not does]
        if closing == "daily":
            beyond += _beyond_the_day(settled, day, sizes)
    return {"settled": settled, "capped": capped, "beyond": beyond, "new": too_new}


@dataclass(frozen=True)
class _NewReaders:
    """When an author's readers were first seen, and how many reader-days each day has had.

    Attributes:
        first: reader → the first day on which it asked or voted, days since the epoch.
        began: the first day of the stream's own votes.
        sizes: day → reader-days with a vote, whatever became of them.
    """

    first: Mapping[str, int]
    began: int
    sizes: Mapping[int, int]

    @classmethod
    def of(cls, connection: sa.Connection, author: str, stream: str) -> _NewReaders:
        scores, settled, traces = (
            ledger_tables.scores, ledger_tables.settled, ledger_tables.traces
        )  # fmt: skip
        voted = (scores.c.author == author) & (scores.c.stream == stream)
        counted = (settled.c.author == author) & (settled.c.stream == stream)
        first: dict[str, int] = {}
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
                first[str(reader)] = min(int(day), first.get(str(reader), int(day)))
        sizes = connection.execute(
            sa.select(scores.c.day, sa.func.count(sa.distinct(scores.c.reader)))
            .where(voted)
            .group_by(scores.c.day)
        ).tuples()
        began = connection.execute(sa.select(sa.func.min(settled.c.day)).where(counted)).scalar()
        days = {int(day): int(count) for day, count in sizes}
        return cls(first, min(days, default=0) if began is None else int(began), days)

    def split(self, of_day: Sequence[ReaderDay]) -> tuple[list[ReaderDay], list[ReaderDay]]:
        """The reader-days of one day that may settle, and those of new readers that may not."""
        day = of_day[0].day
        since = day - NEW_READER_DAYS
        if since < self.began:  # who would be an old reader of a young author?
            return list(of_day), []
        new = [one for one in of_day if self.first.get(one.reader, day) > since]
        earlier = [size for at, size in self.sizes.items() if day - DAY_SIZES <= at < day]
        most = most_new(len(of_day) - len(new), median(earlier) if earlier else 0.0)
        held = new[most:]
        return [one for one in of_day if one not in held], held


def _beyond_the_day(settling: list[ReaderDay], day: int, sizes: Counter[int]) -> list[ReaderDay]:
    """What a day has above its most, taken out of what is settled; the earliest stay."""
    mine = [one for one in settling if one.day == day]
    known = sizes.get(day, 0)  # votes that joined a day which has values already
    most = most_of_a_day([size for other, size in sizes.items() if other < day])
    kept = len(mine) if most is None else max(0, min(len(mine), most - known))
    sizes[day] = known + kept
    settling[len(settling) - len(mine) :] = mine[:kept]
    return mine[kept:]


def _settled_by(
    connection: sa.Connection, author: str, stream: str, name: str, *, since_day: int
) -> Counter[Any]:
    """Settled values of a stream since a day, by its column `day` or `unit` (the reader)."""
    table = ledger_tables.settled
    mine = (table.c.author == author, table.c.stream == stream, table.c.day >= since_day)
    rows = connection.execute(
        sa.select(table.c[name], sa.func.count()).where(*mine).group_by(table.c[name])
    )
    return Counter({value: int(count) for value, count in rows})


def _number(
    connection: sa.Connection,
    author: str,
    values: list[dict[str, Any]],
    scores: Sequence[Sequence[str]],
) -> None:
    """Store values under numbers that were never given out.

    Args:
        scores: ids of those that each value is made of.
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
    _mark(connection, [(one, number) for (number, _), ids in marks for one in ids], "settled")


def _mark(connection: sa.Connection, scores: Sequence[tuple[str, int | None]], status: str) -> None:
    if not scores:
        return
    table = ledger_tables.scores
    connection.execute(
        sa.update(table)
        .where(table.c.id == sa.bindparam("score"))
        .values(status=status, sequence=sa.bindparam("number")),
        [{"score": score, "number": number} for score, number in scores],
    )
