"""Read traces for display: a filtered list of answers, or one trace as a tree.

Scope: queries through the public API of both the embedded store and a real Langfuse, and the
resulting rows.
Out of scope: HTTP (`client.py`), showing traces (`page/traces_tab.py`,
`commands/answer_history.py`), decisions based on scores (`ledger/`).
API: https://api.reference.langfuse.com. It cannot filter by score value and trace version together,
so a query with a score condition reads the scores first.
"""
# pyright: strict

from __future__ import annotations

import json
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.client import SCORE_FIELD_GROUPS, LangfuseClient
from twin_resources.observability.langfuse.trace_texts import (
    extract_answer,
    extract_messages,
    extract_question,
    parse_number,
    score_trace_id,
    stringify_metadata,
)

LISTED_FIELD_GROUPS = "core,basic,time,io,metadata,model,usage"
MAX_SCORE_PAGES = 20  # score pages to search for one page of traces
IDS_PER_REQUEST = 40  # 32-digit ids in one URL; intermediate proxies accept 8 KB
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
_CONDITION = re.compile(
    r"\s*(?P<name>[^<>=]+?)\s*(?:(?P<operator><=|>=|<|>|=)\s*(?P<value>\S+))?\s*"
)


@dataclass(frozen=True)
class ScoreCondition:
    """A condition on a trace's score: its name and optionally an operator and a value."""

    name: str
    operator: str = ""
    value: float = 0.0

    def matches(self, value: object) -> bool:
        """Return whether a value meets the condition. A text meets it only without an operator."""
        if not self.operator:
            return True
        if not isinstance(value, bool | int | float):
            return False
        return _COMPARISONS[self.operator](float(value), self.value)


def parse_score_condition(text: str) -> ScoreCondition | None:
    """Parse `thumbs`, `thumbs=0` or `support<0.3`; return None for an empty string.

    Raises:
        TwinError: the text does not have one of these forms.
    """
    if not text.strip():
        return None
    match = _CONDITION.fullmatch(text)
    value = parse_number(match["value"]) if match and match["operator"] else 0.0
    if match is None or value is None:
        raise TwinError(
            f"read the condition {text!r} on a score",
            found="no name, or no number after the operator",
            next_step="write a name such as thumbs, or a name, an operator (< <= > >= =) and a "
            "number such as support<0.3",
        )
    return ScoreCondition(match["name"], match["operator"] or "", value)


@dataclass(frozen=True)
class TraceFilter:
    """Conditions on traces; an empty value matches all traces.

    Attributes:
        author: an author's slug.
        version: a model version, such as `v3`, `base` or `paid`.
        route: a route, such as `stable` or `alias:base`.
        score: a condition on a score; None matches traces with or without scores.
    """

    author: str = ""
    version: str = ""
    route: str = ""
    score: ScoreCondition | None = None


@dataclass(frozen=True)
class Score:
    """A rating of an answer.

    Attributes:
        by: the person, judge or gateway that gave the rating.
        at: the time of the rating, ISO 8601 in UTC.
    """

    name: str
    value: float | str | bool
    comment: str = ""
    by: str = ""
    at: str = ""


@dataclass(frozen=True)
class TraceRow:
    """One answer.

    Attributes:
        at: the start time, ISO 8601 in UTC.
        seconds, cost_usd: the duration and the cost; None if the trace does not record them.
        tokens: the number of input and output tokens together.
        error: the reason for a failure; empty if the answer succeeded.
        degraded: why the answer is of lower quality than usual; empty if it is not.
        scores: the scores of the answer, newest first.
        prose_label: whose words the answer is, if a model wrote it; otherwise empty.
        above_prose: the notice and the quotations that stood above the prose, as Markdown.
    """

    trace_id: str
    at: str
    author: str
    version: str
    route: str
    prompt_class: str
    question: str
    answer: str
    seconds: float | None
    cost_usd: float | None
    tokens: int | None
    error: str
    degraded: str
    scores: tuple[Score, ...] = ()
    prose_label: str = ""
    above_prose: str = ""


@dataclass(frozen=True)
class TracePage:
    """Rows, newest first; `next_cursor` is the cursor of the next page, empty on the last page."""

    rows: tuple[TraceRow, ...]
    next_cursor: str = ""


@dataclass(frozen=True)
class ObservationNode:
    """One observation of a trace with its child observations.

    Attributes:
        messages: the role and text of each prompt message.
        facts: the model, tokens, parameters and status, if recorded.
    """

    id: str
    kind: str
    name: str
    at: str
    seconds: float | None
    messages: tuple[tuple[str, str], ...]
    output: str
    facts: Mapping[str, str]
    children: tuple[ObservationNode, ...] = ()


