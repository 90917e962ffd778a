"""The model registry: versions, verdicts, and the one function that moves a version.

Scope: storing them in the state store, and writing the policy object after every change.
Out of scope: choosing moves (`moves.py`) and checking them (`checks.py`), the shape of the policy
(`registry/policy.py`), measuring a model.
Method: architecture.md.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from twin_resources.authors.answer_forms import ProseRelease
from twin_resources.observability.notifications import announce
from twin_resources.registry import rows
from twin_resources.registry.checks import MoveRefused, check_incumbent, check_move
from twin_resources.registry.home_state import check_versions_known
from twin_resources.registry.moves import (
    NEEDS_PASS,
    Evidence,
    GateClaim,
    LegalMove,
    Mode,
    ModelVersion,
    Move,
    Verdict,
    VersionKind,
    VersionState,
    legal_moves,
)
from twin_resources.registry.notices import notice_of
from twin_resources.registry.policy import Policy, build_policy, same_policy, write_policy
from twin_resources.storage.state.state_tables import model_versions, moves, routing, verdicts

if TYPE_CHECKING:
    from twin_resources.storage.state import state as state_store

__all__ = [
    "Evidence",
    "GateClaim",
    "LegalMove",
    "ModelVersion",
    "Move",
    "MoveRefused",
    "Registry",
    "Verdict",
    "legal_moves",
    "reconcile",
]


# Prefix for the home in the rows of a store that several hosts share.
HOME = "$TWIN_HOME/"
PATHS = ("folder", "adapter_gguf", "base", "base_gguf")


class Registry:
    """Model versions of all authors in one state store; every change rewrites the policy object."""

    def __init__(self, state: state_store.State, *, policy_path: Path) -> None:
        self.state = state
        self.policy_path = Path(policy_path)

    # Versions

    def register(
        self,
        *,
        author: str,
        checkpoint: str,
        folder: str,
        adapter_gguf: str | None,
        base: str,
        base_gguf: str,
        template: str,
        dataset_version: str,
        actor: str = "training",
        kind: VersionKind = "tuned",
    ) -> ModelVersion:
        """Register a checkpoint as a candidate; a known one keeps its version.

        A known one that is retired or rolled back becomes a candidate again, unless it is an answer
        model. Its paths are updated, because the home may have moved.

        Raises:
            EmptyStateStore: it would be the first version of a store whose policy names others.
        """
        paths = {
            "folder": self._stored(folder),
            "adapter_gguf": adapter_gguf and self._stored(adapter_gguf),
            "base": self._stored(base),
            "base_gguf": self._stored(base_gguf),
        }
        check_versions_known(self.state, self.policy_path)
        with self.state.transaction() as connection:
            known = rows.find(connection, author=author, checkpoint=checkpoint)
            if known is None:
                newest = connection.execute(
                    sa.select(sa.func.max(model_versions.c.version)).where(
                        model_versions.c.author == author
                    )
                ).scalar()
                version = (newest or 0) + 1
                connection.execute(
                    sa.insert(model_versions).values(
                        author=author,
                        version=version,
                        checkpoint=checkpoint,
                        state="candidate",
                        tainted=False,
                        forced=False,
                        template=template,
                        dataset_version=dataset_version,
                        created_at=rows.now(),
                        kind=kind,
                        **paths,
                    )
                )
            else:
                version = known.version
                rows.update(connection, known, **paths)
                if known.state in {"retired", "rolled_back"} and kind == "tuned":
                    reason = "training gave this checkpoint again"
                    rows.change_state(connection, known, "candidate", actor=actor, reason=reason)
        self.publish()
        return self.get(author, version)

    def _stored(self, path: str) -> str:
        """Return a path for a row: in a shared store it is relative, as each host has a home."""
        home = f"{self.policy_path.parent}/"
        is_relative = self.state.is_shared and path.startswith(home)
        return HOME + path.removeprefix(home) if is_relative else path

    def name_home(self, item: ModelVersion) -> None:
        """Replace this host's paths in the row of a version by paths relative to the home."""
        paths = {name: getattr(item, name) for name in PATHS}
        with self.state.transaction() as connection:
            values = {name: path and self._stored(path) for name, path in paths.items()}
            rows.update(connection, item, **values)

    def _here(self, item: ModelVersion) -> ModelVersion:
        """Return the version with paths of this home."""
        paths = {name: str(getattr(item, name)) for name in PATHS}
        stored = {name: path for name, path in paths.items() if path.startswith(HOME)}
        home = self.policy_path.parent
        return replace(item, **{key: f"{home}/{path[len(HOME) :]}" for key, path in stored.items()})

    def authors(self) -> list[str]:
        """Return every author that has a version, sorted."""
        with self.state.reading() as connection:
            authors = connection.execute(sa.select(model_versions.c.author).distinct()).scalars()
            return sorted(authors)

    def authors_on_trial(self) -> list[str]:
        """Return the authors with a version in a shadow or canary trial."""
        on_trial = model_versions.c.state.in_(["shadow", "canary"])
        statement = sa.select(model_versions.c.author).where(on_trial).distinct()
        with self.state.reading() as connection:
            return sorted(connection.execute(statement).scalars())

    def versions(self, author: str) -> list[ModelVersion]:
        """Return all versions of an author, oldest first."""
        with self.state.reading() as connection:
            return [self._here(item) for item in rows.versions(connection, author)]

    def get(self, author: str, version: int) -> ModelVersion:
        """Return one version.

        Raises:
            TwinError: the author has no such version.
        """
        with self.state.reading() as connection:
            return self._here(rows.get_version(connection, author, version))

    def stable(self, author: str) -> ModelVersion | None:
        """Return the stable version, or None if base model + retrieval answer."""
        stable = [item for item in self.versions(author) if item.state == "stable"]
        return stable[0] if stable else None

    def by_checkpoint(self, checkpoint: str, *, author: str | None = None) -> ModelVersion | None:
        """Return the version of a checkpoint hash, or None."""
        with self.state.reading() as connection:
            item = rows.find(connection, author=author, checkpoint=checkpoint)
        return None if item is None else self._here(item)

    def taint(self, author: str, version: int, *, actor: str, reason: str) -> ModelVersion:
        """Mark a version as trained on something since forgotten, and stop serving it."""
        with self.state.transaction() as connection:
            item = rows.get_version(connection, author, version)
            rows.update(connection, item, tainted=True)
            rows.record(connection, item, item.state, actor=actor, reason=reason, forced=False)
        self.publish()
        return self.get(author, version)

    def force_prose(self, author: str, version: int, *, actor: str, reason: str) -> Move:
        """Let the stable version answer in prose alone, where its author's file says `voice`,
        although the gate has not released its prose; the reason is kept permanently.

        Raises:
            MoveRefused: the version is not stable.
        """
        with self.state.transaction() as connection:
            item = rows.get_version(connection, author, version)
            if item.state != "stable":
                raise MoveRefused(
                    f"force the prose of v{version} of {author}",
                    found=f"that it is {item.state}",
                    next_step="release it first: `twin release` with a reason does both",
                )
            move = rows.record(connection, item, "stable", actor=actor, reason=reason, forced=True)
        self.publish()
        return move

    # Verdicts

    def record_verdict(self, verdict: Verdict) -> None:
        """Store a verdict of the gate; the latest one for a checkpoint and gate counts.

        The policy is rewritten, because the verdict decides which forms of answers are released.
        """
        values = asdict(verdict) | {"claims": [asdict(claim) for claim in verdict.claims]}
        with self.state.transaction() as connection:
            connection.execute(sa.insert(verdicts).values(**values))
        self.publish()

    def verdict(self, checkpoint: str, gate_version: str) -> Verdict | None:
        """Return the newest verdict for exactly this checkpoint under this version of the gate."""
        with self.state.reading() as connection:
            return rows.verdict(connection, checkpoint, gate_version)

    def verdicts(self, checkpoint: str, gate_version: str) -> list[Verdict]:
        """Return all verdicts for this checkpoint and version of the gate, oldest first."""
        with self.state.reading() as connection:
            return rows.verdicts_of(connection, checkpoint, gate_version)

    def ever_passed(self, checkpoint: str) -> bool:
        """Return whether any version of the gate has passed exactly this checkpoint."""
        passed = (verdicts.c.checkpoint == checkpoint) & (verdicts.c.outcome == "passed")
        with self.state.reading() as connection:
            return (
                connection.execute(sa.select(verdicts.c.number).where(passed)).first() is not None
            )

    def latest_verdict(self, author: str) -> Verdict | None:
        """Return the newest verdict of any of an author's checkpoints."""
        with self.state.reading() as connection:
            statement = sa.select(verdicts).where(verdicts.c.author == author)
            return rows.newest_verdict(connection, statement)

    def prose(self, item: ModelVersion) -> ProseRelease:
        """Return whether the newest verdict of a version's checkpoint, from any gate version,
        releases its prose, and whether a person forced the version."""
        forced = (
            (moves.c.author == item.author)
            & (moves.c.version == item.version)
            & (moves.c.to_state == "stable")
            & moves.c.forced
        )
        with self.state.reading() as connection:
            statement = sa.select(verdicts).where(verdicts.c.checkpoint == item.checkpoint)
            verdict_row = rows.newest_verdict(connection, statement)
            is_forced = connection.execute(sa.select(moves.c.number).where(forced)).first()
        release = verdict_row.prose if verdict_row else ProseRelease()
        return replace(release, forced=is_forced is not None)

    def gate_version(self) -> str:
        """Return the gate version of the newest verdict; empty if there is none."""
        with self.state.reading() as connection:
            verdict_row = rows.newest_verdict(connection, sa.select(verdicts))
        return verdict_row.gate_version if verdict_row else ""

    # Moves

    def move(
        self,
        author: str,
        version: int,
        to: VersionState,
        *,
        actor: str,
        reason: str,
        force: bool = False,
        gate_version: str = "",
        against: int | None = None,
    ) -> Move:
        """Move one version and make the moves that follow, in one transaction; write the policy.

        The notice to people (`notices.py`) is queued in the same transaction.

        A version that becomes stable retires the former one. If it was itself retired (a
        rollback), the former one is rolled back instead.

        Args:
            actor, reason: who made the move and why; kept permanently.
            force: a person releases a refused or parked version; it is marked `forced`.
            gate_version: the gate's current version, for moves that need a PASSED verdict.
            against: the stable version that the evidence is about; None for any.

        Raises:
            MoveRefused: the move is not legal from the version's state, the version is tainted,
                its checkpoint has no PASSED verdict, or another version is stable now.
        """
        with self.state.transaction() as connection:
            item = rows.get_version(connection, author, version)
            check_move(connection, item, to, force=force, gate_version=gate_version)
            if against is not None:
                check_incumbent(connection, item, to, against)
            if to == "stable":
                leaves = "rolled_back" if item.state == "retired" else "retired"
                why = f"v{version} became stable: {reason}"
                for former in rows.versions(connection, author):
                    if former.state == "stable":
                        rows.change_state(connection, former, leaves, actor=actor, reason=why)
            if force:
                rows.update(connection, item, forced=True)
            done = rows.change_state(connection, item, to, actor=actor, reason=reason, forced=force)
            if (notice := notice_of(done)) is not None:
                announce(connection, notice, at=self.state.now(connection))
        self.publish()
        return done

    def rollback(self, author: str, version: int | None = None, *, actor: str, reason: str) -> Move:
        """Make a retired version stable again; None means the untainted one that retired last.

        Raises:
            MoveRefused: there is none, or the named version is not retired or may not answer.
        """
        if version is None:
            retired = {
                item.version
                for item in self.versions(author)
                if item.state == "retired" and not item.tainted
            }
            entered = [
                move.version
                for move in self.moves(author)
                if move.to_state == "retired" and move.version in retired
            ]
            if not entered:
                raise MoveRefused(
                    f"roll back {author}",
                    found="no retired version that may answer",
                    next_step="list the versions with `twin versions`",
                )
            version = entered[-1]
        return self.move(author, version, "stable", actor=actor, reason=reason)

    def moves(self, author: str) -> list[Move]:
        """Return the history of an author's versions, oldest first."""
        with self.state.reading() as connection:
            return rows.history(connection, author)

    def authors_moved(self, *, after: int) -> list[str]:
        """Return the authors with a move of a higher number, sorted."""
        statement = sa.select(moves.c.author).where(moves.c.number > after).distinct()
        with self.state.reading() as connection:
            return sorted(connection.execute(statement).scalars())

    def newest_move(self) -> int:
        """Return the number of the newest move of all authors, or 0."""
        with self.state.reading() as connection:
            return int(connection.execute(sa.select(sa.func.max(moves.c.number))).scalar() or 0)

    # Policy

    def set_routing(self, author: str, table: Mapping[str, Any]) -> Policy:
        """Store an author's routing table, and write the policy."""
        with self.state.transaction() as connection:
            connection.execute(sa.delete(routing).where(routing.c.author == author))
            connection.execute(
                sa.insert(routing).values(author=author, table=dict(table), written_at=rows.now())
            )
        return self.publish()

    def routing(self) -> dict[str, dict[str, Any]]:
        """Return the routing table of each author."""
        with self.state.reading() as connection:
            return {row.author: row.table for row in connection.execute(sa.select(routing))}

    def publish(self, *, forgotten: str = "") -> Policy:
        """Write the policy object from the current registry and routing table.

        This takes the writers' lock, so that the file never reverts to an older state.

        Args:
            forgotten: the author whose versions were erased; the policy may then be empty.

        Raises:
            EmptyStateStore: the policy names versions, and the registry has no row at all.
        """
        with self.state.transaction():
            if not forgotten:
                check_versions_known(self.state, self.policy_path)
            policy = build_policy(self, self.routing())
            if not same_policy(self.policy_path, policy):
                write_policy(self.policy_path, policy)
        return policy


