"""Run the trace store in this process, with a clock that the test sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from twin_resources.observability.trace_store.json_values import parse_timestamp_ms
from twin_resources.observability.trace_store.local_store import Keys, build_app
from twin_resources.observability.trace_store.trace_tables import TraceTables

KEYS = Keys("pk-lf-test", "sk-lf-test")


@dataclass
class Store:
    """A trace store's application, tables and clock."""

    http: TestClient
    tables: TraceTables
    now_ms: int = 1_790_000_000_123

    def set_time(self, moment: str) -> Store:
        """Set the clock, and return the store."""
        self.now_ms = parse_timestamp_ms(moment)
        return self

    def get(self, path: str, **parameters: str) -> Any:
        response = self.http.get(f"/api/public/{path}", params=parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def post_spans(self, *spans: dict[str, Any]) -> None:
        """Export spans as OTLP/JSON; a span may also contain its `scope` and `resource`."""
        for fields in spans:
            span = dict(fields)
            scope = span.pop("scope", {"name": "litellm"})
            scope = scope | {"attributes": encode_attributes(scope.get("attributes", {}))}
            span["attributes"] = encode_attributes(span.get("attributes", {}))
            body = {
                "resourceSpans": [
                    {
                        "resource": {"attributes": encode_attributes(span.pop("resource", {}))},
                        "scopeSpans": [{"scope": scope, "spans": [span]}],
                    }
                ]
            }
            response = self.http.post("/api/public/otel/v1/traces", json=body)
            assert (response.status_code, response.json()) == (200, {})


def encode_attributes(fields: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _encode_value(value)} for name, value in fields.items()]


def _encode_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_encode_value(item) for item in value]}}
    return {"stringValue": value}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    tables = TraceTables(tmp_path / "traces.sqlite")
    stores: list[Store] = []
    app = build_app(tables, keys=KEYS, now_ms=lambda: stores[0].now_ms)
    with TestClient(app) as http:
        http.auth = (KEYS.public, KEYS.secret)
        stores.append(Store(http, tables))
        yield stores[0]
