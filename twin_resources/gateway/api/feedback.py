"""Accept feedback at `POST /twin/feedback` and store it on disk before it is acknowledged.

Scope: the format of the body, the reader to whom the feedback belongs, and its scores.
Out of scope: sending the scores (`langfuse/relay.py`), using them (`ledger/`).

    {"trace_id": "<x-twin-trace-id>", "thumb": "up" | "down"}
    {"trace_id": …, "score": 0 to 1}            instead of a thumb
    {"trace_id": …, "edit": "a better answer"}  alone or with a vote
    {"trace_id": …, "preferred": "<another>"}   the other answer to the same question is better
    {…, "comment": "why, in one line"}          with any of them

Feedback belongs to the reader of the key. Only a key of role `site` or `admin` that stands in no
page may name a different reader, because a site distinguishes its own readers. Any other key could
otherwise vote as a thousand readers. The name is sent as `reader` or, as in a chat request, as
`user`. It may be any text and is stored as a hash. Only an admin key may mark feedback as
`simulated`. A reader has one vote per trace. The id of a vote is derived from the reader and the
trace, so a repeated vote changes nothing and a later vote replaces the earlier one. The ledger
checks whether the trace exists and who owns it, because a different gateway may have given the
answer. An edit is Langfuse's CORRECTION of the trace's output (https://langfuse.com/docs/evaluation/evaluation-methods).

A preference between two answers is stored as a separate score on both traces, 0 and 1, and not as a
vote. Half of all compared answers lose, however good they are. A detector of falling votes would
report that as a decline. A preference rejects the worse answer; the better one does not become a
training example.
"""
# pyright: strict

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twin_resources.access.keys import Key
from twin_resources.access.refusals import RefusedError, bad_request
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.outbox import (
    Outbox,
    OutboxFullError,
    QueuedScore,
    score_id,
)
from twin_resources.observability.langfuse.score_names import COMPARISON, EDIT, VOTE

MAX_EDIT_CHARACTERS = 20_000
MAX_COMMENT_CHARACTERS = 500
_TRACE_ID_PATTERN = r"^[0-9a-f]{32}$"
_ROLES_THAT_NAME_READERS = frozenset({"admin", "site"})
_THUMBS = {"up": 1.0, "down": 0.0}


