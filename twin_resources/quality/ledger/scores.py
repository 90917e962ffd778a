"""Convert a score into a row of the ledger, and decide whether the score may count.

Scope: API score → row, its kind (vote, edit, comparison, judgement, other), its author and
reader, the stream in which it counts, and the reasons for never counting a score.
Out of scope: reading scores (`paged_feed.py`), settling them (`settlement.py`), an author's
settings for a name (`authors/score_settings.py`).

A score from another program (Langfuse's page, its SDK, an evaluator) has its own name and no
reader. The author's file maps the name to a stream, and the trace provides author and reader. The
score's original value is stored, so it still counts if the mapping or the trace arrives later.
API: `data` of `GET /v3/scores`, https://api.reference.langfuse.com
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from twin_resources.authors.score_settings import CountedScores
from twin_resources.observability.langfuse.score_names import COMPARISON, EDIT, VOTE
from twin_resources.observability.langfuse.trace_texts import score_trace_id
from twin_resources.observability.trace_store.json_values import parse_timestamp_ms
from twin_resources.privacy import redact_text

JUDGE = "judge:"  # a judge's score and stream are named judge:<name>@<prompt version>
UNKNOWN_TRACE, NO_TRACE = "unknown_trace", "no_trace"
UNKNOWN_READER = "api:unknown"  # if neither the score nor its trace has a reader
NOT_ANNOTATED = "no_annotator"  # `by = "annotator"`, but no person gave it in Langfuse's page
NOT_MAPPED = "not_mapped"  # not one of the twin's own names, and not in the author's `[scores]`
# The kinds whose every score is a value of its own.
SINGLE_VALUE_KINDS = ("judge", "expert")
ANNOTATION = "annotation:"  # prefix of a reader who gave a score in Langfuse's page
OTHER = "other"  # kind of a score with another name, until its author's file maps it
# An edit is not a number. A comparison always has a loser, even between two good answers.
UNSETTLED_KINDS = ("edit", "compare")
DAY_MS = 86_400_000
MAX_TEXT = 20_000
MAX_CATEGORY = 200

CountedScoresReader = Callable[[str], CountedScores]


def build_score_row(score: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of `ledger_scores` before its trace is known.

    A row that can never count has the status `bad` and a reason. `reader` is empty if only the
    trace can provide it.

    Raises:
        KeyError, ValueError: the id, name or timestamp is missing or invalid.
    """
    score_id, name = str(score["id"]), str(score["name"])
    timestamp_ms = parse_timestamp_ms(score["timestamp"])
    metadata = _as_mapping(score.get("metadata"))
    trace_id = score_trace_id(score)
    data_type = str(score.get("dataType") or "")
    kind = _classify_score(name, data_type)
    value, text, reason = _parse_value(kind, data_type, score.get("value"))
    if not trace_id:
        reason = NO_TRACE
    return {
        "id": score_id,
        "trace_id": trace_id,
        "author": "",
        "version": "",
        "prompt_class": "",
        "kind": kind,
        "name": name,
        "stream": VOTE if kind == "vote" else name if kind == "judge" else "",
        "value": value,
        "text": text,
        "reader": str(metadata.get("twin.reader") or _find_annotator(score)),
        "role": str(metadata.get("twin.role") or ""),
        "allowed_authors": str(metadata.get("twin.authors") or "*"),
        "simulated": str(metadata.get("twin.simulated", "")).lower() == "true",
        "given_ms": _parse_given_ms(metadata.get("twin.at"), timestamp_ms),
        "timestamp_ms": timestamp_ms,
        "updated_ms": parse_timestamp_ms(score.get("updatedAt") or score["timestamp"]),
        "day": timestamp_ms // DAY_MS,
        "status": "bad" if reason else "kept" if kind in UNSETTLED_KINDS else "open",
        "reason": reason,
        "sequence": None,
        "weight": 1,
    }


