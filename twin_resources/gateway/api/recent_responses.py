"""The last answers of `/v1/responses`, so that a client may name one instead of sending it again.

Scope: keeping them in the state store, by the key that asked, within a bound of age and
size. Out of scope: the API's shapes (`other_apis.py`).

Every gateway of a home, on any host, finds what another one answered. A row holds one request's own
turns and its answer, and names the answers before it, so each text stands once, beside its trace
id: `twin forget` deletes the row by it. As in traces, personal data and secrets are replaced.
An answer that was under way is forgotten within `POLL_SECONDS`: the tombstones of the outbox name
its trace, reader or author. A client that names an answer that is gone is answered without it and
told so. OpenAI keeps a response for 30 days too:
https://platform.openai.com/docs/guides/conversation-state
"""
# pyright: strict

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from twin_resources.access.refusals import Refused
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.outbox import Outbox
from twin_resources.observability.langfuse.tombstones import tombstone
from twin_resources.privacy import redact
from twin_resources.storage.state.state import State

AROUND_AN_ANSWER = 300  # bytes of its row: an empty one takes room too
MAX_CHARACTERS = 32_000_000  # in all: at least 120 requests of the longest body
KEPT_S = 30 * 24 * 3600.0  # a third of what the embedded trace store keeps traces for
_TIDIED_EVERY_S = 3600.0
RESPONSE, MESSAGE = "resp_", "msg_"  # and the trace id
ANSWER_OF = "answer_of"
"""In a turn in place of its content: the trace id of the answer that it repeats."""

Turn = dict[str, Any]
_metadata = sa.MetaData()
# Forgetting reads every column, and deletes a row with a `trace_id` whole (`erasure/`).
gateway_responses = sa.Table(
    "gateway_responses",
    _metadata,
    sa.Column("trace_id", sa.String(64), primary_key=True),
    sa.Column("reader", sa.String(64), nullable=False),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),  # trace id; empty: it begins
    sa.Column("began", sa.Double, nullable=False),
    sa.Column("answered", sa.Double, nullable=False, index=True),
    sa.Column("characters", sa.Integer, nullable=False),
    sa.Column("turns", sa.Text, nullable=False),  # JSON
    sa.Column("answer", sa.Text, nullable=False),
)


@dataclass(frozen=True)
class ReaderOf:
    """Who asked whom, and when.

    Attributes:
        reader: 16 hexadecimal digits of the key.
        author: slug.
        began: of the request, Unix seconds.
    """

    reader: str
    author: str
    began: float


