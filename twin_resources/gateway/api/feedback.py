"""Accept feedback at `POST /twin/feedback` and store it on disk before it is acknowledged.

Scope: the format of the body, the reader to whom the feedback belongs, and its scores.
Out of scope: sending the scores (`langfuse/relay.py`), using them (`ledger/`).

    {"trace_id": "<x-twin-trace-id>", "thumb": "up" | "down"}
    {"trace_id": …, "score": 0 to 1}            in place of a thumb
    {"trace_id": …, "edit": "a better answer"}  alone or beside a vote
    {"trace_id": …, "preferred": "<another>"}   the other answer to the same question is better
    {…, "comment": "why, in a line"}            beside any of them

Feedback belongs to the reader of the key. Only a key of role `site` or `admin` may name a different
reader, because a site distinguishes its own readers. The name is `reader` or, as in a chat request,
`user`. Any text is allowed and stored as a hash. Only an admin key may mark feedback as
`simulated`. Otherwise one key could vote as a thousand readers. A reader has one vote per trace.
The id of a vote is derived from the reader and the trace, so a repetition changes nothing and a
later vote replaces the earlier one. The ledger checks whether the trace exists and who owns it,
because a different gateway may have given the answer. An edit is Langfuse's CORRECTION of the
trace's output (https://langfuse.com/docs/evaluation/evaluation-methods).

A preference between two answers is stored as a separate score on both traces, 0 and 1, and not as a
vote. Half of all compared answers lose, however good they are. A detector of falling votes would
report that as a decline. A preference rejects the worse answer; the better one does not become a
training example.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from twin_resources.access.keys import Key
from twin_resources.access.refusals import RefusedError
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.outbox import (
    Outbox,
    OutboxFullError,
    QueuedScore,
    score_id,
)
from twin_resources.observability.langfuse.score_names import COMPARISON, EDIT, VOTE

ALLOWED_KEYS = (
    *("trace_id", "thumb", "score", "edit", "preferred", "comment"),
    *("reader", "user", "simulated"),
)
MAX_FEEDBACK_BYTES = 64 * 1024
MAX_EDIT_CHARACTERS = 20_000
MAX_COMMENT_CHARACTERS = 500
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_NAMING_ROLES = frozenset({"admin", "site"})
_THUMBS = {"up": 1.0, "down": 0.0}


@dataclass(frozen=True)
class FeedbackInput:
    """The fields of one feedback message; a field that was not sent is None or empty.

    `vote` is in [0, 1], `preferred` is the trace id of the better answer, and `comment` is one
    line.
    """

    trace_id: str
    vote: float | None
    edit: str
    reader: str
    is_simulated: bool
    preferred: str = ""
    comment: str = ""


def read_feedback(raw: bytes, key: Key) -> FeedbackInput:
    """Read a body.

    Raises:
        RefusedError: 400 if the body is not valid feedback, 403 if the key may not name a reader,
            413 if the body is too long.
    """
    body = _decode_body(raw)
    trace_id = body.get("trace_id")
    if not isinstance(trace_id, str) or not _TRACE_ID.fullmatch(trace_id):
        raise _bad_feedback(
            "trace_id",
            found=f"{trace_id!r}"[:80],
            next_step="send the 32 hexadecimal digits of the answer's header x-twin-trace-id",
        )
    edit = _read_text(body, "edit", max_characters=MAX_EDIT_CHARACTERS)
    comment = " ".join(_read_text(body, "comment", max_characters=MAX_COMMENT_CHARACTERS).split())
    preferred = body.get("preferred", "")
    names_another = isinstance(preferred, str) and preferred != trace_id
    if preferred != "" and not (names_another and _TRACE_ID.fullmatch(preferred)):
        raise _bad_feedback(
            "preferred",
            found=f"{preferred!r}"[:80],
            next_step="send the trace id of another answer, which is better than this one",
        )
    vote = _read_vote(body)
    if vote is None and not edit and not preferred:
        raise _bad_feedback(
            "thumb", found="no feedback", next_step="send thumb, score, edit or preferred"
        )
    reader, simulated = _read_reader(body, key)
    return FeedbackInput(trace_id, vote, edit, reader, simulated, preferred, comment)


def build_scores(feedback: FeedbackInput, key: Key, *, now: datetime) -> list[QueuedScore]:
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
    } | ({"twin.simulated": "true"} if feedback.is_simulated else {})
    scores: list[QueuedScore] = []
    if feedback.vote is not None:
        identity = score_id(VOTE, feedback.reader, trace_id)
        scores.append(
            QueuedScore(
                identity, trace_id, VOTE, feedback.vote, "NUMERIC", feedback.comment, metadata
            )
        )
    if feedback.edit:
        identity = score_id(EDIT, feedback.reader, trace_id)
        scores.append(
            QueuedScore(identity, trace_id, EDIT, feedback.edit, "CORRECTION", "", metadata)
        )
    if feedback.preferred:
        for trace, other, value in (
            (trace_id, feedback.preferred, 0.0),
            (feedback.preferred, trace_id, 1.0),
        ):
            identity = score_id(COMPARISON, feedback.reader, trace)
            metadata_of_pair = metadata | {"twin.against": other}
            comment = "" if value else feedback.comment
            scores.append(
                QueuedScore(
                    identity, trace, COMPARISON, value, "NUMERIC", comment, metadata_of_pair
                )
            )
    return scores


@dataclass(frozen=True)
class FeedbackService:
    """The feedback service of one gateway."""

    outbox: Outbox

    async def store(self, key: Key, raw: bytes) -> Mapping[str, Any]:
        """Store one feedback message on disk and return the body of the response.

        Raises:
            RefusedError: see `read_feedback`; 503 if the feedback cannot be stored now.
        """
        feedback = read_feedback(raw, key)
        scores = build_scores(feedback, key, now=datetime.now(UTC))
        try:
            await asyncio.to_thread(self.outbox.put_scores, scores)
        except TwinError as error:
            raise RefusedError(
                503,
                "outbox_full" if isinstance(error, OutboxFullError) else "outbox_broken",
                tried="store the feedback",
                found=error.found,
                next_step="send it again later; the owner of the gateway runs `twin status`",
            ) from error
        return {
            "stored": True,
            "trace_id": feedback.trace_id,
            "reader": feedback.reader,
            "scores": [{"id": score.id, "name": score.name} for score in scores],
        }


def _decode_body(raw: bytes) -> Mapping[str, Any]:
    if len(raw) > MAX_FEEDBACK_BYTES:
        raise RefusedError(
            413,
            "body_too_large",
            tried="read the feedback",
            found=f"{len(raw):,} bytes",
            next_step=f"send at most {MAX_FEEDBACK_BYTES:,} bytes",
        )
    try:
        document: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _bad_feedback(
            "", found=f"invalid JSON ({error})", next_step="send a JSON object"
        ) from error
    if not isinstance(document, dict):
        raise _bad_feedback(
            "", found=f"a JSON {type(document).__name__}", next_step="send a JSON object"
        )
    body = cast("dict[str, Any]", document)
    unknown = sorted(set(body) - set(ALLOWED_KEYS))
    if unknown:
        raise _bad_feedback(
            unknown[0],
            found=f"the unknown key {unknown[0]!r}",
            next_step=f"send only {', '.join(ALLOWED_KEYS)}",
        )
    return body


def _read_text(body: Mapping[str, Any], name: str, *, max_characters: int) -> str:
    """Return a text field without surrounding white space; empty if it was not sent."""
    text = body.get(name, "")
    if not isinstance(text, str) or len(text) > max_characters:
        raise _bad_feedback(
            name,
            found="not text" if not isinstance(text, str) else f"{len(text):,} characters",
            next_step=f"send text of at most {max_characters:,} characters",
        )
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _bad_feedback(name, found="an unpaired surrogate", next_step="send text in UTF-8")
    return text.strip()


def _read_vote(body: Mapping[str, Any]) -> float | None:
    thumb, score = body.get("thumb"), body.get("score")
    if thumb is not None and score is not None:
        raise _bad_feedback("score", found="a thumb and a score", next_step="send only one")
    if thumb is not None:
        if not isinstance(thumb, str) or thumb not in _THUMBS:
            raise _bad_feedback("thumb", found=f"{thumb!r}"[:80], next_step='send "up" or "down"')
        return _THUMBS[thumb]
    if score is None:
        return None
    is_number = isinstance(score, int | float) and not isinstance(score, bool)
    # JSON has no NaN, but Python's parser accepts it; the comparison rejects it.
    if not is_number or not 0 <= score <= 1:
        raise _bad_feedback("score", found=f"{score!r}"[:80], next_step="send a number from 0 to 1")
    return float(score)


def _read_reader(body: Mapping[str, Any], key: Key) -> tuple[str, bool]:
    """Return the reader's hash, and whether the feedback is simulated."""
    # As in a chat request, `user` is ignored for a key that may not name a reader.
    user = body.get("user") if key.role in _NAMING_ROLES else None
    reader_name, simulated = body.get("reader", user), body.get("simulated", False)
    if (reader_name is not None and key.role not in _NAMING_ROLES) or (
        simulated and key.role != "admin"
    ):
        raise RefusedError(
            403,
            "reader_not_allowed",
            tried="accept feedback for another reader",
            found=f"a key with the role {key.role}",
            next_step="omit `reader` and `simulated`; the vote then counts for the key's reader",
            param="reader",
        )
    if not isinstance(simulated, bool):
        raise _bad_feedback(
            "simulated", found=f"{simulated!r}"[:80], next_step="send true or false"
        )
    if reader_name is None:
        return key.reader, simulated
    if not isinstance(reader_name, str) or not 1 <= len(reader_name) <= 200:
        raise _bad_feedback(
            "reader", found=f"{reader_name!r}"[:80], next_step="send 1 to 200 characters"
        )
    return key.hash_reader_name(reader_name), simulated


def _bad_feedback(param: str, *, found: str, next_step: str) -> RefusedError:
    return RefusedError(
        400,
        "bad_feedback",
        tried="read the feedback",
        found=found,
        next_step=next_step,
        param=param,
    )
