"""Check with a conditional request whether a feed has changed since its last poll.

A server without ETag and Last-Modified sends the whole feed each time. A hash of its bytes then
shows whether the feed changed. No copy of a feed is kept.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from twin_resources.errors import TwinError
from twin_resources.storage.sources.feed_response import PollResponse

TIMEOUT_S = 20.0
"""Limit per feed, including redirects, so that one server cannot delay the poll of many authors."""


def poll_feeds(
    urls: Sequence[str], last_responses: Mapping[str, PollResponse]
) -> tuple[dict[str, PollResponse], list[TwinError]]:
    """Poll an author's feeds one after the other; keep the last response of a feed that fails.

    Args:
        last_responses: hash of the address → the last response.

    Returns:
        The responses by hash of the address, and the failures.

    Raises:
        TwinError: none of the feeds responds.
    """
    from twin_resources.storage.sources.feed_requests import fetch_feed

    responses: dict[str, PollResponse] = {}
    failures: list[TwinError] = []
    for url in urls:
        key = hashlib.sha256(url.encode()).hexdigest()[:32]
        responses[key] = last_responses.get(key, PollResponse())
        try:
            responses[key], _ = fetch_feed(url, responses[key], timeout_s=TIMEOUT_S)
        except TwinError as error:
            failures.append(error)
    if failures and len(failures) == len(urls):
        raise failures[0]
    return responses, failures


def fingerprint_feeds(responses: Mapping[str, PollResponse]) -> str:
    """Return a hash that changes with the bytes of an author's feeds or with the list of feeds.

    ETag and Last-Modified are excluded, because servers behind a load balancer may send different
    values for the same bytes.
    """
    hashes = sorted((key, response.sha256) for key, response in responses.items())
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:32]
