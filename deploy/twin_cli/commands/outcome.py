"""Determine how a training run ended (tuned, refused by the gate or failed), and wait for it.

Scope: combining run, verdict and versions into one outcome with an exit code.
Out of scope: the gate (`twin_assets/evaluation`), and the registry's moves.
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

from twin_cli.commands.author_progress import AuthorProgress, read_progress
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.runs import FollowedRun, find_run_in_flight, follow_run
from twin_resources.authors import Author, read_author
from twin_resources.authors.consent import find_consent_date, missing_consent_reason
from twin_resources.dagster_runs import Run
from twin_resources.errors import TwinError
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.process_identity import find_process
from twin_resources.processes.programs import ensure_alive, ensure_program_works
from twin_resources.processes.stack import Stack
from twin_resources.processes.wording import format_count
from twin_resources.quality.retraining import retrainings
from twin_resources.quality.retraining.run_records import ATTEMPT_TAG, KEY_TAG
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state

if TYPE_CHECKING:
    from twin_resources.registry.registry import ModelVersion, Registry, Verdict

RETRAIN = "retrain_twin"
CONSENT_WAIT = "is waiting for the author's consent"
RELEASE_ASSET = "routing_policy"  # once it is materialized, the released version answers
REQUEST_SENSOR = "retraining_requested"


class OutcomeCode(IntEnum):
    """The kinds of outcomes; each value is an exit code of `twin status --wait`."""

    TUNED = 0
    REFUSED = 3
    FAILED = 4


@dataclass(frozen=True)
class TrainingOutcome:
    """The outcome for an author, and its reasons.

    Attributes:
        verdict: the gate's verdict with its claims, or None if the gate was never reached.
        version: the released version if tuned, or None during a trial against an answer model.
        reasons: one sentence per reason, most important first.
        answer_model: the model that answers until a tuned version beats it, or None if none is
            configured.
    """

    code: OutcomeCode
    verdict: Verdict | None = None
    version: ModelVersion | None = None
    reasons: tuple[str, ...] = ()
    answer_model: ModelVersion | None = None

    @property
    def fallback_description(self) -> str:
        """The source of answers while no tuned version answers."""
        if self.answer_model is None:
            return "quotations from the posts"
        return f"the answer model (v{self.answer_model.version}, {self.answer_model.base})"


def open_registry(settings: Settings) -> Registry:
    """Return this home's registry; its moves rewrite the policy that the gateway reads.

    Raises:
        LostStateError: the configured store is not this home's.
    """
    from twin_resources.registry.registry import Registry

    return Registry(open_home_state(settings), policy_path=settings.policy_path)


def find_answer_model(registry: Registry, author: str) -> ModelVersion | None:
    """Return the author's stable version if it is an answer model, else None."""
    version = registry.stable_version(author)
    return version if version is not None and version.is_answer_model else None


def determine_outcome(
    status: str,
    *,
    verdict: Verdict | None,
    verdict_is_fresh: bool,
    version: ModelVersion | None,
    failed_checks: Sequence[str] = (),
    failures: Sequence[str] = (),
    consent_wait: str = "",
) -> TrainingOutcome:
    """Return the outcome of a finished training run.

    Args:
        status: the run's status in Dagster.
        verdict: the author's latest verdict.
        verdict_is_fresh: whether the verdict was made during this run.
        version: the author's stable version.
        failed_checks: asset checks that failed in this run.
        failures: first causes of failed steps.
        consent_wait: why the passed version is not released (`consent_wait_reason`), or empty if
            its release is permitted.
    """
    has_passed = verdict is not None and verdict.outcome == "passed"
    if status == "SUCCESS" and has_passed and consent_wait:
        return TrainingOutcome(OutcomeCode.REFUSED, verdict, None, (consent_wait,))
    if status == "SUCCESS" and has_passed and version is not None:
        return TrainingOutcome(OutcomeCode.TUNED, verdict, version)
    is_refused = (
        verdict is not None and not has_passed and (verdict_is_fresh or status == "SUCCESS")
    )
    if is_refused or (failed_checks and not has_passed):
        return TrainingOutcome(
            OutcomeCode.REFUSED, verdict, None, tuple(list_refusal_reasons(verdict, failed_checks))
        )
    if status == "CANCELED":
        return TrainingOutcome(OutcomeCode.FAILED, reasons=("the run was canceled",))
    reasons = tuple(failures) or (f"the run ended with the status {status}",)
    return TrainingOutcome(OutcomeCode.FAILED, reasons=reasons)


