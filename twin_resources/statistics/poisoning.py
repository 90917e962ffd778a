"""What keeps a few readers, or one day, from deciding for all: caps on settling, a look at alarms.

Belongs here: each reader's share of what is settled, and who carries the evidence of an alarm.
Does not belong here: settling (`twin_resources/quality/ledger/settling.py`, which asks `admitted`),
reading who came when (`retraining/diagnosing.py`), reporting.
Method: who is admitted depends on who came when, never on the value: the next value's mean given
the past is what it was, so that the guarantee of `detector.py` stands.
"""
# pyright: strict

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from twin_resources.statistics.bets import FRACTIONS, factor
from twin_resources.statistics.values import SettledValue

CAP = 0.05  # of an author's values of a month, once there are 20 readers
FEW_TO_CAP = 20
DAY_WEIGHT, FEWEST_OF_A_DAY = 3.0, 10
FEW_READERS = 3
MOST_EVIDENCE = 0.5


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
    return max(FEWEST_OF_A_DAY, round(DAY_WEIGHT * median(earlier))) if earlier else None


@dataclass(frozen=True)
class EvidenceShares:
    """Who carries the evidence of an alarm.

    Attributes:
        share: of all evidence, by the (up to) three heaviest readers, in [0, 1].
        readers: those readers, heaviest first.
        of: distinct readers with a value among the evidence.
        others: log growth of the same bet over the values of all others; above 0: they fell, too.
        of_values: share of the values since the drop that are those readers', in [0, 1].
        usual: share of the values before it; None: there are none.
    """

    share: float
    readers: tuple[str, ...]
    of: int
    others: float = 0.0
    of_values: float = 0.0
    usual: float | None = None

    @property
    def by_few(self) -> bool:
        """Whether three readers carry more than half, and either nobody else's values fell or they
        used to be fewer by half: a person looks, nothing is trained.

        The share alone said so of every fall of up to eight readers, since three of five have more
        than half of the values. Without those three, the rest of a fall that all saw is one still:
        of 87 alarms after falls of .1 to .4 that five readers saw it holds back 23 (the share alone
        87), of 60 after one or three of the five had turned 57.
        """
        came = self.usual is not None and self.usual < self.of_values / 2.0
        alone = self.others <= 0.0 and len(self.readers) < self.of
        return self.share > MOST_EVIDENCE and (came or alone)


def carried_by(
    values: Sequence[SettledValue],
    readers: Mapping[int, str],
    bounds: Mapping[str, float],
    *,
    before: Sequence[SettledValue] = (),
) -> EvidenceShares:
    """Which readers carry the evidence of an alarm.

    Args:
        values: bet on since the drop began (`diagnosis.since_the_drop`), the alarm's own included.
        readers: sequence → hashed reader; judged traces have none and count one by one.
        bounds: prompt class → m.
        before: of the same stream and version, before the drop.

    The evidence of a reader is the log growth of the best bet over that reader's values, where it
    is positive.
    """
    bets = [value for value in values if value.prompt_class in bounds]
    growth = _best_growth(bets, bounds)
    who = [readers.get(value.sequence, f"trace {value.sequence}") for value in bets]
    counts = Counter(who)
    by_reader = dict.fromkeys(counts, 0.0)
    for gain, name in zip(growth, who, strict=True):
        by_reader[name] += gain
    positive = Counter({reader: gain for reader, gain in by_reader.items() if gain > 0.0})
    total = math.fsum(positive.values())
    heaviest = positive.most_common(FEW_READERS)
    share = math.fsum(gain for _, gain in heaviest) / total if total > 0.0 else 0.0
    named = tuple(reader for reader, _ in heaviest)
    others = math.fsum(gain for reader, gain in by_reader.items() if reader not in named)
    usual = sum(readers.get(value.sequence) in named for value in before)
    return EvidenceShares(
        min(1.0, share),
        named,
        len(by_reader),
        others,
        of_values=sum(counts[reader] for reader in named) / max(1, counts.total()),
        usual=usual / len(before) if before else None,
    )


def _best_growth(bets: Sequence[SettledValue], bounds: Mapping[str, float]) -> list[float]:
    """Log growth of the best bet, by value."""
    by_fraction = [
        [
            math.log(factor(1.0 - value.value, 1.0 - bounds[value.prompt_class], fraction))
            for value in bets
        ]
        for fraction in FRACTIONS
    ]
    return max(by_fraction, key=math.fsum)
