"""Test the limits of keys with SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from twin_resources.access.keys import Key, KeyLimits, open_key_store
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.key_limits import IN_PROGRESS_TIMEOUT_S, KeyRequestCounter
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(home: Settings) -> Iterator[State]:
    state = open_key_store(home)
    yield state
    state.close()


@pytest.fixture
def counter(state: State, clock: Clock) -> KeyRequestCounter:
    return KeyRequestCounter(lambda: state, clock=clock)


def make_key(name: str = "k1", **limits: Any) -> Key:
    return Key("r", "site", frozenset({"*"}), "my site", name, KeyLimits(**limits))


def expect_refusal(counter: KeyRequestCounter, own_key: Key) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        counter.begin(own_key)
    return caught.value


def test_the_limit_per_minute_uses_a_sliding_window(
    counter: KeyRequestCounter, clock: Clock
) -> None:
    own_key = make_key(per_minute=3)
    for seconds in (0, 20, 20):
        clock.now += seconds
        counter.begin(own_key)
    error = expect_refusal(counter, own_key)
    assert (error.status, error.code, error.retry_after_s) == (429, "key_rate_limited", 20)
    assert "3 requests per minute" in str(error)
    counter.begin(make_key("k2", per_minute=3))
    clock.now += error.retry_after_s or 0
    counter.begin(own_key)
    assert expect_refusal(counter, own_key).retry_after_s == 20


def test_a_refused_request_does_not_count(counter: KeyRequestCounter, clock: Clock) -> None:
    own_key = make_key(per_minute=1)
    counter.begin(own_key)
    retry_delays = []
    for _ in range(5):
        clock.now += 10
        retry_delays.append(expect_refusal(counter, own_key).retry_after_s)
    assert retry_delays == [50, 40, 30, 20, 10]
    clock.now += 10
    counter.begin(own_key)


def test_a_place_is_freed_at_the_end_or_after_the_timeout(
    counter: KeyRequestCounter, clock: Clock
) -> None:
    own_key = make_key(at_once=2)
    first = counter.begin(own_key)
    counter.begin(own_key)
    error = expect_refusal(counter, own_key)
    assert (error.status, error.code, error.retry_after_s) == (429, "key_busy", 2)
    counter.end(first)
    counter.end(first)
    counter.begin(own_key)
    clock.now += IN_PROGRESS_TIMEOUT_S - 1
    expect_refusal(counter, own_key)
    clock.now += 2
    counter.begin(own_key)


def test_concurrent_requests_are_counted_exactly(counter: KeyRequestCounter) -> None:
    own_key = make_key(per_minute=7)

    def ask(_number: int) -> bool:
        try:
            counter.begin(own_key)
        except RefusedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(24))) == 7


def test_an_unwritable_store_refuses_new_requests_only(
    counter: KeyRequestCounter, state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    own_key = make_key(at_once=1)
    counted = counter.begin(own_key)
    with state.transaction() as connection:
        connection.execute(sa.text("DROP TABLE gateway_key_requests"))
    assert expect_refusal(counter, own_key).status == 503
    counter.end(counted)
    assert "was not counted" in capsys.readouterr().err
