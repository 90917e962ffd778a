"""Test the relay with the real store, directly and through a proxy that fails in every way."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.http_server import Response, http_server
from tests.langfuse_answers import LANGFUSE_ANSWERS
from tests.live.trace_store.conftest import PUBLIC_KEY, SECRET_KEY, RunningStore, StartStore
from tests.live.trace_store.failing_proxy import FailingProxy, run_failing_proxy
from tests.unit.trace_store.test_outbox import refused_items
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.client import parse_retry_after_s
from twin_resources.observability.langfuse.connection import TraceStore
from twin_resources.observability.langfuse.outbox import (
    Outbox,
    QueuedItem,
    QueuedScore,
    outbox_path,
)
from twin_resources.observability.langfuse.relay import (
    TRACE_VISIBILITY_DELAY_S,
    Relay,
    Sender,
    hold_relay_lock,
)
from twin_resources.settings import load_settings

pytestmark = pytest.mark.live
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def make_export(trace_id: str = TRACE, span_id: str = "b" * 16) -> bytes:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id = bytes.fromhex(trace_id), bytes.fromhex(span_id)
    span.name, span.start_time_unix_nano = "answer", 1_790_000_000_000_000_000
    span.end_time_unix_nano = span.start_time_unix_nano + 1_000_000
    return gzip.compress(request.SerializeToString(), mtime=0)


def make_scores(count: int, *, value: float = 1.0) -> list[QueuedScore]:
    metadata = {"twin.reader": "r", "twin.at": "2026-11-20T10:00:00.000Z"}
    return [
        QueuedScore(f"s{number:05d}", TRACE, "thumbs", value, metadata=metadata)
        for number in range(count)
    ]


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.sqlite")
    yield outbox
    outbox.close()


@pytest.fixture
def proxy(store: RunningStore) -> Iterator[FailingProxy]:
    with run_failing_proxy(store.host) as failing_proxy:
        yield failing_proxy


def create_relay(host: str, outbox: Outbox, *, secret: str = SECRET_KEY) -> Relay:
    store = TraceStore(host, PUBLIC_KEY, secret, is_embedded=True)
    return Relay(outbox, Sender(store, timeout_s=30.0))


def drain(relay: Relay, *, max_steps: int = 1000) -> list[float]:
    """Send until the outbox is empty; return the requested pauses, without pausing."""
    pauses: list[float] = []
    for _ in range(max_steps):
        if relay.outbox.get_next_item() is None:
            return pauses
        pauses.append(relay.send_next())
    raise AssertionError(f"not empty after {max_steps} steps: {relay.outbox.counts()}")


def test_every_failure_is_retried_and_nothing_is_stored_twice(
    store: RunningStore, proxy: FailingProxy, outbox: Outbox
) -> None:
    proxy.failures = [500, "garbage", "half", "lost", "silence", ("429", 7), 503, 401, 404, 302]
    proxy.failures.append("lost")
    failure_count = len(proxy.failures)
    outbox.put_scores(make_scores(20))
    outbox.put_trace(make_export())
    pauses = [pause for pause in drain(create_relay(proxy.host, outbox)) if pause]
    assert len(pauses) == failure_count
    assert 7.0 in pauses
    assert all(0 < pause <= 30 for pause in pauses)
    with store.client() as client:
        scores = list(client.scores())
        assert sorted(row["id"] for row in scores) == [score.id for score in make_scores(20)]
        assert {row["metadata"]["twin.at"] for row in scores} == {"2026-11-20T10:00:00.000Z"}
        assert len(client.trace(TRACE)["observations"]) == 1
    assert outbox.counts().problem == ""


def test_a_trace_whose_response_was_lost_is_searched_before_it_is_resent(
    store: RunningStore, proxy: FailingProxy, outbox: Outbox
) -> None:
    """Langfuse 4 would keep both copies and count the cost twice."""
    proxy.failures = ["lost", None, 502]
    # A Langfuse on this machine: its address does not make it the embedded store.
    sender = Sender(TraceStore(proxy.host, PUBLIC_KEY, SECRET_KEY))
    outbox.put_trace(make_export())
    pauses = drain(Relay(outbox, sender))
    assert pauses[0] == TRACE_VISIBILITY_DELAY_S
    outbox.put_trace(make_export("d" * 32, "e" * 16))  # not in the store, so it is sent again
    drain(Relay(outbox, sender))
    posts = [path for method, path in proxy.requests if method == "POST"]
    searches = [path for method, path in proxy.requests if method == "GET"]
    assert (len(posts), len(searches)) == (3, 2)
    assert all("fromStartTime=" in path and "toStartTime=" in path for path in searches)
    assert outbox.counts().sent_traces == 2
    with store.client() as client:
        assert len(list(client.observations())) == 2


def test_a_trace_that_langfuse_has_queued_is_sent_once(store: RunningStore, outbox: Outbox) -> None:
    """Langfuse answers an export with its queue's job; each trace was once sent again for ever."""
    with run_failing_proxy(store.host, acknowledges_like_langfuse=True) as proxy:
        for number in range(1, 13):
            outbox.put_trace(make_export(f"{number:032x}", f"{number:016x}"))
        sender = Sender(TraceStore(proxy.host, PUBLIC_KEY, SECRET_KEY))
        assert drain(Relay(outbox, sender)) == [0.0] * 12
        assert [method for method, _ in proxy.requests] == ["POST"] * 12
    assert (outbox.counts().sent_traces, outbox.counts().problem) == (12, "")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (LANGFUSE_ANSWERS["export"]["response"], "accepted"),
        (LANGFUSE_ANSWERS["export-empty"]["response"], "accepted"),
        ({"partialSuccess": {}}, "accepted"),
        ({"partialSuccess": {"rejectedSpans": "0", "errorMessage": "slow"}}, "accepted"),
        ({"partialSuccess": {"rejectedSpans": "1", "errorMessage": "no"}}, "refused"),
        ([], "retry"),
    ],
)
def test_only_rejected_spans_make_a_200_a_failure(body: object, status: str) -> None:
    with http_server(lambda _request: Response(body)) as host:
        sender = Sender(TraceStore(host, PUBLIC_KEY, SECRET_KEY))
        assert sender.send(QueuedItem(1, "trace", "t", 0, make_export())).status == status
        sender.close()


