"""Converts a score into a row of the ledger, and decides whether the score may count.

Scope: API score → row, its kind (vote, edit, comparison, judgement, other), its author and
reader, the stream it counts in, and the reasons for which a score never counts.
Out of scope: reading scores (`paged_feed.py`), settling them (`settling.py`), an author's
settings for a name (`authors/score_settings.py`).

A score from another program (Langfuse's page, its SDK, an evaluator) has a name of its own and no
reader: the author's file maps the name to a stream, and the trace gives author and reader. Its
original value is kept until both are known, so that a name that is mapped later still counts.
API: `data` of `GET /v3/scores`, https://api.reference.langfuse.com
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from twin_resources.authors.score_settings import CountedScores
from twin_resources.observability.langfuse.score_names import COMPARISON, EDIT, VOTE
from twin_resources.observability.trace_store.json_values import milliseconds_of
from twin_resources.privacy import replace_personal

JUDGE = "judge:"  # a judge's score is named judge:<name>@<prompt version>; that is its stream
UNKNOWN_TRACE, NO_TRACE = "unknown_trace", "no_trace"
UNKNOWN_READER = "api:unknown"  # neither the score nor its trace has a reader
NOT_MAPPED = "not_mapped"  # not one of the twin's own names, and not in the author's `[scores]`
OTHER = "other"  # kind of a score with another name, until its author's file maps it
# An edit is not a number, and one of two compared answers loses however good both are.
NEVER_BET_ON = ("edit", "compare")
DAY_MS = 86_400_000
MAX_TEXT = 20_000
MAX_CATEGORY = 200

CountsOf = Callable[[str], CountedScores]


def score_row(score: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of `ledger_scores` before its trace is known.

    A row that can never count has the status `bad` and a reason. `reader` is empty if only the
    trace can provide it.

    Raises:
        KeyError, ValueError: the id, name or timestamp is missing or invalid.
    """
    identity, name = str(score["id"]), str(score["name"])
    timestamp_ms = milliseconds_of(score["timestamp"])
    facts = _facts(score.get("metadata"))
    subject = _facts(score.get("subject"))
    trace_id = subject.get("traceId") or (
        subject.get("id") if subject.get("kind") == "trace" else ""
    )
    data_type = str(score.get("dataType") or "")
    kind = _kind(name, data_type)
    value, text, reason = _value(kind, data_type, score.get("value"))
    if not trace_id:
        reason = NO_TRACE
    return {
        "id": identity,
        "trace_id": str(trace_id or ""),
        "author": "",
        "version": "",
        "prompt_class": "",
        "kind": kind,
        "name": name,
        "stream": VOTE if kind == "vote" else name if kind == "judge" else "",
        "value": value,
        "text": text,
        "reader": str(facts.get("twin.reader") or _annotator(score)),
        "role": str(facts.get("twin.role") or ""),
        "allowed_authors": str(facts.get("twin.authors") or "*"),
        "simulated": str(facts.get("twin.simulated", "")).lower() == "true",
        "given_ms": _given_ms(facts.get("twin.at"), timestamp_ms),
        "timestamp_ms": timestamp_ms,
        "updated_ms": milliseconds_of(score.get("updatedAt") or score["timestamp"]),
        "day": timestamp_ms // DAY_MS,
        "status": "bad" if reason else "kept" if kind in NEVER_BET_ON else "open",
        "reason": reason,
        "sequence": None,
    }


def with_trace(
    row: dict[str, Any], trace: Mapping[str, Any] | None, counts: CountsOf
) -> dict[str, Any]:
    """Return the row completed with its trace's fields.

    Its status is `bad` if the trace is unknown or belongs to another author, or if the author's
    file does not map its name.

    Args:
        row: a row from `score_row`, or one stored earlier.
        counts: returns an author's `[scores]`.
    """
    if row["reason"] not in ("", UNKNOWN_TRACE) and row["kind"] != OTHER:
        return row
    if trace is None:
        unknown = {"status": "bad", "reason": UNKNOWN_TRACE}
        return row if row["reason"] == NO_TRACE else row | unknown
    known = {name: trace[name] for name in ("author", "version", "prompt_class")}
    known["reader"] = row["reader"] or trace["reader"] or UNKNOWN_READER
    allowed = row["allowed_authors"].split(",")
    if "*" not in allowed and trace["author"] not in allowed:
        return row | known | {"status": "bad", "reason": "other_author"}
    if row["kind"] == OTHER:
        return row | known | _counted_as(row, counts(trace["author"]))
    return row | known | {"status": "kept" if row["kind"] in NEVER_BET_ON else "open", "reason": ""}


def _counted_as(row: Mapping[str, Any], counts: CountedScores) -> dict[str, Any]:
    """Return the fields that change when a score of another name is mapped or rejected."""
    mapped = counts.of(row["name"])
    if mapped is None:
        return {"status": "bad", "reason": NOT_MAPPED}
    value, unfit = mapped.value_of(row["value"], row["text"])
    if unfit:
        return {"status": "bad", "reason": unfit}
    judged = mapped.by == "judge"
    return {
        "kind": "judge" if judged else "vote",
        "stream": f"{JUDGE}{mapped.stream}" if judged else mapped.stream,
        "value": value,
        "text": "",
        "status": "open",
        "reason": "",
    }


def _kind(name: str, data_type: str) -> Literal["vote", "edit", "compare", "judge", "other"]:
    if name == VOTE:
        return "vote"
    if name == EDIT and data_type == "CORRECTION":
        return "edit"
    if name == COMPARISON:
        return "compare"
    return "judge" if name.startswith(JUDGE) else "other"


def _value(kind: str, data_type: str, value: object) -> tuple[float | None, str, str]:
    """Return (number, text, reason)."""
    if kind == "edit":
        text = str(value).strip() if isinstance(value, str) else ""
        return None, replace_personal(text)[:MAX_TEXT], "" if text else "no_text"
    if kind == OTHER and isinstance(value, str):
        # Keep a category, which the score's owner defined, but not a free text by a reader.
        category = replace_personal(value)[:MAX_CATEGORY] if data_type == "CATEGORICAL" else ""
        return None, category, ""
    if not isinstance(value, bool | int | float):
        return None, "", "not_a_number"
    number = float(value)
    if math.isnan(number):
        return None, "", "not_a_number"
    # An author's file may define the scale of another name.
    reason = "" if kind == OTHER or 0 <= number <= 1 else "out_of_range"
    return number if math.isfinite(number) else None, "", reason


def _annotator(score: Mapping[str, Any]) -> str:
    """Return the person who gave a score in the trace store's page.

    The result is empty for a score written by a program; the reader is then whoever asked.
    """
    person = score.get("authorUserId")
    return f"{str(score.get('source') or 'api').lower()}:{person}" if person else ""


def _given_ms(moment: object, otherwise: int) -> int:
    try:
        return milliseconds_of(str(moment)) if moment else otherwise
    except ValueError:
        return otherwise


def _facts(value: object) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}
