"""Count requests and traces lost during version swaps, server kills and trace store outages.

    python -m tests.bench.gateway_load --quick | --full [--json FILE]

Scope: sixteen readers of one gateway, injected failures, and counting lost requests and traces. Out
of scope: the stack (`tests/live/gateway/stack.py`), CPU (`bench_gateway.py`), money
(`gateway_money.py`).

Every second request is a stream. Meanwhile the stable versions of two authors are swapped. Every
ten seconds a model server is killed (SIGKILL) and restarted after 0.25 s, the interval of the
fleet's checks. The trace store is down for ten of every twenty seconds.

A request is *lost* if its reader finally gets no complete answer. The reader retries as
OpenAI's clients do: a request that was refused with 429 or 5xx, or whose connection broke before an
answer, is sent again, at most twice, after the time in `Retry-After`. A stream that breaks off
after its first piece is lost, because no client retries it. A trace is lost if the trace store has
no generation for the answer's trace id, and doubled if it has two.
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
from tests.live.gateway.stack import Stack, embed_passages, new_stack
from tests.live.gateway.tiny_gguf import write_tiny_gguf
from tests.prepared_base import base_gguf
from tests.prepared_embedder import prepare_weights
from twin_resources.models.serving.fleet import STEP_INTERVAL_S
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.outbox import Outbox, outbox_path
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion, write_policy

READER_COUNT = 16
AUTHORS = ("ann", "bob")  # Ann has posts, so her answers come with passages and quotations
SERVERS = ("base", "ann/v1", "ann/v2", "bob/v1", "bob/v2")
TOKENS = 16
KILL_INTERVAL_S = OUTAGE_S = 10.0
MAX_RETRIES = 2  # as in OpenAI's client: https://github.com/openai/openai-python#retries
SEED = 14


@dataclass(frozen=True)
class Plan:
    """The size of a benchmark run."""

    request_count: int
    swap_count: int


FULL, QUICK = Plan(10_000, 20), Plan(600, 4)


@dataclass
class LoadResults:
    """Results of all readers.

    Attributes:
        trace_ids: trace ids of the complete answers.
        loss_reasons: the reason for each lost request.
    """

    trace_ids: list[str] = field(default_factory=list[str])
    loss_reasons: list[str] = field(default_factory=list[str])


class BrokenStreamError(Exception):
    """The stream is incomplete or contains an error."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(
        "Measure the gateway under load while parts of it fail.",
        quick=f"{QUICK.request_count} requests",
        full=f"{FULL.request_count:,} requests",
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
        release_version(stack, 1)
        stack.start(*SERVERS)
        return failure_rows(stack, plan)


def release_version(stack: Stack, version: int) -> None:
    """Write a policy with this stable version for both authors."""
    served = ServedVersion(
        version, f"checkpoint-{version}", DEFAULT_TEMPLATE.hash, "", None, "", ""
    )
    entry = AuthorPolicy(stable=served, weights={"stable": 1.0})
    write_policy(stack.settings.policy_path, Policy("", "", dict.fromkeys(AUTHORS, entry)))


def failure_rows(stack: Stack, plan: Plan) -> list[Row]:
    """Send the readers' requests during the failures; return the rows."""
    results, numbers, stop = LoadResults(), iter(range(plan.request_count)), threading.Event()
    lock, started_at, started = threading.Lock(), datetime.now(UTC), time.monotonic()
    swap_at = {
        plan.request_count * (1 + swap) // (1 + plan.swap_count): swap
        for swap in range(plan.swap_count)
    }

    def read() -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while True:
                with lock:
                    number = next(numbers, None)
                    if number is None:
                        return
                    if number in swap_at:
                        release_version(stack, 2 - swap_at[number] % 2)
                ask(stack, client, number, results)

    kill_counts = Counter[str]()
    failures = [
        threading.Thread(target=kill_servers, args=(stack, stop, kill_counts)),
        threading.Thread(target=kill_trace_store, args=(stack, stop)),
    ]
    with ThreadPoolExecutor(READER_COUNT) as readers:
        for thread in failures:
            thread.start()
        futures = [readers.submit(read) for _ in range(READER_COUNT)]
        try:
            for future in futures:
                future.result()
        finally:
            stop.set()
            for thread in failures:
                thread.join()
    seconds = time.monotonic() - started
    stored_counts = count_stored_traces(stack, started_at, len(results.trace_ids))
    doubled_count = sum(stored_counts[trace_id] > 1 for trace_id in set(results.trace_ids))
    missing_count = sum(trace_id not in stored_counts for trace_id in results.trace_ids)
    for reason, count in Counter(results.loss_reasons).most_common(5):
        sys.stdout.write(f"lost, {count} times: {reason}\n")
    peers = {"seconds": round(seconds), "swaps": len(swap_at), "kills": kill_counts.total()}
    name = f"of {plan.request_count:,} requests, {READER_COUNT} at a time"
    return [
        bounded_row(f"lost {name}", len(results.loss_reasons), "requests", at_most=0, peers=peers),
        bounded_row(
            f"traces lost, of {len(results.trace_ids):,}", missing_count, "traces", at_most=0
        ),
        bounded_row("traces with two answers", doubled_count, "traces", at_most=0),
    ]


