"""Following an author's settled values: watch, alarm and notice, in one transaction.

Belongs here: reading new values, folding them, storing what follows; floors of earlier versions.
Does not belong here: the fold itself (`statistics/watch.py`), what an alarm leads to
(`statistics/retraining.py`).
Method: deploy/docs/architecture.md, The loop.

All that is decided follows from the settled values and from the alarms that stand in the store. The
rows of this module are what was computed from them so far: a row that is lost is computed again,
and an alarm that is recorded restarts the detector where it did, without being raised again.
"""
# pyright: strict

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa

from twin_resources.quality.ledger.ledger_tables import upsert
from twin_resources.quality.retraining import alarm_records, settled_values
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.registry.moves import ModelVersion
from twin_resources.statistics import baseline as baselines
from twin_resources.statistics import watch as watching
from twin_resources.statistics.baseline import Baseline
from twin_resources.statistics.detector import Alarm, Detector, threshold
from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.watch import Watch
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import followed, model_versions, moves, watches

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
        read_to, streams = _followed(connection, author, version)
        held = _watches(connection, author, version)
        if set(streams) - set(held):  # rows were lost: from the start; known values change nothing
            read_to = 0
        last = settled_values.last_sequence_of(connection, author)
        values = (
            settled_values.of_version(
                connection, author, version=version, after=read_to, limit=limit
            )
            if read_to < last
            else []
        )
        read_to = values[-1].sequence if len(values) == limit else last
        alarms: list[Alarm] = []
        for stream in sorted({value.stream for value in values} | set(held)):
            before = held.get(stream) or _started(connection, stable, stream, rules)
            mine = [value for value in values if value.stream == stream]
            fold = _Fold(connection, before, rules)
            after = fold.over(mine)
            if fold.alarm is not None:
                alarms.append(fold.alarm)
                alarm_records.record(connection, fold.alarm, at=now)
                read_to = min(read_to, fold.alarm.sequence)
            if after is not before or stream not in held:
                _store(connection, after)
            held[stream] = after
        marks = {"author": author, "version": version, "read_to": read_to}
        upsert(connection, followed, [{**marks, "streams": sorted(held)}])
    return FoldResult(tuple(alarms), len(values), read_to < last)


def watches_now(connection: sa.Connection) -> dict[str, list[Watch]]:
    """Author → watches of the version that is followed, by stream."""
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
        by_author.setdefault(str(author), []).append(Watch.from_json(text))
    return by_author


