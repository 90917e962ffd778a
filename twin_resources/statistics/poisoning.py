"""Limit the weight of a few readers and of single days: cap settled values, check alarms.

Scope: the share of settled values of each reader and of new readers, and whether readers who voted
before a fall confirm it.
Out of scope: settling (`twin_resources/quality/ledger/settling.py`, which calls
`admit_reader_days`), reading readers and times (`daily_aggregates.py`), and reporting.
Method: admission depends on the reader and the time, never on the value, so it shifts no mean.
"""
# pyright: strict

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

MAX_READER_SHARE = 0.05  # share of an author's values in a month, with 20 or more readers
MIN_READERS_FOR_CAP = 20
MAX_DAY_MULTIPLE, MIN_DAY_LIMIT = 3.0, 10
NEW_READER_DAYS, NEW_READERS_SHARE = 14, 0.1
MAX_EXCLUDED_READERS = 3
MIN_RETURNING_VALUES, MAX_TOP_READERS_SHARE = 10, 0.5
MIN_Z_SCORE = 1.64  # standard errors
MIN_VARIANCE = 0.01


def reader_limit(total: int, *, readers: int) -> int:
    """Return how many of an author's reader-days one reader may have, which is at least one."""
    share = MAX_READER_SHARE if readers >= MIN_READERS_FOR_CAP else min(1.0, 2 / max(readers, 1))
    return max(1, math.ceil(share * total))


def admit_reader_days(readers: Sequence[str], counts_by_reader: Counter[str]) -> list[bool]:
    """Return which reader-days of one day are settled, and add them to `counts_by_reader`.

    With 20 readers or more, no reader has more than `MAX_READER_SHARE` of an author's values in the
    last month. With fewer readers, none has more than twice an equal share. Every reader may have
    at least one value.

    Args:
        readers: the hashed reader keys of the day, one per reader-day, in order.
        counts_by_reader: reader → the number of values settled in the month before.
    """
    limit = reader_limit(
        counts_by_reader.total() + len(readers), readers=len({*counts_by_reader, *readers})
    )
    admissions: list[bool] = []
    for reader in readers:
        admissions.append(counts_by_reader[reader] < limit)
        counts_by_reader[reader] += admissions[-1]
    return admissions


def day_limit(earlier_counts: Sequence[int]) -> int | None:
    """Return how many values of one day are settled, or None (all) on the first day.

    The limit is three times the median of the earlier days, and at least ten. Without it, 18 of 24
    homes trained after 3,000 people saw a page on one day. A home whose baseline was certified on
    that day kept that baseline permanently. With the limit, at most 1 of 8 homes trains. All
    readers who return are counted within two weeks.

    Args:
        earlier_counts: the settled values of each day with any in the last four weeks.
    """
    return (
        max(MIN_DAY_LIMIT, round(MAX_DAY_MULTIPLE * median(earlier_counts)))
        if earlier_counts
        else None
    )


def new_reader_limit(known_reader_values: int, usual_reader_days: float) -> int:
    """Return how many values of one day may come from new readers.

    New readers were first seen in the last `NEW_READER_DAYS` days. They may have a tenth of that
    day's or of a usual day's values, whichever is more, and at least one value. A new identity
    costs nothing, so more new readers must not have more weight.

    Args:
        known_reader_values: the number of values of all other readers on that day.
        usual_reader_days: the reader-days on the median day of the last four weeks, settled or not.
    """
    return max(1, math.ceil(NEW_READERS_SHARE * max(known_reader_values, usual_reader_days)))


@dataclass(frozen=True)
class ReaderTotals:
    """The count and sum of one reader's values before and since a fall."""

    count_before: float
    total_before: float
    count_since: float
    total_since: float

    @property
    def shortfall(self) -> float:
        """The sum by which the values since the fall are below the reader's mean before it."""
        return self.count_since * (self.total_before / self.count_before) - self.total_since


def unconfirmed_fall_reason(readers: Mapping[str, ReaderTotals]) -> str:
    """Return why a person must check an alarm; empty if returning readers confirm the fall.

    Readers who voted before the fall are compared with their own earlier values. The three with the
    largest fall are excluded (a third of them if there are fewer than nine). If the others have
    fewer than `MIN_RETURNING_VALUES` values, a different test applies: three readers must not have
    given most of the values since the fall.
    """
    voters_before = {
        name: reader
        for name, reader in readers.items()
        if reader.count_before and reader.count_since
    }
    names_by_shortfall = sorted(
        voters_before, key=lambda name: voters_before[name].shortfall, reverse=True
    )
    exclusions = names_by_shortfall[: min(MAX_EXCLUDED_READERS, len(names_by_shortfall) // 3)]
    remaining_readers = [reader for name, reader in voters_before.items() if name not in exclusions]
    values = math.fsum(reader.count_since for reader in remaining_readers)
    if values < MIN_RETURNING_VALUES:
        counts = sorted((reader.count_since for reader in readers.values()), reverse=True)
        share = math.fsum(counts[:MAX_EXCLUDED_READERS]) / max(1.0, math.fsum(counts))
        reason = f"{MAX_EXCLUDED_READERS} readers have {share:.0%} of the values of the fall"
        return reason if share > MAX_TOP_READERS_SHARE else ""
    mean = math.fsum(reader.total_before for reader in remaining_readers) / math.fsum(
        reader.count_before for reader in remaining_readers
    )
    shortfall = math.fsum(reader.shortfall for reader in remaining_readers)
    # A reader's mean before the fall is itself an estimate. The second term is its variance.
    variance = max(MIN_VARIANCE, mean * (1.0 - mean)) * math.fsum(
        reader.count_since * (1.0 + reader.count_since / reader.count_before)
        for reader in remaining_readers
    )
    if shortfall >= MIN_Z_SCORE * math.sqrt(variance):
        return ""
    return (
        f"{len(voters_before):,} of {len(readers):,} readers voted before the fall, and the votes "
        f"of all but {len(exclusions)} of them show no clear fall ({shortfall / values:+.2f} on "
        f"average, {values:,.0f} values)"
    )
