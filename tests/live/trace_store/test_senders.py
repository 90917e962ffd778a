"""Test the Langfuse SDK as another writer to the trace store.

The SDK runs in a separate interpreter with only the three LANGFUSE_ variables, as at a user's site.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.live.closed_network import run_closed
from tests.live.trace_store.conftest import PUBLIC_KEY, SECRET_KEY, RunningStore

pytestmark = pytest.mark.live

SDK_SCRIPT = """
import os

import httpx
from langfuse import Langfuse, propagate_attributes

client = Langfuse()
http = httpx.Client(
    base_url=os.environ["LANGFUSE_HOST"],
    auth=(os.environ["LANGFUSE_PUBLIC_KEY"], os.environ["LANGFUSE_SECRET_KEY"]),
    trust_env=False,
)
assert client.auth_check()
with propagate_attributes(user_id="reader-7", session_id="s-1", tags=["one"], version="v3"):
    with client.start_as_current_observation(as_type="span", name="request") as span:
        with client.start_as_current_observation(
            as_type="generation", name="answer", model="smollm2",
            input=[{"role": "user", "content": "Why?"}], output="Because.",
            usage_details={"input": 5, "output": 7}, cost_details={"total": 0.001},
            metadata={"twin.version": "v3", "twin.chunks": ",".join(["chunk-0123456789"] * 30)},
        ):
            trace = client.get_current_trace_id()
client.flush()
for score in (
    {"id": "one", "name": "thumbs", "value": 1, "dataType": "BOOLEAN"},
    {"name": "style", "value": 0.25, "comment": "dry"},
):
    http.post("/api/public/scores", json=score | {"traceId": trace}).raise_for_status()
print(trace)
read = client.api.observations.get_many(trace_id=trace, fields="core,basic,usage")
assert {item.name for item in read.data} == {"request", "answer"}, read
scores = client.api.scores.get_many(trace_id=trace).data
assert {score.name for score in scores} == {"thumbs", "style"}, scores
client.shutdown()
"""


def sender_environment(host: str) -> dict[str, str]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return environment | {
        "LANGFUSE_HOST": host,
        "LANGFUSE_PUBLIC_KEY": PUBLIC_KEY,
        "LANGFUSE_SECRET_KEY": SECRET_KEY,
    }


def run_python(code: str, *, environment: Mapping[str, str], log: Path) -> str:
    completed = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    log.write_text(completed.stdout + completed.stderr, encoding="utf-8")
    assert completed.returncode == 0, completed.stderr[-3000:]
    return completed.stdout


def test_the_sdk_writes_and_reads_back(store: RunningStore, process_logs: Path) -> None:
    """Scores are posted one by one: SDK 5 sends an array, which Langfuse 4.16 refuses."""
    output = run_python(
        SDK_SCRIPT, environment=sender_environment(store.host), log=process_logs / "sdk.log"
    )
    trace_id = output.split()[0]
    with store.client() as client:
        trace = client.trace(trace_id)
        scores = {score["name"]: score for score in client.scores(trace_id=[trace_id])}
    request, answer = trace["observations"]
    assert (request["type"], request["name"]) == ("SPAN", "request")
    assert request["isRootObservation"]
    assert (answer["type"], answer["parentObservationId"]) == ("GENERATION", request["id"])
    assert (answer["model"], answer["output"]) == ("smollm2", "Because.")
    assert answer["usageDetails"] == {"input": 5, "output": 7, "total": 12}
    assert (answer["totalCost"], answer["version"]) == (0.001, "v3")
    assert (answer["userId"], answer["sessionId"], answer["tags"]) == ("reader-7", "s-1", ["one"])
    assert trace["metadata"]["twin.version"] == "v3"
    assert trace["metadata"]["twin.chunks"].count("chunk-") == 30  # all 509 characters
    assert (scores["thumbs"]["id"], scores["thumbs"]["value"]) == ("one", True)
    assert (scores["style"]["value"], scores["style"]["comment"]) == (0.25, "dry")


# Marked `long`, because tests/live/whole also checks the store's outgoing packets.
@pytest.mark.long
def test_store_and_sdk_send_no_packet_to_the_outside(tmp_path: Path, process_logs: Path) -> None:
    """The store and the SDK run in a network that has only the loopback interface."""
    script = tmp_path / "together.sh"
    (tmp_path / "sdk.py").write_text(SDK_SCRIPT)
    script.write_text(
        f"""set -eu
"{sys.executable}" -m twin_resources.observability.trace_store.local_store \\
    --port 0 --db "{tmp_path}/t.sqlite" \\
    --home "{tmp_path}" --port-file "{tmp_path}/port" &
store=$!
trap 'kill $store' EXIT
until [ -e "{tmp_path}/port" ]; do sleep 0.1; done
export LANGFUSE_HOST="http://127.0.0.1:$(cat "{tmp_path}/port")"
"{sys.executable}" "{tmp_path}/sdk.py"
"""
    )
    keys = {"TWIN_TRACES_PUBLIC_KEY": PUBLIC_KEY, "TWIN_TRACES_SECRET_KEY": SECRET_KEY}
    run = run_closed(
        ["bash", str(script)],
        log=process_logs / "together.log",
        environment=sender_environment("") | keys,
    )
    assert run.returncode == 0, (process_logs / "together.log").read_text()[-3000:]
    assert (dict(run.attempts), run.sent_packets) == ({}, 0)
