"""Before a training: did the answers fall, or have the readers changed, or the judge?

A judge's fall is held against what it now gives the answers of before; readers' against what those
say whom the anchor answers at the same time (`release/anchor_share.py`).

Belongs here: reading readers' and certified judges' settled values of before and since the drop;
certifying a stream anew where those behind it changed, and the notice of it.
Does not belong here: what the numbers mean (`statistics/fall_estimates.py`), when the drop began
(`diagnosing.py`), the judges and their certificates (`quality/judges`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from twin_resources.observability.notifications import Event, Notice, announce
from twin_resources.quality.ledger.scores import JUDGE
from twin_resources.quality.retraining import kept_answers, score_watch, settled_values
from twin_resources.statistics.detector import Alarm
from twin_resources.statistics.fall_estimates import (
    WAIT_DAYS,
    FallCause,
    TwoTimes,
    anchor_fall,
    cause_between,
    cause_by_anchor,
    cause_of_judge,
    cells_of,
    is_worth_waiting,
)
from twin_resources.statistics.retraining import RetrainingDecision
from twin_resources.statistics.values import SettledValue

MOST_VALUES = 5_000  # of a stream, on either side of the drop
MOST_BESIDE = 30_000  # of the stable version's, where a twentieth as many are the anchor's
DAY_S = 86_400.0
ASKED_BY = "sensor quality_dropped"

# Author → judge's identity → by how much it is certified to score a good answer above a bad one;
# empty where no judges may decide.
Sensitivities = Callable[[str], Mapping[str, float]]


@dataclass(frozen=True)
class DropStart:
    """Where the drop of an alarm began: the first value of it, and what is history before it.

    Attributes:
        after: sequence number up to which the stream's values are history.
        by_day: whether values of a day may depend on each other (`LoopRules.by_day`).
        classes: that fell; the others are not asked about.
    """

    first: SettledValue
    after: int
    by_day: bool
    classes: frozenset[str]


def is_of_readers(alarm: Alarm) -> bool:
    """Whether readers' scores raised it."""
    return not alarm.stream.startswith(JUDGE)


def may_be_asked(alarm: Alarm, sensitivities: Mapping[str, float]) -> bool:
    """Whether there are judges who can say; about a judge, itself, if it may decide."""
    if is_of_readers(alarm):
        return bool(sensitivities)
    return alarm.stream.removeprefix(JUDGE) in sensitivities


def fall_cause(
    connection: sa.Connection,
    alarm: Alarm,
    drop: DropStart,
    sensitivities: Mapping[str, float],
    *,
    tolerance: float,
    anew: Mapping[str, TwoTimes],
) -> FallCause:
    """`cause_of_alarm` by what the ledger holds.

    Args:
        anew: of `fall_controls.scores_of`.
    """

    def stored(stream: str) -> Sequence[SettledValue]:
        # none of before a judge was set aside, when it gave other scores
        history = score_watch.history_until(connection, alarm.author, stream)
        return settled_values.of_version(
            connection,
            alarm.author,
            version=alarm.version,
            stream=stream,
            after=max(drop.after, history),
            limit=2 * MOST_VALUES,
            newest=True,
            by_day=drop.by_day,
        )

    return cause_of_alarm(alarm, drop, stored, sensitivities, tolerance=tolerance, anew=anew)


def cause_of_alarm(
    alarm: Alarm,
    drop: DropStart,
    stored: Callable[[str], Sequence[SettledValue]],
    sensitivities: Mapping[str, float],
    *,
    tolerance: float,
    anew: Mapping[str, TwoTimes],
) -> FallCause:
    """What the stored scores of before and since the drop say, with those of a control.

    Args:
        stored: stream → its values of the alarm's version in the order of settling, until now.
        sensitivities: judge's identity → D, of the author.
        anew: judge's identity → what it scored for a control.
    """
    fell = _around(stored(alarm.stream), drop)
    if not is_of_readers(alarm):
        again, _ = anew.get(alarm.stream.removeprefix(JUDGE), ((), ()))
        return cause_of_judge(fell, again, tolerance=tolerance)
    judged: dict[str, TwoTimes] = {}
    for name in sensitivities:
        before, since = _around(stored(f"{JUDGE}{name}"), drop)
        more = anew.get(name, ((), ()))
        judged[name] = ([*before, *more[0]], [*since, *more[1]])
    return cause_between(fell, judged, sensitivities, tolerance=tolerance)


