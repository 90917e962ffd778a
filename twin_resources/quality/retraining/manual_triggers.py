"""Retrainings that no alarm asks for: requests of a person or a forgetting, and growth.

Scope: one pass over all authors for each of the two, and their decisions' rows.
Out of scope: what may start and when (`statistics/retraining_limits.py`), dagster.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from twin_resources.quality.retraining import launching, retrainings, score_watch
from twin_resources.quality.retraining.quality import LoopTick, RetrainingLoop
from twin_resources.quality.retraining.retrainings import RetrainingRequest
from twin_resources.registry.moves import ModelVersion
from twin_resources.statistics.retraining_limits import (
    Cause,
    first_cause,
    growth,
    held_back_by,
)
from twin_resources.storage.state.isolating import isolate_failure
from twin_resources.storage.state.state import State

REQUESTED: tuple[Cause, ...] = ("forget", "by_hand")
GROWN: tuple[Cause, ...] = ("new_posts", "new_pairs")


def ask_for_retraining(state: State, author: str, *, asked_by: str, reason: str, at: float) -> int:
    """A person asks; the sensor `retraining_requested` starts it. Returns the request's number."""
    with state.transaction() as connection:
        return retrainings.ask(
            connection, author=author, cause="by_hand", asked_by=asked_by, reason=reason, at=at
        )


def tick_requests(loop: RetrainingLoop, *, now: datetime) -> LoopTick:
    """Start what was asked for; requests of one author are met by one retraining."""
    at = now.timestamp()
    notes = launching.settle(loop.registry, loop.runs, loop.inputs, now=at)
    with loop.state.reading() as connection:
        requests_by_author = retrainings.open_requests(connection)
    messages: dict[str, str] = {}
    for author, requests in requests_by_author.items():
        cause = first_cause(_causes(requests))
        if cause is None:
            continue
        first = next(request for request in requests if request.cause == cause)
        tags = {"twin/asked_by": first.asked_by, "twin/reason": first.reason}
        wanted = _Wanted(author, cause, f"{cause}:{author}:{first.number}", tags, tuple(requests))
        with isolate_failure(f"{cause} waits", partial(messages.__setitem__, author)):
            messages[author] = _begin(loop, wanted, at)
    launches, held = loop.due(REQUESTED, now=at)
    return LoopTick(tuple(launches), messages, (*notes, *held))


def tick_growth(loop: RetrainingLoop, *, now: datetime) -> LoopTick:
    """Start a retraining where enough posts or pairs have come since the stable version's."""
    at = now.timestamp()
    notes = launching.settle(loop.registry, loop.runs, loop.inputs, now=at)
    with loop.state.reading() as connection:
        stable = score_watch.stable_versions(connection)
    messages: dict[str, str] = {}
    for author, version in stable.items():
        tell = partial(messages.__setitem__, author)
        with isolate_failure("no retraining for new material", tell):
            if message := _grown(loop, author, version, at):
                messages[author] = message
    launches, held = loop.due(GROWN, now=at)
    return LoopTick(tuple(launches), messages, (*notes, *held))


def _grown(loop: RetrainingLoop, author: str, version: ModelVersion, at: float) -> str:
    """What has come since an author's stable version; empty: nobody wants to know."""
    limits = loop.limits(author)
    if not limits.automatic:
        return ""
    new_material = loop.inputs.growth(version)
    cause = growth(new_material.new_posts, new_material.new_pairs, limits)
    message = (
        f"{new_material.new_posts}/{limits.new_posts} new posts, "
        f"{new_material.new_pairs}/{limits.new_pairs} new pairs"
    )
    if cause is None:
        return message
    dataset = loop.inputs.now(author).dataset
    # The same material asks once: what the gate refused, it would refuse again.
    key = f"{cause}:{author}:{score_watch.name_of(version)}:{dataset}"
    tags = {
        "twin/new_posts": str(new_material.new_posts),
        "twin/new_pairs": str(new_material.new_pairs),
    }
    return f"{message}; {_begin(loop, _Wanted(author, cause, key, tags), at)}"


@dataclass(frozen=True)
class _Wanted:
    """A retraining to be entered, unless something holds it back."""

    author: str
    cause: Cause
    run_key: str
    tags: dict[str, str]
    requests: tuple[RetrainingRequest, ...] = ()


def _begin(loop: RetrainingLoop, wanted: _Wanted, at: float) -> str:
    author, cause = wanted.author, wanted.cause
    used = launching.usage(loop.registry, loop.runs, author, now=at)
    waits = held_back_by(cause, used, loop.limits(author), now=at)
    learnt = loop.inputs.now(author)
    if waits:
        return f"{cause} waits: {waits}"
    with loop.state.transaction() as connection:
        begun = retrainings.begin(
            connection,
            run_key=wanted.run_key,
            author=author,
            cause=cause,
            tags=wanted.tags,
            learnt=learnt,
            at=at,
        )
        if begun and wanted.requests:
            retrainings.answer(connection, list(wanted.requests), wanted.run_key)
    return f"{cause}: one retraining starts" if begun else f"{cause}: started before"


def _causes(requests: Sequence[RetrainingRequest]) -> list[Cause]:
    return [cause for cause in REQUESTED if any(request.cause == cause for request in requests)]
