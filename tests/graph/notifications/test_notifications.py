"""Test that notices reach each kind of receiver once, even after a receiver was down."""

from __future__ import annotations

import ast
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.graph.state.test_registry import judge, reconcile_all, register, release
from tests.http_server import Request, Response, http_server
from tests.mail_server import mail_server
from tests.queued_notices import queued_notices
from tests.recipes import read_code_blocks
from twin_resources.errors import TwinError
from twin_resources.observability.notifications import (
    MAX_NOTICES_PER_CALL,
    RETRY_PERIOD_S,
    AppriseChannel,
    DeliveryCounts,
    Notice,
    announce,
    deliver,
    parse_channels,
)
from twin_resources.registry import notices as notices_module
from twin_resources.registry.notices import NOTICES
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import notices

ALARM = Notice(
    key="alarm:mara:v3:thumbs:1",
    event="alarm",
    author="mara",
    title="Quality of mara fell",
    text="e-value 113,000 of 100,000",
    links={"run": "http://127.0.0.1:3000/runs/1"},
)


@dataclass
class Receiver:
    """The bodies that a server has received, and the status of its responses."""

    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    status: int = 200
    port: int = 0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()

    def answer(request: Request) -> Response:
        if server.status == 200:
            server.bodies.append(request.document)
        return Response("ok", server.status)

    with http_server(answer) as url:
        server.port = int(url.rpartition(":")[2])
        yield server


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    store = State.open(f"sqlite:///{tmp_path}/state.sqlite")
    yield store
    store.close()


def queue_notice(state: State, notice: Notice = ALARM, *, at: float = 1_000.0) -> bool:
    with state.transaction() as connection:
        return announce(connection, notice, at=at)


def test_a_webhook_gets_each_notice_once(state: State, receiver: Receiver) -> None:
    channels = parse_channels([f"json://127.0.0.1:{receiver.port}/hook"])
    assert queue_notice(state)
    assert not queue_notice(state)  # the same event again
    assert deliver(state, channels, now=1_001.0).sent == 1
    assert deliver(state, channels, now=1_002.0).sent == 0
    assert [body["title"] for body in receiver.bodies] == ["Quality of mara fell"]
    assert "e-value 113,000 of 100,000" in receiver.bodies[0]["message"]
    assert "http://127.0.0.1:3000/runs/1" in receiver.bodies[0]["message"]


