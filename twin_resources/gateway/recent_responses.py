"""The last answers of `/v1/responses`, so that a client may name one instead of sending it again.

Belongs here: keeping them in memory, by reader, within a bound. Does not belong here: the API's
shapes (`other_apis.py`).

OpenAI keeps each response for 30 days. A gateway keeps the last ones until it ends: a client that
names one that is gone, or one of another gateway, is answered without it and told so. What is
forgotten goes within `POLL_SECONDS`: the tombstones of the outbox name its trace, reader or author.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twin_resources.observability.langfuse.outbox import Outbox
from twin_resources.observability.langfuse.tombstones import tombstone

AROUND_A_TURN = 300  # bytes of its objects: an empty answer takes room too
MOST_CHARACTERS = 8_000_000  # in all: at least 30 conversations of the longest body


RESPONSE, MESSAGE = "resp_", "msg_"  # and the trace id


@dataclass(frozen=True)
class _Kept:
    """Turns, the tombstones that would name them, and when the last one was answered."""

    turns: Sequence[Mapping[str, Any]] = ()
    tombstones: frozenset[str] = frozenset()
    at: float = 0.0


@dataclass
class RecentResponses:
    """Answers and the turns before them.

    Attributes:
        most_characters: of all texts together; the oldest conversation goes first.
    """

    most_characters: int = MOST_CHARACTERS
    _kept: OrderedDict[tuple[str, str], _Kept] = field(
        default_factory=OrderedDict[tuple[str, str], _Kept]
    )
    _characters: int = 0
    _unchecked: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    _seen: int = 0  # tombstones

    def remember(
        self,
        reader: str,
        trace_id: str,
        messages: Sequence[Mapping[str, Any]],
        text: str,
        *,
        author: str,
        after: Collection[str] = (),
    ) -> None:
        """Keep an answer.

        Args:
            reader: 16 hexadecimal digits of who was answered.
            trace_id: of the answer, with which the ids of response and message end.
            messages: turns of the request, oldest first, as the chat API has them.
            author: slug of who answered.
            after: `tombstones` of the answers kept here that stand in `messages`.
        """
        answer = {"role": "assistant", "content": text}
        people = {tombstone("reader", reader), tombstone("author", author)}
        own, now = frozenset({tombstone("trace", trace_id), *people}), time.time()
        whole = _Kept((*messages, answer), own.union(after), now)
        self._keep((reader, RESPONSE + trace_id), whole)
        self._keep((reader, MESSAGE + trace_id), _Kept((answer,), own, now))
        while self._characters > self.most_characters:
            self._drop(next(iter(self._kept)))

    async def drop_forgotten(self, outbox: Outbox) -> None:
        """Let go of what was forgotten since the last call.

        Raises:
            OutboxBroken: its tombstones cannot be read; the next call looks again.
        """
        for name in await asyncio.to_thread(self._forgotten, outbox):
            self._drop(name)

    def _forgotten(self, outbox: Outbox) -> list[tuple[str, str]]:
        """What is new since the last call, or all where a tombstone is."""
        new = set(self._unchecked)
        number = outbox.tombstones()
        names = new if number == self._seen else list(self._kept)
        found = [
            name
            for name in names
            if number
            and (kept := self._kept.get(name))
            and outbox.is_buried(kept.tombstones, began=kept.at)
        ]
        self._unchecked -= new
        self._seen = number
        return found

    def turns(self, reader: str, response_id: str) -> Sequence[Mapping[str, Any]] | None:
        """The conversation up to a response; None: it is not kept, or another reader's."""
        kept = self._kept.get((reader, response_id))
        return kept.turns if kept else None

    def message(self, reader: str, message_id: str) -> str | None:
        """The text of an answer by its message id; None as above."""
        kept = self._kept.get((reader, message_id))
        return str(kept.turns[0]["content"]) if kept else None

    def tombstones(self, reader: str, kept_id: str) -> frozenset[str]:
        """Those that would let go of a response or message; none where it is not kept."""
        return self._kept.get((reader, kept_id), _Kept()).tombstones

    def _keep(self, name: tuple[str, str], kept: _Kept) -> None:
        self._drop(name)
        self._kept[name] = kept
        self._characters += _size(kept)
        self._unchecked.add(name)

    def _drop(self, name: tuple[str, str]) -> None:
        self._characters -= _size(self._kept.pop(name, _Kept()))
        self._unchecked.discard(name)


def _size(kept: _Kept) -> int:
    return sum(AROUND_A_TURN + len(str(turn.get("content"))) for turn in kept.turns)
