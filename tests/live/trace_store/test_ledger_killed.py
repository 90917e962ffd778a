"""Test that the next process completes the ledger if one is killed (kill -9) at any point."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from tests.answer_spans import answer_span, export_spans
from tests.live.trace_store.conftest import PUBLIC_KEY, SECRET_KEY, RunningStore
from tests.settled_rows import settled_rows
from twin_resources.quality.ledger.ledger import Ledger, LedgerRules
from twin_resources.storage.state.state import State

pytestmark = pytest.mark.live
SCORE_COUNT = 1200


def post_scores(store: RunningStore) -> None:
    """Export traces, and post a score for each."""
    now = datetime.now(UTC)
    spans = [answer_span(number, now, author="ann") for number in range(SCORE_COUNT)]
    scores = [
        {
            "id": f"s{number}",
            "traceId": f"{number:032x}",
            "name": "judge:topic@p1",
            "value": (number % 10) / 10,
        }
        for number in range(SCORE_COUNT)
    ]
    with httpx.Client(base_url=store.host, auth=(PUBLIC_KEY, SECRET_KEY), timeout=60) as http:
        export_spans(http, *spans)
        for score in scores:
            assert http.post("/api/public/scores", json=score).status_code == 200


def test_the_next_process_completes_the_ledger_of_a_killed_one(
    tmp_path: Path, store: RunningStore, process_logs: Path
) -> None:
    post_scores(store)
    url = f"sqlite:///{tmp_path / 'state.sqlite'}"
    rng = random.Random(9)
    state = State.open(url)
    command = [sys.executable, "-m", "tests.live.trace_store.ledger_reader", url, store.host]
    for number in range(8):
        with (process_logs / f"reader-{number}.log").open("wb") as log:
            reader = subprocess.Popen(
                [*command, PUBLIC_KEY, SECRET_KEY], stdout=log, stderr=subprocess.STDOUT
            )
        path = process_logs / f"reader-{number}.log"
        deadline = time.monotonic() + 60
        while not path.stat().st_size:
            assert reader.poll() is None, path.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.2))
        os.kill(reader.pid, signal.SIGKILL)
        reader.wait(20)
        with state.read_transaction() as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
    with store.client() as client:
        rules = LedgerRules(requests_per_minute=100_000, lag_s=0, closing="at_once")
        ledger = Ledger(state, client, rules)
        for _ in range(20):
            report = ledger.sync(datetime.now(UTC))
            assert report.problem == ""
            if len(settled_rows(ledger, "ann")) >= SCORE_COUNT:
                break
    values = settled_rows(ledger, "ann")
    assert [value.sequence for value in values] == list(range(1, SCORE_COUNT + 1))
    assert sum(value.value for value in values) == pytest.approx(0.45 * SCORE_COUNT)
    with state.read_transaction() as connection:
        units = connection.execute(text("SELECT COUNT(DISTINCT unit) FROM ledger_settled")).scalar()
    assert units == SCORE_COUNT
    state.close()
