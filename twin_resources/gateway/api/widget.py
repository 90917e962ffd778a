"""Serve `twin.js`, the button and panel with which the pages of an author's site ask the twin."""
# pyright: strict

from __future__ import annotations

import hashlib
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

_SCRIPT = Path(__file__).with_name("twin.js").read_bytes()
_VERSION = hashlib.sha256(_SCRIPT).hexdigest()[:12]
_ETAG = f'"{_VERSION}"'


def build_widget_response(request: Request) -> Response:
    """Return the script, or 304 if the browser has it.

    Under the address that `render_widget_line` prints it never changes. Every other address, such
    as that of an older line, is asked again each time.
    """
    is_current = request.query_params.get("v") == _VERSION
    headers = {
        "cache-control": "public, max-age=31536000, immutable" if is_current else "no-cache",
        "etag": _ETAG,
        "cross-origin-resource-policy": "cross-origin",
        "x-content-type-options": "nosniff",
    }
    if request.headers.get("if-none-match") == _ETAG:
        return Response(status_code=304, headers=headers)
    return Response(_SCRIPT, media_type="text/javascript", headers=headers)


def render_widget_line(gateway_url: str, *, author: str, name: str, key: str) -> str:
    """Return the HTML that adds the widget to a page.

    Args:
        gateway_url: the gateway's public address, with or without `/v1`.
        author: the author's slug.
        name: the author's name, as readers see it.
        key: a key of role `site` with origins.
    """
    source = f"{gateway_url.rstrip('/').removesuffix('/v1')}/twin.js?v={_VERSION}"
    attributes = {"src": source, "data-author": author, "data-name": name, "data-key": key}
    text = " ".join(f'{attribute}="{escape(value)}"' for attribute, value in attributes.items())
    return f"<script async {text}></script>"
