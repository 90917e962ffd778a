"""Run one round of release: mode, moves, trial, moves again; an immediate repeat moves nothing.

Scope: the order of these steps, for the asset `released_model` and the sensor `canary_verdict`.
Out of scope: the steps themselves (`release/release_mode.py`, `registry.reconcile`, `trial.py`).
Source of the method: architecture.md.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from twin_resources.errors import TwinError
from twin_resources.quality.release import canary_days, release_mode, trial
from twin_resources.quality.release.measuring import measured
from twin_resources.quality.release.release_mode import (
    MAX_CANARY_DAYS,
    MIN_PROMPTS,
    MORE_IS_ASKED,
    Choice,
)
from twin_resources.quality.release.replays import Replays, read_replays
from twin_resources.quality.release.trial import TrialState, TrialTerms
from twin_resources.quality.release.trial_rows import CandidateOnTrial, StoredTrial
from twin_resources.registry.moves import Evidence, Mode, ModelVersion, Move
from twin_resources.registry.registry import Registry, reconcile
from twin_resources.statistics.baseline import MARGIN
from twin_resources.statistics.promotion import SPREAD, expected_pairs

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

AUTO = "auto"
MODES = (AUTO, "gate", "shadow", "canary")
MAX_IDLE_DAYS = 14.0  # a shadow without a new pair
_DAY_S = 86_400.0


@dataclass(frozen=True)
class ReleaseRound:
    """The result of one round of release.

    Attributes:
        choice: release mode with its reason.
        moves: moves of this round, in order.
        trial: trial of the version that is, or was until this round, on trial; None without one.
    """

    choice: Choice
    moves: tuple[Move, ...]
    trial: StoredTrial | None


def chosen_mode(wanted: str, known: release_mode.TrialFeasibility) -> Choice:
    """Return the mode in the author's settings, or choose one from the measurements.

    Args:
        wanted: `Author.release_mode`; `auto` means to choose.

    Raises:
        TwinError: `wanted` is not a mode.
    """
    if wanted == AUTO:
        return release_mode.choose(known)
    if wanted not in MODES:
        raise TwinError(
            "choose a release mode",
            found=f"{wanted!r} in the author's settings",
            next_step=f"write one of {', '.join(MODES)}",
        )
    pairs = expected_pairs(SPREAD, margin=known.margin, alpha=known.alpha)
    reason = f"{wanted}: the author's settings say so"
    mode = cast("Mode", wanted)
    if mode == "gate":
        reason += f"; {MORE_IS_ASKED}"
    return Choice(mode, reason, 0.0 if mode == "gate" else pairs, 0.0)


def with_answer_model(
    choice: Choice, known: release_mode.TrialFeasibility, stable: ModelVersion
) -> Choice:
    """Return the choice while an answer model is stable: a trial that the candidate must win.

    The trial is a shadow unless readers can decide it.

    Args:
        choice: the choice for any other stable version.
    """
    mode: Mode = "shadow" if choice.mode == "gate" else choice.mode
    pairs = expected_pairs(SPREAD, margin=0.0, alpha=known.alpha)
    reason = (
        f"{mode}: v{stable.version} answers by the author's word ({stable.base}), and only a won "
        f"trial replaces it; one that is better by {MARGIN:g} takes about {pairs:.0f} pairs"
    )
    if not known.certified and mode == "shadow":
        reason += "; no judge is certified to decide it yet"
    days = pairs / known.canary_values_per_day if known.canary_values_per_day > 0.0 else math.inf
    return Choice(mode, reason, pairs, days if mode == "canary" else 0.0)


def release(
    registry: Registry,
    author: str,
    *,
    choice: Choice,
    gate_version: str,
    actor: str,
    now: float,
    replays: Replays | None = None,
    margin: float = MARGIN,
    withheld: str = "",
) -> ReleaseRound:
    """Reconcile the registry with the findings of trials, and continue the current trial.

    Args:
        gate_version: the current version of the gate.
        actor: the caller, stored in the history.
        now: seconds since the epoch.
        replays: the content of `shadow_pairs`, or None if nothing was replayed.
        margin: ε of a canary; the terms of a shadow's pairs hold its own.
        withheld: see `registry.reconcile`.
    """
    state = registry.state
    before = trial.current(state, author)
    findings = {} if before is None else {before.on.version: before.finding}
    moves = _reconcile(registry, author, findings, choice, gate_version, actor, withheld)
    on = trial.on_trial(state, author)
    if on is None:
        return ReleaseRound(choice, tuple(moves), before)
    latest = take_on(registry, on, now=now, replays=replays, margin=margin)
    finding = forsaken(registry, on, latest, now=now)
    if finding is None and latest is not None and latest.finding.finding != "undecided":
        finding = latest.finding
    if finding is not None:
        findings = {on.version: finding}
        moves += _reconcile(registry, author, findings, choice, gate_version, actor, withheld)
    return ReleaseRound(choice, tuple(moves), latest)


def release_measured(
    registry: Registry,
    tables: Tables,
    author: str,
    *,
    wanted: str,
    gate_version: str,
    actor: str,
    now: float,
    replayed: Mapping[str, Any],
    margin: float = MARGIN,
    fewest_prompts: int = MIN_PROMPTS,
    withheld: str = "",
) -> ReleaseRound:
    """Run a round with a mode chosen from measurements and with the stored shadow pairs.

    Args:
        wanted: `Author.release_mode`.
        replayed: metadata of the newest `shadow_pairs`: the trial that has used up its prompts.
        margin, fewest_prompts: ε and the number of prompts that a shadow trial needs.
        withheld: see `registry.reconcile`.

    Raises:
        TwinError: the release mode is unknown, or a table cannot be read.
    """
    replays = read_replays(tables, registry, author, used_up=_used_up(replayed), margin=margin)
    evidence = measured(
        registry, tables, author, now=now, margin=margin, fewest_prompts=fewest_prompts
    )
    choice, stable = chosen_mode(wanted, evidence), registry.stable(author)
    if stable is not None and stable.is_answer_model:
        choice = with_answer_model(choice, evidence, stable)
    return release(
        registry,
        author,
        choice=choice,
        gate_version=gate_version,
        actor=actor,
        now=now,
        replays=replays,
        margin=margin,
        withheld=withheld,
    )


def take_on_measured(
    registry: Registry,
    tables: Tables,
    author: str,
    *,
    wanted: str,
    gate_version: str,
    actor: str,
    now: float,
    replayed: Mapping[str, Any],
    margin: float = MARGIN,
    fewest_prompts: int = MIN_PROMPTS,
    withheld: str = "",
) -> StoredTrial | None:
    """Fold new pairs, and run a whole round only if they decide the trial.

    A round writes the policy of all authors: 200 authors on trial would cost 20 CPU seconds a tick.
    The arguments are those of `release_measured`. Returns None as `take_on` does, or if no version
    is on trial.
    """
    on = trial.on_trial(registry.state, author)
    if on is None:
        return None
    replays = None
    if on.mode == "shadow":
        used_up = _used_up(replayed)
        replays = read_replays(tables, registry, author, used_up=used_up, margin=margin)
    known = take_on(registry, on, now=now, replays=replays, margin=margin)
    undecided = known is None or known.finding.finding == "undecided"
    if undecided and forsaken(registry, on, known, now=now) is None:
        return known
    done = release_measured(
        registry,
        tables,
        author,
        wanted=wanted,
        gate_version=gate_version,
        actor=actor,
        now=now,
        replayed=replayed,
        margin=margin,
        fewest_prompts=fewest_prompts,
        withheld=withheld,
    )
    return done.trial


def _used_up(replayed: Mapping[str, Any]) -> str:
    return str(replayed.get("trial", "")) if replayed.get("prompts_used_up") else ""


def take_on(
    registry: Registry, on: CandidateOnTrial, *, now: float, replays: Replays | None, margin: float
) -> StoredTrial | None:
    """Begin the trial if needed, and fold new pairs.

    Returns the stored trial, if any, for a shadow without replays or without a certified judge.
    """
    state = registry.state
    if on.mode == "shadow":
        if replays is None or not replays.about(on) or not replays.terms.claims:
            return trial.current(state, on.author)
        running = trial.begin(state, on, replays.terms, now=now)
        return trial.fold(state, running, replays.pairs, replays.standing(), now=now)
    after = canary_days.last_sequence(state, on.author)
    incumbent = registry.get(on.author, on.incumbent)
    terms = TrialTerms(
        (canary_days.CLAIM,),
        judges="readers",
        margin=trial.margin_against(incumbent, margin),
        forced=trial.passed_no_gate(registry, incumbent),
    )
    running = trial.begin(state, on, terms, now=now, after_sequence=after)
    days = canary_days.days_of(state, running)
    over = now - running.began_at >= MAX_CANARY_DAYS * _DAY_S
    standing = TrialState(exhausted=over, readers=days.readers)
    return trial.fold(state, running, days.pairs, standing, now=now)


def forsaken(
    registry: Registry, on: CandidateOnTrial, known: StoredTrial | None, *, now: float
) -> Evidence | None:
    """Return the finding that parks a shadow without a new pair in 14 days, or None.

    Pairs are missing if no judge is certified, no prompt is recorded or nothing is replayed.

    Args:
        known: the trial of the version, or None if it has not begun.
    """
    if on.mode != "shadow" or (known is not None and known.finding.finding != "undecided"):
        return None
    entered = next(move for move in registry.moves(on.author) if move.number == on.entered)
    last = datetime.fromisoformat(entered.moved_at).timestamp()
    if known is not None:
        last = max(last, known.began_at, known.paired_at or 0.0)
    if now - last < MAX_IDLE_DAYS * _DAY_S:
        return None
    pairs = 0 if known is None else known.evidence.pairs
    reason = (
        f"shadow: parked, no new pair in {MAX_IDLE_DAYS:.0f} days, {pairs} in all; it can be "
        "tried again (`twin release` by hand), and the next retraining makes another candidate"
    )
    return Evidence("exhausted", reason, incumbent=on.incumbent)


def _reconcile(
    registry: Registry,
    author: str,
    evidence: Mapping[int, Evidence],
    choice: Choice,
    gate_version: str,
    actor: str,
    withheld: str,
) -> list[Move]:
    return reconcile(
        registry,
        author,
        gate_version=gate_version,
        mode=choice.mode,
        actor=actor,
        evidence=evidence,
        withheld=withheld,
    )
