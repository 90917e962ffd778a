"""Test the allow-list of routes, early refusals, and the request that the proxy receives.

The proxy is a small ASGI application that returns its request; `tests/live` runs LiteLLM.
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
from starlette.types import Message, Receive, Scope, Send

from tests.unit.gateway.exchanges import create_record
from twin_resources.access.keys import (
    ROLES,
    KeyLimits,
    add_key,
    open_key_store,
    open_keyring,
    revoke_key,
)
from twin_resources.access.refusals import RefusedError
from twin_resources.authors import Author
from twin_resources.gateway.api import routes
from twin_resources.gateway.api.admission import AdmissionControl
from twin_resources.gateway.api.agent_tools import AgentTools
from twin_resources.gateway.api.key_limits import KeyRequestCounter
from twin_resources.gateway.api.questions_page import QuestionsPage
from twin_resources.gateway.api.recent_responses import RecentResponses
from twin_resources.gateway.api.routes import OPEN_ROUTES, ROUTES, RouteAllowlist
from twin_resources.gateway.api.widget import render_widget_line
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.exchange.exchange import current_call
from twin_resources.gateway.passage_finder import create_passage_finder
from twin_resources.gateway.request.request_body import MAX_BODY_BYTES
from twin_resources.gateway.routing.snapshot import Server, Snapshot
from twin_resources.gateway.runtime.home_metrics import HomeMetrics
from twin_resources.observability.langfuse.outbox import Outbox
from twin_resources.settings import Settings, load_secrets
from twin_resources.storage.state.home_state import open_home_state


class FakeTasks:
    def __init__(self) -> None:
        self.calls: list[str] = []

    async def start(self) -> None:
        self.calls.append("start")

    async def stop(self) -> None:
        self.calls.append("stop")


async def echo_proxy(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the request back as a JSON response."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = (await receive())["body"] if scope["method"] == "POST" else b""
    request: dict[str, Any] = {
        "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
        "query": scope["query_string"].decode(),
        "client": scope["client"],
        "path": scope["path"],
        "body": body.decode(),
        "call": [
            current_call.get().model,
            current_call.get().parameters.ignored,
            current_call.get().parameters.user,
        ],
    }
    headers = [(b"x-litellm-version", b"1"), (b"llm_provider-server", b"x"), (b"x-twin-a", b"b")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(request).encode()})


@pytest.fixture
def app(home: Settings) -> RouteAllowlist:
    live_config = LiveConfig(home)
    server = Server("http://127.0.0.1:1/v1", "base", "", ready=True)
    live_config.current = Snapshot({"ann": Author("ann", "Ann")}, None, {"base": server})
    outbox = Outbox(home.home / "outbox.sqlite")
    responses = RecentResponses(lambda: open_home_state(home), outbox)
    metrics = HomeMetrics(home, live_config, outbox)
    counter = KeyRequestCounter(lambda: open_key_store(home))
    limits = (create_passage_finder(home), AdmissionControl(32, 64), counter)
    tools, keyring = AgentTools(live_config, *limits), open_keyring(home)
    page = QuestionsPage(home, keyring, live_config, *limits)
    return RouteAllowlist(
        echo_proxy, keyring, live_config, FakeTasks(), outbox, responses, metrics, tools, page
    )


@pytest.fixture
async def client(app: RouteAllowlist, home: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with create_client(app, home) as client:
        yield client


NO_KEY = {"Authorization": ""}


def create_client(app: RouteAllowlist, home: Settings) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://gateway",
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


DISCONNECT: Message = {"type": "http.disconnect"}


def body_message(question: dict[str, Any], **fields: Any) -> Message:
    return {"type": "http.request", "body": json.dumps(question | fields).encode()}


class FakeClient:
    """A client that sends the messages, then waits, and collects the responses."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.responses: list[Message] = []

    async def receive(self) -> Message:
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)

    async def send(self, message: Message) -> None:
        self.responses.append(message)

    async def run(self, app: RouteAllowlist, scope: Scope) -> list[Message]:
        await asyncio.wait_for(app(scope, self.receive, self.send), 20)
        return self.responses


QUESTION = {"model": "twin/ann", "messages": [{"role": "user", "content": "Wöran? 李"}]}
VOTE = {"trace_id": "0" * 32, "thumb": "up"}


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


async def test_a_websocket_is_closed(app: RouteAllowlist) -> None:
    scope = {"type": "websocket", "path": "/v1/realtime", "headers": []}
    sent = await FakeClient({"type": "websocket.connect"}).run(app, scope)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_the_root_describes_the_gateway_without_a_key(client: httpx.AsyncClient) -> None:
    answer = await client.get("/", headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["content-type"][:10]) == (200, "text/plain")
    assert answer.text.count("\n") == 1
    assert "`twin open`" in answer.text
    assert "ann" not in answer.text.lower()


