"""The door: exact routes, refusals before the proxy, and what the proxy gets to see.

Behind it is a small ASGI application that tells what it was sent; `tests/live` has LiteLLM.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from twin_resources.authors import Author
from twin_resources.gateway.choice import Server, Snapshot
from twin_resources.gateway.feedback import FeedbackDesk
from twin_resources.gateway.keys import keyring_of
from twin_resources.gateway.live import Live
from twin_resources.gateway.request_body import ADMITTED_KEY, MAX_BODY_BYTES
from twin_resources.gateway.routes import OPEN_ROUTES, ROUTES, Door, Message, Receive, Scope, Send
from twin_resources.langfuse.outbox import Outbox
from twin_resources.settings import Settings, load_secrets


class Background:
    def __init__(self) -> None:
        self.told: list[str] = []

    async def start(self) -> None:
        self.told.append("start")

    async def stop(self) -> None:
        self.told.append("stop")


async def telling(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was asked."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = (await receive())["body"] if scope["method"] == "POST" else b""
    told: dict[str, Any] = {
        "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
        "query": scope["query_string"].decode(),
        "client": scope["client"],
        "body": body.decode(),
    }
    headers = [(b"x-litellm-version", b"1"), (b"llm_provider-server", b"x"), (b"x-twin-a", b"b")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


@pytest.fixture
def door(home: Settings) -> Door:
    live = Live(home)
    server = Server("http://127.0.0.1:1/v1", "base", "", ready=True)
    live.current = Snapshot({"ann": Author("ann", "Ann")}, None, {"base": server})
    desk = FeedbackDesk(Outbox(home.home / "outbox.sqlite"))
    return Door(telling, keyring_of(home), live, Background(), desk)


@pytest.fixture
async def client(door: Door, home: Settings) -> AsyncIterator[httpx.AsyncClient]:
    key = load_secrets(home).gateway_key
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(door),
        base_url="http://door",
        headers={"Authorization": f"Bearer {key}"},
    ) as client:
        yield client


QUESTION = {"model": "twin/ann", "messages": [{"role": "user", "content": "Wöran? 李"}]}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("HEAD", "/"),
        ("GET", "/openapi.json"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/messages"),
        ("GET", "/models"),
        ("GET", "/v1/models/twin/ann"),
        ("GET", "/model/info"),
        ("POST", "/v1/models"),
        ("OPTIONS", "/v1/chat/completions"),
        ("HEAD", "/v1/models"),
        ("POST", "/engines/x/chat/completions"),
        ("GET", "/health"),
        ("GET", "//v1/models"),
        ("GET", "/v1/models%2f"),
        ("GET", "/metrics"),
    ],
)
async def test_every_other_route_is_404_before_authentication(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path, headers={"Authorization": ""})
    assert answer.status_code == 404
    if method != "HEAD":
        assert answer.json()["error"]["code"] == "no_such_route"


async def test_a_websocket_is_closed(door: Door) -> None:
    sent: list[Message] = []

    async def hear() -> Message:
        return {"type": "websocket.connect"}

    async def tell(message: Message) -> None:
        sent.append(message)

    await door({"type": "websocket", "path": "/v1/realtime", "headers": []}, hear, tell)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_the_root_says_what_this_is_and_where_the_page_is(client: httpx.AsyncClient) -> None:
    """One line without a key; nothing of this home is in it, and LiteLLM is not asked."""
    answer = await client.get("/", headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["content-type"][:10]) == (200, "text/plain")
    assert answer.text.count("\n") == 1
    assert "`twin open`" in answer.text
    assert "ann" not in answer.text.lower()


def test_three_routes_need_no_key() -> None:
    open_routes = {("GET", "/"), ("GET", "/health/liveliness"), ("GET", "/health/readiness")}
    assert open_routes == OPEN_ROUTES


@pytest.mark.parametrize("route", sorted(ROUTES - OPEN_ROUTES))
async def test_the_routes_that_answer_need_a_key(
    client: httpx.AsyncClient, route: tuple[str, str]
) -> None:
    for authorization in ("", "Bearer sk-wrong"):
        headers = {"Authorization": authorization}
        answer = await client.request(*route, headers=headers, json=QUESTION)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "Next:" in answer.json()["error"]["message"]


async def test_the_proxy_sees_the_checked_body_and_three_headers(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post(
        "/v1/chat/completions?api-version=1&x=2",
        json=QUESTION,
        headers={
            "x-litellm-tags": "mine",
            "langfuse_trace_id": "mine",
            "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01",
            "User-Agent": "somebody/1.0",
            "X-Forwarded-For": "10.0.0.1",
            "Cookie": "a=b",
        },
    )
    told = answer.json()
    assert set(told["headers"]) == {
        "authorization", "accept", "host", "content-type", "content-length",
    }  # fmt: skip
    assert (told["query"], told["client"]) == ("", None)
    assert json.loads(told["body"]) == QUESTION
    assert int(told["headers"]["content-length"]) == len(told["body"])
    assert "x-twin-a" in answer.headers
    assert not [name for name in answer.headers if name.startswith(("x-litellm", "llm_"))]


async def test_the_proxy_sees_no_metadata_of_a_client(client: httpx.AsyncClient) -> None:
    sent = QUESTION | {"metadata": {"model_group": "bob/v1"}, "user": "eve", "n": 1}
    answer = await client.post("/v1/chat/completions", json=sent)
    told = {"ignored": ["metadata"], "user": "eve"}
    assert json.loads(answer.json()["body"]) == QUESTION | {ADMITTED_KEY: told}


async def test_a_form_is_no_way_around_the_list(client: httpx.AsyncClient) -> None:
    body = b"model=twin%2Fann&api_base=http%3A%2F%2Fevil"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await client.post("/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400


async def test_a_key_named_twice_counts_as_it_is_checked(client: httpx.AsyncClient) -> None:
    twice = (
        b'{"model": "twin/zoe", "messages": [{"role":"user","content":"x"}], "model":"twin/ann"}'
    )
    answer = await client.post("/v1/chat/completions", content=twice)
    assert json.loads(answer.json()["body"])["model"] == "twin/ann"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (QUESTION | {"lora": [{"id": 0}]}, 400, "key_not_allowed"),
        (QUESTION | {"model": "twin/zoe"}, 404, "unknown_author"),
        (QUESTION | {"model": "twin/ann@canary"}, 404, "unknown_alias"),
        (QUESTION | {"messages": []}, 400, "bad_request"),
        ({"pad": "x" * MAX_BODY_BYTES}, 413, "body_too_large"),
    ],
)
async def test_what_cannot_be_answered_does_not_reach_the_proxy(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, code: str
) -> None:
    answer = await client.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_models_lists_the_names_that_can_be_asked(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/v1/models")).json()
    assert [model["id"] for model in answer["data"]] == ["twin/ann", "twin/ann@base"]
    assert {model["object"] for model in answer["data"]} == {"model"}


async def test_readiness_says_what_is_missing(client: httpx.AsyncClient, door: Door) -> None:
    assert (await client.get("/health/readiness")).status_code == 200
    door.live.current = Snapshot({}, None, {}, problems=("policy unreadable",))
    answer = await client.get("/health/readiness", headers={"Authorization": ""})
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["policy unreadable"]


async def test_with_no_server_ready_the_answer_is_503(
    client: httpx.AsyncClient, door: Door
) -> None:
    door.live.current = Snapshot({"ann": Author("ann", "Ann")}, None, {})
    answer = await client.post("/chat/completions", json=QUESTION)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")


async def test_the_background_runs_from_start_to_shutdown(door: Door) -> None:
    heard = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def hear() -> Message:
        return next(heard)

    async def tell(message: Message) -> None:
        sent.append(message["type"])

    await door({"type": "lifespan"}, hear, tell)
    assert isinstance(door.background, Background)
    assert door.background.told == ["start", "stop"]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