@dataclass(frozen=True)
class AnchorWord:
    """What the anchor's readers say of a fall.

    Attributes:
        until: how long more of them are waited for, in words; empty: they are not.
    """

    cause: FallCause
    until: str = ""


def anchor_word(
    connection: sa.Connection,
    alarm: Alarm,
    drop: DropStart,
    *,
    anchor: str,
    share: float,
    tolerance: float,
    raised_at: float,
    now: float,
) -> AnchorWord:
    """Hold an alarm's readers against those of the anchor, by the days on which both voted.

    They are asked once whether readers have changed: when they say enough, or can be waited for no
    longer, or will not have said it by then. That the answers fell is believed at any time: it is
    trained, as without them.

    Args:
        anchor: name of the version. share: of the readers, that it answers now.
        raised_at, now: seconds since the epoch.
    """
    sides = [
        _around(
            settled_values.of_version(
                connection,
                alarm.author,
                version=version,
                stream=alarm.stream,
                after=drop.after,
                limit=2 * MOST_BESIDE,
                newest=True,
            ),
            drop,
            most=MOST_BESIDE,
        )
        for version in (alarm.version, anchor)
    ]
    seen = anchor_fall(sides[0], sides[1])
    cause = cause_by_anchor(seen, tolerance=tolerance)
    until = raised_at + WAIT_DAYS * DAY_S
    if cause.name == "answers" or (seen is not None and seen.is_sharp) or now >= until:
        return AnchorWord(cause)
    first_day = 0 if drop.first.day is None else drop.first.day
    worth = is_worth_waiting(
        sides[0],
        sides[1],
        share=share,
        days=max(1.0, now / DAY_S - first_day),
        more=(until - now) / DAY_S,
    )
    if not worth:
        return AnchorWord(cause)
    open_yet = FallCause("undecided", f"the anchor's readers are few yet: {cause.words}")
    return AnchorWord(open_yet, f"{datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC")


def certify_anew(
    connection: sa.Connection, alarm: Alarm, decision: RetrainingDecision, *, at: float
) -> None:
    """The stream's values until now are history, and people are told; all others stay held to what
    they were."""
    by_readers = is_of_readers(alarm)
    event: Event = "readers_changed" if by_readers else "judge_changed"
    who = "Readers" if by_readers else f"The judge {alarm.stream.removeprefix(JUDGE)}"
    score_watch.lower_floor(
        connection,
        alarm.author,
        asked_by=ASKED_BY,
        reason=decision.message,
        at=at,
        stream=alarm.stream,
    )
    if not by_readers:
        kept_answers.begin_anew(connection, alarm.author, alarm.stream.removeprefix(JUDGE))
    announce(
        connection,
        Notice(
            f"{event}:{alarm.author}:{alarm.version}:{alarm.stream}:{alarm.number}",
            event,
            alarm.author,
            f"{who} of {alarm.author} changed, the answers have not",
            f"{decision.message}. If you know better, `twin retrain --reason TEXT` starts a "
            "training by hand.",
        ),
        at=at,
    )


def _around(
    values: Sequence[SettledValue], drop: DropStart, *, most: int = MOST_VALUES
) -> TwoTimes:
    """The newest values of before the drop, and those since, of the classes that fell.

    By day where there are days: all of a day are settled together, a judge's before readers'.
    """
    fell = [one for one in values if one.prompt_class in drop.classes]
    before = [one for one in fell if _is_before(one, drop)]
    since = [one for one in fell if not _is_before(one, drop)]
    return cells_of(before[-most:]), cells_of(since[-most:])


def _is_before(one: SettledValue, drop: DropStart) -> bool:
    first = drop.first
    if drop.by_day and one.day is not None and first.day is not None:
        return one.day < first.day
    return one.sequence < first.sequence
