"""Define what is stored of a feed's last response, and the error for an unreadable feed.

Scope: the response and the errors.
Out of scope: requests (`feed_requests`, which imports a slow library).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from twin_resources.errors import TwinError

MAX_BYTES = 32 << 20
"""Limit per decompressed feed: the full texts of a thousand posts of 30 KB."""


@dataclass(frozen=True)
class PollResponse:
    """The part of a feed's last response that is stored; all fields are empty before the first one.

    Attributes:
        etag, last_modified: the values of its headers, for the next request.
        sha256: the hexadecimal hash of the body.
    """

    etag: str = ""
    last_modified: str = ""
    sha256: str = ""


def redact_url(url: str) -> str:
    """Return the address for a message, without its user name, password or token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}" if parts.hostname else url[:200]


def feed_error(url: str, found: str, next_step: str) -> TwinError:
    """Build the error for a feed, with a redacted address."""
    return TwinError(f"read the feed {redact_url(url)}", found=found, next_step=next_step)