@dataclass(frozen=True)
class TraceTree:
    """One trace: its row, its steps (outermost first), and the gateway's metadata."""

    row: TraceRow
    steps: tuple[ObservationNode, ...]
    facts: Mapping[str, str]


def read_trace_page(
    client: LangfuseClient, trace_filter: TraceFilter, *, limit: int = 25, start_cursor: str = ""
) -> TracePage:
    """Return one page of answers.

    Args:
        start_cursor: `next_cursor` of the previous page; empty for the first page.

    Raises:
        TraceStoreError: the store cannot be read.
    """
    if trace_filter.score is not None:
        return _read_page_by_score(
            client, trace_filter, trace_filter.score, limit=limit, start_cursor=start_cursor
        )
    conditions = _build_conditions(trace_filter)
    optional_parameters = {
        "version": trace_filter.version,
        "filter": json.dumps(conditions) if conditions else "",
        "cursor": start_cursor,
    }
    parameters = {"type": "GENERATION", "fields": LISTED_FIELD_GROUPS, "limit": str(limit)}
    parameters |= {name: text for name, text in optional_parameters.items() if text}
    observations, cursor = client.page("/api/public/v2/observations", parameters)
    scores = _read_scores(client, [str(row["traceId"]) for row in observations])
    rows = [build_trace_row(row, scores.get(str(row["traceId"]), ())) for row in observations]
    return TracePage(tuple(rows), cursor)


def build_trace_tree(client: LangfuseClient, trace: Mapping[str, Any]) -> TraceTree:
    """Build the tree of a trace, and read its scores.

    Args:
        trace: the result of `LangfuseClient.trace`.

    Raises:
        TraceStoreError: the scores could not be read.
    """
    trace_id = str(trace["id"])
    observations = cast("list[dict[str, Any]]", trace["observations"])
    scores = _read_scores(client, [trace_id]).get(trace_id, ())
    facts = stringify_metadata(trace["metadata"])
    generation = next(
        (item for item in observations if item["type"] == "GENERATION"), observations[0]
    )
    row = build_trace_row({**generation, "metadata": facts}, scores)
    return TraceTree(row, _build_steps(observations), facts)


def traces_url(client: LangfuseClient, trace_id: str = "") -> str:
    """Return the URL of a trace in a real Langfuse, or of its list of traces.

    Raises:
        TraceStoreError: the keys belong to no project.
    """
    project = str(client.projects()[0]["id"])
    return f"{client.host}/project/{project}/traces" + (f"/{trace_id}" if trace_id else "")


def build_trace_row(observation: Mapping[str, Any], scores: Sequence[Score] = ()) -> TraceRow:
    """Build an answer's row from its generation. Fields that an external trace lacks are empty."""
    facts = stringify_metadata(observation.get("metadata"))
    cost = parse_number(facts.get("twin.cost_usd"))
    is_failed = observation.get("level") == "ERROR"
    name = str(observation.get("traceName") or "")
    return TraceRow(
        trace_id=str(observation["traceId"]),
        at=str(observation["startTime"]),
        author=facts.get("twin.author", name.removeprefix("twin/") if name[:5] == "twin/" else ""),
        version=facts.get("twin.version") or str(observation.get("version") or ""),
        route=facts.get("twin.route", ""),
        prompt_class=facts.get("twin.class", ""),
        question=extract_question(observation.get("input"), facts.get("twin.template", "")),
        answer=extract_answer(observation.get("output")),
        seconds=parse_number(observation.get("latency")),
        cost_usd=parse_number(observation.get("totalCost")) or None if cost is None else cost,
        tokens=int(parse_number(observation.get("totalUsage")) or 0) or None,
        error=str(observation.get("statusMessage") or "failed") if is_failed else "",
        degraded=facts.get("twin.degraded", ""),
        scores=tuple(scores),
        prose_label=facts.get("twin.prose_label", ""),
        above_prose=facts.get("twin.above_prose", "").strip(),
    )


