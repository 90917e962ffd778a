"""Give a browser access to a page through a one-time link that is created on this machine.

Scope: one-time links, the page's own gateway key, and the secret that signs its cookies.
Out of scope: the page (`page.py`), the cookie (Starlette's SessionMiddleware).

Only the owner can read the link folder. Each link has a file whose name contains the SHA-256 of the
token. Opening the link deletes the file, so if two browsers open it at once, only one succeeds.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import secrets as random_source
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from twin_resources.access.keys import ALL_AUTHORS, NO_LIMITS, add_key, open_key_store, open_keyring
from twin_resources.access.refusals import RefusedError
from twin_resources.atomic_writes import replace_file
from twin_resources.settings import Settings

KEY_LABEL_PREFIX = "chat page"
LINK_LIFETIME_S = 600.0
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DAGSTER_PAGE = "dagster"  # kind of link that opens Dagster's pages instead of the chat page


@dataclass(frozen=True)
class PageAccess:
    """The secrets of the page's process.

    Attributes:
        key: gateway key with the role `reader`, never the admin key.
        cookie_secret: secret that signs the cookies; it is stored, so a restart does not sign
            users out.
    """

    key: str
    cookie_secret: str

    def __repr__(self) -> str:
        return "PageAccess(…)"


def link_folder(settings: Settings) -> Path:
    """Return the folder of this home's links and page secrets; create it with mode 700."""
    folder = settings.home / "chat"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def load_page_access(settings: Settings) -> PageAccess:
    """Load the page's secrets; create new ones if the key does not exist or was revoked.

    The key identifies the reader, so the reader stays the same across restarts.
    """
    path = link_folder(settings) / "pass.json"
    if path.exists():
        try:
            saved_access = PageAccess(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            saved_access = None  # emptied; a new key and a new link are made
        if saved_access is not None and _is_key_valid(settings, saved_access.key):
            return saved_access
    with closing(open_key_store(settings)) as state:
        label = f"{KEY_LABEL_PREFIX} {random_source.token_hex(3)}"  # labels must be unique
        # The key has no limits, because opening the page requires access to the home.
        key = add_key(state, role="reader", authors=[ALL_AUTHORS], label=label, limits=NO_LIMITS)
    access = PageAccess(key, random_source.token_urlsafe(32))
    replace_file(path, json.dumps({"key": access.key, "cookie_secret": access.cookie_secret}))
    return access


def _is_key_valid(settings: Settings, key: str) -> bool:
    try:
        open_keyring(settings).find(f"Bearer {key}")
    except RefusedError as error:
        if error.status != 401:
            raise
        return False
    return True


def allowed_hosts(settings: Settings) -> list[str]:
    """Return the host names that a browser may use to request a page of this home."""
    return ["127.0.0.1", "localhost", settings.host]


def cookie_name(settings: Settings, page_kind: str) -> str:
    """Return the name of a page's cookie, which holds the home.

    A browser sends a cookie to every port of a host, so two homes' pages need two names.
    """
    return f"twin-{page_kind}-{_digest(str(settings.home))[:12]}"


def refuse_origin(method: str, *, origin: str | None, host: str) -> str:
    """Return why a request with a page's cookie is refused for its origin; empty if it is not.

    Any page on this machine shares the cookie's site, so `SameSite` does not keep its requests out.

    Args:
        method: the HTTP method; empty for a websocket.
        origin, host: the request's headers; None without an origin.
    """
    if origin is not None and origin.partition("://")[2] != host:
        return f"pages from {origin} may not send requests to this page"
    if origin is None and method not in SAFE_METHODS:
        return "a browser must send an Origin header with a request that changes data"
    return ""


def make_link(settings: Settings, page_url: str, *, view: str = "", page_kind: str = "chat") -> str:
    """Return a link that opens the page at `page_url` once, within ten minutes.

    Args:
        view: initial view, as in `/?view=traces`; empty for the conversation.
        page_kind: kind of page that the token opens.
    """
    token = random_source.token_urlsafe(24)
    replace_file(link_folder(settings) / f"link-{page_kind}-{_digest(token)}", "")
    return f"{page_url}/open?link={token}" + (f"&view={view}" if view else "")


def make_dagster_link(settings: Settings, url: str, *, path: str = "/") -> str:
    """Return a link that opens Dagster's pages at `url` once, within ten minutes.

    Args:
        path: initial path, including the query string.
    """
    return f"{make_link(settings, url, page_kind=DAGSTER_PAGE)}&path={quote(path, safe='')}"


def use_link(settings: Settings, token: str, *, page_kind: str = "chat") -> bool:
    """Return whether this token opens the page; each token works once."""
    folder = link_folder(settings)
    now = time.time()
    for link in folder.glob("link-*"):
        if now - link.stat().st_mtime > LINK_LIFETIME_S:
            link.unlink(missing_ok=True)
    try:
        (folder / f"link-{page_kind}-{_digest(token)}").unlink()
    except FileNotFoundError:
        return False
    return True


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
