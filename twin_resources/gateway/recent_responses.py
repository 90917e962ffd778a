"""The last answers of `/v1/responses`, so that a client may name one instead of sending it again.

Belongs here: keeping them in memory, by reader, within a bound. Does not belong here: the API's
shapes (`other_apis.py`).

OpenAI keeps each response for 30 days. A gateway keeps the last ones until it ends: a client that
names one that is gone, or one of another gateway, is answered without it and told so.
"""
# pyright: strict

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

AROUND_A_TURN = 300  # bytes of its objects: an empty answer takes room too
MOST_CHARACTERS = 8_000_000  # in all: at least 30 conversations of the longest body


@dataclass
class RecentResponses:
    """Answers and the turns before them.

    Attributes:
        most_characters: of all texts together; the oldest conversation goes first.
    """

    most_characters: int = MOST_CHARACTERS
    _kept: OrderedDict[tuple[str, str], Sequence[Mapping[str, Any]]] = field(
        default_factory=OrderedDict[tuple[str, str], Sequence[Mapping[str, Any]]]
    )
    _characters: int = 0

    def remember(
        self,
        reader: str,
        response_id: str,
        message_id: str,
        messages: Sequence[Mapping[str, Any]],
        text: str,
    ) -> None:
        """Keep an answer.

        Args:
            reader: hashed key (and user) of who was answered.
            messages: turns of the request, oldest first, as the chat API has them.
        """
        answer = {"role": "assistant", "content": text}
        self._keep((reader, response_id), (*messages, answer))
        self._keep((reader, message_id), (answer,))
        while self._characters > self.most_characters:
            _, oldest = self._kept.popitem(last=False)
            self._characters -= _size(oldest)

    def turns(self, reader: str, response_id: str) -> Sequence[Mapping[str, Any]] | None:
        """The conversation up to a response; None: it is not kept, or another reader's."""
        return self._kept.get((reader, response_id))

    def message(self, reader: str, message_id: str) -> str | None:
        """The text of an answer by its message id; None as above."""
        kept = self._kept.get((reader, message_id))
        return str(kept[0]["content"]) if kept else None

    def _keep(self, name: tuple[str, str], turns: Sequence[Mapping[str, Any]]) -> None:
        self._characters += _size(turns) - _size(self._kept.pop(name, ()))
        self._kept[name] = turns


def _size(turns: Sequence[Mapping[str, Any]]) -> int:
    return sum(AROUND_A_TURN + len(str(turn.get("content"))) for turn in turns)
