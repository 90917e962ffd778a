"""Run a release round: choose the mode, apply moves, advance the trial and apply moves again.

Repeating a round immediately moves nothing.

Scope: the order of these steps, for the asset `released_model` and the sensor `canary_verdict`.
Out of scope: the steps themselves (`release/release_mode.py`, `registry.reconcile`, `trial.py`).
Method: deploy/docs/architecture.md.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from twin_resources.errors import TwinError
from twin_resources.quality.release import release_mode, trial
from twin_resources.quality.release.release_mode import (
    GATE_REQUIREMENT,
    MIN_PROMPTS,
    ModeChoice,
)
from twin_resources.quality.release.replays import Replays, read_replays
from twin_resources.quality.release.trial_feasibility import measure_feasibility
from twin_resources.quality.release.trial_rows import CandidateOnTrial, StoredTrial
from twin_resources.registry.moves import ModelVersion, Move, ReleaseMode, TrialResult
from twin_resources.registry.registry import Registry, reconcile
from twin_resources.statistics.promotion import (
    DEFAULT_SPREAD,
    NON_INFERIORITY_MARGIN,
    expected_pairs,
)
from twin_resources.storage.state.state import State

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

AUTO = "auto"
MODES = (AUTO, "gate", "shadow")
MAX_IDLE_DAYS = 14.0  # a shadow without a new pair for this long is parked
_DAY_S = 86_400.0


@dataclass(frozen=True)
class ReleaseRound:
    """The result of a release round.

    Attributes:
        choice: the release mode with its reason.
        moves: the moves of this round, in order.
        trial: the trial of the version that is on trial or was on trial until this round, or None.
    """

    choice: ModeChoice
    moves: tuple[Move, ...]
    trial: StoredTrial | None


@dataclass(frozen=True, kw_only=True)
class ReleaseRequest:
    """The inputs of a release round for one author.

    Attributes:
        gate_version: the current version of the gate.
        actor: the caller, for the history.
        now: seconds since the epoch.
        requested_mode: `Author.release_mode`.
        replay_metadata: the metadata of the newest `shadow_pairs`, which names a trial whose
            prompts are used up.
        margin: ε of the trial.
        min_prompts: the number of prompts that a shadow trial needs.
        withheld_reason: see `registry.reconcile`.
    """

    author: str
    gate_version: str
    actor: str
    now: float
    requested_mode: str = AUTO
    replay_metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    margin: float = NON_INFERIORITY_MARGIN
    min_prompts: int = MIN_PROMPTS
    withheld_reason: str = ""

    def read_replays(self, registry: Registry, tables: Tables) -> Replays | None:
        """Return the stored shadow pairs."""
        used_up = self.replay_metadata.get("prompts_used_up")
        return read_replays(
            tables,
            registry,
            self.author,
            used_up_trial=str(self.replay_metadata.get("trial", "")) if used_up else "",
            margin=self.margin,
        )


def resolve_mode(requested_mode: str, feasibility: release_mode.TrialFeasibility) -> ModeChoice:
    """Return the mode in the author's settings, or choose one from the measurements.

    Args:
        requested_mode: `Author.release_mode`; `auto` chooses a mode.

    Raises:
        TwinError: `requested_mode` is not a mode.
    """
    if requested_mode == AUTO:
        return release_mode.choose_mode(feasibility)
    if requested_mode not in MODES:
        raise TwinError(
            "choose a release mode",
            found=f"the unknown mode {requested_mode!r} in the author's settings",
            next_step=f"set release_mode to one of {', '.join(MODES)}",
        )
    pairs = expected_pairs(DEFAULT_SPREAD, margin=feasibility.margin)
    reason = f"{requested_mode}: set in the author's file"
    mode = cast("ReleaseMode", requested_mode)
    if mode == "gate":
        reason += f"; {GATE_REQUIREMENT}"
    return ModeChoice(mode, reason, 0.0 if mode == "gate" else pairs)


def choose_mode_against_answer_model(
    feasibility: release_mode.TrialFeasibility, stable: ModelVersion
) -> ModeChoice:
    """Choose a trial while an answer model is stable, because only a better version replaces it."""
    pairs = expected_pairs(DEFAULT_SPREAD, margin=0.0)
    reason = (
        f"shadow: v{stable.version} answers at the author's request ({stable.base}), and only a "
        f"version that wins a trial replaces it; if it is better by {NON_INFERIORITY_MARGIN:g}, "
        f"that takes about {pairs:.0f} pairs"
    )
    if not feasibility.certified_claims:
        reason += "; no judge is certified yet to decide the trial"
    return ModeChoice("shadow", reason, pairs)


def release(
    registry: Registry,
    request: ReleaseRequest,
    *,
    choice: ModeChoice,
    replays: Replays | None = None,
) -> ReleaseRound:
    """Reconcile the registry with the trials' findings, and continue the current trial.

    Args:
        replays: the content of `shadow_pairs`, or None if nothing was replayed.
    """

    def apply_findings(findings: Mapping[int, TrialResult]) -> list[Move]:
        return reconcile(
            registry,
            request.author,
            gate_version=request.gate_version,
            mode=choice.mode,
            actor=request.actor,
            evidence=findings,
            withheld_reason=request.withheld_reason,
        )

    state, author, now = registry.state, request.author, request.now
    previous_trial = trial.current_trial(state, author)
    moves = apply_findings(
        {} if previous_trial is None else {previous_trial.candidate.version: previous_trial.finding}
    )
    candidate = trial.candidate_on_trial(state, author)
    if candidate is None:
        return ReleaseRound(choice, tuple(moves), previous_trial)
    latest_trial = advance_trial(registry.state, candidate, now=now, replays=replays)
    finding = idle_trial_finding(registry, candidate, latest_trial, now=now)
    if finding is None and latest_trial is not None and latest_trial.finding.finding != "undecided":
        finding = latest_trial.finding
    if finding is not None:
        moves += apply_findings({candidate.version: finding})
    return ReleaseRound(choice, tuple(moves), latest_trial)


def measure_and_release(
    registry: Registry, tables: Tables, request: ReleaseRequest
) -> ReleaseRound:
    """Run a round with the stored shadow pairs, after choosing the mode from measurements.

    Raises:
        TwinError: the release mode is unknown, or a table cannot be read.
    """
    author, margin = request.author, request.margin
    feasibility = measure_feasibility(
        tables, author, margin=margin, min_prompts=request.min_prompts
    )
    choice = resolve_mode(request.requested_mode, feasibility)
    stable = registry.stable_version(author)
    if stable is not None and stable.is_answer_model:
        choice = choose_mode_against_answer_model(feasibility, stable)
    return release(registry, request, choice=choice, replays=request.read_replays(registry, tables))


def advance_trial_or_release(
    registry: Registry, tables: Tables, request: ReleaseRequest
) -> StoredTrial | None:
    """Add new pairs to the trial, and run a whole round only if they decide it.

    A round writes the policy of all authors, which would take 20 CPU seconds per tick with 200
    authors on trial. Return None if no version is on trial, or if the trial has not started.

    Raises:
        TwinError: as for `measure_and_release`.
    """
    candidate = trial.candidate_on_trial(registry.state, request.author)
    if candidate is None:
        return None
    replays = request.read_replays(registry, tables)
    stored_trial = advance_trial(registry.state, candidate, now=request.now, replays=replays)
    is_undecided = stored_trial is None or stored_trial.finding.finding == "undecided"
    if is_undecided and not idle_trial_finding(registry, candidate, stored_trial, now=request.now):
        return stored_trial
    return measure_and_release(registry, tables, request).trial


def advance_trial(
    state: State, candidate: CandidateOnTrial, *, now: float, replays: Replays | None
) -> StoredTrial | None:
    """Start the trial if needed, and add new pairs to it.

    Without replays or a certified judge, return the stored trial, or None if there is none.
    """
    if replays is None or not replays.belongs_to(candidate) or not replays.terms.claims:
        return trial.current_trial(state, candidate.author)
    stored_trial = trial.get_or_start_trial(state, candidate, replays.terms, now=now)
    return trial.add_pairs(
        state,
        stored_trial,
        replays.pairs,
        now=now,
        is_exhausted=replays.is_exhausted,
        is_certified=replays.is_certified,
    )


def idle_trial_finding(
    registry: Registry, candidate: CandidateOnTrial, stored_trial: StoredTrial | None, *, now: float
) -> TrialResult | None:
    """Return the finding that parks a shadow without a new pair in 14 days, or None.

    There are no new pairs if no judge is certified, no prompt is recorded or nothing is replayed.

    Args:
        stored_trial: the version's trial, or None if it has not started.
    """
    if stored_trial is not None and stored_trial.finding.finding != "undecided":
        return None
    entry_move = next(
        move for move in registry.moves(candidate.author) if move.number == candidate.entered
    )
    last_activity = datetime.fromisoformat(entry_move.moved_at).timestamp()
    if stored_trial is not None:
        last_activity = max(last_activity, stored_trial.began_at, stored_trial.paired_at or 0.0)
    if now - last_activity < MAX_IDLE_DAYS * _DAY_S:
        return None
    pair_count = 0 if stored_trial is None else stored_trial.evidence.pairs
    reason = (
        f"shadow: parked, because no new pair was made in {MAX_IDLE_DAYS:.0f} days "
        f"({pair_count} in total); run `twin release` to try again, or wait for the next candidate"
    )
    return TrialResult("exhausted", reason, incumbent=candidate.incumbent)
