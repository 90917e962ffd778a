"""Following an author's settled values: watch, alarm and notice, in one transaction.

Belongs here: reading new values, folding them, storing what follows; floors of earlier versions.
Does not belong here: the fold itself (`statistics/watch.py`), what an alarm leads to
(`statistics/retraining.py`).
Method: deploy/docs/architecture.md, The loop.

All that is decided follows from the settled values and from the alarms that stand in the store. The
rows of this module are what was computed from them so far: a row that is lost is computed again,
and an alarm that is recorded restarts the detector where it did, without being raised again. So a
watch of a release with other rules, or of another tolerance, is computed again, too; values after
its last alarm are then judged by the rules of today.
"""
# pyright: strict

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

import sqlalchemy as sa

from twin_resources.quality.ledger.ledger_tables import upsert
from twin_resources.quality.retraining import alarm_records, daily_aggregates, incidents
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.registry.moves import ModelVersion
from twin_resources.statistics import baseline as baselines
from twin_resources.statistics import watch as watching
from twin_resources.statistics.baseline import Baseline
from twin_resources.statistics.blocks import blocks_of, days_of
from twin_resources.statistics.common_cause import DayBets, added, day_bets
from twin_resources.statistics.detector import Alarm, Detector, threshold
from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.watch import Watch
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import (
    followed,
    lowered_floors,
    model_versions,
    moves,
    watches,
)

AT_ONCE = 10_000  # values of an author that one call folds: about .3 CPU seconds


@dataclass(frozen=True)
class FoldResult:
    """What one call of `follow` did.

    Attributes:
        alarms: raised by this call; at most one a stream.
        values: folded.
        more: whether there are values left for the next call.
    """

    alarms: tuple[Alarm, ...]
    values: int
    more: bool


def name_of(version: ModelVersion) -> str:
    """A version as traces and settled values name it: `v3`."""
    return f"v{version.version}"


def follow(
    state: State,
    stable: ModelVersion,
    rules: LoopRules,
    *,
    now: float,
    limit: int = AT_ONCE,
) -> FoldResult:
    """Fold what has been settled since the last call, up to the next alarm of each stream.

    Args:
        stable: the author's stable version; values of others are passed over.
        now: seconds since the epoch, for the record of an alarm.
        limit: of values.
    """
    author, version = stable.author, name_of(stable)
    with state.transaction() as connection:
        read_to, streams = _followed(connection, author, version, rules)
        held = _watches(connection, author, version, rules)
        if set(streams) - set(held):  # rows were lost: from the start; known values change nothing
            read_to = 0
        last = daily_aggregates.last_sequence_of(connection, author)
        values, read_to = _whole_days(
            connection, stable, rules, after=read_to, last=last, limit=limit
        )
        alarms: list[Alarm] = []
        for stream in sorted({value.stream for value in values} | set(held)):
            before = held.get(stream) or _started(connection, stable, stream, rules)
            mine = [value for value in values if value.stream == stream]
            fold = _Fold(connection, before, rules)
            after = fold.over(mine)
            for bets, newest in fold.days.values():
                incidents.record_day(connection, stream, version, bets, read_to=newest)
            if fold.alarm is not None:
                alarms.append(fold.alarm)
                covered = incidents.covering(connection, now=now) is not None
                alarm_records.record(connection, fold.alarm, at=now, quietly=covered)
                read_to = min(read_to, fold.alarm.sequence)
            if after is not before or stream not in held:
                _store(connection, after)
            held[stream] = after
        marks = {"author": author, "version": version, "read_to": read_to}
        upsert(connection, followed, [{**marks, "streams": sorted(held)}])
    return FoldResult(tuple(alarms), len(values), read_to < last)


def watches_now(connection: sa.Connection) -> dict[str, list[Watch]]:
    """Author → watches of the version that is followed, by stream; without those of a release with
    other rules, which the next tick computes again."""
    of_followed = (watches.c.author == followed.c.author) & (
        watches.c.version == followed.c.version
    )
    rows = connection.execute(
        sa.select(watches.c.author, watches.c.watch)
        .join(followed, of_followed)
        .order_by(watches.c.author, watches.c.stream)
    )
    by_author: dict[str, list[Watch]] = {}
    for author, text in rows:
        watch = Watch.from_json(text)
        if watch.rules == watching.RULES:
            by_author.setdefault(str(author), []).append(watch)
    return by_author