def complete_from_trace(
    row: dict[str, Any], trace: Mapping[str, Any] | None, read_counted_scores: CountedScoresReader
) -> dict[str, Any]:
    """Return the row with its trace's fields.

    Its status is `bad` if the trace is unknown or belongs to another author, or if the author's
    file does not map its name.

    Args:
        row: a row from `build_score_row`, or one stored earlier.
        read_counted_scores: returns an author's `[scores]`.
    """
    if row["reason"] not in ("", UNKNOWN_TRACE) and row["kind"] != OTHER:
        return row
    if trace is None:
        unknown_fields = {"status": "bad", "reason": UNKNOWN_TRACE}
        return row if row["reason"] == NO_TRACE else row | unknown_fields
    trace_fields = {name: trace[name] for name in ("author", "version", "prompt_class")}
    trace_fields["reader"] = row["reader"] or trace["reader"] or UNKNOWN_READER
    allowed_authors = row["allowed_authors"].split(",")
    if "*" not in allowed_authors and trace["author"] not in allowed_authors:
        return row | trace_fields | {"status": "bad", "reason": "other_author"}
    if row["kind"] == OTHER:
        return row | trace_fields | _build_counted_fields(row, read_counted_scores(trace["author"]))
    return (
        row
        | trace_fields
        | {"status": "kept" if row["kind"] in UNSETTLED_KINDS else "open", "reason": ""}
    )


def _build_counted_fields(row: Mapping[str, Any], counts: CountedScores) -> dict[str, Any]:
    """Return the fields that change when another program's score is mapped or rejected."""
    rule = counts.get(row["name"])
    if rule is None:
        return {"status": "bad", "reason": NOT_MAPPED}
    value, rejection_reason = rule.normalize(row["value"], row["text"])
    if rejection_reason:
        return {"status": "bad", "reason": rejection_reason}
    if rule.by == "annotator" and not row["reader"].startswith(ANNOTATION):
        return {"status": "bad", "reason": NOT_ANNOTATED}
    return {
        "kind": {"reader": "vote", "judge": "judge", "annotator": "expert"}[rule.by],
        "stream": f"{JUDGE}{rule.stream}" if rule.by == "judge" else rule.stream,
        "weight": rule.weight,
        "value": value,
        "text": "",
        "status": "open",
        "reason": "",
    }


def _classify_score(
    name: str, data_type: str
) -> Literal["vote", "edit", "compare", "judge", "other"]:
    if name == VOTE:
        return "vote"
    if name == EDIT and data_type == "CORRECTION":
        return "edit"
    if name == COMPARISON:
        return "compare"
    return "judge" if name.startswith(JUDGE) else "other"


def _parse_value(kind: str, data_type: str, value: object) -> tuple[float | None, str, str]:
    """Return (number, text, reason)."""
    if kind == "edit":
        text = str(value).strip() if isinstance(value, str) else ""
        return None, redact_text(text)[:MAX_TEXT], "" if text else "no_text"
    if kind == OTHER and isinstance(value, str):
        # Store a category, which the score's owner defined, but not a reader's free text.
        category = redact_text(value)[:MAX_CATEGORY] if data_type == "CATEGORICAL" else ""
        return None, category, ""
    if not isinstance(value, bool | int | float):
        return None, "", "not_a_number"
    number = float(value)
    if math.isnan(number):
        return None, "", "not_a_number"
    # An author's file may define the scale of another name.
    reason = "" if kind == OTHER or 0 <= number <= 1 else "out_of_range"
    return number if math.isfinite(number) else None, "", reason


def _find_annotator(score: Mapping[str, Any]) -> str:
    """Return the person who gave a score in the trace store's page.

    Return an empty string for a program's score. Its reader is the person who asked the question.
    """
    person = score.get("authorUserId")
    return f"{str(score.get('source') or 'api').lower()}:{person}" if person else ""


def _parse_given_ms(timestamp: object, default: int) -> int:
    try:
        return parse_timestamp_ms(str(timestamp)) if timestamp else default
    except ValueError:
        return default


def _as_mapping(value: object) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}
