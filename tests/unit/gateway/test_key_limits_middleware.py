"""Test the limits of keys with SQLite."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.types import Message, Receive, Scope, Send

from twin_resources.access.keys import Key, KeyLimits, add_key, open_key_store, open_keyring
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.json_answers import send_refusal
from twin_resources.gateway.api.key_limits import IN_PROGRESS_TIMEOUT_S, KeyRequestCounter
from twin_resources.gateway.api.key_limits_middleware import KeyLimitsMiddleware
from twin_resources.gateway.api.preparation import CHECKED_REQUEST, CheckedRequest
from twin_resources.gateway.request.request_body import read_question
from twin_resources.settings import Settings, load_secrets
from twin_resources.storage.state.state import State

BODY = b'{"model": "twin/ann", "messages": [{"role": "user", "content": "Why?"}]}'
START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]}


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
    assert "3 requests per minute" in error.found
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


class FakeServer:
    """A proxy behind the middleware, and its client."""

    def __init__(self, home: Settings, counter: KeyRequestCounter) -> None:
        self.keyring = open_keyring(home)
        self.app = KeyLimitsMiddleware(self.answer, counter)
        self.call_count = 0
        self.sent: list[Message] = []

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.call_count += 1
        await send(START)
        await send({"type": "http.response.body", "body": b"One ", "more_body": True})
        await send({"type": "http.response.body", "body": b"drop.", "more_body": False})

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def ask(self, secret: str) -> tuple[int, bytes]:
        self.sent.clear()

        async def receive() -> Message:
            raise AssertionError("the middleware receives nothing")

        try:
            key = self.keyring.find(f"Bearer {secret}")
            request = CheckedRequest(key, read_question(json.loads(BODY)), BODY)
            await self.app({"type": "http", CHECKED_REQUEST: request}, receive, self.send)
        except RefusedError as error:
            await send_refusal(self.send, error)
        body = b"".join(message.get("body", b"") for message in self.sent)
        return self.sent[0]["status"], body


@pytest.fixture
def server(home: Settings, counter: KeyRequestCounter) -> FakeServer:
    return FakeServer(home, counter)


@pytest.fixture
def create_key(home: Settings) -> Callable[..., str]:
    def create(**limits: Any) -> str:
        with closing(open_key_store(home)) as state:
            return add_key(
                state, role="site", authors=["*"], label="my site", limits=KeyLimits(**limits)
            )

    return create


CreateKey = Callable[..., str]
WHOLE_ANSWER = (200, b"One drop.")


async def test_a_request_over_a_limit_is_not_answered(
    server: FakeServer, create_key: CreateKey
) -> None:
    secret = create_key(per_minute=1, at_once=1)
    assert await server.ask(secret) == WHOLE_ANSWER
    status, body = await server.ask(secret)
    assert (status, json.loads(body)["error"]["code"]) == (429, "key_rate_limited")
    assert dict(server.sent[0]["headers"])[b"retry-after"] == b"60"
    assert server.call_count == 1


async def test_a_key_is_answered_again_after_its_request(
    server: FakeServer, create_key: CreateKey, counter: KeyRequestCounter, home: Settings
) -> None:
    secret = create_key(at_once=1)
    number = counter.begin(open_keyring(home).find(f"Bearer {secret}"))
    status, body = await server.ask(secret)
    assert (status, json.loads(body)["error"]["code"]) == (429, "key_busy")
    counter.end(number)
    for _ in range(2):
        assert await server.ask(secret) == WHOLE_ANSWER


async def test_a_place_is_freed_before_the_last_message_is_sent(
    server: FakeServer, create_key: CreateKey, counter: KeyRequestCounter, home: Settings
) -> None:
    secret = create_key(at_once=1)
    own_key = open_keyring(home).find(f"Bearer {secret}")
    pieces: list[bool] = []
    send = server.send

    async def check_place(message: Message) -> None:
        if message["type"] == "http.response.body":
            is_last = not message.get("more_body", False)
            pieces.append(is_last)
            if is_last:
                counter.end(counter.begin(own_key))
            else:
                assert expect_refusal(counter, own_key).code == "key_busy"
        await send(message)

    server.send = check_place  # type: ignore[method-assign]
    assert await server.ask(secret) == WHOLE_ANSWER
    assert pieces == [False, True]


async def test_the_keys_of_the_home_have_no_limits(server: FakeServer, home: Settings) -> None:
    assert await server.ask(load_secrets(home).gateway_key) == WHOLE_ANSWER
    assert (await server.ask("sk-wrong"))[0] == 401
