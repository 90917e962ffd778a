"""Measure the time until a reader receives the quotation, alone and under load.

    python -m tests.bench.bench_first_event --quick | --full [--json FILE]

Scope: readers of streamed answers on one stack (llama.cpp server, gateway, relay, trace store): the
time from sending a request to the first event with content, answers without passages, and traces of
answers whose reader left after the quotation.
Out of scope: the stack (`tests/live/gateway/stack.py`), CPU (`bench_gateway.py`), whether the
quotation answers the question (`bench_quotes.py`).

A reader asks, reads to the end and asks again immediately. "Behind readers who left" means: before
each round four readers ask for 1,500 tokens, twice the server's capacity, and leave at their first
event or after a second. Then all readers of the round ask at the same moment, the worst case.

`--full` uses the embedded base model, and repeats both measurements while a program multiplies
matrices on all cores at a training's priority. `--quick` uses a generated model whose server is
stopped for 0.2 s of every 0.21 s, so that it is slow without load. Readers of an author who only
quotes are measured separately, with the gateway's CPU time per request, which excludes other
programs. The author has four short posts; retrieval in a large table costs more
(`bench_retrieval.py`).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.rows import Row, bounded_row, create_parser, print_results
from tests.live.gateway.stack import (
    Stack,
    embed_passages,
    new_stack,
    throttle_process,
)
from tests.live.gateway.tiny_gguf import write_tiny_gguf
from tests.prepared_base import base_gguf
from tests.prepared_embedder import prepare_weights
from twin_resources.authors import Author, write_author
from twin_resources.models.training_launcher.rank_processes import lower_priority
from twin_resources.observability.langfuse.client import LangfuseClient

QUESTIONS = (
    "How much oil does a clock need?",
    "How do I clean old brass?",
    "When should I wind a clock?",
    "How long is the pendulum of a clock that beats seconds?",
)
READER_COUNT = 20
MAX_FIRST_S = 0.3
LEAVING_READER_COUNT, LEAVING_TOKENS, LEAVE_AFTER_S = 4, 1500, 1.0
SIMULTANEOUS_REQUESTS = 200
CPU_LOAD_PROGRAM = "import numpy as np\na = np.ones((1500, 1500), 'f')\nwhile True: a @ a"


@dataclass
class ReaderResult:
    """One answer as a reader received it.

    Attributes:
        trace: the trace id, or "".
        first_s: seconds until the first event with content, or None without one.
        twin: the field `twin` of the last event, or None if the reader left or was refused.
    """

    status: int = 0
    trace: str = ""
    first_s: float | None = None
    twin: dict[str, Any] | None = None


@dataclass(frozen=True)
class Plan:
    """The numbers of questions and repetitions in a benchmark run.

    Attributes:
        questions: questions of each reader.
        runs: repetitions for the author who only quotes.
        rounds: rounds behind readers who left.
        abandoned_answers: answers whose reader leaves.
        bursts: repetitions of many simultaneous requests.
    """

    questions: int
    runs: int
    rounds: int
    abandoned_answers: int
    bursts: int


QUICK, FULL = Plan(4, 1, 2, 12, 1), Plan(15, 8, 8, 40, 4)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(
        "Measure the time to the first event of an answer.",
        quick="about a minute",
        full="longer, and again during a training",
    )
    options = parser.parse_args(arguments)
    plan = FULL if options.full else QUICK
    # high, so that retrieval's limit applies before any limit of a key
    environ = {"TWIN_REQUESTS_PER_KEY": "1000", "TWIN_REQUESTS_PER_SERVER": "1000"}
    with tempfile.TemporaryDirectory() as folder:
        model = base_gguf()
        if not options.full:
            model = write_tiny_gguf(Path(folder) / "tiny.gguf", tokenizer_from=model)
        with new_stack(Path(folder), prepare_weights(), model, environ=environ) as stack:
            rows = measure(stack, plan, with_training=options.full)
    return print_results(rows, options.json)


def measure(stack: Stack, plan: Plan, *, with_training: bool) -> list[Row]:
    write_author(stack.settings, Author("cat", "Cat Hand", answer="quote"))
    for author in ("ann", "cat"):
        embed_passages(stack.settings, author)
    stack.start("base")
    server = stack.models["base"].pid
    throttle = (
        nullcontext() if with_training else throttle_process(server, stopped_s=0.2, running_s=0.01)
    )
    rows = asyncio.run(_quotation_rows(stack, plan))
    with throttle:
        rows += asyncio.run(_load_rows(stack, plan))
        rows += missing_trace_rows(stack, plan.abandoned_answers)
    rows += asyncio.run(_burst_rows(stack, plan.bursts))
    if with_training:
        with simulated_training():
            rows += asyncio.run(_load_rows(stack, plan, label=", during a training"))
    return rows


async def _quotation_rows(stack: Stack, plan: Plan) -> list[Row]:
    """Return rows for an author who only quotes: times, and the gateway's CPU per request."""
    await _read_all(stack, 1, author="cat")  # opens the tables
    runs: list[list[float]] = []
    cpu_before_s = _gateway_cpu(stack)
    for _ in range(plan.runs):
        runs.append(sorted(await _read_all(stack, plan.questions, author="cat")))
    answer_count = sum(map(len, runs))
    cpu_ms = 1000 * (_gateway_cpu(stack) - cpu_before_s) / answer_count
    readers = f"{READER_COUNT} readers of quotations"
    median = statistics.median(itertools.chain.from_iterable(runs))
    p99s = [_p99(run) for run in runs]
    peers = {"least": round(min(p99s), 3), "answers": float(answer_count)}
    holds = max(p99s) <= MAX_FIRST_S
    return [
        Row(f"first event, {readers}: median", median, "s"),
        Row(f"first event, {readers}: p99, worst run", max(p99s), "s", MAX_FIRST_S, holds, peers),
        Row(f"{readers}: CPU of the gateway per request", cpu_ms, "CPU-ms"),
    ]


