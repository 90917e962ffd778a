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
from twin_resources.quality.release.releasing import take_on_measured
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.isolating import isolate_failure

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

ACTOR = "canary_verdict"
# author → metadata of the newest materialization of an asset
Newest = Callable[[str, str], Mapping[str, Any]]


@dataclass(frozen=True)
class ReleaseNotice:
    """A record of `released_model` that Dagster does not have yet."""

    author: str
    description: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class ReleaseTick:
    """The result of a tick.

    Attributes:
        told: one notice per author whose versions have moved since the last record.
        messages: author → progress of its trial.
        newest_move: number of the registry's newest move: if it is unchanged and nothing is on
            trial, there is nothing to do.
    """

    told: tuple[ReleaseNotice, ...]
    messages: Mapping[str, str]
    newest_move: int


def has_canary(registry: Registry) -> bool:
    """Return whether any author has a canary; scores are read for this sensor only then."""
    authors = registry.authors_on_trial()
    on_trial = (trial.on_trial(registry.state, author) for author in authors)
    return any(on is not None and on.mode == "canary" for on in on_trial)


def watch(
    registry: Registry,
    tables: Tables,
    *,
    wanted: Mapping[str, str],
    gate_version: str,
    newest: Newest,
    now: float,
    known_move: int,
    margin: float,
    fewest_prompts: int,
    withheld: Mapping[str, str] | None = None,
) -> ReleaseTick:
    """Fold new pairs of each version on trial, and apply at most one verdict per author.

    Args:
        wanted: author → release mode in the author's settings.
        gate_version: the current version of the gate.
        newest: reads Dagster's records.
        now: seconds since the epoch.
        known_move: `newest_move` of the last tick; 0 checks every author.
        margin, fewest_prompts: ε, and the number of prompts that a shadow trial needs.
        withheld: author → why none of the author's versions may begin to answer; see
            `registry.reconcile`.
    """
    messages: dict[str, str] = {}
    registry.publish()  # the last mover may have died before it wrote the policy
    for author in registry.authors_on_trial():
        if author not in wanted:
            continue
        with isolate_failure("nothing decided", partial(messages.__setitem__, author)):
            stored = take_on_measured(
                registry,
                tables,
                author,
                wanted=wanted[author],
                gate_version=gate_version,
                actor=ACTOR,
                now=now,
                replayed=newest("shadow_pairs", author),
                margin=margin,
                fewest_prompts=fewest_prompts,
                withheld=(withheld or {}).get(author, ""),
            )
            waits = "on trial, no pair yet: materialize shadow_pairs"
            messages[author] = stored.finding.reason if stored else waits
    moved = registry.newest_move()
    notices = _unreported_moves(registry, newest, registry.authors_moved(after=known_move))
    return ReleaseTick(notices, messages, moved)


def _unreported_moves(
    registry: Registry, newest: Newest, authors: Sequence[str]
) -> tuple[ReleaseNotice, ...]:
    """Return notices of the moves without a record of `released_model`.

    This tick, the gateway's breaker or a command made these moves.
    """
    notices: list[ReleaseNotice] = []
    for author in authors:
        last = int(newest("released_model", author).get("move", 0))
        released = release_summary.untold(registry.moves(author), last)
        if not released:
            continue
        metadata = release_summary.release_metadata(registry.stable(author), released)
        metadata |= release_summary.trial_metadata(
            trial.of_version(registry.state, author, released[-1].version)
        )
        notices.append(ReleaseNotice(author, release_summary.line_of(released[-1]), metadata))
    return tuple(notices)
