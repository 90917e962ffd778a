"""Test what the trace store accepts, refuses, pages, filters and deletes."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.langfuse_answers import LANGFUSE_ANSWERS
from tests.unit.trace_store.conftest import KEYS, Store
from twin_resources.errors import TwinError
from twin_resources.observability.trace_store.json_values import format_timestamp
from twin_resources.observability.trace_store.otlp import MAX_EXPORT_BYTES
from twin_resources.observability.trace_store.trace_tables import SCHEMA_VERSION, TraceTables

TRACE = "0af7651916cd43dd8448eb211c80319c"
GENERATION_SPAN = {
    "traceId": TRACE,
    "spanId": "b7ad6b7169203331",
    "name": "litellm_request",
    "startTimeUnixNano": "1790000000000000000",
    "endTimeUnixNano": "1790000001500000000",
    "attributes": {
        "langfuse.observation.type": "generation",
        "langfuse.observation.input": '[{"role": "user", "content": "Why C?"}]',
        "langfuse.observation.output": '{"role": "assistant", "content": "Small."}',
        "langfuse.trace.name": "twin/ada",
        "langfuse.trace.metadata.twin.author": "ada",
        "langfuse.trace.metadata.twin.chunks": ",".join(f"chunk-{n:04d}" for n in range(60)),
        "langfuse.trace.metadata.twin.cost_usd": "0.0000125",
        "langfuse.trace.tags": ["a", "b"],
        "langfuse.environment": "Production",
        "user.id": "reader-1",
        "langfuse.observation.model.name": "smollm2",
        "langfuse.observation.usage_details": '{"input": 100, "output": 20}',
        "langfuse.observation.cost_details": '{"total": 1.25e-05}',
    },
}


def make_span(number: int, *, trace: str = TRACE, **fields: Any) -> dict[str, Any]:
    start = 1_790_000_000_000 + number
    times = {"startTimeUnixNano": f"{start}000000", "endTimeUnixNano": f"{start}000000"}
    return {"traceId": trace, "spanId": f"{number:016x}", "name": f"span {number}"} | times | fields


def test_a_generation_is_returned_with_all_fields(store: Store) -> None:
    store.post_spans(GENERATION_SPAN)
    fields = "io,metadata,model,usage,trace_context,metrics"
    row = store.get("v2/observations", traceId=TRACE, fields=fields)["data"][0]
    assert row["type"] == "GENERATION"
    assert json.loads(row["output"])["content"] == "Small."
    assert (row["model"], row["traceName"], row["tags"]) == ("smollm2", "twin/ada", ["a", "b"])
    assert row["usageDetails"] == {"input": 100, "output": 20, "total": 120}
    assert (row["costDetails"], row["totalCost"]) == ({"total": 1.25e-05}, 1.25e-05)
    assert row["latency"] == 1.5
    assert row["metadata"]["twin.author"] == "ada"
    assert row["metadata"]["twin.cost_usd"] == 1.25e-05  # JSON text is parsed
    assert "environment" not in row  # the field group `basic` was not requested
    basic = store.get("v2/observations")["data"][0]
    assert (basic["userId"], basic["environment"]) == ("reader-1", "production")


def test_long_metadata_is_truncated_unless_expanded(store: Store) -> None:
    store.post_spans(GENERATION_SPAN)
    chunks = GENERATION_SPAN["attributes"]["langfuse.trace.metadata.twin.chunks"]
    truncated_metadata = store.get("v2/observations", fields="metadata")["data"][0]["metadata"]
    assert truncated_metadata["twin.chunks"] == chunks[:200]
    expanded = store.get("v2/observations", fields="metadata", expandMetadata="twin.chunks")
    assert expanded["data"][0]["metadata"]["twin.chunks"] == chunks


def test_protobuf_and_gzip_give_the_same_rows_as_json(store: Store) -> None:
    store.post_spans(GENERATION_SPAN)
    export = ExportTraceServiceRequest()
    scope_spans = export.resource_spans.add().scope_spans.add()
    scope_spans.scope.name = "litellm"
    record = scope_spans.spans.add(name="litellm_request", span_id=bytes.fromhex("c" * 16))
    record.trace_id = bytes.fromhex(TRACE)
    record.start_time_unix_nano = 1_790_000_000_000_000_000
    record.end_time_unix_nano = 1_790_000_001_500_000_000
    for name, value in GENERATION_SPAN["attributes"].items():
        attribute = record.attributes.add(key=name)
        if isinstance(value, list):
            for item in value:
                attribute.value.array_value.values.add(string_value=item)
        elif isinstance(value, str):
            attribute.value.string_value = value
        elif isinstance(value, int):
            attribute.value.int_value = value
        else:
            attribute.value.double_value = value
    response = store.http.post(
        "/api/public/otel/v1/traces",
        content=gzip.compress(export.SerializeToString()),
        headers={"content-type": "application/x-protobuf", "content-encoding": "gzip"},
    )
    assert (response.status_code, response.json()) == (200, {})
    all_fields = "basic,io,metadata,model,usage,metrics,trace_context"
    observations = store.get("v2/observations", fields=all_fields)["data"]
    assert len(observations) == 2
    assert observations[0] | {"id": ""} == observations[1] | {"id": ""}


@pytest.mark.parametrize(
    ("content", "headers", "message"),
    [
        (b"x", {"content-type": "text/plain"}, "Invalid content type"),
        (b"\xff\xff", {"content-type": "application/x-protobuf"}, "Failed to parse OTel Protobuf"),
        (b"{", {"content-type": "application/json"}, "Failed to parse OTel JSON"),
        (
            b"no gzip",
            {"content-type": "application/json", "content-encoding": "gzip"},
            "Failed to decompress",
        ),
        (b'{"resourceSpans": {}}', {"content-type": "application/json"}, "Invalid OTLP"),
        (
            b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "a log"}]}]}]}',
            {"content-type": "application/json"},
            "1 of 1 span(s) have no traceId",
        ),
        (
            b"{}",
            {"content-type": "application/json", "x-langfuse-ingestion-version": "5"},
            "Unsupported x-langfuse-ingestion-version",
        ),
    ],
)
def test_an_unreadable_export_is_refused_completely(
    store: Store, content: bytes, headers: dict[str, str], message: str
) -> None:
    response = store.http.post("/api/public/otel/v1/traces", content=content, headers=headers)
    assert response.status_code == 400
    assert message in response.json()["error"]
    assert store.get("v2/observations")["data"] == []


def test_a_gzip_bomb_is_not_unpacked(store: Store) -> None:
    response = store.http.post(
        "/api/public/otel/v1/traces",
        content=gzip.compress(b" " * (MAX_EXPORT_BYTES + 1), compresslevel=1),
        headers={"content-type": "application/json", "content-encoding": "gzip"},
    )
    assert (response.status_code, "unpacks to more than" in response.json()["error"]) == (400, True)


def test_paging_through_equal_times_loses_and_repeats_nothing(store: Store) -> None:
    for number in range(7):
        store.post_spans(make_span(0, trace=f"{number:032x}"))
        store.http.post("/api/public/scores", json={"name": "s", "value": 1, "traceId": "t"})
    for path in ("v2/observations", "v3/scores"):
        keys: list[tuple[str, str]] = []
        cursor: dict[str, str] = {}
        for expected in (3, 3, 1):
            page = store.get(path, limit="3", **cursor)
            assert len(page["data"]) == expected
            keys += [(row["id"], row.get("traceId", "")) for row in page["data"]]
            cursor = {"cursor": page["meta"].get("cursor", "")}
        assert cursor == {"cursor": ""}
        assert len(set(keys)) == 7
        assert keys == sorted(keys, key=lambda key: (key[1], key[0]), reverse=True)


TRACE_FILTER = {"type": "stringOptions", "column": "traceId", "operator": "any of"}
TAG_FILTER = {"type": "arrayOptions", "column": "tags", "operator": "any of"}
METADATA_FILTER = {"type": "stringObject", "column": "metadata", "key": "k", "operator": "="}
START_TIME_FILTER = {"type": "datetime", "column": "startTime", "operator": "<="}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (TRACE_FILTER | {"value": [TRACE, "f" * 32]}, [3, 2, 1]),
        (TRACE_FILTER | {"value": ["f" * 32]}, []),
        (TAG_FILTER | {"value": ["x", "z"]}, [2, 1]),
        (TAG_FILTER | {"value": ["z"]}, []),
        (METADATA_FILTER | {"value": "7"}, [3]),
        (METADATA_FILTER | {"value": ""}, [2, 1]),
        (START_TIME_FILTER | {"value": format_timestamp(1_790_000_000_002)}, [2, 1]),
    ],
)
def test_a_filter_selects_observations(
    store: Store, condition: dict[str, Any], expected: list[int]
) -> None:
    store.post_spans(
        make_span(1, attributes={"langfuse.trace.tags": ["x", "y"]}),
        make_span(2, attributes={"langfuse.trace.tags": ["x"]}),
        make_span(3, parentSpanId=f"{1:016x}", attributes={"langfuse.observation.metadata.k": 7}),
    )
    rows = store.get("v2/observations", filter=json.dumps([condition]))["data"]
    assert [int(row["id"], 16) for row in rows] == expected


@pytest.mark.parametrize(
    "condition",
    [
        {"type": "string", "column": "name", "operator": "=", "value": "span 2"},
        {"type": "number", "column": "latency", "operator": ">", "value": 1},
        {"type": "boolean", "column": "isRootObservation", "operator": "=", "value": True},
        {"type": "null", "column": "userId", "operator": "is null"},
        TRACE_FILTER | {"operator": "none of", "value": [TRACE]},
        TRACE_FILTER | {"value": TRACE},
        TRACE_FILTER | {"value": []},
        TRACE_FILTER | {"value": [{"a": "text"}]},
        TAG_FILTER | {"operator": "all of", "value": ["x"]},
        METADATA_FILTER | {"operator": "contains", "value": "7"},
        METADATA_FILTER | {"value": 7},
        START_TIME_FILTER | {"operator": ">", "value": format_timestamp(1_790_000_000_002)},
    ],
)
def test_an_unsupported_condition_is_refused_with_a_reason(
    store: Store, condition: dict[str, Any]
) -> None:
    parameters = {"filter": json.dumps([TRACE_FILTER | {"value": [TRACE]}, condition])}
    response = store.http.get("/api/public/v2/observations", params=parameters)
    assert response.status_code == 400
    (issue,) = response.json()["error"]
    assert issue["path"] == ["filter", 1]
    assert issue["message"].startswith("Unsupported filter condition: ")


def test_the_refusal_of_a_filter_names_the_supported_filters(store: Store) -> None:
    name_filter = {"type": "string", "column": "name", "operator": "=", "value": "answer"}
    response = store.http.get(
        "/api/public/v2/observations", params={"filter": json.dumps([name_filter])}
    )
    assert "this store supports only metadata key = text, traceId any of" in response.text


def test_an_unreadable_filter_is_refused(store: Store) -> None:
    for text in ("{", "{}", '[{"type": "string"}]', '[{"type":"string","column":"1;--"}]'):
        response = store.http.get("/api/public/v2/observations", params={"filter": text})
        assert (response.status_code, "message" in response.json()) == (400, True)


def test_scores_of_every_kind_are_returned_as_sent(store: Store) -> None:
    cases: list[tuple[Any, str | None, Any, str]] = [
        (0.25, None, 0.25, "NUMERIC"),
        (3, "NUMERIC", 3, "NUMERIC"),
        (0, "BOOLEAN", False, "BOOLEAN"),
        ("good", None, "good", "CATEGORICAL"),
        ("a longer remark", "TEXT", "a longer remark", "TEXT"),
        ("the better answer", "CORRECTION", "the better answer", "CORRECTION"),
    ]
    for number, (value, data_type, _, _) in enumerate(cases):
        body = {"id": f"s{number}", "name": "n", "traceId": TRACE, "value": value}
        body |= {} if data_type is None else {"dataType": data_type}
        assert store.http.post("/api/public/scores", json=body).json() == {"id": f"s{number}"}
    rows = {row["id"]: row for row in store.get("v3/scores")["data"]}
    for number, (_, _, value, data_type) in enumerate(cases):
        assert (rows[f"s{number}"]["value"], rows[f"s{number}"]["dataType"]) == (value, data_type)
    booleans = store.get("v3/scores", dataType="boolean")["data"]
    assert [row["id"] for row in booleans] == ["s2"]


@pytest.mark.parametrize(
    "invalid_fields",
    [
        {"value": "x", "dataType": "NUMERIC"},
        {"value": 2, "dataType": "BOOLEAN"},
        {"value": 1, "dataType": "CATEGORICAL"},
        {"value": "", "dataType": "TEXT"},
        {"value": True},
        {"value": 1, "dataType": "OTHER"},
        {"value": 1, "comment": 3},
        {"value": 1, "sessionId": "s"},
        {"value": 1, "name": ""},
    ],
)
def test_an_invalid_score_is_refused(store: Store, invalid_fields: dict[str, Any]) -> None:
    body = {"name": "n", "traceId": TRACE} | invalid_fields
    assert store.http.post("/api/public/scores", json=body).status_code == 400
    assert store.get("v3/scores")["data"] == []


def test_a_changed_score_keeps_its_timestamp(store: Store) -> None:
    """Only `updatedAt` shows the change."""
    body = {"id": "one", "name": "n", "traceId": TRACE, "value": 1}
    store.set_time("2026-11-20T06:00:00.500Z").http.post("/api/public/scores", json=body)
    store.set_time("2026-11-21T06:00:00.500Z").http.post(
        "/api/public/scores", json=body | {"value": 0}
    )
    row = store.get("v3/scores")["data"][0]
    assert row["value"] == 0
    assert row["timestamp"] == "2026-11-20T06:00:00.500Z"
    assert row["updatedAt"] == "2026-11-21T06:00:00.500Z"


def test_what_langfuse_refuses_is_refused(store: Store) -> None:
    """Langfuse answers 400 to each of these; this store once took the first three."""
    names = ("score-eval", "score-annotation-without-config", "score-array", "score-without-trace")
    for name in names:
        answer = LANGFUSE_ANSWERS[name]
        response = store.http.post("/api/public/scores", json=answer["request"]["body"])
        assert response.status_code == answer["status"] == 400
        assert response.json()["message"] == answer["response"]["message"]
    assert store.get("v3/scores")["data"] == []


@pytest.mark.parametrize("name", ["score", "score-correction", "score-measured"])
def test_a_score_of_ours_is_answered_as_by_langfuse(name: str, store: Store) -> None:
    answer = LANGFUSE_ANSWERS[name]
    response = store.http.post("/api/public/scores", json=answer["request"]["body"])
    assert (response.status_code, response.json()) == (answer["status"], answer["response"])


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer x", "Basic !!!", "Basic cGstbGYtdGVzdDp3cm9uZw==", "Basic OnNrLWxmLXRlc3Q="],
)
def test_wrong_keys_are_refused(store: Store, authorization: str) -> None:
    store.http.auth = None
    headers = {"authorization": authorization} if authorization else {}
    for method, path in (
        ("GET", "projects"),
        ("GET", "v3/scores"),
        ("GET", "v2/observations"),
        ("POST", "scores"),
        ("POST", "otel/v1/traces"),
        ("DELETE", "scores/x"),
        ("DELETE", "traces/x"),
        ("DELETE", "traces"),
    ):
        response = store.http.request(method, f"/api/public/{path}", headers=headers)
        assert (path, response.status_code) == (path, 401)
        assert KEYS.secret not in response.text
    assert store.http.get("/api/public/health").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "traces"),
        ("GET", "scores"),
        ("GET", "v2/scores"),
        ("GET", "observations"),
        ("GET", "metrics"),
        ("GET", "v2/metrics"),
        ("POST", "ingestion"),
        ("GET", "v2/prompts"),
        ("PUT", "scores"),
        ("GET", "otel/v1/traces"),
        ("GET", "health/"),
    ],
)
def test_every_other_endpoint_is_404(store: Store, method: str, path: str) -> None:
    assert store.http.request(method, f"/api/public/{path}").status_code == 404
    assert store.http.post("/").status_code == 404


def test_the_root_describes_the_store_and_where_traces_are_shown(store: Store) -> None:
    response = store.http.get("/", auth=("", ""))
    assert (response.status_code, response.text.count("\n")) == (200, 1)
    assert "`twin open traces`" in response.text


def test_no_byte_of_a_deleted_trace_stays_in_the_file(store: Store) -> None:
    canary = "canary-4711-in-the-answer"
    other = "f" * 32
    secret = GENERATION_SPAN["attributes"] | {"langfuse.observation.output": canary * 300}
    store.post_spans(GENERATION_SPAN | {"attributes": secret}, make_span(9, trace=other))
    score = {"id": "s", "name": "n", "value": 1, "comment": canary}
    store.http.post("/api/public/scores", json=score | {"traceId": TRACE})
    store.http.post("/api/public/scores", json={**score, "id": "kept", "traceId": other})
    files = list(store.tables.path.parent.iterdir())
    assert any(canary.encode() in path.read_bytes() for path in files)
    assert store.http.delete("/api/public/scores/kept").status_code == 202
    response = store.http.request("DELETE", "/api/public/traces", json={"traceIds": [TRACE]})
    assert response.json() == {"message": "Traces deleted successfully"}
    for path in store.tables.path.parent.iterdir():
        assert canary.encode() not in path.read_bytes(), path
    assert [row["traceId"] for row in store.get("v2/observations")["data"]] == [other]
    assert store.http.delete(f"/api/public/traces/{other}").status_code == 200
    assert store.get("v2/observations")["data"] == []


def test_a_newer_schema_is_refused_with_a_next_step(tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(TwinError, match="update llm-twin"):
        TraceTables(path)


def test_traces_are_kept_ninety_days_after_their_start_and_arrival(store: Store) -> None:
    now, day = store.now_ms, 86_400_000
    old, late, new = "1" * 32, "2" * 32, "3" * 32

    def send(trace: str, *, days_ago: int) -> None:
        start = {"startTimeUnixNano": f"{now - days_ago * day}000000"}
        store.post_spans(make_span(int(trace[0]), trace=trace) | start)

    store.now_ms = now - 91 * day
    send(old, days_ago=91)
    store.http.post(
        "/api/public/scores", json={"id": "s", "name": "n", "value": 1.0, "traceId": old}
    )
    store.now_ms = now
    send(late, days_ago=100)  # started long ago, arrives only now, for example from an outbox
    send(new, days_ago=1)
    assert {row["traceId"] for row in store.get("v2/observations")["data"]} == {late, new}
    assert store.get("v3/scores")["data"] == []
