"""Download a feed to a file that `feed` reads, and transfer nothing if it has not changed.

Scope: the stored copy.
Out of scope: the conditional request (`feed_requests`), entries (`feed`), the schedule, and the
pages that entries link to (nothing is scraped).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twin_assets.corpus.importers import feed
from twin_assets.corpus.importers.archive import open_archive
from twin_resources.storage.sources.feed_response import MAX_BYTES, PollResponse, feed_error

TIMEOUT_S = 60.0
"""Limit for the whole download, including redirects, in seconds."""


@dataclass(frozen=True)
class Download:
    """The stored copy of a feed.

    Attributes:
        path: the copy's path in the given folder; its name depends only on the address.
        changed: whether the bytes differ from those of the previous download.
    """

    path: Path
    changed: bool


@dataclass(frozen=True)
class _StoredResponse(PollResponse):
    """The server's last response for the stored copy, saved in a JSON file next to it."""

    url: str = ""


def download_feed(
    url: str, folder: Path, *, max_bytes: int = MAX_BYTES, timeout_s: float = TIMEOUT_S
) -> Download:
    """Download a feed to `folder`; only a complete new feed replaces the stored copy.

    Args:
        url: `http` or `https`.
        folder: the folder; created if missing.
        max_bytes: largest feed that is accepted, in bytes.
        timeout_s: limit for the whole download, in seconds.

    Raises:
        TwinError: as in `fetch_feed`, or the page is not a feed. The stored copy stays, because a
            failed download does not mean an empty feed.
    """
    from twin_resources.storage.sources.feed_requests import fetch_feed

    path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.xml"
    stored_response = _read_stored_response(path, url)
    response, body = fetch_feed(url, stored_response, timeout_s=timeout_s, max_bytes=max_bytes)
    if response is stored_response:
        return Download(path, changed=False)
    folder.mkdir(parents=True, exist_ok=True)
    if response.sha256 != stored_response.sha256:
        partial_file = path.with_suffix(f".{os.getpid()}.part")
        try:
            partial_file.write_bytes(body)
            with open_archive(partial_file) as archive:
                is_feed = feed.recognises(archive)
            if not is_feed:
                next_step = "specify the address of its RSS or Atom feed"
                raise feed_error(url, "a page that is not a feed", next_step)
            partial_file.replace(path)
        finally:
            partial_file.unlink(missing_ok=True)
    # The response is stored after the feed: a crash in between costs one redundant download but
    # loses no update.
    _write_stored_response(path, _StoredResponse(**asdict(response), url=url))
    return Download(path, changed=response.sha256 != stored_response.sha256)


def _read_stored_response(path: Path, url: str) -> _StoredResponse:
    """Return the stored response, or an empty one if it is missing or does not match the copy."""
    try:
        fields: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        stored_response = _StoredResponse(**fields)
        digest_on_disk = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError, TypeError):
        return _StoredResponse(url=url)
    return (
        stored_response
        if stored_response.url == url and stored_response.sha256 == digest_on_disk
        else _StoredResponse(url=url)
    )


def _write_stored_response(path: Path, response: _StoredResponse) -> None:
    partial_file = path.with_suffix(f".{os.getpid()}.json.part")
    partial_file.write_text(json.dumps(asdict(response)), encoding="utf-8")
    partial_file.replace(path.with_suffix(".json"))
