"""Keep a few readers, or one day, from deciding for all: caps on settling, checks of alarms.

Scope: the share of settled values of each reader and of new readers, and whether readers who voted
before a fall confirm it.
Out of scope: settling (`twin_resources/quality/ledger/settling.py`, which calls `admitted`),
reading readers and times (`daily_aggregates.py`), reporting.
Method: admission depends on the reader and the time, never on the value, so it shifts no mean.
"""
# pyright: strict

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

CAP = 0.05  # share of an author's values of a month, from 20 readers on
FEW_TO_CAP = 20
DAY_WEIGHT, MIN_PER_DAY = 3.0, 10
NEW_READER_DAYS, NEW_READERS_SHARE = 14, 0.1
FEW_READERS = 3
MIN_RETURNING, MAX_OF_A_FALL = 10, 0.5
SURE = 1.64  # standard errors
MIN_VARIANCE = 0.01


def most_allowed(total: int, *, readers: int) -> int:
    """Return how many of an author's reader-days one reader may have; at least one."""
    share = CAP if readers >= FEW_TO_CAP else min(1.0, 2 / max(readers, 1))
    return max(1, math.ceil(share * total))


def admitted(readers: Sequence[str], counted: Counter[str]) -> list[bool]:
    """Return which reader-days of one day are settled, and add them to `counted`.

    From 20 readers on, no reader has more than `CAP` of an author's values of the last month. With
    fewer readers, none has more than twice an equal share. Each may have at least one value.

    Args:
        readers: hashed reader keys of the day, one per reader-day, in order.
        counted: reader → values settled in the month before.
    """
    limit = most_allowed(counted.total() + len(readers), readers=len({*counted, *readers}))
    settled: list[bool] = []
    for reader in readers:
        settled.append(counted[reader] < limit)
        counted[reader] += settled[-1]
    return settled


def most_of_a_day(earlier: Sequence[int]) -> int | None:
    """Return how many values of one day are settled, or None (all) on the first day.

    The limit is three times the median of the earlier days, and at least ten. Without it, 18 of 24
    homes trained after a page that 3,000 people saw on one day, and a home that certified on that
    day kept it as its baseline for ever. With it 0 to 1 of 8 train. All readers who return are
    counted within two weeks.

    Args:
        earlier: values settled on each day of the last four weeks that had any.
    """
    return max(MIN_PER_DAY, round(DAY_WEIGHT * median(earlier))) if earlier else None


def most_new(known: int, usual: float) -> int:
    """Return how many values of one day may come from readers first seen in the last
    `NEW_READER_DAYS` days: a tenth of that day or of the usual day, and at least one.

    A new identity costs nothing, so the number of new readers must not raise their weight.

    Args:
        known: values of all other readers on that day.
        usual: reader-days on the median day of the last four weeks, settled or not.
    """
    return max(1, math.ceil(NEW_READERS_SHARE * max(known, usual)))


@dataclass(frozen=True)
class ReaderTotals:
    """The count and sum of one reader's values before a fall and since."""

    count_before: float
    total_before: float
    count_since: float
    total_since: float

    @property
    def lost(self) -> float:
        """The sum by which the values since the fall are below the reader's mean before it."""
        return self.count_since * (self.total_before / self.count_before) - self.total_since


def not_seen_by_others(readers: Mapping[str, ReaderTotals]) -> str:
    """Return why a person must check an alarm; empty if readers who voted before confirm the fall.

    Readers who voted before the fall are compared with their own earlier values. The three with
    the largest fall are left out (a third if there are fewer than nine). If the others have fewer
    than `MIN_RETURNING` values, the test instead requires that three readers do not have most of
    the fall's values.
    """
    returning = {
        name: reader
        for name, reader in readers.items()
        if reader.count_before and reader.count_since
    }
    by_fall = sorted(returning, key=lambda name: returning[name].lost, reverse=True)
    left_out = by_fall[: min(FEW_READERS, len(by_fall) // 3)]
    rest = [reader for name, reader in returning.items() if name not in left_out]
    values = math.fsum(reader.count_since for reader in rest)
    if values < MIN_RETURNING:
        counts = sorted((reader.count_since for reader in readers.values()), reverse=True)
        share = math.fsum(counts[:FEW_READERS]) / max(1.0, math.fsum(counts))
        reason = f"{FEW_READERS} readers have {share:.0%} of the values of the fall"
        return reason if share > MAX_OF_A_FALL else ""
    mean = math.fsum(reader.total_before for reader in rest) / math.fsum(
        reader.count_before for reader in rest
    )
    lost = math.fsum(reader.lost for reader in rest)
    # A reader's mean before the fall is itself an estimate: the second term is its variance.
    variance = max(MIN_VARIANCE, mean * (1.0 - mean)) * math.fsum(
        reader.count_since * (1.0 + reader.count_since / reader.count_before) for reader in rest
    )
    if lost >= SURE * math.sqrt(variance):
        return ""
    return (
        f"of {len(readers):,} readers {len(returning):,} voted before the fall, and without "
        f"{len(left_out)} of them they say what they said ({lost / values:+.2f} on average, "
        f"{values:,.0f} values)"
    )
