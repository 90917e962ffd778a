"""What a server said of a feed, and what is said where it cannot be read.

Out of scope: asking (`feed_requests`, which brings a library that takes long to import).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from twin_resources.errors import TwinError

MAX_BYTES = 32 << 20
"""Of one feed, unpacked: whole texts of a thousand posts of 30 KB."""


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


def shown_address(url: str) -> str:
    """The address as a message names it: a user name, a password or a token in it stays out."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}" if parts.hostname else url[:200]


def failed(url: str, found: str, next_step: str) -> TwinError:
    return TwinError(f"read the feed {shown_address(url)}", found=found, next_step=next_step)
