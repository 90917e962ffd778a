"""A canary that breaks under traffic: stopped by the gateway itself, and no request is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.live.gateway.stack import Stack, throttle_process
from tests.queued_notices import queued_notices
from twin_resources.access.keys import add_key, open_key_store
from twin_resources.gateway.config.proxy_config import REQUEST_TIMEOUT_S
from twin_resources.gateway.hooks.breaker import MIN_ANSWERS
from twin_resources.registry.moves import VersionState
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import GateClaim, Registry, Verdict
from twin_resources.storage.state.state import State

pytestmark = pytest.mark.live
GATE = "gate-1"
MESSAGES = [{"role": "user", "content": "How much oil does a clock need?"}]
BODY: dict[str, Any] = {"model": "twin/ann", "messages": MESSAGES, "max_tokens": 8}
EACH = 5  # readers of either version
DRAWN = (
    32  # keys from which they are chosen: that fewer than five are of one happens once in 50,000
)


@dataclass(frozen=True)
class Got:
    """One answer as a reader got it; times are monotonic seconds."""

    began: float
    ended: float
    status: int
    twin: dict[str, Any]
    text: str

    @property
    def version(self) -> str:
        return str(self.twin.get("version", ""))


@dataclass
class Traffic:
    """Readers with keys of their own who ask without a pause, every second one streams."""

    stack: Stack
    keys: list[str]
    got: list[Got] = field(default_factory=list[Got])
    failed: list[str] = field(default_factory=list[str])

    @contextlib.contextmanager
    def flowing(self) -> Iterator[None]:
        over = threading.Event()
        threads = [
            threading.Thread(target=self._read, args=(key, number % 2 == 1, over))
            for number, key in enumerate(self.keys)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join(300)

    def _read(self, key: str, stream: bool, over: threading.Event) -> None:
        with httpx.Client(trust_env=False, timeout=300) as client:
            while not over.is_set():
                began = time.monotonic()
                try:
                    answer = client.post(
                        f"{self.stack.url}/v1/chat/completions",
                        json=BODY | {"stream": stream},
                        headers={"Authorization": f"Bearer {key}"},
                    )
                    twin, text = _read_answer(answer, stream)
                except (httpx.HTTPError, KeyError, IndexError, ValueError) as error:
                    self.failed.append(f"{type(error).__name__}: {error}")
                    continue
                self.got.append(Got(began, time.monotonic(), answer.status_code, twin, text))

    def lost(self) -> list[str]:
        """What no reader should see."""
        bad = [f"{one.status}: {one.text}" for one in self.got if one.status != 200 or not one.text]
        return bad + self.failed


def _read_answer(answer: httpx.Response, stream: bool) -> tuple[dict[str, Any], str]:
    if answer.status_code != 200:
        return {}, answer.text[:300]
    if not stream:
        document = answer.json()
        return document["twin"], document["choices"][0]["message"]["content"]
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    if lines[-1] != "[DONE]":
        raise ValueError(f"the stream ended with {lines[-1][:200]}")
    chunks = [json.loads(line) for line in lines[:-1]]
    text = "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )
    return [chunk["twin"] for chunk in chunks if "twin" in chunk][-1], text


@pytest.fixture
def registry(stack: Stack) -> Iterator[Registry]:
    """v1 stable and v2 in a canary that half of the readers are drawn to, by the registry."""
    state = State.open(stack.settings.state_address)
    found = Registry(state, policy_path=stack.settings.policy_path)
    found.set_routing("ann", {"canary_share": 0.5})
    wanted: tuple[tuple[int, VersionState], ...] = ((1, "stable"), (2, "canary"))
    for number, to in wanted:
        checkpoint = f"checkpoint-{number}"
        version = found.register(
            author="ann", checkpoint=checkpoint, folder="", adapter_gguf=None, base="",
            base_gguf="", template="", dataset_version="",
        )  # fmt: skip
        claims = (
            GateClaim("beats_base_model", True, 1.2, 1.0, "perplexity 20 against 24"),
            GateClaim("says_what_the_posts_say", True, 0.1, 0.2, "", blocks="voice"),
        )
        found.record_verdict(Verdict("ann", checkpoint, GATE, "passed", claims, ""))
        if version.state != to:
            found.move("ann", number, to, actor="test", reason="test", gate_version=GATE)
    yield found
    stack.unrelease()
    state.close()


@pytest.fixture(scope="module")
def readers() -> dict[str, list[str]]:
    """Keys by the version that they are drawn to, the same in each test: by the first that asks."""
    return {}


@pytest.fixture
def traffic(stack: Stack, registry: Registry, readers: dict[str, list[str]]) -> Traffic:
    """Five readers of either version; those of the stable one come first."""
    if not readers:
        with contextlib.closing(open_key_store(stack.settings)) as keys:
            drawn = [
                add_key(keys, role="reader", authors=["*"], label=f"{time.time_ns()}")
                for _ in range(DRAWN)
            ]
        stack.wait(lambda: set(_versions(stack, drawn)) == {"v1", "v2"})
        for key, version in zip(drawn, _versions(stack, drawn), strict=True):
            readers.setdefault(version, []).append(key)
    found = [*readers["v1"][:EACH], *readers["v2"][:EACH]]
    assert len(found) == 2 * EACH
    stack.wait(lambda: _versions(stack, found) == ["v1"] * EACH + ["v2"] * EACH)
    return Traffic(stack, found)


@pytest.fixture
def known_speed(stack: Stack, traffic: Traffic) -> None:
    """So many answers of the stable version that a slow one is told by them."""
    for _ in range(MIN_ANSWERS):
        stack.post(BODY, key=traffic.keys[0])


def _versions(stack: Stack, keys: list[str]) -> list[str]:
    """The version that answers each key."""
    return [stack.post(BODY, key=key).json().get("twin", {}).get("version") for key in keys]


def check_stopped(stack: Stack, registry: Registry, traffic: Traffic, cause: str) -> None:
    """What holds however a canary broke."""
    assert traffic.lost() == []
    move = next(move for move in reversed(registry.moves("ann")) if move.version == 2)
    assert (move.from_state, move.to_state, move.actor) == ("canary", "rolled_back", "gateway")
    assert move.reason.startswith(f"{cause}: ")
    assert queued_notices(registry.state, author="ann")[0].event == "rolled_back"
    entry = read_policy(stack.settings.policy_path).authors["ann"]
    assert entry.canary is None
    assert entry.weights == {"stable": 1.0}


def wait_until_stopped(stack: Stack, registry: Registry) -> float:
    """Monotonic time at which the policy no longer lists the canary."""
    stack.wait(
        lambda: read_policy(stack.settings.policy_path).authors["ann"].canary is None,
        seconds=240,
    )
    assert registry.get("ann", 2).state == "rolled_back"
    return time.monotonic()


@pytest.mark.drawn(2, of="canaries that fail")
def test_a_killed_canary_is_stopped_and_no_request_is_lost(
    stack: Stack,
    registry: Registry,
    traffic: Traffic,
    record_property: Callable[[str, object], None],
) -> None:
    with traffic.flowing():
        stack.wait(lambda: {"v1", "v2"} <= {one.version for one in list(traffic.got)})
        process = stack.models.pop("ann/v2")
        os.killpg(process.pid, signal.SIGKILL)
        killed = time.monotonic()
        stopped = wait_until_stopped(stack, registry)
        time.sleep(2)
    process.stop()
    check_stopped(stack, registry, traffic, "errors")
    before = [one for one in traffic.got if one.ended < killed]
    assert {one.version for one in before} == {"v1", "v2"}
    fallen_back = [one for one in traffic.got if "answered" in one.twin["degraded"]]
    assert len(fallen_back) >= 5
    assert {one.version for one in fallen_back} == {"v1"}
    # Asked after the decision: the stable version, at once and without a detour.
    after = [one for one in traffic.got if one.began > stopped]
    assert after
    assert {(one.version, one.twin["degraded"]) for one in after} == {("v1", "")}
    record_property("seconds_from_kill_to_policy", round(stopped - killed, 2))
    record_property("fallen_back", len(fallen_back))
    told = stack.trace(fallen_back[-1].twin["trace_id"])["metadata"]
    assert (told["twin.version"], told["twin.route"]) == ("v1", "stable")


@pytest.mark.drawn(2, of="canaries that fail")
def test_a_stream_that_breaks_off_is_answered_anew(
    stack: Stack, registry: Registry, traffic: Traffic
) -> None:
    key = traffic.keys[-1]
    asked = BODY | {"stream": True, "max_tokens": 300}
    chunks: list[dict[str, Any]] = []
    pid = stack.models["ann/v2"].pid
    with (
        throttle_process(
            pid, stopped_s=0.1, running_s=0.01
        ),  # else 300 tokens are there before the kill
        httpx.Client(trust_env=False, timeout=60) as client,
        client.stream(
            "POST",
            f"{stack.url}/v1/chat/completions",
            json=asked,
            headers={"Authorization": f"Bearer {key}"},
        ) as answer,
    ):
        assert answer.status_code == 200
        lines = (line.removeprefix("data: ") for line in answer.iter_lines() if line)
        for line in lines:
            if line == "[DONE]":
                break
            chunks.append(json.loads(line))
            if len(chunks) == 3:
                os.killpg(pid, signal.SIGKILL)
        else:
            raise AssertionError(f"the stream ended with {chunks[-1]}")
    stack.models.pop("ann/v2").stop()
    *_, told = [chunk["twin"] for chunk in chunks if "twin" in chunk]
    assert told["version"] == "v1"
    assert "canary broke off: answered again by stable" in told["degraded"]
    text = "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )
    assert "\n\n" in text
    assert registry.get("ann", 2).state == "canary", "once is not yet too often"
    metadata = stack.trace(told["trace_id"])["metadata"]
    assert metadata["twin.version"] == "v1"


@pytest.mark.drawn(2, of="canaries that fail")
@pytest.mark.usefixtures("known_speed")
def test_a_canary_that_hangs_is_stopped_and_no_request_is_lost(
    stack: Stack,
    registry: Registry,
    traffic: Traffic,
    record_property: Callable[[str, object], None],
) -> None:
    process = stack.models["ann/v2"]
    with traffic.flowing():
        time.sleep(1)
        os.killpg(process.pid, signal.SIGSTOP)
        try:
            hung = time.monotonic()
            stopped = wait_until_stopped(stack, registry)
            time.sleep(1)
        finally:
            os.killpg(process.pid, signal.SIGCONT)
    check_stopped(stack, registry, traffic, "errors")
    slowest = max(one.ended - one.began for one in traffic.got)
    record_property("seconds_from_hang_to_policy", round(stopped - hung, 2))
    record_property("slowest_answer_s", round(slowest, 1))
    assert slowest < REQUEST_TIMEOUT_S / 2  # what would else end an answer that does not come
    assert {one.version for one in traffic.got if one.began > stopped} == {"v1"}


@pytest.mark.drawn(1, of="gateways that end or start")
# the short form ends it here and kills it in `test_gateway_feedback.py`
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.long)]
)
def test_a_gateway_restarted_during_a_canary_keeps_readers_and_breaker(
    stack: Stack, registry: Registry, traffic: Traffic, number: int
) -> None:
    drawn = {key: stack.post(BODY, key=key).json()["twin"]["version"] for key in traffic.keys}
    assert stack.gateway is not None
    worker = stack.worker().pid
    stack.gateway.send_signal(number)
    stack.gateway.wait(30)
    if number == signal.SIGKILL:
        os.kill(worker, signal.SIGKILL)
    stack.start_gateway()
    assert registry.get("ann", 2).state == "canary", "a restart decides nothing"
    again = {key: stack.post(BODY, key=key).json()["twin"]["version"] for key in traffic.keys}
    assert again == drawn
    with traffic.flowing():
        time.sleep(1)
        process = stack.models.pop("ann/v2")
        os.killpg(process.pid, signal.SIGKILL)
        wait_until_stopped(stack, registry)
        time.sleep(1)
    process.stop()
    check_stopped(stack, registry, traffic, "errors")


@pytest.mark.drawn(2, of="canaries that fail")
@pytest.mark.usefixtures("known_speed")
def test_a_slow_canary_is_stopped(stack: Stack, registry: Registry, traffic: Traffic) -> None:
    """It answers, but is stopped for most of the time: slow, and not broken."""
    pid = stack.models["ann/v2"].pid
    with traffic.flowing():
        stack.wait(lambda: len(traffic.got) >= 40)
        slow = sorted(one.ended - one.began for one in list(traffic.got))[-3]
        with throttle_process(pid, stopped_s=max(3.0, 5 * slow), running_s=0.2):
            wait_until_stopped(stack, registry)
            time.sleep(1)
    assert traffic.lost() == []
    move = next(move for move in reversed(registry.moves("ann")) if move.version == 2)
    assert move.actor == "gateway"
    assert move.reason.partition(":")[0] in {"latency", "errors"}
