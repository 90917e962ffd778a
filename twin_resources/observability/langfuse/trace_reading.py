"""Read traces for people: a filtered list, one trace as a tree, scores by day and version.

Scope: queries to a trace store, over the public API that the embedded store and a real Langfuse
share, and the resulting rows. Out of scope: HTTP (`client.py`), showing traces
(`page/traces_tab.py`, `commands/answer_history.py`), deciding anything (`ledger/`).
API: https://api.reference.langfuse.com. It cannot filter by a score's value together with the
version of its trace, so with a filter on a score the scores are read first.
"""
# pyright: strict

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.client import SCORE_GROUPS, LangfuseClient
from twin_resources.observability.langfuse.trace_texts import (
    answer_of,
    flat_facts,
    messages_of,
    number_of,
    question_of,
)

LISTED_GROUPS = "core,basic,time,io,metadata,model,usage"
MAX_SCORE_PAGES = 20  # pages of scores (100 each) searched for one page of traces
IDS_AT_ONCE = 40  # ids of 32 digits in one URL; proxies in between accept 8 KB
_CONDITION = re.compile(r"\s*(?P<name>[^<>=]+?)\s*(?:(?P<sign><=|>=|<|>|=)\s*(?P<value>\S+))?\s*")


@dataclass(frozen=True)
class ScoreCondition:
    """A score that a trace must have: its name and, with a sign, a bound on its value."""

    name: str
    sign: str = ""
    value: float = 0.0

    def holds(self, value: object) -> bool:
        """Return whether a score's value meets the condition; a text meets only a bare name."""
        if not self.sign:
            return True
        if not isinstance(value, bool | int | float):
            return False
        number = float(value)
        match self.sign:
            case "<":
                return number < self.value
            case "<=":
                return number <= self.value
            case ">":
                return number > self.value
            case ">=":
                return number >= self.value
            case _:
                return number == self.value


def score_condition(text: str) -> ScoreCondition | None:
    """Parse `thumbs`, `thumbs=0` or `support<0.3`; return None for an empty text.

    Raises:
        TwinError: the text has none of these forms.
    """
    if not text.strip():
        return None
    match = _CONDITION.fullmatch(text)
    value = number_of(match["value"]) if match and match["sign"] else 0.0
    if match is None or value is None:
        raise TwinError(
            f"read the condition {text!r} on a score",
            found="no name, or no number behind its sign",
            next_step="write a name, or a name, one of < <= > >= = and a number: support<0.3",
        )
    return ScoreCondition(match["name"], match["sign"] or "", value)


@dataclass(frozen=True)
class TraceFilter:
    """Conditions on traces; an empty value matches all.

    Attributes:
        author: slug.
        version: `v3`, `base`, `paid`.
        route: `stable`, `alias:base` …
        score: a condition on a score, or None for traces with or without scores.
    """

    author: str = ""
    version: str = ""
    route: str = ""
    score: ScoreCondition | None = None


@dataclass(frozen=True)
class Score:
    """A rating of an answer by a person, a judge or the gateway."""

    name: str
    value: float | str | bool
    comment: str = ""
    by: str = ""
    at: str = ""


@dataclass(frozen=True)
class TraceRow:
    """One answer.

    Attributes:
        at: when it began, ISO 8601 in UTC.
        seconds, cost_usd: None if the trace does not record them.
        tokens: read and written.
        error: why the answer failed; empty if it did not.
        scores: newest first.
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


@dataclass(frozen=True)
class TracePage:
    """Rows, newest first; `following` is the next page's cursor, empty on the last page."""

    rows: tuple[TraceRow, ...]
    following: str = ""


@dataclass(frozen=True)
class ObservationNode:
    """One observation of a trace, with the observations that it contains.

    Attributes:
        messages: (role, text) of its prompt.
        facts: model, tokens, parameters and status, where recorded.
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
    """One trace: its row, its steps (outermost first), and the gateway's flat metadata."""

    row: TraceRow
    steps: tuple[ObservationNode, ...]
    facts: Mapping[str, str]


