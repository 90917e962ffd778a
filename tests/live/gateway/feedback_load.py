"""Post feedback from several threads while processes are killed, and record acknowledged votes.

Scope: posting, measuring response times, and waiting until the trace store has all votes.
Out of scope: the kills, assertions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.live.gateway.stack import Stack
from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
from twin_resources.settings import load_secrets


@dataclass
class FeedbackLoad:
    """The posted votes and their times.

    Attributes:
        acknowledged: value of the last acknowledged vote, by score id.
        seconds: duration of every answered request.
        started_s: monotonic start of every answered request.
        failed_count: number of requests without an answer (the gateway was not running).
    """

    acknowledged: dict[str, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    started_s: list[float] = field(default_factory=list)
    failed_count: int = 0

    def quantile_ms(self, share: float) -> float:
        return _quantile_ms(self.seconds, share)

    def medians_ms(self, spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
        """Return the medians of requests that were sent within the spans and of the others."""
        durations: dict[bool, list[float]] = {True: [], False: []}
        for started_s, duration in zip(self.started_s, self.seconds, strict=True):
            is_within = any(start <= started_s < end for start, end in spans)
            durations[is_within].append(duration)
        return _quantile_ms(durations[True], 0.5), _quantile_ms(durations[False], 0.5)


def _quantile_ms(seconds: Sequence[float], share: float) -> float:
    ordered = sorted(seconds)
    return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]


@contextmanager
def feedback_load(
    stack: Stack, *, thread_count: int = 2, pause_s: float = 0.02
) -> Iterator[FeedbackLoad]:
    """Post votes of new readers until the block ends; every fifth vote is changed immediately."""
    load, stop, lock = FeedbackLoad(), threading.Event(), threading.Lock()
    key = load_secrets(stack.settings).gateway_master_key

    def post(client: httpx.Client, body: dict[str, object], value: float) -> None:
        started_s = time.monotonic()
        try:
            answer = client.post("/twin/feedback", json=body | {"score": value})
        except httpx.TransportError:
            load.failed_count += 1
            time.sleep(0.5)  # the starting gateway needs the cores
            return
        with lock:
            load.started_s.append(started_s)
            load.seconds.append(time.monotonic() - started_s)
        assert answer.status_code == 200, answer.text
        [score] = answer.json()["scores"]
        load.acknowledged[score["id"]] = value

    def run(number: int) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(
            base_url=stack.url, headers=headers, trust_env=False, timeout=30
        ) as client:
            count = 0
            while not stop.is_set():
                count += 1
                trace = f"{number:016x}{count:016x}"
                body: dict[str, object] = {"trace_id": trace, "reader": f"reader {number} {count}"}
                post(client, body, 1.0)
                if count % 5 == 0:
                    post(client, body, 0.25)
                time.sleep(pause_s)

    workers = [threading.Thread(target=run, args=(number,)) for number in range(thread_count)]
    for thread in workers:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in workers:
            thread.join(60)


def wait_for_votes(
    stack: Stack, load: FeedbackLoad, *, seconds: float = 120.0
) -> list[tuple[str, float]]:
    """Wait until all acknowledged votes are stored; return (id, value) of every stored vote."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with LangfuseClient.from_settings(stack.settings) as client:
                votes = [(row["id"], float(row["value"])) for row in client.scores(name=["thumbs"])]
        except TraceStoreError:
            votes = []
        if load.acknowledged.items() <= dict(votes).items() or time.monotonic() > deadline:
            return votes
        time.sleep(0.5)