def test_five_addresses_need_no_key_in_the_header() -> None:
    open_paths = {"/", "/questions", "/twin.js", "/health/liveliness", "/health/readiness"}
    assert {("GET", path) for path in open_paths} | {("POST", "/questions")} == OPEN_ROUTES


async def test_the_page_of_questions_opens_for_keys_of_role_author_alone(
    client: httpx.AsyncClient, home: Settings
) -> None:
    first = await client.get("/questions", headers=NO_KEY)
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-store")
    assert "frame-ancestors 'none'" in first.headers["content-security-policy"]
    state = open_key_store(home)
    forms: list[tuple[dict[str, str], int, str]] = [
        ({"key": add_key(state, role=role, authors=["ann"], label=role)}, 403, f"the role {role}.")
        for role in ROLES
        if role != "author"
    ]
    key, foreign_key = (
        add_key(state, role="author", authors=[name], label=name) for name in ("ann", "bob")
    )
    forms += [
        ({"key": "wrong"}, 401, "unknown to this gateway or was revoked"),
        ({"key": foreign_key}, 403, "a key for bob"),
        ({"key": key, "author": "bob"}, 403, "a key for ann"),
    ]
    for form, status, reason in forms:
        refused = await client.post("/questions", data=form, headers=NO_KEY)
        assert (refused.status_code, reason in refused.text) == (status, True), refused.text
        assert form["key"] not in refused.text