def read_page(
    client: LangfuseClient, wanted: TraceFilter, *, limit: int = 25, after: str = ""
) -> TracePage:
    """Return one page of answers.

    Args:
        after: `following` of the previous page.

    Raises:
        TraceStoreError: the store cannot be read.
    """
    if wanted.score is not None:
        return _page_by_score(client, wanted, wanted.score, limit=limit, after=after)
    parameters = _asked(wanted, limit=limit) | ({"cursor": after} if after else {})
    observations, cursor = client.page("/api/public/v2/observations", parameters)
    scores = _scores_of(client, [str(row["traceId"]) for row in observations])
    rows = [trace_row(row, scores.get(str(row["traceId"]), ())) for row in observations]
    return TracePage(tuple(rows), cursor)


def tree_of(client: LangfuseClient, observation: Mapping[str, Any]) -> TraceTree:
    """Return a trace from `LangfuseClient.trace` as a tree, with its scores.

    Raises:
        TraceStoreError: its scores could not be read.
    """
    trace_id = str(observation["id"])
    observations = cast("list[dict[str, Any]]", observation["observations"])
    scores = _scores_of(client, [trace_id]).get(trace_id, ())
    facts = flat_facts(observation["metadata"])
    main = next((one for one in observations if one["type"] == "GENERATION"), observations[0])
    row = trace_row({**main, "metadata": facts}, scores)
    return TraceTree(row, _steps(observations), facts)


def trace_address(client: LangfuseClient, trace_id: str) -> str:
    """Return the URL of a trace in a real Langfuse.

    Raises:
        TraceStoreError: the keys open no project.
    """
    project = str(client.projects()[0]["id"])
    return f"{client.host}/project/{project}/traces/{trace_id}"


def trace_row(observation: Mapping[str, Any], scores: Sequence[Score] = ()) -> TraceRow:
    """Build an answer's row from its generation; fields missing from a foreign trace are empty."""
    facts = flat_facts(observation.get("metadata"))
    cost = number_of(facts.get("twin.cost_usd"))
    failed = observation.get("level") == "ERROR"
    name = str(observation.get("traceName") or "")
    return TraceRow(
        trace_id=str(observation["traceId"]),
        at=str(observation["startTime"]),
        author=facts.get("twin.author", name.removeprefix("twin/") if name[:5] == "twin/" else ""),
        version=facts.get("twin.version") or str(observation.get("version") or ""),
        route=facts.get("twin.route", ""),
        prompt_class=facts.get("twin.class", ""),
        question=question_of(observation.get("input"), facts.get("twin.template", "")),
        answer=answer_of(observation.get("output")),
        seconds=number_of(observation.get("latency")),
        cost_usd=number_of(observation.get("totalCost")) or None if cost is None else cost,
        tokens=int(number_of(observation.get("totalUsage")) or 0) or None,
        error=str(observation.get("statusMessage") or "failed") if failed else "",
        degraded=facts.get("twin.degraded", ""),
        scores=tuple(scores),
    )


def _asked(wanted: TraceFilter, *, limit: int) -> dict[str, str]:
    parameters = {"type": "GENERATION", "fields": LISTED_GROUPS, "limit": str(limit)}
    conditions = json.dumps(_conditions(wanted)) if wanted.author or wanted.route else ""
    named = {"version": wanted.version, "filter": conditions}
    return parameters | {name: text for name, text in named.items() if text}