def _gateway_cpu(stack: Stack) -> float:
    """Return the CPU seconds that the process with LiteLLM has used so far."""
    times = stack.worker().cpu_times()
    return times.user + times.system


def _p99(ordered: Sequence[float]) -> float:
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


async def _load_rows(stack: Stack, plan: Plan, *, label: str = "") -> list[Row]:
    rows = _time_rows(f"{READER_COUNT} readers{label}", await _read_all(stack, plan.questions))
    seconds: list[float] = []
    for _ in range(plan.rounds):
        await asyncio.gather(*(_leave(stack, number) for number in range(LEAVING_READER_COUNT)))
        answers = await asyncio.gather(*(_ask(stack, number) for number in range(READER_COUNT)))
        seconds += [_first_event_s(answer) for answer in answers]
    name = f"{READER_COUNT} readers behind {LEAVING_READER_COUNT} who left{label}"
    return rows + _time_rows(name, seconds)


def _time_rows(readers: str, seconds: Sequence[float]) -> list[Row]:
    ordered = sorted(seconds)
    p99 = _p99(ordered)
    peers = {"longest": round(ordered[-1], 3), "answers": float(len(ordered))}
    return [
        Row(f"first event, {readers}: median", statistics.median(ordered), "s"),
        bounded_row(f"first event, {readers}: p99", p99, "s", at_most=MAX_FIRST_S, peers=peers),
    ]


async def _read_all(stack: Stack, question_count: int, *, author: str = "ann") -> list[float]:
    """Return the seconds until the first event, for every answer to every reader."""

    async def read(reader: int) -> list[float]:
        return [
            _first_event_s(await _ask(stack, reader + number, author=author))
            for number in range(question_count)
        ]

    seconds_by_reader = await asyncio.gather(*map(read, range(READER_COUNT)))
    return list(itertools.chain.from_iterable(seconds_by_reader))