def has_news(connection: sa.Connection, rules: LoopRules) -> Callable[[ModelVersion], bool]:
    """Whether `follow` has anything to do for a stable version; four queries for a whole fleet."""
    last = daily_aggregates.last_sequences(connection)
    marks = {str(row.author): row for row in connection.execute(sa.select(followed))}
    there = {
        author: {watch.stream for watch in held if _is_current(watch, rules)}
        for author, held in watches_now(connection).items()
    }

    def has_score(stable: ModelVersion) -> bool:
        mark, author = marks.get(stable.author), stable.author
        if mark is None or mark.version != name_of(stable):
            return author in last
        return mark.read_to < last.get(author, 0) or bool(
            set(mark.streams) - there.get(author, set())
        )

    return has_score


def lower_floor(
    connection: sa.Connection,
    author: str,
    *,
    asked_by: str,
    reason: str,
    at: float,
    stream: str = "",
) -> tuple[int, int]:
    """What was settled for an author until now is history: every stream is certified anew, from
    the next value on, and held to no earlier version; what alarms were open is closed.

    Args:
        at: seconds since the epoch.
        stream: this one alone; empty: all.

    Returns:
        The last sequence number that is history, and how many alarms were closed.
    """
    after = daily_aggregates.last_sequence_of(connection, author)
    row = {"author": author, "after_sequence": after, "asked_by": asked_by, "reason": reason}
    connection.execute(sa.insert(lowered_floors).values(**row, asked_at=at, stream=stream))
    # Of retired versions as well: one that is rolled back to, or that an alarm routes a class to
    # (`rerouting.py`), must not stand for what other readers said.
    of_author = sa.delete(watches).where(watches.c.author == author)
    connection.execute(of_author.where(watches.c.stream == stream) if stream else of_author)
    message = f"{asked_by} lowered the floor: {reason}"
    closed = alarm_records.close_open(connection, author, message=message, at=at, stream=stream)
    return after, closed


def stable_versions(connection: sa.Connection) -> dict[str, ModelVersion]:
    """Author → the tuned version now stable, in one query; one that is tainted does not answer.

    Not an answer model: no training made it, so none could mend it.
    """
    rows = connection.execute(
        sa.select(model_versions)
        .where(
            model_versions.c.state == "stable",
            model_versions.c.tainted.is_(False),
            model_versions.c.kind == "tuned",
        )
        .order_by(model_versions.c.author)
    ).mappings()
    return {row["author"]: ModelVersion(**row) for row in rows}


def armed_streams(connection: sa.Connection) -> int:
    """N: streams of the whole fleet that are bet on now."""
    counted = sa.select(sa.func.count()).select_from(watches).where(watches.c.armed)
    return int(connection.execute(counted).scalar_one())


