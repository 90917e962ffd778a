"""The ledger and feedback: a tick over a large ledger, and posting while the trace store is killed.

Belongs here: rows for `bench_loop.py`. Does not belong here: the tests that assert the same
(`tests/unit/ledger`, `tests/live/gateway/test_gateway_feedback.py`).
Trace store, relay and gateway are real processes; CPU seconds are those of the ledger's process.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.bench.retraining.rows import Form, Row, row
from tests.free_ports import free_port
from tests.live.gateway.feedback_load import Load, feedback_load, stored_votes
from tests.live.gateway.stack import Stack, end
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.quality.ledger.ledger import Ledger, LedgerRules
from twin_resources.quality.ledger.report import SyncReport
from twin_resources.quality.ledger.scores import DAY_MS
from twin_resources.settings import Settings, load_secrets
from twin_resources.storage.state.state import State

AUTHORS = 200
NEW = 1000


def ledger(form: Form) -> list[Row]:
    """A tick over a large ledger; the short form leaves it out, filling it takes a minute."""
    return [] if form.quick else ledger_rows(full=True)


def feedback(form: Form) -> list[Row]:
    """Feedback while the trace store is killed; the short form leaves it out: real processes."""
    return [] if form.quick else feedback_rows(full=True)


def ledger_rows(full: bool) -> list[Row]:
    """One tick of 1,000 new scores of 200 authors, over a ledger that is filled before."""
    count = 1_000_000 if full else 100_000
    with tempfile.TemporaryDirectory() as folder, _home(Path(folder)) as stack:
        stack.start_traces()
        settings = stack.settings
        state = State.open(settings.state_address)
        with LangfuseClient.from_settings(settings) as client:
            ledger = Ledger(state, client, LedgerRules(requests_per_minute=10_000, lag_s=0))
            ledger.sync(datetime.now(UTC))  # tables, imports, position
            fill(settings.home / "state.sqlite", count)
            _post(settings, 0, NEW)
            read_all(ledger)  # the file is in memory then, as it is from tick to tick
            _post(settings, NEW, 2 * NEW)
            before_mb = psutil.Process().memory_info().rss / 1e6
            reports, cpu_s = read_all(ledger)
            grown_mb = psutil.Process().memory_info().rss / 1e6 - before_mb
        state.close()
    assert sum(report.scores for report in reports) == NEW, reports
    what = f"{NEW:,} new scores, {AUTHORS} authors, {count:,} rows in the ledger"
    return [
        row(f"ledger: tick with {what}", cpu_s, "CPU s", at_most=1.0),
        row(f"ledger: {what}: memory it added", max(grown_mb, 0.0), "MB", at_most=50.0),
        row(f"ledger: {what}: ticks of 20 requests", len(reports), "ticks"),
    ]


def read_all(ledger: Ledger) -> tuple[list[SyncReport], float]:
    """Sync until caught up (a dense burst may take two ticks); reports and CPU seconds in all."""
    time.sleep(0.01)  # the store stamps milliseconds, and a window ends before now
    began = time.process_time()
    reports = [ledger.sync(datetime.now(UTC))]
    while not reports[-1].caught_up:
        assert not reports[-1].problem, reports[-1].message
        reports.append(ledger.sync(datetime.now(UTC)))
    return reports, time.process_time() - began


def fill(path: Path, count: int) -> None:
    """Settled votes of the last 80 days on traces of 200 authors, written into the tables."""
    now_ms = int(time.time() * 1000)
    first_ms = now_ms - int(timedelta(days=80).total_seconds() * 1000)
    step = (now_ms - DAY_MS - first_ms) / count
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    for start in range(0, count, 50_000):
        numbers = range(start, min(start + 50_000, count))
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO ledger_traces VALUES "
            "(?, ?, 'v1', 'short', 'self_hosted', 1.0, 't', 'c', 's', 'r', ?, 1.0, 0.0, '', 0, 0, "
            "'c1,c2', "
            "'How much oil does a clock need?', 'One drop of oil on each pivot, and no more.')",
            (
                (f"{number:032x}", f"author-{number % AUTHORS}", first_ms + int(number * step))
                for number in numbers
            ),
        )
        connection.executemany(
            "INSERT INTO ledger_scores VALUES (?, ?, ?, 'v1', 'short', 'vote', 'thumbs', ?, '', ?, "
            "'reader', '*', 0, ?, ?, ?, ?, 'settled', '', ?, 'thumbs')",
            (
                (
                    f"old-{number}", f"{number:032x}", f"author-{number % AUTHORS}", number % 2,
                    f"r{number}", *[first_ms + int(number * step)] * 3,
                    (first_ms + int(number * step)) // DAY_MS, number // AUTHORS + 1,
                )
                for number in numbers
            ),
        )  # fmt: skip
        connection.executemany(
            "INSERT INTO ledger_settled VALUES (?, ?, 'thumbs', 'v1', 'short', ?, ?, ?, ?)",
            (
                (
                    f"author-{number % AUTHORS}", number // AUTHORS + 1, number % 2, f"r{number}",
                    (first_ms + int(number * step)) // DAY_MS, first_ms + int(number * step),
                )
                for number in numbers
            ),
        )  # fmt: skip
        connection.execute("COMMIT")
    connection.executemany(
        "INSERT OR REPLACE INTO ledger_sequences VALUES (?, ?)",
        ((f"author-{number}", count // AUTHORS + 1) for number in range(AUTHORS)),
    )
    connection.execute("ANALYZE")
    connection.close()


def _post(settings: Settings, first: int, last: int) -> None:
    """Votes on traces that are in the ledger, 20 a request (the embedded store takes an array)."""
    secrets = load_secrets(settings)
    keys = (secrets.traces_public_key, secrets.traces_secret_key)
    votes: list[dict[str, Any]] = [
        {
            "id": f"new-{number}",
            "traceId": f"{number:032x}",
            "name": "thumbs",
            "value": number % 2,
            "metadata": {"twin.reader": f"new-{number}", "twin.authors": "*"},
        }
        for number in range(first, last)
    ]
    url = f"http://127.0.0.1:{settings.traces_port}/api/public/scores"
    with httpx.Client(auth=keys, timeout=60, trust_env=False) as http:
        for start in range(0, len(votes), 20):
            answer = http.post(url, json=votes[start : start + 20])
            assert answer.status_code == 202, answer.text


def feedback_rows(full: bool) -> list[Row]:
    """Votes posted at the gateway while the trace store is killed (kill -9) at seeded times."""
    kills, seconds = (50, 600.0) if full else (5, 20.0)
    generator = random.Random(50)
    with tempfile.TemporaryDirectory() as folder, _home(Path(folder)) as stack:
        stack.start_traces()
        stack.start_relay()
        _start_gateway(stack)
        with feedback_load(stack) as load:
            for _ in range(kills):
                time.sleep(seconds / kills * generator.uniform(0.2, 0.8))
                assert stack.traces is not None
                stack.traces.send_signal(signal.SIGKILL)
                stack.traces.wait(10)
                time.sleep(seconds / kills * generator.uniform(0.0, 0.2))
                stack.start_traces()
        votes = stored_votes(stack, load)
    return _feedback_rows(load, votes, f"{kills} kills of the trace store in {seconds:.0f} s")


def _feedback_rows(load: Load, votes: list[tuple[str, float]], what: str) -> list[Row]:
    stored = dict(votes)
    lost = sum(stored.get(name) != value for name, value in load.acknowledged.items())
    posts = f"feedback: {len(load.seconds):,} posts, {what}"
    return [
        row(f"{posts}: lost", lost, "votes", at_most=0),
        row(f"{posts}: doubled", len(votes) - len(stored), "votes", at_most=0),
        row(f"{posts}: p99 of posting", load.quantile_ms(0.99), "ms", at_most=50),
        row(f"{posts}: median of posting", load.quantile_ms(0.5), "ms"),
    ]


@contextmanager
def _home(folder: Path) -> Iterator[Stack]:
    settings = Settings(home=folder / "home", gateway_port=free_port(), traces_port=free_port())
    settings.home.mkdir(parents=True)
    stack = Stack(settings, Path())
    try:
        yield stack
    finally:
        stack.stop()


def _start_gateway(stack: Stack) -> None:
    """Without a model server: feedback needs none."""
    settings = stack.settings
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TWIN_", "LANGFUSE_"))
    }
    with (settings.logs_dir / "gateway.log").open("ab") as log:
        stack.gateway = subprocess.Popen(
            [sys.executable, "-m", "twin_resources.gateway"],
            env=kept
            | {
                "TWIN_HOME": str(settings.home),
                "TWIN_GATEWAY_PORT": str(settings.gateway_port),
                "TWIN_TRACES_PORT": str(settings.traces_port),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def lives() -> bool:
        try:
            url = f"{stack.url}/health/liveliness"
            return httpx.get(url, trust_env=False, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        stack.wait(lives)
    except AssertionError:
        end(stack.gateway)
        raise
