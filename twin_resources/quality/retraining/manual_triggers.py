"""Start retrainings without an alarm: requests of a person, forget requests and growth.

Scope: one pass over all authors for requests and one for growth, and the rows of decisions.
Out of scope: limits and priorities (`statistics/retraining_limits.py`), dagster.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from twin_resources.quality.retraining import launching, retrainings, score_watch
from twin_resources.quality.retraining.quality import LoopTick, RetrainingLoop
from twin_resources.quality.retraining.retrainings import RetrainingRequest
from twin_resources.registry.moves import ModelVersion
from twin_resources.statistics.retraining_limits import (
    PRIORITY,
    Cause,
    growth,
    held_back_by,
)
from twin_resources.storage.state.isolating import isolate_failure
from twin_resources.storage.state.state import State

REQUESTED: tuple[Cause, ...] = ("forget", "by_hand")
GROWN: tuple[Cause, ...] = ("new_posts", "new_pairs")


def ask_for_retraining(state: State, author: str, *, asked_by: str, reason: str, at: float) -> int:
    """Store a person's request, which `retraining_requested` starts; return its number."""
    with state.transaction() as connection:
        return retrainings.ask(
            connection, author=author, cause="by_hand", asked_by=asked_by, reason=reason, at=at
        )


def tick_requests(loop: RetrainingLoop, *, now: datetime) -> LoopTick:
    """Start requested retrainings; one retraining fulfils all requests of an author."""
    at = now.timestamp()
    done = LoopTick(notes=loop.settle(now=at))
    with loop.state.reading() as connection:
        requests_by_author = retrainings.open_requests(connection)
    for author, requests in requests_by_author.items():
        first = max(requests, key=lambda request: PRIORITY[request.cause])
        tags = {"twin/asked_by": first.asked_by, "twin/reason": first.reason}
        key = f"{first.cause}:{author}:{first.number}"
        with isolate_failure(f"{first.cause} waits", partial(done.messages.__setitem__, author)):
            done.messages[author] = _begin(loop, author, first.cause, key, tags, at, requests)
    return loop.start(REQUESTED, done, now=at)


def tick_growth(loop: RetrainingLoop, *, now: datetime) -> LoopTick:
    """Start a retraining if enough posts or pairs are new since the stable version's training."""
    at = now.timestamp()
    done = LoopTick(notes=loop.settle(now=at))
    with loop.state.reading() as connection:
        stable = score_watch.stable_versions(connection)
    for author, version in stable.items():
        tell = partial(done.messages.__setitem__, author)
        with isolate_failure("no retraining for new material", tell):
            if message := _start_for_growth(loop, author, version, at):
                done.messages[author] = message
    return loop.start(GROWN, done, now=at)


def _start_for_growth(loop: RetrainingLoop, author: str, version: ModelVersion, at: float) -> str:
    """Report the material since an author's stable version; empty if automatic runs are off."""
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
    # The same material starts one run: the gate would refuse the same inputs again.
    key = f"{cause}:{author}:{score_watch.name_of(version)}:{dataset}"
    tags = {
        "twin/new_posts": str(new_material.new_posts),
        "twin/new_pairs": str(new_material.new_pairs),
    }
    return f"{message}; {_begin(loop, author, cause, key, tags, at)}"


def _begin(
    loop: RetrainingLoop,
    author: str,
    cause: Cause,
    run_key: str,
    tags: dict[str, str],
    at: float,
    requests: Sequence[RetrainingRequest] = (),
) -> str:
    """Enter a retraining unless a limit holds it back; return a message with the result."""
    used = launching.usage(loop.registry, loop.runs, author, now=at)
    waits = held_back_by(cause, used, loop.limits(author), now=at)
    learnt = loop.inputs.now(author)
    if waits:
        return f"{cause} waits: {waits}"
    with loop.state.transaction() as connection:
        begun = retrainings.begin(
            connection,
            run_key=run_key,
            author=author,
            cause=cause,
            tags=tags,
            learnt=learnt,
            at=at,
        )
        if begun:
            retrainings.answer(connection, requests, run_key)
    return f"{cause}: one retraining starts" if begun else f"{cause}: started before"
