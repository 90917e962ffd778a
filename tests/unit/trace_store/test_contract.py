"""Test our requests and the trace store's responses against the API that Langfuse publishes.

Langfuse generates the SDK's inner client (paths, parameters, models) from its API definition.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import langfuse.api
import pytest
from langfuse.api import LangfuseAPI
from langfuse.api.core.serialization import convert_and_respect_annotation_metadata
from langfuse.api.scores.types import CreateScoreRequest

from tests.unit.trace_store.conftest import KEYS, Store
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.outbox import QueuedScore
from twin_resources.quality.ledger.list_pages import score_pages, trace_pages

TRACE = f"{7:032x}"
# Not in the definition, but Langfuse accepts it and returns metadata in full.
UNPUBLISHED_PARAMETERS = {"expandMetadata"}


def find_published_requests() -> Iterator[tuple[str, re.Pattern[str], set[str]]]:
    """Yield the method, path and parameters of each request that the generated client can send."""
    for path in Path(langfuse.api.__file__).parent.rglob("raw_client.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                keywords = {word.arg: word.value for word in node.keywords}
                method = keywords.get("method")
                if node.func.attr == "request" and node.args and isinstance(method, ast.Constant):
                    parameters = keywords.get("params")
                    keys = parameters.keys if isinstance(parameters, ast.Dict) else []
                    names = {key.value for key in keys if isinstance(key, ast.Constant)}
                    yield str(method.value), _build_path_pattern(node.args[0]), names


def _build_path_pattern(path: ast.expr) -> re.Pattern[str]:
    if isinstance(path, ast.Constant):
        return re.compile(re.escape(f"/{path.value}"))
    assert isinstance(path, ast.JoinedStr)
    parts = [
        re.escape(str(part.value)) if isinstance(part, ast.Constant) else "[^/]+"
        for part in path.values
    ]
    return re.compile("/" + "".join(parts))


def test_langfuse_publishes_every_request_that_we_send() -> None:
    sent_requests: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        sent_requests.append(request)
        body: dict[str, Any] = {"data": [], "meta": {}, "id": "a", "status": "OK"}
        return httpx.Response(200, json=body)

    http = httpx.Client(base_url="http://langfuse.test", transport=httpx.MockTransport(respond))
    client = LangfuseClient("http://langfuse.test", public_key="", secret_key="", http=http)
    client.health()
    client.projects()
    list(client.observations(type="GENERATION"))
    list(client.scores(trace_id=[TRACE]))
    client.delete_score("a")
    client.delete_traces([TRACE])
    client.delete_dataset_item("a")
    for pages in (score_pages(client), trace_pages(client)):
        pages(0, 1_790_000_000_000, "next")
    trace_pages(client).fetch_traces_by_id([TRACE], 0)

    published_requests = list(find_published_requests())
    assert len(published_requests) > 50
    for request in sent_requests:
        parameters = set(request.url.params) - UNPUBLISHED_PARAMETERS
        matches = [
            names
            for method, pattern, names in published_requests
            if method == request.method and pattern.fullmatch(request.url.path)
        ]
        assert matches, f"{request.method} {request.url.path}"
        assert any(parameters <= names for names in matches), (request.url.path, parameters)


@pytest.mark.parametrize(("value", "data_type"), [(1.0, "NUMERIC"), ("Better so.", "CORRECTION")])
def test_langfuses_client_accepts_our_scores(value: float | str, data_type: str) -> None:
    score = QueuedScore("s", TRACE, "thumbs", value, data_type, metadata={"twin.reader": "r"})
    body = convert_and_respect_annotation_metadata(
        object_=score.body(), annotation=CreateScoreRequest, direction="read"
    )
    request = CreateScoreRequest.model_validate(body, extra="forbid")
    assert (request.id, request.trace_id, request.value) == ("s", TRACE, value)


def test_langfuses_client_reads_the_stores_responses(store: Store) -> None:
    start = {"startTimeUnixNano": "1790000000000000000", "endTimeUnixNano": "1790000001000000000"}
    attributes = {"langfuse.observation.type": "generation", "langfuse.observation.model.name": "m"}
    store.post_spans({"traceId": TRACE, "spanId": f"{1:016x}", "name": "answer", **start,
                      "attributes": attributes})  # fmt: skip
    for name, value, data_type in (
        ("thumbs", 1, "BOOLEAN"), ("stars", 4.5, "NUMERIC"), ("mood", "happy", "CATEGORICAL"),
        ("said", "dry", "TEXT"), ("output", "Better so.", "CORRECTION"),
    ):  # fmt: skip
        body = {"traceId": TRACE, "name": name, "value": value, "dataType": data_type}
        assert store.http.post("/api/public/scores", json=body).status_code == 200
    api = LangfuseAPI(
        base_url=str(store.http.base_url),
        username=KEYS.public,
        password=KEYS.secret,
        httpx_client=store.http,
    )
    all_fields = "core,details,subject,annotation"
    scores = {score.name: score for score in api.scores.get_many(fields=all_fields).data}
    assert {name: score.value for name, score in scores.items()} == {
        "thumbs": True, "stars": 4.5, "mood": "happy", "said": "dry", "output": "Better so."
    }  # fmt: skip
    (row,) = api.observations.get_many(fields="core,basic,time,io,metadata,metrics").data
    assert (row.trace_id, row.type, row.name) == (TRACE, "GENERATION", "answer")
    assert api.health.health().status == "OK"
    assert [project.id for project in api.projects.get().data] == ["twin"]