async def _burst_rows(stack: Stack, burst_count: int) -> list[Row]:
    """Send simultaneous requests to an author who only quotes; return the row of failed ones."""
    answered = refused = failed = without_passages = 0
    for _ in range(burst_count):
        requests = (_ask(stack, number, author="cat") for number in range(SIMULTANEOUS_REQUESTS))
        for answer in await asyncio.gather(*requests):
            answered += answer.status == 200
            refused += answer.status == 429
            failed += answer.status not in {200, 429}
            without_passages += answer.status == 200 and not (answer.twin or {}).get("sources")
    peers = {"answered": float(answered), "refused": float(refused), "failed": float(failed)}
    name = f"answers without passages, {SIMULTANEOUS_REQUESTS} requests at once"
    return [Row(name, without_passages, "answers", 0, without_passages == failed == 0, peers)]


def missing_trace_rows(stack: Stack, reader_count: int) -> list[Row]:
    """Count answers without a trace among those whose reader left after the quotation."""
    started_at = datetime.now(UTC)

    async def leave() -> list[ReaderResult]:
        return [await _leave(stack, number) for number in range(reader_count)]

    abandoned_ids = {answer.trace for answer in asyncio.run(leave()) if answer.first_s is not None}
    with LangfuseClient.from_settings(stack.settings) as client:

        def find_traces() -> set[str]:
            return abandoned_ids & {
                str(observation["traceId"]) for observation in client.observations(since=started_at)
            }

        deadline = time.monotonic() + 20  # spans arrive about a second after the answer
        while find_traces() != abandoned_ids and time.monotonic() < deadline:
            time.sleep(0.5)
        missing = len(abandoned_ids) - len(find_traces())
    peers = {"left": float(len(abandoned_ids))}
    return [
        Row("left at the quotation, without a trace", missing, "answers", 0, not missing, peers)
    ]


async def _leave(stack: Stack, number: int) -> ReaderResult:
    """Ask as a reader who leaves at the first event with content, or after a second."""
    result = ReaderResult()
    try:
        async with asyncio.timeout(LEAVE_AFTER_S):
            await _ask(stack, number, tokens=LEAVING_TOKENS, leaves=True, result=result)
    except TimeoutError:
        pass  # the reader has left
    return result


def _first_event_s(result: ReaderResult) -> float:
    if result.first_s is None:
        raise AssertionError(f"an answer without content: status {result.status}")
    return result.first_s


async def _ask(
    stack: Stack,
    number: int,
    *,
    author: str = "ann",
    tokens: int = 0,
    leaves: bool = False,
    result: ReaderResult | None = None,
) -> ReaderResult:
    """Request and read a stream, without a client library, to save CPU time."""
    result = result or ReaderResult()
    document: dict[str, Any] = {
        "model": f"twin/{author}",
        "messages": [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}],
        "stream": True,
    }
    if tokens:
        document |= {"max_tokens": tokens, "stop": ["never in a thousand years"]}
    body = json.dumps(document).encode()
    request_head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {stack.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    started = time.monotonic()
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", stack.settings.gateway_port, limit=2**22
    )
    try:
        writer.write(request_head + body)
        while line := await reader.readline():
            _parse_line(line, result, started)
            if leaves and result.first_s is not None:
                break
    finally:
        writer.close()
    return result


def _parse_line(line: bytes, result: ReaderResult, started: float) -> None:
    """Add what one line of a response contains to the result."""
    if line.startswith(b"HTTP/1.1 "):
        result.status = int(line.split(b" ", 2)[1])
    elif line.lower().startswith(b"x-twin-trace-id:"):
        result.trace = line.partition(b":")[2].strip().decode()
    elif line.startswith(b"data: {"):
        chunk: dict[str, Any] = json.loads(line[6:])
        choices = chunk.get("choices") or [{}]
        if result.first_s is None and (choices[0].get("delta") or {}).get("content"):
            result.first_s = time.monotonic() - started
        result.twin = chunk.get("twin") or result.twin


@contextmanager
def simulated_training() -> Iterator[None]:
    """Run a process that computes on all cores at the low priority of a training."""
    process = subprocess.Popen([sys.executable, "-c", CPU_LOAD_PROGRAM], start_new_session=True)
    lower_priority(process.pid)
    try:
        yield
        assert process.poll() is None, "the simulated training has ended"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    raise SystemExit(main())
