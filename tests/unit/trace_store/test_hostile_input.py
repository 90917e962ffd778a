"""Test that no posted or damaged row makes the trace store's other rows unreadable."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.trace_store.conftest import Store

GOOD_SCORE = {"id": "good", "name": "vote", "value": 1, "traceId": "t1"}
_SPAN = {"traceId": "0" * 31 + "1", "spanId": "0" * 15 + "1", "name": "answer"}


def _score(**fields: str) -> bytes:
    """Return a score as JSON; the values of `fields` are JSON."""
    document = {name: json.dumps(value) for name, value in (GOOD_SCORE | {"id": "bad"}).items()}
    body = ", ".join(f'"{name}": {value}' for name, value in (document | fields).items())
    return f"{{{body}}}".encode()


# A body, and whether Langfuse's format allows it.
SCORES: dict[str, tuple[bytes, bool]] = {
    "NaN": (_score(value="NaN"), False),
    "1e999": (_score(value="1e999"), False),
    "-Infinity": (_score(value="-Infinity"), False),
    "an integer of 400 digits": (_score(value="9" * 400), False),
    "half of a pair as the id": (_score(id='"\\ud800"'), False),
    "half of a pair in the comment": (_score(comment='"\\udfff"'), False),
    "NaN in the metadata": (_score(metadata='{"a": NaN}'), False),
    "deep metadata": (_score(metadata="[" * 3000 + "]" * 3000), False),
    "a list of them": (b"[" + _score(value="1e999") + b"]", False),
    "deep JSON": (b"[" * 100_000 + b"]" * 100_000, False),
    "a NUL in the comment": (_score(comment='"\\u0000"'), True),
    "a pair's escape as text": (_score(metadata='{"a": "\\"\\\\ud800\\""}'), True),
    "deep JSON as text": (_score(metadata=json.dumps({"a": "[" * 3000 + "]" * 3000})), True),
    "NaN as text": (_score(metadata='{"a": "NaN", "b": "1e999"}'), True),
}


@pytest.mark.parametrize("name", SCORES)
def test_a_hostile_score_hides_no_other(store: Store, name: str) -> None:
    body, is_accepted = SCORES[name]
    assert store.http.post("/api/public/scores", json=GOOD_SCORE).status_code == 200
    response = store.http.post("/api/public/scores", content=body)
    assert response.status_code == (200 if is_accepted else 400), response.text
    rows = store.get("v3/scores", fields="core,details,subject,annotation")["data"]
    assert {row["id"] for row in rows} == ({"good", "bad"} if is_accepted else {"good"})


ATTRIBUTES: dict[str, dict[str, Any]] = {
    "usage that overflows": {"langfuse.observation.usage_details": '{"input": 1e999, "output": 2}'},
    "usage NaN": {"langfuse.observation.usage_details": '{"input": NaN}'},
    "cost as text": {"langfuse.observation.cost_details": '{"input": "inf", "total": "nan"}'},
    "parameters NaN": {"langfuse.observation.model.parameters": '{"temperature": NaN}'},
    "parameters nested": {"langfuse.observation.model.parameters": '{"a":' * 999 + "1" + "}" * 999},
    "parameters with half of a pair": {"langfuse.observation.model.parameters": '{"a": "\\ud800"}'},
    "a prompt's version as text": {"langfuse.observation.prompt.version": "newest"},
    "a prompt's large version": {"langfuse.observation.prompt.version": "9" * 30},
    "a completion in the year 1": {
        "langfuse.observation.completion_start_time": "0001-01-01T00:00:00+14:00"
    },
    "deep metadata": {"langfuse.observation.metadata.a": "[" * 3000 + "]" * 3000},
    "metadata with half of a pair": {"langfuse.observation.metadata.a": '"\\ud800"'},
    "deep tags": {"langfuse.trace.tags": "[" * 3000},
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_hostile_span_hides_no_other(store: Store, name: str) -> None:
    kind = {"langfuse.observation.type": "generation"}
    store.post_spans(_SPAN | {"attributes": kind})
    store.post_spans(_SPAN | {"spanId": "0" * 15 + "2", "attributes": kind | ATTRIBUTES[name]})
    fields = "core,basic,time,io,metadata,model,usage,prompt,metrics,trace_context"
    rows = store.get("v2/observations", fields=fields, expandMetadata="a")["data"]
    assert len(rows) == 2
    [hostile_row] = [row for row in rows if row["id"].endswith("2")]
    assert hostile_row["inputUsage"] in (0, None), "only a finite number is a count"


@pytest.mark.parametrize("path", ["otel/v1/traces", "scores", "traces"])
@pytest.mark.parametrize("body", [b'{"\\ud800": 1}', b"[" * 5000, b'{"a": NaN}'])
def test_a_body_that_is_not_json_is_a_400(store: Store, path: str, body: bytes) -> None:
    method = "DELETE" if path == "traces" else "POST"
    headers = {"content-type": "application/json"}
    response = store.http.request(method, f"/api/public/{path}", content=body, headers=headers)
    assert response.status_code == 400, response.text


@pytest.mark.parametrize(
    ("column", "value"),
    [("value", None), ("value", float("inf")), ("value", "much"), ("metadata", "{"),
     ("metadata", '{"a": "\\ud800"}')],
)  # fmt: skip
def test_a_damaged_row_is_left_out_and_named(store: Store, column: str, value: object) -> None:
    for number in range(7):
        store.http.post("/api/public/scores", json=GOOD_SCORE | {"id": f"s{number}"})
    connection = store.tables._connection()
    damaged_ids = ["s2", "s3", "s6"]  # two at a page's end, and one alone on its page
    for identity in damaged_ids:
        connection.execute(f"UPDATE scores SET {column} = ? WHERE id = ?", (value, identity))
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(10):
        page = store.get("v3/scores", limit="2", fields="core,details", **cursor)
        seen += [row["id"] for row in page["data"]]
        if "cursor" not in page["meta"]:
            break
        cursor = {"cursor": page["meta"]["cursor"]}
    assert sorted(seen) == ["s0", "s1", "s4", "s5"]
    health = store.get("health")
    assert health["unreadableRows"] == [f"score {identity}" for identity in damaged_ids]
