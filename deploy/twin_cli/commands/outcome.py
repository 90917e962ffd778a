"""Determine how a training ended (tuned, refused by the gate or failed), and wait for it.

Scope: combining run, verdict and versions into one outcome with an exit code.
Out of scope: the gate (`twin_assets/evaluation`) and the registry's moves.
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import TYPE_CHECKING

from twin_cli.commands.author_progress import AuthorProgress, read_progress
from twin_cli.commands.clock import StageClock
from twin_cli.commands.runs import FollowedRun, follow, run_in_flight
from twin_resources.authors import read_author
from twin_resources.authors.consent import consented_on, what_is_missing
from twin_resources.dagster_runs import Run
from twin_resources.errors import TwinError
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.process_identity import find
from twin_resources.processes.programs import server_is_ready
from twin_resources.processes.stack import Stack
from twin_resources.processes.wording import counted
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_resources.registry.registry import ModelVersion, Registry, Verdict

RETRAIN = "retrain_twin"
WAITS = "waits for the author's consent"
RELEASED = "routing_policy"  # the released version answers after this asset of the job


class StackOutcome(IntEnum):
    """The outcome of a training; the value is the exit code of `twin status --wait`."""

    TUNED = 0
    REFUSED = 3
    FAILED = 4


@dataclass(frozen=True)
class Ending:
    """An outcome and its reasons.

    Attributes:
        verdict: the gate's verdict with its claims, or None if the gate was never reached.
        version: the released version if tuned, or None while it is on trial against an answer
            model.
        reasons: one sentence each, most important first.
        answer_model: the model that answers until a tuned version beats it, or None if none was
            named.
    """

    outcome: StackOutcome
    verdict: Verdict | None = None
    version: ModelVersion | None = None
    reasons: tuple[str, ...] = ()
    answer_model: ModelVersion | None = None

    @property
    def who_answers(self) -> str:
        """The answering party in words, while no tuned version answers."""
        if self.answer_model is None:
            return "quotations from the posts"
        return f"the answer model (v{self.answer_model.version}, {self.answer_model.base})"


def open_registry(settings: Settings) -> Registry:
    """Return this home's registry; its moves rewrite the policy that the gateway reads.

    Raises:
        EmptyStateStore: the named store has no data of this home.
    """
    from twin_resources.registry.home_state import check_state_of_home
    from twin_resources.registry.registry import Registry
    from twin_resources.storage.state.state import State

    state = State.open(settings.state_address)
    check_state_of_home(settings, state)
    return Registry(state, policy_path=settings.policy_path)


def decide(
    status: str,
    *,
    verdict: Verdict | None,
    verdict_is_fresh: bool,
    version: ModelVersion | None,
    refused: Sequence[str] = (),
    failures: Sequence[str] = (),
    withheld: str = "",
) -> Ending:
    """Return the outcome of a finished training run.

    Args:
        status: the run's status, in Dagster's word.
        verdict: the author's latest verdict.
        verdict_is_fresh: whether the verdict was given during this run.
        version: the author's stable version.
        refused: the asset checks that failed in this run.
        failures: the first causes of failed steps.
        withheld: why the passed version is not released (`withheld_for`), or empty if it may be.
    """
    passed = verdict is not None and verdict.outcome == "passed"
    if status == "SUCCESS" and passed and withheld:
        return Ending(StackOutcome.REFUSED, verdict, None, (withheld,))
    if status == "SUCCESS" and passed and version is not None:
        return Ending(StackOutcome.TUNED, verdict, version)
    judged = verdict is not None and not passed and (verdict_is_fresh or status == "SUCCESS")
    if judged or (refused and not passed):
        return Ending(StackOutcome.REFUSED, verdict, None, tuple(refusal_reasons(verdict, refused)))
    if status == "CANCELED":
        return Ending(StackOutcome.FAILED, reasons=("the run was canceled",))
    reasons = tuple(failures) or (f"the run ended as {status}",)
    return Ending(StackOutcome.FAILED, reasons=reasons)


def withheld_for(
    settings: Settings, registry: Registry, author: str, verdict: Verdict | None
) -> str:
    """Return why a passed version waits for the author's consent, or empty if it does not."""
    if verdict is None or verdict.outcome != "passed":
        return ""
    version = registry.by_checkpoint(verdict.checkpoint, author=author)
    if version is None or version.state != "candidate":
        return ""
    speaker = read_author(settings, author)
    if consented_on(speaker) is not None:
        return ""
    return f"v{version.version} has passed the gate and {WAITS}: {what_is_missing(speaker)}"


def refusal_reasons(verdict: Verdict | None, refused: Sequence[str] = ()) -> list[str]:
    """Return one sentence per claim that did not hold, with its number and threshold."""
    if verdict is None:
        return [f"the check {name} failed" for name in refused]
    lines: list[str] = []
    for claim in verdict.claims:
        if claim.passed or claim.blocks:  # an unreleased form is not a refusal
            continue
        word = "not decided" if claim.passed is None else "refused"
        numbers = (
            f" ({claim.value:.4g}, needed {claim.threshold:.4g})"
            if (claim.value is not None and claim.threshold is not None)
            else ""
        )
        lines.append(f"{claim.name}: {word}{numbers}. {claim.detail}".strip())
    return lines or [f"the verdict is {verdict.outcome}"]


