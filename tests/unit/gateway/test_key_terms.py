"""What a key may send in a minute and at once, and a request that is answered once (SQLite)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from twin_resources.access.keys import Key, KeyLimits, add_key, open_key_store, open_keyring
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.idempotency import (
    HEADER_NAME,
    IN_PROGRESS_TIMEOUT_S,
    RETENTION_S,
    Idempotency,
    Message,
    Receive,
    Send,
    StoredAnswer,
)
from twin_resources.gateway.api.key_limits import KeyRequestCounter
from twin_resources.gateway.api.key_terms import KeyLimitEnforcer, KeyLimitsMiddleware, Scope
from twin_resources.settings import Settings, load_secrets
from twin_resources.storage.state.state import State

BODY = b'{"model": "twin/ann", "messages": [{"role": "user", "content": "Why?"}]}'
SAME = b'{"messages": [{"role": "user", "content": "Why?"}], "model": "twin/ann"}'
OTHER = b'{"model": "twin/ann", "messages": [{"role": "user", "content": "How?"}]}'
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
    opened = State.open(home.state_address)
    yield opened
    opened.close()


@pytest.fixture
def requests(state: State, clock: Clock) -> KeyRequestCounter:
    return KeyRequestCounter(lambda: state, clock=clock)


@pytest.fixture
def once(state: State, clock: Clock) -> Idempotency:
    return Idempotency(lambda: state, clock=clock)


def key(name: str = "k1", **limits: Any) -> Key:
    return Key("r", "site", frozenset({"*"}), "my site", name, KeyLimits(**limits))


def refused(requests: KeyRequestCounter, mine: Key) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        requests.begin(mine)
    return caught.value


def test_a_minute_slides(requests: KeyRequestCounter, clock: Clock) -> None:
    mine = key(per_minute=3)
    for seconds in (0, 20, 20):
        clock.now += seconds
        requests.begin(mine)
    error = refused(requests, mine)
    assert (error.status, error.code, error.retry_after_s) == (429, "key_rate_limited", 20)
    assert "3 requests per minute" in error.found
    requests.begin(key("k2", per_minute=3))
    clock.now += error.retry_after_s or 0
    requests.begin(mine)
    assert refused(requests, mine).retry_after_s == 20


def test_a_refused_request_does_not_count(requests: KeyRequestCounter, clock: Clock) -> None:
    mine = key(per_minute=1)
    requests.begin(mine)
    waits = []
    for _ in range(5):
        clock.now += 10
        waits.append(refused(requests, mine).retry_after_s)
    assert waits == [50, 40, 30, 20, 10], "each refusal would else begin the minute again"
    clock.now += 10
    assert requests.begin(mine)


def test_at_once_frees_its_place_at_the_end_or_when_its_process_is_gone(
    requests: KeyRequestCounter, clock: Clock
) -> None:
    mine = key(at_once=2)
    first = requests.begin(mine)
    requests.begin(mine)
    error = refused(requests, mine)
    assert (error.status, error.code, error.retry_after_s) == (429, "key_busy", 2)
    requests.end(first)
    requests.end(first)
    requests.begin(mine)
    clock.now += IN_PROGRESS_TIMEOUT_S - 1
    refused(requests, mine)
    clock.now += 2
    requests.begin(mine)


def test_a_key_without_limits_needs_no_store() -> None:
    def no_store() -> State:
        raise AssertionError("the store was opened")

    free = KeyRequestCounter(no_store)
    begun = free.begin(key())
    free.end(begun)
    with pytest.raises(AssertionError, match="the store was opened"):
        free.begin(key(per_minute=1))


def test_many_at_once_are_counted_exactly(requests: KeyRequestCounter) -> None:
    mine = key(per_minute=7)

    def ask(_number: int) -> bool:
        try:
            requests.begin(mine)
        except RefusedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(24))) == 7


def test_a_store_that_cannot_be_written_refuses_and_ends_quietly(
    requests: KeyRequestCounter, state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = key(at_once=1)
    counted = requests.begin(mine)
    with state.transaction() as connection:
        connection.execute(sa.text("DROP TABLE gateway_key_requests"))
    assert refused(requests, mine).status == 503
    requests.end(counted)
    assert "was not counted" in capsys.readouterr().err


def begin(once: Idempotency, body: bytes = BODY, *, header: str = "a-1", mine: str = "k1") -> Any:
    return once.begin(mine, header, path="/v1/chat/completions", body=body, author="ann")


def status_of(once: Idempotency, body: bytes, **how: Any) -> tuple[int, str]:
    with pytest.raises(RefusedError) as caught:
        begin(once, body, **how)
    return caught.value.status, caught.value.code


def test_the_same_request_has_one_answer_for_a_day(once: Idempotency, clock: Clock) -> None:
    first = begin(once)
    assert status_of(once, SAME) == (409, "idempotency_in_flight")
    stored = StoredAnswer(200, [(b"content-type", b"application/json")], "ünï".encode())
    once.finish(first, stored)
    assert begin(once, SAME) == stored
    assert status_of(once, OTHER) == (422, "idempotency_key_reused")
    assert not isinstance(begin(once, OTHER, mine="k2"), StoredAnswer), "another's key is another"
    clock.now += RETENTION_S + 1
    assert not isinstance(begin(once, OTHER), StoredAnswer)


def test_what_failed_or_died_can_be_sent_again(once: Idempotency, clock: Clock) -> None:
    once.finish(begin(once), None)
    begin(once)
    clock.now += IN_PROGRESS_TIMEOUT_S - 1
    assert status_of(once, BODY)[0] == 409
    clock.now += 2
    begin(once)


@pytest.mark.parametrize("header", ["x" * 256, "a\x00b"])
def test_a_header_that_is_none_is_refused(once: Idempotency, header: str) -> None:
    assert status_of(once, BODY, header=header) == (400, "bad_idempotency_key")


class Served:
    """A model behind the door, and a reader before it who may leave."""

    def __init__(self, home: Settings, requests: KeyRequestCounter, once: Idempotency) -> None:
        self.app = KeyLimitsMiddleware(
            self.answer, open_keyring(home), KeyLimitEnforcer(requests, once)
        )
        self.asked = 0
        self.heard = ""
        self.has_left = False
        self.status = 200
        self.sent: list[Message] = []

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        assert HEADER_NAME not in dict(scope["headers"]), "LiteLLM has no use for it"
        assert (await receive())["body"] == BODY
        try:
            self.heard = str((await asyncio.wait_for(receive(), 0.05))["type"])
        except TimeoutError:
            self.heard = "nothing"
        await send({**START, "status": self.status})
        await send({"type": "http.response.body", "body": b"One ", "more_body": True})
        await send({"type": "http.response.body", "body": b"drop.", "more_body": False})

    async def send(self, message: Message) -> None:
        if self.has_left:
            raise OSError("gone")
        self.sent.append(message)

    async def ask(self, secret: str, *, header: str = "a-1") -> tuple[int, bytes]:
        self.sent.clear()
        waiting: list[Message] = [{"type": "http.request", "body": BODY, "more_body": False}]

        async def receive() -> Message:
            return waiting.pop() if waiting else {"type": "http.disconnect"}

        headers = [(b"authorization", f"Bearer {secret}".encode())]
        headers += [(HEADER_NAME, header.encode())] if header else []
        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions"}
        await self.app({**scope, "headers": headers}, receive, self.send)
        body = b"".join(message.get("body", b"") for message in self.sent)
        return (self.sent[0]["status"] if self.sent else 0), body


@pytest.fixture
def served(home: Settings, requests: KeyRequestCounter, once: Idempotency) -> Served:
    return Served(home, requests, once)


@pytest.fixture
def made(home: Settings) -> Callable[..., str]:
    def make(label: str = "my site", **limits: Any) -> str:
        with closing(open_key_store(home)) as state:
            return add_key(
                state, role="site", authors=["*"], label=label, limits=KeyLimits(**limits)
            )

    return make


Made = Callable[..., str]
WHOLE = (200, b"One drop.")


async def test_an_answer_is_sent_again_and_not_asked_for_again(served: Served, made: Made) -> None:
    mine = made(per_minute=1, at_once=1)
    assert await served.ask(mine) == WHOLE
    assert await served.ask(mine) == WHOLE, "and is not counted"
    assert (b"idempotent-replayed", b"true") in served.sent[0]["headers"]
    assert (b"x-a", b"1") in served.sent[0]["headers"]
    assert served.asked == 1
    status, told = await served.ask(mine, header="")
    assert (status, json.loads(told)["error"]["code"]) == (429, "key_rate_limited")
    assert dict(served.sent[0]["headers"])[b"retry-after"] == b"60"
    assert served.asked == 1


async def test_who_left_finds_the_whole_answer(served: Served, made: Made) -> None:
    mine = made()
    served.has_left = True
    assert await served.ask(mine) == (0, b"")
    assert served.heard == "nothing", "the reader never leaves, as far as the work is concerned"
    served.has_left = False
    assert await served.ask(mine) == WHOLE
    assert served.asked == 1
    await served.ask(mine, header="")
    assert served.heard == "http.disconnect"


async def test_an_error_is_not_kept(served: Served, made: Made) -> None:
    mine = made()
    served.status = 503
    await served.ask(mine)
    served.status = 200
    assert await served.ask(mine) == WHOLE
    assert served.asked == 2


async def test_a_refusal_leaves_no_mark(
    served: Served, made: Made, requests: KeyRequestCounter, home: Settings
) -> None:
    secret = made(at_once=1)
    under_way = requests.begin(open_keyring(home).find(f"Bearer {secret}"))
    for _ in range(2):  # not 409: nothing is under way for this header
        status, told = await served.ask(secret)
        assert (status, json.loads(told)["error"]["code"]) == (429, "key_busy")
    requests.end(under_way)
    assert await served.ask(secret) == WHOLE
    assert await served.ask(secret, header="") == WHOLE, "the place was given back"


async def test_who_has_the_whole_answer_may_ask_again_at_once(
    served: Served, made: Made, requests: KeyRequestCounter, home: Settings
) -> None:
    secret = made(at_once=1)
    mine = open_keyring(home).find(f"Bearer {secret}")
    pieces: list[bool] = []
    send = served.send

    async def reading(message: Message) -> None:
        if message["type"] == "http.response.body":
            is_last = not message.get("more_body", False)
            pieces.append(is_last)
            if is_last:
                requests.end(requests.begin(mine))
            else:
                assert refused(requests, mine).code == "key_busy"
        await send(message)

    served.send = reading  # type: ignore[method-assign]
    assert await served.ask(secret, header="") == WHOLE
    assert pieces == [False, True]


async def test_what_is_kept_is_one_readers_alone(served: Served, made: Made, state: State) -> None:
    """By key: nobody reads another's answer by guessing his header."""
    await served.ask(made("one"))
    await served.ask(made("two"))
    assert served.asked == 2
    with state.read_transaction() as connection:
        rows = connection.execute(sa.text("SELECT * FROM gateway_answers")).mappings().all()
    assert "a-1" not in json.dumps([dict(row) for row in rows])
    assert {row["author"] for row in rows} == {"ann"}


async def test_the_home_s_own_keys_are_not_counted(served: Served, home: Settings) -> None:
    assert await served.ask(load_secrets(home).gateway_key, header="") == WHOLE
    assert (await served.ask("sk-wrong", header=""))[0] == 401