def consent_wait_reason(
    settings: Settings, registry: Registry, author: str, verdict: Verdict | None
) -> str:
    """Return why a passed version is waiting for the author's consent, or "" if it is not."""
    if verdict is None or verdict.outcome != "passed":
        return ""
    version = registry.find_by_checkpoint(verdict.checkpoint, author=author)
    if version is None or version.state != "candidate":
        return ""
    author_settings = read_author(settings, author)
    if find_consent_date(author_settings) is not None:
        return ""
    return (
        f"v{version.version} has passed the gate and {CONSENT_WAIT}: "
        f"{missing_consent_reason(author_settings)}"
    )


def list_refusal_reasons(verdict: Verdict | None, failed_checks: Sequence[str] = ()) -> list[str]:
    """Return one sentence per failed or undecided claim, or per failed check without a verdict."""
    if verdict is None:
        return [f"the check {name} failed" for name in failed_checks]
    lines: list[str] = []
    for claim in verdict.claims:
        if claim.passed or claim.blocks:  # an unreleased answer form is not a refusal
            continue
        status = "not decided" if claim.passed is None else "refused"
        figures_text = (
            f" ({claim.value:.4g}, required {claim.threshold:.4g})"
            if (claim.value is not None and claim.threshold is not None)
            else ""
        )
        lines.append(f"{claim.name}: {status}{figures_text}. {claim.detail}".strip())
    return lines or [f"the verdict is {verdict.outcome}"]


def determine_run_outcome(
    settings: Settings, author: str, run: FollowedRun | None
) -> TrainingOutcome:
    """Return the outcome of a run that was followed to its end.

    Args:
        run: None for an earlier run, of which only the author's latest verdict is known.
    """
    registry = open_registry(settings)
    verdict, answer_model = registry.latest_verdict(author), find_answer_model(registry, author)
    status = "SUCCESS" if run is None or run.succeeded else run.run.status
    consent_wait = consent_wait_reason(settings, registry, author, verdict)
    has_passed = verdict is not None and verdict.outcome == "passed"
    if answer_model and status == "SUCCESS" and verdict and has_passed and not consent_wait:
        return determine_trial_outcome(registry, verdict, answer_model)
    outcome = determine_outcome(
        status,
        verdict=verdict,
        verdict_is_fresh=run is None
        or (verdict is not None and _verdict_timestamp(verdict) >= run.run.created),
        version=None if answer_model else registry.stable_version(author),
        failed_checks=run.failed_checks if run else (),
        failures=run.failures if run else (),
        consent_wait=consent_wait,
    )
    return replace(outcome, answer_model=answer_model)


def determine_trial_outcome(
    registry: Registry, verdict: Verdict, answer_model: ModelVersion
) -> TrainingOutcome:
    """Return the outcome of a version that passed the gate and must beat an answer model.

    A version on trial counts as tuned; it answers once it has won. A parked or rolled-back version
    has not beaten the answer model.
    """
    version = registry.find_by_checkpoint(verdict.checkpoint, author=verdict.author)
    if version is None:
        return TrainingOutcome(OutcomeCode.FAILED, verdict, answer_model=answer_model)
    is_on_trial = version.state in {"candidate", "shadow", "canary"}
    version_moves = [
        move for move in registry.moves(verdict.author) if move.version == version.version
    ]
    reason_suffix = f": {version_moves[-1].reason}" if version_moves else ""
    reason = (
        f"v{version.version} has passed the gate and is on trial against "
        f"v{answer_model.version}{reason_suffix}"
        if is_on_trial
        else f"v{version.version} has passed the gate but has not beaten "
        f"v{answer_model.version}{reason_suffix}"
    )
    code = OutcomeCode.TUNED if is_on_trial else OutcomeCode.REFUSED
    return TrainingOutcome(code, verdict, reasons=(reason,), answer_model=answer_model)


def read_recorded_outcome(settings: Settings, author: str) -> TrainingOutcome | None:
    """Return the outcome recorded in the registry, or None if the gate has judged no version."""
    registry = open_registry(settings)
    verdict, version = registry.latest_verdict(author), registry.stable_version(author)
    if version is not None and not version.is_answer_model:
        return TrainingOutcome(OutcomeCode.TUNED, verdict, version)
    if verdict is None:
        return None
    return determine_run_outcome(settings, author, None)


