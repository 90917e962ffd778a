"""Test feedback with a running gateway: from a vote to the ledger, with killed processes."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from twin_cli.commands.answer_history import run_feedback
from twin_cli.commands.console import make_console
from twin_cli.commands.questions import run_ask

from tests.json_examples import read_json_example, shape
from tests.live.gateway.feedback_load import FeedbackLoad, feedback_load, wait_for_votes
from tests.live.gateway.stack import Stack, stop_process
from twin_resources.errors import TwinError
from twin_resources.gateway.hooks.trace_logger import (
    COST,
    LATENCY,
    QUOTATIONS,
    QUOTE_SCORE,
    QUOTE_THRESHOLD,
)
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.outbox import Outbox, outbox_path
from twin_resources.processes.endpoints import Endpoints, write_endpoints
from twin_resources.quality.ledger.ledger import Ledger, LedgerRules
from twin_resources.settings import load_secrets
from twin_resources.storage.state.home_state import open_home_state

pytestmark = pytest.mark.live
MEASURED_SCORES = {LATENCY, COST, QUOTE_SCORE, QUOTE_THRESHOLD, QUOTATIONS}
BODY: dict[str, Any] = {
    "model": "twin/ann@voice",
    "messages": [{"role": "user", "content": "How much oil does a clock need?"}],
    "max_tokens": 8,
}


def post_feedback(stack: Stack, key: str = "", **body: Any) -> httpx.Response:
    return httpx.post(
        f"{stack.url}/twin/feedback",
        json=body,
        headers={"Authorization": f"Bearer {key or stack.key}"},
        trust_env=False,
        timeout=30,
    )


def wait_for_scores(stack: Stack, trace_id: str, count: int) -> list[dict[str, Any]]:
    with LangfuseClient.from_settings(stack.settings) as client:
        stack.wait(lambda: len(list(client.scores(trace_id=[trace_id]))) >= count)
        return list(client.scores(trace_id=[trace_id]))


def test_votes_edits_and_measurements_reach_the_ledger(stack: Stack) -> None:
    trace_id = stack.post(BODY).headers["x-twin-trace-id"]
    for body in ({"thumb": "up"}, {"thumb": "up"}, {"thumb": "down", "edit": "One drop."}):
        answer = post_feedback(stack, trace_id=trace_id, **body)
        assert answer.status_code == 200, answer.text
    admin_key = load_secrets(stack.settings).gateway_master_key
    assert (
        post_feedback(stack, admin_key, trace_id=trace_id, score=0.75, reader="x").status_code
        == 200
    )
    scores = wait_for_scores(stack, trace_id, 3 + len(MEASURED_SCORES))
    reader_scores = {
        (row["name"], row["value"]) for row in scores if row["environment"] == "default"
    }
    assert reader_scores == {("thumbs", 0), ("thumbs", 0.75), ("output", "One drop.")}
    measured_scores = {
        row["name"]: row["value"] for row in scores if row["environment"] == "measured"
    }
    assert set(measured_scores) == MEASURED_SCORES
    assert measured_scores["latency_s"] > 0
    assert measured_scores["cost_usd"] > 0
    state = open_home_state(stack.settings)
    with LangfuseClient.from_settings(stack.settings) as client:
        ledger = Ledger(state, client, LedgerRules(lag_s=0, requests_per_minute=600))
        report = ledger.sync(datetime.now(UTC))
        assert report.problem == ""
        row = ledger.interactions("ann").filter(trace_id=trace_id).to_dicts()[0]
    assert (row["votes"], row["vote"], row["edit"]) == (2, 0.375, "One drop.")
    assert row["question"] == "How much oil does a clock need?"
    assert row["chunk_ids"]
    state.close()


def test_the_command_sends_the_same_feedback_as_a_reader(stack: Stack) -> None:
    settings, secrets = stack.settings, load_secrets(stack.settings)
    write_endpoints(
        Endpoints(
            home=str(settings.home), dagster="", gateway=f"{stack.url}/v1",
            gateway_key=secrets.gateway_key, models=(), traces="", traces_public_key="",
            traces_secret_key="", logs="", pids={},
        )
    )  # fmt: skip
    trace_id = stack.post(BODY).headers["x-twin-trace-id"]
    console = make_console()
    with console.capture() as printed:
        run_feedback(
            settings, trace_id, up=True, down=False, score=None, edit="No.", console=console
        )
    assert f"vote and edit on trace {trace_id}" in printed.get().replace("\n", " ")
    wait_for_scores(stack, trace_id, 2)
    with console.capture() as printed:
        run_ask(
            settings, "How much oil does a clock need?", author="", model="twin/ann@voice",
            stream=False, as_json=True, console=console,
        )  # fmt: skip
    answer = json.loads(printed.get())
    assert set(answer) == set(read_json_example("ask"))
    assert set(read_json_example("ask")["sources"][0]) <= set(answer["sources"][0])
    assert answer["text"]
    assert answer["cost_usd"] > 0
    with console.capture() as printed:
        run_feedback(
            settings, answer["trace_id"], up=True, down=False, score=None, edit="", console=console,
            as_json=True,
        )  # fmt: skip
    receipt = json.loads(printed.get())
    assert shape(receipt) == shape(read_json_example("feedback"))
    assert receipt["stored"][0]["name"] == "thumbs"
    with pytest.raises(TwinError, match="send a number from 0 to 1"):
        run_feedback(settings, trace_id, up=False, down=False, score=7, edit="", console=console)


def describe_load(load: FeedbackLoad, kills: int) -> str:
    return (
        f"{kills} kills, {len(load.seconds)} posts, {len(load.acknowledged)} votes; posting "
        f"p50 {load.quantile_ms(0.5):.1f} ms, p99 {load.quantile_ms(0.99):.1f} ms, "
        f"max {load.quantile_ms(1.0):.1f} ms"
    )


@pytest.mark.parametrize(
    ("kills", "seconds"), [(3, 6), pytest.param(20, 120, marks=pytest.mark.long)]
)
@pytest.mark.timeout(1200)
def test_kills_of_the_trace_store_lose_repeat_and_delay_no_feedback(
    stack: Stack, kills: int, seconds: float
) -> None:
    """The store is killed at random times (fixed seed) while feedback is posted."""
    rng, outages = random.Random(50), list[tuple[float, float]]()
    with feedback_load(stack) as load:
        for _ in range(kills):
            time.sleep(seconds / kills * rng.uniform(0.2, 0.8))
            assert stack.traces is not None
            killed_s = time.monotonic()
            stack.traces.send_signal(signal.SIGKILL)
            stack.traces.wait(10)
            time.sleep(seconds / kills * rng.uniform(0.0, 0.2))
            stack.start_traces()
            outages.append((killed_s, time.monotonic()))
    require_all_votes(stack, load)
    sys.stderr.write(describe_load(load, kills) + "\n")
    assert load.failed_count == 0
    # Other tests on the same cores delay posts at any time, so only the medians are compared; the
    # benchmark measures the tail.
    during_outage, otherwise = load.medians_ms(outages)
    assert during_outage < max(50.0, 2 * otherwise), (during_outage, otherwise)


def require_all_votes(stack: Stack, load: FeedbackLoad) -> None:
    votes = wait_for_votes(stack, load)
    assert len(votes) == len(dict(votes)), "a vote is stored twice"
    lost_votes = load.acknowledged.keys() - dict(votes)
    assert not lost_votes, f"{len(lost_votes)} of {len(load.acknowledged)} lost"
    assert load.acknowledged.items() <= dict(votes).items()
    assert len(load.acknowledged) > 50
    stack.wait(lambda: count_waiting_scores(stack) == 0)


def count_waiting_scores(stack: Stack) -> int:
    outbox = Outbox(outbox_path(stack.settings))
    try:
        return outbox.counts().scores
    finally:
        outbox.close()


@pytest.fixture
def restarted_stack(stack: Stack) -> Iterator[Stack]:
    yield stack
    if stack.relay is None or stack.relay.poll() is not None:
        stack.start_relay()
    if stack.gateway is None or stack.gateway.poll() is not None:
        stack.start_gateway()


# the quick suite kills the gateway here and terminates it in `test_breaker.py`
@pytest.mark.parametrize(
    "signum", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL]
)
def test_a_restart_of_the_gateway_loses_no_feedback(restarted_stack: Stack, signum: int) -> None:
    stack = restarted_stack
    # Nothing leaves the outbox until all processes run again; a relay without a store would retry
    # only after half a minute.
    stop_process(stack.relay)
    with feedback_load(stack) as load:
        time.sleep(2)
        assert stack.gateway is not None
        worker = stack.worker().pid
        stack.gateway.send_signal(signum)
        stack.gateway.wait(30)
        if signum == signal.SIGKILL:
            os.kill(worker, signal.SIGKILL)
        stack.start_gateway()
        time.sleep(2)
    stack.start_relay()
    require_all_votes(stack, load)


def test_a_full_outbox_is_reported_and_answers_continue(stack: Stack) -> None:
    """On a full disk, the file cannot grow: feedback gets status 503, and answers report it."""
    path = outbox_path(stack.settings)
    blocker = Outbox(path)
    with blocker._write_transaction("hold the only write lock"):  # pyright: ignore[reportPrivateUsage]
        response = post_feedback(stack, trace_id="1" * 32, thumb="up")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "outbox_broken")
        assert stack.post(BODY).status_code == 200
    blocker.close()
    assert post_feedback(stack, trace_id="1" * 32, thumb="up").status_code == 200
