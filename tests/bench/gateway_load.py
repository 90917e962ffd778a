"""10,000 requests during version swaps, server kills and outages of the trace store.

    python -m tests.bench.gateway_load --quick | --full [--json FILE]

Scope: sixteen readers on one gateway, injected failures, and counting lost requests and traces. Out
of scope: the stack (`tests/live/gateway/stack.py`), CPU (`bench_gateway.py`), money
(`gateway_money.py`).

Every second request is a stream. Meanwhile the stable versions of two authors are swapped. Every
ten seconds a model server is killed (-9) and restarted as by the fleet, which checks every .25 s.
The trace store is killed and stays down for every other ten seconds.

A request is *lost* when its reader gets no complete answer in the end. The reader retries as
OpenAI's clients do: a request that was refused with 429 or 5xx, or whose connection broke before an
answer, is sent again, at most twice, after the time in `Retry-After`. A stream that breaks off
after its first piece is lost, because no client retries it. A trace is lost when the trace store
has no generation for an answer with that trace id, and doubled when it has two.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

from tests.bench.rows import Row, bounded_row, create_parser, print_results
from tests.live.gateway.stack import Stack, embed_passages, new_stack, prepare_weights
from tests.live.gateway.tiny_gguf import write_tiny_gguf
from tests.prepared_base import base_gguf
from twin_resources.models.serving.fleet import STEP_INTERVAL_S
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.outbox import Outbox, outbox_path
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion, write_policy

READERS = 16
AUTHORS = ("ann", "bob")  # Ann has posts, so her answers come with passages and quotations
SERVERS = ("base", "ann/v1", "ann/v2", "bob/v1", "bob/v2")
TOKENS = 16
KILL_EVERY_S = TRACES_S = 10.0
MAX_RETRIES = 2  # of OpenAI's client: https://github.com/openai/openai-python#retries
SEED = 14


@dataclass(frozen=True)
class Plan:
    """The amount of work of a run."""

    requests: int
    swaps: int


FULL, QUICK = Plan(10_000, 20), Plan(600, 4)


@dataclass
class LoadResults:
    """Results of all readers.

    Attributes:
        traces: trace ids of the complete answers.
        lost: the reason for each lost request.
    """

    traces: list[str] = field(default_factory=list[str])
    lost: list[str] = field(default_factory=list[str])


class BrokenStream(Exception):
    """A stream without its end."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(
        "The gateway under load while parts fail.",
        quick=f"{QUICK.requests} requests",
        full=f"{FULL.requests:,} requests",
    )
    options = parser.parse_args(arguments)
    plan = FULL if options.full else QUICK
    with tempfile.TemporaryDirectory() as folder:
        rows = load_rows(Path(folder), plan)
    return print_results(rows, options.json)


def load_rows(folder: Path, plan: Plan) -> list[Row]:
    """Start a stack and return every row."""
    model = write_tiny_gguf(folder / "tiny.gguf", tokenizer_from=base_gguf())
    with new_stack(folder, prepare_weights(), model) as stack:
        embed_passages(stack.settings, "ann")
        stack.start_traces()
        stack.start_relay()
        for server in SERVERS:
            stack.start_model(server)
        release(stack, 1)
        stack.start_gateway()
        return failure_rows(stack, plan)


def release(stack: Stack, version: int) -> None:
    """Write a policy with this stable version for both authors."""
    served = ServedVersion(
        version, f"checkpoint-{version}", DEFAULT_TEMPLATE.hash, "", None, "", ""
    )
    entry = AuthorPolicy(stable=served, weights={"stable": 1.0})
    write_policy(stack.settings.policy_path, Policy("", "", dict.fromkeys(AUTHORS, entry)))


