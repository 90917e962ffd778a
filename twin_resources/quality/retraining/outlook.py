"""What the loop can find for an author at the volume that there is, in words.

Belongs here: an author's own rates and values, how soon a fall of them would be found, what more
votes or a judge would give. Does not belong here: the arithmetic (`statistics/detection_delay.py`),
where it is shown (`commands/status.py`, `quality_evidence`).
"""
# pyright: strict

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from twin_resources.quality.ledger.scores import DAY_MS, JUDGE
from twin_resources.quality.retraining import settled_values
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.quality.retraining.score_watch import armed_streams, watches_now
from twin_resources.statistics import watch as watching
from twin_resources.statistics.baseline import arming, duration
from twin_resources.statistics.detection_delay import FEWEST_DRAWN_FROM, FallDelay, delays
from twin_resources.statistics.detector import threshold
from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.watch import Watch

DRAWN_FROM = 500  # of a stream's newest values
SOON_DAYS = 7.0  # in which a person would want to know of a fall of .1
# What an author without a judge is told of one: ten answers a day are scored, and the scores are
# Beta(8, 2) (mean .8, standard deviation .12), the judge of `tests/bench/retraining`.
JUDGED_A_DAY = 10.0
_JUDGE = (8.0, 2.0)


@dataclass(frozen=True)
class StreamOutlook:
    """What can be found of one stream.

    Attributes:
        stream: its name.
        watch: as it stands.
        needed: values of its next batch.
        per_day: settled values a day, lately; None: none yet.
        delays: in values; empty: too few values to tell.
    """

    stream: str
    watch: Watch
    needed: int
    per_day: float | None
    delays: tuple[FallDelay, ...]

    def days(self, fall: float) -> float | None:
        """Days until a fall is found; None: it is not, or nothing can be told."""
        values = next((one.values for one in self.delays if one.fall == fall), None)
        return None if values is None or not self.per_day else values / self.per_day

    @property
    def line(self) -> str:
        """`thumbs: 3.2 a day; a fall of .1 is found after about 6 months, of .2 after 5 weeks`."""
        parts: list[str] = []
        if self.per_day:
            shown = f"{self.per_day:,.0f}" if self.per_day >= 10 else f"{self.per_day:.2g}"
            parts.append(f"{shown} a day")
        if not self.watch.armed:
            parts.append(arming(self.watch.seen, self.needed, per_day=self.per_day))
        if self.delays:
            parts.append(", ".join(map(self._found, self.delays)))
        elif self.per_day and self.watch.seen < FEWEST_DRAWN_FROM:
            parts.append(f"from {FEWEST_DRAWN_FROM} values on it can be said what would be found")
        return f"{self.stream}: {'; '.join(parts)}"

    def _found(self, delay: FallDelay) -> str:
        name = f"{delay.fall:g}".removeprefix("0")
        days = self.days(delay.fall)
        if days is None:
            return f"a fall of {name} is not found within 3,000 values"
        return f"a fall of {name} is found after about {duration(days)}"


def outlooks_of(
    connection: sa.Connection, author: str, rules: LoopRules, *, now: float
) -> list[StreamOutlook]:
    """Every stream of the version that is followed, as it stands.

    Args:
        now: seconds since the epoch.
    """
    limit = threshold(
        armed_streams=max(1, armed_streams(connection)), horizon=rules.horizon, alpha=rules.alpha
    )
    outlooks: list[StreamOutlook] = []
    for watch in watches_now(connection).get(author, []):
        values = settled_values.of_version(
            connection,
            author,
            version=watch.version,
            stream=watch.stream,
            after=watch.after,
            limit=DRAWN_FROM,
            newest=True,
            by_day=rules.by_day,
        )
        judged = watch.stream.startswith(JUDGE)
        batches = rules.batches
        outlooks.append(
            StreamOutlook(
                watch.stream,
                watch,
                batches.after(watch.seen),
                settled_values.per_day(
                    connection, author, stream=watch.stream, today=int(now * 1000) // DAY_MS
                ),
                tuple(delays(watch, values, threshold=limit, judged=judged, batches=batches)),
            )
        )
    return outlooks


def lines_of(outlooks: Sequence[StreamOutlook], rules: LoopRules) -> list[str]:
    """A line a stream, and one of what would find a fall of .1 sooner where that takes long."""
    lines = [one.line for one in outlooks]
    soonest = [days for one in outlooks if (days := one.days(0.1)) is not None]
    if not outlooks or (soonest and min(soonest) <= SOON_DAYS):
        return lines
    ways: list[str] = []
    votes = next((one for one in outlooks if not one.stream.startswith(JUDGE)), None)
    known = next((one.values for one in votes.delays if one.fall == 0.1), None) if votes else None
    if votes is not None and known is not None:
        ways.append(
            f"{known / SOON_DAYS:,.0f} {votes.stream} a day find it in about {duration(SOON_DAYS)}"
        )
    if not any(one.stream.startswith(JUDGE) for one in outlooks):
        judged = _of_a_judge(outlooks[0].watch, rules)
        if judged is not None:
            ways.append(
                f"a judge that scores {JUDGED_A_DAY:.0f} answers a day finds it in about "
                f"{duration(judged / JUDGED_A_DAY)}"
            )
    return [*lines, f"a fall of .1 sooner: {'; '.join(ways)}"] if ways else lines


def _of_a_judge(like: Watch, rules: LoopRules) -> int | None:
    """Values that a judge's stream takes to find a fall of .1."""
    generator = random.Random(0)
    values = [
        SettledValue(number, like.author, JUDGE, like.version, "", generator.betavariate(*_JUDGE))
        for number in range(1, DRAWN_FROM + 1)
    ]
    watch = watching.start(author=like.author, stream=JUDGE, version=like.version)
    limit = threshold(armed_streams=2, horizon=rules.horizon, alpha=rules.alpha)
    of_falls = delays(
        watch, values, threshold=limit, judged=True, batches=rules.batches, falls=(0.1,)
    )
    return of_falls[0].values if of_falls else None
