"""A feed's address → a file that `feed` reads; nothing is transferred when nothing has changed.

Belongs here: the conditional request, its bounds, the kept copy. Does not belong here: entries
(`feed`), when to ask (a schedule), pages behind the entries: nothing is scraped.

Conditional requests: https://www.rfc-editor.org/rfc/rfc9110#section-13 (ETag, Last-Modified).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from twin_assets.corpus.importers import feed
from twin_assets.corpus.importers.archive import open_archive
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import httpx

MAX_FEED_BYTES = 32 << 20
"""Of one feed, unpacked: whole texts of a thousand posts of 30 KB."""

TIMEOUT_S = 60.0
"""For the whole download, redirects included."""

_REDIRECTS = 5
_REDIRECTING = frozenset({301, 302, 303, 307, 308})
_READ_TIMEOUT_S = 20.0
_ACCEPT = "application/atom+xml, application/rss+xml, application/xml;q=0.9, */*;q=0.1"


@dataclass(frozen=True)
class Download:
    """The copy of a feed that is kept.

    Attributes:
        path: of the copy, in the folder that was given; its name comes from the address alone.
        changed: whether this download brought other bytes than the one before.
    """

    path: Path
    changed: bool


@dataclass(frozen=True)
class _Known:
    """What the server said about the kept copy (beside it, as JSON)."""

    url: str
    etag: str = ""
    last_modified: str = ""
    sha256: str = ""


def download_feed(
    url: str, folder: Path, *, max_bytes: int = MAX_FEED_BYTES, timeout_s: float = TIMEOUT_S
) -> Download:
    """Ask for a feed and keep it in `folder`; the copy is replaced only by a whole new feed.

    Args:
        url: `http` or `https`.
        folder: is made when missing.
        max_bytes: of the unpacked answer.
        timeout_s: for everything.

    Raises:
        TwinError: the address is none, does not answer in time, answers with an error, with more
            than `max_bytes`, with a redirect to another scheme or into this network, or with what
            is no feed. The copy that is there stays: a failed read is not an empty one.
    """
    _scheme(url)
    path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.xml"
    known = _read_known(path, url)
    answer = _ask(url, known, max_bytes=max_bytes, deadline=time.monotonic() + timeout_s)
    if answer is None:
        return Download(path, changed=False)
    body, etag, last_modified = answer
    digest = hashlib.sha256(body).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    if digest != known.sha256:
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            part.write_bytes(body)
            with open_archive(part) as archive:
                is_feed = feed.recognises(archive)
            if not is_feed:
                next_step = "name the address of its RSS or Atom feed"
                raise _failed(url, "a page that is no feed", next_step)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    # After the feed: a crash in between costs one needless download, not an edit.
    _write_known(path, _Known(url, etag, last_modified, digest))
    return Download(path, changed=digest != known.sha256)


def _ask(
    url: str, known: _Known, *, max_bytes: int, deadline: float
) -> tuple[bytes, str, str] | None:
    """Body, ETag and Last-Modified; None when the kept copy is still right."""
    import httpx

    from twin_resources.storage.sources.feed_requests import feed_client

    headers = {"User-Agent": "llm-twin (feed reader)", "Accept": _ACCEPT}
    if known.etag:
        headers["If-None-Match"] = known.etag
    if known.last_modified:
        headers["If-Modified-Since"] = known.last_modified
    at, wait = url, min(_left(url, deadline), _READ_TIMEOUT_S)
    try:
        with feed_client(url, follow_redirects=False, timeout=wait) as client:
            for _ in range(_REDIRECTS + 1):
                with client.stream("GET", at, headers=headers) as response:
                    if response.status_code in _REDIRECTING:
                        at = _next(url, at, response.headers.get("location", ""))
                        continue
                    if response.status_code == 304 and known.sha256:
                        return None
                    if response.status_code != 200:
                        raise _failed(
                            url, f"HTTP {response.status_code}", "check the address in a browser"
                        )
                    body = _body(url, response, max_bytes=max_bytes, deadline=deadline)
                    return (
                        body,
                        response.headers.get("etag", ""),
                        response.headers.get("last-modified", ""),
                    )
    except httpx.TimeoutException as error:
        raise _failed(url, "no answer in time", "try again later") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _failed(url, str(error) or type(error).__name__, "check the address") from error
    raise _failed(url, f"more than {_REDIRECTS} redirects", "name the last address")


def _body(url: str, response: httpx.Response, *, max_bytes: int, deadline: float) -> bytes:
    body = bytearray()
    # As it arrives: with a chunk size a server that drips would be waited for.
    for piece in response.iter_bytes():
        body += piece
        if len(body) > max_bytes:
            raise _failed(url, f"more than {max_bytes:,} bytes", "name a feed of fewer posts")
        _left(url, deadline)
    return bytes(body)


def _left(url: str, deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _failed(url, "an answer that takes too long", "try again later")
    return left


def _next(url: str, at: str, location: str) -> str:
    """The address that a redirect names; one to another scheme (also https → http) is refused."""
    to = urljoin(at, location)
    if not location or urlsplit(to).scheme != urlsplit(at).scheme:
        where = to[:200] if location else "nowhere"
        raise _failed(url, f"a redirect to {where}", "name that address if you trust it")
    return to


def _scheme(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _failed(url, "no http or https address", "name the feed's address")


def _read_known(path: Path, url: str) -> _Known:
    """What is known of the copy; nothing when there is none, or it is not what was kept."""
    try:
        fields: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        known = _Known(**fields)
        digest_on_disk = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError, TypeError):
        return _Known(url)
    return known if known.url == url and known.sha256 == digest_on_disk else _Known(url)


def _write_known(path: Path, known: _Known) -> None:
    part = path.with_suffix(f".{os.getpid()}.json.part")
    part.write_text(json.dumps(asdict(known)), encoding="utf-8")
    part.replace(path.with_suffix(".json"))


def shown_address(url: str) -> str:
    """The address as a message names it: a user name, a password or a token in it stays out."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}" if parts.hostname else url[:200]


def _failed(url: str, found: str, next_step: str) -> TwinError:
    return TwinError(f"read the feed {shown_address(url)}", found=found, next_step=next_step)
