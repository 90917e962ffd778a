"""Run a tick of `canary_verdict`: continue every trial, and report versions that moved.

Scope: the choice of authors, the messages of a tick.
Out of scope: one round of release (`releasing.py`), Dagster (`twin_sensors`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from twin_resources.quality.release import release_summary, trial
from twin_resources.quality.release.releasing import advance_trial_or_release
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.isolating import isolate_failure

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

ACTOR = "canary_verdict"
# author → metadata of the newest materialization of an asset
MetadataReader = Callable[[str, str], Mapping[str, Any]]


@dataclass(frozen=True)
class ReleaseNotice:
    """A record of `released_model` that Dagster does not yet have."""

    author: str
    description: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class ReleaseTick:
    """The result of a tick.

    Attributes:
        notices: one notice per author whose versions have moved since the last record.
        messages: author → the progress of its trial.
        newest_move: the number of the registry's newest move. If it is unchanged and nothing is on
            trial, there is nothing to do.
    """

    notices: tuple[ReleaseNotice, ...]
    messages: Mapping[str, str]
    newest_move: int


def has_canary(registry: Registry) -> bool:
    """Return whether any author has a canary; scores are read for this sensor only then."""
    authors = registry.authors_on_trial()
    on_trial = (trial.candidate_on_trial(registry.state, author) for author in authors)
    return any(version is not None and version.mode == "canary" for version in on_trial)


def run_release_tick(
    registry: Registry,
    tables: Tables,
    *,
    release_modes: Mapping[str, str],
    gate_version: str,
    newest_metadata: MetadataReader,
    now: float,
    last_known_move: int,
    margin: float,
    min_prompts: int,
    withheld_reasons: Mapping[str, str] | None = None,
) -> ReleaseTick:
    """Fold new pairs of each version on trial, and apply at most one verdict per author.

    Args:
        release_modes: author → release mode in the author's settings.
        gate_version: the current version of the gate.
        newest_metadata: reads Dagster's records.
        now: seconds since the epoch.
        last_known_move: `newest_move` of the last tick; 0 checks every author.
        margin, min_prompts: ε, and the number of prompts that a shadow trial needs.
        withheld_reasons: author → why none of the author's versions may begin to answer; see
            `registry.reconcile`.
    """
    messages: dict[str, str] = {}
    registry.publish()  # the process of the last move may have died before writing the policy
    for author in registry.authors_on_trial():
        if author not in release_modes:
            continue
        with isolate_failure("nothing decided", partial(messages.__setitem__, author)):
            stored = advance_trial_or_release(
                registry,
                tables,
                author,
                requested_mode=release_modes[author],
                gate_version=gate_version,
                actor=ACTOR,
                now=now,
                replay_metadata=newest_metadata("shadow_pairs", author),
                margin=margin,
                min_prompts=min_prompts,
                withheld_reason=(withheld_reasons or {}).get(author, ""),
            )
            no_pair_message = "on trial, no pair yet: materialize shadow_pairs"
            messages[author] = stored.finding.reason if stored else no_pair_message
    newest_move = registry.newest_move_number()
    notices = _unreported_moves(
        registry, newest_metadata, registry.authors_with_moves(after=last_known_move)
    )
    return ReleaseTick(notices, messages, newest_move)


def _unreported_moves(
    registry: Registry, newest_metadata: MetadataReader, authors: Sequence[str]
) -> tuple[ReleaseNotice, ...]:
    """Return notices of the moves without a record of `released_model`.

    This tick, the gateway's breaker or a command made these moves.
    """
    notices: list[ReleaseNotice] = []
    for author in authors:
        last = int(newest_metadata("released_model", author).get("move", 0))
        released = release_summary.unreported_moves(registry.moves(author), last)
        if not released:
            continue
        metadata = release_summary.release_metadata(registry.stable_version(author), released)
        metadata |= release_summary.trial_metadata(
            trial.newest_trial_of_version(registry.state, author, released[-1].version)
        )
        notices.append(ReleaseNotice(author, release_summary.describe_move(released[-1]), metadata))
    return tuple(notices)
