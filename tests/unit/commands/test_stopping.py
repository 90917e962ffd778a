"""How `twin stop` asks Dagster to end its runs: a webserver that answers late, or in part."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from twin_cli.commands.stopping import end_in_order

from twin_resources.processes.dagster_http import DagsterHTTP

RUNS = 3


@contextmanager
def webserver() -> Iterator[str]:
    """It lists three runs, and says that one is canceled once it was asked to cancel all."""
    all_asked = threading.Barrier(RUNS, timeout=60)

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            data: dict[str, Any]
            if "terminateRun" in asked["query"]:
                all_asked.wait()
                data = {"terminateRun": {"__typename": "TerminateRunSuccess"}}
            else:
                row = {"runId": "", "jobName": "retrain_twin", "status": "STARTED", "tags": []}
                row |= {"creationTime": 1.0, "startTime": 2.0, "endTime": None}
                rows = [row | {"runId": f"{number}" * 32} for number in range(RUNS)]
                data = {"runsOrError": {"__typename": "Runs", "results": rows}}
            body = json.dumps({"data": data}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing of it is read."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_runs_are_canceled_at_once_and_not_one_after_another() -> None:
    told: list[str] = []
    with webserver() as url:
        end_in_order(DagsterHTTP(url, timeout_s=60), told.append)
    assert sorted(told) == [f"run {f'{n}' * 8} (retrain_twin) canceled" for n in range(RUNS)]
