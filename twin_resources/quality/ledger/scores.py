"""A score as the ledger keeps it, and whether it may count.

Belongs here: score of the API → row, the kinds (vote, edit, comparison, judgement), and the reasons
for which one never counts.
Does not belong here: reading them (`paged_feed.py`), when they are settled (`settling.py`).
API: `data` of `GET /v3/scores`, https://api.reference.langfuse.com
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, cast

from twin_resources.observability.langfuse.score_names import COMPARISON, EDIT, VOTE
from twin_resources.observability.trace_store.json_values import milliseconds_of
from twin_resources.privacy import replace_personal

JUDGE = "judge:"  # a judge's score is named judge:<name>@<prompt version>; that is its stream
UNKNOWN_TRACE = "unknown_trace"
Reason = Literal[
    "unknown_trace", "no_trace", "other_author", "out_of_range", "not_a_number", "no_text"
]
# A text is no number, and of two compared answers one loses however good both are.
NEVER_BET_ON = ("edit", "compare")
DAY_MS = 86_400_000
MOST_TEXT = 20_000


def score_row(score: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row of `ledger_scores` before its trace is known; None: a score of no concern here.

    A row that can never count has the status `bad` and its reason.

    Raises:
        KeyError, ValueError: no id, name or timestamp: not this API's answer.
    """
    identity, name = str(score["id"]), str(score["name"])
    timestamp_ms = milliseconds_of(score["timestamp"])
    kind = _kind(name, str(score.get("dataType") or ""))
    if kind is None:
        return None
    facts = _facts(score.get("metadata"))
    subject = _facts(score.get("subject"))
    trace_id = subject.get("traceId") or (
        subject.get("id") if subject.get("kind") == "trace" else ""
    )
    value, text, reason = _value(kind, score.get("value"))
    if not trace_id:
        reason = "no_trace"
    return {
        "id": identity,
        "trace_id": str(trace_id or ""),
        "author": "",
        "version": "",
        "prompt_class": "",
        "kind": kind,
        "name": name,
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


def with_trace(row: dict[str, Any], trace: Mapping[str, Any] | None) -> dict[str, Any]:
    """The row with what its trace says; `bad` when the trace is unknown or another author's."""
    if row["reason"] not in ("", UNKNOWN_TRACE):
        return row
    if trace is None:
        return row | {"status": "bad", "reason": UNKNOWN_TRACE}
    known = {name: trace[name] for name in ("author", "version", "prompt_class")}
    allowed = row["allowed_authors"].split(",")
    if "*" not in allowed and trace["author"] not in allowed:
        return row | known | {"status": "bad", "reason": "other_author"}
    return row | known | {"status": "kept" if row["kind"] in NEVER_BET_ON else "open", "reason": ""}


def _kind(name: str, data_type: str) -> Literal["vote", "edit", "compare", "judge"] | None:
    if name == VOTE:
        return "vote"
    if name == EDIT and data_type == "CORRECTION":
        return "edit"
    if name == COMPARISON:
        return "compare"
    return "judge" if name.startswith(JUDGE) else None


def _value(kind: str, value: object) -> tuple[float | None, str, str]:
    """(number, text, reason)."""
    if kind == "edit":
        text = str(value).strip() if isinstance(value, str) else ""
        return None, replace_personal(text)[:MOST_TEXT], "" if text else "no_text"
    if not isinstance(value, bool | int | float):
        return None, "", "not_a_number"
    number = float(value)
    if math.isnan(number):
        return None, "", "not_a_number"
    return number if math.isfinite(number) else None, "", "" if 0 <= number <= 1 else "out_of_range"


def _annotator(score: Mapping[str, Any]) -> str:
    """Whose a score is that did not come through the gateway: a person in the UI, or a program."""
    source = str(score.get("source") or "api").lower()
    return f"{source}:{score.get('authorUserId') or 'unknown'}"


def _given_ms(moment: object, otherwise: int) -> int:
    try:
        return milliseconds_of(str(moment)) if moment else otherwise
    except ValueError:
        return otherwise


def _facts(value: object) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}
