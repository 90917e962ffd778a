"""Start the training runs that were decided on, and record their outcomes.

Scope: the dependencies and the result of a tick, finished runs, claims of launches, and the inputs
of each training run.
Out of scope: deriving the next step from the state of runs (`idempotent_launch.py`), the rows
(`retrainings.py`), deciding, and creating runs, which the daemon does.
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from twin_resources.dagster_runs import Run
from twin_resources.idempotent_launch import RunLaunch, decide_step
from twin_resources.observability.notifications import Notice, announce
from twin_resources.quality.ledger.ledger import Ledger
from twin_resources.quality.retraining import retrainings
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.quality.retraining.retrainings import Outcome, Retraining
from twin_resources.quality.retraining.run_records import ATTEMPT_TAG, BUDGET_DAYS, RunRecords
from twin_resources.quality.retraining.training_inputs import TrainingInputs
from twin_resources.registry.moves import ModelVersion, Verdict
from twin_resources.registry.registry import Registry
from twin_resources.statistics.retraining import (
    MAX_ATTEMPTS,
    RetrainingDecision,
    TrainingFingerprint,
)
from twin_resources.statistics.retraining_limits import (
    DAY_S,
    Cause,
    RetrainingLimits,
    TrainingUsage,
)
from twin_resources.storage.state.failure_isolation import isolate_failure
from twin_resources.storage.state.state import State

LOOK_BACK_DAYS = 400  # to find the last training run; the cooldown begins when that run starts
RETRY_AFTER_S = 300.0  # between attempts; a missing service may be available again


# A function that returns the launches that can start, and a line for each of the others.
LaunchSelector = Callable[[Sequence[RunLaunch]], tuple[Sequence[RunLaunch], Sequence[str]]]


@dataclass(frozen=True)
class TickServices:
    """The dependencies of a tick.

    Attributes:
        limits: returns an author's limits for the author's slug.
        select_startable: selects the launches that can start now.
        clock: returns seconds, to limit the duration of a tick.
    """

    state: State
    ledger: Ledger
    registry: Registry
    inputs: TrainingInputs
    runs: RunRecords
    rules: LoopRules
    limits: Callable[[str], RetrainingLimits]
    select_startable: LaunchSelector
    clock: Callable[[], float] = time.monotonic


@dataclass
class TickResult:
    """The result of one tick.

    Attributes:
        launches: the runs to start now.
        messages: author → the progress or the decision.
        notes: messages that concern all authors: the sync, ended retrainings, failures.
        decisions: author → the decision on an alarm.
    """

    launches: tuple[RunLaunch, ...] = ()
    messages: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])
    decisions: dict[str, RetrainingDecision] = field(default_factory=dict[str, RetrainingDecision])


def describe_earlier_training(
    services: TickServices, author: str, fingerprint: TrainingFingerprint
) -> str:
    """Describe the earlier training run on this input, regardless of its outcome.

    Return an empty string if there is no such run.
    """
    for version in reversed(services.registry.versions(author)):
        if not version.is_answer_model and services.inputs.read_for_version(version) == fingerprint:
            state = version.state.replace("_", " ")
            return f"v{version.version}, {state}, was trained on it"
    with services.state.read_transaction() as connection:
        return retrainings.describe_earlier_training(connection, author, fingerprint)


def settle_finished(services: TickServices, *, now: float) -> list[str]:
    """Store the outcome of each retraining whose run has ended, or prepare its next attempt.

    Returns:
        A line for each retraining that ended or could not be settled yet.
    """
    with services.state.transaction() as connection:
        retrainings.clamp_future_end_times(connection, now=now)
        unfinished_retrainings = retrainings.unfinished_retrainings(connection)
    messages: list[str] = []
    for retraining in unfinished_retrainings:
        with isolate_failure(
            f"{retraining.author}: its retraining will be settled later", messages.append
        ):
            messages += _settle_retraining(services, retraining, now=now)
    return messages


def _settle_retraining(services: TickServices, retraining: Retraining, *, now: float) -> list[str]:
    """Settle one retraining from the state of its run.

    Raises:
        TwinError: the training inputs cannot be read.
    """
    state, registry, verdict = services.state, services.registry, None
    attempt_runs = _attempt_runs(services.runs, retraining)
    if attempt_runs:
        run_id = attempt_runs[0].run_id
        if run_id != retraining.run_id:
            with state.transaction() as connection:
                retrainings.update_if_unchanged(connection, retraining, run_id=run_id)
        retraining = replace(retraining, run_id=run_id)
        verdict = _newest_verdict_since(registry, retraining.author, attempt_runs[0])
    is_refused = verdict is not None and verdict.outcome != "passed"
    # The gate would refuse the same inputs again. A person can repeat a manual request.
    is_final = is_refused or retraining.cause == "by_hand"
    step = decide_step(
        attempt_runs,
        now=now,
        attempt=retraining.attempt,
        max_attempts=retraining.attempt if is_final else MAX_ATTEMPTS,
        retry_after_s=RETRY_AFTER_S,
        was_seen=retraining.run_id != "",
    )
    if step in ("wait", "launch"):
        return []
    if step == "retry":
        with state.transaction() as connection:
            next_attempt = {"attempt": retraining.attempt + 1, "offered_at": None, "run_id": ""}
            retrainings.update_if_unchanged(connection, retraining, **next_attempt)
        return []
    if step == "gone":  # the outcome is unknown
        _store_outcome(state, retraining, step, retraining.fingerprint, now)
        return [f"{retraining.author}: the record of run {retraining.run_id} is gone"]
    outcome = "refused" if is_refused and step != "canceled" else step
    version = _find_run_version(registry, retraining, attempt_runs[0], verdict)
    fingerprint = services.inputs.read_for_version(version) if version is not None else None
    # Even without a version, the run has updated the dataset.
    fingerprint = fingerprint or services.inputs.read_current(retraining.author)
    _store_outcome(state, retraining, outcome, fingerprint, now, version)
    return [f"{retraining.author}: retraining {retraining.run_id[:8]} has ended: {outcome}"]


def add_launches(
    services: TickServices, causes: Collection[Cause], tick: TickResult, *, now: float
) -> TickResult:
    """Claim the runs to start now, add them to the tick, and return the tick.

    A run that cannot start is not claimed, and the next call finds it again.

    Args:
        causes: the causes that the calling sensor handles; run keys are unique within a sensor.
    """
    with services.state.read_transaction() as connection:
        unfinished_retrainings = retrainings.unfinished_retrainings(connection)
    retraining_by_key: dict[str, Retraining] = {}
    for retraining in unfinished_retrainings:
        if retraining.cause not in causes or retraining.author in services.runs.in_flight_run_ids():
            continue  # the run in flight was started by hand or is not settled yet
        step = decide_step(
            _attempt_runs(services.runs, retraining), now=now, was_seen=retraining.run_id != ""
        )
        if step == "launch":
            retraining_by_key[retraining.launch.run_key] = retraining
    ready_launches, blocked_messages = services.select_startable(
        [retraining.launch for retraining in retraining_by_key.values()]
    )
    for launch in ready_launches:
        with services.state.transaction() as connection:
            if retrainings.claim_launch(connection, retraining_by_key[launch.run_key], now=now):
                tick.launches += (launch,)
    tick.notes += blocked_messages
    return tick


def _attempt_runs(runs: RunRecords, retraining: Retraining) -> list[Run]:
    """Return the runs of the current attempt, newest first."""
    attempt = str(retraining.attempt)
    return [
        run
        for run in runs.runs_with_key(retraining.run_key)
        if run.tags.get(ATTEMPT_TAG, "1") == attempt
    ]


def _newest_verdict_since(registry: Registry, author: str, run: Run) -> Verdict | None:
    verdict = registry.latest_verdict(author)
    if verdict is None or _to_timestamp(verdict.created_at) < run.created:
        return None
    return verdict


def _find_run_version(
    registry: Registry, retraining: Retraining, run: Run, verdict: Verdict | None
) -> ModelVersion | None:
    """Return the version that the run created or judged, or None."""
    versions = [
        version
        for version in registry.versions(retraining.author)
        if _to_timestamp(version.created_at) >= run.created and not version.is_answer_model
    ]
    if versions or verdict is None:
        return versions[-1] if versions else None
    return registry.find_by_checkpoint(verdict.checkpoint, author=retraining.author)


def _store_outcome(
    state: State,
    retraining: Retraining,
    outcome: Outcome,
    fingerprint: TrainingFingerprint,
    now: float,
    version: ModelVersion | None = None,
) -> None:
    made = 0 if version is None else version.version
    inputs = {"dataset": fingerprint.dataset, "recipe": fingerprint.recipe}
    with state.transaction() as connection:
        is_stored = retrainings.update_if_unchanged(
            connection, retraining, outcome=outcome, ended_at=now, made=made, **inputs
        )
        if is_stored and outcome == "failed":
            notice = Notice(
                key=f"failed:{retraining.run_key}",
                event="failed",
                author=retraining.author,
                title=f"The retraining of {retraining.author} failed",
                text=f"{_describe_request(retraining)}Attempt {retraining.attempt} failed in run "
                f"{retraining.run_id}, and there will be no further attempt. Read the run's log.",
            )
            announce(connection, notice, at=now)


def _describe_request(retraining: Retraining) -> str:
    """Describe who requested the retraining and why, or return an empty string."""
    reason = retraining.tags.get("twin/reason", "")
    requester = retraining.tags.get("twin/asked_by", "")
    return f"Requested by {requester}: {reason}. " if requester and reason else ""


def _to_timestamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def training_usage(services: TickServices, author: str, *, now: float) -> TrainingUsage:
    """Return an author's usage, including the run that is in flight or about to start."""
    with services.state.read_transaction() as connection:
        unfinished_retrainings = retrainings.unfinished_retrainings(connection)
        count, ended_at = retrainings.count_unreleased_trainings(connection, author)
    run_id = services.runs.in_flight_run_ids().get(author, "")
    for retraining in unfinished_retrainings:
        if retraining.author == author:  # at most one
            run_id = run_id or retraining.run_id or retraining.launch.run_key
    past_runs = services.runs.runs_of_author(author, since=now - LOOK_BACK_DAYS * DAY_S)
    recent_runs = [run for run in past_runs if run.created >= now - BUDGET_DAYS * DAY_S]
    durations = [(run.ended or now) - run.started for run in recent_runs if run.started is not None]
    return TrainingUsage(
        in_flight_run_id=run_id,
        last_started=max((run.created for run in past_runs), default=None),
        runs=len(recent_runs),
        hours=sum(max(0.0, seconds) for seconds in durations) / 3600,
        unreleased_trainings=count,
        last_unreleased_at=ended_at,
    )