@dataclass
class _Fold:
    """Folds values of one stream over its watch, in a transaction that is open.

    Attributes:
        days: day of the home → what was bet on it, and its newest value.
    """

    connection: sa.Connection
    before: Watch
    rules: LoopRules
    alarm: Alarm | None = None
    days: dict[int, tuple[DayBets, int]] = field(default_factory=dict[int, tuple[DayBets, int]])

    def over(self, values: Sequence[SettledValue]) -> Watch:
        """The watch after the values, up to the first day with a new alarm, then in `alarm`."""
        watch = self.before
        new = [value for value in values if value.sequence > watch.detector.last_sequence]
        due = watching.batch_due(watch, len(new), batches=self.rules.batches)
        first = self._first(due) if due else ()
        recorded = deque(
            alarm
            for alarm in alarm_records.of_stream(
                self.connection, watch.author, watch.stream, watch.version
            )
            if alarm.number > watch.detector.alarms
        )
        days = deque(days_of(new))
        while days and self.alarm is None:
            day = days.popleft()
            while recorded and recorded[0].sequence < day[0].sequence:
                # At a value that lies before these: only its number is to be kept.
                alarms = recorded.popleft().number
                watch = replace(watch, detector=replace(watch.detector, alarms=alarms))
            known = recorded[0] if recorded else None
            if known is not None and known.sequence < day[-1].sequence:
                # Raised within a day, by a release that bet on each value: it ended there.
                end = bisect_right([value.sequence for value in day], known.sequence)
                days.appendleft(day[end:])
                day = day[:end]
            self._say_of_the_home(watch, day)
            watch, self.alarm = watching.advance(
                watch,
                day,
                first=first,
                threshold=math.inf if recorded else self._threshold,
                batches=self.rules.batches,
                fleet=self._others + 1,
            )
            if known is not None and day[-1].sequence == known.sequence:
                restarted = Detector(last_sequence=known.sequence, alarms=known.number)
                watch = replace(watch, detector=restarted)
        return watch

    def _say_of_the_home(self, watch: Watch, day: Sequence[SettledValue]) -> None:
        """What these values say about their day of the home, each against the bound before it."""
        new = [value for value in day if value.sequence > self._in_days]
        if watch.baseline is None or not new:
            return
        blocks = blocks_of(new, most=watch.baseline.blocks)
        number = self._day_number(new[-1])
        bets = day_bets(watch.author, number, blocks, watch.home_bounds)
        if bets is not None:
            known = self.days.get(number)
            bets = bets if known is None else added(known[0], bets)
            self.days[number] = (bets, new[-1].sequence)

    @cached_property
    def _in_days(self) -> int:
        watch = self.before
        return incidents.read_to(self.connection, watch.author, watch.stream, watch.version)

    def _day_number(self, value: SettledValue) -> int:
        """The day of a value; where each stands for itself, as the ledger has it."""
        if value.day is not None:
            return value.day
        return daily_aggregates.day_of(self.connection, value.author, value.sequence)

    @property
    def _threshold(self) -> float:
        rules = self.rules
        return threshold(armed_streams=self._others + 1, horizon=rules.horizon, alpha=rules.alpha)

    @cached_property
    def _others(self) -> int:
        """Armed streams of the home beside this one."""
        watch = self.before
        counted = (
            sa.select(sa.func.count())
            .select_from(watches)
            .where(
                watches.c.armed,
                sa.not_(
                    (watches.c.author == watch.author)
                    & (watches.c.stream == watch.stream)
                    & (watches.c.version == watch.version)
                ),
            )
        )
        return int(self.connection.execute(counted).scalar_one())

    def _first(self, count: int) -> list[SettledValue]:
        return daily_aggregates.of_version(
            self.connection,
            self.before.author,
            version=self.before.version,
            stream=self.before.stream,
            after=self.before.after,
            limit=count,
            by_day=self.rules.by_day,
        )


def _whole_days(
    connection: sa.Connection,
    stable: ModelVersion,
    rules: LoopRules,
    *,
    after: int,
    last: int,
    limit: int,
) -> tuple[list[SettledValue], int]:
    """New values of the stable version, and up to which number they are all.

    A day is settled in one transaction. Where the limit cuts one, it is left for the next call; one
    that is larger than the limit is read whole.
    """
    if after >= last:
        return [], last
    values = daily_aggregates.of_version(
        connection,
        stable.author,
        version=name_of(stable),
        after=after,
        limit=limit,
        by_day=rules.by_day,
    )
    if len(values) < limit:
        return values, last
    cut = values[-1].day
    if cut is None:
        return values, values[-1].sequence
    whole = list(values)
    while whole and whole[-1].day == cut:
        whole.pop()
    if not whole:
        return _whole_days(connection, stable, rules, after=after, last=last, limit=2 * limit)
    return whole, whole[-1].sequence


def _followed(
    connection: sa.Connection, author: str, version: str, rules: LoopRules
) -> tuple[int, list[str]]:
    """How far this version was followed; another one's watches are bet on no longer."""
    row = connection.execute(sa.select(followed).where(followed.c.author == author)).one_or_none()
    if row is not None and row.version == version:
        return int(row.read_to), list[str](row.streams)
    others = (watches.c.author == author) & (watches.c.version != version)
    connection.execute(sa.update(watches).where(others).values(armed=False))
    for watch in _watches(connection, author, version, rules).values():
        _store(connection, watch)  # a version that is back is armed as it was
    return 0, []


