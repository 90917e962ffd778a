"""Test that `twin stop` cancels Dagster's runs in parallel."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twin_cli.commands.stopping import cancel_runs

from tests.http_server import Request, Response, http_server
from twin_resources.processes.dagster_http import DagsterHTTP

RUN_COUNT = 3


@contextmanager
def serve_runs() -> Iterator[str]:
    """Serve three runs; no cancellation succeeds before all three have been requested."""
    all_requested = threading.Barrier(RUN_COUNT, timeout=60)

    def respond(request: Request) -> Response:
        data: dict[str, Any]
        if "terminateRun" in request.document["query"]:
            all_requested.wait()
            data = {"terminateRun": {"__typename": "TerminateRunSuccess"}}
        else:
            row = {"runId": "", "jobName": "retrain_twin", "status": "STARTED", "tags": []}
            row |= {"creationTime": 1.0, "startTime": 2.0, "endTime": None}
            rows = [row | {"runId": f"{number}" * 32} for number in range(RUN_COUNT)]
            data = {"runsOrError": {"__typename": "Runs", "results": rows}}
        return Response({"data": data})

    with http_server(respond) as url:
        yield url


def test_all_runs_are_canceled_in_parallel() -> None:
    messages: list[str] = []
    with serve_runs() as url:
        cancel_runs(DagsterHTTP(url, timeout_s=60), messages.append)
    assert sorted(messages) == [
        f"run {f'{n}' * 8} (retrain_twin) canceled" for n in range(RUN_COUNT)
    ]
