"""Test the trace store's process and client: restarts, keys, ports, paging and failed reads."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.live.trace_store.conftest import PUBLIC_KEY, SECRET_KEY, RunningStore, StartStore
from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
from twin_resources.settings import Settings, load_secrets

pytestmark = pytest.mark.live

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_the_client_writes_paginates_and_deletes(store: RunningStore) -> None:
    with store.client() as client:
        assert client.health()["status"] == "OK"
        assert [project["name"] for project in client.projects()] == ["twin"]
        for number in range(205):
            client.post_score("style", number / 205, trace_id=TRACE, id=f"s-{number:03d}")
        rows = list(client.scores(name=["style"]))
        assert [row["id"] for row in rows] == sorted({row["id"] for row in rows}, reverse=True)
        assert len(rows) == 205
        assert client.post_score("thumbs", True, trace_id=TRACE, metadata={"k": "v"})
        thumbs = next(client.scores(name=["thumbs"]))
        assert (thumbs["dataType"], thumbs["value"]) == ("BOOLEAN", True)
        assert thumbs["metadata"] == {"k": "v"}
        client.delete_score("s-000")
        assert "s-000" not in {row["id"] for row in client.scores()}
        client.delete_traces([TRACE])
        assert list(client.scores(trace_id=[TRACE])) == []


def test_a_failed_read_raises_an_error_instead_of_returning_nothing(store: RunningStore) -> None:
    with LangfuseClient(store.host, public_key="pk-lf-live", secret_key="wrong") as client:
        with pytest.raises(TraceStoreError, match="LANGFUSE_SECRET_KEY") as unauthorized:
            list(client.scores())
        assert unauthorized.value.status == 401
        assert SECRET_KEY not in str(unauthorized.value)
    with store.client() as client:
        with pytest.raises(TraceStoreError, match="no observations") as missing:
            client.trace(TRACE)
        assert missing.value.status == 404
        with pytest.raises(TraceStoreError, match="HTTP 400"):
            client.post_score("", 1, trace_id=TRACE)
        store.process.terminate()
        store.process.wait(timeout=120)
        for read in (client.scores, client.observations):
            with pytest.raises(TraceStoreError, match="does not answer"):
                list(read())


def test_a_trace_is_ordered_by_time_and_depth(store: RunningStore) -> None:
    """Three nested spans start in one millisecond, with ids in the opposite order."""
    ids = ["c" * 16, "b" * 16, "a" * 16]
    times = {"startTimeUnixNano": "1790000000000000000", "endTimeUnixNano": "1790000000000000000"}
    spans = [
        {"traceId": TRACE, "spanId": span_id, "parentSpanId": parent, "name": span_id, **times}
        for span_id, parent in zip(ids, ["", *ids], strict=False)
    ]
    response = httpx.post(
        f"{store.host}/api/public/otel/v1/traces",
        json={"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]},
        auth=(PUBLIC_KEY, SECRET_KEY),
    )
    assert response.status_code == 200
    with store.client() as client:
        assert [span["id"] for span in client.trace(TRACE)["observations"]] == ids


def test_accepted_scores_survive_a_kill(start_store: StartStore) -> None:
    first = start_store()
    with first.client() as client:
        for number in range(20):
            client.post_score("style", number, trace_id=TRACE, id=f"s{number}")
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait(timeout=120)
    with start_store().client() as client:
        assert len(list(client.scores())) == 20


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        module = "twin_resources.observability.trace_store.local_store"
        completed = subprocess.run(
            [sys.executable, "-m", module, "--port", port, "--home", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert completed.returncode == 1
    assert f"127.0.0.1:{port}" in completed.stderr
    assert "TWIN_TRACES_PORT" in completed.stderr
    assert "Traceback" not in completed.stderr


def test_the_settings_determine_the_clients_host(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = LangfuseClient.from_settings(home)
    assert client.host == f"http://127.0.0.1:{home.traces_port}"
    assert load_secrets(home).traces_secret_key not in repr(client)
    monkeypatch.setenv("LANGFUSE_HOST", "https://langfuse.example.org/")
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk")
    from twin_resources.settings import load_settings

    assert LangfuseClient.from_settings(load_settings()).host == "https://langfuse.example.org"
