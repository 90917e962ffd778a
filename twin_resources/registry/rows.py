"""Read and write rows of the registry inside an open transaction.

Scope: SQL for `model_versions`, `verdicts` and `moves`, one or two statements per function.
Out of scope: rules (`moves.py`), transactions and the policy (`registry.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from twin_resources.authors.answer_forms import SentenceThreshold
from twin_resources.errors import TwinError
from twin_resources.registry.moves import GateClaim, ModelVersion, Move, Verdict, VersionState
from twin_resources.storage.state.state_tables import model_versions, moves, verdicts


def utc_now() -> str:
    """Return the current time as ISO 8601 with milliseconds, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def list_versions(connection: sa.Connection, author: str) -> list[ModelVersion]:
    """Return all versions of an author, oldest first."""
    statement = sa.select(model_versions).where(model_versions.c.author == author)
    rows = connection.execute(statement.order_by(model_versions.c.version)).mappings()
    return [ModelVersion(**row) for row in rows]


def list_moves(connection: sa.Connection, author: str) -> list[Move]:
    """Return all moves of an author's versions, oldest first."""
    statement = sa.select(moves).where(moves.c.author == author).order_by(moves.c.number)
    return [Move(**row) for row in connection.execute(statement).mappings()]


def find_version(
    connection: sa.Connection, *, checkpoint: str, author: str | None
) -> ModelVersion | None:
    """Return the version of a checkpoint, or None."""
    statement = sa.select(model_versions).where(model_versions.c.checkpoint == checkpoint)
    if author is not None:
        statement = statement.where(model_versions.c.author == author)
    row = connection.execute(statement.order_by(model_versions.c.author)).mappings().first()
    return None if row is None else ModelVersion(**row)


def get_version(connection: sa.Connection, author: str, version: int) -> ModelVersion:
    """Return one version.

    Raises:
        TwinError: the author has no such version.
    """
    versions = list_versions(connection, author)
    for model_version in versions:
        if model_version.version == version:
            return model_version
    known_versions = ", ".join(f"v{model_version.version}" for model_version in versions) or "none"
    raise TwinError(
        f"find v{version} of {author}",
        found=f"versions of this author: {known_versions}",
        next_step="use one of them; `twin versions` lists them",
    )


def update_version(connection: sa.Connection, version: ModelVersion, **values: Any) -> None:
    """Change columns of one version."""
    connection.execute(
        sa.update(model_versions)
        .where(
            model_versions.c.author == version.author, model_versions.c.version == version.version
        )
        .values(**values)
    )


def change_state(
    connection: sa.Connection,
    version: ModelVersion,
    to_state: VersionState,
    *,
    actor: str,
    reason: str,
    forced: bool = False,
) -> Move:
    """Change a version's state, and record the move."""
    update_version(connection, version, state=to_state)
    return record_move(connection, version, to_state, actor=actor, reason=reason, forced=forced)


def record_move(
    connection: sa.Connection,
    version: ModelVersion,
    to_state: VersionState,
    *,
    actor: str,
    reason: str,
    forced: bool,
) -> Move:
    """Record a move in the history."""
    move = Move(
        0,
        version.author,
        version.version,
        version.state,
        to_state,
        actor,
        reason,
        forced,
        moved_at=utc_now(),
    )
    values = {name: value for name, value in asdict(move).items() if name != "number"}
    result = connection.execute(sa.insert(moves).values(**values).returning(moves.c.number))
    return replace(move, number=result.scalar_one())


def newest_verdict_of_gate(
    connection: sa.Connection, checkpoint: str, gate_version: str
) -> Verdict | None:
    """Return the newest verdict of a checkpoint under one gate version, or None."""
    gate_verdicts = list_verdicts(connection, checkpoint, gate_version)
    return gate_verdicts[-1] if gate_verdicts else None


def list_verdicts(connection: sa.Connection, checkpoint: str, gate_version: str) -> list[Verdict]:
    """Return all verdicts of a checkpoint under one gate version, oldest first."""
    statement = sa.select(verdicts).where(
        verdicts.c.checkpoint == checkpoint, verdicts.c.gate_version == gate_version
    )
    rows = connection.execute(statement.order_by(verdicts.c.number)).mappings()
    return [_parse_verdict(row) for row in rows]


def select_verdicts(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[Verdict]:
    """Return the verdicts that meet a condition."""
    return list(
        map(_parse_verdict, connection.execute(sa.select(verdicts).where(condition)).mappings())
    )


def newest_verdict(connection: sa.Connection, statement: sa.Select[Any]) -> Verdict | None:
    """Return the newest verdict that the statement selects, or None."""
    row = connection.execute(statement.order_by(verdicts.c.number.desc())).mappings().first()
    return None if row is None else _parse_verdict(row)


def _parse_verdict(row: sa.RowMapping) -> Verdict:
    claims = tuple(_parse_claim(claim) for claim in row["claims"])
    return Verdict(
        row["author"],
        row["checkpoint"],
        row["gate_version"],
        row["outcome"],
        claims,
        row["created_at"],
    )


def _parse_claim(claim: dict[str, Any]) -> GateClaim:
    cut = claim.pop("cut", None)  # older verdicts lack it
    return GateClaim(**claim, cut=SentenceThreshold(**cut) if cut else None)
