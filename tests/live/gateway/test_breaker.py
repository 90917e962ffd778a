"""Test that the gateway stops a canary that fails under traffic and loses no request."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.live.gateway.stack import Stack, throttle_process
from tests.live.gateway.traffic import Traffic, join_deltas
from tests.model_versions import register_version
from tests.queued_notices import queued_notices
from twin_resources.access.keys import add_key, open_key_store
from twin_resources.gateway.config.proxy_config import REQUEST_TIMEOUT_S
from twin_resources.registry.moves import GateClaim, Verdict, VersionState
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.home_state import open_home_state

pytestmark = pytest.mark.live
GATE = "gate-1"
MESSAGES = [{"role": "user", "content": "How much oil does a clock need?"}]
BODY: dict[str, Any] = {"model": "twin/ann", "messages": MESSAGES, "max_tokens": 8}
READERS_PER_VERSION = 5
KEY_COUNT = 32  # with 32 keys, a version gets fewer than five once in 50,000 draws


@pytest.fixture
def registry(stack: Stack) -> Iterator[Registry]:
    """Yield a registry with v1 as stable and v2 as a canary that answers half of the readers."""
    state = open_home_state(stack.settings)
    registry = Registry(state, policy_path=stack.settings.policy_path)
    registry.set_routing("ann", {"canary_share": 0.5})
    states: tuple[tuple[int, VersionState], ...] = ((1, "stable"), (2, "canary"))
    for number, target in states:
        checkpoint = f"checkpoint-{number}"
        version = register_version(registry, "ann", checkpoint, template="", base="", base_gguf="")
        claims = (
            GateClaim("beats_base_model", True, 1.2, 1.0, "perplexity 20 against 24"),
            GateClaim("says_what_the_posts_say", True, 0.1, 0.2, "", blocks="voice"),
        )
        registry.record_verdict(Verdict("ann", checkpoint, GATE, "passed", claims, ""))
        if version.state != target:
            force = target == "canary"
            if force:
                registry.move("ann", number, "parked", actor="test", reason="test")
            registry.move(
                "ann", number, target, actor="test", reason="test", force=force, gate_version=GATE
            )
    yield registry
    stack.release_nothing()
    state.close()


@pytest.fixture(scope="module")
def readers() -> dict[str, list[str]]:
    """Return the keys of each version's readers; `traffic` fills the dict on first use."""
    return {}


@pytest.fixture
def traffic(stack: Stack, registry: Registry, readers: dict[str, list[str]]) -> Traffic:
    """Return traffic from five readers of each version, the stable version's readers first."""
    if not readers:
        with contextlib.closing(open_key_store(stack.settings)) as keys:
            new_keys = [
                add_key(keys, role="reader", authors=["*"], label=f"{time.time_ns()}")
                for _ in range(KEY_COUNT)
            ]
        stack.wait(lambda: set(_get_versions(stack, new_keys)) == {"v1", "v2"})
        for key, version in zip(new_keys, _get_versions(stack, new_keys), strict=True):
            readers.setdefault(version, []).append(key)
    selected_keys = [*readers["v1"][:READERS_PER_VERSION], *readers["v2"][:READERS_PER_VERSION]]
    assert len(selected_keys) == 2 * READERS_PER_VERSION
    stack.wait(
        lambda: (
            _get_versions(stack, selected_keys)
            == ["v1"] * READERS_PER_VERSION + ["v2"] * READERS_PER_VERSION
        )
    )
    return Traffic(stack, selected_keys, BODY)


def _get_versions(stack: Stack, keys: list[str]) -> list[str]:
    """Return the version that answers each key."""
    return [stack.post(BODY, key=key).json().get("twin", {}).get("version") for key in keys]


def assert_rolled_back(stack: Stack, registry: Registry, traffic: Traffic, cause: str) -> None:
    """Check the state to which every canary failure must lead."""
    assert traffic.find_failures() == []
    move = next(move for move in reversed(registry.moves("ann")) if move.version == 2)
    assert (move.from_state, move.to_state, move.actor) == ("canary", "rolled_back", "gateway")
    assert move.reason.startswith(f"{cause}: ")
    assert queued_notices(registry.state, author="ann")[0].event == "rolled_back"
    entry = read_policy(stack.settings.policy_path).authors["ann"]
    assert entry.canary is None
    assert entry.weights == {"stable": 1.0}


def wait_until_stopped(stack: Stack, registry: Registry) -> float:
    """Wait until the policy no longer lists the canary; return the monotonic time then."""
    stack.wait(
        lambda: read_policy(stack.settings.policy_path).authors["ann"].canary is None, seconds=240
    )
    assert registry.get("ann", 2).state == "rolled_back"
    return time.monotonic()