def failure_rows(stack: Stack, plan: Plan) -> list[Row]:
    """Send the readers' requests during the failures; return the rows."""
    results, numbers, over = LoadResults(), iter(range(plan.requests)), threading.Event()
    lock, began_at, began = threading.Lock(), datetime.now(UTC), time.monotonic()
    swap_at = {plan.requests * (1 + swap) // (1 + plan.swaps): swap for swap in range(plan.swaps)}

    def read() -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while True:
                with lock:
                    number = next(numbers, None)
                    if number is None:
                        return
                    if number in swap_at:
                        release(stack, 2 - swap_at[number] % 2)
                ask(stack, client, number, results)

    killed = Counter[str]()
    failures = [
        threading.Thread(target=kill_servers, args=(stack, over, killed)),
        threading.Thread(target=kill_trace_store, args=(stack, over)),
    ]
    with ThreadPoolExecutor(READERS) as readers:
        for thread in failures:
            thread.start()
        futures = [readers.submit(read) for _ in range(READERS)]
        try:
            for future in futures:
                future.result()
        finally:
            over.set()
            for thread in failures:
                thread.join()
    seconds = time.monotonic() - began
    stored = stored_traces(stack, began_at, len(results.traces))
    doubled = sum(stored[trace] > 1 for trace in set(results.traces))
    missing = sum(trace not in stored for trace in results.traces)
    for reason, count in Counter(results.lost).most_common(5):
        sys.stdout.write(f"lost, {count} times: {reason}\n")
    peers = {"seconds": round(seconds), "swaps": len(swap_at), "kills": killed.total()}
    name = f"of {plan.requests:,} requests, {READERS} at a time"
    return [
        bounded_row(f"lost {name}", len(results.lost), "requests", at_most=0, peers=peers),
        bounded_row(f"traces lost, of {len(results.traces):,}", missing, "traces", at_most=0),
        bounded_row("traces with two answers", doubled, "traces", at_most=0),
    ]


def ask(stack: Stack, client: httpx.Client, number: int, results: LoadResults) -> None:
    """Send a request with retries as OpenAI's client does."""
    body = {
        "model": f"twin/{AUTHORS[number % 4 != 0]}",
        "messages": [{"role": "user", "content": f"How much oil does clock {number} need?"}],
        "max_tokens": TOKENS,
        "stop": ["never in a thousand years"],
    }
    stream = number % 2 == 1
    reason = ""
    for attempt in range(1 + MAX_RETRIES):
        pause_s = 0.5 * 2**attempt
        try:
            response = client.post(
                f"{stack.url}/v1/chat/completions",
                json=body | ({"stream": True} if stream else {}),
                headers={"Authorization": f"Bearer {stack.key}"},
            )
            if response.status_code == 200:
                if stream:
                    require_complete(response.text)
                results.traces.append(response.headers["x-twin-trace-id"])
                return
            reason = f"{response.status_code}: {response.text[:300]}"
            if response.status_code not in {408, 409, 429} and response.status_code < 500:
                break
            pause_s = float(response.headers.get("retry-after", pause_s))
        except BrokenStream as error:
            reason = f"stream broken off: {error}"
            break
        except httpx.TransportError as error:
            reason = type(error).__name__
        if attempt < MAX_RETRIES:
            time.sleep(pause_s)
    results.lost.append(reason)


def require_complete(text: str) -> None:
    """Require that a stream has its end, a field `twin` and no error.

    Raises:
        BrokenStream: the stream has no end.
    """
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line]
    documents = [json.loads(line) for line in lines if line.startswith("{")]
    has_twin = any("twin" in document for document in documents)
    has_error = any("error" in document for document in documents)
    if not lines or lines[-1] != "[DONE]" or not has_twin or has_error:
        raise BrokenStream(lines[-2][:200] if len(lines) > 1 else "nothing came")


def kill_servers(stack: Stack, over: threading.Event, killed: Counter[str]) -> None:
    """Kill a random server every ten seconds, and restart it as the fleet does."""
    draw = random.Random(SEED)
    while not over.wait(KILL_EVERY_S):
        name = draw.choice(SERVERS)
        process = stack.models.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        killed[name] += 1
        time.sleep(STEP_INTERVAL_S)
        process.stop()
        stack.servers.pop(name)
        stack.publish()
        stack.start_model(name)


def kill_trace_store(stack: Stack, over: threading.Event) -> None:
    """Kill the trace store for every other ten seconds."""
    while not over.wait(TRACES_S):
        assert stack.traces is not None
        stack.traces.send_signal(signal.SIGKILL)
        stack.traces.wait(10)
        over.wait(TRACES_S)
        stack.start_traces()


def stored_traces(stack: Stack, since: datetime, answers: int) -> Counter[str]:
    """Wait until the outbox is empty; return the number of generations by trace id."""
    outbox = Outbox(outbox_path(stack.settings))

    def is_empty() -> bool:
        counts = outbox.counts()
        if counts.dropped_traces or counts.refused:
            raise AssertionError(f"dropped or refused: {counts}")
        return counts.scores + counts.traces == 0

    try:
        time.sleep(2)  # a span waits half a second before it is in the outbox
        stack.wait(is_empty, seconds=60 + answers / 20)
    finally:
        outbox.close()
    with LangfuseClient.from_settings(stack.settings) as client:
        rows = client.observations(since=since, type="GENERATION", fields="core")
        return Counter(str(row["traceId"]) for row in rows)


if __name__ == "__main__":
    raise SystemExit(main())
