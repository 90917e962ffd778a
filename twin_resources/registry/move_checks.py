"""Check whether a move is allowed now, inside the transaction that makes it.

Scope: the conditions of a move, and the error if one is not met.
Out of scope: choosing moves (`moves.py`), making them (`registry.py`).
Method: architecture.md.
"""
# pyright: strict

from __future__ import annotations

import sqlalchemy as sa

from twin_resources.errors import TwinError
from twin_resources.registry import rows
from twin_resources.registry.moves import (
    AUTOMATIC_MOVES,
    FORCED_ANSWER_MODEL_MOVES,
    FORCED_MOVES,
    MANUAL_MOVES,
    STATES_NEEDING_PASS,
    TAINTED_REASON,
    ModelVersion,
    VersionState,
)


class MoveRefusedError(TwinError):
    """The move is not legal, or the checkpoint has no PASSED verdict."""


def check_incumbent(
    connection: sa.Connection, version: ModelVersion, to_state: VersionState, incumbent: int
) -> None:
    """Check that the evidence compares the version with the stable one.

    Raises:
        MoveRefusedError: another version, or none, is stable now.
    """
    stable_versions = [
        other.version
        for other in rows.list_versions(connection, version.author)
        if other.state == "stable"
    ]
    if stable_versions != [incumbent]:
        raise MoveRefusedError(
            f"move v{version.version} of {version.author} from {version.state} to {to_state}",
            found=f"the evidence compares it with v{incumbent}, but "
            + (f"v{stable_versions[0]} is stable" if stable_versions else "no version is stable"),
            next_step="compare it with the version that is stable now",
        )


def check_move(
    connection: sa.Connection,
    version: ModelVersion,
    to_state: VersionState,
    *,
    force: bool,
    gate_version: str,
) -> None:
    """Check that a move is legal and that a version has passed the gate before it answers.

    Raises:
        MoveRefusedError: the version's state does not allow the move, or the new state needs an
            untainted version with a PASSED verdict of this gate. A stable version that passed or
            was forced cannot become refused either.
    """
    action = f"move v{version.version} of {version.author} from {version.state} to {to_state}"
    no_states: frozenset[VersionState] = frozenset()
    forced_states = FORCED_MOVES.get(version.state, no_states)
    if version.is_answer_model:
        forced_states |= FORCED_ANSWER_MODEL_MOVES.get(version.state, no_states)
    unforced_states = AUTOMATIC_MOVES.get(version.state, no_states) | MANUAL_MOVES.get(
        version.state, no_states
    )
    allowed_states = forced_states if force else unforced_states
    if to_state not in allowed_states:
        raise MoveRefusedError(
            action,
            found=f"from {version.state} it may move to "
            f"{', '.join(sorted(allowed_states)) or 'no other state'}",
            next_step="force the release with a reason (`twin release --reason`)"
            if to_state in forced_states
            else "choose one of these states"
            if allowed_states
            else "choose another version (`twin versions`)",
        )
    if version.state == "stable" and to_state == "refused":
        _check_refusal_of_stable(connection, version, action, gate_version=gate_version)
    if version.tainted and to_state in STATES_NEEDING_PASS:
        raise MoveRefusedError(
            action,
            found=f"the version is tainted: {TAINTED_REASON}",
            next_step="train a new version without that data",
        )
    if force or to_state not in STATES_NEEDING_PASS or version.state in MANUAL_MOVES:
        return  # a retired version passed or was forced when it became stable
    if not gate_version:
        raise MoveRefusedError(
            action,
            found="no gate version was given",
            next_step="pass the gate's current version as `gate_version`",
        )
    verdict = rows.newest_verdict_of_gate(connection, version.checkpoint, gate_version)
    if verdict is None or verdict.outcome != "passed":
        raise MoveRefusedError(
            action,
            found=f"no PASSED verdict of gate {gate_version} for checkpoint "
            + version.checkpoint[:12]
            + (f"; the verdict is {verdict.outcome}" if verdict else ""),
            next_step="materialize `checkpoint_evaluation`, or force the release with a reason",
        )


def _check_refusal_of_stable(
    connection: sa.Connection, version: ModelVersion, action: str, *, gate_version: str
) -> None:
    verdict = rows.newest_verdict_of_gate(connection, version.checkpoint, gate_version)
    if verdict is None or verdict.outcome == "passed":
        message = f"PASSED by {gate_version}" if verdict else f"no verdict of gate {gate_version!r}"
        raise MoveRefusedError(
            action,
            found=f"{message} for checkpoint {version.checkpoint[:12]}",
            next_step="restore an earlier version with `twin rollback`",
        )
    if version.forced:
        raise MoveRefusedError(
            action,
            found="a person released it against the gate's verdict",
            next_step="restore an earlier version with `twin rollback`",
        )
