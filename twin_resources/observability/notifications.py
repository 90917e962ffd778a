"""Notify people of events through a queue in the state store.

Scope: queueing a notice in the transaction of its event, parsing addresses, and delivery.
Out of scope: detecting events (sensors, registry), run logs.
Delivery: Apprise, https://github.com/caronc/apprise/wiki, which selects the service by the scheme
of the address: Slack webhooks, e-mail, generic webhooks and about a hundred others.

A notice is written in the same transaction as its event and sent afterwards, so a crash loses no
notice. A crash between sending and recording sends the notice twice. An unreachable address is
retried at each tick for three days. An address that has received the notice does not receive it
again.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from twin_resources.errors import TwinError
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import notices

Event = Literal[
    "alarm",
    "incident",
    "nothing_to_learn",
    "failed",
    "refused",
    "promoted",
    "parked",
    "rolled_back",
    "budget_reached",
    "judge_changed",
    "questions",
]
RETRY_PERIOD_S = 3 * 86_400.0
MAX_NOTICES_PER_CALL = 50  # prevents a dead mail server from delaying a tick for minutes


@dataclass(frozen=True)
class Notice:
    """One message for people.

    Attributes:
        key: the unique key of the event; an event is announced only once.
        author: the author's slug.
        title: a title of one line.
        text: what happened and what to do next; it quotes no author, and of readers only
            questions without personal data (`questions`).
        links: label → URL in the UI.
    """

    key: str
    event: Event
    author: str
    title: str
    text: str
    links: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def body(self) -> str:
        """The text, followed by one line per link."""
        return "\n".join([self.text, *(f"{label}: {url}" for label, url in self.links.items())])


@dataclass(frozen=True)
class DeliveryCounts:
    """The result of one call of `deliver`: numbers of (notice, address) pairs."""

    sent: int
    waiting: int
    given_up: int


class AppriseChannel:
    """An address in Apprise's syntax.

    Examples are `https://hooks.slack.com/services/…`, `mailto://…`, and `json://host/path` for a
    generic webhook.

    Attributes:
        name: the unique name of the address in the queue, without passwords.

    Raises:
        TwinError: Apprise does not support the address.
    """

    def __init__(self, address: str) -> None:
        import apprise

        apprise_class: Any = apprise.Apprise
        channel: Any = apprise_class.instantiate(address, suppress_exceptions=True)
        if channel is None:
            raise TwinError(
                f"use {address.split('://', maxsplit=1)[0]}://… for notices",
                found="an unsupported form of address",
                next_step="use a form from https://github.com/caronc/apprise/wiki, for example "
                "https://hooks.slack.com/services/…, mailto://… or json://host/path",
            )
        self._apprise: Any = apprise_class()
        self._apprise.add(channel)
        # Two webhooks of one workspace look the same once their tokens are masked.
        self.name: str = f"{channel.url(privacy=True)} {_short_hash(channel.url())}"
        # Do not follow redirects to other addresses. This is set after the name, because the name
        # would include the setting and must stay the same to identify sent notices.
        channel.redirects = False

    def send(self, notice: Notice) -> None:
        """Send a notice.

        Raises:
            TwinError: the notice was not accepted.
        """
        messages: list[str] = []
        with _LogCapture(messages):
            is_accepted = asyncio.run(
                self._apprise.async_notify(title=notice.title, body=notice.body)
            )
        if not is_accepted:
            raise TwinError(
                f"send the notice {notice.title!r} to {self.name}",
                found=messages[-1] if messages else "the service did not accept it",
                next_step="check TWIN_NOTIFY; the notice is kept and will be sent again",
            )


@dataclass(frozen=True)
class InvalidChannel:
    """A channel for an unusable address, so that the other addresses still get notices."""

    name: str
    reason: TwinError

    def send(self, notice: Notice) -> None:  # noqa: ARG002 - it rejects every notice
        raise self.reason


Channel = AppriseChannel | InvalidChannel


def parse_channels(addresses: Sequence[str]) -> list[Channel]:
    """Return a channel for each address. An unsupported address gets an `InvalidChannel`."""
    return [_parse_channel(address) for address in addresses]


def _parse_channel(address: str) -> Channel:
    try:
        return AppriseChannel(address)
    except TwinError as error:
        return InvalidChannel(f"an address of unknown form {_short_hash(address)}", error)


def _short_hash(address: str) -> str:
    """Return a short hash that distinguishes addresses without revealing them."""
    return hashlib.sha256(address.encode()).hexdigest()[:12]


def announce(connection: sa.Connection, notice: Notice, *, at: float) -> bool:
    """Queue a notice in the caller's transaction; return False if its event was already announced.

    Args:
        at: the time of the event, in seconds since the epoch.
    """
    existing_notice = sa.select(notices.c.key).where(notices.c.key == notice.key)
    if connection.execute(existing_notice).first() is not None:
        return False
    connection.execute(
        sa.insert(notices).values(
            key=notice.key,
            event=notice.event,
            author=notice.author,
            title=notice.title,
            text=notice.text,
            links=dict(notice.links),
            announced_at=at,
            sent_to=[],
            problem="",
            done=False,
        )
    )
    return True


def deliver(state: State, channels: Sequence[Channel], *, now: float) -> DeliveryCounts:
    """Send queued notices, oldest first; skip a failed address until the next call.

    Notices that an address has refused come last, so that three days of retries for a dead address
    do not delay the others. If no address is configured, the notices are marked as done.
    """
    sent_count = waiting_count = given_up_count = 0
    problem_by_channel: dict[str, str] = {}
    with state.lease("notices"):
        for row in _read_queue(state):
            notice = Notice(row.key, row.event, row.author, row.title, row.text, row.links)
            sent_to, problem = list[str](row.sent_to), ""
            for channel in channels:
                if channel.name in sent_to:
                    continue
                if channel.name not in problem_by_channel:
                    try:
                        channel.send(notice)
                    except TwinError as error:
                        problem_by_channel[channel.name] = error.found
                if channel.name in problem_by_channel:
                    problem = problem_by_channel[channel.name]
                else:
                    sent_to.append(channel.name)
                    sent_count += 1
            unsent_count = sum(channel.name not in sent_to for channel in channels)
            is_expired = unsent_count > 0 and now - row.announced_at > RETRY_PERIOD_S
            given_up_count += unsent_count if is_expired else 0
            waiting_count += 0 if is_expired else unsent_count
            values = {
                "sent_to": sent_to,
                "problem": problem,
                "done": is_expired or not unsent_count,
            }
            with state.transaction() as connection:
                connection.execute(
                    sa.update(notices).where(notices.c.key == row.key).values(**values)
                )
    return DeliveryCounts(sent_count, waiting_count, given_up_count)


def _read_queue(state: State) -> Sequence[sa.Row[Any]]:
    statement = (
        sa.select(notices)
        .where(notices.c.done.is_(False))
        .order_by(notices.c.problem != "", notices.c.number)
        .limit(MAX_NOTICES_PER_CALL)
    )
    with state.read_transaction() as connection:
        return connection.execute(statement).all()


class _LogCapture(logging.Handler):
    """A handler that collects Apprise's failure messages, because Apprise returns only False."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())

    def __enter__(self) -> None:
        logging.getLogger("apprise").addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)
