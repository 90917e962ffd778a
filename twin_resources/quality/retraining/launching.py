"""From decided retrainings to runs: what became of those offered, and which are to be offered now.

Scope: outcomes, attempts and offers as rows, and what each used.
Out of scope: what a look at the runs amounts to (`idempotent_launch.py`), the rows
themselves (`retrainings.py`), deciding, creating runs (the daemon does).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime

from twin_resources.dagster_runs import Run
from twin_resources.idempotent_launch import RunLaunch, next_step
from twin_resources.observability.notifications import Notice, announce
from twin_resources.quality.retraining import retrainings
from twin_resources.quality.retraining.retrainings import Outcome, Retraining
from twin_resources.quality.retraining.run_records import ATTEMPT_TAG, DAY_S, RunRecords, usage_of
from twin_resources.quality.retraining.training_inputs import TrainingInputs
from twin_resources.registry.moves import ModelVersion, Verdict
from twin_resources.registry.registry import Registry
from twin_resources.statistics.retraining import ATTEMPTS, TrainingFingerprint
from twin_resources.statistics.retraining_limits import Cause, Usage
from twin_resources.storage.state.isolating import isolate_failure
from twin_resources.storage.state.state import State

LOOK_BACK_DAYS = 400  # for the start of the last training, of which the cooldown is counted
RETRY_AFTER_S = 300.0  # between a failed attempt and the next: what is away may be back by then


def settle(
    registry: Registry, runs: RunRecords, inputs: TrainingInputs, *, now: float
) -> list[str]:
    """Store what the runs of unfinished retrainings came to; returns a line for each that ended,
    or of which it cannot be told yet."""
    with registry.state.transaction() as connection:
        retrainings.mend_times(connection, now=now)
        unfinished = retrainings.unfinished(connection)
    messages: list[str] = []
    for one in unfinished:
        with isolate_failure(f"{one.author}: its retraining is settled later", messages.append):
            messages += _settled(registry, runs, inputs, one, now=now)
    return messages


def _settled(
    registry: Registry, runs: RunRecords, inputs: TrainingInputs, one: Retraining, *, now: float
) -> list[str]:
    """One retraining after a look at its run.

    Raises:
        TwinError: what it was trained on cannot be read.
    """
    state, mine, verdict = registry.state, _runs_of(runs, one), None
    if mine:
        one = _seen(state, one, mine[0].run_id)
        verdict = _verdict_since(registry, one.author, mine[0])
    refused = verdict is not None and verdict.outcome != "passed"
    # What the gate refused it would refuse again, and a person can ask again.
    no_more = refused or one.cause == "by_hand"
    step = next_step(
        mine,
        now=now,
        attempt=one.attempt,
        attempts=one.attempt if no_more else ATTEMPTS,
        retry_after_s=RETRY_AFTER_S,
        was_seen=one.run_id != "",
    )
    if step in ("wait", "offer"):
        return []
    if step == "retry":
        with state.transaction() as connection:
            following = {"attempt": one.attempt + 1, "offered_at": None, "run_id": ""}
            retrainings.advance(connection, one, **following)
        return []
    if step == "gone":  # nothing can be told of it
        _end(state, one, step, one.learnt, now)
        return [f"{one.author}: the record of run {one.run_id} is gone"]
    outcome = "refused" if refused and step != "canceled" else step
    version = _made(registry, one, mine[0], verdict)
    learnt = inputs.of(version) if version is not None else None
    # Without a version the run has brought the dataset up to date all the same.
    learnt = learnt or inputs.now(one.author)
    _end(state, one, outcome, learnt, now, made=0 if version is None else version.version)
    return [f"{one.author}: retraining {one.run_id[:8]} has ended: {outcome}"]


def _seen(state: State, one: Retraining, run_id: str) -> Retraining:
    """The retraining with the run of this attempt, stored where it is news."""
    if run_id != one.run_id:
        with state.transaction() as connection:
            retrainings.advance(connection, one, run_id=run_id)
    return replace(one, run_id=run_id)


# The launches that can be started, and a line for each of the others.
Startable = Callable[[Sequence[RunLaunch]], tuple[Sequence[RunLaunch], Sequence[str]]]


def all_startable(launches: Sequence[RunLaunch]) -> tuple[Sequence[RunLaunch], Sequence[str]]:
    """Whoever starts them can start each."""
    return launches, ()


def due(
    state: State,
    runs: RunRecords,
    causes: Collection[Cause],
    *,
    now: float,
    startable: Startable = all_startable,
) -> tuple[list[RunLaunch], Sequence[str]]:
    """The runs to start now, each claimed for this call, and a line for each that cannot start.

    One that cannot start is not claimed: the next call finds it again.

    Args:
        causes: those of the sensor that asks, since run keys are unique within a sensor.
    """
    with state.reading() as connection:
        unfinished = retrainings.unfinished(connection)
    offered: dict[str, Retraining] = {}
    for one in unfinished:
        if one.cause not in causes or one.author in runs.in_flight():
            continue  # the latter: started by hand meanwhile, or launched and not yet settled
        step = next_step(_runs_of(runs, one), now=now, was_seen=one.run_id != "")
        if step == "offer":
            offered[one.launch.run_key] = one
    ready, held = startable([one.launch for one in offered.values()])
    launches: list[RunLaunch] = []
    for launch in ready:
        with state.transaction() as connection:
            if retrainings.offer(connection, offered[launch.run_key], at=now):
                launches.append(launch)
    return launches, held


def _runs_of(runs: RunRecords, one: Retraining) -> list[Run]:
    """Those of its present attempt, newest first."""
    attempt = str(one.attempt)
    return [run for run in runs.of_key(one.run_key) if run.tags.get(ATTEMPT_TAG, "1") == attempt]


def _verdict_since(registry: Registry, author: str, run: Run) -> Verdict | None:
    verdict = registry.latest_verdict(author)
    if verdict is None or _seconds(verdict.created_at) < run.created:
        return None
    return verdict


def _made(
    registry: Registry, one: Retraining, run: Run, verdict: Verdict | None
) -> ModelVersion | None:
    """The version that the run made or judged; None: it made none."""
    made = [
        version
        for version in registry.versions(one.author)
        if _seconds(version.created_at) >= run.created and not version.is_answer_model
    ]
    if made or verdict is None:
        return made[-1] if made else None
    return registry.by_checkpoint(verdict.checkpoint, author=one.author)


def _end(
    state: State,
    one: Retraining,
    outcome: Outcome,
    learnt: TrainingFingerprint,
    now: float,
    *,
    made: int = 0,
) -> None:
    used = {"dataset": learnt.dataset, "recipe": learnt.recipe, "made": made}
    with state.transaction() as connection:
        ended = retrainings.advance(connection, one, outcome=outcome, ended_at=now, **used)
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


def usage(registry: Registry, runs: RunRecords, author: str, *, now: float) -> Usage:
    """What an author's trainings have used, and the run that is in flight or about to start."""
    flying = runs.in_flight().get(author, "")
    with registry.state.reading() as connection:
        waiting = [one for one in retrainings.unfinished(connection) if one.author == author]
        count, ended_at = retrainings.in_vain(connection, author)
    if waiting and not flying:
        flying = waiting[0].run_id or waiting[0].launch.run_key
    since = now - LOOK_BACK_DAYS * DAY_S
    used = usage_of(runs.of_author(author, since=since), in_flight=flying, now=now)
    return replace(used, in_vain=count, in_vain_at=ended_at)