def reconcile(
    registry: Registry,
    author: str,
    *,
    gate_version: str,
    mode: Mode,
    actor: str,
    evidence: Mapping[int, Evidence] | None = None,
    withheld: str = "",
) -> list[Move]:
    """Apply `legal_moves` until there are none; a second call in a row changes nothing.

    Args:
        withheld: why no version may begin to answer now (the author has not agreed); empty if one
            may. Moves that take a version out of service are made in any case.
    """
    done: list[Move] = []

    def required_moves() -> list[LegalMove]:
        moves = _required_moves(registry, author, gate_version, mode, evidence or {})
        return [move for move in moves if not (withheld and move.to in NEEDS_PASS)]

    # Two concurrent runs would request the same move, and the later request would be refused.
    with registry.state.lease(f"reconcile {author}"):
        while pending := required_moves():
            for move in pending:
                try:
                    moved = registry.move(
                        author,
                        move.version,
                        move.to,
                        actor=actor,
                        reason=move.reason,
                        gate_version=gate_version,
                        against=move.against,
                    )
                except MoveRefused:
                    # A person or the gateway's breaker may have moved it in between; then the
                    # moves are computed again.
                    if move in required_moves():
                        raise
                    break
                done.append(moved)
        registry.publish()  # a process that died between a move and its policy left an old file
    return done


def _required_moves(
    registry: Registry,
    author: str,
    gate_version: str,
    mode: Mode,
    evidence: Mapping[int, Evidence],
) -> list[LegalMove]:
    versions = registry.versions(author)
    newest = {item.checkpoint: registry.verdict(item.checkpoint, gate_version) for item in versions}
    judged = {checkpoint: verdict for checkpoint, verdict in newest.items() if verdict}
    return legal_moves(versions, judged, evidence, gate_version=gate_version, mode=mode)
