"""From decided retrainings to runs: what became of those offered, and which are to be offered now.

Belongs here: reading runs into outcomes, attempts, offers.
Does not belong here: the rows (`retrainings.py`), deciding, creating runs (the daemon does).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from twin_resources.dagster_runs import Run
from twin_resources.errors import TwinError
from twin_resources.observability.notifications import Notice, announce
from twin_resources.quality.retraining import retrainings
from twin_resources.quality.retraining.retrainings import Outcome, Retraining, RunLaunch
from twin_resources.quality.retraining.run_records import ATTEMPT_TAG, RunRecords
from twin_resources.quality.retraining.training_inputs import TrainingInputs
from twin_resources.registry.moves import Verdict
from twin_resources.registry.registry import Registry
from twin_resources.statistics.retraining import ATTEMPTS, TrainingFingerprint
from twin_resources.statistics.retraining_limits import Cause
from twin_resources.storage.state.state import State

RETRY_AFTER_S = 300.0  # between a failed attempt and the next: what is away may be back by then
_DAEMON_RETRIES_WITHIN_S = 120.0


def settle(
    state: State,
    registry: Registry,
    runs: RunRecords,
    inputs: TrainingInputs,
    *,
    now: float,
) -> list[str]:
    """Store what the runs of unfinished retrainings came to; returns a line for each that ended,
    or of which it cannot be told yet."""
    with state.reading() as connection:
        unfinished = retrainings.unfinished(connection)
    said: list[str] = []
    for one in unfinished:
        try:
            said += _settled(state, registry, runs, inputs, one, now=now)
        except TwinError as error:  # the others are not held up by it
            said.append(f"{one.author}: its retraining is settled later: {error.found}")
    return said


def _settled(
    state: State,
    registry: Registry,
    runs: RunRecords,
    inputs: TrainingInputs,
    one: Retraining,
    *,
    now: float,
) -> list[str]:
    """One retraining after a look at its run.

    Raises:
        TwinError: what it was trained on cannot be read.
    """
    mine = [run for run in runs.of_key(one.run_key) if _attempt(run) == one.attempt]
    if not mine:
        if not one.run_id:
            return []
        # It was there, and its record was deleted: nothing can be told of it.
        _end(state, one, "gone", one.learnt, now)
        return [f"{one.author}: the record of run {one.run_id} is gone"]
    run = mine[0]
    if run.run_id != one.run_id:
        with state.transaction() as connection:
            retrainings.launched(connection, one, run.run_id)
    if not run.is_finished or _daemon_tries_again(run, now):
        return []
    verdict = _verdict_since(registry, one.author, run)
    outcome = _outcome(run, verdict)
    if outcome == "failed" and one.attempt < ATTEMPTS and one.cause != "by_hand":
        if now >= (run.ended or run.created) + RETRY_AFTER_S:
            with state.transaction() as connection:
                retrainings.try_again(connection, one)
        return []
    _end(state, one, outcome, _learnt(registry, inputs, one, run, verdict), now)
    return [f"{one.author}: retraining {run.run_id[:8]} has ended: {outcome}"]


def due(
    state: State, runs: RunRecords, causes: Collection[Cause], *, now: float
) -> list[RunLaunch]:
    """The runs to start now, each claimed for this call.

    Args:
        causes: those of the sensor that asks, since run keys are unique within a sensor.
    """
    with state.reading() as connection:
        unfinished = retrainings.unfinished(connection)
    launches: list[RunLaunch] = []
    for one in unfinished:
        if one.cause not in causes or one.run_id:
            continue
        if any(_attempt(run) == one.attempt for run in runs.of_key(one.run_key)):
            continue  # launched, and not yet settled
        if one.author in runs.in_flight():
            continue  # started by hand meanwhile
        with state.transaction() as connection:
            if retrainings.offer(connection, one, at=now):
                launches.append(one.launch)
    return launches


def _attempt(run: Run) -> int:
    return int(run.tags.get(ATTEMPT_TAG, "1"))


def _daemon_tries_again(run: Run, now: float) -> bool:
    """Whether Dagster starts a run in place of this one, whose worker had died."""
    waited = now - (run.ended if run.ended is not None else run.created)
    return run.will_be_retried and not run.retry_run_id and waited < _DAEMON_RETRIES_WITHIN_S


def _outcome(run: Run, verdict: Verdict | None) -> Outcome:
    if run.status == "CANCELED":
        return "canceled"
    if verdict is not None and verdict.outcome != "passed":
        return "refused"
    return "passed" if run.status == "SUCCESS" else "failed"


def _verdict_since(registry: Registry, author: str, run: Run) -> Verdict | None:
    verdict = registry.latest_verdict(author)
    if verdict is None or _seconds(verdict.created_at) < run.created:
        return None
    return verdict


def _learnt(
    registry: Registry,
    inputs: TrainingInputs,
    one: Retraining,
    run: Run,
    verdict: Verdict | None,
) -> TrainingFingerprint:
    """What the run used: of the version that it made or judged; else what a training would use now,
    since the run has brought the dataset up to date."""
    made = [
        version
        for version in registry.versions(one.author)
        if _seconds(version.created_at) >= run.created and not version.is_answer_model
    ]
    version = made[-1] if made else None
    if version is None and verdict is not None:
        version = registry.by_checkpoint(verdict.checkpoint, author=one.author)
    found = inputs.of(version) if version is not None else None
    return found or inputs.now(one.author)


def _end(
    state: State, one: Retraining, outcome: Outcome, learnt: TrainingFingerprint, now: float
) -> None:
    with state.transaction() as connection:
        ended = retrainings.end(connection, one, outcome, learnt=learnt, at=now)
        if ended and outcome == "failed":
            notice = Notice(
                key=f"failed:{one.run_key}",
                event="failed",
                author=one.author,
                title=f"The retraining of {one.author} failed",
                text=f"{_why(one)}{one.attempt} attempts, the last in run {one.run_id}. Nothing "
                "more is started for it; read the run's log.",
            )
            announce(connection, notice, at=now)


def _why(one: Retraining) -> str:
    """Who asked for it and why; empty where nobody did."""
    reason = one.tags.get("twin/reason", "")
    asked_by = one.tags.get("twin/asked_by", "")
    return f"Asked for by {asked_by}: {reason}. " if asked_by and reason else ""


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def in_flight_of(author: str, in_flight: dict[str, str], unfinished: Sequence[Retraining]) -> str:
    """The run of an author that is in flight, or the retraining that is about to start one."""
    if author in in_flight:
        return in_flight[author]
    waiting = [one for one in unfinished if one.author == author]
    return (waiting[0].run_id or waiting[0].launch.run_key) if waiting else ""
