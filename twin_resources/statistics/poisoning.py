"""Keep a few readers, or one day, from deciding for all: caps on settling, checks of alarms.

Scope: the share of settled values of each reader and of new readers, and whether readers who voted
before a fall confirm it.
Out of scope: settling (`twin_resources/quality/ledger/settling.py`, which calls
`admit_reader_days`), reading readers and times (`daily_aggregates.py`), reporting. Method:
admission depends on the reader and the time, never on the value, so it shifts no mean.
"""
# pyright: strict

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

MAX_READER_SHARE = 0.05  # share of an author's values in a month, from 20 readers on
MIN_READERS_FOR_CAP = 20
MAX_DAY_MULTIPLE, MIN_DAY_LIMIT = 3.0, 10
NEW_READER_DAYS, NEW_READERS_SHARE = 14, 0.1
MAX_EXCLUDED_READERS = 3
MIN_RETURNING_VALUES, MAX_TOP_READERS_SHARE = 10, 0.5
MIN_Z_SCORE = 1.64  # standard errors
MIN_VARIANCE = 0.01


def reader_limit(total: int, *, readers: int) -> int:
    """Return how many of an author's reader-days one reader may have; at least one."""
    share = MAX_READER_SHARE if readers >= MIN_READERS_FOR_CAP else min(1.0, 2 / max(readers, 1))
    return max(1, math.ceil(share * total))


def admit_reader_days(readers: Sequence[str], counts_by_reader: Counter[str]) -> list[bool]:
    """Return which reader-days of one day are settled, and add them to `counts_by_reader`.

    From 20 readers on, no reader has more than `MAX_READER_SHARE` of an author's values of the last
    month. With fewer readers, none has more than twice an equal share. Each may have at least one
    value.

    Args:
        readers: hashed reader keys of the day, one per reader-day, in order.
        counts_by_reader: reader → values settled in the month before.
    """
    limit = reader_limit(
        counts_by_reader.total() + len(readers), readers=len({*counts_by_reader, *readers})
    )
    settled: list[bool] = []
    for reader in readers:
        settled.append(counts_by_reader[reader] < limit)
        counts_by_reader[reader] += settled[-1]
    return settled


def day_limit(earlier_counts: Sequence[int]) -> int | None:
    """Return how many values of one day are settled, or None (all) on the first day.

    The limit is three times the median of the earlier days, and at least ten. Without it, 18 of 24
    homes trained after a page that 3,000 people saw on one day, and a home that certified on that
    day kept it as its baseline permanently. With the limit, at most 1 of 8 trains. All readers who
    return are counted within two weeks.

    Args:
        earlier_counts: values settled on each day of the last four weeks that had any.
    """
    return (
        max(MIN_DAY_LIMIT, round(MAX_DAY_MULTIPLE * median(earlier_counts)))
        if earlier_counts
        else None
    )


def new_reader_limit(known_reader_values: int, usual_reader_days: float) -> int:
    """Return how many values of one day may come from readers first seen in the last
    `NEW_READER_DAYS` days: a tenth of that day or of the usual day, and at least one.

    A new identity costs nothing, so the number of new readers must not raise their weight.

    Args:
        known_reader_values: values of all other readers on that day.
        usual_reader_days: reader-days on the median day of the last four weeks, settled or not.
    """
    return max(1, math.ceil(NEW_READERS_SHARE * max(known_reader_values, usual_reader_days)))


@dataclass(frozen=True)
class ReaderTotals:
    """The count and sum of one reader's values before a fall and since."""

    count_before: float
    total_before: float
    count_since: float
    total_since: float

    @property
    def shortfall(self) -> float:
        """The sum by which the values since the fall are below the reader's mean before it."""
        return self.count_since * (self.total_before / self.count_before) - self.total_since


def unconfirmed_fall_reason(readers: Mapping[str, ReaderTotals]) -> str:
    """Return why a person must check an alarm; empty if readers who voted before confirm the fall.

    Readers who voted before the fall are compared with their own earlier values. The three with
    the largest fall are left out (a third if there are fewer than nine). If the others have fewer
    than `MIN_RETURNING_VALUES` values, the test instead requires that three readers do not have
    most of the fall's values.
    """
    returning = {
        name: reader
        for name, reader in readers.items()
        if reader.count_before and reader.count_since
    }
    by_fall = sorted(returning, key=lambda name: returning[name].shortfall, reverse=True)
    excluded = by_fall[: min(MAX_EXCLUDED_READERS, len(by_fall) // 3)]
    remaining = [reader for name, reader in returning.items() if name not in excluded]
    values = math.fsum(reader.count_since for reader in remaining)
    if values < MIN_RETURNING_VALUES:
        counts = sorted((reader.count_since for reader in readers.values()), reverse=True)
        share = math.fsum(counts[:MAX_EXCLUDED_READERS]) / max(1.0, math.fsum(counts))
        reason = f"{MAX_EXCLUDED_READERS} readers have {share:.0%} of the values of the fall"
        return reason if share > MAX_TOP_READERS_SHARE else ""
    mean = math.fsum(reader.total_before for reader in remaining) / math.fsum(
        reader.count_before for reader in remaining
    )
    shortfall = math.fsum(reader.shortfall for reader in remaining)
    # A reader's mean before the fall is itself an estimate: the second term is its variance.
    variance = max(MIN_VARIANCE, mean * (1.0 - mean)) * math.fsum(
        reader.count_since * (1.0 + reader.count_since / reader.count_before)
        for reader in remaining
    )
    if shortfall >= MIN_Z_SCORE * math.sqrt(variance):
        return ""
    return (
        f"of {len(readers):,} readers {len(returning):,} voted before the fall, and without "
        f"{len(excluded)} of them they say what they said ({shortfall / values:+.2f} on average, "
        f"{values:,.0f} values)"
    )