def _conditions(wanted: TraceFilter, traces: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return API filter conditions for fields without a parameter of their own; all must hold."""
    conditions: list[dict[str, Any]] = [
        {"type": "stringObject", "column": "metadata", "key": key, "operator": "=", "value": value}
        for key, value in (("twin.author", wanted.author), ("twin.route", wanted.route))
        if value
    ]
    if traces:
        kind = {"type": "stringOptions", "column": "traceId", "operator": "any of"}
        conditions.append({**kind, "value": list(traces)})
    return conditions


def _page_by_score(
    client: LangfuseClient,
    wanted: TraceFilter,
    condition: ScoreCondition,
    *,
    limit: int,
    after: str,
) -> TracePage:
    """Read scores, newest first, then the answers that they rate."""
    rows: list[TraceRow] = []
    cursor = after
    for _ in range(MAX_SCORE_PAGES):
        parameters = {"name": condition.name, "fields": SCORE_GROUPS, "limit": str(IDS_AT_ONCE)}
        scores, cursor = client.page(
            "/api/public/v3/scores", parameters | ({"cursor": cursor} if cursor else {})
        )
        traces = dict.fromkeys(
            _trace_of(score) for score in scores if condition.holds(score.get("value"))
        )
        traces.pop("", None)
        rows += _rows_of(client, wanted, list(traces))
        if not cursor or len(rows) >= limit:
            break
    return TracePage(tuple(rows), cursor)


def _rows_of(client: LangfuseClient, wanted: TraceFilter, traces: Sequence[str]) -> list[TraceRow]:
    """Return the matching answers of these traces, in the order of `traces`."""
    if not traces:
        return []
    rows = client.observations(
        type="GENERATION",
        version=wanted.version,
        filter=_conditions(wanted, traces),
        fields=LISTED_GROUPS,
    )
    by_trace = {str(row["traceId"]): row for row in rows}
    scores = _scores_of(client, list(by_trace))
    return [
        trace_row(by_trace[trace], scores.get(trace, ())) for trace in traces if trace in by_trace
    ]


def _scores_of(client: LangfuseClient, traces: Sequence[str]) -> dict[str, tuple[Score, ...]]:
    by_trace: dict[str, list[Score]] = defaultdict(list)
    wanted = list(dict.fromkeys(traces))
    for start in range(0, len(wanted), IDS_AT_ONCE):
        for score in client.scores(trace_id=wanted[start : start + IDS_AT_ONCE]):
            metadata = flat_facts(score.get("metadata"))
            by_trace[_trace_of(score)].append(
                Score(
                    name=str(score["name"]),
                    value=cast("float | str | bool", score.get("value")),
                    comment=str(score.get("comment") or ""),
                    by=metadata.get("twin.by", str(score.get("source") or "")),
                    at=str(score["timestamp"]),
                )
            )
    return {trace: tuple(scores) for trace, scores in by_trace.items()}


def _trace_of(score: Mapping[str, Any]) -> str:
    subject = cast("dict[str, Any]", score.get("subject") or {})
    return str(subject.get("traceId") or (subject.get("kind") == "trace" and subject["id"]) or "")


def _steps(observations: Iterable[Mapping[str, Any]]) -> tuple[ObservationNode, ...]:
    """Nest observations under their parents; those of a missing parent become outermost."""
    rows = list(observations)
    known = {str(row["id"]) for row in rows}
    below: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        parent = str(row.get("parentObservationId") or "")
        below[parent if parent in known else ""].append(row)

    def made(parent: str, seen: frozenset[str]) -> tuple[ObservationNode, ...]:
        return tuple(
            _step(row, made(str(row["id"]), seen | {str(row["id"])}))
            for row in below.get(parent, ())
            if str(row["id"]) not in seen
        )

    return made("", frozenset())


def _step(row: Mapping[str, Any], children: tuple[ObservationNode, ...]) -> ObservationNode:
    parameters = cast("dict[str, Any]", row.get("modelParameters") or {})
    usage = cast("dict[str, Any]", row.get("usageDetails") or {})
    facts = {
        "model": str(row.get("model") or ""),
        "tokens": ", ".join(f"{count} {name}" for name, count in usage.items()),
        "parameters": ", ".join(f"{name} {value}" for name, value in parameters.items()),
        "status": " ".join(str(row.get(name) or "") for name in ("level", "statusMessage"))
        .removeprefix("DEFAULT")
        .strip(),
        "first token": _seconds(row.get("timeToFirstToken")),
    }
    return ObservationNode(
        id=str(row["id"]),
        kind=str(row["type"]),
        name=str(row.get("name") or ""),
        at=str(row["startTime"]),
        seconds=number_of(row.get("latency")),
        messages=tuple(messages_of(row.get("input"))),
        output=answer_of(row.get("output")),
        facts={name: text for name, text in facts.items() if text},
        children=children,
    )


def _seconds(value: object) -> str:
    number = number_of(value)
    return "" if number is None else f"{number:.2f} s"
