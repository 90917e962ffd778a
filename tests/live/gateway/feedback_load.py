"""Feedback posted from several threads while something is killed; what was acknowledged is kept.

Scope: the load, its figures, and waiting until the trace store has everything.
Out of scope: what is killed, assertions.
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
class Load:
    """What was posted.

    Attributes:
        acknowledged: score id → value of its last acknowledged vote.
        seconds: of every request that was answered; began: when it was sent, monotonic.
        failed: requests without an answer (the gateway itself was away).
    """

    acknowledged: dict[str, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    began: list[float] = field(default_factory=list)
    failed: int = 0

    def quantile_ms(self, share: float) -> float:
        return _quantile_ms(self.seconds, share)

    def medians_ms(self, spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
        """Of the requests that were sent within one of the spans of time, and of the others."""
        timed = list(zip(self.began, self.seconds, strict=True))
        within = [any(start <= began < end for start, end in spans) for began, _ in timed]
        inside, outside = (
            [taken for (_, taken), is_in in zip(timed, within, strict=True) if is_in is wanted]
            for wanted in (True, False)
        )
        return _quantile_ms(inside, 0.5), _quantile_ms(outside, 0.5)


def _quantile_ms(seconds: Sequence[float], share: float) -> float:
    ordered = sorted(seconds)
    return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]


@contextmanager
def feedback_load(stack: Stack, *, threads: int = 2, pause_s: float = 0.02) -> Iterator[Load]:
    """Post votes of ever new readers, every fifth of them changed at once, until the block ends."""
    load, over, counting = Load(), threading.Event(), threading.Lock()
    key = load_secrets(stack.settings).gateway_master_key

    def post(client: httpx.Client, body: dict[str, object], value: float) -> None:
        began = time.monotonic()
        try:
            answer = client.post("/twin/feedback", json=body | {"score": value})
        except httpx.TransportError:
            load.failed += 1
            time.sleep(0.5)  # the gateway is starting, and needs the cores
            return
        with counting:
            load.began.append(began)
            load.seconds.append(time.monotonic() - began)
        assert answer.status_code == 200, answer.text
        [stored] = answer.json()["scores"]
        load.acknowledged[stored["id"]] = value

    def run(number: int) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(
            base_url=stack.url, headers=headers, trust_env=False, timeout=30
        ) as client:
            count = 0
            while not over.is_set():
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
        over.set()
        for thread in running:
            thread.join(60)


def stored_votes(stack: Stack, load: Load, *, seconds: float = 120.0) -> list[tuple[str, float]]:
    """(id, value) of every vote in the trace store, once it has all that were acknowledged."""
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
