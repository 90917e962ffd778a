"""Test the CORS headers: pages of the keys' origins may read answers and refusals."""

from __future__ import annotations

import httpx
import pytest
from starlette.responses import JSONResponse

from twin_resources.access.keys import KeyLimits, add_key, open_key_store, open_keyring, revoke_key
from twin_resources.gateway.api.origins import allow_origins
from twin_resources.settings import Settings


@pytest.fixture
def client(home: Settings) -> httpx.AsyncClient:
    state = open_key_store(home)
    limits = KeyLimits(origins=frozenset({"https://example.org", "http://localhost:80"}))
    add_key(state, role="site", authors=["ann"], label="ann's site", limits=limits)
    add_key(state, role="reader", authors=["ann"], label="a reader")
    revoke_key(state, "ann's site")  # its page reads that it was revoked
    refusal = JSONResponse({"error": {}}, status_code=401)
    transport = httpx.ASGITransport(allow_origins(refusal, open_keyring(home)))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


def list_preflight_headers(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, x-stainless-os",
    }


@pytest.mark.parametrize("origin", ["null", "https://example.org.evil.com", "http://example.org"])
async def test_a_page_of_another_origin_gets_no_permission(
    client: httpx.AsyncClient, origin: str
) -> None:
    answer = await client.post("/v1/chat/completions", headers={"Origin": origin})
    preflight = await client.options("/", headers=list_preflight_headers(origin))
    for reply in (answer, preflight):
        assert "access-control-allow-origin" not in reply.headers
    assert preflight.status_code == 400


async def test_a_page_of_a_keys_origin_may_send_requests_without_cookies(
    client: httpx.AsyncClient,
) -> None:
    page = list_preflight_headers("http://localhost:80")
    preflight = await client.options("/v1/chat/completions", headers=page)
    refusal = await client.post("/v1/chat/completions", headers={"Origin": page["Origin"]})
    allowed_headers = preflight.headers["access-control-allow-headers"]
    assert (preflight.status_code, refusal.status_code) == (200, 401)
    assert allowed_headers == page["Access-Control-Request-Headers"]
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "x-request-id" in refusal.headers["access-control-expose-headers"]
    for answer in (preflight, refusal):
        assert answer.headers["access-control-allow-origin"] == page["Origin"]
        assert "access-control-allow-credentials" not in answer.headers
