"""The door: exact routes, refusals before the proxy, and what the proxy gets to see.

Behind it is a small ASGI application that tells what it was sent; `tests/live` has LiteLLM.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from twin_resources.access.keys import add_key, open_key_store, open_keyring, revoke_key
from twin_resources.authors import Author
from twin_resources.gateway.api import routes
from twin_resources.gateway.api.admission import Admission
from twin_resources.gateway.api.feedback import FeedbackService
from twin_resources.gateway.api.origins import Origins
from twin_resources.gateway.api.recent_responses import RecentResponses
from twin_resources.gateway.api.routes import (
    OPEN_ROUTES,
    ROUTES,
    Message,
    Receive,
    RouteAllowlist,
    Scope,
    Send,
)
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.costs.cost import Throughput, TokenPrices
from twin_resources.gateway.request.request_body import ADMITTED_KEY, MAX_BODY_BYTES
from twin_resources.gateway.routing.snapshot import Server, Snapshot
from twin_resources.gateway.runtime.home_metrics import HomeMetrics
from twin_resources.observability.langfuse.outbox import Outbox
from twin_resources.settings import Settings, load_secrets
from twin_resources.storage.state.state import State


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
def door(home: Settings) -> RouteAllowlist:
    live = LiveConfig(home)
    server = Server("http://127.0.0.1:1/v1", "base", "", ready=True)
    live.current = Snapshot({"ann": Author("ann", "Ann")}, None, {"base": server})
    desk = FeedbackService(Outbox(home.home / "outbox.sqlite"))
    recent = RecentResponses(lambda: State.open(home.state_address))
    metrics = HomeMetrics(home, live, desk.outbox)
    return RouteAllowlist(telling, open_keyring(home), live, Background(), desk, recent, metrics)


@pytest.fixture
async def client(door: RouteAllowlist, home: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(door, home) as client:
        yield client


NO_KEY = {"Authorization": ""}


def client_of(door: RouteAllowlist, home: Settings) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(door),
        base_url="http://door",
        headers={"Authorization": f"Bearer {load_secrets(home).gateway_key}"},
    )


def post_scope(key: str) -> Scope:
    return {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "query_string": b"",
        "client": None,
        "headers": [(b"authorization", f"Bearer {key}".encode())],
    }


LEFT: Message = {"type": "http.disconnect"}


def body_of(question: dict[str, Any], **more: Any) -> Message:
    return {"type": "http.request", "body": json.dumps(question | more).encode()}


class Reader:
    """A client that sends these messages and then stays; `told` is what it gets."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.told: list[Message] = []

    async def hear(self) -> Message:
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)

    async def tell(self, message: Message) -> None:
        self.told.append(message)

    async def ask(self, door: RouteAllowlist, scope: Scope) -> list[Message]:
        await asyncio.wait_for(door(scope, self.hear, self.tell), 20)
        return self.told


