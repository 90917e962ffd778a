"""Test that dataset items and experiment spans in Langfuse are deleted with their post."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.erasure_targets import author_target, post_target
from tests.unit.erasure.test_langfuse_deletion import Answer, make_trace_store_stub
from twin_resources.erasure.trace_store import EXPERIMENT_ITEM
from twin_resources.observability.langfuse.datasets import PAGE_SIZE, held_out_dataset_name
from twin_resources.settings import Settings

DOCUMENT = "document-of-brass-and-oil"
POST = post_target("jane", "p1", ids=[DOCUMENT], authors=frozenset({"jane"}))
AUTHOR = author_target("jane")
ITEMS = [
    {"id": f"i{number}", "input": {"question": "Why?"}, "metadata": {"document_id": f"d{number}"}}
    for number in range(PAGE_SIZE + 1)
] + [{"id": "of-the-post", "input": {"question": "Why?"}, "metadata": {"document_id": DOCUMENT}}]


def simulate_server(items: list[dict[str, Any]], deleted_paths: list[str]) -> Answer:
    """Simulate a server with these dataset items and the span of one experiment."""

    def answer(request: httpx.Request) -> httpx.Response:
        path, parameters = request.url.path, request.url.params
        if request.method == "DELETE":
            trace_ids = json.loads(request.content)["traceIds"] if request.content else [""]
            deleted_paths.extend(f"{path}/{trace_id}".rstrip("/") for trace_id in trace_ids)
            return httpx.Response(200, json={"message": "deleted"})
        if path == "/api/public/dataset-items":
            if parameters["datasetName"] != held_out_dataset_name("jane") or not items:
                return httpx.Response(404, json={"message": "Dataset not found"})
            start = PAGE_SIZE * (int(parameters["page"]) - 1)
            rows = items[start : start + PAGE_SIZE]
            return httpx.Response(200, json={"data": rows, "meta": {"totalItems": len(items)}})
        if parameters.get("name") == EXPERIMENT_ITEM:
            span = {"traceId": "t7", "input": "Why?", "metadata": {"document_id": DOCUMENT}}
            return httpx.Response(200, json={"data": [span], "meta": {}})
        return httpx.Response(200, json={"data": [], "meta": {}})

    return answer


def test_a_posts_item_on_a_later_page_and_its_experiments_trace_are_deleted(home: Settings) -> None:
    deleted_paths: list[str] = []
    traces = make_trace_store_stub(home, simulate_server(ITEMS, deleted_paths))

    assert traces.erase(POST) == 2
    assert deleted_paths == ["/api/public/traces/t7", "/api/public/dataset-items/of-the-post"]
    # The server still returns deleted rows.
    assert traces.find_remaining(POST) == ["trace t7", "dataset item of-the-post"]


def test_erasing_an_author_deletes_every_item(home: Settings) -> None:
    deleted_paths: list[str] = []
    make_trace_store_stub(home, simulate_server(ITEMS, deleted_paths)).erase(AUTHOR)

    assert {path.rsplit("/", 1)[1] for path in deleted_paths if "dataset-items" in path} == {
        item["id"] for item in ITEMS
    }


def test_an_author_without_an_evaluation_has_no_dataset(home: Settings) -> None:
    deleted_paths: list[str] = []
    make_trace_store_stub(home, simulate_server([], deleted_paths)).erase(POST)

    assert deleted_paths == ["/api/public/traces/t7"]
