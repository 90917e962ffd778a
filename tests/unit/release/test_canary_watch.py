"""Ended requests in the gateway: which version they count for, and how a decision is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.gateway.exchanges import create_exchange
from twin_resources.errors import TwinError
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.costs.answer_cost import AnswerCost
from twin_resources.gateway.costs.cost import Throughput
from twin_resources.gateway.exchange.request_record import Fallback, RequestRecord
from twin_resources.gateway.hooks.breaker import Breaker
from twin_resources.gateway.hooks.canary_watch import CanaryWatch
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.gateway.routing.snapshot import Server
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion, write_policy
from twin_resources.settings import Settings

STABLE = RouteDecision("ann/v1", "v1", "h1", "", "stable", 1.0)
CANARY = RouteDecision("ann/v2", "v2", "h2", "", "canary", 0.1)


def request(chosen: RouteDecision, *, seconds: float = 0.1) -> RequestRecord:
    canary = chosen.route == "canary"
    fallback = Fallback(STABLE, "t1", [], Throughput()) if canary else None
    cost = AnswerCost(0.02, Throughput(), seconds=seconds)
    return RequestRecord(create_exchange(fallback=fallback), cost, chosen)


def failed(chosen: RouteDecision = CANARY) -> RequestRecord:
    state = request(chosen)
    state.cost.begin()
    state.record_fallback("canary failed: answered by stable")
    return state


class Registry:
    """Stands for the move of the registry; fails as often as it is told to."""

    def __init__(self, *, failures: int = 0) -> None:
        self.failures = failures
        self.told: list[tuple[str, int, str]] = []

    def __call__(self, author: str, version: int, reason: str) -> None:
        if self.failures:
            self.failures -= 1
            raise TwinError("move", found="a locked store", next_step="wait")
        self.told.append((author, version, reason))


@pytest.fixture
def live(home: Settings) -> LiveConfig:
    served = ServedVersion(1, "h1", "", "", None, "", "")
    entry = AuthorPolicy(
        served, replace(served, version=2, checkpoint="h2"), {"stable": 0.9, "canary": 0.1}
    )
    write_policy(home.policy_path, Policy("", "", {"ann": entry}))
    config = LiveConfig(home)
    config.refresh()
    config.current = replace(
        config.current, servers={"ann/v1": Server("http://127.0.0.1:1/v1", "a", "", ready=True)}
    )
    return config


def canary_of(live: LiveConfig) -> ServedVersion | None:
    policy = live.current.get_author_policy("ann")
    assert policy is not None
    return policy.canary


def run(work: Callable[[], None], watch: CanaryWatch, *, until: Callable[[], object]) -> None:
    async def inside() -> None:
        work()
        for _ in range(400):
            if until():
                return
            await asyncio.sleep(0.01)

    asyncio.run(inside())


def test_a_failing_canary_leaves_at_once_and_the_registry_is_told(live: LiveConfig) -> None:
    registry = Registry()
    watch = CanaryWatch(live, registry)

    def work() -> None:
        for number in range(1, 6):
            assert canary_of(live) is not None, number
            watch.count_request(failed(), is_answered=True)
        assert canary_of(live) is None
        assert live.current.get_author_policy("ann") == AuthorPolicy(
            ServedVersion(1, "h1", "", "", None, "", ""), None, {"stable": 1.0}
        )

    run(work, watch, until=lambda: registry.told)
    ((author, version, reason),) = registry.told
    assert (author, version) == ("ann", 2)
    assert reason.startswith("errors: 5 of its 5 requests failed where the stable version answered")


def test_it_stays_away_while_the_registry_cannot_be_told(
    live: LiveConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("twin_resources.gateway.hooks.canary_watch.RETRY_INTERVAL_S", 0.01)
    registry = Registry(failures=3)
    watch = CanaryWatch(live, registry)

    def work() -> None:
        for _ in range(5):
            watch.count_request(failed(), is_answered=True)

    run(work, watch, until=lambda: registry.told)
    assert len(registry.told) == 1
    assert capsys.readouterr().err.count("the rollback failed; it is retried") == 3
    live.refresh()
    assert canary_of(live) is None, "the file still lists it"


def test_one_that_the_policy_let_go_may_come_again(live: LiveConfig, home: Settings) -> None:
    before = live.current.policy
    assert before is not None
    live.stop_canary("ann/v2")
    entry = before.authors["ann"]
    write_policy(home.policy_path, Policy("", "", {"ann": replace(entry, canary=None)}))
    live.refresh()
    write_policy(home.policy_path, before)
    live.refresh()
    assert canary_of(live) == entry.canary


def test_what_neither_could_answer_or_nobody_waited_for_says_nothing(live: LiveConfig) -> None:
    watch = CanaryWatch(live, Registry())
    for _ in range(20):
        watch.count_request(failed(), is_answered=False)
        watch.count_request(request(CANARY), is_answered=False)
    assert watch.breakers == {}
    assert canary_of(live) is not None


def test_slow_answers_count_against_the_stable_versions_own(live: LiveConfig) -> None:
    registry = Registry()
    watch = CanaryWatch(live, registry)

    def work() -> None:
        for _ in range(40):
            watch.count_request(request(STABLE, seconds=1.0), is_answered=True)
        assert watch.timeout_s("ann") == 6.0
        for _ in range(20):
            watch.count_request(request(CANARY, seconds=2.9), is_answered=True)
        assert canary_of(live) is not None
        for _ in range(8):
            watch.count_request(request(CANARY, seconds=3.1), is_answered=True)

    run(work, watch, until=lambda: registry.told)
    assert "requests took longer than 3 s" in registry.told[0][2]


def test_findings_in_answers_stop_a_canary(live: LiveConfig) -> None:
    registry = Registry()
    watch = CanaryWatch(live, registry)
    leaking = request(CANARY)
    leaking.safety_findings = ("api_key",)

    def work() -> None:
        for _ in range(6):
            watch.count_findings(leaking)

    run(work, watch, until=lambda: registry.told)
    assert registry.told[0][2].startswith("safety: 6 of its 6 requests")


def test_a_fallback_that_took_over_is_what_the_record_says() -> None:
    record = failed()
    assert (record.decision, record.replaced_decision) == (STABLE, CANARY)
    assert record.template == "t1"
    record.record_fallback("again")
    assert record.degraded == ("canary failed: answered by stable",)


def test_a_breaker_starts_anew_for_a_canary_that_comes_again(live: LiveConfig) -> None:
    registry = Registry()
    watch = CanaryWatch(live, registry)

    def work() -> None:
        for _ in range(5):
            watch.count_request(failed(), is_answered=True)

    run(work, watch, until=lambda: registry.told and not watch.breakers)
    assert watch.breakers.get("ann/v2", Breaker()).tripped_cause is None
