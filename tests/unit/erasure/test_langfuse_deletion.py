"""Test the deletion requests to Langfuse, and the manual step that reports them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.erasure_targets import reader_target
from twin_resources.erasure import journal
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.manual_steps import list_manual_steps
from twin_resources.erasure.trace_store import LangfuseTraces
from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
from twin_resources.settings import Settings

READER = "0123456789abcdef"
ERASED_READER = reader_target(READER, traces=["t1"])
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def recording(shared_data: Path) -> dict[str, Any]:
    """Return the request that deletes a score and the response that Langfuse 4.16.0 gave."""
    return json.loads((shared_data / "langfuse-golden" / "delete-score.json").read_text())


def make_trace_store_stub(
    home: Settings, answer: Answer, wait: Callable[[float], object] | None = None
) -> LangfuseTraces:
    """Return the trace store of a simulated server, because Langfuse cannot run here."""
    http = httpx.Client(base_url="http://langfuse.test", transport=httpx.MockTransport(answer))
    host = "http://langfuse.test"
    client = LangfuseClient(host, public_key="", secret_key="", http=http, wait=wait)
    return LangfuseTraces(Installation.for_settings(home), client)


def make_answer(
    recording: dict[str, Any], deleted_paths: list[str], *, traces_status: int
) -> Answer:
    """Simulate a server with one score; it answers a deletion of traces with `traces_status`."""
    score_id = recording["request"]["url"].rsplit("/", 1)[1]

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "DELETE":
            deleted_paths.append(path)
            if path == "/api/public/traces":
                return httpx.Response(traces_status, json={"message": "about a trace"})
            assert path == recording["request"]["url"]
            return httpx.Response(recording["status"], json=recording["response"])
        scores = [{"id": score_id, "metadata": {"twin.reader": READER}}] if "scores" in path else []
        return httpx.Response(200, json={"data": scores, "meta": {}})

    return answer


def test_a_refused_deletion_is_an_error(home: Settings, recording: dict[str, Any]) -> None:
    with pytest.raises(TraceStoreError, match="403"):
        make_trace_store_stub(home, make_answer(recording, [], traces_status=403)).erase(
            ERASED_READER
        )


@pytest.mark.parametrize("status", [200, 404])
def test_deletions_match_the_recording_and_remaining_rows_are_reported(
    home: Settings, recording: dict[str, Any], status: int
) -> None:
    deleted_paths: list[str] = []
    store = make_trace_store_stub(home, make_answer(recording, deleted_paths, traces_status=status))
    assert store.erase(ERASED_READER) == 2
    assert deleted_paths == ["/api/public/traces", recording["request"]["url"]]
    # The status 202 means queued, so the score is still returned.
    assert recording["status"] == 202
    remaining = store.find_remaining(ERASED_READER)
    assert [location.split()[0] for location in remaining] == ["score"]
    keys = {"langfuse_public_key": "pk", "langfuse_secret_key": "sk"}
    settings = home.model_copy(update={"langfuse_host": "http://langfuse.test", **keys})
    steps = list_manual_steps(
        replace(store.installation, settings=settings), ERASED_READER, asked_at=0.0,
        remaining_locations=remaining, accepted_at=[86_400.0, 0.0],
    )  # fmt: skip
    [langfuse] = [step for step in steps if step.what.startswith("Langfuse")]
    assert (
        "run in the background: 2 accepted from 1970-01-01 to 1970-01-02 (1 traces and "
        "scores were still returned)"
    ) in langfuse.how
    assert langfuse.deadline == "1970-01-31"
    assert "Search it again after a day" in langfuse.how


@pytest.mark.parametrize(
    ("fields", "trace_count"),
    [
        ({"userId": READER}, 1),
        ({"metadata": {"twin.reader": READER}}, 1),
        ({"userId": "", "metadata": json.dumps({"twin.reader": READER})}, 1),
        ({"userId": None}, 0),
    ],
)
def test_a_trace_belongs_to_its_user_or_to_the_reader_in_its_metadata(
    home: Settings, fields: dict[str, Any], trace_count: int
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        matches = "observations" in request.url.path and "type=GENERATION" in str(request.url)
        rows = [{"id": "o1", "traceId": "t7", "type": "GENERATION", **fields}] if matches else []
        return httpx.Response(200, json={"data": rows, "meta": {}})

    target = reader_target(READER)
    store = make_trace_store_stub(home, answer)
    assert store.find_remaining(target) == ["trace t7"] * trace_count
    assert store.erase(target) == trace_count


def test_each_deletion_is_sent_once_despite_a_daily_quota(home: Settings) -> None:
    """Langfuse Cloud accepts 50 to 1,000 deletions a day. A retry must not repeat accepted ones."""
    deleted_paths: list[str] = []
    remaining_quota = [2]
    scores = [{"id": f"s{number}", "metadata": {"twin.reader": READER}} for number in range(5)]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method != "DELETE":  # deleted rows are still returned for a while
            rows = scores if "scores" in request.url.path else []
            return httpx.Response(200, json={"data": rows, "meta": {}})
        if not remaining_quota[0]:
            return httpx.Response(429, headers={"retry-after": "7200"}, json={})
        remaining_quota[0] -= 1
        deleted_paths.append(request.url.path.rsplit("/", 1)[1])
        return httpx.Response(202, json={"message": "queued"})

    store = replace(make_trace_store_stub(home, answer), request=7)
    state = store.installation.state
    for _ in range(2):
        with pytest.raises(TraceStoreError, match="429"):
            store.erase(ERASED_READER)
        remaining_quota[0] = 3
    assert store.erase(ERASED_READER) == 1
    assert deleted_paths == ["traces", *(f"s{number}" for number in range(5))]
    requested_at = journal.read_requested_deletions(state, 7)
    assert len(requested_at) == 7
    assert requested_at[journal.POSTPONED] >= min(requested_at.values())
    journal.close_request(state, 7, "certificate-7.json")
    assert journal.read_requested_deletions(state, 7) == {}


def test_1200_traces_are_deleted_in_three_calls(home: Settings) -> None:
    """Langfuse Cloud allows 50 to 1,000 deletions a day, too few for single deletions."""
    calls: list[list[str]] = []
    traces = [f"t{number:04}" for number in range(1_200)]
    scores = [{"id": f"s{trace}", "subject": {"kind": "trace", "id": trace}} for trace in traces]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            assert request.url.path == "/api/public/traces"
            calls.append(json.loads(request.content)["traceIds"])
            return httpx.Response(200, json={"message": "queued"})
        rows = scores if "scores" in request.url.path else []
        return httpx.Response(200, json={"data": rows, "meta": {}})

    assert make_trace_store_stub(home, answer).erase(reader_target(READER, traces=traces)) == 1_200
    assert [len(call) for call in calls] == [500, 500, 200]
    assert sorted(name for call in calls for name in call) == traces


def test_each_deletion_is_sent_once_despite_a_rate_limit(
    home: Settings, recording: dict[str, Any]
) -> None:
    """Langfuse Cloud accepts 30 calls a minute per organization; an erasure needs more."""
    deleted_paths: list[str] = []
    waits: list[float] = []
    calls_left = [3]
    answer = make_answer(recording, deleted_paths, traces_status=200)

    def answer_within_limit(request: httpx.Request) -> httpx.Response:
        if not calls_left[0]:
            return httpx.Response(429, headers={"retry-after": "20"}, json={"message": "slow"})
        calls_left[0] -= 1
        return answer(request)

    def wait(seconds: float) -> None:
        waits.append(seconds)
        calls_left[0] = 3

    make_trace_store_stub(home, answer_within_limit, wait).erase(ERASED_READER)

    assert set(waits) == {20.0}
    assert len(deleted_paths) == len(set(deleted_paths))
    assert recording["request"]["url"] in deleted_paths

    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"retry-after": "1500"}, json={})

    waits.clear()
    with pytest.raises(TraceStoreError, match="429"):
        make_trace_store_stub(home, refuse, wait).erase(ERASED_READER)
    assert waits == [1500.0, 1500.0], "the erasure waited too long"
