"""Allow web pages from listed origins to call the gateway from a browser (CORS).

Scope: reading `TWIN_ALLOWED_ORIGINS`, which is empty by default; Starlette sends the headers.
Out of scope: authentication (`keys.py`); a page needs a key like every other client.

`*` is refused, because any open web page could then try keys or use a key stored in the browser.
Browser credentials (cookies) are not allowed, so a page can reach only what its own key permits.
Protocol: https://fetch.spec.whatwg.org/#http-cors-protocol
"""
# pyright: strict

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from twin_resources.errors import TwinError

_MAX_AGE_S = 7200  # the maximum in Chrome


def allow_origins(app: ASGIApp, setting: str) -> ASGIApp:
    """Return an application that also accepts requests from pages of the listed origins.

    A page may send any header, because the allow-list drops those that it does not need (OpenAI's
    client sends a dozen `x-stainless-…`).

    Args:
        setting: see `parse_origins`; if it is empty, the application is returned unchanged.
    """
    origins = parse_origins(setting)
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        expose_headers=("x-request-id", "x-twin-trace-id", "retry-after"),
        max_age=_MAX_AGE_S,
    )


def parse_origins(setting: str) -> frozenset[str]:
    """Parse the origins of a setting, separated by spaces or commas.

    Raises:
        TwinError: an entry is not an origin that a browser sends, such as `*` or an address with a
            path.
    """
    origins = frozenset(origin for origin in re.split(r"[\s,]+", setting) if origin)
    for origin in origins:
        parts = urlsplit(origin)
        is_bare_origin = f"{parts.scheme}://{parts.netloc}" == origin == origin.lower()
        is_web_origin = parts.scheme in {"http", "https"} and parts.netloc and "*" not in origin
        if not (is_bare_origin and is_web_origin) or "@" in origin:
            raise TwinError(
                "read TWIN_ALLOWED_ORIGINS",
                found=f"{origin!r} is not an origin",
                next_step="list origins such as https://example.org or http://localhost:8080: "
                "a scheme, a host and a port in lower case, without a path and without *",
            )
    return origins
