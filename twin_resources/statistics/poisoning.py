"""What keeps a few readers from deciding for all: a cap on settling, and a look at each alarm.

Belongs here: each reader's share of a window, and who carries the evidence of an alarm.
Does not belong here: settling (`twin_resources/quality/ledger`, which asks `admit`), reporting.
Method: who is admitted depends on who came before, never on the value: the next value's mean given
the past is what it was, so that the guarantee of `detector.py` stands.
"""
# pyright: strict

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twin_resources.statistics.bets import FRACTIONS, factor
from twin_resources.statistics.values import SettledValue

SHARE = 0.05
WINDOW = 400  # values: 5 % of it are 20, four weeks of one reader who scores each working day
FEW_READERS = 3
MOST_EVIDENCE = 0.5


@dataclass(frozen=True)
class ReaderWindow:
    """Who came lately in one stream of one author.

    Attributes:
        recent: (reader key, admitted) of the last `WINDOW` values, oldest first.
    """

    recent: tuple[tuple[str, bool], ...] = ()


def admit(
    window: ReaderWindow, reader: str, *, share: float = SHARE, size: int = WINDOW
) -> tuple[ReaderWindow, bool]:
    """Whether one more value of this reader may be settled, and the window after it.

    Admitted as long as the reader then has at most 5 % of the window (of what there is of it while
    it fills), at least one value. A value that is not admitted is reported and never bet on.

    Args:
        reader: hashed key.
        size: values in the window; a reader whose values left it is admitted again.
    """
    before = window.recent[-(size - 1) :] if size > 1 else ()
    own = sum(1 for name, admitted in before if name == reader and admitted)
    admitted = own + 1 <= max(1, math.floor(share * (len(before) + 1)))
    return ReaderWindow((*before, (reader, admitted))), admitted


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
    growth: list[dict[str, float]] = [{} for _ in FRACTIONS]
    counts: Counter[str] = Counter()
    for value in values:
        bound = bounds.get(value.prompt_class)
        if bound is None:
            continue
        reader = readers.get(value.sequence, f"trace {value.sequence}")
        counts[reader] += 1
        for grown, fraction in zip(growth, FRACTIONS, strict=True):
            gain = math.log(factor(1.0 - value.value, 1.0 - bound, fraction))
            grown[reader] = grown.get(reader, 0.0) + gain
    best = max(growth, key=lambda grown: math.fsum(grown.values()))
    positive = Counter({reader: gain for reader, gain in best.items() if gain > 0.0})
    total = math.fsum(positive.values())
    heaviest = positive.most_common(FEW_READERS)
    share = math.fsum(gain for _, gain in heaviest) / total if total > 0.0 else 0.0
    named = tuple(reader for reader, _ in heaviest)
    others = math.fsum(gain for reader, gain in best.items() if reader not in named)
    usual = sum(readers.get(value.sequence) in named for value in before)
    return EvidenceShares(
        min(1.0, share),
        named,
        len(best),
        others,
        of_values=sum(counts[reader] for reader in named) / max(1, counts.total()),
        usual=usual / len(before) if before else None,
    )
