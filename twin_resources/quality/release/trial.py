"""A candidate's trial, kept between ticks: each pair is bet on once, each verdict stands.

Scope: beginning a trial, folding pairs into it with their finding in one transaction.
Out of scope: the test (`statistics/promotion.py`), where pairs come from (`canary_days.py`,
`replays.py`), moving the version (`releasing.py`).
Source of the method: architecture.md; `statistics/promotion.py` has the derivation.

Everything follows from the pairs in their order: a process that dies between the fold and the move
leaves a finding that the next reconciliation applies; a replayed pair changes nothing.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from twin_resources.errors import TwinError
from twin_resources.quality.release import release_mode, trial_rows
from twin_resources.quality.release.trial_rows import (
    CandidateOnTrial,
    ComparedVersions,
    StoredTrial,
)
from twin_resources.registry.moves import Evidence, ModelVersion
from twin_resources.registry.registry import Registry
from twin_resources.statistics import promotion
from twin_resources.statistics.baseline import MARGIN
from twin_resources.statistics.promotion import ALPHA, PairedDifference
from twin_resources.storage.state.state import State


@dataclass(frozen=True)
class TrialTerms:
    """What a trial decides on, fixed before its first pair.

    Attributes:
        claims: each must be won; `vetoes` may only roll back.
        judges: who scores, as `name@revision` in order; another judge is another trial.
        margin, alpha: ε and α; the demo uses ε = .2, and prints that. 0: to be better
            (`margin_against`).
        forced: whether the incumbent passed no gate (`promotion.py` says what that changes).
    """

    claims: tuple[str, ...]
    vetoes: tuple[str, ...] = ()
    judges: str = ""
    margin: float = MARGIN
    alpha: float = ALPHA
    forced: bool = False


@dataclass(frozen=True)
class TrialState:
    """What is known at a fold besides the pairs.

    Attributes:
        exhausted: prompts are used up, or 14 days of canary are over.
        readers: distinct readers of a canary; None: thumbs do not decide here.
        certified: whether every judge still has its certificate.
    """

    exhausted: bool
    readers: int | None = None
    certified: bool = True


def margin_against(incumbent: ModelVersion, margin: float) -> float:
    """ε of a trial: against an answer model 0, since a tuned version replaces it by being better.

    Args:
        margin: that of all other trials (`Settings.margin`), and of the judges' certificates.
    """
    return 0.0 if incumbent.is_answer_model else margin


def passed_no_gate(registry: Registry, incumbent: ModelVersion) -> bool:
    """Whether a person released it past every gate: nothing says that it is good in each claim.

    One that was forced out of a parked trial had passed; an answer model was named, and is beaten.
    """
    named = incumbent.is_answer_model
    return incumbent.forced and not named and not registry.ever_passed(incumbent.checkpoint)


def on_trial(state: State, author: str) -> CandidateOnTrial | None:
    """The version that is tried out now, with its incumbent; None: none is."""
    with state.reading() as connection:
        return trial_rows.on_trial(connection, author)


def compared(state: State, author: str) -> ComparedVersions | None:
    """Whom `shadow_pairs` compares: the shadow on trial or the newest candidate; None: nobody."""
    with state.reading() as connection:
        return trial_rows.compared(connection, author)


def current(state: State, author: str) -> StoredTrial | None:
    """The trial of the version on trial against the version stable now; None: not begun."""
    with state.reading() as connection:
        on = trial_rows.on_trial(connection, author)
        return None if on is None else trial_rows.newest(connection, on)


def of_version(state: State, author: str, version: int) -> StoredTrial | None:
    """The newest trial of a version, also after its end."""
    with state.reading() as connection:
        return trial_rows.of_version(connection, author, version)


def begin(
    state: State, on: CandidateOnTrial, terms: TrialTerms, *, now: float, after_sequence: int = 0
) -> StoredTrial:
    """The trial on these terms, begun if it was not.

    Args:
        on: from `on_trial`.
        now: seconds since the epoch.
        after_sequence: the ledger's last number of this author; a canary's values come after it.

    Raises:
        ImpossibleValue: see `promotion.begin`.
    """
    key = trial_rows.key_of(on, judges=terms.judges, margin=terms.margin, claims=terms.claims)
    evidence = promotion.begin(
        claims=terms.claims,
        vetoes=terms.vetoes,
        forced=terms.forced,
        margin=terms.margin,
        alpha=terms.alpha,
    )
    first = StoredTrial(
        number=0,
        on=on,
        judges=terms.judges,
        began_at=now,
        after_sequence=after_sequence,
        evidence=evidence,
        finding=Evidence("undecided", f"{on.mode}: no pair yet", incumbent=on.incumbent),
    )
    with state.transaction() as connection:
        known = trial_rows.of_key(connection, key)
        if known is None:
            trial_rows.insert(connection, key, first)
            known = _existing(connection, key)
        return known


def fold(
    state: State,
    trial: StoredTrial,
    pairs: Sequence[PairedDifference],
    standing: TrialState,
    *,
    now: float,
) -> StoredTrial:
    """The trial after more pairs, stored with its finding in one transaction.

    Pairs up to the last one used, and all pairs after the verdict, change nothing; a finding that
    is not `undecided` stands.

    Args:
        trial: as it was read; what is stored by now counts.
        pairs: in order, with a difference for each claim and veto.
        now: seconds since the epoch, kept as the time of the newest pair if one is new.

    Raises:
        ImpossibleValue: a difference is missing or outside [−1, 1].
        TwinError: the trial is not stored.
    """
    key = trial_rows.key_of(
        trial.on,
        judges=trial.judges,
        margin=trial.evidence.margin,
        claims=trial.evidence.claims,
    )
    with state.transaction() as connection:
        stored = _existing(connection, key)
        if stored.finding.finding != "undecided":
            return stored
        evidence = stored.evidence
        for pair in pairs:
            evidence = promotion.fold(evidence, pair)
        finding_now = release_mode.finding(
            evidence,
            mode=stored.on.mode,
            exhausted=standing.exhausted,
            readers=standing.readers,
            certified=standing.certified,
        )
        finding = replace(finding_now, incumbent=stored.on.incumbent)
        newer = evidence.pairs > stored.evidence.pairs
        done = replace(
            stored,
            evidence=evidence,
            finding=finding,
            paired_at=now if newer else stored.paired_at,
        )
        trial_rows.update(connection, done)
        return done


def _existing(connection: sa.Connection, key: str) -> StoredTrial:
    row = trial_rows.of_key(connection, key)
    if row is None:
        raise TwinError(
            "fold pairs into a trial",
            found="no such trial in the state store",
            next_step="begin it first; `released_model` does",
        )
    return row