def test_a_killed_canary_is_stopped_and_no_request_is_lost(
    stack: Stack,
    registry: Registry,
    traffic: Traffic,
    record_property: Callable[[str, object], None],
) -> None:
    with traffic.run_readers():
        stack.wait(
            lambda: {"v1", "v2"} <= {response.version for response in list(traffic.responses)}
        )
        process = stack.models.pop("ann/v2")
        os.killpg(process.pid, signal.SIGKILL)
        kill_time = time.monotonic()
        stop_time = wait_until_stopped(stack, registry)
        time.sleep(2)
    process.stop()
    assert_rolled_back(stack, registry, traffic, "errors")
    before_kill = [response for response in traffic.responses if response.ended_s < kill_time]
    assert {response.version for response in before_kill} == {"v1", "v2"}
    fallen_back = [
        response for response in traffic.responses if "answered" in response.twin["degraded"]
    ]
    assert len(fallen_back) >= 5
    assert {response.version for response in fallen_back} == {"v1"}
    # After the decision, the stable version answers without a failed attempt at the canary.
    after_stop = [response for response in traffic.responses if response.started_s > stop_time]
    assert after_stop
    assert {(response.version, response.twin["degraded"]) for response in after_stop} == {
        ("v1", "")
    }
    record_property("seconds_from_kill_to_policy", round(stop_time - kill_time, 2))
    record_property("fallen_back", len(fallen_back))
    metadata = stack.trace(fallen_back[-1].twin["trace_id"])["metadata"]
    assert (metadata["twin.version"], metadata["twin.route"]) == ("v1", "stable")


def test_an_interrupted_stream_is_answered_again(
    stack: Stack, registry: Registry, traffic: Traffic
) -> None:
    request = BODY | {"stream": True, "max_tokens": 300}
    chunks: list[dict[str, Any]] = []
    pid = stack.models["ann/v2"].pid
    with (
        # without the throttle, all 300 tokens arrive before the kill
        throttle_process(pid, stopped_s=0.1, running_s=0.01),
        stack.stream(request, key=traffic.keys[-1]) as response,
    ):
        assert response.status_code == 200
        lines = (line.removeprefix("data: ") for line in response.iter_lines() if line)
        for line in lines:
            if line == "[DONE]":
                break
            chunks.append(json.loads(line))
            if len(chunks) == 3:
                os.killpg(pid, signal.SIGKILL)
        else:
            raise AssertionError(f"the stream ended with {chunks[-1]}")
    stack.models.pop("ann/v2").stop()
    *_, twin = [chunk["twin"] for chunk in chunks if "twin" in chunk]
    assert twin["version"] == "v1"
    assert "canary broke off: answered again by stable" in twin["degraded"]
    assert "\n\n" in join_deltas(chunks)
    assert registry.get("ann", 2).state == "canary", "one failure stopped the canary"
    metadata = stack.trace(twin["trace_id"])["metadata"]
    assert metadata["twin.version"] == "v1"


def test_a_canary_that_hangs_is_stopped_and_no_request_is_lost(
    stack: Stack,
    registry: Registry,
    traffic: Traffic,
    record_property: Callable[[str, object], None],
) -> None:
    process = stack.models["ann/v2"]
    with traffic.run_readers():
        time.sleep(1)
        os.killpg(process.pid, signal.SIGSTOP)
        try:
            hang_time = time.monotonic()
            stop_time = wait_until_stopped(stack, registry)
            time.sleep(1)
        finally:
            os.killpg(process.pid, signal.SIGCONT)
    assert_rolled_back(stack, registry, traffic, "errors")
    slowest_s = max(response.ended_s - response.started_s for response in traffic.responses)
    record_property("seconds_from_hang_to_policy", round(stop_time - hang_time, 2))
    record_property("slowest_answer_s", round(slowest_s, 1))
    # Without the breaker, only this timeout would end the request.
    assert slowest_s < REQUEST_TIMEOUT_S / 2
    assert {
        response.version for response in traffic.responses if response.started_s > stop_time
    } == {"v1"}


# the quick suite terminates the gateway here and kills it in `test_gateway_feedback.py`
@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.long)]
)
def test_a_gateway_restarted_during_a_canary_keeps_readers_and_breaker(
    stack: Stack, registry: Registry, traffic: Traffic, signum: int
) -> None:
    versions = {key: stack.post(BODY, key=key).json()["twin"]["version"] for key in traffic.keys}
    assert stack.gateway is not None
    worker = stack.worker().pid
    stack.gateway.send_signal(signum)
    stack.gateway.wait(30)
    if signum == signal.SIGKILL:
        os.kill(worker, signal.SIGKILL)
    stack.start_gateway()
    assert registry.get("ann", 2).state == "canary", "the restart changed the canary's state"
    versions_after_restart = {
        key: stack.post(BODY, key=key).json()["twin"]["version"] for key in traffic.keys
    }
    assert versions_after_restart == versions
    with traffic.run_readers():
        time.sleep(1)
        process = stack.models.pop("ann/v2")
        os.killpg(process.pid, signal.SIGKILL)
        wait_until_stopped(stack, registry)
        time.sleep(1)
    process.stop()
    assert_rolled_back(stack, registry, traffic, "errors")