def ask(stack: Stack, client: httpx.Client, number: int, results: LoadResults) -> None:
    """Send a request, with the retries of OpenAI's client, and add its result."""
    body = {
        "model": f"twin/{AUTHORS[number % 4 != 0]}",
        "messages": [{"role": "user", "content": f"How much oil does clock {number} need?"}],
        "max_tokens": TOKENS,
        "stop": ["never in a thousand years"],
    }
    is_stream = number % 2 == 1
    reason = ""
    for attempt in range(1 + MAX_RETRIES):
        pause_s = 0.5 * 2**attempt
        try:
            response = client.post(
                f"{stack.url}/v1/chat/completions",
                json=body | ({"stream": True} if is_stream else {}),
                headers={"Authorization": f"Bearer {stack.key}"},
            )
            if response.status_code == 200:
                if is_stream:
                    require_complete(response.text)
                results.trace_ids.append(response.headers["x-twin-trace-id"])
                return
            reason = f"{response.status_code}: {response.text[:300]}"
            if response.status_code not in {408, 409, 429} and response.status_code < 500:
                break
            pause_s = float(response.headers.get("retry-after", pause_s))
        except BrokenStreamError as error:
            reason = f"stream broken off: {error}"
            break
        except httpx.TransportError as error:
            reason = type(error).__name__
        if attempt < MAX_RETRIES:
            time.sleep(pause_s)
    results.loss_reasons.append(reason)


def require_complete(text: str) -> None:
    """Require that a stream has its end and a `twin` field, but no error.

    Raises:
        BrokenStreamError: one of these does not hold.
    """
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line]
    documents = [json.loads(line) for line in lines if line.startswith("{")]
    has_twin = any("twin" in document for document in documents)
    has_error = any("error" in document for document in documents)
    if not lines or lines[-1] != "[DONE]" or not has_twin or has_error:
        raise BrokenStreamError(lines[-2][:200] if len(lines) > 1 else "nothing came")


def kill_servers(stack: Stack, stop: threading.Event, kill_counts: Counter[str]) -> None:
    """Kill a random server every ten seconds, and restart it as the fleet does."""
    rng = random.Random(SEED)
    while not stop.wait(KILL_INTERVAL_S):
        name = rng.choice(SERVERS)
        process = stack.models.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        kill_counts[name] += 1
        time.sleep(STEP_INTERVAL_S)
        process.stop()
        stack.servers.pop(name)
        stack.publish()
        stack.start_model(name)


def kill_trace_store(stack: Stack, stop: threading.Event) -> None:
    """Kill the trace store every twenty seconds, and restart it after ten."""
    while not stop.wait(OUTAGE_S):
        assert stack.traces is not None
        stack.traces.send_signal(signal.SIGKILL)
        stack.traces.wait(10)
        stop.wait(OUTAGE_S)
        stack.start_traces()


def count_stored_traces(stack: Stack, since: datetime, answer_count: int) -> Counter[str]:
    """Wait until the outbox is empty; return the number of generations by trace id."""
    outbox = Outbox(outbox_path(stack.settings))

    def is_empty() -> bool:
        counts = outbox.counts()
        if counts.dropped_traces or counts.refused:
            raise AssertionError(f"dropped or refused: {counts}")
        return counts.scores + counts.traces == 0

    try:
        time.sleep(2)  # a span waits half a second before it is in the outbox
        stack.wait(is_empty, seconds=60 + answer_count / 20)
    finally:
        outbox.close()
    with LangfuseClient.from_settings(stack.settings) as client:
        rows = client.observations(since=since, type="GENERATION", fields="core")
        return Counter(str(row["traceId"]) for row in rows)


if __name__ == "__main__":
    raise SystemExit(main())
