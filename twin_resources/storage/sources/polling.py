"""Check with a conditional request whether a feed has changed since its last poll.

Scope: the stored state of an author's feeds between two polls. No copy of a feed is kept.
Out of scope: the request (`feed_requests`), reading entries (`raw_posts` fetches a changed feed
itself), when to poll (`twin_sensors/import_schedules.py`), deciding (`import_decisions`).

A server without ETag and Last-Modified sends the whole feed each time. A hash of its bytes then
shows whether the feed changed.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa

from twin_resources.errors import TwinError
from twin_resources.storage.sources.feed_response import PollResponse
from twin_resources.storage.sources.import_decisions import SourcesState
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import upsert

TIMEOUT_S = 20.0
"""Limit per feed, including redirects, so that one server cannot delay the poll of many authors."""

_metadata = sa.MetaData()
_polls = sa.Table(
    "feed_polls",
    _metadata,
    sa.Column("author", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("known", sa.Text, nullable=False),
    sa.Column("answers", sa.Text, nullable=False),
)


@dataclass(frozen=True)
class PollState:
    """The stored state of one author's feeds.

    Attributes:
        epoch: creation time of this state, in seconds since the epoch
            (`import_decisions.build_run_key`).
        decision: the last decision, or None before the first decision.
        responses: address → the last response.
    """

    epoch: int
    decision: SourcesState | None = None
    responses: Mapping[str, PollResponse] = field(default_factory=dict[str, PollResponse])


def poll_feeds(
    urls: Sequence[str], last_responses: Mapping[str, PollResponse]
) -> tuple[dict[str, PollResponse], list[TwinError]]:
    """Poll an author's feeds one after the other; keep the last response of a feed that fails.

    Returns:
        The responses by address, and the failures.

    Raises:
        TwinError: none of the feeds responds.
    """
    from twin_resources.storage.sources.feed_requests import fetch_feed

    responses: dict[str, PollResponse] = {}
    failures: list[TwinError] = []
    for url in urls:
        try:
            responses[url], _ = fetch_feed(
                url, last_responses.get(url, PollResponse()), timeout_s=TIMEOUT_S
            )
        except TwinError as error:
            responses[url] = last_responses.get(url, PollResponse())
            failures.append(error)
    if failures and len(failures) == len(urls):
        raise failures[0]
    return responses, failures


def fingerprint_feeds(responses: Mapping[str, PollResponse], urls: Sequence[str]) -> str:
    """Return a hash that changes with the bytes of an author's feeds or with the list of feeds.

    ETag and Last-Modified are excluded, because servers behind a load balancer may send different
    values for the same bytes.
    """
    url_hashes = [[url, responses[url].sha256] for url in sorted(urls)]
    return hashlib.sha256(json.dumps(url_hashes).encode()).hexdigest()[:32]


def load_poll_state(state: State, author: str, *, now: float) -> PollState:
    """Return the stored state of an author's feeds, or a new state that begins now."""
    with state.transaction() as connection:
        _metadata.create_all(connection)
        row = connection.execute(sa.select(_polls).where(_polls.c.author == author)).first()
    if row is None:
        return PollState(int(now))
    response_fields: dict[str, dict[str, Any]] = json.loads(row.answers)
    decision_fields: dict[str, Any] | None = json.loads(row.known)
    return PollState(
        epoch=row.epoch,
        decision=None if decision_fields is None else SourcesState(**decision_fields),
        responses={url: PollResponse(**fields) for url, fields in response_fields.items()},
    )


def save_poll_state(state: State, author: str, poll_state: PollState) -> None:
    """Replace the stored state."""
    row = {
        "author": author,
        "epoch": poll_state.epoch,
        "known": json.dumps(poll_state.decision and asdict(poll_state.decision)),
        "answers": json.dumps(
            {url: asdict(response) for url, response in poll_state.responses.items()}
        ),
    }
    with state.transaction() as connection:
        upsert(connection, _polls, [row])