def _build_conditions(
    trace_filter: TraceFilter, trace_ids: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the API's filter conditions, joined by AND, for fields without a query parameter."""
    conditions: list[dict[str, Any]] = [
        {"type": "stringObject", "column": "metadata", "key": key, "operator": "=", "value": value}
        for key, value in (("twin.author", trace_filter.author), ("twin.route", trace_filter.route))
        if value
    ]
    if trace_ids:
        id_condition = {"type": "stringOptions", "column": "traceId", "operator": "any of"}
        conditions.append({**id_condition, "value": list(trace_ids)})
    return conditions


def _read_page_by_score(
    client: LangfuseClient,
    trace_filter: TraceFilter,
    condition: ScoreCondition,
    *,
    limit: int,
    start_cursor: str,
) -> TracePage:
    """Read scores, newest first, and then the answers that they rate."""
    rows: list[TraceRow] = []
    cursor = start_cursor
    for _ in range(MAX_SCORE_PAGES):
        parameters = {
            "name": condition.name,
            "fields": SCORE_FIELD_GROUPS,
            "limit": str(IDS_PER_REQUEST),
        }
        scores, cursor = client.page(
            "/api/public/v3/scores", parameters | ({"cursor": cursor} if cursor else {})
        )
        trace_ids = dict.fromkeys(
            score_trace_id(score) for score in scores if condition.matches(score.get("value"))
        )
        # A trace with several matching scores is listed once.
        listed_ids = {"", *(row.trace_id for row in rows)}
        new_ids = [trace_id for trace_id in trace_ids if trace_id not in listed_ids]
        rows += _read_rows(client, trace_filter, new_ids)
        if not cursor or len(rows) >= limit:
            break
    return TracePage(tuple(rows), cursor)


def _read_rows(
    client: LangfuseClient, trace_filter: TraceFilter, trace_ids: Sequence[str]
) -> list[TraceRow]:
    """Return the matching answers of these traces, in the order of `trace_ids`."""
    if not trace_ids:
        return []
    rows = client.observations(
        type="GENERATION",
        version=trace_filter.version,
        filter=_build_conditions(trace_filter, trace_ids),
        fields=LISTED_FIELD_GROUPS,
    )
    row_by_trace = {str(row["traceId"]): row for row in rows}
    scores = _read_scores(client, list(row_by_trace))
    return [
        build_trace_row(row_by_trace[trace_id], scores.get(trace_id, ()))
        for trace_id in trace_ids
        if trace_id in row_by_trace
    ]


def _read_scores(client: LangfuseClient, trace_ids: Sequence[str]) -> dict[str, tuple[Score, ...]]:
    scores_by_trace: dict[str, list[Score]] = defaultdict(list)
    distinct_ids = list(dict.fromkeys(trace_ids))
    for start in range(0, len(distinct_ids), IDS_PER_REQUEST):
        for score in client.scores(trace_id=distinct_ids[start : start + IDS_PER_REQUEST]):
            metadata = stringify_metadata(score.get("metadata"))
            scores_by_trace[score_trace_id(score)].append(
                Score(
                    name=str(score["name"]),
                    value=cast("float | str | bool", score.get("value")),
                    comment=str(score.get("comment") or ""),
                    by=metadata.get("twin.by", str(score.get("source") or "")),
                    at=str(score["timestamp"]),
                )
            )
    return {trace: tuple(scores) for trace, scores in scores_by_trace.items()}


def _build_steps(observations: Iterable[Mapping[str, Any]]) -> tuple[ObservationNode, ...]:
    """Nest observations under their parents; an observation without a known parent is a root."""
    rows = list(observations)
    row_ids = {str(row["id"]) for row in rows}
    children_by_parent: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        parent = str(row.get("parentObservationId") or "")
        children_by_parent[parent if parent in row_ids else ""].append(row)

    def build_children(parent: str, ancestor_ids: frozenset[str]) -> tuple[ObservationNode, ...]:
        return tuple(
            _build_node(row, build_children(str(row["id"]), ancestor_ids | {str(row["id"])}))
            for row in children_by_parent.get(parent, ())
            if str(row["id"]) not in ancestor_ids
        )

    return build_children("", frozenset())


def _build_node(row: Mapping[str, Any], children: tuple[ObservationNode, ...]) -> ObservationNode:
    parameters = cast("dict[str, Any]", row.get("modelParameters") or {})
    usage = cast("dict[str, Any]", row.get("usageDetails") or {})
    facts = {
        "model": str(row.get("model") or ""),
        "tokens": ", ".join(f"{count} {name}" for name, count in usage.items()),
        "parameters": ", ".join(f"{name} {value}" for name, value in parameters.items()),
        "status": " ".join(str(row.get(name) or "") for name in ("level", "statusMessage"))
        .removeprefix("DEFAULT")
        .strip(),
        "first token": _format_seconds(row.get("timeToFirstToken")),
    }
    return ObservationNode(
        id=str(row["id"]),
        kind=str(row["type"]),
        name=str(row.get("name") or ""),
        at=str(row["startTime"]),
        seconds=parse_number(row.get("latency")),
        messages=tuple(extract_messages(row.get("input"))),
        output=extract_answer(row.get("output")),
        facts={name: text for name, text in facts.items() if text},
        children=children,
    )


def _format_seconds(value: object) -> str:
    number = parse_number(value)
    return "" if number is None else f"{number:.2f} s"
