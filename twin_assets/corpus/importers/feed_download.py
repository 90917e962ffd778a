"""Download a feed to a file that `feed` reads.

Scope: storing the feed as a file.
Out of scope: the request (`feed_requests`), whether a feed has changed (`polling`), entries
(`feed`), the schedule, and the pages that entries link to (nothing is scraped).
"""
# pyright: strict

from __future__ import annotations

import hashlib
from pathlib import Path

from twin_assets.corpus.importers import feed
from twin_assets.corpus.importers.archive import open_archive
from twin_resources.storage.sources.feed_response import MAX_BYTES, PollResponse, feed_error

TIMEOUT_S = 60.0
"""Limit for the whole download, including redirects, in seconds."""


def download_feed(
    url: str, folder: Path, *, max_bytes: int = MAX_BYTES, timeout_s: float = TIMEOUT_S
) -> Path:
    """Download a feed to `folder`, and return its file, whose name depends only on the address.

    Args:
        url: `http` or `https`.
        folder: an existing folder.
        max_bytes: maximum size of the feed, in bytes.
        timeout_s: limit for the whole download, in seconds.

    Raises:
        TwinError: as in `fetch_feed`, or the page is not a feed.
    """
    from twin_resources.storage.sources.feed_requests import fetch_feed

    _, body = fetch_feed(url, PollResponse(), timeout_s=timeout_s, max_bytes=max_bytes)
    path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.xml"
    path.write_bytes(body)
    with open_archive(path) as archive:
        is_feed = bool(feed.list_feeds(archive))
    if not is_feed:
        path.unlink()
        next_step = "specify the address of its RSS or Atom feed"
        raise feed_error(url, "a page that is not a feed", next_step)
    return path
