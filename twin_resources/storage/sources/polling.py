"""Whether a feed has changed since it was last asked for: a conditional request, no copy kept.

Belongs here: the request and its bounds, and what is remembered of an author's feeds between two
polls. Does not belong here: reading entries (`raw_posts` fetches a changed feed itself), when to
ask (`twin_sensors/import_schedules.py`), deciding (`arrivals`).

Conditional requests: https://www.rfc-editor.org/rfc/rfc9110#section-13. A server without ETag and
Last-Modified sends the whole feed each time; then its bytes' hash says whether it changed.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from twin_resources.errors import TwinError
from twin_resources.storage.sources.arrivals import KnownSources
from twin_resources.storage.state.state import State

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 20.0
"""For one feed, redirects included: a poll of many authors must not wait for one server."""

MAX_BYTES = 32 << 20

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
class PollResponse:
    """What a server last said of a feed; empty where it said nothing.

    Attributes:
        etag, last_modified: as its headers had them, for the next request.
        sha256: of the bytes.
    """

    etag: str = ""
    last_modified: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class PollState:
    """What is kept of one author's feeds.

    Attributes:
        epoch: when this memory began, seconds since the epoch (`arrivals.run_key`).
        known: the last decision; None: none yet.
        answers: address → answer.
    """

    epoch: int
    known: KnownSources | None = None
    answers: Mapping[str, PollResponse] = field(default_factory=dict[str, PollResponse])


def ask(url: str, before: PollResponse, *, timeout_s: float = TIMEOUT_S) -> PollResponse:
    """Ask for a feed; `before` itself when it has not changed.

    Raises:
        TwinError: no answer in time, an error, more than 32 MiB, or a redirect into this network.
    """
    import httpx

    from twin_resources.storage.sources.feed_requests import feed_client

    headers = {"User-Agent": "llm-twin (feed reader)"}
    if before.etag:
        headers["If-None-Match"] = before.etag
    if before.last_modified:
        headers["If-Modified-Since"] = before.last_modified
    deadline = time.monotonic() + timeout_s
    try:
        with (
            feed_client(url, follow_redirects=True, max_redirects=5, timeout=timeout_s) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            if response.status_code == 304 and before.sha256:
                return before
            if response.status_code != 200:
                raise _failed(url, f"HTTP {response.status_code}")
            return PollResponse(
                etag=response.headers.get("etag", ""),
                last_modified=response.headers.get("last-modified", ""),
                sha256=_hash(url, response, deadline=deadline),
            )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _failed(url, str(error) or type(error).__name__) from error


def ask_each(
    urls: Sequence[str], before: Mapping[str, PollResponse]
) -> tuple[dict[str, PollResponse], list[TwinError]]:
    """Ask for an author's feeds, one after the other; of one that fails the last answer stays.

    Returns:
        Address → answer, and what failed.

    Raises:
        TwinError: none of them answers, so nothing is known.
    """
    answers: dict[str, PollResponse] = {}
    failures: list[TwinError] = []
    for url in urls:
        try:
            answers[url] = ask(url, before.get(url, PollResponse()))
        except TwinError as error:
            answers[url] = before.get(url, PollResponse())
            failures.append(error)
    if failures and len(failures) == len(urls):
        raise failures[0]
    return answers, failures


def _hash(url: str, response: httpx.Response, *, deadline: float) -> str:
    digest, total = hashlib.sha256(), 0
    for piece in response.iter_bytes():
        digest.update(piece)
        total += len(piece)
        if total > MAX_BYTES:
            raise _failed(url, f"more than {MAX_BYTES:,} bytes")
        if time.monotonic() > deadline:
            raise _failed(url, "an answer that takes too long")
    return digest.hexdigest()


def mark_of(answers: Mapping[str, PollResponse], urls: Sequence[str]) -> str:
    """A hash that changes when the bytes of any of an author's feeds do, or which feeds there are.

    ETag and Last-Modified are no part: a server behind a balancer gives another one each time.
    """
    marks = [[url, answers[url].sha256] for url in sorted(urls)]
    return hashlib.sha256(json.dumps(marks).encode()).hexdigest()[:32]


def remembered(state: State, author: str, *, now: float) -> PollState:
    """What was kept of an author's feeds, or a new memory that begins now."""
    with state.transaction() as connection:
        _metadata.create_all(connection)
        row = connection.execute(sa.select(_polls).where(_polls.c.author == author)).first()
    if row is None:
        return PollState(int(now))
    answers: dict[str, dict[str, Any]] = json.loads(row.answers)
    known: dict[str, Any] | None = json.loads(row.known)
    return PollState(
        epoch=row.epoch,
        known=None if known is None else KnownSources.from_json(known),
        answers={url: PollResponse(**answer) for url, answer in answers.items()},
    )


def remember(state: State, author: str, memory: PollState) -> None:
    """Keep it in place of what was kept."""
    row = {
        "author": author,
        "epoch": memory.epoch,
        "known": json.dumps(None if memory.known is None else memory.known.as_json()),
        "answers": json.dumps({url: asdict(answer) for url, answer in memory.answers.items()}),
    }
    with state.transaction() as connection:
        connection.execute(sa.delete(_polls).where(_polls.c.author == author))
        connection.execute(sa.insert(_polls).values(**row))


def _failed(url: str, found: str) -> TwinError:
    parts = urlsplit(url)
    # A user name or token in the address stays out of messages.
    where = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
    return TwinError(
        f"ask for the feed {where}", found=found, next_step="check the address in a browser"
    )
