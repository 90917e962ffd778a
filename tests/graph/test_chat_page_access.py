"""Test who may send requests to the chat page: this home's own page, with this home's cookie."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from twin_resources.page.gateway_client import GatewayClient
from twin_resources.page.links import DAGSTER_PAGE, cookie_name, load_page_access, make_link
from twin_resources.page.page import build_app
from twin_resources.settings import Settings

OWN_ORIGIN = "http://127.0.0.1:7860"
JOIN = "/gradio_api/queue/join"
FOREIGN = {
    "another site": {"origin": "http://evil.example"},
    "another port of this machine": {"origin": "http://127.0.0.1:8080"},
    "another name of this machine": {"origin": "http://localhost:7860"},
    "a frame without an origin": {"origin": "null"},
    "no origin": {},
    "an empty origin": {"origin": ""},
    "an origin that is no address": {"origin": "http://[::1"},
    "this host in the path": {"origin": "http://evil.example/127.0.0.1:7860"},
    "this host as a name": {"origin": "http://127.0.0.1:7860@evil.example"},
}


def _open_page(home: Settings) -> TestClient:
    access = load_page_access(home)
    gateway = GatewayClient("http://127.0.0.1:9/v1", access.key)
    app = build_app(home, gateway, cookie_secret=access.cookie_secret)
    client = TestClient(app, base_url=OWN_ORIGIN, follow_redirects=False)
    assert client.get(make_link(home, OWN_ORIGIN).removeprefix(OWN_ORIGIN)).status_code == 303
    return client


@pytest.fixture
def page(home: Settings) -> TestClient:
    return _open_page(home)


def test_a_foreign_page_cannot_use_the_cookie(page: TestClient) -> None:
    assert page.post(JOIN, json={}, headers={"origin": OWN_ORIGIN}).status_code == 422
    for name, headers in FOREIGN.items():
        for method, path in (("POST", JOIN), ("POST", "/gradio_api/upload"), ("DELETE", "/")):
            response = page.request(method, path, json={}, headers=headers)
            assert response.status_code == 403, (name, path)
        if headers:
            assert page.get("/config", headers=headers).status_code == 403, name
    assert page.get("/config").status_code == 200


def test_the_page_loads_and_submits_nothing_elsewhere(page: TestClient) -> None:
    policy = page.get("/").headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["form-action"] == rules["base-uri"] == rules["frame-ancestors"] == "'none'"
    assert rules["default-src"] == rules["connect-src"] == "'self'"


def test_two_homes_pages_do_not_end_each_other(home: Settings, page: TestClient) -> None:
    other_home = home.model_copy(update={"home": home.home.with_name("other")})
    other = _open_page(other_home)
    both_cookies = dict(page.cookies) | dict(other.cookies)  # as a browser sends to both ports
    assert len(both_cookies) == 2
    for client in (page, other):
        client.cookies.clear()
        for name, value in both_cookies.items():
            client.cookies.set(name, value)
        assert client.get("/config").status_code == 200
    names = {
        cookie_name(each, kind) for each in (home, other_home) for kind in ("chat", DAGSTER_PAGE)
    }
    assert len(names) == 4
