"""Test that the gateway reads changes while it answers, and answers when parts fail."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.live.gateway.stack import Stack, parse_events, throttle_process
from tests.live.gateway.traffic import Traffic, join_deltas
from twin_resources.authors import read_author, write_author
from twin_resources.authors.answer_forms import NO_VERSION_REASON, ProseRelease
from twin_resources.authors.pausing import pause_author, resume_author
from twin_resources.gateway.config.proxy_config import SPAN_DELAY_MS
from twin_resources.models.serving.model_server import ServerProcess
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion, write_policy

pytestmark = pytest.mark.live
MESSAGES = [{"role": "user", "content": "How much oil does a clock need?"}]
BODY: dict[str, Any] = {"model": "twin/ann", "messages": MESSAGES, "max_tokens": 4}
# Readers get this sentence; the log has the cause and the advice for the operator.
NO_ANSWER = "The twin cannot answer right now; please try again in a minute."


def ask_twin(stack: Stack, **fields: Any) -> dict[str, Any]:
    answer = stack.post(BODY | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["twin"]


def has_answered_since(traffic: Traffic, after_s: float, version: str) -> bool:
    """Return whether a reader has received an answer from this version after this time."""
    return any(
        response.ended_s > after_s and response.version == version
        for response in list(traffic.responses)
    )


def create_traffic(stack: Stack, reader_count: int) -> Traffic:
    return Traffic(stack, [stack.key] * reader_count, BODY)


def test_no_request_is_lost_while_versions_switch(stack: Stack) -> None:
    stack.release("ann", 1)
    stack.wait(lambda: ask_twin(stack)["version"] == "v1")
    switches: list[tuple[float, str]] = []
    traffic = create_traffic(stack, 3)
    with traffic.run_readers():
        stack.wait(lambda: traffic.responses)
        for version in (2, 1, 2):
            stack.release("ann", version)
            switches.append((time.monotonic(), f"v{version}"))
            stack.wait(lambda: has_answered_since(traffic, *switches[-1]))
    assert traffic.find_failures() == []
    assert {response.version for response in traffic.responses} == {"v1", "v2"}
    slowest_s = max(response.ended_s - response.started_s for response in traffic.responses)
    for after_s, version in switches:
        first_s = min(
            response.ended_s
            for response in traffic.responses
            if response.version == version and response.ended_s > after_s
        )
        # The gateway reads the policy twice a second; the next answer must have the version.
        assert first_s - after_s < 1.5 + 2 * slowest_s


def test_no_request_is_lost_while_a_server_is_replaced(stack: Stack) -> None:
    """The fleet publishes the new server, and stops the old one when it is idle."""
    stack.release("ann", 1)
    stack.wait(lambda: ask_twin(stack)["version"] == "v1")
    traffic = create_traffic(stack, 2)
    with traffic.run_readers():
        old_server = stack.models.pop("ann/v1")
        stack.start_model("ann/v1")
        time.sleep(2)
        stack.wait(lambda: old_server.count_active_requests() == 0, seconds=30)
        old_server.stop()
        time.sleep(1.5)
    assert traffic.find_failures() == []
    assert {response.version for response in traffic.responses} == {"v1"}


def test_without_a_ready_version_posts_are_quoted_and_the_base_drafts(stack: Stack) -> None:
    stack.release("ann", 2)
    stack.wait(lambda: ask_twin(stack)["version"] == "v2")
    traffic = create_traffic(stack, 2)
    with traffic.run_readers():
        stack.publish(ready=lambda name: name != "ann/v2")
        removed_at = time.monotonic()
        stack.wait(lambda: has_answered_since(traffic, removed_at, "quotes"))
        time.sleep(0.5)
    assert traffic.find_failures() == []
    twin = ask_twin(stack)
    assert (twin["version"], twin["prose"]["why"]) == ("quotes", NO_VERSION_REASON)
    assert twin["degraded"] == "stable not ready: answered by base"
    draft = ask_twin(stack, model="twin/ann@voice")
    assert (draft["version"], draft["draft"]) == ("base", {"why": NO_VERSION_REASON})


def test_the_base_answers_if_an_external_answer_model_fails(stack: Stack) -> None:
    server = stack.servers["ann/v1"]
    version = ServedVersion(
        1, "named", DEFAULT_TEMPLATE.hash, "", None, f"{server['url']}#{server['alias']}", "",
        ProseRelease(forced=True), kind="answer_model",
    )  # fmt: skip
    author = read_author(stack.settings, "ann")
    write_author(stack.settings, replace(author, answer="voice"))
    entry = AuthorPolicy(stable=version, weights={"stable": 1.0})
    write_policy(stack.settings.policy_path, Policy("", "", {"ann": entry}))
    stack.wait(lambda: ask_twin(stack)["version"] == "v1")
    twin = ask_twin(stack)
    assert (twin["route"], twin["degraded"], twin["cost_usd"]) == ("stable", "", None)
    assert "not trained on" in twin["disclosure"]
    assert stack.trace(twin["trace_id"])["metadata"]["twin.checkpoint"] == "named"

    stack.models.pop("ann/v1").stop()  # still listed
    try:
        twin = ask_twin(stack)
        assert twin["version"] == "base"
        assert twin["degraded"].startswith("stable failed")
        assert twin["degraded"].endswith("answered by base")
        assert twin["cost_usd"] > 0
        streamed = stack.post(BODY | {"stream": True})
        assert streamed.status_code == 200
        assert "stable failed" in streamed.text
        assert stack.post(BODY | {"model": "twin/ann@stable"}).status_code == 503, (
            "a request for the stable version got a fallback"
        )
        stack.publish(ready=lambda name: name != "ann/v1")
        draft = BODY | {"model": "twin/ann@voice"}
        stack.wait(
            lambda: ask_twin(stack, **draft)["degraded"] == "stable not ready: answered by base"
        )
    finally:
        write_author(stack.settings, author)
        stack.start_model("ann/v1")


@pytest.mark.parametrize("canary", [1, None])
def test_a_failed_request_leaves_one_trace(stack: Stack, canary: int | None) -> None:
    """The single attempts of LiteLLM and of the fallback leave no additional traces."""
    stack.release("ann", 2, canary=canary)
    stack.wait(lambda: ask_twin(stack)["version"] == ("v1" if canary else "v2"))
    started_at = datetime.now(UTC)
    for name in ("ann/v1", "ann/v2"):
        stack.models.pop(name).stop()  # still listed
    try:
        answer = stack.post(BODY)
        assert answer.status_code == 503, answer.text

        def find_error_spans() -> list[dict[str, Any]]:
            with LangfuseClient.from_settings(stack.settings) as client:
                spans = list(client.observations(since=started_at))
            return [span for span in spans if span["level"] == "ERROR"]

        stack.wait(find_error_spans)
        time.sleep(2 * SPAN_DELAY_MS / 1000)
        [span] = find_error_spans()
        metadata = span["metadata"]
        assert (metadata["twin.author"], metadata["twin.version"]) == ("ann", "v2")
        reason = "canary failed, and so did stable"
        assert metadata.get("twin.degraded") == (reason if canary else None)
        assert MESSAGES[0]["content"] in json.dumps(span["input"])
        log = stack.read_whole_log("gateway")
        assert "does not answer (InternalServerError)" in log
        assert MESSAGES[0]["content"] not in log
        assert "pendulum" not in log  # from a passage of the prompt
    finally:
        for name in ("ann/v1", "ann/v2"):
            stack.start_model(name)
    stack.release("ann", 2)
    stack.wait(lambda: ask_twin(stack)["route"] == "stable")


def test_a_damaged_table_degrades_the_answer(stack: Stack) -> None:
    table = stack.settings.home / "tables" / "ann" / "embeddings.lance"
    moved_table = table.with_name("hidden")
    table.rename(moved_table)
    try:
        table.mkdir()
        (table / "_versions").mkdir()
        (table / "_versions" / "1.manifest").write_bytes(b"not a manifest")
        assert stack.post(BODY).json()["error"]["code"] == "posts_unreadable"
        twin = ask_twin(stack, model="twin/ann@voice")
        assert twin["sources"] == []
        assert "retrieval failed" in twin["degraded"] or "no passages" in twin["degraded"]
    finally:
        for path in sorted(table.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        table.rmdir()
        moved_table.rename(table)
    stack.wait(lambda: ask_twin(stack)["sources"])


def test_a_paused_author_is_refused_within_seconds(stack: Stack) -> None:
    body = BODY | {"model": "twin/bob@voice"}
    try:
        pause_author(stack.settings, "bob", reason="a mistake")
        stack.wait(lambda: stack.post(body).status_code == 503)
        error = stack.post(body | {"stream": True}).json()["error"]
        assert error["code"] == "author_paused"
        assert "a mistake" in error["message"]
        assert stack.post(BODY).status_code == 200  # other authors still answer
    finally:
        resume_author(stack.settings, "bob")
    stack.wait(lambda: stack.post(body).status_code == 200)


def test_a_version_with_an_unknown_template_is_not_prompted(stack: Stack) -> None:
    stack.release("ann", 1, template="ffffffffffffffff")
    stack.wait(lambda: ask_twin(stack)["degraded"])
    twin = ask_twin(stack)
    assert twin["version"] == "quotes"
    assert "template ffffffffffffffff" in twin["degraded"]
    assert ask_twin(stack, model="twin/ann@voice")["version"] == "base"


def test_traces_arrive_after_an_outage_of_the_trace_store(stack: Stack) -> None:
    stack.stop_traces()
    try:
        twin = ask_twin(stack)
        assert twin["degraded"] == ""
        time.sleep(1)
    finally:
        stack.start_traces()
    assert stack.trace(twin["trace_id"])["metadata"]["twin.author"] == "ann"


def test_a_dead_model_server_is_a_503_with_advice(stack: Stack) -> None:
    stack.release("ann", 2)
    stack.wait(lambda: ask_twin(stack)["version"] == "v2")
    stack.models.pop("ann/v2").stop()
    for fields in ({}, {"stream": True, "model": "twin/ann@stable"}):
        logged_before = len(stack.read_whole_log("gateway"))
        answer = stack.post(BODY | fields)
        assert answer.status_code == 503
        assert answer.json()["error"]["message"] == NO_ANSWER
        logged = stack.read_whole_log("gateway")[logged_before:]
        assert "'ann/v2' does not answer" in logged
        assert "twin status" in logged
    first, last = parse_events(stack.post(BODY | {"stream": True}).text)
    assert first["choices"][0]["delta"]["content"].startswith("> ")  # the quotation
    assert (last["choices"][0]["finish_reason"], last["twin"]["answer"]) == ("stop", "quote")
    assert last["twin"]["degraded"] == "no prose: the model server 'ann/v2' does not answer"
    [span] = stack.trace(last["twin"]["trace_id"])["observations"]
    assert span["metadata"]["twin.degraded"] == last["twin"]["degraded"]
    stack.start_model("ann/v2")
    stack.wait(lambda: stack.post(BODY).status_code == 200)


def test_a_stream_is_restarted_after_its_server_died(stack: Stack) -> None:
    """A client cannot retry after a partial answer, so the gateway does."""
    stack.release("ann", 2)
    stack.wait(lambda: ask_twin(stack)["version"] == "v2")
    pid, chunks = stack.models["ann/v2"].pid, list[dict[str, Any]]()
    replacement = ServerProcess(stack.settings, stack.model, alias="ann-v2-again")
    replacement.wait_until_ready()  # The gateway retries for five seconds only.
    with (
        # throttled, so that the kill precedes the last token
        throttle_process(pid, stopped_s=0.1, running_s=0.01),
        stack.stream(BODY | {"stream": True, "max_tokens": 300}) as answer,
    ):
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line == "data: [DONE]":
                break
            if not line:
                continue
            chunks.append(json.loads(line.removeprefix("data: ")))
            if len(chunks) == 3:
                os.killpg(pid, signal.SIGKILL)
                stack.models.pop("ann/v2").stop()
                stack.start_model("ann/v2", replacement)
        else:
            raise AssertionError(f"the stream ended with {chunks[-1]}")
    *_, twin = [chunk["twin"] for chunk in chunks if "twin" in chunk]
    assert (twin["version"], twin["degraded"]) == ("v2", "stable broke off: answered again")
    assert "\n\n" in join_deltas(chunks)
    [span] = [
        span
        for span in stack.trace(twin["trace_id"])["observations"]
        if span["type"] == "GENERATION"
    ]
    assert span["metadata"]["twin.degraded"] == twin["degraded"]


def test_without_a_ready_server_posts_are_quoted_and_drafts_refused(stack: Stack) -> None:
    stack.publish(ready=lambda _: False)
    stack.wait(lambda: stack.post(BODY | {"model": "twin/ann@voice"}).status_code == 503)
    for stream in (False, True):
        answer = stack.post(BODY | {"stream": stream})
        assert answer.status_code == 200, answer.text
        assert "drop of oil" in answer.text
        assert "no model server is ready" in answer.text
    ready = httpx.get(f"{stack.url}/health/readiness", trust_env=False)
    assert (ready.status_code, ready.json()["servers"]) == (503, [])
    assert httpx.get(f"{stack.url}/health/liveliness", trust_env=False).status_code == 200
