"""Post feedback from several threads while a process is killed, and record acknowledged votes.

Scope: the load, its figures, and waiting until the trace store has all votes.
Out of scope: the kills, assertions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.live.gateway.stack import Stack
from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
from twin_resources.settings import load_secrets


@dataclass
class Load:
    """The posted votes.

    Attributes:
        acknowledged: score id → value of its last acknowledged vote.
        failed: requests without an answer (the gateway was not running).
    """

    acknowledged: dict[str, float] = field(default_factory=dict)
    failed: int = 0


@contextmanager
def feedback_load(stack: Stack, *, threads: int = 2, pause_s: float = 0.02) -> Iterator[Load]:
    """Post votes of new readers until the block ends; every fifth vote is changed immediately."""
    load, stop = Load(), threading.Event()
    key = load_secrets(stack.settings).gateway_master_key

    def post(client: httpx.Client, body: dict[str, object], value: float) -> None:
        try:
            answer = client.post("/twin/feedback", json=body | {"score": value})
        except httpx.TransportError:
            load.failed += 1
            time.sleep(0.5)  # the starting gateway needs the cores
            return
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

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in running:
            thread.join(60)


def stored_votes(stack: Stack, load: Load, *, seconds: float = 120.0) -> list[tuple[str, float]]:
    """Return (id, value) of every stored vote after all acknowledged votes have arrived."""
    ends = time.monotonic() + seconds
    while True:
        try:
            with LangfuseClient.from_settings(stack.settings) as client:
                votes = [(row["id"], float(row["value"])) for row in client.scores(name=["thumbs"])]
        except TraceStoreError:
            votes = []
        if load.acknowledged.items() <= dict(votes).items() or time.monotonic() > ends:
            return votes
        time.sleep(0.5)
