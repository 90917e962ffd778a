"""Start retrainings without an alarm of ours: for requests, alarms from outside, and growth.

Scope: a tick over all authors for requests, another for growth, and storing their decisions.
Out of scope: limits and priorities (`statistics/retraining_limits.py`), dagster.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from twin_resources.observability.notifications import Notice, announce
from twin_resources.quality.retraining import retrainings, score_watch, training_launches
from twin_resources.quality.retraining.retrainings import RetrainingRequest
from twin_resources.quality.retraining.training_launches import TickResult, TickServices
from twin_resources.registry.moves import ModelVersion
from twin_resources.statistics.retraining_limits import (
    PRIORITY,
    Cause,
    find_blocking_limit,
    find_growth_cause,
)
from twin_resources.storage.state.failure_isolation import isolate_failure
from twin_resources.storage.state.state import State

REQUEST_CAUSES: tuple[Cause, ...] = ("forget", "by_hand")
GROWTH_CAUSES: tuple[Cause, ...] = ("new_posts", "new_pairs")


def request_retraining(state: State, author: str, *, asked_by: str, reason: str, now: float) -> int:
    """Store a person's request, which `retraining_requested` starts, and return its number."""
    with state.transaction() as connection:
        return retrainings.request_retraining(
            connection, author=author, cause="by_hand", asked_by=asked_by, reason=reason, now=now
        )


def request_after_alarm(
    state: State, author: str, *, asked_by: str, reason: str, now: float
) -> tuple[int, bool]:
    """Store the request of an alarm from outside, and tell people about it.

    It starts within the limits of an alarm, by the sensor `quality_dropped`. While a request of the
    same alarm waits, another one adds nothing.

    Returns:
        The number of the request, and whether it is new.
    """
    with state.transaction() as connection:
        for request in retrainings.open_requests(connection).get(author, []):
            if (request.cause, request.asked_by) == ("quality", asked_by):
                return request.number, False
        number = retrainings.request_retraining(
            connection, author=author, cause="quality", asked_by=asked_by, reason=reason, now=now
        )
        announce(
            connection,
            Notice(
                key=f"alarm:{author}:outside:{number}",
                event="alarm",
                author=author,
                title=f"An alarm from outside on {author}",
                text=f"{asked_by} requests a retraining. The messages of the sensor "
                "retraining_requested say whether it starts or what it waits for; Dagster's run "
                "has the reason (twin/reason).",
            ),
            at=now,
        )
    return number, True


def run_request_tick(services: TickServices, *, now: datetime) -> TickResult:
    """Start requested retrainings. One retraining fulfills all requests of an author."""
    now_s = now.timestamp()
    tick = TickResult(notes=training_launches.settle_finished(services, now=now_s))
    with services.state.read_transaction() as connection:
        requests_by_author = retrainings.open_requests(connection)
    for author, requests in requests_by_author.items():
        top_request = max(requests, key=lambda request: PRIORITY[request.cause])
        tags = {"twin/asked_by": top_request.asked_by, "twin/reason": top_request.reason}
        key = f"{top_request.cause}:{author}:{top_request.number}"
        with isolate_failure(
            f"{top_request.cause} waits", partial(tick.messages.__setitem__, author)
        ):
            if top_request.cause == "quality" and _has_new_version(services, top_request):
                with services.state.transaction() as connection:
                    retrainings.mark_fulfilled(connection, requests, "released since")
                tick.messages[author] = "quality: another version answers since that alarm"
                continue
            tick.messages[author] = _begin_if_allowed(
                services, author, top_request.cause, key, tags, now_s, requests
            )
    return training_launches.add_launches(services, REQUEST_CAUSES, tick, now=now_s)


def _has_new_version(services: TickServices, request: RetrainingRequest) -> bool:
    """Return whether a version was promoted after an alarm from outside came."""
    return any(
        move.to_state == "stable"
        and datetime.fromisoformat(move.moved_at).timestamp() > request.asked_at
        for move in services.registry.moves(request.author)
    )


def run_growth_tick(services: TickServices, *, now: datetime) -> TickResult:
    """Start a retraining for each author with enough posts or pairs since the last training."""
    now_s = now.timestamp()
    tick = TickResult(notes=training_launches.settle_finished(services, now=now_s))
    with services.state.read_transaction() as connection:
        stable = score_watch.stable_versions(connection)
    for author, version in stable.items():
        set_message = partial(tick.messages.__setitem__, author)
        with isolate_failure("no retraining for new material", set_message):
            if message := _start_for_growth(services, author, version, now_s):
                tick.messages[author] = message
    return training_launches.add_launches(services, GROWTH_CAUSES, tick, now=now_s)


def _start_for_growth(
    services: TickServices, author: str, version: ModelVersion, now_s: float
) -> str:
    """Start a retraining if there is enough new material, and describe that material.

    Return an empty string if automatic runs are off.
    """
    limits = services.limits(author)
    if not limits.automatic:
        return ""
    new_material = services.inputs.measure_growth(version)
    cause = find_growth_cause(new_material.new_posts, new_material.new_pairs, limits)
    message = (
        f"{new_material.new_posts}/{limits.new_posts} new posts, "
        f"{new_material.new_pairs}/{limits.new_pairs} new pairs"
    )
    if cause is None:
        return message
    dataset = services.inputs.read_current(author).dataset
    # The same material starts only one run, because the gate would refuse the same inputs again.
    key = f"{cause}:{author}:{score_watch.version_name(version)}:{dataset}"
    tags = {
        "twin/new_posts": str(new_material.new_posts),
        "twin/new_pairs": str(new_material.new_pairs),
    }
    return f"{message}; {_begin_if_allowed(services, author, cause, key, tags, now_s)}"


def _begin_if_allowed(
    services: TickServices,
    author: str,
    cause: Cause,
    run_key: str,
    tags: dict[str, str],
    now_s: float,
    requests: Sequence[RetrainingRequest] = (),
) -> str:
    """Start a retraining unless a limit blocks it, and describe the result."""
    training_usage = training_launches.training_usage(services, author, now=now_s)
    blocking_limit = find_blocking_limit(cause, training_usage, services.limits(author), now=now_s)
    fingerprint = services.inputs.read_current(author)
    if blocking_limit:
        return f"{cause} waits: {blocking_limit}"
    if cause == "quality" and (
        earlier := training_launches.describe_earlier_training(services, author, fingerprint)
    ):
        return f"{cause} waits for something new to learn from: {earlier}"
    with services.state.transaction() as connection:
        is_started = retrainings.add_retraining(
            connection,
            run_key=run_key,
            author=author,
            cause=cause,
            tags=tags,
            fingerprint=fingerprint,
            now=now_s,
        )
        if is_started:
            retrainings.mark_fulfilled(connection, requests, run_key)
    return f"{cause}: one retraining starts" if is_started else f"{cause}: already started"
