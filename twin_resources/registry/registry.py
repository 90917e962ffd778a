"""Store model versions and verdicts in the registry, and change the state of versions.

Scope: storing them in the state store, and writing the policy object after every change.
Out of scope: choosing moves (`moves.py`) and checking them (`move_checks.py`), the shape of the
policy (`registry/policy.py`), measuring a model.
Method: architecture.md.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from twin_resources.authors.answer_forms import ProseRelease
from twin_resources.observability.notifications import announce
from twin_resources.registry import rows
from twin_resources.registry.move_checks import MoveRefusedError, check_incumbent, check_move
from twin_resources.registry.moves import (
    STATES_NEEDING_PASS,
    ModelVersion,
    Move,
    ReleaseMode,
    RequiredMove,
    TrialResult,
    Verdict,
    VersionKind,
    VersionState,
    required_moves,
)
from twin_resources.registry.notices import build_notice
from twin_resources.registry.policy import (
    SHARE,
    Policy,
    build_policy,
    policy_file_matches,
    write_policy,
)
from twin_resources.storage.state.state_tables import (
    model_versions,
    moves,
    routing,
    upsert,
    verdicts,
)

if TYPE_CHECKING:
    from twin_resources.storage.state.state import State

# In a state store that several hosts share, this prefix replaces a host's home in stored paths.
HOME_PREFIX = "$TWIN_HOME/"
PATH_COLUMNS = ("folder", "adapter_gguf", "base", "base_gguf")


class Registry:
    """The registry of all authors' model versions; every change rewrites the policy."""

    def __init__(self, state: State, *, policy_path: Path) -> None:
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
        """Register a checkpoint as a candidate; a known checkpoint keeps its version number.

        A known checkpoint that is retired or rolled back becomes a candidate again, unless it is an
        answer model. Its paths are updated, because the home may have moved.
        """
        paths = {
            "folder": self._to_stored_path(folder),
            "adapter_gguf": adapter_gguf and self._to_stored_path(adapter_gguf),
            "base": self._to_stored_path(base),
            "base_gguf": self._to_stored_path(base_gguf),
        }
        with self.state.transaction() as connection:
            existing_version = rows.find_version(connection, author=author, checkpoint=checkpoint)
            if existing_version is None:
                newest_number = connection.execute(
                    sa.select(sa.func.max(model_versions.c.version)).where(
                        model_versions.c.author == author
                    )
                ).scalar()
                version = (newest_number or 0) + 1
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
                        created_at=rows.utc_now(),
                        kind=kind,
                        **paths,
                    )
                )
            else:
                version = existing_version.version
                rows.update_version(connection, existing_version, **paths)
                if existing_version.state in {"retired", "rolled_back"} and kind == "tuned":
                    reason = "training produced this checkpoint again"
                    rows.change_state(
                        connection, existing_version, "candidate", actor=actor, reason=reason
                    )
        self.publish()
        return self.get(author, version)

    def _to_stored_path(self, path: str) -> str:
        """Return the path as a row stores it; relative in a shared store, because homes differ."""
        home = f"{self.policy_path.parent}/"
        is_relative = self.state.is_shared and path.startswith(home)
        return HOME_PREFIX + path.removeprefix(home) if is_relative else path

    def _with_local_paths(self, version: ModelVersion) -> ModelVersion:
        """Return the version with this home's paths."""
        paths = {name: str(getattr(version, name)) for name in PATH_COLUMNS}
        home_paths = {name: path for name, path in paths.items() if path.startswith(HOME_PREFIX)}
        home = f"{self.policy_path.parent}/"
        return replace(
            version, **{key: path.replace(HOME_PREFIX, home, 1) for key, path in home_paths.items()}
        )

    def authors(self) -> list[str]:
        """Return every author with a version, sorted."""
        with self.state.read_transaction() as connection:
            authors = connection.execute(sa.select(model_versions.c.author).distinct()).scalars()
            return sorted(authors)

    def authors_on_trial(self) -> list[str]:
        """Return the authors with a version on trial."""
        is_on_trial = model_versions.c.state == "shadow"
        statement = sa.select(model_versions.c.author).where(is_on_trial).distinct()
        with self.state.read_transaction() as connection:
            return sorted(connection.execute(statement).scalars())

    def versions(self, author: str) -> list[ModelVersion]:
        """Return all versions of an author, oldest first."""
        with self.state.read_transaction() as connection:
            return list(map(self._with_local_paths, rows.list_versions(connection, author)))

    def served_versions(self) -> list[ModelVersion]:
        """Return all authors' versions that may answer: untainted, stable or on a ramp."""
        statement = sa.select(model_versions).where(
            model_versions.c.state.in_(("stable", "canary")), model_versions.c.tainted.is_(False)
        )
        with self.state.read_transaction() as connection:
            found = connection.execute(statement.order_by(model_versions.c.version)).mappings()
            return [self._with_local_paths(ModelVersion(**row)) for row in found]

    def get(self, author: str, version: int) -> ModelVersion:
        """Return one version.

        Raises:
            TwinError: the author has no such version.
        """
        with self.state.read_transaction() as connection:
            return self._with_local_paths(rows.get_version(connection, author, version))

    def stable_version(self, author: str) -> ModelVersion | None:
        """Return the stable version, or None if the base model with retrieval answers."""
        versions = self.versions(author)
        return next((version for version in versions if version.state == "stable"), None)

    def find_by_checkpoint(
        self, checkpoint: str, *, author: str | None = None
    ) -> ModelVersion | None:
        """Return the version with this checkpoint hash, or None."""
        with self.state.read_transaction() as connection:
            version = rows.find_version(connection, author=author, checkpoint=checkpoint)
        return None if version is None else self._with_local_paths(version)

    def taint(self, author: str, version: int, *, actor: str, reason: str) -> ModelVersion:
        """Mark a version as trained on text that was later forgotten, and stop serving it."""
        with self.state.transaction() as connection:
            model = rows.get_version(connection, author, version)
            rows.update_version(connection, model, tainted=True)
            rows.record_move(
                connection, model, model.state, actor=actor, reason=reason, forced=False
            )
        self.publish()
        return self.get(author, version)

    def force_prose(self, author: str, version: int, *, actor: str, reason: str) -> Move:
        """Let the stable version answer in prose although the gate has not released its prose.

        This covers only the answers for which the author's file sets `voice`. The reason is stored
        permanently.

        Raises:
            MoveRefusedError: the version is not stable.
        """
        with self.state.transaction() as connection:
            model = rows.get_version(connection, author, version)
            if model.state != "stable":
                raise MoveRefusedError(
                    f"force the prose of v{version} of {author}",
                    found=f"its state is {model.state}",
                    next_step="release it first: `twin release --reason` releases its prose too",
                )
            move = rows.record_move(
                connection, model, "stable", actor=actor, reason=reason, forced=True
            )
        self.publish()
        return move

    def hold_prose(self, author: str, version: int, *, actor: str, reason: str) -> Move:
        """Take `force_prose` back: from now on, the gate alone decides about the stable prose.

        Raises:
            MoveRefusedError: the version is not stable, or nobody forced its prose.
        """
        model = self.get(author, version)
        if model.state != "stable" or not self.prose_release(model).forced:
            raise MoveRefusedError(
                f"hold the prose of v{version} of {author}",
                found="nobody released its prose by hand"
                if model.state == "stable"
                else f"its state is {model.state}",
                next_step="nothing needs to be done; `twin versions` lists the moves",
            )
        with self.state.transaction() as connection:
            move = rows.record_move(
                connection, model, "stable", actor=actor, reason=reason, forced=False
            )
        self.publish()
        return move

    # Verdicts

    def record_verdict(self, verdict: Verdict) -> None:
        """Store a verdict of the gate. The latest verdict per checkpoint and gate version counts.

        The policy is rewritten, because the verdict decides which answer forms are released.
        """
        values = asdict(verdict) | {"claims": [asdict(claim) for claim in verdict.claims]}
        with self.state.transaction() as connection:
            connection.execute(sa.insert(verdicts).values(**values))
        self.publish()

    def verdict(self, checkpoint: str, gate_version: str) -> Verdict | None:
        """Return the newest verdict for exactly this checkpoint under this gate version."""
        with self.state.read_transaction() as connection:
            return rows.newest_verdict_of_gate(connection, checkpoint, gate_version)

    def verdicts(self, checkpoint: str, gate_version: str) -> list[Verdict]:
        """Return all verdicts for this checkpoint and gate version, oldest first."""
        with self.state.read_transaction() as connection:
            return rows.list_verdicts(connection, checkpoint, gate_version)

    def has_ever_passed(self, checkpoint: str) -> bool:
        """Return whether any gate version has passed exactly this checkpoint."""
        has_passed = (verdicts.c.checkpoint == checkpoint) & (verdicts.c.outcome == "passed")
        with self.state.read_transaction() as connection:
            return (
                connection.execute(sa.select(verdicts.c.number).where(has_passed)).first()
                is not None
            )

    def latest_verdict(self, author: str) -> Verdict | None:
        """Return the newest verdict of any of an author's tuned checkpoints.

        A verdict on an answer model's prose decides no training and no release.
        """
        answer_models = sa.select(model_versions.c.checkpoint).where(
            model_versions.c.author == author, model_versions.c.kind == "answer_model"
        )
        with self.state.read_transaction() as connection:
            statement = sa.select(verdicts).where(
                verdicts.c.author == author, verdicts.c.checkpoint.not_in(answer_models)
            )
            return rows.newest_verdict(connection, statement)

    def prose_release(self, version: ModelVersion) -> ProseRelease:
        """Return whether a version's prose is released, and whether a person forced the version."""
        return self.prose_releases([version])[0]

    def prose_releases(self, versions: Sequence[ModelVersion]) -> list[ProseRelease]:
        """Return the release of each version's prose, in two queries.

        The newest verdict of a version's checkpoint, under any gate version, decides. Of the moves
        by hand, the newest decides: a forced release, or a hold (from stable to stable).
        """
        slugs = {version.author for version in versions}
        # Two authors may name one answer model, which then has one checkpoint hash.
        newest_verdicts = sa.select(sa.func.max(verdicts.c.number)).group_by(
            verdicts.c.author, verdicts.c.checkpoint
        )
        checkpoints = {version.checkpoint for version in versions}
        is_by_hand = (moves.c.to_state == "stable") & (
            moves.c.forced | (moves.c.from_state == "stable")
        )
        newest_by_hand = (
            sa.select(sa.func.max(moves.c.number))
            .where(is_by_hand, moves.c.author.in_(slugs))
            .group_by(moves.c.author, moves.c.version)
        )
        with self.state.read_transaction() as connection:
            verdict_by_checkpoint = {
                (verdict.author, verdict.checkpoint): verdict
                for verdict in rows.select_verdicts(
                    connection,
                    verdicts.c.number.in_(
                        newest_verdicts.where(verdicts.c.checkpoint.in_(checkpoints))
                    ),
                )
            }
            forced = {
                (author, version)
                for author, version in connection.execute(
                    sa.select(moves.c.author, moves.c.version).where(
                        moves.c.number.in_(newest_by_hand), moves.c.forced
                    )
                )
            }
        releases: list[ProseRelease] = []
        for version in versions:
            verdict = verdict_by_checkpoint.get((version.author, version.checkpoint))
            release = verdict.prose_release if verdict else ProseRelease()
            is_forced = (version.author, version.version) in forced
            releases.append(replace(release, forced=is_forced))
        return releases

    def gate_version(self) -> str:
        """Return the gate version of the newest verdict; empty without a verdict."""
        with self.state.read_transaction() as connection:
            verdict_row = rows.newest_verdict(connection, sa.select(verdicts))
        return verdict_row.gate_version if verdict_row else ""

    # Moves

    def move(
        self,
        author: str,
        version: int,
        to_state: VersionState,
        *,
        actor: str,
        reason: str,
        force: bool = False,
        gate_version: str = "",
        incumbent: int | None = None,
    ) -> Move:
        """Move one version and make the resulting moves in one transaction; write the policy.

        The notice (`notices.py`) is queued in the same transaction. A version that becomes stable
        retires the former stable version. If the new one was retired (a rollback), the former one
        is rolled back instead.

        Args:
            actor, reason: who makes the move and why; stored permanently.
            force: whether a person forces the release of the version, which is marked `forced`.
            gate_version: the gate's current version, for moves that need a PASSED verdict.
            incumbent: the stable version with which the evidence compares; None for any.

        Raises:
            MoveRefusedError: the move is not legal from the version's state, the version is
                tainted, its checkpoint has no PASSED verdict, or another version is stable now.
        """
        with self.state.transaction() as connection:
            model = rows.get_version(connection, author, version)
            check_move(connection, model, to_state, force=force, gate_version=gate_version)
            if incumbent is not None:
                check_incumbent(connection, model, to_state, incumbent)
            if to_state == "stable":
                former_state = "rolled_back" if model.state == "retired" else "retired"
                former_reason = f"v{version} became stable: {reason}"
                for former_version in rows.list_versions(connection, author):
                    if former_version.state == "stable":
                        rows.change_state(
                            connection,
                            former_version,
                            former_state,
                            actor=actor,
                            reason=former_reason,
                        )
                    elif former_version.state == "canary" and former_version.version != version:
                        rows.change_state(  # a ramp was against the former stable version
                            connection, former_version, "parked", actor=actor, reason=former_reason
                        )
            if force:
                rows.update_version(connection, model, forced=True)
            applied_move = rows.change_state(
                connection, model, to_state, actor=actor, reason=reason, forced=force
            )
            if (notice := build_notice(applied_move)) is not None:
                announce(connection, notice, at=self.state.now(connection))
        self.publish()
        return applied_move

    def rollback(self, author: str, version: int | None = None, *, actor: str, reason: str) -> Move:
        """Make a retired version stable again (None: the untainted one that was retired last).

        Raises:
            MoveRefusedError: no retired version may answer, or the given version is not retired.
        """
        if version is None:
            retired_versions = {
                model.version
                for model in self.versions(author)
                if model.state == "retired" and not model.tainted
            }
            retired_in_order = [
                move.version
                for move in self.moves(author)
                if move.to_state == "retired" and move.version in retired_versions
            ]
            if not retired_in_order:
                raise MoveRefusedError(
                    f"roll back {author}",
                    found="no retired version is allowed to answer",
                    next_step="list the versions with `twin versions`",
                )
            version = retired_in_order[-1]
        return self.move(author, version, "stable", actor=actor, reason=reason)

    def moves(self, author: str) -> list[Move]:
        """Return the history of an author's versions, oldest first."""
        with self.state.read_transaction() as connection:
            return rows.list_moves(connection, author)

    def authors_with_moves(self, *, after: int) -> list[str]:
        """Return the authors with a move whose number is above `after`, sorted."""
        statement = sa.select(moves.c.author).where(moves.c.number > after).distinct()
        with self.state.read_transaction() as connection:
            return sorted(connection.execute(statement).scalars())

    def newest_move_number(self) -> int:
        """Return the number of the newest move of all authors, or 0."""
        with self.state.read_transaction() as connection:
            return int(connection.execute(sa.select(sa.func.max(moves.c.number))).scalar() or 0)

    # Policy

    def set_routing(self, author: str, table: Mapping[str, Any]) -> Policy:
        """Store an author's routing table, and write the policy; the share of a ramp is kept."""
        with self.state.transaction() as connection:
            query = sa.select(routing.c.table).where(routing.c.author == author)
            stored: dict[str, Any] = connection.execute(query).scalar() or {}
            kept = {SHARE: stored[SHARE]} if SHARE in stored else {}
            row = {"author": author, "table": kept | dict(table), "written_at": rows.utc_now()}
            upsert(connection, routing, [row])
        return self.publish()

    def routing(self) -> dict[str, dict[str, Any]]:
        """Return the routing table of each author."""
        with self.state.read_transaction() as connection:
            return {row.author: row.table for row in connection.execute(sa.select(routing))}

    def publish(self) -> Policy:
        """Write the policy object from the current registry and routing table.

        This takes the writers' lock, so that the file never reverts to an older state.
        """
        with self.state.transaction():
            policy = build_policy(self, self.routing())
            if not policy_file_matches(self.policy_path, policy):
                write_policy(self.policy_path, policy)
        return policy