def test_slack_gets_its_own_format(
    state: State, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apprise.plugins.slack import NotifySlack

    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{receiver.port}/services")
    address = f"https://hooks.slack.com/services/T{'1' * 8}/B{'2' * 8}/{'c' * 24}"
    queue_notice(state)
    assert deliver(state, parse_channels([address]), now=1_001.0).sent == 1
    assert "Quality of mara fell" in json.dumps(receiver.bodies[0])


def test_mail_arrives(state: State) -> None:
    queue_notice(state)
    with mail_server() as (address, mails):
        assert deliver(state, parse_channels([address]), now=1_001.0).sent == 1
    assert "her@example.org" in mails[0]["to"]
    assert mails[0]["subject"] == "Quality of mara fell"


def test_an_unreachable_receiver_loses_no_notice_and_delays_no_other(
    state: State, receiver: Receiver
) -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    closed_port = closed.getsockname()[1]
    closed.close()
    reachable = AppriseChannel(f"json://127.0.0.1:{receiver.port}/alive")
    unreachable = AppriseChannel(f"json://127.0.0.1:{closed_port}/gone")
    queue_notice(state)
    first = deliver(state, [unreachable, reachable], now=1_001.0)
    assert (first.sent, first.waiting, len(receiver.bodies)) == (1, 1, 1)
    restored = AppriseChannel(f"json://127.0.0.1:{receiver.port}/back")
    second = deliver(state, [restored, reachable], now=1_002.0)
    assert (second.sent, second.waiting, len(receiver.bodies)) == (1, 0, 2)


def test_fifty_notices_for_an_unreachable_address_delay_no_other(
    state: State, receiver: Receiver
) -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    unreachable = AppriseChannel(f"json://127.0.0.1:{closed.getsockname()[1]}/gone")
    closed.close()
    reachable = AppriseChannel(f"json://127.0.0.1:{receiver.port}/alive")
    for number in range(MAX_NOTICES_PER_CALL):
        queue_notice(state, replace(ALARM, key=f"alarm:{number}"))
    assert deliver(state, [unreachable, reachable], now=1_001.0).sent == MAX_NOTICES_PER_CALL

    queue_notice(state, replace(ALARM, key="rolled_back", title="Rolled back"))
    assert deliver(state, [unreachable, reachable], now=1_002.0).sent == 1

    assert receiver.bodies[-1]["title"] == "Rolled back"
    restored = AppriseChannel(f"json://127.0.0.1:{receiver.port}/back")
    assert deliver(state, [restored, reachable], now=1_003.0).sent == MAX_NOTICES_PER_CALL
    assert deliver(state, [restored, reachable], now=1_004.0) == DeliveryCounts(1, 0, 0)
    assert deliver(state, [restored, reachable], now=1_005.0) == DeliveryCounts(0, 0, 0)


def test_delivery_to_a_failing_address_ends_after_three_days(
    state: State, receiver: Receiver
) -> None:
    receiver.status = 500
    channels = parse_channels([f"json://127.0.0.1:{receiver.port}/hook"])
    queue_notice(state)
    assert deliver(state, channels, now=1_001.0).waiting == 1
    assert deliver(state, channels, now=1_001.0 + RETRY_PERIOD_S).given_up == 1
    assert deliver(state, channels, now=1_002.0 + RETRY_PERIOD_S) == DeliveryCounts(0, 0, 0)
    with state.read_transaction() as connection:
        problem = connection.execute(sa.select(notices.c.problem)).scalar_one()
    assert "500" in problem


def test_a_notice_without_an_address_stays_in_the_history(state: State) -> None:
    queue_notice(state)
    assert deliver(state, [], now=1_001.0).waiting == 0
    assert queued_notices(state, author="mara") == [ALARM]
    assert queued_notices(state, author="tomas") == []


def test_an_event_that_was_rolled_back_is_not_announced(state: State) -> None:
    def announce_and_fail() -> None:
        with state.transaction() as connection:
            announce(connection, ALARM, at=1.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        announce_and_fail()
    assert queued_notices(state) == []


def test_the_documented_recipe_for_a_notification_adds_one(
    state: State, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe of deploy/docs/contributing.md adds a notice for the start of a trial."""
    [entry] = read_code_blocks("A notification", "python")
    added_notices = ast.literal_eval(f"{{{entry}}}")
    assert added_notices.keys().isdisjoint(NOTICES)
    [message] = added_notices.values()
    monkeypatch.setattr(notices_module, "NOTICES", NOTICES | added_notices)
    registry = Registry(state, policy_path=tmp_path / "policy.json")
    release(registry, "h1")
    register(registry, "h2")
    judge(registry, "h2")

    reconcile_all(registry, mode="shadow")

    [started, promoted] = queued_notices(state)
    assert promoted.event == "promoted"
    assert (started.event, started.title) == ("trial_began", "v2 of mara is on trial")
    assert started.text.endswith(message[2])
    channels = parse_channels([f"json://127.0.0.1:{receiver.port}/hook"])
    assert deliver(state, channels, now=time.time()) == DeliveryCounts(2, 0, 0)
    assert [body["title"] for body in receiver.bodies] == [promoted.title, started.title]


def test_an_unsupported_address_does_not_affect_the_others(
    state: State, receiver: Receiver
) -> None:
    supported = f"json://127.0.0.1:{receiver.port}/hook"
    queue_notice(state)
    assert deliver(
        state, parse_channels(["nowhere://secret-token", supported]), now=1_001.0
    ) == DeliveryCounts(sent=1, waiting=1, given_up=0)
    with state.read_transaction() as connection:
        problem = connection.execute(sa.select(notices.c.problem)).scalar_one()
    assert problem == "an unsupported form of address"

    corrected = parse_channels([f"json://127.0.0.1:{receiver.port}/mended", supported])
    assert deliver(state, corrected, now=1_002.0) == DeliveryCounts(sent=1, waiting=0, given_up=0)


def test_an_unsupported_address_is_reported_without_its_token() -> None:
    with pytest.raises(TwinError) as error:
        AppriseChannel("nowhere://secret-token")
    assert "secret-token" not in str(error.value)
    [channel] = parse_channels(["nowhere://secret-token"])
    assert "secret-token" not in channel.name


def test_two_webhooks_of_one_workspace_are_two_addresses() -> None:
    start = f"https://hooks.slack.com/services/T{'1' * 8}/B{'2' * 8}"
    first, second = parse_channels([f"{start}/{'c' * 24}", f"{start}/c{'d' * 22}c"])
    assert first.name != second.name


def test_a_password_is_not_stored() -> None:
    channel = AppriseChannel("json://someone:a-password@127.0.0.1:1/hook")
    assert "a-password" not in channel.name
