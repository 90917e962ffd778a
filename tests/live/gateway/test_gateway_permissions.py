"""Test which requests the running gateway allows: other authors' models, keys and routes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live.gateway.stack import Stack, count_processed_tokens
from twin_resources.access import keys
from twin_resources.gateway.api.routes import ROUTES

pytestmark = pytest.mark.live
MESSAGES = [{"role": "user", "content": "How much oil does a clock need?"}]
BODY: dict[str, Any] = {"model": "twin/ann@voice", "messages": MESSAGES, "max_tokens": 3}
ADAPTER = [{"id": 0, "scale": 1.0}]


@pytest.mark.parametrize(
    "attempt",
    [
        {"lora": ADAPTER},
        {"extra_body": {"lora": ADAPTER}},
        {"extra_body": {"model": "bob-v1"}},
        {"litellm_metadata": {"model_group": "bob/v1"}},
        {"specific_deployment": True},
        {"fallbacks": ["bob/v1"]},
        {"router_settings_override": {"fallbacks": [{"ann/v1": ["bob/v1"]}]}},
        {"user_config": {"model_list": []}},
        {"model_info": {"id": "bob/v1"}},
        {"tags": ["bob"]},
        {"custom_llm_provider": "openai"},
        {"extra_headers": {"x": "y"}},
        {"mock_response": "anything"},
    ],
    ids=lambda attempt: next(iter(attempt)),
)
def test_forbidden_keys_do_not_reach_another_authors_model(
    stack: Stack, attempt: dict[str, Any]
) -> None:
    tokens_before = count_processed_tokens(stack.models["bob/v1"])
    answer = stack.post(BODY | attempt)
    assert (answer.status_code, answer.json()["twin"]["ignored"]) == (200, [*attempt])
    assert answer.json()["twin"]["version"] == "base"
    assert count_processed_tokens(stack.models["bob/v1"]) == tokens_before


def test_a_clients_metadata_does_not_change_the_route(stack: Stack) -> None:
    tokens_before = count_processed_tokens(stack.models["bob/v1"])
    steering = {"model_group": "bob/v1", "specific_deployment": "bob/v1", "trace_id": "0" * 32}
    answer = stack.post(BODY | {"metadata": steering, "user": "mallory-7", "store": True}).json()
    assert answer["twin"]["ignored"] == ["metadata", "store", "user"]
    assert answer["twin"]["version"] == "base"
    assert answer["twin"]["trace_id"] != "0" * 32
    assert count_processed_tokens(stack.models["bob/v1"]) == tokens_before
    assert "mallory-7" not in str(stack.trace(answer["twin"]["trace_id"]))


def test_a_client_cannot_name_another_server(stack: Stack) -> None:
    bob = stack.servers["bob/v1"]
    tokens_before = count_processed_tokens(stack.models["bob/v1"])
    attempts = [
        BODY | {"model": "bob/v1"},
        BODY | {"model": "openai/bob-v1"},
        BODY | {"model": "twin/ann,bob/v1"},
        BODY | {"model": ["twin/ann", "bob/v1"]},
        BODY | {"model": "twin/bob@v1"},
    ]
    assert {stack.post(attempt).status_code for attempt in attempts} == {404}
    addresses = {"api_base": bob["url"], "base_url": bob["url"], "api_key": bob["key"]}
    assert stack.post(BODY | addresses).json()["twin"]["version"] == "base"
    by_header = stack.post(
        BODY,
        **{
            "x-litellm-model": "bob/v1",
            "x-litellm-fallbacks": "bob/v1",
            "x-litellm-tags": "bob",
            "x-litellm-api-base": bob["url"],
            "x-api-key": bob["key"],
        },
    )
    assert by_header.json()["twin"]["version"] == "base"
    assert count_processed_tokens(stack.models["bob/v1"]) == tokens_before


def test_a_request_increases_the_token_count(stack: Stack) -> None:
    stack.release("bob", 1)
    tokens_before = count_processed_tokens(stack.models["bob/v1"])
    body = BODY | {"model": "twin/bob@voice"}
    stack.wait(lambda: stack.post(body).json()["twin"]["version"] == "v1")
    assert count_processed_tokens(stack.models["bob/v1"]) > tokens_before


def test_a_key_for_one_author_is_valid_for_that_author_only(stack: Stack) -> None:
    store = keys.open_key_store(stack.settings)
    ann_key = keys.add_key(store, role="reader", authors=["ann"], label=f"ann only {time.time()}")
    assert stack.post(BODY, key=ann_key).status_code == 200
    response = stack.post(BODY | {"model": "twin/bob"}, key=ann_key)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "author_not_allowed")
    model_names = [model.id for model in stack.client(ann_key).models.list()]
    assert model_names == ["twin/ann", "twin/ann@base", "twin/ann@voice"]
    keys.revoke_key(store, keys.list_keys(store)[-1]["label"])  # pyright: ignore[reportArgumentType]
    stack.wait(lambda: stack.post(BODY, key=ann_key).status_code == 401)


def test_the_model_servers_refuse_the_readers_key(stack: Stack) -> None:
    for name in stack.models:  # a server that another test has killed may still be listed
        server = stack.servers[name]
        answer = httpx.post(
            f"{server['url']}/chat/completions",
            json={"model": "x", "messages": MESSAGES},
            headers={"Authorization": f"Bearer {stack.key}"},
            trust_env=False,
        )
        assert answer.status_code == 401


def test_no_provider_key_of_the_environment_reaches_the_proxy(stack: Stack) -> None:
    assert stack.gateway is not None
    for pid in (stack.gateway.pid, stack.worker().pid):
        environment = Path(f"/proc/{pid}/environ")
        if not environment.exists():
            pytest.skip("no /proc on this machine")
        text = environment.read_text(encoding="utf-8", errors="replace")
        assert "found-by-chance" not in text
        assert "TWIN_HOME=" in text
    assert stack.post(BODY | {"model": "twin/ann@paid"}).status_code == 404


def test_no_key_is_in_the_logs(stack: Stack) -> None:
    stack.post(BODY)
    stack.post(BODY | {"lora": 1})
    text = stack.read_log("gateway")
    for key in (stack.key, *(server["key"] for server in stack.servers.values())):
        assert key not in text


def test_the_gateway_listens_only_on_loopback(stack: Stack) -> None:
    worker = stack.worker()
    listeners = [
        connection for connection in worker.net_connections() if connection.status == "LISTEN"
    ]
    assert {connection.laddr.ip for connection in listeners} == {"127.0.0.1"}


@pytest.fixture(scope="session")
def openapi_walk(running_stack: Stack) -> dict[str, Any]:
    """Run `walk_openapi` in a separate process and return its result."""
    completed = subprocess.run(
        [sys.executable, "-m", "tests.live.gateway.walk_openapi"],
        env=os.environ
        | {
            "TWIN_HOME": str(running_stack.settings.home),
            "TWIN_TRACES_PORT": str(running_stack.settings.traces_port),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr[-2000:]
    return json.loads(completed.stdout.splitlines()[-1])


@pytest.mark.parametrize("key", ["admin", "none"])
def test_every_other_route_of_the_proxy_is_a_404(openapi_walk: dict[str, Any], key: str) -> None:
    """Other routes are refused before authentication."""
    routes = {(method, path): is_open for method, path, is_open in openapi_walk[key]}
    # LiteLLM 1.106 has 996 operations on 737 paths; with far fewer, the walk has failed.
    assert len(routes) > 900
    for expected in ("/v1/responses", "/v1/messages", "/v1/completions", "/model/info", "/ui"):
        assert any(path == expected for _, path in routes), expected
    assert {route for route, is_open in routes.items() if is_open} == set(ROUTES)


def test_both_chat_paths_retrieve_and_trace(stack: Stack) -> None:
    for path in ("/v1/chat/completions", "/chat/completions"):
        answer = httpx.post(
            stack.url + path,
            json=BODY,
            headers={"Authorization": f"Bearer {stack.key}"},
            trust_env=False,
            timeout=60,
        )
        assert answer.json()["twin"]["sources"]
        assert stack.trace(answer.headers["x-twin-trace-id"])


def test_the_proxy_process_imports_no_large_library(openapi_walk: dict[str, Any]) -> None:
    assert "litellm" in openapi_walk["modules"]
    large_libraries = {"dagster", "torch", "transformers", "deepspeed", "langfuse"} & set(
        openapi_walk["modules"]
    )
    assert large_libraries == set()