class FeedbackBody(BaseModel):
    """The JSON body of a feedback message; the descriptions state what a client should send.

    In the result of `read_feedback`, `reader` is the hash of the reader, `edit` has no surrounding
    white space, and `comment` is one line.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    trace_id: str = Field(
        pattern=_TRACE_ID_PATTERN,
        description="send the 32 hexadecimal digits of the answer's header x-twin-trace-id",
    )
    thumb: Literal["up", "down"] | None = Field(None, description='send "up" or "down"')
    score: float | None = Field(None, ge=0, le=1, description="send a number from 0 to 1")
    edit: str = Field(
        "",
        max_length=MAX_EDIT_CHARACTERS,
        description=f"send text of at most {MAX_EDIT_CHARACTERS:,} characters",
    )
    preferred: str = Field(
        "",
        pattern=f"^$|{_TRACE_ID_PATTERN}",
        description="send the trace id of another answer, which is better than this one",
    )
    comment: str = Field(
        "",
        max_length=MAX_COMMENT_CHARACTERS,
        description=f"send text of at most {MAX_COMMENT_CHARACTERS} characters",
    )
    reader: Any = Field(None, description="send 1 to 200 characters")
    user: Any = None
    simulated: bool = Field(False, description="send true or false")

    @property
    def vote(self) -> float | None:
        """The vote from 0 to 1, or None if the message contains no vote."""
        return self.score if self.thumb is None else _THUMBS[self.thumb]


def read_feedback(raw: bytes, key: Key) -> FeedbackBody:
    """Parse and check the body of a feedback message.

    Raises:
        RefusedError: 400 if the body is not valid feedback, 403 if the key may not name a reader.
    """
    body = _parse_body(raw)
    if body.preferred == body.trace_id:
        raise _bad_feedback("preferred", "preferred names another answer than trace_id.")
    if body.thumb is not None and body.score is not None:
        raise _bad_feedback("score", "Send either the thumb or the score.")
    edit, comment = body.edit.strip(), " ".join(body.comment.split())
    if body.vote is None and not edit and not body.preferred:
        raise _bad_feedback("thumb", "Send thumb, score, edit or preferred.")
    reader = _read_reader(body, key)
    return body.model_copy(update={"edit": edit, "comment": comment, "reader": reader})


def build_scores(feedback: FeedbackBody, key: Key, *, now: datetime) -> list[QueuedScore]:
    """Return the scores of one feedback message: vote, edit and preference.

    Args:
        now: the time of the feedback. It is stored in the metadata, because the trace store
            records only the time of arrival.
    """
    trace_id = feedback.trace_id
    metadata = {
        "twin.by": "reader",
        "twin.reader": feedback.reader,
        "twin.key": key.reader,
        "twin.role": key.role,
        "twin.authors": ",".join(sorted(key.authors)),
        "twin.at": now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    } | ({"twin.simulated": "true"} if feedback.simulated else {})
    scores: list[QueuedScore] = []

    def add(name: str, trace: str, value: float | str, comment: str = "", **facts: str) -> None:
        data_type = "CORRECTION" if name == EDIT else "NUMERIC"
        identity = score_id(name, feedback.reader, trace)
        fields = (identity, trace, name, value, data_type, comment, metadata | facts)
        scores.append(QueuedScore(*fields))

    if feedback.vote is not None:
        add(VOTE, trace_id, feedback.vote, feedback.comment)
    if feedback.edit:
        add(EDIT, trace_id, feedback.edit)
    if feedback.preferred:
        add(COMPARISON, trace_id, 0.0, feedback.comment, **{"twin.against": feedback.preferred})
        add(COMPARISON, feedback.preferred, 1.0, **{"twin.against": trace_id})
    return scores


async def store_feedback(outbox: Outbox, key: Key, raw: bytes) -> Mapping[str, Any]:
    """Store one feedback message on disk and return the body of the response.

    Raises:
        RefusedError: see `read_feedback`; 503 if the feedback cannot be stored now.
    """
    feedback = read_feedback(raw, key)
    scores = build_scores(feedback, key, now=datetime.now(UTC))
    try:
        await asyncio.to_thread(outbox.put_scores, scores)
    except TwinError as error:
        code = "outbox_full" if isinstance(error, OutboxFullError) else "outbox_broken"
        message = f"The feedback is not stored, {error.found}; see `twin status`."
        raise RefusedError(503, code, message) from error
    return {
        "stored": True,
        "trace_id": feedback.trace_id,
        "reader": feedback.reader,
        "scores": [{"id": score.id, "name": score.name} for score in scores],
    }


def _parse_body(raw: bytes) -> FeedbackBody:
    try:
        return FeedbackBody.model_validate_json(raw)
    except ValidationError as error:
        first_error = error.errors()[0]
        if not first_error["loc"]:
            message = f"Send a JSON object: {first_error['msg']}."
            raise _bad_feedback("", message) from error
        name = str(first_error["loc"][0])
        fields = FeedbackBody.model_fields
        if name not in fields:
            message = f"{name!r} is no key of feedback; send only {', '.join(fields)}."
            raise _bad_feedback(name, message) from error
        value = "nothing" if first_error["type"] == "missing" else f"{first_error['input']!r}"[:80]
        message = f"{name} = {value} is not accepted; {fields[name].description}."
        raise _bad_feedback(name, message) from error


def _read_reader(body: FeedbackBody, key: Key) -> str:
    """Return the hash of the reader."""
    # As in a chat request, `user` is ignored for a key that may not name a reader.
    may_name_reader = key.role in _ROLES_THAT_NAME_READERS and not key.is_public
    user = body.user if may_name_reader else None
    reader_name = user if body.reader is None else body.reader
    if (reader_name is not None and not may_name_reader) or (
        body.simulated and key.role != "admin"
    ):
        message = (
            f"A key with the role {key.role} votes for its own reader; omit `reader` and "
            "`simulated`."
        )
        raise RefusedError(403, "reader_not_allowed", message, param="reader")
    if reader_name is None:
        return key.reader
    if not isinstance(reader_name, str) or not 1 <= len(reader_name) <= 200:
        raise _bad_feedback("reader", f"reader = {reader_name!r:.80}: send 1 to 200 characters.")
    return key.hash_reader_name(reader_name)


def _bad_feedback(param: str, message: str) -> RefusedError:
    return bad_request(message, param=param, code="bad_feedback")
