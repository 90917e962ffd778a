"""What keeps a few readers, or one day, from deciding for all: caps on settling, a look at alarms.

Scope: each reader's share of what is settled, that of new readers, and whether those who
voted before a fall have seen it.
Out of scope: settling (`twin_resources/quality/ledger/settling.py`, which asks `admitted`),
reading who came when (`daily_aggregates.py`), reporting.
Method: who is admitted depends on who came when, never on the value, so no mean is moved by it.
"""
# pyright: strict

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

CAP = 0.05  # of an author's values of a month, once there are 20 readers
FEW_TO_CAP = 20
DAY_WEIGHT, MIN_PER_DAY = 3.0, 10
NEW_READER_DAYS, NEW_READERS_SHARE = 14, 0.1
FEW_READERS = 3
MIN_RETURNING, MAX_OF_A_FALL = 10, 0.5
SURE = 1.64  # standard errors
MIN_VARIANCE = 0.01


def most_allowed(total: int, *, readers: int) -> int:
    """How many of an author's reader-days one of so many readers may have, one at least."""
    share = CAP if readers >= FEW_TO_CAP else min(1.0, 2 / max(readers, 1))
    return max(1, math.ceil(share * total))


def admitted(readers: Sequence[str], counted: Counter[str]) -> list[bool]:
    """Which reader-days of one day are settled; `counted` goes on with them.

    No reader has more than `CAP` of an author's values of the last month once 20 readers are
    there, and no more than twice an equal share while they are fewer; one value at least.

    Args:
        readers: hashed keys of the day, one a reader-day, in their order.
        counted: reader → values settled in the month before.
    """
    most = most_allowed(counted.total() + len(readers), readers=len({*counted, *readers}))
    found: list[bool] = []
    for reader in readers:
        found.append(counted[reader] < most)
        counted[reader] += found[-1]
    return found


def most_of_a_day(earlier: Sequence[int]) -> int | None:
    """How many values of one day are settled: three times as many as on the median day before it,
    ten at least; None: it is the first day, and all are.

    Of a page that 3,000 people saw on one day, 18 of 24 homes trained, and one that certified on
    that day was held to it for ever; so 0 to 1 of 8 do. Readers who go on coming are all heard
    within two weeks.

    Args:
        earlier: values settled on each earlier day that had any, of the last four weeks.
    """
    return max(MIN_PER_DAY, round(DAY_WEIGHT * median(earlier))) if earlier else None


def most_new(known: int, usual: float) -> int:
    """How many values of one day may be of readers who were first seen in the last
    `NEW_READER_DAYS` days: a tenth of that day, or of the usual one; one at least.

    A new identity costs nothing, so however many there are they weigh no more.

    Args:
        known: values of that day of all other readers.
        usual: reader-days on the median day of the last four weeks, whether settled or not.
    """
    return max(1, math.ceil(NEW_READERS_SHARE * max(known, usual)))


@dataclass(frozen=True)
class ReaderTotals:
    """One reader's values before a fall and since: how many, and their sum."""

    count_before: float
    total_before: float
    count_since: float
    total_since: float

    @property
    def lost(self) -> float:
        """What its values since the fall are below its own mean before it, added up."""
        return self.count_since * (self.total_before / self.count_before) - self.total_since


def not_seen_by_others(readers: Mapping[str, ReaderTotals]) -> str:
    """Why an alarm is for a person to look at; empty: those who voted before have seen the fall.

    The readers who voted before the fall are compared with themselves, without the three who fell
    most (a third of them, where they are fewer than nine). Where fewer than `MIN_RETURNING`
    values are theirs, nobody can tell, and three readers must not have most of the fall.
    """
    returning = {name: one for name, one in readers.items() if one.count_before and one.count_since}
    most = sorted(returning, key=lambda name: returning[name].lost, reverse=True)
    left_out = most[: min(FEW_READERS, len(most) // 3)]
    rest = [one for name, one in returning.items() if name not in left_out]
    values = math.fsum(one.count_since for one in rest)
    if values < MIN_RETURNING:
        counts = sorted((reader.count_since for reader in readers.values()), reverse=True)
        share = math.fsum(counts[:FEW_READERS]) / max(1.0, math.fsum(counts))
        few = f"{FEW_READERS} readers have {share:.0%} of the values of the fall"
        return few if share > MAX_OF_A_FALL else ""
    mean = math.fsum(one.total_before for one in rest) / math.fsum(one.count_before for one in rest)
    lost = math.fsum(one.lost for one in rest)
    # each reader against its own mean, which its values before it are known by as well
    variance = max(MIN_VARIANCE, mean * (1.0 - mean)) * math.fsum(
        one.count_since * (1.0 + one.count_since / one.count_before) for one in rest
    )
    if lost >= SURE * math.sqrt(variance):
        return ""
    return (
        f"of {len(readers):,} readers {len(returning):,} voted before the fall, and without "
        f"{len(left_out)} of them they say what they said ({lost / values:+.2f} on average, "
        f"{values:,.0f} values)"
    )