@dataclass
class RecentResponses:
    """Answers and the turns before them.

    Attributes:
        state: opens the state store; called at the first request that names or keeps an answer.
        language_of: of an author, for personal data as it is written there.
        most_characters: of all texts together; the oldest answers go first.
        clock: Unix seconds.
    """

    state: Callable[[], State]
    language_of: Callable[[str], str] = lambda _: ""
    most_characters: int = MAX_CHARACTERS
    clock: Callable[[], float] = time.time
    _opened: State | None = None
    _unchecked: set[str] = field(default_factory=set[str])
    _seen: int = 0  # tombstones
    _tidied: float = 0.0

    def remember(
        self,
        asked: ReaderOf,
        trace_id: str,
        turns: Sequence[Mapping[str, Any]],
        text: str,
        *,
        previous: str = "",
    ) -> None:
        """Keep an answer. Never raises: the answer has gone out, or is about to. Writes.

        Args:
            trace_id: of the answer, with which the ids of response and message end.
            turns: those of this request, as the chat API has them, or with `ANSWER_OF`.
            previous: trace id of the answer that they follow.
        """
        region = self.language_of(asked.author)
        kept = json.dumps([_redacted(turn, region) for turn in turns], ensure_ascii=False)
        answer = redact(text, region=region).text
        try:
            with self._store().transaction() as connection:
                connection.execute(
                    sa.insert(gateway_responses).values(
                        trace_id=trace_id,
                        reader=asked.reader,
                        author=asked.author,
                        previous=previous,
                        began=asked.began,
                        answered=self.clock(),
                        characters=AROUND_AN_ANSWER + len(kept) + len(answer),
                        turns=kept,
                        answer=answer,
                    )
                )
        except (SQLAlchemyError, TwinError) as error:
            sys.stderr.write(f"an answer was not kept for the next one: {type(error).__name__}\n")
        self._unchecked.add(trace_id)

    def turns(self, reader: str, trace_id: str) -> list[Turn] | None:
        """The conversation up to an answer; None: a part is not kept, or it is another reader's.

        Raises:
            Refused: 503 the store cannot be read.
        """
        found: list[Turn] = []
        while trace_id:
            row = self._row(reader, trace_id)
            if row is None:
                return None
            own: list[Turn] = json.loads(row.turns)
            for turn in own:
                if ANSWER_OF in turn:
                    text = self.answer(reader, turn.pop(ANSWER_OF))
                    if text is None:
                        return None
                    turn["content"] = text
            found = [*own, {"role": "assistant", "content": str(row.answer)}, *found]
            trace_id = str(row.previous)
        return found

    def answer(self, reader: str, trace_id: str) -> str | None:
        """The text of an answer; None and errors as above."""
        row = self._row(reader, trace_id)
        return str(row.answer) if row else None

    async def drop_forgotten(self, outbox: Outbox) -> None:
        """Delete what was forgotten since the last call, what is too old, and what is too much.

        Raises:
            OutboxBroken: its tombstones cannot be read; the next call looks again.
            StorageFault: the same of the state store.
        """
        await asyncio.to_thread(self._tidy, outbox)

    def _tidy(self, outbox: Outbox) -> None:
        number, new, now = outbox.tombstones(), set(self._unchecked), self.clock()
        is_due = now - self._tidied >= _TIDIED_EVERY_S
        if not (new or is_due or number != self._seen):
            return
        table = gateway_responses
        columns = (table.c.trace_id, table.c.reader, table.c.author, table.c.began)
        looked_at = sa.select(*columns)
        if number == self._seen:
            looked_at = looked_at.where(table.c.trace_id.in_(new if number else ()))
        with self._store().transaction() as connection:
            gone = [row[0] for row in connection.execute(looked_at) if _is_buried(outbox, *row)]
            connection.execute(sa.delete(table).where(table.c.trace_id.in_(gone)))
            connection.execute(sa.delete(table).where(table.c.answered <= now - KEPT_S))
            sum_of = sa.func.coalesce(sa.func.sum(table.c.characters), 0)
            if connection.execute(sa.select(sum_of)).scalar_one() > self.most_characters:
                self._drop_oldest(connection)
        self._unchecked -= new
        self._seen, self._tidied = number, now

    def _drop_oldest(self, connection: sa.Connection) -> None:
        table = gateway_responses
        newest_first = (table.c.answered.desc(), table.c.trace_id)
        up_to = sa.func.sum(table.c.characters).over(order_by=newest_first).label("up_to")
        summed = sa.select(table.c.trace_id, up_to).subquery()
        too_many = sa.select(summed.c.trace_id).where(summed.c.up_to > self.most_characters)
        connection.execute(sa.delete(table).where(table.c.trace_id.in_(too_many)))

    def _row(self, reader: str, trace_id: str) -> sa.Row[Any] | None:
        table = gateway_responses
        mine = sa.and_(table.c.trace_id == trace_id, table.c.reader == reader)
        try:
            with self._store().reading() as connection:
                return connection.execute(sa.select(table).where(mine)).first()
        except (SQLAlchemyError, TwinError) as error:
            raise Refused(
                503,
                "responses_unreadable",
                tried="find the answer that the request names",
                found=f"the state store does not answer ({type(error).__name__})",
                next_step="try again, or send the whole conversation",
            ) from error

    def _store(self) -> State:
        if self._opened is None:
            opened = self.state()
            with opened.transaction() as connection:
                _metadata.create_all(connection)
            self._opened = opened
        return self._opened


def _is_buried(outbox: Outbox, trace_id: str, reader: str, author: str, began: float) -> bool:
    own = (tombstone("trace", trace_id), tombstone("reader", reader), tombstone("author", author))
    return outbox.is_buried(own, began=began)


def _redacted(turn: Mapping[str, Any], region: str) -> Turn:
    """A turn with its texts alone: a picture or a file is not read again."""
    content = turn.get("content")
    if isinstance(content, str):
        return dict(turn) | {"content": redact(content, region=region).text}
    parts = cast("list[object]", content) if isinstance(content, list) else []
    fields = [cast("Turn", part) for part in parts if isinstance(part, dict)]
    texts = [str(one.get("text") or one.get("refusal") or "") for one in fields]
    if ANSWER_OF in turn:
        return dict(turn)
    return dict(turn) | {"content": redact("\n".join(filter(None, texts)), region=region).text}
