"""Test the erasure from both trace stores: the embedded file, and Langfuse through its API."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient

from tests.answer_spans import export_spans
from tests.erasure_targets import author_target, post_target, reader_target
from tests.graph.erasure.conftest import KEYS
from tests.graph.erasure.spans import AUTHOR, make_span, make_vote
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.trace_store import EmbeddedTraces, LangfuseTraces
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.trace_store.local_store import build_app
from twin_resources.observability.trace_store.trace_tables import TraceTables
from twin_resources.settings import Settings

READER, OTHER = "0123456789abcdef", "fedcba9876543210"
PASSAGE = "In March the old clock of my uncle stopped for good at a quarter past nine."


@pytest.fixture
def http(home: Settings) -> Iterator[TestClient]:
    """Store three answers: 1 to the reader, 2 with the passage; both readers voted on each."""
    with TestClient(build_app(TraceTables(home.home / "traces.sqlite"), keys=KEYS)) as http:
        http.auth = (KEYS.public, KEYS.secret)
        now = datetime.now(UTC)
        for number, reader, passage in ((1, READER, "x"), (2, OTHER, PASSAGE), (3, OTHER, "y")):
            texts = {"question": f"Question number {number}?", "passage": passage}
            span = make_span(number, reader=reader, chunk=f"chunk-{number}", at=now, **texts)
            export_spans(http, span)
            for voter in (READER, OTHER):
                body = make_vote(number, voter, 1.0).body()
                assert http.post("/api/public/scores", json=body).status_code == 200
        yield http


@pytest.fixture(params=["file", "api"])
def trace_store(
    request: pytest.FixtureRequest, home: Settings, http: TestClient
) -> EmbeddedTraces | LangfuseTraces:
    installation = Installation.for_settings(home)
    if request.param == "file":
        return EmbeddedTraces(installation)
    client = LangfuseClient("http://testserver", public_key="", secret_key="", http=http)
    return LangfuseTraces(installation, client)


def read_traces_and_scores(http: TestClient) -> tuple[list[int], list[tuple[int, str]]]:
    """Return the traces, and (trace, reader) of each score."""
    client = LangfuseClient("http://testserver", public_key="", secret_key="", http=http)
    traces = sorted(int(observation["traceId"], 16) for observation in client.observations())
    scores = [
        (int(score["subject"]["id"], 16), score["metadata"]["twin.reader"])
        for score in client.scores()
    ]
    return traces, sorted(scores)


def get_expected_count(
    trace_store: EmbeddedTraces | LangfuseTraces, *, rows: int, requests: int
) -> int:
    """Return the expected count: rows in the file, or requests to Langfuse (scores included)."""
    return rows if isinstance(trace_store, EmbeddedTraces) else requests


def test_erasing_a_reader_deletes_the_readers_traces_and_scores(
    trace_store: EmbeddedTraces | LangfuseTraces, http: TestClient
) -> None:
    target = reader_target(READER)
    assert trace_store.find_remaining(target)
    assert trace_store.erase(target) == get_expected_count(trace_store, rows=5, requests=3)
    assert trace_store.find_remaining(target) == []
    assert read_traces_and_scores(http) == ([2, 3], [(2, OTHER), (3, OTHER)])
    assert trace_store.erase(target) == 0


def test_erasing_a_post_deletes_the_traces_that_showed_it(
    trace_store: EmbeddedTraces | LangfuseTraces, http: TestClient
) -> None:
    target = post_target(AUTHOR, "p.md", PASSAGE)
    assert trace_store.erase(target) == get_expected_count(trace_store, rows=3, requests=1)
    assert trace_store.find_remaining(target) == []
    assert read_traces_and_scores(http)[0] == [1, 3]


def test_erasing_an_author_deletes_every_trace_of_the_twin(
    trace_store: EmbeddedTraces | LangfuseTraces, http: TestClient
) -> None:
    target = author_target(AUTHOR)
    assert trace_store.erase(target) == get_expected_count(trace_store, rows=9, requests=3)
    assert trace_store.find_remaining(target) == []
    assert read_traces_and_scores(http) == ([], [])
