"""Limit the influence of individual readers and single days: cap settled values, check alarms.

Scope: the share of settled values of each reader and of new readers, and whether readers who voted
before a fall confirm it.
Out of scope: settling (`twin_resources/quality/ledger/settlement.py`, which calls
`admit_reader_days`), reading readers and times (`daily_aggregates.py`), and reporting.
Method: admission depends on the reader and the time, never on the value, so it does not bias the
mean.
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
MIN_RETURNING_VALUES, TOP_READER_COUNT, MAX_TOP_READERS_SHARE = 10, 3, 0.5
MIN_Z_SCORE = 1.64  # standard errors
MIN_VARIANCE = 0.01


def max_values_per_reader(total: int, *, reader_count: int) -> int:
    """Return how many of an author's reader-days one reader may have, which is at least one."""
    share = (
        MAX_READER_SHARE
        if reader_count >= MIN_READERS_FOR_CAP
        else min(1.0, 2 / max(reader_count, 1))
    )
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
    limit = max_values_per_reader(
        counts_by_reader.total() + len(readers), reader_count=len({*counts_by_reader, *readers})
    )
    admissions: list[bool] = []
    for reader in readers:
        admissions.append(counts_by_reader[reader] < limit)
        counts_by_reader[reader] += admissions[-1]
    return admissions


def max_values_per_day(earlier_counts: Sequence[int]) -> int | None:
    """Return the maximum number of values to settle for one day, or None (all) on the first day.

    The limit is three times the median of the earlier days, and at least ten. In
    simulations without it, a day with 3,000 visitors triggered a retraining in 18 of 24 homes, and
    a baseline certified on that day was never corrected. With it, at most 1 of 8 homes retrained.
    All readers who return are counted within two weeks.

    Args:
        earlier_counts: the settled values per day, for each day with any in the last four weeks.
    """
    return (
        max(MIN_DAY_LIMIT, round(MAX_DAY_MULTIPLE * median(earlier_counts)))
        if earlier_counts
        else None
    )


def max_new_reader_values(known_reader_values: int, usual_reader_days: float) -> int:
    """Return how many values of one day may come from new readers.

    New readers were first seen in the last `NEW_READER_DAYS` days. Together they may
    give a tenth of that day's or of a usual day's values, whichever is more, and at least one. A
    new identity costs nothing, so more new readers must not have more weight.

    Args:
        known_reader_values: the number of values of all other readers on that day.
        usual_reader_days: the reader-days on the median day of the last four weeks, settled or not.
    """
    return max(1, math.ceil(NEW_READERS_SHARE * max(known_reader_values, usual_reader_days)))


@dataclass(frozen=True)
class ReaderTotals:
    """The count and sum of one reader's values before and since a fall."""

    count_before: float
    sum_before: float
    count_since: float
    sum_since: float

    @property
    def shortfall(self) -> float:
        """The sum by which the values since the fall are below the reader's mean before it."""
        return self.count_since * (self.sum_before / self.count_before) - self.sum_since


def unconfirmed_fall_reason(readers: Mapping[str, ReaderTotals]) -> str:
    """Return why a person must check an alarm, or "" if returning readers confirm the fall.

    Readers who voted before the fall are compared with their own earlier values. The three with the
    largest fall are excluded (a third of them if there are fewer than nine). If the others have
    fewer than `MIN_RETURNING_VALUES` values, a different test applies: three readers must not have
    given most of the values since the fall.
    """
    returning_readers = {
        name: reader
        for name, reader in readers.items()
        if reader.count_before and reader.count_since
    }
    names_by_shortfall = sorted(
        returning_readers, key=lambda name: returning_readers[name].shortfall, reverse=True
    )
    exclusions = names_by_shortfall[: min(MAX_EXCLUDED_READERS, len(names_by_shortfall) // 3)]
    remaining_readers = [
        reader for name, reader in returning_readers.items() if name not in exclusions
    ]
    value_count = math.fsum(reader.count_since for reader in remaining_readers)
    if value_count < MIN_RETURNING_VALUES:
        counts = sorted((reader.count_since for reader in readers.values()), reverse=True)
        share = math.fsum(counts[:TOP_READER_COUNT]) / max(1.0, math.fsum(counts))
        reason = f"{TOP_READER_COUNT} readers have {share:.0%} of the values of the fall"
        return reason if share > MAX_TOP_READERS_SHARE else ""
    mean = math.fsum(reader.sum_before for reader in remaining_readers) / math.fsum(
        reader.count_before for reader in remaining_readers
    )
    shortfall = math.fsum(reader.shortfall for reader in remaining_readers)
    # A reader's mean before the fall is itself an estimate. The second term adds its variance.
    variance = max(MIN_VARIANCE, mean * (1.0 - mean)) * math.fsum(
        reader.count_since * (1.0 + reader.count_since / reader.count_before)
        for reader in remaining_readers
    )
    if shortfall >= MIN_Z_SCORE * math.sqrt(variance):
        return ""
    return (
        f"{len(returning_readers):,} of {len(readers):,} readers voted before the fall, and the "
        f"votes of all but {len(exclusions)} of them show no clear fall "
        f"({shortfall / value_count:+.2f} on average, {value_count:,.0f} values)"
    )