def reconcile(
    registry: Registry,
    author: str,
    *,
    gate_version: str,
    mode: ReleaseMode,
    actor: str,
    evidence: Mapping[int, TrialResult] | None = None,
    withheld_reason: str = "",
) -> list[Move]:
    """Apply `required_moves` until there are none; an immediate second call changes nothing.

    Args:
        withheld_reason: why no version may start to answer now (for example, the author has not
            agreed); empty if a version may. Moves out of service are always made.
    """
    applied_moves: list[Move] = []

    def pending_moves() -> list[RequiredMove]:
        versions = registry.versions(author)
        verdicts = {
            version.checkpoint: registry.verdict(version.checkpoint, gate_version)
            for version in versions
        }
        moves = required_moves(
            versions,
            {checkpoint: verdict for checkpoint, verdict in verdicts.items() if verdict},
            evidence or {},
            gate_version=gate_version,
            mode=mode,
        )
        return [
            move for move in moves if not (withheld_reason and move.to_state in STATES_NEEDING_PASS)
        ]

    # Two concurrent runs would request the same move, and the later request would be refused.
    with registry.state.lease(f"reconcile {author}"):
        while pending_batch := pending_moves():
            for move in pending_batch:
                try:
                    applied_move = registry.move(
                        author,
                        move.version,
                        move.to_state,
                        actor=actor,
                        reason=move.reason,
                        gate_version=gate_version,
                        incumbent=move.incumbent,
                    )
                except MoveRefusedError:
                    # A person or the gateway's breaker may have moved the version in between. The
                    # moves are then computed again.
                    if move in pending_moves():
                        raise
                    break
                applied_moves.append(applied_move)
        registry.publish()  # an earlier process may have crashed before it wrote the policy
    return applied_moves
