"""The gateway follows policy, servers and authors while it answers, and answers when parts fail."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.live.gateway.stack import Stack, dragged
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


def twin(stack: Stack, **fields: Any) -> dict[str, Any]:
    answer = stack.post(BODY | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["twin"]


def answered_since(seen: list[tuple[float, int, str, float]], moment: float, version: str) -> bool:
    """Whether a reader has got an answer of that version after that moment."""
    return any(at > moment and which == version for at, _, which, _ in list(seen))


@contextmanager
def readers(stack: Stack, *, count: int = 3) -> Iterator[list[tuple[float, int, str, float]]]:
    """Ask without a pause, half of them streams; collects (end, status, version, seconds)."""
    seen: list[tuple[float, int, str, float]] = []
    over = threading.Event()

    def read(number: int) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not over.is_set():
                stream = number % 2 == 1
                began = time.monotonic()
                answer = client.post(
                    f"{stack.url}/v1/chat/completions",
                    json=BODY | {"stream": stream},
                    headers={"Authorization": f"Bearer {stack.key}"},
                )
                if stream and answer.status_code == 200:
                    assert answer.text.rstrip().endswith("[DONE]")
                    found = [line for line in answer.text.splitlines() if '"twin":' in line]
                    document = json.loads(found[-1].removeprefix("data: "))
                else:
                    document = answer.json()
                version = document.get("twin", {}).get("version", answer.text[:200])
                now = time.monotonic()
                seen.append((now, answer.status_code, version, now - began))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


def test_no_request_is_lost_while_versions_switch(stack: Stack) -> None:
    stack.release("ann", 1)
    stack.wait(lambda: twin(stack)["version"] == "v1")
    switched: list[tuple[float, str]] = []
    with readers(stack) as seen:
        stack.wait(lambda: seen)
        for version in (2, 1, 2):
            stack.release("ann", version)
            switched.append((time.monotonic(), f"v{version}"))
            stack.wait(lambda: answered_since(seen, *switched[-1]))
    assert {status for _, status, *_ in seen} == {200}
    assert {version for _, _, version, _ in seen} == {"v1", "v2"}
    slowest = max(taken for _, _, _, taken in seen)
    for moment, version in switched:
        first = min(at for at, _, which, _ in seen if which == version and at > moment)
        # Looked at twice a second; then an answer must have come that began after that.
        assert first - moment < 1.5 + 2 * slowest


def test_a_server_that_is_replaced_loses_no_request(stack: Stack) -> None:
    """As the fleet does it: the new one is published, takes traffic, then the old one ends."""
    stack.release("ann", 1)
    stack.wait(lambda: twin(stack)["version"] == "v1")
    with readers(stack, count=2) as seen:
        old = stack.models.pop("ann/v1")
        stack.start_model("ann/v1")
        time.sleep(2)
        stack.wait(lambda: old.active_request_count() == 0, seconds=30)
        old.stop()
        time.sleep(1.5)
    assert {status for _, status, *_ in seen} == {200}
    assert {version for _, _, version, _ in seen} == {"v1"}


def test_without_its_version_an_author_is_quoted_and_the_base_drafts(stack: Stack) -> None:
    stack.release("ann", 2)
    stack.wait(lambda: twin(stack)["version"] == "v2")
    with readers(stack, count=2) as seen:
        stack.publish(ready=lambda name: name != "ann/v2")
        left = time.monotonic()
        stack.wait(lambda: answered_since(seen, left, "quotes"))
        time.sleep(0.5)  # and whoever comes then
    assert {status for _, status, *_ in seen} == {200}
    told = twin(stack)
    assert (told["version"], told["prose"]["why"]) == ("quotes", NO_VERSION_REASON)
    assert told["degraded"] == "stable not ready: answered by base"
    draft = twin(stack, model="twin/ann@voice")
    assert (draft["version"], draft["draft"]) == ("base", {"why": NO_VERSION_REASON})


def test_an_answer_model_at_an_address_answers_and_the_base_where_it_fails(stack: Stack) -> None:
    listed = stack.servers["ann/v1"]
    named = ServedVersion(
        1, "named", DEFAULT_TEMPLATE.hash, "", None, f"{listed['url']}#{listed['alias']}", "",
        ProseRelease(forced=True), kind="answer_model",
    )  # fmt: skip
    before = read_author(stack.settings, "ann")
    write_author(stack.settings, replace(before, answer="voice"))
    entry = AuthorPolicy(stable=named, weights={"stable": 1.0})
    write_policy(stack.settings.policy_path, Policy("", "", {"ann": entry}))
    stack.wait(lambda: twin(stack)["version"] == "v1")
    told = twin(stack)
    assert (told["route"], told["degraded"], told["cost_usd"]) == ("stable", "", None)
    assert "not trained on" in told["disclosure"]
    assert stack.trace(told["trace_id"])["metadata"]["twin.checkpoint"] == "named"

    stack.models.pop("ann/v1").stop()  # nobody has noticed yet
    try:
        told = twin(stack)
        assert told["version"] == "base"
        assert told["degraded"].startswith("stable failed")
        assert told["degraded"].endswith("answered by base")
        assert told["cost_usd"] > 0
        streamed = stack.post(BODY | {"stream": True})
        assert streamed.status_code == 200
        assert "stable failed" in streamed.text
        assert stack.post(BODY | {"model": "twin/ann@stable"}).status_code == 503, "as was asked"
        stack.publish(ready=lambda name: name != "ann/v1")  # the fleet has
        draft = BODY | {"model": "twin/ann@voice"}
        stack.wait(lambda: twin(stack, **draft)["degraded"] == "stable not ready: answered by base")
    finally:
        write_author(stack.settings, before)
        stack.start_model("ann/v1")


@pytest.mark.parametrize("canary", [1, None])
def test_an_answer_that_nobody_could_give_leaves_one_trace(
    stack: Stack, canary: int | None
) -> None:
    """Of its attempts, here by LiteLLM and by the fallback, none leaves a trace of its own."""
    stack.release("ann", 2, canary=canary)
    stack.wait(lambda: twin(stack)["version"] == ("v1" if canary else "v2"))
    began = datetime.now(UTC)
    for name in ("ann/v1", "ann/v2"):
        stack.models.pop(name).stop()  # still listed: they fail when they are asked
    try:
        answer = stack.post(BODY)
        assert answer.status_code == 503, answer.text

        def failed() -> list[dict[str, Any]]:
            with LangfuseClient.from_settings(stack.settings) as client:
                found = list(client.observations(since=began))
            return [one for one in found if one["level"] == "ERROR"]

        stack.wait(failed)
        time.sleep(2 * SPAN_DELAY_MS / 1000)
        [span] = failed()
        metadata = span["metadata"]
        assert (metadata["twin.author"], metadata["twin.version"]) == ("ann", "v2")
        both = "canary failed, and so did stable"
        assert metadata["twin.degraded"] == (both if canary else "")
        assert MESSAGES[0]["content"] in json.dumps(span["input"])
        log = (stack.settings.logs_dir / "gateway.log").read_text(encoding="utf-8")
        assert "does not answer (InternalServerError)" in log
        assert MESSAGES[0]["content"] not in log
        assert "pendulum" not in log  # a passage of the prompt
    finally:
        for name in ("ann/v1", "ann/v2"):
            stack.start_model(name)
    stack.release("ann", 2)
    stack.wait(lambda: twin(stack)["route"] == "stable")


def test_an_authors_settings_are_followed(stack: Stack) -> None:
    before = read_author(stack.settings, "bob")
    try:
        write_author(stack.settings, replace(before, disclosure="A machine wrote this."))
        stack.wait(
            lambda: twin(stack, model="twin/bob@voice")["disclosure"] == "A machine wrote this.",
        )
        write_author(stack.settings, replace(before, slug="cyd", name="Cyd"))
        stack.wait(lambda: stack.post(BODY | {"model": "twin/cyd@voice"}).status_code == 200)
        assert "Cyd" in twin(stack, model="twin/cyd@voice")["disclosure"]
    finally:
        (stack.settings.authors_dir / "cyd.toml").unlink(missing_ok=True)
        write_author(stack.settings, before)
    stack.wait(lambda: stack.post(BODY | {"model": "twin/cyd@voice"}).status_code == 404)


def test_a_paused_author_answers_nobody_within_seconds(stack: Stack) -> None:
    body = BODY | {"model": "twin/bob@voice"}
    try:
        pause_author(stack.settings, "bob", reason="a mistake")
        stack.wait(lambda: stack.post(body).status_code == 503)
        refused = stack.post(body | {"stream": True}).json()["error"]
        assert refused["code"] == "author_paused"
        assert "a mistake" in refused["message"]
        assert stack.post(BODY).status_code == 200  # others answer on
    finally:
        resume_author(stack.settings, "bob")
    stack.wait(lambda: stack.post(body).status_code == 200)


def test_a_damaged_table_degrades_the_answer(stack: Stack) -> None:
    table = stack.settings.home / "tables" / "ann" / "embeddings.lance"
    hidden = table.with_name("hidden")
    table.rename(hidden)
    try:
        table.mkdir()
        (table / "_versions").mkdir()
        (table / "_versions" / "1.manifest").write_bytes(b"not a manifest")
        assert stack.post(BODY).json()["error"]["code"] == "posts_unreadable"
        told = twin(stack, model="twin/ann@voice")
        assert told["sources"] == []
        assert "retrieval failed" in told["degraded"] or "no passages" in told["degraded"]
    finally:
        for path in sorted(table.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        table.rmdir()
        hidden.rename(table)
    stack.wait(lambda: twin(stack)["sources"])


def test_with_the_trace_store_down_answers_go_out_and_their_traces_arrive_later(
    stack: Stack,
) -> None:
    stack.stop_traces()
    try:
        told = twin(stack)
        assert told["degraded"] == ""
        time.sleep(1)
    finally:
        stack.start_traces()
    assert stack.trace(told["trace_id"])["metadata"]["twin.author"] == "ann"


def test_a_model_server_that_died_gives_a_503_with_what_to_do(stack: Stack) -> None:
    stack.release("ann", 2)
    stack.wait(lambda: twin(stack)["version"] == "v2")
    stack.models.pop("ann/v2").stop()
    for more in ({}, {"stream": True, "model": "twin/ann@stable"}):
        answer = stack.post(BODY | more)
        assert answer.status_code == 503
        message = answer.json()["error"]["message"]
        assert "'ann/v2' does not answer" in message
        assert "twin status" in message
    lines = stack.post(BODY | {"stream": True}).text.splitlines()
    first, last = (json.loads(line[6:]) for line in lines if line.startswith("data: {"))
    assert first["choices"][0]["delta"]["content"].startswith("> ")  # it stays, without prose
    assert (last["choices"][0]["finish_reason"], last["twin"]["answer"]) == ("stop", "quote")
    assert last["twin"]["degraded"] == "no prose: the model server 'ann/v2' does not answer"
    [span] = stack.trace(last["twin"]["trace_id"])["observations"]
    assert span["metadata"]["twin.degraded"] == last["twin"]["degraded"]
    stack.start_model("ann/v2")
    stack.wait(lambda: stack.post(BODY).status_code == 200)


def test_a_stream_whose_server_dies_is_answered_anew_when_that_is_back(stack: Stack) -> None:
    """No client asks again when half of an answer is there: the gateway does."""
    stack.release("ann", 2)
    stack.wait(lambda: twin(stack)["version"] == "v2")
    pid, chunks = stack.models["ann/v2"].pid, list[dict[str, Any]]()
    spare = ServerProcess(stack.settings, stack.model, alias="ann-v2-again")
    spare.wait_until_ready()  # the gateway asks again for five seconds, and a start may take longer
    with (
        dragged(pid, stopped_s=0.1, running_s=0.01),  # else 300 tokens are there before the kill
        httpx.Client(trust_env=False, timeout=60) as client,
        client.stream(
            "POST",
            f"{stack.url}/v1/chat/completions",
            json=BODY | {"stream": True, "max_tokens": 300},
            headers={"Authorization": f"Bearer {stack.key}"},
        ) as answer,
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
                stack.start_model("ann/v2", spare)
        else:
            raise AssertionError(f"the stream ended with {chunks[-1]}")
    *_, told = [chunk["twin"] for chunk in chunks if "twin" in chunk]
    assert (told["version"], told["degraded"]) == ("v2", "stable broke off: asked again")
    text = "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )
    assert "\n\n" in text
    [span] = [
        one for one in stack.trace(told["trace_id"])["observations"] if one["type"] == "GENERATION"
    ]
    assert span["metadata"]["twin.degraded"] == told["degraded"]


def test_with_no_server_ready_the_posts_are_quoted_and_a_draft_is_a_503(stack: Stack) -> None:
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
