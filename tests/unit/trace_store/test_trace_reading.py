"""Test reading traces from the embedded store and from recorded responses of Langfuse 4.16.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.trace_store.conftest import KEYS, Store
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
from twin_resources.observability.langfuse.trace_reading import (
    ScoreCondition,
    TraceFilter,
    build_trace_row,
    build_trace_tree,
    parse_score_condition,
    read_trace_page,
    traces_url,
)


def make_span(
    number: int, *, version: str = "v1", route: str = "stable", **data: Any
) -> dict[str, Any]:
    """Return a span as the gateway writes it."""
    metadata = {
        "twin.author": data.pop("author", "ann"),
        "twin.version": version,
        "twin.route": route,
        "twin.class": "short",
        "twin.chunks": "c1,c2",
        "twin.cost_usd": "0.000034",
        "twin.template": "",
    }
    messages = [{"role": "user", "content": f"Passage.\n\nQuestion: what of {number}?"}]
    start_ns = (1_790_000_000 + number) * 1_000_000_000
    return {
        "traceId": f"{number:032x}",
        "spanId": f"{number:016x}",
        "parentSpanId": data.pop("parent", ""),
        "name": "answer",
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(start_ns + 2_000_000_000),
        "attributes": {
            "langfuse.observation.type": "generation",
            "langfuse.internal.as_root": True,
            "langfuse.observation.input": json.dumps(messages),
            "langfuse.observation.output": json.dumps({"role": "assistant", "content": "Oil."}),
            "langfuse.observation.usage_details": json.dumps({"input": 30, "total": 40}),
            "langfuse.version": version,
            "langfuse.trace.metadata": json.dumps(metadata),
        }
        | data,
    }


@pytest.fixture
def client(store: Store) -> LangfuseClient:
    store.set_time("2026-09-21T15:00:00Z")
    return LangfuseClient(
        "http://testserver", public_key=KEYS.public, secret_key=KEYS.secret, http=store.http
    )


def post_score(store: Store, number: int, name: str, value: float | str, **fields: Any) -> None:
    """Post a score of the trace that `make_span` creates with this number."""
    data_type = "CORRECTION" if isinstance(value, str) else "NUMERIC"
    body = {"traceId": f"{number:032x}", "name": name, "value": value, "dataType": data_type}
    body |= fields
    assert store.http.post("/api/public/scores", json=body).status_code == 200


def test_a_page_has_the_newest_traces_first_with_scores_and_a_cursor(
    store: Store, client: LangfuseClient
) -> None:
    store.post_spans(*(make_span(number) for number in range(1, 6)))
    post_score(store, 5, "thumbs", 0.0, comment="wrong drop", metadata={"twin.by": "reader"})
    first = read_trace_page(client, TraceFilter(), limit=3)
    assert [row.trace_id for row in first.rows] == [f"{n:032x}" for n in (5, 4, 3)]
    newest = first.rows[0]
    assert (newest.author, newest.version, newest.route) == ("ann", "v1", "stable")
    assert (newest.question, newest.answer) == ("what of 5?", "Oil.")
    assert (newest.seconds, newest.cost_usd, newest.tokens) == (2, 0.000034, 40)
    assert [(item.name, item.value, item.comment, item.by) for item in newest.scores] == [
        ("thumbs", 0, "wrong drop", "reader")
    ]
    second = read_trace_page(client, TraceFilter(), limit=3, start_cursor=first.next_cursor)
    assert [row.trace_id for row in second.rows] == [f"{n:032x}" for n in (2, 1)]
    assert not second.next_cursor


@pytest.mark.parametrize(
    ("trace_filter", "expected"),
    [
        (TraceFilter(version="v2"), [2]),
        (TraceFilter(route="alias:base"), [3]),
        (TraceFilter(author="bob"), [4]),
        (TraceFilter(score=ScoreCondition("thumbs", "<", 0.5)), [2]),
        (TraceFilter(score=ScoreCondition("thumbs")), [2, 1]),
        (TraceFilter(version="v1", score=ScoreCondition("thumbs")), [1]),
        (TraceFilter(version="v1", score=ScoreCondition("thumbs", "=", 0)), []),
    ],
)
def test_filters_select_traces(
    trace_filter: TraceFilter, expected: list[int], store: Store, client: LangfuseClient
) -> None:
    store.post_spans(
        make_span(1), make_span(2, version="v2"), make_span(3, version="base", route="alias:base"),
        make_span(4, author="bob", version="v3"),
    )  # fmt: skip
    post_score(store, 1, "thumbs", 1.0)
    store.set_time("2026-09-21T15:00:09Z")
    post_score(store, 2, "thumbs", 0.0)
    page = read_trace_page(client, trace_filter)
    assert [int(row.trace_id, 16) for row in page.rows] == expected


def test_all_pages_of_scores_are_searched_and_each_trace_is_listed_once(
    store: Store, client: LangfuseClient
) -> None:
    """The low votes are the two oldest, after three pages of scores, and a newer one on trace 1."""
    store.post_spans(*(make_span(number) for number in range(1, 131)))
    for number in (*range(1, 131), 1):
        store.now_ms += 10
        post_score(store, number, "thumbs", float(number > 2))
    page = read_trace_page(client, TraceFilter(score=parse_score_condition("thumbs<0.5")))
    assert [int(row.trace_id, 16) for row in page.rows] == [1, 2]


def test_a_trace_is_a_tree_of_its_stored_spans(store: Store, client: LangfuseClient) -> None:
    """A span whose parent was never stored is a root."""
    inner = make_span(7, parent=f"{7:016x}") | {"spanId": "00000000000000aa", "name": "inner"}
    store.post_spans(make_span(7, parent="00000000000000ff"), inner)
    post_score(store, 7, "support", 0.25)
    post_score(store, 7, "output", "Two drops.")
    tree = build_trace_tree(client, client.trace(f"{7:032x}"))
    assert [(step.name, [child.name for child in step.children]) for step in tree.steps] == [
        ("answer", ["inner"])
    ]
    assert tree.steps[0].messages == (("user", "Passage.\n\nQuestion: what of 7?"),)
    assert tree.steps[0].facts["tokens"] == "30 input, 40 total"
    assert tree.facts["twin.chunks"] == "c1,c2"
    assert {item.name: item.value for item in tree.row.scores} == {
        "support": 0.25,
        "output": "Two drops.",
    }


def test_a_missing_trace_is_an_error(client: LangfuseClient) -> None:
    with pytest.raises(TraceStoreError) as error:
        build_trace_tree(client, client.trace("0" * 32))
    assert error.value.status == 404


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("thumbs", ScoreCondition("thumbs")),
        ("thumbs=0", ScoreCondition("thumbs", "=", 0.0)),
        (" support < .3 ", ScoreCondition("support", "<", 0.3)),
        ("judge:topic@1>=0.5", ScoreCondition("judge:topic@1", ">=", 0.5)),
    ],
)
def test_score_conditions_are_parsed(text: str, expected: ScoreCondition | None) -> None:
    assert parse_score_condition(text) == expected


@pytest.mark.parametrize("text", ["thumbs<", "<0.3", "thumbs<many", "a<b<c"])
def test_an_invalid_score_condition_is_refused(text: str) -> None:
    with pytest.raises(TwinError, match="condition"):
        parse_score_condition(text)


@pytest.mark.parametrize(
    ("operator", "matching_values"),
    [("<", [0]), ("<=", [0, 0.5]), (">", [1]), (">=", [0.5, 1]), ("=", [0.5]), ("", [0, 0.5, 1])],
)
def test_score_conditions_compare_values(operator: str, matching_values: list[float]) -> None:
    condition = ScoreCondition("thumbs", operator, 0.5)
    assert [value for value in (0, 0.5, 1) if condition.matches(value)] == matching_values
    assert condition.matches("a text") == (operator == "")


@pytest.fixture
def recorded_client(shared_data: Path) -> LangfuseClient:
    """Return a client of recorded responses: observations, scores and project."""
    folder = shared_data / "langfuse-golden"

    def read_body(name: str) -> Any:
        return json.loads((folder / f"{name}.json").read_text())["response"]

    def respond(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/public/")
        if path == "v2/observations":
            page = read_body("get-v2-observations")
            parameters = request.url.params
            rows = [
                row
                for row in page["data"]
                if parameters.get("traceId") in (None, row["traceId"])
                and parameters.get("type") in (None, row["type"])
            ]
            return httpx.Response(200, json={"data": rows, "meta": {}})
        if path == "v3/scores":
            page = read_body("get-v3-scores-page0")
            trace_ids = request.url.params.get("traceId", "").split(",")
            rows = [
                row
                for row in page["data"]
                if trace_ids == [""] or row["subject"]["id"] in trace_ids
            ]
            return httpx.Response(200, json={"data": rows, "meta": {}})
        return httpx.Response(200, json=read_body("get-projects"))

    http = httpx.Client(base_url="https://lf.example", transport=httpx.MockTransport(respond))
    return LangfuseClient("https://lf.example", public_key="", secret_key="", http=http)


def test_recorded_responses_of_a_real_langfuse_are_read(recorded_client: LangfuseClient) -> None:
    """Traces of the SDK or LiteLLM have no author, and other missing fields are empty or None."""
    page = read_trace_page(recorded_client, TraceFilter())
    assert [(row.version, row.tokens, row.cost_usd) for row in page.rows] == [
        ("adapter-v8", 30, 1.35e-05),
        ("adapter-v7", 30, 1.35e-05),
        ("adapter-v7", 30, 1.35e-05),
        ("v7", 12, 0.001),
    ]
    assert {row.author for row in page.rows} == {""}
    tree = build_trace_tree(recorded_client, recorded_client.trace(page.rows[3].trace_id))
    assert [(step.kind, step.name) for step in tree.steps] == [("SPAN", "twin-request")]
    assert [(step.kind, step.facts["model"]) for step in tree.steps[0].children] == [
        ("GENERATION", "twin-7b")
    ]
    assert tree.facts["adapter"]
    assert traces_url(recorded_client, "ab") == "https://lf.example/project/twin/traces/ab"


def test_missing_fields_of_an_external_trace_are_empty() -> None:
    row = build_trace_row({"traceId": "a", "startTime": "2026-01-01T00:00:00Z", "totalCost": 0})
    assert (row.author, row.version, row.cost_usd, row.tokens) == ("", "", None, None)
    assert (row.question, row.answer, row.error) == ("", "", "")
