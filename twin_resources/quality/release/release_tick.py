"""A tick of `canary_verdict`: every version on trial is taken on, and what moved is told.

Scope: which authors are looked at, what a tick says.
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
    """What a tick did.

    Attributes:
        told: one an author whose versions have moved since the last record, by whomever.
        messages: author → where its trial stands.
        newest_move: number of the registry's newest move: with the same number and nothing on trial
            there is nothing to do.
    """

    told: tuple[ReleaseNotice, ...]
    messages: Mapping[str, str]
    newest_move: int


def has_canary(registry: Registry) -> bool:
    """Whether any author has a canary: only then scores are read for this sensor."""
    trying = registry.authors_on_trial()
    on_trial = (trial.on_trial(registry.state, author) for author in trying)
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
    """Fold what is new for each version on trial and apply at most one verdict an author.

    Args:
        wanted: author → release mode of its settings.
        gate_version: the gate's version now.
        newest: reads Dagster's records.
        now: seconds since the epoch.
        known_move: `newest_move` of the last tick; 0: look at every author.
        margin, fewest_prompts: ε, and the prompts that a shadow trial needs.
        withheld: author → why none of the author's versions may begin to answer; see
            `registry.reconcile`.
    """
    messages: dict[str, str] = {}
    registry.publish()  # whoever moved a version last may have died before the policy was written
    for author in registry.authors_on_trial():
        if author not in wanted:
            continue
        with isolate_failure("nothing decided", partial(messages.__setitem__, author)):
            taken = take_on_measured(
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
            messages[author] = taken.finding.reason if taken else waits
    moved = registry.newest_move()
    to_tell = _untold(registry, newest, registry.authors_moved(after=known_move))
    return ReleaseTick(to_tell, messages, moved)


def _untold(
    registry: Registry, newest: Newest, authors: Sequence[str]
) -> tuple[ReleaseNotice, ...]:
    """Moves that no record of `released_model` tells of: made here, by the gateway's breaker, or by
    a command while nothing ran."""
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