QUESTION = {"model": "twin/ann", "messages": [{"role": "user", "content": "Wöran? 李"}]}
DRAFT = QUESTION | {"model": "twin/ann@voice"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("HEAD", "/"),
        ("GET", "/openapi.json"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("GET", "/v1/responses"),
        ("GET", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/"),
        ("POST", "/v1/messages"),
        ("GET", "/models"),
        ("GET", "/v1/models/gpt-4"),
        ("GET", "/v1/models/twin/ann/v1"),
        ("DELETE", "/v1/models/twin/ann"),
        ("GET", "/model/info"),
        ("POST", "/v1/models"),
        ("OPTIONS", "/v1/chat/completions"),
        ("HEAD", "/v1/models"),
        ("POST", "/engines/x/chat/completions"),
        ("GET", "/health"),
        ("GET", "//v1/models"),
        ("GET", "/v1/models%2f"),
    ],
)
async def test_every_other_route_is_404_before_authentication(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path, headers={"Authorization": ""})
    assert answer.status_code == 404
    if method != "HEAD":
        assert answer.json()["error"]["code"] == "no_such_route"


async def test_a_websocket_is_closed(door: RouteAllowlist) -> None:
    scope = {"type": "websocket", "path": "/v1/realtime", "headers": []}
    sent = await Reader({"type": "websocket.connect"}).ask(door, scope)
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


async def test_a_program_names_its_own_request_by_a_header(client: httpx.AsyncClient) -> None:
    asked = QUESTION | {"model": "twin/ann@base"}
    answer = await client.post("/v1/chat/completions", json=asked, headers={"x-twin-task": "title"})
    assert json.loads(answer.json()["body"])["model"] == "twin/ann@task"


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
    names = ["twin/ann", "twin/ann@base", "twin/ann@voice"]
    assert [model["id"] for model in answer["data"]] == names
    assert {model["object"] for model in answer["data"]} == {"model"}


async def test_one_model_is_told_with_its_version_and_price(
    client: httpx.AsyncClient, door: RouteAllowlist
) -> None:
    listed = (await client.get("/v1/models")).json()["data"]
    for model in listed:
        assert (await client.get(f"/v1/models/{model['id']}")).json() == model
        assert model["twin"]["usd_per_million_prompt_tokens"] is None, "nothing was measured"
    # as the official client writes the name
    one = await client.get("/v1/models/twin%2Fann")
    assert (one.json()["id"], one.json()["twin"]["version"]) == ("twin/ann", "base")
    meter = Throughput(tokens=100, busy_seconds=1.0)
    door.prices = TokenPrices({"base": meter}, usd_per_hour=0.36)
    told = (await client.get("/v1/models/twin/ann")).json()["twin"]
    assert told["usd_per_million_answer_tokens"] == pytest.approx(1.0)
    unknown = await client.get("/v1/models/twin/zoe")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert (await client.get("/v1/models/twin/ann", headers=NO_KEY)).status_code == 401


async def test_every_answer_has_an_id_and_503_says_when_to_ask_again(
    client: httpx.AsyncClient, door: RouteAllowlist
) -> None:
    ids = [
        (await client.get(path)).headers["x-request-id"] for path in ("/", "/v1/models", "/nowhere")
    ]
    assert len({*ids, ""}) == 4
    assert "retry-after" not in (await client.get("/v1/models")).headers
    door.live_config.current = Snapshot({"ann": Author("ann", "Ann")}, None, {})
    refused = await client.post("/v1/chat/completions", json=DRAFT)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")


async def test_the_id_of_an_answer_with_a_trace_is_the_traces(
    door: RouteAllowlist, home: Settings
) -> None:
    trace = b"4bf92f3577b34da6a3ce929d0e0e4736"

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"X-Twin-Trace-Id", trace), (b"x-request-id", b"litellms")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    door.proxy = traced
    async with client_of(door, home) as client:
        answer = await client.post("/v1/chat/completions", json=QUESTION)
    assert answer.headers.get_list("x-request-id") == [trace.decode()]


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/completions"])
async def test_the_other_apis_reach_the_proxy_as_a_chat(
    client: httpx.AsyncClient, door: RouteAllowlist, path: str
) -> None:
    """So that there is one way through the plugin, and LiteLLM's own route for them is not it."""
    seen: list[tuple[str, bytes, Any]] = []

    async def chat(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["path"], scope["raw_path"], json.loads((await receive())["body"])))
        answer = {"id": "chatcmpl-1", "choices": [{"message": {"content": "A light one."}}]}
        body = json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body[:9], "more_body": True})
        await send({"type": "http.response.body", "body": body[9:]})

    door.proxy = chat
    sent = {"model": "twin/ann", "input": "Wöran? 李", "prompt": "Wöran? 李", "user": "eve"}
    del sent["prompt" if path == "/v1/responses" else "input"]
    answer = await client.post(path, json=sent)
    assert "A light one." in answer.text
    assert seen == [
        (
            "/v1/chat/completions",
            b"/v1/chat/completions",
            QUESTION | {ADMITTED_KEY: {"ignored": [], "user": "eve"}},
        )
    ]
    refused = await client.post(path, json=sent | {"model": "twin/zoe"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "unknown_author")


async def test_a_streams_events_are_put_together_however_its_bytes_are_cut(
    door: RouteAllowlist, home: Settings
) -> None:
    chunks = [{"id": "chatcmpl-1", "choices": [{"delta": {"content": "Öl"}}]}]
    stream = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    stream += b": still here\n\ndata: [DONE]\n\n"

    async def chat(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for place in range(0, len(stream), 7):
            piece = stream[place : place + 7]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    door.proxy = chat
    async with client_of(door, home) as client:
        answer = await client.post(
            "/v1/completions", json={"model": "twin/ann", "prompt": "Why?", "stream": True}
        )
    first, comment, done = answer.text.split("\n\n")[:3]
    assert json.loads(first.removeprefix("data: "))["choices"][0]["text"] == "Öl"
    assert (comment, done) == (": still here", "data: [DONE]")


async def test_a_page_may_ask_where_its_origin_is_listed(
    door: RouteAllowlist, home: Settings
) -> None:
    door.origins = Origins.parse("https://clocks.example")
    page = {"Origin": "https://clocks.example", "Access-Control-Request-Method": "POST"}
    async with client_of(door, home) as client:
        there = await client.options("/v1/chat/completions", headers=page)
        assert there.status_code == 204
        assert there.headers["access-control-allow-origin"] == "https://clocks.example"
        assert there.headers["access-control-allow-methods"] == "POST"
        for path, origin in (
            ("/nowhere", page["Origin"]),
            ("/v1/chat/completions", "https://evil.example"),
        ):
            refused = await client.options(path, headers=page | {"Origin": origin})
            assert refused.status_code == 404
        # also on a refusal: a page that is not told the reason shows a network error
        answer = await client.post(
            "/v1/chat/completions", json=QUESTION, headers=NO_KEY | {"Origin": page["Origin"]}
        )
        assert answer.status_code == 401
        assert answer.headers["access-control-allow-origin"] == "https://clocks.example"
        assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_a_body_that_does_not_end_is_refused_and_its_connection_closed(
    door: RouteAllowlist,
) -> None:
    door.body_timeout_s = 0.05
    scope = post_scope(load_secrets(door.live_config.settings).gateway_key)
    sent = await Reader({"type": "http.request", "body": b"{", "more_body": True}).ask(door, scope)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    # a client that leaves in the middle of its body is told nothing, and LiteLLM is not asked
    assert await Reader(LEFT).ask(door, scope) == []


async def test_a_busy_gateway_does_not_count_its_own_time_as_a_slow_body(
    door: RouteAllowlist,
) -> None:
    door.body_timeout_s = 0.05

    class Late(Reader):
        async def hear(self) -> Message:
            if len(self.messages) == 1:
                time.sleep(0.1)  # other requests keep the event loop
                for _ in range(9):  # the rest of the body comes some rounds of the loop later
                    await asyncio.sleep(0)
            return await super().hear()

    begin = {"type": "http.request", "body": b"{", "more_body": True}
    end = {"type": "http.request", "body": b"}", "more_body": False}
    scope = post_scope(load_secrets(door.live_config.settings).gateway_key)
    sent = await Late(begin, end).ask(door, scope)
    assert sent[0]["status"] == 404, "the body was read whole: it names no model"


async def test_a_reader_who_leaves_ends_the_proxys_work_though_it_sends_nothing(
    door: RouteAllowlist,
) -> None:
    """A guard may hold a stream's text back for long, and Starlette looks only where it sends."""
    ended: list[str] = []

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("the work")

    door.proxy = silent
    scope = post_scope(load_secrets(door.live_config.settings).gateway_key)
    assert await Reader(body_of(QUESTION), LEFT).ask(door, scope) == [], "nobody is there"
    assert ended == ["the work"]
    with door.admission.admit_for_key("x"):
        assert list(door.admission.counts._local_table) == ["key x"], "and its place is free"


async def test_a_stream_that_never_waits_lets_it_be_heard_that_its_reader_has_left(
    door: RouteAllowlist,
) -> None:
    """Pieces that lie in a buffer are there at once, and so is the room to send them."""
    pieces = 0

    async def faster(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal pieces
        await receive()
        while pieces < 3_000_000:
            pieces += 1
            await send({"type": "http.response.body", "body": b"data: {}", "more_body": True})

    door.proxy = faster
    scope = post_scope(load_secrets(door.live_config.settings).gateway_key)
    sent = await Reader(body_of(QUESTION, stream=True), LEFT).ask(door, scope)
    assert all(message["more_body"] for message in sent)
    assert pieces < 3_000_000, "the loop was its alone until the end"


@pytest.mark.parametrize("begun", [False, True])
async def test_a_key_that_is_revoked_ends_its_answer(
    door: RouteAllowlist, monkeypatch: pytest.MonkeyPatch, *, begun: bool
) -> None:
    monkeypatch.setattr(routes, "KEY_CHECK_INTERVAL_S", 0.05)
    ended: list[str] = []

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if begun:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            revoke_key(keys, "friend")
            await asyncio.Event().wait()
        finally:
            ended.append("the work")

    keys = open_key_store(door.live_config.settings)
    key = add_key(keys, role="reader", authors=["ann"], label="friend")
    door.proxy = endless
    sent = await Reader(body_of(QUESTION, stream=True)).ask(door, post_scope(key))
    assert ended == ["the work"]
    assert sent[0]["status"] == (200 if begun else 401)
    last = sent[-1]["body"].decode()
    assert '"code": "wrong_key"' in last
    assert last.endswith("data: [DONE]\n\n") == begun


async def test_an_answer_that_will_be_asked_for_again_is_written_to_its_end(
    door: RouteAllowlist,
) -> None:
    ended: list[str] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.sleep(0.05)
        ended.append("the work")

    door.proxy = slow
    scope = post_scope(load_secrets(door.live_config.settings).gateway_key)
    scope["headers"].append((b"idempotency-key", b"once"))
    assert await Reader(body_of(QUESTION), LEFT).ask(door, scope) == [], "nobody is there"
    assert ended == ["the work"]


async def test_an_error_of_the_proxy_is_told_to_the_server(
    door: RouteAllowlist, home: Settings
) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    door.proxy = broken
    async with client_of(door, home) as client:
        with pytest.raises(RuntimeError, match="broken"):
            await client.post("/v1/chat/completions", json=QUESTION)


async def test_a_full_queue_refuses_at_once_and_a_place_comes_free(
    door: RouteAllowlist, home: Settings
) -> None:
    door.admission = Admission(max_per_key=2, max_per_server=1)
    go_on = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await telling(scope, receive, send)

    door.proxy = slow
    async with client_of(door, home) as client:

        async def ask() -> httpx.Response:
            return await client.post("/v1/chat/completions", json=QUESTION)

        first = asyncio.create_task(ask())
        while not any(name.startswith("server") for name in door.admission.counts._local_table):
            await asyncio.sleep(0.001)
        refused = await ask()
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_waiting")
        assert (refused.headers["retry-after"], "base" in refused.text) == ("2", True)
        door.admission.max_per_key = 1
        assert "this key" in (await ask()).text
        go_on.set()
        assert (await first).status_code == 200
        assert (await ask()).status_code == 200


async def test_readiness_says_what_is_missing(
    client: httpx.AsyncClient, door: RouteAllowlist
) -> None:
    assert (await client.get("/health/readiness")).status_code == 200
    door.live_config.current = Snapshot({}, None, {}, problems=("policy unreadable",))
    answer = await client.get("/health/readiness", headers={"Authorization": ""})
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["policy unreadable"]


async def test_a_gateway_without_an_author_or_the_newest_release_is_not_ready(
    client: httpx.AsyncClient, door: RouteAllowlist
) -> None:
    door.follower_status = lambda: ("v2 is being fetched", "")
    answer = await client.get("/health/readiness")
    assert (answer.status_code, answer.json()["problems"]) == (503, ["v2 is being fetched"])
    door.follower_status = lambda: ("", "away")
    door.live_config.current = replace(door.live_config.current, authors={})
    answer = await client.get("/health/readiness")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "waiting for an author",
        "servers": ["base"],
        "authors": [],
        "problems": ["away"],
    }


async def test_with_no_server_ready_only_what_needs_a_model_is_refused(
    client: httpx.AsyncClient, door: RouteAllowlist
) -> None:
    door.live_config.current = Snapshot({"ann": Author("ann", "Ann")}, None, {})
    answer = await client.post("/chat/completions", json=DRAFT)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
    assert (await client.post("/chat/completions", json=QUESTION)).status_code == 200


async def test_the_background_runs_from_start_to_shutdown(door: RouteAllowlist) -> None:
    events = Reader({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    sent = await events.ask(door, {"type": "lifespan"})
    assert isinstance(door.background_tasks, Background)
    assert door.background_tasks.told == ["start", "stop"]
    assert [one["type"] for one in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
