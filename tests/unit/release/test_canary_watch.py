"""Test for which version a finished request counts, and that a stopped canary stays stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.gateway.exchanges import create_exchange
from twin_resources.errors import TwinError
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.costs.cost import ThroughputMeter
from twin_resources.gateway.exchange.exchange import RequestRecord
from twin_resources.gateway.hooks.canary_watch import CanaryWatch
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.gateway.routing.snapshot import Server
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion, write_policy
from twin_resources.settings import Settings

STABLE = RouteDecision("ann/v1", "v1", "h1", "", "stable", 1.0)
CANARY = RouteDecision("ann/v2", "v2", "h2", "", "canary", 0.1)


def make_request(decision: RouteDecision, *, seconds: float = 0.1) -> RequestRecord:
    is_canary = decision.route == "canary"
    fallback = create_exchange(decision=STABLE) if is_canary else None
    return RequestRecord(
        create_exchange(fallback=fallback), decision, meter=ThroughputMeter(), seconds=seconds
    )


def make_failed_request() -> RequestRecord:
    request = make_request(CANARY)
    request.begin()
    request.record_fallback("canary failed: answered by stable", ThroughputMeter())
    return request


class FakeRegistry:
    """A registry that records its moves; its first `failure_count` calls fail."""

    def __init__(self, *, failure_count: int = 0) -> None:
        self.failure_count = failure_count
        self.moves: list[tuple[str, int, str]] = []

    def __call__(self, author: str, version: int, reason: str) -> None:
        if self.failure_count:
            self.failure_count -= 1
            raise TwinError("move", found="a locked store", next_step="wait")
        self.moves.append((author, version, reason))


@pytest.fixture
def live_config(home: Settings) -> LiveConfig:
    stable = ServedVersion(1, "h1", "", "", None, "", "")
    entry = AuthorPolicy(
        stable, replace(stable, version=2, checkpoint="h2"), {"stable": 0.9, "canary": 0.1}
    )
    write_policy(home.policy_path, Policy("", "", {"ann": entry}))
    live_config = LiveConfig(home)
    live_config.refresh()
    live_config.current = replace(
        live_config.current,
        servers={"ann/v1": Server("http://127.0.0.1:1/v1", "a", "", ready=True)},
    )
    return live_config


def get_canary(live_config: LiveConfig) -> ServedVersion | None:
    policy = live_config.current.get_author_policy("ann")
    assert policy is not None
    return policy.canary


def run_in_loop(
    send_requests: Callable[[], None], watch: CanaryWatch, *, until: Callable[[], object]
) -> None:
    async def run_until_done() -> None:
        send_requests()
        for _ in range(400):
            if until():
                return
            await asyncio.sleep(0.01)

    asyncio.run(run_until_done())


def test_a_failing_canary_is_stopped_and_rolled_back(live_config: LiveConfig) -> None:
    registry = FakeRegistry()
    watch = CanaryWatch(live_config, registry)

    def send_requests() -> None:
        for number in range(1, 6):
            assert get_canary(live_config) is not None, number
            watch.count_request(make_failed_request(), is_answered=True)
        assert get_canary(live_config) is None
        assert live_config.current.get_author_policy("ann") == AuthorPolicy(
            ServedVersion(1, "h1", "", "", None, "", ""), None, {"stable": 1.0}
        )

    run_in_loop(send_requests, watch, until=lambda: registry.moves)
    ((author, version, reason),) = registry.moves
    assert (author, version) == ("ann", 2)
    assert reason.startswith(
        "errors: 5 of its last 5 requests failed where the stable version answered"
    )


def test_a_canary_stays_stopped_while_the_rollback_fails(
    live_config: LiveConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("twin_resources.gateway.hooks.canary_watch.RETRY_INTERVAL_S", 0.01)
    registry = FakeRegistry(failure_count=3)
    watch = CanaryWatch(live_config, registry)

    def send_requests() -> None:
        for _ in range(5):
            watch.count_request(make_failed_request(), is_answered=True)

    run_in_loop(send_requests, watch, until=lambda: registry.moves)
    assert len(registry.moves) == 1
    assert capsys.readouterr().err.count("the rollback failed and will be retried") == 3
    live_config.refresh()
    assert get_canary(live_config) is None, "the policy file brought the canary back"


def test_a_canary_removed_by_the_policy_may_return(live_config: LiveConfig, home: Settings) -> None:
    policy = live_config.current.policy
    assert policy is not None
    live_config.stop_canary("ann/v2")
    entry = policy.authors["ann"]
    write_policy(home.policy_path, Policy("", "", {"ann": replace(entry, canary=None)}))
    live_config.refresh()
    write_policy(home.policy_path, policy)
    live_config.refresh()
    assert get_canary(live_config) == entry.canary


def test_requests_without_an_answer_do_not_count(live_config: LiveConfig) -> None:
    watch = CanaryWatch(live_config, FakeRegistry())
    for _ in range(20):
        watch.count_request(make_failed_request(), is_answered=False)
        watch.count_request(make_request(CANARY), is_answered=False)
    assert watch.errors == {}
    assert get_canary(live_config) is not None


def test_the_request_record_names_the_fallback_that_answered() -> None:
    record = make_failed_request()
    assert (record.decision, record.replaced_decision) == (STABLE, CANARY)
    assert record.exchange.decision == STABLE
    assert record.degraded == ("canary failed: answered by stable",)


def test_errors_long_ago_do_not_stop_a_canary(live_config: LiveConfig) -> None:
    watch = CanaryWatch(live_config, FakeRegistry())
    for _ in range(10):
        for _ in range(4):
            watch.count_request(make_failed_request(), is_answered=True)
        for _ in range(20):
            watch.count_request(make_request(CANARY), is_answered=True)
    assert get_canary(live_config) is not None
