"""What a key may send in a minute and at once, and a request that is answered once (SQLite)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from twin_resources.gateway.idempotency import (
    KEPT_S,
    STUCK_S,
    Idempotency,
    Message,
    Receive,
    Send,
    StoredAnswer,
)
from twin_resources.gateway.key_limits import KeyRequests
from twin_resources.gateway.key_terms import KeyTerms
from twin_resources.gateway.keys import Key, KeyLimits
from twin_resources.gateway.refusals import Refused
from twin_resources.settings import Settings
from twin_resources.state.state import State

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
def requests(state: State, clock: Clock) -> KeyRequests:
    return KeyRequests(lambda: state, clock=clock)


@pytest.fixture
def once(state: State, clock: Clock) -> Idempotency:
    return Idempotency(lambda: state, clock=clock)


def key(name: str = "k1", **limits: Any) -> Key:
    return Key("r", "site", frozenset({"*"}), "my site", name, KeyLimits(**limits))


def refused(requests: KeyRequests, mine: Key) -> Refused:
    with pytest.raises(Refused) as caught:
        requests.begin(mine)
    return caught.value


def test_a_minute_slides(requests: KeyRequests, clock: Clock) -> None:
    mine = key(per_minute=3)
    for seconds in (0, 20, 20):
        clock.now += seconds
        requests.begin(mine)
    error = refused(requests, mine)
    assert (error.status, error.code, error.retry_after_s) == (429, "key_rate_limited", 20)
    assert "3 requests within a minute" in error.found
    requests.begin(key("k2", per_minute=3))
    clock.now += error.retry_after_s or 0
    requests.begin(mine)
    assert refused(requests, mine).retry_after_s == 20


def test_a_refused_request_does_not_count(requests: KeyRequests, clock: Clock) -> None:
    mine = key(per_minute=1)
    requests.begin(mine)
    for _ in range(5):
        clock.now += 10
        refused(requests, mine)
    clock.now += 10
    requests.begin(mine)


def test_at_once_frees_its_place_at_the_end_or_when_its_process_is_gone(
    requests: KeyRequests, clock: Clock
) -> None:
    mine = key(at_once=2)
    first = requests.begin(mine)
    requests.begin(mine)
    error = refused(requests, mine)
    assert (error.status, error.code, error.retry_after_s) == (429, "key_busy", 2)
    requests.end(first)
    requests.end(first)
    requests.begin(mine)
    clock.now += STUCK_S - 1
    refused(requests, mine)
    clock.now += 2
    requests.begin(mine)


def test_a_key_without_limits_needs_no_store() -> None:
    def no_store() -> State:
        raise AssertionError("the store was opened")

    free = KeyRequests(no_store)
    free.end(free.begin(key()))


def test_many_at_once_are_counted_exactly(requests: KeyRequests) -> None:
    mine = key(per_minute=7)

    def ask(_number: int) -> bool:
        try:
            requests.begin(mine)
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(24))) == 7


def test_a_store_that_cannot_be_written_refuses_and_ends_quietly(
    requests: KeyRequests, state: State, capsys: pytest.CaptureFixture[str]
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
    with pytest.raises(Refused) as caught:
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
    clock.now += KEPT_S + 1
    assert not isinstance(begin(once, OTHER), StoredAnswer)


def test_what_failed_or_died_can_be_sent_again(once: Idempotency, clock: Clock) -> None:
    once.finish(begin(once), None)
    begin(once)
    clock.now += STUCK_S - 1
    assert status_of(once, BODY)[0] == 409
    clock.now += 2
    begin(once)


@pytest.mark.parametrize("header", ["x" * 256, "a\x00b"])
def test_a_header_that_is_none_is_refused(once: Idempotency, header: str) -> None:
    assert status_of(once, BODY, header=header) == (400, "bad_idempotency_key")


class Served:
    """A model behind the door, and a reader before it who may leave."""

    def __init__(self, terms: KeyTerms) -> None:
        self.terms = terms
        self.asked = 0
        self.has_left = False
        self.status = 200
        self.sent: list[Message] = []

    async def answer(self, _receive: Receive, send: Send) -> None:
        self.asked += 1
        await send({**START, "status": self.status})
        await send({"type": "http.response.body", "body": b"One ", "more_body": True})
        await send({"type": "http.response.body", "body": b"drop.", "more_body": False})

    async def send(self, message: Message) -> None:
        if self.has_left:
            raise OSError("gone")
        self.sent.append(message)

    async def receive(self) -> Message:
        return {"type": "http.disconnect"}

    async def ask(self, mine: Key, *, header: str = "a-1") -> bytes:
        self.sent.clear()
        await self.terms.run(
            mine, self.answer, idempotency_key=header, path="/v1/chat/completions", body=BODY,
            author="ann", receive=self.receive, send=self.send,
        )  # fmt: skip
        return b"".join(message.get("body", b"") for message in self.sent)


@pytest.fixture
def served(requests: KeyRequests, once: Idempotency) -> Served:
    return Served(KeyTerms(requests, once))


async def test_an_answer_is_sent_again_and_not_asked_for_again(served: Served) -> None:
    mine = key(per_minute=1, at_once=1)
    assert await served.ask(mine) == b"One drop."
    assert await served.ask(mine) == b"One drop.", "and is not counted"
    assert (b"idempotent-replayed", b"true") in served.sent[0]["headers"]
    assert (b"x-a", b"1") in served.sent[0]["headers"]
    assert served.asked == 1
    with pytest.raises(Refused, match="within a minute"):
        await served.ask(mine, header="")
    assert served.asked == 1


async def test_who_left_finds_the_whole_answer(served: Served) -> None:
    served.has_left = True
    assert await served.ask(key()) == b""
    served.has_left = False
    assert await served.ask(key()) == b"One drop."
    assert served.asked == 1


async def test_an_error_is_not_kept(served: Served) -> None:
    served.status = 503
    await served.ask(key())
    served.status = 200
    await served.ask(key())
    assert served.asked == 2


async def test_a_refusal_leaves_no_mark(served: Served, requests: KeyRequests) -> None:
    mine = key(at_once=1)
    under_way = requests.begin(mine)
    for _ in range(2):  # not 409: nothing is under way for this header
        with pytest.raises(Refused, match="under way"):
            await served.ask(mine)
    requests.end(under_way)
    assert await served.ask(mine) == b"One drop."
    assert await served.ask(mine, header="") == b"One drop.", "the place was given back"


async def test_a_body_that_is_kept_is_the_readers_alone(served: Served, state: State) -> None:
    """By key: nobody reads another's answer by guessing his header."""
    await served.ask(key("k1"))
    await served.ask(key("k2"))
    assert served.asked == 2
    with state.reading() as connection:
        rows = connection.execute(sa.text("SELECT * FROM gateway_answers")).mappings().all()
    assert "a-1" not in json.dumps([dict(row) for row in rows])
    assert {row["author"] for row in rows} == {"ann"}


async def test_the_reader_never_leaves_as_far_as_the_work_is_concerned(served: Served) -> None:
    heard: list[str] = []

    async def listening(receive: Receive, send: Send) -> None:
        try:
            heard.append(str((await asyncio.wait_for(receive(), 0.05))["type"]))
        except TimeoutError:
            heard.append("nothing")
        await served.answer(receive, send)

    for header in ("a-1", ""):
        await served.terms.run(
            key(), listening, idempotency_key=header, path="/", body=BODY, author="ann",
            receive=served.receive, send=served.send,
        )  # fmt: skip
    assert heard == ["nothing", "http.disconnect"]