def _is_current(watch: Watch, rules: LoopRules) -> bool:
    """Whether a stored watch goes on; else it is made anew from the settled values.

    Not one of a release with other rules, of another tolerance, or one that a release left unarmed
    for ever (a forced version without a floor).
    """
    return (
        watch.rules == watching.RULES
        and watch.tolerance == rules.tolerance
        and (watch.certifies or bool(watch.floor))
    )


def _watches(
    connection: sa.Connection, author: str, version: str, rules: LoopRules
) -> dict[str, Watch]:
    """The stored watches of a version that go on."""
    rows = connection.execute(
        sa.select(watches.c.stream, watches.c.watch).where(
            watches.c.author == author, watches.c.version == version
        )
    )
    by_stream = {str(stream): Watch.from_json(text) for stream, text in rows}
    return {stream: watch for stream, watch in by_stream.items() if _is_current(watch, rules)}


def _store(connection: sa.Connection, watch: Watch) -> None:
    key = {"author": watch.author, "stream": watch.stream, "version": watch.version}
    upsert(connection, watches, [{**key, "watch": watch.to_json(), "armed": watch.armed}])


def _started(
    connection: sa.Connection, stable: ModelVersion, stream: str, rules: LoopRules
) -> Watch:
    """The watch before its first value, held to what earlier versions were certified for."""
    entered = _first_stable(connection, stable.author)
    mine_ms = entered.get(stable.version)
    after = history_until(connection, stable.author, stream)
    earlier = [
        baseline
        for number, at_ms in entered.items()
        if mine_ms is not None and number != stable.version and at_ms < mine_ms
        if (baseline := _certified(connection, stable, number, stream, after, mine_ms, rules))
    ]
    tolerance = rules.tolerance
    floor = baselines.floor_of(earlier, tolerance=tolerance)
    return watching.start(
        author=stable.author,
        stream=stream,
        version=name_of(stable),
        floor=floor,
        # A forced version is held to what was certified before it, and never to itself. Where there
        # is nothing, as for an author's first, its own values are all that a fall can be seen by;
        # they are no floor for a later one (`_certified`).
        certifies=not stable.forced or not floor,
        after=after,
        tolerance=tolerance,
    )


def history_until(connection: sa.Connection, author: str, stream: str) -> int:
    """The sequence number at which the floor of a stream was lowered last; 0: it never was."""
    newest = sa.select(sa.func.max(lowered_floors.c.after_sequence)).where(
        lowered_floors.c.author == author, lowered_floors.c.stream.in_(("", stream))
    )
    return int(connection.execute(newest).scalar() or 0)


def _first_stable(connection: sa.Connection, author: str) -> dict[int, int]:
    """Version → when it became stable first, Unix milliseconds."""
    rows = connection.execute(
        sa.select(moves.c.version, sa.func.min(moves.c.moved_at))
        .where(moves.c.author == author, moves.c.to_state == "stable")
        .group_by(moves.c.version)
    )
    return {
        int(version): int(datetime.fromisoformat(str(at)).timestamp() * 1000)
        for version, at in rows
    }


def _certified(
    connection: sa.Connection,
    stable: ModelVersion,
    number: int,
    stream: str,
    after: int,
    before_ms: int,
    rules: LoopRules,
) -> Baseline | None:
    """An earlier version's own baseline, from the values that were settled before an instant.

    Not from its watch: that one stands wherever the last tick before the move came to.
    """
    forced = sa.select(model_versions.c.forced).where(
        model_versions.c.author == stable.author, model_versions.c.version == number
    )
    if connection.execute(forced).scalar():
        return None
    batches = rules.batches
    values = daily_aggregates.of_version(
        connection,
        stable.author,
        version=f"v{number}",
        stream=stream,
        after=after,
        settled_before_ms=before_ms,
        limit=max(batches.shares),
        by_day=rules.by_day,
    )
    return watching.certified_by(values, batches=batches)