def ending_of(settings: Settings, author: str, followed: FollowedRun) -> Ending:
    """Return the outcome of a run that has been followed to its end."""
    registry = open_registry(settings)
    verdict, stable = registry.latest_verdict(author), registry.stable(author)
    named = stable if stable is not None and stable.is_answer_model else None
    withheld = withheld_for(settings, registry, author, verdict)
    passed = verdict is not None and verdict.outcome == "passed"
    if named is not None and followed.succeeded and verdict and passed and not withheld:
        return against_answer_model(registry, verdict, named)
    ending = decide(
        "SUCCESS" if followed.succeeded else followed.run.status,
        verdict=verdict,
        verdict_is_fresh=verdict is not None and _judged_at(verdict) >= followed.run.created,
        version=None if named else stable,
        refused=followed.refused,
        failures=followed.failures,
        withheld=withheld,
    )
    return replace(ending, answer_model=named)


def against_answer_model(registry: Registry, verdict: Verdict, named: ModelVersion) -> Ending:
    """Return the outcome of a version that passed the gate and must beat an answer model.

    A version on trial counts as tuned and answers once it has won. A parked or rolled back version
    has not beaten the answer model.
    """
    version = registry.by_checkpoint(verdict.checkpoint, author=verdict.author)
    if version is None:
        return Ending(StackOutcome.FAILED, verdict, answer_model=named)
    waits = version.state in {"candidate", "shadow", "canary"}
    last = [move for move in registry.moves(verdict.author) if move.version == version.version]
    why = f": {last[-1].reason}" if last else ""
    reason = (
        f"v{version.version} has passed the gate and is on trial against v{named.version}{why}"
        if waits
        else f"v{version.version} has passed the gate and not beaten v{named.version}{why}"
    )
    outcome = StackOutcome.TUNED if waits else StackOutcome.REFUSED
    return Ending(outcome, verdict, reasons=(reason,), answer_model=named)


def standing_ending(settings: Settings, author: str) -> Ending | None:
    """Return the outcome that the registry already holds, or None if nothing was ever judged."""
    registry = open_registry(settings)
    verdict, version = registry.latest_verdict(author), registry.stable(author)
    named = version if version is not None and version.is_answer_model else None
    if version is not None and named is None:
        return Ending(StackOutcome.TUNED, verdict, version)
    if verdict is None:
        return None
    withheld = withheld_for(settings, registry, author, verdict)
    if named is not None and verdict.outcome == "passed" and not withheld:
        return against_answer_model(registry, verdict, named)
    ending = decide(
        "SUCCESS", verdict=verdict, verdict_is_fresh=True, version=None, withheld=withheld
    )
    return replace(ending, answer_model=named)


def wait_for_ending(
    stack: Stack, author: str, *, clock: StageClock, timeout_s: float | None = None
) -> Ending:
    """Wait until the author's training has ended or can no longer come.

    Raises:
        TwinError: nothing is being or was trained, or `timeout_s` seconds passed.
    """
    settings = stack.settings
    dagster = DagsterHTTP.of_home(settings)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        progress = read_progress(settings, author)
        run = run_in_flight(dagster, RETRAIN, author) or _last_run(dagster, author, progress)
        if run is not None:
            followed = follow(
                dagster, run.run_id, clock=clock, title="train", stack=stack, until=RELEASED
            )
            return ending_of(settings, author, followed)
        standing = standing_ending(settings, author)
        if standing is not None:
            return standing
        if progress.training in {"too_small", "not_wanted"}:
            return untrained_ending(progress)
        if progress.up is None or find(progress.up) is None:
            raise TwinError(
                f"wait for the training of {author}",
                found="no training was started, and no `twin up` is about to",
                next_step="run `twin up`, or launch the job retrain_twin in the Dagster UI",
            )
        if deadline is not None and time.monotonic() > deadline:
            raise TwinError(
                f"wait for the training of {author}",
                found=f"none began within {timeout_s:.0f} s",
                next_step="see `twin status`",
            )
        time.sleep(1.0)


NOT_WANTED = "no training was wanted (--no-train)"


def untrained_ending(progress: AuthorProgress) -> Ending:
    """Return why base model + retrieval answer for an author without any training."""
    if progress.training == "not_wanted":
        return Ending(StackOutcome.REFUSED, reasons=(NOT_WANTED,))
    posts, words = counted(progress.kept, "usable post"), counted(progress.words, "word")
    reason = f"the corpus is too small: {posts}, {words}"
    return Ending(StackOutcome.REFUSED, reasons=(reason,))


def wait_until_served(
    settings: Settings, version: ModelVersion, *, timeout_s: float = 120.0
) -> bool:
    """Wait until a released version's model server is up; return False if it does not come up."""
    if settings.model_server_url:
        return True
    deadline = time.monotonic() + timeout_s
    while not server_is_ready(settings, f"{version.author}/v{version.version}"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def _last_run(dagster: DagsterHTTP, author: str, progress: AuthorProgress) -> Run | None:
    """Return the run that `twin up` last launched if it is the author's newest training."""
    newest = dagster.runs(job=RETRAIN, author=author, limit=1)
    if not newest or progress.training not in {"launched", "finished"}:
        return None
    return newest[0]


def _judged_at(verdict: Verdict) -> float:
    return datetime.fromisoformat(verdict.created_at).timestamp()
