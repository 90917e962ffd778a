"""Store recent answers of `/v1/responses`, so that a client can name one in a later request.

LiteLLM resolves such a name only with a database of its own: without one, it answers as if the
earlier turns did not exist. Two of twelve recorded client sessions send one.

All gateways of a home, on any host, find each other's answers. A row contains one request's turns
and its answer, and refers to earlier answers by trace id. Each text is therefore stored once, and
`twin forget` deletes a row by its trace id. As in traces, personal data and secrets are replaced.
An answer in progress during a deletion is deleted within `POLL_SECONDS`, because the tombstones of
the outbox name its trace, reader or author. A request that names a deleted answer is answered
without it, and `twin.ignored` reports this. OpenAI also keeps a response for 30 days:
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
from functools import cached_property, partial
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from twin_resources.access.refusals import refuse_if_store_fails
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.outbox import Outbox
from twin_resources.observability.langfuse.tombstones import tombstone_hash
from twin_resources.privacy import redact
from twin_resources.storage.state.state import State

ROW_OVERHEAD = 300  # characters counted for each row, because an empty answer takes space too
MAX_CHARACTERS = 32_000_000  # limit for all rows; at least 120 requests with the longest body
# A third of the time for which the embedded trace store keeps traces.
RETENTION_S = 30 * 24 * 3600.0
_CLEANUP_INTERVAL_S = 3600.0
RESPONSE_PREFIX, MESSAGE_PREFIX = "resp_", "msg_"  # prefixes of a trace id
ANSWER_REFERENCE_KEY = "answer_of"
"""Key of a turn that refers to a stored answer by its trace id instead of repeating the text."""

Turn = dict[str, Any]
_metadata = sa.MetaData()
# Erasure reads every column, and deletes the whole row that has a given `trace_id` (`erasure/`).
gateway_responses = sa.Table(
    "gateway_responses",
    _metadata,
    sa.Column("trace_id", sa.String(64), primary_key=True),
    sa.Column("reader", sa.String(64), nullable=False),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),  # trace id, or empty for a first answer
    sa.Column("began", sa.Double, nullable=False),
    sa.Column("answered", sa.Double, nullable=False, index=True),
    sa.Column("characters", sa.Integer, nullable=False),
    sa.Column("turns", sa.Text, nullable=False),  # JSON
    sa.Column("answer", sa.Text, nullable=False),
)


@dataclass(frozen=True)
class RequestOrigin:
    """The reader, the author and the time of a request.

    Attributes:
        reader: 16 hexadecimal digits of the key.
        author: slug of the author.
        started_at: start of the request, in Unix seconds.
    """

    reader: str
    author: str
    started_at: float


@dataclass
class RecentResponses:
    """Stored answers, each with the turns before it.

    Attributes:
        open_state: opens the state store; called at the first request that names or stores an
            answer.
        author_language: returns an author's language, which selects the formats of personal data.
        max_characters: limit on the characters of all rows, each with `ROW_OVERHEAD`; the oldest
            answers are deleted first.
        clock: returns Unix seconds.
    """

    open_state: Callable[[], State]
    author_language: Callable[[str], str] = lambda _: ""
    max_characters: int = MAX_CHARACTERS
    clock: Callable[[], float] = time.time
    _unchecked_trace_ids: set[str] = field(default_factory=set[str])
    _last_tombstone_count: int = 0
    _last_cleanup_at: float = 0.0

    def replace_references(
        self, body: dict[str, Any], reader: str
    ) -> tuple[list[str], Callable[[str, str], None] | None]:
        """Put the earlier turns that a request names into its `input`. Reads the state store.

        Returns:
            The names of references to answers that are not stored, and the function that stores the
            answer, or None if the client does not want it.

        Raises:
            RefusedError: 503 if the store cannot be read.
        """
        ignored: list[str] = []
        turns: list[Turn] = []
        items: list[Any] = []
        content: object = body.get("input")
        is_text = isinstance(content, str)
        for item in [{"role": "user", "content": content}] if is_text else _as_list(content):
            fields = cast("Turn", item) if isinstance(item, dict) else {}
            if fields.get("type") == "item_reference":
                trace_id = str(fields.get("id")).removeprefix(MESSAGE_PREFIX)
                text = self.load_answer(reader, trace_id)
                if text is None:
                    ignored.append("item_reference")
                    continue
                turns.append({"role": "assistant", ANSWER_REFERENCE_KEY: trace_id})
                items.append({"role": "assistant", "content": text})
                continue
            if fields.get("type", "message") == "message":
                turns.append({"role": fields.get("role"), "content": fields.get("content")})
            items.append(item)
        previous = str(body.pop("previous_response_id", "")).removeprefix(RESPONSE_PREFIX)
        if previous:
            earlier_turns = self.load_turns(reader, previous)
            if earlier_turns is None:
                previous = ""
                ignored.append("previous_response_id")
            items = [*(earlier_turns or ()), *items]
        if items:
            body["input"] = items
        if body.pop("store", True) is False:
            return ignored, None
        author = str(body.get("model")).removeprefix("twin/").partition("@")[0]
        origin = RequestOrigin(reader, author, self.clock())
        return ignored, partial(self.store, origin, turns=turns, previous=previous)

    def store(
        self,
        origin: RequestOrigin,
        trace_id: str,
        text: str,
        *,
        turns: Sequence[Mapping[str, Any]],
        previous: str = "",
    ) -> None:
        """Store an answer in the state store.

        A failed write is logged and not raised, because the answer has been sent or is about to be.

        Args:
            trace_id: trace id of the answer; the ids of the response and its message end with it.
            text: the answer.
            turns: the turns of this request, in the chat API's format or with
                `ANSWER_REFERENCE_KEY`.
            previous: trace id of the answer that the turns follow.
        """
        language = self.author_language(origin.author)
        turns_json = json.dumps(
            [_redact_turn(turn, language) for turn in turns], ensure_ascii=False
        )
        answer = redact(text, region=language).text
        try:
            with self._store.transaction() as connection:
                connection.execute(
                    sa.insert(gateway_responses).values(
                        trace_id=trace_id,
                        reader=origin.reader,
                        author=origin.author,
                        previous=previous,
                        began=origin.started_at,
                        answered=self.clock(),
                        characters=ROW_OVERHEAD + len(turns_json) + len(answer),
                        turns=turns_json,
                        answer=answer,
                    )
                )
        except (SQLAlchemyError, TwinError) as error:
            sys.stderr.write(
                f"an answer was not stored for later requests: {type(error).__name__}\n"
            )
        self._unchecked_trace_ids.add(trace_id)

    def load_turns(self, reader: str, trace_id: str) -> list[Turn] | None:
        """Return the conversation up to an answer.

        Returns:
            The turns, or None if a part is not stored or belongs to a different reader.

        Raises:
            RefusedError: 503 if the store cannot be read.
        """
        conversation: list[Turn] = []
        while trace_id:
            row = self._find_row(reader, trace_id)
            if row is None:
                return None
            own_turns: list[Turn] = json.loads(row.turns)
            for turn in own_turns:
                if ANSWER_REFERENCE_KEY in turn:
                    text = self.load_answer(reader, turn.pop(ANSWER_REFERENCE_KEY))
                    if text is None:
                        return None
                    turn["content"] = text
            conversation = [
                *own_turns,
                {"role": "assistant", "content": str(row.answer)},
                *conversation,
            ]
            trace_id = str(row.previous)
        return conversation

    def load_answer(self, reader: str, trace_id: str) -> str | None:
        """Return the text of an answer; for None and errors, see `load_turns`."""
        row = self._find_row(reader, trace_id)
        return str(row.answer) if row else None

    async def purge_responses(self, outbox: Outbox) -> None:
        """Delete the answers that are to be erased, are too old, or exceed the limit.

        Raises:
            OutboxError: the tombstones cannot be read; the next call tries again.
            StorageError: the state store cannot be read or written; the next call tries again.
        """
        await asyncio.to_thread(self._clean_up, outbox)

    def _clean_up(self, outbox: Outbox) -> None:
        tombstone_count, now = outbox.count_tombstones(), self.clock()
        new_trace_ids = set(self._unchecked_trace_ids)
        is_cleanup_due = now - self._last_cleanup_at >= _CLEANUP_INTERVAL_S
        if not (new_trace_ids or is_cleanup_due or tombstone_count != self._last_tombstone_count):
            return
        table = gateway_responses
        columns = (table.c.trace_id, table.c.reader, table.c.author, table.c.began)
        candidates = sa.select(*columns)
        if tombstone_count == self._last_tombstone_count:
            trace_ids = new_trace_ids if tombstone_count else ()
            candidates = candidates.where(table.c.trace_id.in_(trace_ids))
        with self._store.transaction() as connection:
            erased_ids = [
                row[0] for row in connection.execute(candidates) if _has_tombstone(outbox, *row)
            ]
            connection.execute(sa.delete(table).where(table.c.trace_id.in_(erased_ids)))
            connection.execute(sa.delete(table).where(table.c.answered <= now - RETENTION_S))
            total_characters = sa.func.coalesce(sa.func.sum(table.c.characters), 0)
            if connection.execute(sa.select(total_characters)).scalar_one() > self.max_characters:
                self._drop_oldest(connection)
        self._unchecked_trace_ids -= new_trace_ids
        self._last_tombstone_count, self._last_cleanup_at = tombstone_count, now

    def _drop_oldest(self, connection: sa.Connection) -> None:
        table = gateway_responses
        newest_first = (table.c.answered.desc(), table.c.trace_id)
        running_total = sa.func.sum(table.c.characters).over(order_by=newest_first).label("up_to")
        running_totals = sa.select(table.c.trace_id, running_total).subquery()
        excess_ids = sa.select(running_totals.c.trace_id).where(
            running_totals.c.up_to > self.max_characters
        )
        connection.execute(sa.delete(table).where(table.c.trace_id.in_(excess_ids)))

    def _find_row(self, reader: str, trace_id: str) -> sa.Row[Any] | None:
        table = gateway_responses
        is_own_row = sa.and_(table.c.trace_id == trace_id, table.c.reader == reader)
        with (
            refuse_if_store_fails(
                "responses_unreadable",
                action="find the answer that the request refers to",
                next_step="try again, or send the whole conversation",
            ),
            self._store.read_transaction() as connection,
        ):
            return connection.execute(sa.select(table).where(is_own_row)).first()

    @cached_property
    def _store(self) -> State:
        state = self.open_state()
        with state.transaction() as connection:
            _metadata.create_all(connection)
        return state


def _has_tombstone(
    outbox: Outbox, trace_id: str, reader: str, author: str, started_at: float
) -> bool:
    hashes = (
        tombstone_hash("trace", trace_id),
        tombstone_hash("reader", reader),
        tombstone_hash("author", author),
    )
    return outbox.has_tombstone(hashes, started_at=started_at)


def _redact_turn(turn: Mapping[str, Any], region: str) -> Turn:
    """Return a turn with only its texts, redacted; pictures and files are not stored."""
    content = turn.get("content")
    if isinstance(content, str):
        return dict(turn) | {"content": redact(content, region=region).text}
    parts = cast("list[object]", content) if isinstance(content, list) else []
    fields = [cast("Turn", part) for part in parts if isinstance(part, dict)]
    texts = [str(part.get("text") or part.get("refusal") or "") for part in fields]
    if ANSWER_REFERENCE_KEY in turn:
        return dict(turn)
    return dict(turn) | {"content": redact("\n".join(filter(None, texts)), region=region).text}


def _as_list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
