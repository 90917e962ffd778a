"""Settled values through the detector, day by day, as `score_watch.StreamDays` compares them.

Belongs here: folding a stream that is given. Does not belong here: drawing one (`worlds.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twin_resources.statistics.detector import DaySum, StreamEvidence, evidence_of, threshold
from twin_resources.statistics.values import SettledValue


@dataclass(frozen=True)
class Followed:
    """What became of a stream: the evidence of each alarm, and what there is at the end."""

    alarms: tuple[StreamEvidence, ...]
    evidence: StreamEvidence


def followed(ledger: Sequence[SettledValue], *, fleet: int = 1) -> Followed:
    """Fold one stream of one version; each alarm makes what was said before it history.

    Args:
        fleet: N armed streams, by which the threshold rises.
    """
    sums: list[DaySum] = []
    alarms: list[StreamEvidence] = []
    one = ledger[0]
    found = StreamEvidence(one.author, one.stream, one.version)
    for day in sorted({value.day or 0 for value in ledger}):
        sums += _sums([value for value in ledger if (value.day or 0) == day])
        found = evidence_of(sums, author=one.author, stream=one.stream, version=one.version)
        if found.e_value >= threshold(armed_streams=fleet):
            alarms.append(found)
            sums = []
    return Followed(tuple(alarms), found)


def _sums(day: Sequence[SettledValue]) -> list[DaySum]:
    found: list[DaySum] = []
    for name in sorted({value.prompt_class for value in day}):
        mine = [value for value in day if value.prompt_class == name]
        total = sum(value.value for value in mine)
        squares = sum(value.value**2 for value in mine)
        first, last = mine[0].sequence, mine[-1].sequence
        found.append(
            DaySum(day[0].day or 0, day[0].version, name, len(mine), total, squares, first, last)
        )
    return found
