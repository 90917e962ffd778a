"""Store recent answers of `/v1/responses`, so that a client can name one in a later request.

LiteLLM resolves such a name only with a database of its own: without one, it answers as if the
earlier turns did not exist. Two of twelve recorded client sessions send one.

All gateways of a home, on any host, find each other's answers. A row contains one request's turns
and its answer, and refers to earlier answers by trace id. Each text is therefore stored once, and
`twin forget` deletes a row by its trace id. As in traces, personal data and secrets are replaced.
A request that names a deleted answer is answered without it, and `twin.ignored` reports this.
OpenAI also keeps a response for 30 days:
https://platform.openai.com/docs/guides/conversation-state
"""
# pyright: strict

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

# A third of the time for which the embedded trace store keeps traces.
RETENTION_S = 30 * 24 * 3600.0
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
    sa.Column("turns", sa.Text, nullable=False),  # JSON
    sa.Column("answer", sa.Text, nullable=False),
)


@dataclass
class RecentResponses:
    """Stored answers, each with the turns before it.

    Attributes:
        open_state: opens the state store; called at the first request that names or stores an
            answer.
        outbox: knows what was erased.
        author_language: returns an author's language, which selects the formats of personal data.
        clock: returns Unix seconds.
    """

    open_state: Callable[[], State]
    outbox: Outbox
    author_language: Callable[[str], str] = lambda _: ""
    clock: Callable[[], float] = time.time

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
        language = self.author_language(author)
        row = {
            "reader": reader,
            "author": author,
            "previous": previous,
            "began": self.clock(),
            "turns": json.dumps(
                [_redact_turn(turn, language) for turn in turns], ensure_ascii=False
            ),
        }
        return ignored, partial(self._store_answer, row, language)

    def _store_answer(
        self, row: Mapping[str, Any], language: str, trace_id: str, text: str
    ) -> None:
        """Store an answer; a failure is logged, because the answer has been sent or is about to be.

        An erasure writes its tombstone before it deletes rows, and this reads it after the insert,
        so that one of the two deletes the row of an answer that was in progress.
        """
        table, answer = gateway_responses, redact(text, region=language).text
        values = {**row, "trace_id": trace_id, "answered": self.clock(), "answer": answer}
        hashes = (
            tombstone_hash("trace", trace_id),
            tombstone_hash("reader", row["reader"]),
            tombstone_hash("author", row["author"]),
        )
        try:
            with self._store.transaction() as connection:
                connection.execute(sa.insert(table).values(values))
            if self.outbox.has_tombstone(hashes, started_at=row["began"]):
                with self._store.transaction() as connection:
                    connection.execute(sa.delete(table).where(table.c.trace_id == trace_id))
        except (SQLAlchemyError, TwinError) as error:
            sys.stderr.write(
                f"an answer was not stored for later requests: {type(error).__name__}\n"
            )

    def delete_expired(self) -> None:
        """Delete the answers that are older than `RETENTION_S`."""
        is_expired = gateway_responses.c.answered <= self.clock() - RETENTION_S
        with self._store.transaction() as connection:
            connection.execute(sa.delete(gateway_responses).where(is_expired))

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

    def _find_row(self, reader: str, trace_id: str) -> sa.Row[Any] | None:
        table = gateway_responses
        is_own_row = sa.and_(table.c.trace_id == trace_id, table.c.reader == reader)
        with (
            refuse_if_store_fails(
                "responses_unreadable", "try again, or send the whole conversation."
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
