"""Store a candidate's trial between ticks. Each pair is used once, and each verdict is final.

Scope: starting a trial, and adding pairs and the finding to it in one transaction.
Out of scope: the test (`statistics/promotion.py`), the source of pairs (`replays.py`),
moving the version (`releasing.py`).
Method: deploy/docs/architecture.md; the derivation is in `statistics/promotion.py`.

The state depends only on the ordered pairs. If a process dies after storing the finding and before
the move, the next reconciliation applies the stored finding. A replayed pair changes nothing.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from twin_resources.errors import TwinError
from twin_resources.quality.release import release_mode, trial_rows
from twin_resources.quality.release.trial_rows import (
    CandidateOnTrial,
    ComparedVersions,
    StoredTrial,
)
from twin_resources.registry.moves import ModelVersion, TrialResult
from twin_resources.registry.registry import Registry
from twin_resources.statistics import promotion
from twin_resources.statistics.promotion import NON_INFERIORITY_MARGIN, PairedDifference
from twin_resources.storage.state.state import State


@dataclass(frozen=True)
class TrialTerms:
    """The terms of a trial, fixed before its first pair.

    Attributes:
        claims: the claims that must all be won.
        vetoes: the claims that may only roll back.
        judges: the judges as `name@revision` in order; a different judge starts a new trial.
        margin: ε; 0 requires a better candidate (`margin_for_incumbent`).
        is_incumbent_ungated: whether the incumbent passed no gate (`promotion.py` describes the
            effect).
    """

    claims: tuple[str, ...]
    vetoes: tuple[str, ...] = ()
    judges: str = ""
    margin: float = NON_INFERIORITY_MARGIN
    is_incumbent_ungated: bool = False


def margin_for_incumbent(incumbent: ModelVersion, margin: float) -> float:
    """Return the ε of a trial: 0 against an answer model, which only a better version replaces.

    Args:
        margin: the ε of all other trials (`Settings.margin`) and of the judges' certificates.
    """
    return 0.0 if incumbent.is_answer_model else margin


def is_ungated(registry: Registry, incumbent: ModelVersion) -> bool:
    """Return whether a person released the incumbent although it never passed a gate.

    No gate has shown that such a version is good in each claim. A version that a person released
    from a parked trial has passed a gate. Answer models are excluded, because a candidate must be
    better than an answer model in any case.
    """
    return (
        incumbent.forced
        and not incumbent.is_answer_model
        and not registry.has_ever_passed(incumbent.checkpoint)
    )


def candidate_on_trial(state: State, author: str) -> CandidateOnTrial | None:
    """Return the version on trial with its incumbent, or None if there is none."""
    with state.read_transaction() as connection:
        return trial_rows.candidate_on_trial(connection, author)


def compared_versions(state: State, author: str) -> ComparedVersions | None:
    """Return the two versions that `shadow_pairs` compares; see `trial_rows.compared_versions`."""
    with state.read_transaction() as connection:
        return trial_rows.compared_versions(connection, author)


def current_trial(state: State, author: str) -> StoredTrial | None:
    """Return the trial of the version on trial, or None if it has not started."""
    with state.read_transaction() as connection:
        candidate = trial_rows.candidate_on_trial(connection, author)
        return None if candidate is None else trial_rows.newest_trial(connection, candidate)


def newest_trial_of_version(state: State, author: str, version: int) -> StoredTrial | None:
    """Return the newest trial of a version, even if it has ended, or None if it never had one."""
    with state.read_transaction() as connection:
        return trial_rows.newest_trial_of_version(connection, author, version)


def get_or_start_trial(
    state: State,
    candidate: CandidateOnTrial,
    terms: TrialTerms,
    *,
    now: float,
) -> StoredTrial:
    """Return the trial on these terms, starting it if necessary.

    Args:
        candidate: the result of `candidate_on_trial`.
        now: seconds since the epoch.

    Raises:
        OutOfRangeError: see `promotion.start_test`.
    """
    key = trial_rows.trial_key(
        candidate, judges=terms.judges, margin=terms.margin, claims=terms.claims
    )
    evidence = promotion.start_test(
        claims=terms.claims,
        vetoes=terms.vetoes,
        is_incumbent_ungated=terms.is_incumbent_ungated,
        margin=terms.margin,
    )
    new_trial = StoredTrial(
        number=0,
        candidate=candidate,
        judges=terms.judges,
        began_at=now,
        evidence=evidence,
        finding=TrialResult(
            "undecided", f"{candidate.mode}: no pair yet", incumbent=candidate.incumbent
        ),
    )
    with state.transaction() as connection:
        return trial_rows.trial_by_key(connection, key) or trial_rows.insert_trial(
            connection, key, new_trial
        )


def add_pairs(
    state: State,
    trial: StoredTrial,
    pairs: Sequence[PairedDifference],
    *,
    now: float,
    is_exhausted: bool,
    is_certified: bool = True,
) -> StoredTrial:
    """Add pairs to a trial, store it with its finding in one transaction, and return it.

    Pairs that were already used, and all pairs after the verdict, change nothing. A finding other
    than `undecided` is final.

    Args:
        trial: identifies the trial; its newest stored state is used.
        pairs: the pairs in order, with a difference for each claim and veto.
        now: seconds since the epoch, stored as the time of the newest pair if there is a new pair.
        is_exhausted, is_certified: see `release_mode.evaluate_evidence`.

    Raises:
        OutOfRangeError: a difference is missing or outside [−1, 1].
        TwinError: the trial is not stored.
    """
    with state.transaction() as connection:
        stored_trial = trial_rows.trial_by_number(connection, trial.number)
        if stored_trial is None:
            raise TwinError(
                "add pairs to a trial",
                found=f"no trial {trial.number} in the state store",
                next_step="materialize `released_model`, which starts the trial",
            )
        if stored_trial.finding.finding != "undecided":
            return stored_trial
        evidence = stored_trial.evidence
        for pair in pairs:
            evidence = promotion.add_pair(evidence, pair)
        result = release_mode.evaluate_evidence(
            evidence,
            mode=stored_trial.candidate.mode,
            is_exhausted=is_exhausted,
            is_certified=is_certified,
        )
        finding = replace(result, incumbent=stored_trial.candidate.incumbent)
        has_new_pairs = evidence.pairs > stored_trial.evidence.pairs
        updated_trial = replace(
            stored_trial,
            evidence=evidence,
            finding=finding,
            paired_at=now if has_new_pairs else stored_trial.paired_at,
        )
        trial_rows.update_trial(connection, updated_trial)
        return updated_trial
