"""Read and write trials as database rows inside an open transaction.

Scope: `StoredTrial` and its SQL.
Out of scope: starting and ending a trial (`trial.py`), the statistics (`statistics/`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from twin_resources.registry import rows as registry_rows
from twin_resources.registry.moves import Finding, ModelVersion, TrialResult
from twin_resources.statistics.promotion import PairEvidence
from twin_resources.storage.state.state_tables import trials

TrialMode = Literal["shadow"]


@dataclass(frozen=True)
class CandidateOnTrial:
    """A version on trial and its incumbent.

    Attributes:
        entered: the number of the move that started the trial; a version may enter a trial again.
        incumbent: the stable version.
    """

    author: str
    version: int
    mode: TrialMode
    entered: int
    incumbent: int


@dataclass(frozen=True)
class StoredTrial:
    """A stored trial. A different incumbent or judge starts a new trial.

    Attributes:
        number: the position in the order of all trials in the state store.
        judges: the judges as `name@revision` in order.
        began_at: seconds since the epoch.
        evidence: the evidence after the last pair.
        finding: the result that follows from the evidence; final once it is not `undecided`.
        paired_at: when a new pair was last added, in seconds since the epoch, or None.
    """

    number: int
    candidate: CandidateOnTrial
    judges: str
    began_at: float
    evidence: PairEvidence
    finding: TrialResult
    paired_at: float | None = None


@dataclass(frozen=True)
class ComparedVersions:
    """The two versions that shadow pairs compare."""

    candidate: ModelVersion
    incumbent: ModelVersion


def compared_versions(connection: sa.Connection, author: str) -> ComparedVersions | None:
    """Return the shadow or newest candidate, with the stable version; None if either is missing."""
    version_by_number = {
        version.version: version for version in registry_rows.list_versions(connection, author)
    }
    candidate = candidate_on_trial(connection, author)
    if candidate is not None:
        return ComparedVersions(
            version_by_number[candidate.version], version_by_number[candidate.incumbent]
        )
    stable = next(
        (version for version in version_by_number.values() if version.state == "stable"), None
    )
    candidates = [
        version
        for version in version_by_number.values()
        if version.state == "candidate" and not version.is_answer_model
    ]
    if stable is None or not candidates:
        return None
    return ComparedVersions(candidates[-1], stable)


def candidate_on_trial(connection: sa.Connection, author: str) -> CandidateOnTrial | None:
    """Return the version on trial, or None; there is at most one (`required_moves`)."""
    versions = registry_rows.list_versions(connection, author)
    stable = next((version for version in versions if version.state == "stable"), None)
    on_trial_versions = [version for version in versions if version.state == "shadow"]
    if stable is None or not on_trial_versions:
        return None
    version = on_trial_versions[-1]
    history = registry_rows.list_moves(connection, author)
    entry_move = [
        move
        for move in history
        if move.version == version.version and move.to_state == version.state
    ][-1]
    return CandidateOnTrial(author, version.version, "shadow", entry_move.number, stable.version)


def trial_key(
    candidate: CandidateOnTrial, *, judges: str, margin: float, claims: Sequence[str]
) -> str:
    """Return the key with which a repeated `get_or_start_trial` finds the stored trial."""
    return json.dumps([*vars(candidate).values(), judges, margin, list(claims)])


def newest_trial(connection: sa.Connection, candidate: CandidateOnTrial) -> StoredTrial | None:
    """Return the newest trial of this candidate against this incumbent, or None."""
    return _find_newest(
        connection,
        trials.c.author == candidate.author,
        trials.c.version == candidate.version,
        trials.c.entered == candidate.entered,
        trials.c.incumbent == candidate.incumbent,
    )


def trial_by_key(connection: sa.Connection, key: str) -> StoredTrial | None:
    """Return the trial with this key, or None."""
    return _find_newest(connection, trials.c.key == key)


def trial_by_number(connection: sa.Connection, number: int) -> StoredTrial | None:
    """Return the trial with this number, or None."""
    return _find_newest(connection, trials.c.number == number)


def newest_trial_of_version(
    connection: sa.Connection, author: str, version: int
) -> StoredTrial | None:
    """Return the newest trial of a version, even if it has ended, or None if it never had one."""
    return _find_newest(connection, trials.c.author == author, trials.c.version == version)


def _find_newest(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool]
) -> StoredTrial | None:
    query = sa.select(trials).where(*conditions).order_by(trials.c.number.desc())
    row = connection.execute(query).first()
    return None if row is None else _trial_from_row(row)


def insert_trial(connection: sa.Connection, key: str, trial: StoredTrial) -> StoredTrial:
    """Store a new trial, and return it with the number that the database assigns."""
    statement = sa.insert(trials).values(
        key=key,
        **vars(trial.candidate),
        judges=trial.judges,
        began_at=trial.began_at,
        **_state_columns(trial),
    )
    return _trial_from_row(connection.execute(statement.returning(trials)).one())


def update_trial(connection: sa.Connection, trial: StoredTrial) -> None:
    """Store the evidence and finding of a trial."""
    statement = sa.update(trials).where(trials.c.number == trial.number)
    connection.execute(statement.values(**_state_columns(trial)))


def _state_columns(trial: StoredTrial) -> dict[str, Any]:
    return {
        "evidence": trial.evidence.to_json(),
        "finding": trial.finding.finding,
        "reason": trial.finding.reason,
        "paired_at": trial.paired_at,
    }


def _trial_from_row(row: sa.Row[Any]) -> StoredTrial:
    candidate = CandidateOnTrial(row.author, row.version, row.mode, row.entered, row.incumbent)
    finding: Finding = row.finding
    return StoredTrial(
        number=row.number,
        candidate=candidate,
        judges=row.judges,
        began_at=row.began_at,
        evidence=PairEvidence.from_json(row.evidence),
        finding=TrialResult(finding, row.reason, incumbent=row.incumbent),
        paired_at=row.paired_at,
    )
