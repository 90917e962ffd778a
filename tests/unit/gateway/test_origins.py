"""Test the parsing of allowed origins and the CORS headers of the wrapped application."""

from __future__ import annotations

import httpx
import pytest
from starlette.responses import JSONResponse

from twin_resources.errors import TwinError
from twin_resources.gateway.api.origins import allow_origins, parse_origins

REFUSAL = JSONResponse({"error": {}}, status_code=401)


def test_exact_origins_are_parsed() -> None:
    origins = parse_origins(" https://example.org,http://localhost:8080  http://[::1]:80")
    assert origins == {"https://example.org", "http://localhost:8080", "http://[::1]:80"}
    assert allow_origins(REFUSAL, "") is REFUSAL


@pytest.mark.parametrize(
    "setting",
    ["*", "null", "example.org", "https://*.example.org", "https://example.org/", "https://a@b.c",
     "https://Example.org", "file://x", "https://", "https://a.b https://a.b/c"],
)  # fmt: skip
def test_invalid_origins_are_refused(setting: str) -> None:
    with pytest.raises(TwinError, match="TWIN_ALLOWED_ORIGINS"):
        parse_origins(setting)


def create_client(setting: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(allow_origins(REFUSAL, setting))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


@pytest.mark.parametrize("origin", ["null", "https://example.org.evil.com", "http://example.org"])
async def test_a_page_of_another_origin_gets_no_permission(origin: str) -> None:
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    async with create_client("https://example.org") as client:
        answers = [
            await client.post("/v1/chat/completions", headers={"Origin": origin}),
            await client.options("/v1/chat/completions", headers=preflight),
        ]
    for answer in answers:
        assert "access-control-allow-origin" not in answer.headers
        assert "Origin" in answer.headers["vary"]


async def test_a_page_of_a_listed_origin_may_send_requests_without_cookies() -> None:
    page = {"Origin": "https://c.d", "Access-Control-Request-Method": "POST"}
    page["Access-Control-Request-Headers"] = "authorization, x-stainless-os"
    async with create_client("https://a.b https://c.d") as client:
        preflight = await client.options("/v1/chat/completions", headers=page)
        # A page that may not read a refusal shows a network error.
        refusal = await client.post("/v1/chat/completions", headers={"Origin": page["Origin"]})
    allowed_headers = preflight.headers["access-control-allow-headers"]
    assert (preflight.status_code, refusal.status_code) == (200, 401)
    assert allowed_headers == page["Access-Control-Request-Headers"]
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "x-request-id" in refusal.headers["access-control-expose-headers"]
    for answer in (preflight, refusal):
        assert answer.headers["access-control-allow-origin"] == page["Origin"]
        assert "access-control-allow-credentials" not in answer.headers
