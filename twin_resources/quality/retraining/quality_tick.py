"""Run one tick of the sensor `quality_dropped` for all authors: read, check, decide, start runs.

Scope: the order of these steps, and storing each decision with its consequences.
Out of scope: the decision (`statistics/retraining.py`), dagster (`twin_sensors`).
Method: deploy/docs/loop-explained.md.

Every step can be repeated. If the process dies between two steps, the next tick continues. If
reading the trace store fails, the tick decides nothing, but it still launches earlier decisions.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain

from twin_resources.observability.notifications import Notice, announce
from twin_resources.quality.ledger.scores import DAY_MS, JUDGE
from twin_resources.quality.retraining import (
    alarm_records,
    daily_aggregates,
    retrainings,
    score_watch,
    training_launches,
)
from twin_resources.quality.retraining.alarm_records import AlarmRecord
from twin_resources.quality.retraining.earlier_versions import roll_back_if_better
from twin_resources.quality.retraining.run_records import BUDGET_DAYS
from twin_resources.quality.retraining.training_launches import TickResult, TickServices
from twin_resources.registry.moves import ModelVersion
from twin_resources.statistics.detector import StreamEvidence
from twin_resources.statistics.retraining import (
    AlarmContext,
    RetrainingDecision,
    decide_on_alarm,
    describe_progress,
    replace_with_rollback,
)
from twin_resources.statistics.retraining_limits import DAY_S
from twin_resources.statistics.vote_limits import unconfirmed_fall_reason
from twin_resources.storage.state.failure_isolation import isolate_failure

# Dagster's daemon aborts a tick after 60 s and loses its decisions. A read of the trace store may
# take 25 s (`LedgerRules`).
TICK_SECONDS = 45.0
# A fall within a month of a release is attributed to the release, and an earlier version answers
# at once.
RECENT_RELEASE_DAYS = 30.0


def run_tick(services: TickServices, *, now: datetime) -> TickResult:
    """Run one tick. Work that exceeds its time is left for the next tick, with a note."""
    now_s, deadline = now.timestamp(), services.clock() + TICK_SECONDS
    report = services.ledger.sync(now)
    sync_message = f"{report.problem}: nothing decided" if report.problem else report.message
    tick = TickResult(notes=[sync_message, *training_launches.settle_finished(services, now=now_s)])
    if not report.problem:
        processor = _TickProcessor(services, tick, now_s, deadline)
        processor.check_all_new_days()
        processor.decide_all()
    return training_launches.add_launches(services, ("quality",), tick, now=now_s)


@dataclass
class _TickProcessor:
    """Checks new days and decides on alarms for every author with a stable version."""

    services: TickServices
    tick: TickResult
    now_s: float
    deadline: float

    def __post_init__(self) -> None:
        with self.services.state.read_transaction() as connection:
            self.stable = score_watch.stable_versions(connection)

    def check_all_new_days(self) -> None:
        """Check the new values of all authors before any decision.

        Alarms that share a cause are therefore decided together. Settings and refused retrainings
        limit only the runs: every fall is detected and reported.
        """
        for author in self._until_deadline([*self.stable], "new values"):
            with isolate_failure(author, self.tick.notes.append):
                days, has_more = score_watch.check_new_days(
                    self.services.state, self.stable[author], self.services.rules, now=self.now_s
                )
                if has_more:
                    self.tick.notes.append(f"{author}: {days:,} days checked; more are waiting")

    def _until_deadline(self, authors: Sequence[str], work: str) -> Iterator[str]:
        """Yield authors while there is time, and add a note with the number of the others."""
        for index, author in enumerate(authors):
            if self.services.clock() >= self.deadline:
                self.tick.notes.append(
                    f"no time left: {work} of {len(authors) - index} authors wait for the next tick"
                )
                return
            yield author

    def decide_all(self) -> None:
        """Decide on the open alarms, and report every author's progress."""
        with self.services.state.read_transaction() as connection:
            evidence_by_author = score_watch.current_evidence(connection)
            alarms = alarm_records.oldest_open_alarms(connection)
            armed_streams = score_watch.count_armed_streams(connection)
        armed_authors = sum(
            any(watch.is_armed for watch in evidence) for evidence in evidence_by_author.values()
        )
        authors_in_time = chain(
            self._until_deadline(sorted(alarms), "alarms"),
            self._until_deadline(sorted(self.stable.keys() - alarms.keys()), "reports"),
        )
        for author in authors_in_time:
            stream_evidence, record = evidence_by_author.get(author, []), alarms.get(author)
            set_message = partial(self.tick.messages.__setitem__, author)
            with isolate_failure("nothing decided", set_message):
                if (stable := self.stable.get(author)) is None:
                    self.tick.messages[author] = "no stable version: nothing to watch"
                elif record is None:
                    self.tick.messages[author] = self._describe_without_alarm(
                        author, stream_evidence, armed_streams
                    )
                else:
                    self._decide(stable, stream_evidence, record, max(1, armed_authors))

    def _describe_without_alarm(
        self, author: str, stream_evidence: list[StreamEvidence], armed_stream_count: int
    ) -> str:
        """Describe the streams of an author without an alarm."""
        rules, lines = self.services.rules, list[str]()
        threshold = rules.threshold(armed_stream_count)
        today = int(self.now_s * 1000) // DAY_MS
        with self.services.state.read_transaction() as connection:
            for watch in stream_evidence:
                rate = None
                if not watch.is_armed:
                    rate = daily_aggregates.compute_values_per_day(
                        connection, author, stream=watch.stream, today=today
                    )
                lines.append(
                    describe_progress(
                        watch,
                        required_values=rules.required_values,
                        per_day=rate,
                        threshold=threshold,
                    )
                )
        return "; ".join(lines) or "no scores yet"

    def _decide(
        self,
        stable: ModelVersion,
        stream_evidence: list[StreamEvidence],
        record: AlarmRecord,
        armed_authors: int,
    ) -> None:
        """Decide on an open alarm and store the decision."""
        author, alarm = stable.author, record.alarm
        with self.services.state.read_transaction() as connection:
            alarmed_authors = alarm_records.find_alarmed_authors(connection, at=record.raised_at)
            # A judge has no readers who could confirm its scores.
            readers = (
                None
                if alarm.stream.startswith(JUDGE)
                else daily_aggregates.sum_by_reader(connection, alarm)
            )
        key = alarm.stream, alarm.version
        current_inputs = self.services.inputs.read_current(author)
        context = AlarmContext(
            version=score_watch.version_name(stable),
            alarm=alarm,
            training_fingerprint=current_inputs,
            usage=training_launches.training_usage(self.services, author, now=self.now_s),
            limits=self.services.limits(author),
            now=self.now_s,
            alarmed_authors=len(alarmed_authors),
            armed_authors=armed_authors,
            # The current falls, which may differ from those when the alarm was raised.
            falls=next(
                (watch.falls for watch in stream_evidence if (watch.stream, watch.version) == key),
                (),
            ),
            few_readers_reason="" if readers is None else unconfirmed_fall_reason(readers),
            earlier_training=training_launches.describe_earlier_training(
                self.services, author, current_inputs
            ),
            raised_at=record.raised_at,
        )
        decision = decide_on_alarm(context)
        self.tick.messages[author] = decision.message
        self._store(record, decision, context, alarmed_authors)

    def _store(
        self,
        record: AlarmRecord,
        decision: RetrainingDecision,
        context: AlarmContext,
        alarmed_authors: list[str],
    ) -> None:
        """Store the decision, its retraining and its notices in one transaction."""
        alarm, author = record.alarm, record.alarm.author
        stored_decision = record.decision, record.message
        if not decision.closes_alarm and stored_decision == (decision.kind, decision.message):
            return  # the alarm is still waiting, and there is nothing new to store
        is_recent_release = decision.kind == "train" and self._is_recently_released(author)
        # If runs do not start automatically, a person decides whether to roll back.
        if context.limits.automatic and (is_recent_release or decision.kind == "nothing_to_learn"):
            earlier_version = roll_back_if_better(
                self.services.registry, alarm, context.falls, self.services.rules
            )
            if earlier_version:
                decision = replace_with_rollback(decision, version=earlier_version)
        rollback_version = self._find_rollback_version(author)
        try:
            with self.services.state.transaction() as connection:
                if not alarm_records.store_decision(connection, alarm, decision, at=self.now_s):
                    return
                if decision.kind == "train" and not retrainings.add_retraining(
                    connection,
                    run_key=decision.run_key,
                    author=author,
                    cause="quality",
                    tags=decision.tags,
                    fingerprint=context.training_fingerprint,
                    now=self.now_s,
                ):
                    raise _ConcurrentRetrainingError
                if notice := _build_notice(
                    author,
                    record,
                    decision,
                    alarmed_authors,
                    rollback_version=rollback_version,
                    at=self.now_s,
                ):
                    announce(connection, notice, at=self.now_s)
        except _ConcurrentRetrainingError:
            self.tick.messages[author] = (
                "another cause has just started a retraining of this author; this alarm waits"
            )
            return
        self.tick.messages[author] = decision.message
        self.tick.decisions[author] = decision

    def _is_recently_released(self, author: str) -> bool:
        """Return whether the stable version was released in the last `RECENT_RELEASE_DAYS`."""
        stable = self.stable[author].version
        for move in reversed(self.services.registry.moves(author)):
            if move.version == stable and move.to_state == "stable":
                moved_at = datetime.fromisoformat(move.moved_at).timestamp()
                return self.now_s - moved_at <= RECENT_RELEASE_DAYS * DAY_S
        return False

    def _find_rollback_version(self, author: str) -> str:
        """Return the version that a person may roll back to, or an empty string."""
        for version in reversed(self.services.registry.versions(author)):
            if version.state == "retired" and not version.tainted:
                return score_watch.version_name(version)
        return ""