async def test_the_widget_is_kept_by_browsers_under_its_printed_address(
    client: httpx.AsyncClient,
) -> None:
    line = render_widget_line("https://t.example/v1", author="ann", name='Ann "A" <b>', key="k")
    assert 'data-name="Ann &quot;A&quot; &lt;b&gt;"' in line
    address = line.partition('src="https://t.example')[2].partition('"')[0]
    newest, older = await client.get(address, headers=NO_KEY), await client.get("/twin.js?v=1")
    assert len(newest.content) <= 20_480
    assert "immutable" in newest.headers["cache-control"]
    assert older.headers["cache-control"] == "no-cache"
    assert (older.content, older.headers["etag"]) == (newest.content, newest.headers["etag"])
    known = await client.get("/twin.js", headers={"If-None-Match": newest.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


async def test_a_sites_key_is_one_reader_and_answers_only_its_pages(
    client: httpx.AsyncClient, home: Settings
) -> None:
    limits = KeyLimits(origins=frozenset({"https://ann.example"}))
    state = open_key_store(home)
    key = add_key(state, role="site", authors=["ann"], label="site", limits=limits)
    for origin, vote, code in (
        ("https://ann.example", VOTE, None),
        ("https://ann.example", VOTE | {"reader": "user-1"}, "reader_not_allowed"),
        ("https://ann.example.org", VOTE, "origin_not_allowed"),
        ("", VOTE, "origin_not_allowed"),
    ):
        headers = {"Authorization": f"Bearer {key}"} | ({"Origin": origin} if origin else {})
        answer = await client.post("/twin/feedback", json=vote, headers=headers)
        assert answer.json().get("error", {}).get("code") == code
        chat = await client.post("/v1/chat/completions", json=QUESTION, headers=headers)
        assert (chat.status_code == 403) is (code == "origin_not_allowed")
    assert "a key for pages of https://ann.example" in chat.json()["error"]["message"]


@pytest.mark.parametrize("route", sorted(ROUTES - OPEN_ROUTES))
async def test_every_other_listed_route_needs_a_key(
    client: httpx.AsyncClient, route: tuple[str, str]
) -> None:
    for authorization in ("", "Bearer sk-wrong"):
        headers = {"Authorization": authorization}
        answer = await client.request(*route, headers=headers, json=QUESTION)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "the gateway key of this home" in answer.json()["error"]["message"]


async def test_the_task_header_selects_the_task_alias(client: httpx.AsyncClient) -> None:
    question = QUESTION | {"model": "twin/ann@base"}
    answer = await client.post(
        "/v1/chat/completions", json=question, headers={"x-twin-task": "title"}
    )
    assert answer.json()["call"] == ["twin/ann@task", [], ""]


async def test_the_proxy_receives_the_checked_body_and_few_headers(
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
            "Idempotency-Key": "once",
        },
    )
    request = answer.json()
    assert set(request["headers"]) == {
        "authorization", "accept", "host", "content-type", "content-length",
    }  # fmt: skip
    assert (request["query"], request["client"]) == ("", None)
    assert json.loads(request["body"]) == QUESTION
    assert int(request["headers"]["content-length"]) == len(request["body"])
    assert "x-twin-a" in answer.headers
    assert not [name for name in answer.headers if name.startswith(("x-litellm", "llm_"))]


async def test_a_form_body_is_refused(client: httpx.AsyncClient) -> None:
    body = b"model=twin%2Fann&api_base=http%3A%2F%2Fevil"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await client.post("/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400


async def test_the_last_of_two_equal_json_keys_is_checked_and_forwarded(
    client: httpx.AsyncClient,
) -> None:
    body = b'{"model": "twin/zoe", "messages": [{"role":"user","content":"x"}], "model":"twin/ann"}'
    answer = await client.post("/v1/chat/completions", content=body)
    assert json.loads(answer.json()["body"])["model"] == "twin/ann"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (QUESTION | {"n": 2}, 400, "bad_request"),
        (QUESTION | {"model": "base"}, 404, "model_not_found"),  # LiteLLM has a model of this name
        (QUESTION | {"model": "twin/zoe"}, 404, "unknown_author"),
        ({"pad": "x" * MAX_BODY_BYTES}, 413, "body_too_large"),
    ],
)
async def test_an_invalid_request_does_not_reach_the_proxy(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, code: str
) -> None:
    answer = await client.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_the_models_route_lists_the_available_names(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/v1/models")).json()
    names = ["twin/ann", "twin/ann@base", "twin/ann@voice"]
    assert [model["id"] for model in answer["data"]] == names
    assert {model["object"] for model in answer["data"]} == {"model"}


async def test_the_model_route_returns_the_version(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()["data"]
    for model in listed:
        assert (await client.get(f"/v1/models/{model['id']}")).json() == model
    # The official client encodes the slash.
    one = await client.get("/v1/models/twin%2Fann")
    assert (one.json()["id"], one.json()["twin"]["version"]) == ("twin/ann", "base")
    unknown = await client.get("/v1/models/twin/zoe")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert (await client.get("/v1/models/twin/ann", headers=NO_KEY)).status_code == 401


async def test_every_answer_has_a_request_id_and_429_has_retry_after(
    client: httpx.AsyncClient, app: RouteAllowlist
) -> None:
    ids = [
        (await client.get(path)).headers["x-request-id"] for path in ("/", "/v1/models", "/nowhere")
    ]
    assert len({*ids, ""}) == 4
    assert "retry-after" not in (await client.get("/v1/models")).headers
    app.admission = AdmissionControl(max_per_key=0, max_per_server=1)
    refused = await client.post("/v1/chat/completions", json=QUESTION)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")


async def test_the_request_id_of_a_traced_answer_is_its_trace_id(
    app: RouteAllowlist, home: Settings
) -> None:
    record = create_record()

    async def traced_proxy(scope: Scope, receive: Receive, send: Send) -> None:
        current_call.get().record = record
        headers = [(b"x-request-id", b"litellms")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    app.proxy = traced_proxy
    async with create_client(app, home) as client:
        answer = await client.post("/v1/chat/completions", json=QUESTION)
    assert answer.headers.get_list("x-request-id") == [record.trace_id]
    assert answer.headers.get_list("x-twin-trace-id") == [record.trace_id]


async def test_a_refusal_inside_the_proxy_has_the_same_body_as_one_before_it(
    app: RouteAllowlist, home: Settings
) -> None:
    async def refusing_proxy(scope: Scope, receive: Receive, send: Send) -> None:
        current_call.get().refusal = RefusedError(
            429, "provider_rate_limited", "Wait.", retry_after_s=7
        )
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"LiteLLM's words"})

    app.proxy = refusing_proxy
    async with create_client(app, home) as client:
        answer = await client.post("/v1/responses", json={"model": "twin/ann", "input": "Why?"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["error"]["code"] == "provider_rate_limited"


@pytest.mark.parametrize(
    ("path", "fields", "ignored"),
    [
        ("/v1/chat/completions", QUESTION, []),
        ("/v1/completions", {"model": "twin/ann", "prompt": "Why?"}, ["lora"]),
        (
            "/v1/responses",
            {"model": "twin/ann", "input": [{"role": "user", "content": "Why?"}]},
            ["include"],
        ),
    ],
    ids=("chat", "completions", "responses"),
)
async def test_litellm_receives_each_api_without_what_has_no_effect(
    client: httpx.AsyncClient, path: str, fields: dict[str, Any], ignored: list[str]
) -> None:
    sent = fields | {"user": "eve", "n": 1, "stop": "x"} | {key: ["x"] for key in ignored}
    request = (await client.post(path, json=sent)).json()
    assert (request["path"], json.loads(request["body"])) == (path, fields)
    assert request["call"] == ["twin/ann", ignored, "eve"]
    for key in ("n", "tool_choice"):
        refused = await client.post(path, json=fields | {key: 2})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, key)


@pytest.mark.parametrize(
    ("prompt", "status"),
    [
        ("Why?", 200),
        (["Why?"], 200),
        (["Why?", "How?"], 400),
        ([1, 2], 400),
        ([], 400),
        (None, 400),
    ],
)
async def test_a_completion_has_one_text_as_prompt(
    client: httpx.AsyncClient, prompt: Any, status: int
) -> None:
    answer = await client.post("/v1/completions", json={"model": "twin/ann", "prompt": prompt})
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]["param"] == "prompt"


async def test_an_incomplete_body_is_refused_and_its_connection_closed(app: RouteAllowlist) -> None:
    app.body_timeout_s = 0.05
    scope = post_scope(load_secrets(app.live_config.settings).gateway_key)
    sent = await FakeClient({"type": "http.request", "body": b"{", "more_body": True}).run(
        app, scope
    )
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    # A client that disconnects while sending its body gets no answer, and the proxy is not called.
    assert await FakeClient(DISCONNECT).run(app, scope) == []


async def test_a_blocked_event_loop_does_not_count_as_a_slow_body(app: RouteAllowlist) -> None:
    app.body_timeout_s = 0.05

    class SlowClient(FakeClient):
        async def receive(self) -> Message:
            if len(self.messages) == 1:
                time.sleep(0.1)  # other requests block the event loop
                for _ in range(9):  # the rest of the body arrives some iterations later
                    await asyncio.sleep(0)
            return await super().receive()

    first_part = {"type": "http.request", "body": b"{", "more_body": True}
    last_part = {"type": "http.request", "body": b"}", "more_body": False}
    scope = post_scope(load_secrets(app.live_config.settings).gateway_key)
    sent = await SlowClient(first_part, last_part).run(app, scope)
    assert sent[0]["status"] == 404, "the whole body was read, and it names no model"


@pytest.mark.parametrize("has_started", [False, True])
async def test_revoking_a_key_ends_its_answer(
    app: RouteAllowlist, monkeypatch: pytest.MonkeyPatch, *, has_started: bool
) -> None:
    monkeypatch.setattr(routes, "KEY_CHECK_INTERVAL_S", 0.05)
    finished_work: list[str] = []

    async def endless_proxy(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if has_started:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            revoke_key(keys, "friend")
            await asyncio.Event().wait()
        finally:
            finished_work.append("the work")

    keys = open_key_store(app.live_config.settings)
    key = add_key(keys, role="reader", authors=["ann"], label="friend")
    app.proxy = endless_proxy
    sent = await FakeClient(body_message(QUESTION, stream=True)).run(app, post_scope(key))
    assert finished_work == ["the work"]
    assert sent[0]["status"] == (200 if has_started else 401)
    last = sent[-1]["body"].decode()
    assert '"wrong_key"' in last
    assert last.endswith("data: [DONE]\n\n") == has_started


async def test_an_error_of_the_proxy_is_raised(app: RouteAllowlist, home: Settings) -> None:
    async def broken_proxy(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    app.proxy = broken_proxy
    async with create_client(app, home) as client:
        with pytest.raises(RuntimeError, match="broken"):
            await client.post("/v1/chat/completions", json=QUESTION)


async def test_readiness_reports_problems(client: httpx.AsyncClient, app: RouteAllowlist) -> None:
    assert (await client.get("/health/readiness")).status_code == 200
    app.live_config.current = Snapshot({}, None, {}, problems=("policy unreadable",))
    answer = await client.get("/health/readiness", headers={"Authorization": ""})
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["policy unreadable"]


async def test_a_gateway_without_an_author_is_not_ready(
    client: httpx.AsyncClient, app: RouteAllowlist
) -> None:
    app.live_config.current = replace(app.live_config.current, authors={})
    answer = await client.get("/health/readiness")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "waiting for an author",
        "servers": ["base"],
        "authors": [],
        "problems": [],
    }


async def test_the_background_tasks_run_from_startup_to_shutdown(app: RouteAllowlist) -> None:
    events = FakeClient({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    sent = await events.run(app, {"type": "lifespan"})
    assert isinstance(app.background_tasks, FakeTasks)
    assert app.background_tasks.calls == ["start", "stop"]
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