def wait_for_outcome(
    stack: Stack, author: str, *, display: ProgressDisplay, timeout_s: float | None = None
) -> TrainingOutcome:
    """Wait until the author's training run has ended or can no longer start.

    A retraining that was asked for is the one that is waited for. It starts when the run in flight,
    such as the report on a released version, has ended.

    Raises:
        TwinError: no training run is active or recorded, nothing starts the one that was asked for,
            or `timeout_s` seconds have passed.
    """
    settings = stack.settings
    dagster = DagsterHTTP.for_home(settings)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        progress = read_progress(settings, author)
        run = find_run_in_flight(dagster, RETRAIN, author)
        waiting = find_waiting_retraining(settings, author, dagster)
        if waiting and run is not None:
            display.log(f"the retraining starts when run {run.run_id[:8]} has ended")
            follow_run(dagster, run.run_id, display=display, title="run before it", stack=stack)
            continue
        if waiting:
            if waiting == "requested":
                ensure_sensor_starts_retrainings(dagster, author)
            ensure_alive(stack)
            ensure_program_works(stack, "dagster-daemon")
        else:
            run = run or _last_launched_run(dagster, author, progress)
        if run is not None:
            followed_run = follow_run(
                dagster,
                run.run_id,
                display=display,
                title="train",
                stack=stack,
                until_asset=RELEASE_ASSET,
            )
            return determine_run_outcome(settings, author, followed_run)
        recorded_outcome = None if waiting else read_recorded_outcome(settings, author)
        if recorded_outcome is not None:
            return recorded_outcome
        if not waiting and progress.training in {"too_small", "not_wanted", "no_consent"}:
            return build_untrained_outcome(progress, read_author(settings, author))
        if not waiting and (progress.up is None or find_process(progress.up) is None):
            raise TwinError(
                f"wait for the training of {author}",
                found="no training run exists, and no `twin up` is about to start one",
                next_step="run `twin up`, or launch the job retrain_twin in the Dagster UI",
            )
        if deadline is not None and time.monotonic() > deadline:
            raise TwinError(
                f"wait for the training of {author}",
                found=f"no training run began within {timeout_s:.0f} s",
                next_step="see `twin status`",
            )
        time.sleep(1.0)


def find_waiting_retraining(
    settings: Settings, author: str, dagster: DagsterHTTP
) -> Literal["", "requested", "decided"]:
    """Return whether a retraining was asked for or decided on, and its run does not exist yet."""
    with closing(open_home_state(settings)) as state, state.read_transaction() as connection:
        if retrainings.open_requests(connection).get(author):
            return "requested"
        awaited_attempts = {
            (retraining.run_key, str(retraining.attempt))
            for retraining in retrainings.unfinished_retrainings(connection)
            if retraining.author == author
        }
    if not awaited_attempts:
        return ""
    runs = dagster.list_runs(job=RETRAIN, author=author)
    started_attempts = {(run.tags.get(KEY_TAG, ""), run.tags.get(ATTEMPT_TAG, "1")) for run in runs}
    return "" if awaited_attempts <= started_attempts else "decided"


def ensure_sensor_starts_retrainings(dagster: DagsterHTTP, author: str) -> None:
    """Check that the sensor that starts requested retrainings is on.

    Raises:
        TwinError: it is off; a request stays stored.
    """
    if not dagster.is_sensor_running(REQUEST_SENSOR):
        raise TwinError(
            f"start the retraining of {author}",
            found=f"the request is stored, but the sensor {REQUEST_SENSOR}, which starts it, is "
            "off",
            next_step=f"turn it on: {dagster.url}/automation",
        )


TRAINING_DISABLED_REASON = "training is off: --no-train was chosen, and the choice is kept"
NO_CONSENT_REASON = "nothing is trained without the author's consent"


def build_untrained_outcome(progress: AuthorProgress, author: Author) -> TrainingOutcome:
    """Return the outcome, with its reason, for an author for whom no training was started."""
    if progress.training == "not_wanted":
        return TrainingOutcome(OutcomeCode.REFUSED, reasons=(TRAINING_DISABLED_REASON,))
    if progress.training == "no_consent":
        reason = f"{NO_CONSENT_REASON}: {missing_consent_reason(author)}"
        return TrainingOutcome(OutcomeCode.REFUSED, reasons=(reason,))
    posts, words = format_count(progress.kept, "usable post"), format_count(progress.words, "word")
    reason = f"the corpus is too small: {posts}, {words}"
    return TrainingOutcome(OutcomeCode.REFUSED, reasons=(reason,))


def _last_launched_run(dagster: DagsterHTTP, author: str, progress: AuthorProgress) -> Run | None:
    """Return the author's newest training run if `twin up` has launched one, else None."""
    newest_runs = dagster.list_runs(job=RETRAIN, author=author, limit=1)
    if not newest_runs or progress.training not in {"launched", "finished"}:
        return None
    return newest_runs[0]


def _verdict_timestamp(verdict: Verdict) -> float:
    return datetime.fromisoformat(verdict.created_at).timestamp()
