"""One round of release: mode, moves, trial, moves again; a second one at once moves nothing.

Scope: the order of these steps, for the asset `released_model` and the sensor
`canary_verdict` alike.
Out of scope: each step (`release/release_mode.py`, `registry.reconcile`, `trial.py`).
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
    """What one round of release found and did.

    Attributes:
        choice: release mode with its reason.
        moves: made now, in order.
        trial: of the version that is, or was until this round, on trial; None: there is none.
    """

    choice: Choice
    moves: tuple[Move, ...]
    trial: StoredTrial | None


def chosen_mode(wanted: str, known: release_mode.TrialFeasibility) -> Choice:
    """The author's own mode, or the one that fits what was measured.

    Args:
        wanted: `Author.release_mode`; `auto`: choose.

    Raises:
        TwinError: no such mode.
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
    """The choice while an answer model is stable: a trial that must be won, as a shadow unless
    readers can decide it.

    Args:
        choice: what it would be otherwise.
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
    """Reconcile the registry with what trials have found, and take the trial on.

    Args:
        gate_version: the gate's version now.
        actor: who asks; kept in the history.
        now: seconds since the epoch.
        replays: what `shadow_pairs` holds; None: nothing was replayed.
        margin: ε of a canary; that of a shadow is in its pairs' terms.
        withheld: see `registry.reconcile`.
    """
    state = registry.state
    before = trial.current(state, author)
    findings = {} if before is None else {before.on.version: before.finding}
    moves = _reconcile(registry, author, findings, choice, gate_version, actor, withheld)
    on = trial.on_trial(state, author)
    if on is None:
        return ReleaseRound(choice, tuple(moves), before)
    now_known = take_on(registry, on, now=now, replays=replays, margin=margin)
    finding = forsaken(registry, on, now_known, now=now)
    if finding is None and now_known is not None and now_known.finding.finding != "undecided":
        finding = now_known.finding
    if finding is not None:
        findings = {on.version: finding}
        moves += _reconcile(registry, author, findings, choice, gate_version, actor, withheld)
    return ReleaseRound(choice, tuple(moves), now_known)


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
    """A round whose mode follows from what is measured, with the shadow pairs that there are.

    Args:
        wanted: `Author.release_mode`.
        replayed: metadata of the newest `shadow_pairs`: which trial has used its prompts up.
        margin, fewest_prompts: ε and the prompts that a shadow trial needs.
        withheld: see `registry.reconcile`.

    Raises:
        TwinError: no such release mode, or a table that cannot be read.
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
    """Fold what is new; a whole round follows only when that decides something.

    A round writes the policy of all authors: 200 of them on trial would cost 20 CPU seconds a tick.
    Arguments as in `release_measured`; None: as in `take_on`, or nothing is on trial.
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
    """Begin the trial if need be and fold what is new.

    None: a shadow of which nothing was replayed yet, or that no certified judge can decide.
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
    """That a shadow is to be parked: for 14 days nothing was replayed, since no judge is certified,
    no prompt is recorded or nobody makes pairs. None: it may still decide.

    Args:
        known: its trial; None: not begun.
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