class _ConcurrentRetrainingError(Exception):
    """Another cause started a retraining of this author after this tick read its state."""


def _build_notice(
    author: str,
    record: AlarmRecord,
    decision: RetrainingDecision,
    alarmed_authors: list[str],
    *,
    rollback_version: str,
    at: float,
) -> Notice | None:
    """Return the notice of a decision, or None if the alarm's own notice is enough.

    Args:
        rollback_version: the version that a person may roll back to, or an empty string.
    """
    if decision.kind == "nothing_to_learn":
        rollback_advice = (
            f"the earlier version {rollback_version} (`twin rollback`)" if rollback_version else ""
        )
        remedies = (
            "new posts or edited answers to learn from",
            "a different recipe (`recipe` in the author's file) or a larger base model "
            "(TWIN_BASE_MODEL)",
            rollback_advice
            or "a model that answers in the meantime (`--answer-model`, or TWIN_PAID_MODEL)",
        )
        return Notice(
            f"nothing_to_learn:{author}:{record.alarm.version}:{int(at // DAY_S)}",
            "nothing_to_learn",
            author,
            f"Quality of {author} fell, and there is nothing to learn from",
            f"{decision.message}. Three things would help: {'; '.join(remedies)}.",
        )
    if decision.kind == "incident":
        author_list = ", ".join(alarmed_authors[:20]) + (" …" if len(alarmed_authors) > 20 else "")
        return Notice(
            f"incident:{int(record.raised_at // (2 * DAY_S))}",
            "incident",
            author,
            f"Quality of {len(alarmed_authors)} authors fell within two days",
            f"{decision.message}. Check what they share: the judge, the base model, the server, "
            "the page. To accept the new level, run `twin lower-floor --reason TEXT`. "
            f"Authors: {author_list}.",
        )
    if decision.kind == "held_back" and "budget reached" in decision.message:
        return Notice(
            f"budget_reached:{author}:{int(at // (BUDGET_DAYS * DAY_S))}",
            "budget_reached",
            author,
            f"The retraining budget of {author} is used up",
            f"{decision.message}. The alarm stays open.",
        )
    return None
