"""Which web pages may ask the gateway from a browser: exact origins, none unless the owner says so.

Scope: reading `TWIN_ALLOWED_ORIGINS`, and the headers by which a browser is told.
Out of scope: who may ask at all (`keys.py`): a page needs a key like everybody else.

Not `*`: with it every page that somebody opens could try keys, and use one that was left in a
browser. No credentials of the browser's own (cookies) are allowed, so a page that may ask gets
nothing but what its own key reaches. Protocol: https://fetch.spec.whatwg.org/#http-cors-protocol
"""
# pyright: strict

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from twin_resources.errors import TwinError

Headers = list[tuple[bytes, bytes]]

# What a page may read of an answer beside its text.
_SHOWN = b"x-request-id, x-twin-trace-id, x-twin-sources, retry-after"
_MAX_AGE_S = b"7200"  # Chrome remembers no longer
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9_\-, ]{1,1000}")


@dataclass(frozen=True)
class Origins:
    """The origins that may ask, as browsers send them (`https://example.org`)."""

    allowed: frozenset[str] = frozenset()

    @classmethod
    def read(cls, listed: str) -> Origins:
        """The origins of a setting, separated by spaces or commas.

        Raises:
            TwinError: one that no browser sends, as `*` or an address with a path.
        """
        origins = [origin for origin in re.split(r"[\s,]+", listed) if origin]
        for origin in origins:
            parts = urlsplit(origin)
            whole = f"{parts.scheme}://{parts.netloc}" == origin == origin.lower()
            web = parts.scheme in {"http", "https"} and parts.netloc and "*" not in origin
            if not (whole and web) or "@" in origin:
                raise TwinError(
                    "read TWIN_ALLOWED_ORIGINS",
                    found=f"{origin!r}, which is no origin",
                    next_step="list origins as https://example.org or http://localhost:8080: "
                    "scheme, host and port in small letters, no path, no *",
                )
        return cls(frozenset(origins))

    def allows(self, origin: str) -> bool:
        return origin in self.allowed

    def of_answer(self, origin: str) -> Headers:
        """Headers of any answer; `origin` is the request's, or empty."""
        if not self.allowed:
            return []
        # Caches must not hand the answer for one page to another.
        vary: Headers = [(b"vary", b"origin")]
        if not self.allows(origin):
            return vary
        return [
            *vary,
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", _SHOWN),
        ]

    def of_preflight(self, methods: str, asked_headers: bytes) -> Headers:
        """Headers of the answer to a preflight request of an allowed origin, beside `of_answer`.

        Args:
            methods: of the route, separated by commas.
            asked_headers: those that the page wants to send. Any may be: the allow-list keeps three
                and drops the rest (OpenAI's client sends a dozen `x-stainless-…`).
        """
        headers: Headers = [
            (b"access-control-allow-methods", methods.encode()),
            (b"access-control-max-age", _MAX_AGE_S),
        ]
        if _HEADER_NAMES.fullmatch(asked_headers):
            headers.append((b"access-control-allow-headers", asked_headers))
        return headers
