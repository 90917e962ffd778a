"""Which pages may ask from a browser, and the headers that tell it."""

from __future__ import annotations

import pytest

from twin_resources.errors import TwinError
from twin_resources.gateway.api.origins import Origins


def test_exact_origins_are_read() -> None:
    origins = Origins.parse(" https://example.org,http://localhost:8080  http://[::1]:80")
    assert origins.allowed == {"https://example.org", "http://localhost:8080", "http://[::1]:80"}
    assert Origins.parse("").allowed == frozenset()


@pytest.mark.parametrize(
    "listed",
    ["*", "null", "example.org", "https://*.example.org", "https://example.org/", "https://a@b.c",
     "https://Example.org", "file://x", "https://", "https://a.b https://a.b/c"],
)  # fmt: skip
def test_what_no_browser_sends_is_refused(listed: str) -> None:
    with pytest.raises(TwinError, match="TWIN_ALLOWED_ORIGINS"):
        Origins.parse(listed)


def test_a_page_that_is_not_listed_is_told_nothing() -> None:
    assert Origins().answer_headers("https://example.org") == []
    origins = Origins.parse("https://example.org")
    for origin in ("", "null", "https://example.org.evil.com", "http://example.org"):
        assert origins.answer_headers(origin) == [(b"vary", b"origin")]


def test_a_listed_page_is_told_its_own_name_and_no_cookies_are_allowed() -> None:
    told = dict(Origins.parse("https://a.b https://c.d").answer_headers("https://c.d"))
    assert told[b"access-control-allow-origin"] == b"https://c.d"
    assert told[b"vary"] == b"origin"
    assert b"access-control-allow-credentials" not in told


def test_a_preflight_allows_header_names_and_nothing_else() -> None:
    origins = Origins.parse("https://a.b")
    told = dict(origins.preflight_headers("POST", b"authorization, x-stainless-os"))
    assert told[b"access-control-allow-headers"] == b"authorization, x-stainless-os"
    assert told[b"access-control-allow-methods"] == b"POST"
    for smuggled in (b"", b"a\r\nset-cookie: b", b"x" * 2000):
        assert b"access-control-allow-headers" not in dict(
            origins.preflight_headers("POST", smuggled)
        )
