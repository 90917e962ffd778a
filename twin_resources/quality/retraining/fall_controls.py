"""The control of an alarm: more of the answers around the drop, judged anew, before a training.

Judges score every answer of a version's first batch and a tenth of the later ones. Where these
scores leave open who has changed, `judged_interactions` scores up to `MOST_ANSWERS` recorded
answers more of before the drop, and of since, all of them now.

Belongs here: asking for it once an alarm, how long it is waited for, its scores as sums.
Does not belong here: which answers, and scoring them (`twin_assets/feedback/judging_traces.py`),
what the scores mean (`statistics/fall_estimates.py`).

They are kept as sums by class and day, which name no answer, and never enter a judge's stream: old
answers that are judged today would be values of today there.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from twin_resources.statistics.detector import Alarm
from twin_resources.statistics.fall_estimates import DayCell, TwoTimes
from twin_resources.storage.state.state_tables import alarms, control_scores, controls

MOST_ANSWERS = 1_000  # before the drop, and since: what thumbs .1 lower take to be explained
BEFORE_DAYS = 28
WAIT_S = 6 * 3_600.0  # judges come each hour; behind a long training they come later


@dataclass(frozen=True)
class FallControl:
    """One control that was asked for.

    Attributes:
        stream, version, number: of the alarm.
        first_day: on which the drop began, days since the epoch, UTC.
        asked_at, judged_at: seconds since the epoch; None: not judged yet.
    """

    author: str
    stream: str
    version: str
    number: int
    first_day: int
    asked_at: float
    judged_at: float | None

    def waits(self, now: float) -> bool:
        """Whether the alarm is held open for it; a clock set back ends no waiting early."""
        return self.judged_at is None and now < self.asked_at + WAIT_S

    @property
    def until(self) -> str:
        """How long it is waited for, in words."""
        return f"{datetime.fromtimestamp(self.asked_at + WAIT_S, UTC):%Y-%m-%d %H:%M} UTC"


def asked_now(alarm: Alarm, *, first_day: int, at: float) -> FallControl:
    """The control as it is asked for at an instant."""
    return FallControl(
        alarm.author, alarm.stream, alarm.version, alarm.number, first_day, at, judged_at=None
    )


def ask(connection: sa.Connection, control: FallControl) -> None:
    """Ask for it; asked for again, the first time counts."""
    if of_alarm(connection, control.author, control.stream, control.version, control.number):
        return
    connection.execute(sa.insert(controls).values(**vars(control)))


def of_alarm(
    connection: sa.Connection, author: str, stream: str, version: str, number: int
) -> FallControl | None:
    """An alarm's control; None: it was not asked for."""
    row = (
        connection.execute(
            sa.select(controls).where(
                controls.c.author == author,
                controls.c.stream == stream,
                controls.c.version == version,
                controls.c.number == number,
            )
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else FallControl(**row)


def not_judged(connection: sa.Connection, author: str = "") -> list[FallControl]:
    """Controls of open alarms that wait for judges, of an author or of all."""
    of_open = sa.and_(
        *(alarms.c[name] == controls.c[name] for name in ("author", "stream", "version", "number"))
    )
    query = (
        sa.select(controls)
        .join(alarms, of_open)
        .where(controls.c.judged_at.is_(None), alarms.c.status == "open")
        .order_by(controls.c.asked_at)
    )
    if author:
        query = query.where(controls.c.author == author)
    return [FallControl(**row) for row in connection.execute(query).mappings()]


def store(
    connection: sa.Connection,
    control: FallControl,
    cells: Mapping[str, Sequence[DayCell]],
    *,
    at: float,
) -> None:
    """What the judges scored; stored once.

    Args:
        cells: judge's identity → sums by class and day, `day` as its number in text.
    """
    known = of_alarm(connection, control.author, control.stream, control.version, control.number)
    if known is None or known.judged_at is not None:
        return
    key = {name: getattr(control, name) for name in ("author", "stream", "version", "number")}
    rows = [
        {
            **key,
            "judge": judge,
            "prompt_class": one.prompt_class,
            "day": int(one.day),
            "count": one.count,
            "total": one.total,
            "squares": one.squares,
        }
        for judge, of_judge in cells.items()
        for one in of_judge
    ]
    if rows:
        connection.execute(sa.insert(control_scores), rows)
    mine = (controls.c[name] == value for name, value in key.items())
    connection.execute(sa.update(controls).where(*mine).values(judged_at=at))


def scores_of(connection: sa.Connection, control: FallControl) -> dict[str, TwoTimes]:
    """Judge's identity → its sums of before the drop, and since."""
    rows = connection.execute(
        sa.select(control_scores).where(
            control_scores.c.author == control.author,
            control_scores.c.stream == control.stream,
            control_scores.c.version == control.version,
            control_scores.c.number == control.number,
        )
    )
    sides: dict[str, tuple[list[DayCell], list[DayCell]]] = {}
    for row in rows.mappings():
        cell = DayCell(
            row["prompt_class"], f"day {row['day']}", row["count"], row["total"], row["squares"]
        )
        before, since = sides.setdefault(row["judge"], ([], []))
        (since if row["day"] >= control.first_day else before).append(cell)
    return dict(sides)