def has_news(connection: sa.Connection) -> Callable[[ModelVersion], bool]:
    """Whether `follow` has anything to do for a stable version; two queries for the whole fleet."""
    last = settled_values.last_sequences(connection)
    rows = connection.execute(sa.select(followed))
    marks = {str(row.author): row for row in rows}
    there: dict[str, set[str]] = {}
    for author, stream in connection.execute(
        sa.select(watches.c.author, watches.c.stream).join(
            followed,
            (watches.c.author == followed.c.author) & (watches.c.version == followed.c.version),
        )
    ):
        there.setdefault(str(author), set()).add(str(stream))

    def has_score(stable: ModelVersion) -> bool:
        mark, author = marks.get(stable.author), stable.author
        if mark is None or mark.version != name_of(stable):
            return author in last
        return mark.read_to < last.get(author, 0) or bool(
            set(mark.streams) - there.get(author, set())
        )

    return has_score


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
    """Folds values of one stream over its watch, in a transaction that is open."""

    connection: sa.Connection
    before: Watch
    rules: LoopRules
    alarm: Alarm | None = None

    def over(self, values: Sequence[SettledValue]) -> Watch:
        """The watch after the values, up to the first new alarm, which is then in `alarm`."""
        watch, batches = self.before, self.rules.batches
        sequences = [value.sequence for value in values]
        begin = bisect_right(sequences, watch.detector.last_sequence)
        recorded = alarm_records.of_stream(
            self.connection, watch.author, watch.stream, watch.version
        )
        due = watching.batch_due(watch, len(values) - begin, batches=batches)
        first = self._first(due) if due else ()
        while begin < len(values) and self.alarm is None:
            known = next((one for one in recorded if one.number > watch.detector.alarms), None)
            end = len(values)
            if known is not None:
                end = max(begin, bisect_right(sequences, known.sequence))
            elif not watch.armed:
                # The value that completes a batch arms the stream: from the next on it counts in N.
                ahead = [size - watch.seen for size in (batches.first, batches.second)]
                end = min([begin + size for size in ahead if size > 0] + [end])
            watch, self.alarm = watching.advance(
                watch,
                values[begin:end],
                first=first,
                threshold=float("inf") if known is not None else self._threshold(watch),
                batches=batches,
            )
            if known is not None and end > begin and sequences[end - 1] >= known.sequence:
                restarted = Detector(
                    last_sequence=watch.detector.last_sequence, alarms=known.number
                )
                watch = replace(watch, detector=restarted)
            elif known is not None and end == begin:
                # Recorded at a value that lies before these: only its number is to be kept.
                watch = replace(watch, detector=replace(watch.detector, alarms=known.number))
            begin = max(begin, end)
        return watch

    def _threshold(self, watch: Watch) -> float:
        others = (
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
        count = int(self.connection.execute(others).scalar_one()) + 1
        return threshold(armed_streams=count, horizon=self.rules.horizon, alpha=self.rules.alpha)

    def _first(self, count: int) -> list[SettledValue]:
        return settled_values.of_version(
            self.connection,
            self.before.author,
            version=self.before.version,
            stream=self.before.stream,
            limit=count,
        )


def _followed(connection: sa.Connection, author: str, version: str) -> tuple[int, list[str]]:
    """How far this version was followed; another one's watches are bet on no longer."""
    row = connection.execute(sa.select(followed).where(followed.c.author == author)).one_or_none()
    if row is not None and row.version == version:
        return int(row.read_to), list[str](row.streams)
    others = (watches.c.author == author) & (watches.c.version != version)
    connection.execute(sa.update(watches).where(others).values(armed=False))
    for watch in _watches(connection, author, version).values():
        _store(connection, watch)  # a version that is back is armed as it was
    return 0, []


def _watches(connection: sa.Connection, author: str, version: str) -> dict[str, Watch]:
    """The stored watches of a version, without those that a release before this one left unarmed
    for ever (a forced version without a floor): they are made anew from the settled values."""
    rows = connection.execute(
        sa.select(watches.c.stream, watches.c.watch).where(
            watches.c.author == author, watches.c.version == version
        )
    )
    by_stream = {str(stream): Watch.from_json(text) for stream, text in rows}
    return {stream: watch for stream, watch in by_stream.items() if watch.certifies or watch.floor}


def _store(connection: sa.Connection, watch: Watch) -> None:
    key = {"author": watch.author, "stream": watch.stream, "version": watch.version}
    upsert(connection, watches, [{**key, "watch": watch.to_json(), "armed": watch.armed}])


def _started(
    connection: sa.Connection, stable: ModelVersion, stream: str, rules: LoopRules
) -> Watch:
    """The watch before its first value, held to what earlier versions were certified for."""
    entered = _first_stable(connection, stable.author)
    mine_ms = entered.get(stable.version)
    earlier = [
        baseline
        for number, at_ms in entered.items()
        if mine_ms is not None and number != stable.version and at_ms < mine_ms
        if (baseline := _certified(connection, stable, f"v{number}", stream, mine_ms, rules))
    ]
    floor = baselines.floor_of(earlier, margin=rules.margin)
    return watching.start(
        author=stable.author,
        stream=stream,
        version=name_of(stable),
        floor=floor,
        # A forced version is held to what was certified before it, and never to itself. Where there
        # is nothing, as for an author's first, its own values are all that a fall can be seen by;
        # they are no floor for a later one (`_certified`).
        certifies=not stable.forced or not floor,
    )


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
    version: str,
    stream: str,
    before_ms: int,
    rules: LoopRules,
) -> Baseline | None:
    """An earlier version's own baseline, from the values that were settled before an instant.

    Not from its watch: that one stands wherever the last tick before the move came to.
    """
    number = int(version.removeprefix("v"))
    forced = sa.select(model_versions.c.forced).where(
        model_versions.c.author == stable.author, model_versions.c.version == number
    )
    if connection.execute(forced).scalar():
        return None
    batches = rules.batches
    values = settled_values.of_version(
        connection,
        stable.author,
        version=version,
        stream=stream,
        settled_before_ms=before_ms,
        limit=batches.second,
    )
    if len(values) < batches.first:
        return None
    baseline = baselines.certify(
        values[: batches.first], delta=batches.delta, fewest=batches.fewest
    )
    if len(values) == batches.second:
        later = baselines.certify(values, delta=batches.delta, fewest=batches.fewest)
        baseline = baselines.raised(baseline, later)
    return baseline
