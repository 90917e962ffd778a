"""Run a tick of `canary_verdict`: continue every trial, and report moves of versions.

Scope: the choice of authors, and the messages of a tick.
Out of scope: a release round (`releasing.py`), Dagster (`twin_sensors`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from twin_resources.quality.release import release_summary, trial
from twin_resources.quality.release.releasing import ReleaseRequest, advance_trial_or_release
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.failure_isolation import isolate_failure

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

ACTOR = "canary_verdict"
# (asset, author) → metadata of the asset's newest materialization
MetadataReader = Callable[[str, str], Mapping[str, Any]]


@dataclass(frozen=True)
class ReleaseNotice:
    """A `released_model` record that Dagster does not have yet."""

    author: str
    description: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class ReleaseTick:
    """The result of a tick.

    Attributes:
        notices: one notice per author whose versions have moved since the last record.
        messages: author → the progress of the author's trial.
        newest_move_number: the number of the registry's newest move. If it is unchanged and no
            version is on trial, no author needs a check.
    """

    notices: tuple[ReleaseNotice, ...]
    messages: Mapping[str, str]
    newest_move_number: int


def run_release_tick(
    registry: Registry,
    tables: Tables,
    *,
    release_modes: Mapping[str, str],
    gate_version: str,
    newest_metadata: MetadataReader,
    now: float,
    last_known_move_number: int,
    margin: float,
    min_prompts: int,
    withheld_reasons: Mapping[str, str] | None = None,
) -> ReleaseTick:
    """Add new pairs to each trial, and apply at most one verdict per author.

    Args:
        release_modes: author → release mode in the author's settings.
        gate_version: the current version of the gate.
        newest_metadata: reads the metadata of Dagster's newest records.
        now: seconds since the epoch.
        last_known_move_number: `newest_move_number` of the last tick; 0 checks every author.
        margin, min_prompts: ε, and the number of prompts that a shadow trial needs.
        withheld_reasons: author → why no version of the author may start answering; see
            `registry.reconcile`.
    """
    messages: dict[str, str] = {}
    registry.publish()  # a process may have died after a move, before it wrote the policy
    for author in registry.authors_on_trial():
        if author not in release_modes:
            continue
        with isolate_failure("nothing decided", partial(messages.__setitem__, author)):
            request = ReleaseRequest(
                author=author,
                gate_version=gate_version,
                actor=ACTOR,
                now=now,
                requested_mode=release_modes[author],
                replay_metadata=newest_metadata("shadow_pairs", author),
                margin=margin,
                min_prompts=min_prompts,
                withheld_reason=(withheld_reasons or {}).get(author, ""),
            )
            stored_trial = advance_trial_or_release(registry, tables, request)
            no_pair_message = "on trial, no pair yet: materialize shadow_pairs"
            messages[author] = stored_trial.finding.reason if stored_trial else no_pair_message
    newest_move_number = registry.newest_move_number()
    notices = _collect_release_notices(
        registry, newest_metadata, registry.authors_with_moves(after=last_known_move_number)
    )
    return ReleaseTick(notices, messages, newest_move_number)


def _collect_release_notices(
    registry: Registry, newest_metadata: MetadataReader, authors: Sequence[str]
) -> tuple[ReleaseNotice, ...]:
    """Return one notice per author with moves that no `released_model` record contains.

    The moves were made in this tick, by the gateway's breaker or by a command.
    """
    notices: list[ReleaseNotice] = []
    for author in authors:
        last_move_number = int(newest_metadata("released_model", author).get("move", 0))
        moves = release_summary.unreported_moves(registry.moves(author), last_move_number)
        if not moves:
            continue
        metadata = release_summary.release_metadata(registry.stable_version(author), moves)
        metadata |= release_summary.trial_metadata(
            trial.newest_trial_of_version(registry.state, author, moves[-1].version)
        )
        notices.append(ReleaseNotice(author, release_summary.describe_move(moves[-1]), metadata))
    return tuple(notices)
