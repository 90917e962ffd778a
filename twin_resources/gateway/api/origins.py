"""Allow web pages of listed origins to call the gateway from a browser (CORS).

Scope: reading `TWIN_ALLOWED_ORIGINS`, which is empty by default, and the response headers.
Out of scope: authentication (`keys.py`); a page needs a key like every other client.

`*` is refused, because any open web page could then try keys or use a key stored in the browser.
Browser credentials (cookies) are not allowed, so a page can reach only what its own key permits.
Protocol: https://fetch.spec.whatwg.org/#http-cors-protocol
"""
# pyright: strict

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from twin_resources.errors import TwinError

Headers = list[tuple[bytes, bytes]]

# Headers of an answer that a page may read.
_EXPOSED_HEADERS = b"x-request-id, x-twin-trace-id, x-twin-sources, retry-after"
_MAX_AGE_S = b"7200"  # the maximum in Chrome
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9_\-, ]{1,1000}")


@dataclass(frozen=True)
class Origins:
    """The allowed origins, as browsers send them (`https://example.org`)."""

    allowed: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, setting: str) -> Origins:
        """Parse the origins of a setting, separated by spaces or commas.

        Raises:
            TwinError: an entry is not an origin that a browser sends, such as `*` or an address
                with a path.
        """
        origins = [origin for origin in re.split(r"[\s,]+", setting) if origin]
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
        return cls(frozenset(origins))

    def allows(self, origin: str) -> bool:
        return origin in self.allowed

    def answer_headers(self, origin: str) -> Headers:
        """Return the headers of an answer; `origin` is the origin of the request, or empty."""
        if not self.allowed:
            return []
        # A cache must not serve the answer for one origin to another.
        vary_headers: Headers = [(b"vary", b"origin")]
        if not self.allows(origin):
            return vary_headers
        return [
            *vary_headers,
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
        ]

    def preflight_headers(self, methods: str, requested_headers: bytes) -> Headers:
        """Return the headers of a preflight response, in addition to `answer_headers`.

        Args:
            methods: methods of the route, separated by commas.
            requested_headers: the headers that the page wants to send. All are allowed, because
                the allow-list drops those that it does not need (OpenAI's client sends a dozen
                `x-stainless-…`).
        """
        headers: Headers = [
            (b"access-control-allow-methods", methods.encode()),
            (b"access-control-max-age", _MAX_AGE_S),
        ]
        if _HEADER_NAMES.fullmatch(requested_headers):
            headers.append((b"access-control-allow-headers", requested_headers))
        return headers