def test_a_vote_that_changed_after_a_lost_response_has_its_last_value(
    store: RunningStore, proxy: FailingProxy, outbox: Outbox
) -> None:
    proxy.failures = ["lost"]
    relay = create_relay(proxy.host, outbox)
    outbox.put_scores(make_scores(1, value=1.0))
    assert relay.send_next() > 0
    outbox.put_scores(make_scores(1, value=0.0))
    drain(relay)
    with store.client() as client:
        assert [row["value"] for row in client.scores()] == [0]


def test_a_score_that_the_server_rejects_is_set_aside(store: RunningStore, outbox: Outbox) -> None:
    outbox.put_scores([QueuedScore("bad", "", "thumbs", 1.0), *make_scores(2)])
    drain(create_relay(store.host, outbox))
    [(kind, item_id, reason)] = refused_items(outbox)
    assert (kind, item_id) == ("score", "bad")
    assert "HTTP 400" in reason
    with store.client() as client:
        assert len(list(client.scores())) == 2


def test_a_wrong_key_keeps_the_outbox(store: RunningStore, outbox: Outbox) -> None:
    outbox.put_scores(make_scores(2))
    relay = create_relay(store.host, outbox, secret="wrong")
    assert relay.send_next() > 0
    counts = outbox.counts()
    assert (counts.scores, counts.refused) == (2, 0)
    assert "HTTP 401" in counts.problem
    assert SECRET_KEY not in counts.problem
    drain(create_relay(store.host, outbox))
    assert outbox.counts().sent_scores == 2


def test_both_forms_of_retry_after_are_parsed() -> None:
    now = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    assert parse_retry_after_s("30", now=now) == 30
    assert parse_retry_after_s("Fri, 20 Nov 2026 12:02:00 GMT", now=now) == 120
    assert parse_retry_after_s("Fri, 20 Nov 2026 11:00:00 GMT", now=now) == 0
    assert parse_retry_after_s("999999", now=now) == 3600
    assert parse_retry_after_s("soon", now=now) is None
    assert parse_retry_after_s("", now=now) is None


def test_an_outbox_has_only_one_relay(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    with (
        hold_relay_lock(path),
        pytest.raises(TwinError, match="another relay"),
        hold_relay_lock(path),
    ):
        raise AssertionError("two relays hold one outbox")
    with hold_relay_lock(path):
        assert path.with_suffix(".lock").exists()


def start_relay(home: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TWIN_", "LANGFUSE_"))
    }
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "twin_resources.observability.langfuse.relay", f"--home={home}"],
            env=environment | {"TWIN_TRACES_PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def test_killed_relays_lose_nothing_and_sigterm_ends_the_last(
    tmp_path: Path, start_store: StartStore, process_logs: Path
) -> None:
    """Three relays are killed while they send; SIGTERM ends the fourth."""
    store = start_store()
    home = tmp_path / "home"
    home.mkdir()
    keys = {
        "gateway_master_key": "m",
        "gateway_key": "g",
        "traces_public_key": PUBLIC_KEY,
        "traces_secret_key": SECRET_KEY,
    }
    (home / "secrets.json").write_text(json.dumps(keys))
    outbox = Outbox(outbox_path(load_settings(home)))
    port = int(store.host.rsplit(":", 1)[1])
    score_count = 600
    for number in range(3):
        outbox.put_scores(make_scores(score_count)[number * 200 : (number + 1) * 200])
        relay = start_relay(home, port, process_logs / "relay.log")
        sent_before = outbox.counts().sent_scores
        deadline = time.monotonic() + 60
        while outbox.counts().sent_scores < sent_before + 20:
            assert relay.poll() is None
            assert time.monotonic() < deadline, "the relay sends nothing"
            time.sleep(0.01)
        os.kill(relay.pid, signal.SIGKILL)
        relay.wait(20)
    relay = start_relay(home, port, process_logs / "relay.log")
    deadline = time.monotonic() + 60
    while outbox.counts().scores:
        assert relay.poll() is None
        assert time.monotonic() < deadline, outbox.counts()
        time.sleep(0.05)
    relay.terminate()
    assert relay.wait(20) == 0
    with store.client() as client:
        ids = [row["id"] for row in client.scores()]
    assert len(ids) == len(set(ids)) == score_count
