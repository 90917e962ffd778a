"""Run one tick of the sensor `quality_dropped` for all authors: read, follow, decide, offer.

Scope: the order of these steps, and storing each decision with its consequences.
Out of scope: the decision (`statistics/retraining.py`), dagster (`twin_sensors`).
Method: deploy/docs/architecture.md, The loop.

Every step can be repeated: if the process dies between two steps, the next tick continues. If a
read of the trace store fails, nothing is decided, but earlier decisions are launched.
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import sqlalchemy as sa

from twin_resources.idempotent_launch import RunLaunch
from twin_resources.observability.notifications import Notice, announce
from twin_resources.quality.ledger.ledger import Ledger
from twin_resources.quality.ledger.scores import DAY_MS, JUDGE
from twin_resources.quality.retraining import (
    alarm_records,
    daily_aggregates,
    launching,
    retrainings,
    score_watch,
)
from twin_resources.quality.retraining.alarm_records import AlarmRecord
from twin_resources.quality.retraining.earlier_versions import go_back
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.quality.retraining.run_records import BUDGET_DAYS, RunRecords
from twin_resources.quality.retraining.training_inputs import TrainingInputs
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.registry import Registry
from twin_resources.statistics.detector import Alarm, StreamEvidence
from twin_resources.statistics.poisoning import not_seen_by_others
from twin_resources.statistics.retraining import (
    AlarmContext,
    RetrainingDecision,
    TrainingFingerprint,
    decide,
    progress,
    rolled_back,
)
from twin_resources.statistics.retraining_limits import DAY, Cause, RetrainingLimits
from twin_resources.storage.state.isolating import isolate_failure
from twin_resources.storage.state.state import State

# Dagster's daemon aborts a tick after 60 s and loses its decisions; a read of the trace store may
# take 25 of them (`LedgerRules`).
TICK_SECONDS = 45.0
# A fall within a month of a release is attributed to it: an earlier version then answers at once.
LATELY_DAYS = 30.0


@dataclass(frozen=True)
class RetrainingLoop:
    """The dependencies of a tick.

    Attributes:
        limits: returns the limits of an author, by slug.
        startable: selects the launches that can be started now.
        clock: returns seconds, to limit the time of a tick.
    """

    state: State
    ledger: Ledger
    registry: Registry
    inputs: TrainingInputs
    runs: RunRecords
    rules: LoopRules
    limits: Callable[[str], RetrainingLimits]
    startable: launching.Startable
    clock: Callable[[], float] = time.monotonic

    def settle(self, *, now: float) -> list[str]:
        """See `launching.settle`."""
        return launching.settle(self.registry, self.runs, self.inputs, now=now)

    def start(self, causes: Collection[Cause], done: LoopTick, *, now: float) -> LoopTick:
        """Add the runs to start now for these causes to a tick, and return it."""
        done.launches, held = launching.due(
            self.state, self.runs, causes, now=now, startable=self.startable
        )
        done.notes += held
        return done


@dataclass
class LoopTick:
    """The result of one tick.

    Attributes:
        launches: runs to start now.
        messages: author → the numbers or the decision.
        notes: messages about all authors: what was read, what ended, what failed.
        decisions: author → decision on an alarm.
    """

    launches: tuple[RunLaunch, ...] = ()
    messages: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])
    decisions: dict[str, RetrainingDecision] = field(default_factory=dict[str, RetrainingDecision])


def tick(loop: RetrainingLoop, *, now: datetime) -> LoopTick:
    """Run one tick; work that does not fit its time is left to the next tick, with a note."""
    at, ends = now.timestamp(), loop.clock() + TICK_SECONDS
    report = loop.ledger.sync(now)
    read = f"{report.problem}: nothing decided" if report.problem else report.message
    done = LoopTick(notes=[read, *loop.settle(now=at)])
    if not report.problem:
        deciding = _Deciding(loop, done, at, ends)
        deciding.follow_all()
        deciding.decide_all()
    return loop.start(("quality",), done, now=at)


@dataclass
class _Deciding:
    """Follow and decide for every author with a stable version."""

    loop: RetrainingLoop
    done: LoopTick
    at: float
    ends: float

    def __post_init__(self) -> None:
        with self.loop.state.reading() as connection:
            self.stable = score_watch.stable_versions(connection)
            self._has_news = score_watch.has_news(connection)

    def follow_all(self) -> None:
        """Fold the new values of all authors before any decision.

        Alarms that share a cause are thus decided together. Settings and refused retrainings
        restrict runs only: a fall is always detected and reported.
        """
        left = 0
        for author, stable in self.stable.items():
            if not self._has_news(stable):
                continue
            if self._is_over:
                left += 1
                continue
            with isolate_failure(author, self.done.notes.append):
                days, more = score_watch.follow(
                    self.loop.state, stable, self.loop.rules, now=self.at
                )
                if more:
                    self.done.notes.append(f"{author}: {days:,} days looked at, more wait")
        if left:
            self.done.notes.append(
                f"no time left: new values of {left} authors wait for the next tick"
            )

    def decide_all(self) -> None:
        """Decide the open alarms, and report the numbers of every author."""
        with self.loop.state.reading() as connection:
            watches = score_watch.watches_now(connection)
            alarms = alarm_records.open_alarms(connection)
            armed = score_watch.armed_streams(connection)
        armed_authors = sum(any(watch.armed for watch in held) for held in watches.values())
        left = 0
        for author in sorted({*self.stable, *alarms}, key=lambda slug: (slug not in alarms, slug)):
            if self._is_over:
                left += author in alarms
                continue
            held, record = watches.get(author, []), alarms.get(author)
            tell = partial(self.done.messages.__setitem__, author)
            with isolate_failure("nothing decided", tell):
                if (stable := self.stable.get(author)) is None:
                    self.done.messages[author] = "no stable version: nothing to watch"
                elif record is None:
                    self.done.messages[author] = self._quiet(author, held, armed)
                else:
                    self._decide(stable, held, record, max(1, armed_authors))
        if left:
            self.done.notes.append(f"no time left: alarms of {left} authors wait for the next tick")

    @property
    def _is_over(self) -> bool:
        return self.loop.clock() >= self.ends

    def _quiet(self, author: str, held: list[StreamEvidence], armed: int) -> str:
        """Return the numbers of an author without an alarm."""
        rules, lines = self.loop.rules, list[str]()
        limit = rules.threshold(armed)
        today = int(self.at * 1000) // DAY_MS
        with self.loop.state.reading() as connection:
            for watch in held:
                rate = None
                if not watch.armed:
                    rate = daily_aggregates.per_day(
                        connection, author, stream=watch.stream, today=today
                    )
                lines.append(progress(watch, needed=rules.fewest, per_day=rate, threshold=limit))
        return "; ".join(lines) or "no scores yet"

    def _decide(
        self,
        stable: ModelVersion,
        held: list[StreamEvidence],
        record: AlarmRecord,
        armed_authors: int,
    ) -> None:
        """Decide an open alarm and store the decision."""
        author, alarm = stable.author, record.alarm
        with self.loop.state.reading() as connection:
            alarmed = alarm_records.alarmed_together(connection, at=record.raised_at)
            few_readers = _few_readers(connection, alarm)
        key = alarm.stream, alarm.version
        inputs_now = self.loop.inputs.now(author)
        situation = AlarmContext(
            version=score_watch.name_of(stable),
            alarm=alarm,
            now_there_is=inputs_now,
            usage=launching.usage(self.loop.registry, self.loop.runs, author, now=self.at),
            limits=self.loop.limits(author),
            now=self.at,
            alarmed_authors=len(alarmed),
            armed_authors=armed_authors,
            # the falls now, which may differ from those when the alarm was raised
            falls=next((watch.falls for watch in held if (watch.stream, watch.version) == key), ()),
            few_readers=few_readers,
            learnt_before=self._learnt_before(author, inputs_now),
            raised_at=record.raised_at,
        )
        decision = decide(situation)
        self.done.messages[author] = decision.message
        self._store(record, decision, situation, alarmed)

    def _learnt_before(self, author: str, learnt: TrainingFingerprint) -> str:
        """Describe the earlier training on this input, whatever its outcome; empty if none."""
        for version in reversed(self.loop.registry.versions(author)):
            if not version.is_answer_model and self.loop.inputs.of(version) == learnt:
                name = score_watch.name_of(version)
                return f"{name}, {version.state.replace('_', ' ')}, was trained on it"
        with self.loop.state.reading() as connection:
            return retrainings.trained_on(connection, author, learnt)

    def _store(
        self,
        record: AlarmRecord,
        decision: RetrainingDecision,
        situation: AlarmContext,
        alarmed: list[str],
    ) -> None:
        """Store the decision, its retraining and its notices in one transaction."""
        alarm, author = record.alarm, record.alarm.author
        stored = record.decision, record.message
        if not decision.closes_alarm and stored == (decision.kind, decision.message):
            return  # the alarm still waits, and there is nothing new to store
        lately = decision.kind == "train" and self._released_lately(author)
        # If runs do not start automatically, a person decides on a roll-back.
        if situation.limits.automatic and (lately or decision.kind == "nothing_to_learn"):
            back = go_back(self.loop.registry, alarm, situation.falls, self.loop.rules)
            decision = rolled_back(decision, to=back) if back else decision
        before = self._answered_before(author)
        try:
            with self.loop.state.transaction() as connection:
                if not alarm_records.decide(connection, alarm, decision, at=self.at):
                    return
                if decision.kind == "train" and not retrainings.begin(
                    connection,
                    run_key=decision.run_key,
                    author=author,
                    cause="quality",
                    tags=decision.tags,
                    learnt=situation.now_there_is,
                    at=self.at,
                ):
                    raise _Overtaken
                if notice := _notice(author, record, decision, alarmed, before=before, at=self.at):
                    announce(connection, notice, at=self.at)
        except _Overtaken:
            self.done.messages[author] = "a retraining of this author has just been decided: waits"
            return
        self.done.messages[author] = decision.message
        self.done.decisions[author] = decision

    def _released_lately(self, author: str) -> bool:
        """Return whether the stable version was released in the last `LATELY_DAYS`."""
        stable = self.stable[author].version
        for move in reversed(self.loop.registry.moves(author)):
            if move.version == stable and move.to_state == "stable":
                moved_at = datetime.fromisoformat(move.moved_at).timestamp()
                return self.at - moved_at <= LATELY_DAYS * DAY
        return False

    def _answered_before(self, author: str) -> str:
        """Return the version that a person may roll back to; empty if there is none."""
        versions = self.loop.registry.versions(author)
        retired = [
            version for version in versions if version.state == "retired" and not version.tainted
        ]
        return score_watch.name_of(retired[-1]) if retired else ""


class _Overtaken(Exception):
    """Another cause began a retraining of this author since the situation was read."""


def _few_readers(connection: sa.Connection, alarm: Alarm) -> str:
    """Say why other readers do not confirm a fall (`not_seen_by_others`); empty for a judge."""
    if alarm.stream.startswith(JUDGE):
        return ""
    return not_seen_by_others(daily_aggregates.reader_totals(connection, alarm))


def _notice(
    author: str,
    record: AlarmRecord,
    decision: RetrainingDecision,
    alarmed: list[str],
    *,
    before: str,
    at: float,
) -> Notice | None:
    """Return the notice of a decision, or None if the notice of the alarm is enough.

    Args:
        before: the version that a person may roll back to; empty if there is none.
    """
    if decision.kind == "nothing_to_learn":
        back = f"{before}, which answered before (`twin rollback`)" if before else ""
        helps = (
            "new posts, or edited answers, to learn from",
            "another recipe (`recipe` in the author's file) or a larger base model "
            "(TWIN_BASE_MODEL)",
            back or "a model that answers meanwhile (`--answer-model`, or TWIN_PAID_MODEL)",
        )
        return Notice(
            f"nothing_to_learn:{author}:{record.alarm.version}:{int(at // DAY)}",
            "nothing_to_learn",
            author,
            f"Quality of {author} fell, and there is nothing to learn from",
            f"{decision.message}. Three things would help: {'; '.join(helps)}.",
        )
    if decision.kind == "incident":
        shown = ", ".join(alarmed[:20]) + (" …" if len(alarmed) > 20 else "")
        return Notice(
            f"incident:{int(record.raised_at // (2 * DAY))}",
            "incident",
            author,
            f"Quality of {len(alarmed)} authors fell within two days",
            f"{decision.message}. Look at what they share: the judge, the base model, the server, "
            f"the page. To stay with it: `twin lower-floor --reason TEXT`. Authors: {shown}.",
        )
    if decision.kind == "held_back" and "budget reached" in decision.message:
        return Notice(
            f"budget_reached:{author}:{int(at // (BUDGET_DAYS * DAY))}",
            "budget_reached",
            author,
            f"The retraining budget of {author} is used up",
            f"{decision.message}. The alarm stays open.",
        )
    return None
