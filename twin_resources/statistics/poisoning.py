"""What keeps a few readers from deciding for all: a cap on settling, and a look at each alarm.

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
from statistics import median_high

from twin_resources.statistics.bets import FRACTIONS, factor
from twin_resources.statistics.values import SettledValue

CAP = 0.05  # of an author's values of a month, once there are 20 readers
FEW_TO_CAP = 20
FEW_READERS = 3
MOST_EVIDENCE = 0.5
# Others tell of a fall when they have this share of the growth that would be theirs by their
# number of values: all of it in a fall that everybody sees, none where some keys alone give 0.
# At .6 five keys train in 0 of 240 streams, at .5 and .4 in 2; of first alarms after a true fall
# among 60 regular readers a fifth, a seventh, a twelfth is held back until the next alarm.
OTHERS_TELL = 0.6
WEEK = 7  # days


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


@dataclass(frozen=True)
class ReaderGroup:
    """Readers who have something in common that is not what they said.

    Attributes:
        what: in words, after "readers ".
        readers: how many.
        of_values: their share of the values of the days on which they have one, in [0, 1]; of all
            values since the drop where they are most of those.
        growth: log growth of the bet over their values.
        others: the same over the values of all others on those days; above 0: they fell, too.
    """

    what: str
    readers: int
    of_values: float
    growth: float
    others: float

    @property
    def carries(self) -> bool:
        """Whether what fell is theirs, beside as many values of others that hardly tell of it.

        On the same days: a bad day of everybody, weeks before the keys came, is no witness of what
        they say.
        """
        theirs = (1.0 - self.of_values) * (self.growth + self.others)
        few = self.readers > 0 and self.of_values <= MOST_EVIDENCE
        return few and self.others < OTHERS_TELL * theirs if theirs > 0.0 else few


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
        groups: readers by the week in which they came first, and by how often they came since.
    """

    share: float
    readers: tuple[str, ...]
    of: int
    others: float = 0.0
    of_values: float = 0.0
    usual: float | None = None
    groups: tuple[ReaderGroup, ...] = ()

    @property
    def group(self) -> ReaderGroup | None:
        """Readers of one week, or those who come most often, who alone saw a fall: keys that were
        made for it look like that, however many they are. A person looks, nothing is trained."""
        return next((one for one in self.groups if one.carries), None)

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
    first_days: Mapping[str, int] | None = None,
) -> EvidenceShares:
    """Which readers carry the evidence of an alarm.

    Args:
        values: bet on since the drop began (`diagnosis.since_the_drop`), the alarm's own included.
        readers: sequence → hashed reader; judged traces have none and count one by one.
        bounds: prompt class → m.
        before: of the same stream and version, before the drop.
        first_days: reader → day of its first value in this stream; without, nobody's week is known.

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
    days = [value.day for value in bets]

    def group(what: str, of: set[str]) -> ReaderGroup:
        theirs = {day for day, name in zip(days, who, strict=True) if name in of}
        every = [(gain, name in of, day) for gain, name, day in zip(growth, who, days, strict=True)]
        beside = [one for one in every if one[2] in theirs]
        if sum(is_theirs for _, is_theirs, _ in beside) > MOST_EVIDENCE * len(beside):
            beside = every  # hardly anybody else came on their days: others of before are asked
        return ReaderGroup(
            what,
            len(of),
            sum(is_theirs for _, is_theirs, _ in beside) / max(1, len(beside)),
            growth=math.fsum(gain for gain, is_theirs, _ in beside if is_theirs),
            others=math.fsum(gain for gain, is_theirs, _ in beside if not is_theirs),
        )

    return EvidenceShares(
        min(1.0, share),
        named,
        len(by_reader),
        others,
        of_values=sum(counts[reader] for reader in named) / max(1, counts.total()),
        usual=usual / len(before) if before else None,
        groups=(
            group("who were first seen in one week", _heaviest_week(by_reader, first_days or {})),
            group("who came more often than most", _frequent(counts)),
        ),
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


def _frequent(counts: Mapping[str, int]) -> set[str]:
    """Readers with more values than half of the readers have."""
    if not counts:
        return set()
    usual = median_high(counts.values())
    return {reader for reader, count in counts.items() if count > usual}


def _heaviest_week(growth: Mapping[str, float], first_days: Mapping[str, int]) -> set[str]:
    """The readers of the week of first values that carries most of the growth."""
    weeks: dict[int, set[str]] = {}
    for reader in growth:
        if reader in first_days:
            weeks.setdefault(first_days[reader] // WEEK, set()).add(reader)
    return max(
        weeks.values(),
        key=lambda week: math.fsum(growth[reader] for reader in week),
        default=set[str](),
    )
