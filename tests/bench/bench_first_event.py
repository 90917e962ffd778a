"""How long a reader waits for the quotation, and what becomes of it under load.

    python -m tests.bench.bench_first_event --quick | --full [--json FILE]

Scope: readers of streams on one stack (llama.cpp server, gateway, relay, trace store): the
time from sending a request to the first event with content, answers without passages, and traces of
answers that were left at the quotation.
Out of scope: the stack (`tests/live/gateway/stack.py`), CPU (`bench_gateway.py`), whether
the quotation answers the question (`bench_quotes.py`).

A reader asks, reads to the end and asks again at once. "Behind readers who left" means: before each
round four readers ask for 1,500 tokens, twice what the server takes at a time, and leave at their
first event or after a second. The readers of a round then ask in the same instant, which is the
worst case. `--full` asks the embedded base model, and repeats both beside a program that multiplies
matrices on all cores, as a training does, at a training's priority. `--quick` asks a made-up model
whose server is stopped for .2 s of each .21 s: slow without the load. Readers of an author who only
quotes ask alone, beside the CPU time that the gateway takes a request: its process's alone, so
other work on the machine does not count.
The author has four short posts: retrieval in a large table costs more
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

from tests.bench.rows import Row, create_parser, print_results
from tests.live.gateway.stack import (
    Stack,
    embed_passages,
    new_stack,
    prepare_weights,
    throttle_process,
)
from tests.live.gateway.tiny_gguf import write_tiny_gguf
from tests.prepared_base import base_gguf
from twin_resources.authors import Author, write_author
from twin_resources.models.training_launcher.machine import lower_priority
from twin_resources.observability.langfuse.client import LangfuseClient

QUESTIONS = (
    "How much oil does a clock need?",
    "How do I clean old brass?",
    "When should I wind a clock?",
    "How long is the pendulum of a clock that beats seconds?",
)
READERS = 20
FIRST_EVENT_S = 0.3
LEAVING, LEFT_TOKENS, LEAVES_AFTER_S = 4, 1500, 1.0
AT_ONCE = 200
BURN = "import numpy as np\na = np.ones((1500, 1500), 'f')\nwhile True: a @ a"


@dataclass
class Seen:
    """What one reader saw of one answer.

    Attributes:
        first_s: seconds until the first event with content; None: there was none.
        twin: the field of the last event; empty: he left, or was refused.
    """

    status: int = 0
    trace: str = ""
    first_s: float | None = None
    twin: dict[str, Any] | None = None


@dataclass(frozen=True)
class Plan:
    """How much of it: questions of a reader, how often those are asked of an author who only
    quotes, rounds behind readers who left, answers that are left, requests at once and how often.
    """

    questions: int
    runs: int
    rounds: int
    left: int
    storms: int


QUICK, FULL = Plan(4, 1, 2, 12, 1), Plan(15, 8, 8, 40, 4)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(
        "The first event of an answer.",
        quick="about a minute",
        full="longer, and beside a training",
    )
    options = parser.parse_args(arguments)
    plan = FULL if options.full else QUICK
    # no limit of a key stands before retrieval's own
    environ = {"TWIN_REQUESTS_PER_KEY": "1000", "TWIN_REQUESTS_PER_SERVER": "1000"}
    with tempfile.TemporaryDirectory() as folder:
        model = base_gguf()
        if not options.full:
            model = write_tiny_gguf(Path(folder) / "tiny.gguf", tokenizer_from=model)
        with new_stack(Path(folder), prepare_weights(), model, environ=environ) as stack:
            rows = measured(stack, plan, with_training=options.full)
    return print_results(rows, options.json)


def measured(stack: Stack, plan: Plan, *, with_training: bool) -> list[Row]:
    write_author(stack.settings, Author("cat", "Cat Hand", answer="quote"))
    for author in ("ann", "cat"):
        embed_passages(stack.settings, author)
    stack.start_traces()
    stack.start_relay()
    stack.start_model("base")
    stack.start_gateway()
    server = stack.models["base"].pid
    slow = (
        nullcontext() if with_training else throttle_process(server, stopped_s=0.2, running_s=0.01)
    )
    rows = asyncio.run(_quoted(stack, plan))
    with slow:
        rows += asyncio.run(_waiting(stack, plan))
        rows += traces_of_left(stack, plan.left)
    rows += asyncio.run(_storm(stack, plan.storms))
    if with_training:
        with training_beside():
            rows += asyncio.run(_waiting(stack, plan, beside=", a training beside"))
    return rows


async def _quoted(stack: Stack, plan: Plan) -> list[Row]:
    """Readers of an author who only quotes: p99 of each run, CPU of the gateway a request."""
    await _loop(stack, 1, author="cat")  # the tables are opened
    runs: list[list[float]] = []
    began = _gateway_cpu(stack)
    for _ in range(plan.runs):
        runs.append(sorted(await _loop(stack, plan.questions, author="cat")))
    answers = sum(map(len, runs))
    spent = 1000 * (_gateway_cpu(stack) - began) / answers
    who = f"{READERS} readers of quotations"
    middle = statistics.median(itertools.chain.from_iterable(runs))
    p99s = [run[min(len(run) - 1, int(0.99 * len(run)))] for run in runs]
    peers = {"least": round(min(p99s), 3), "answers": float(answers)}
    holds = max(p99s) <= FIRST_EVENT_S
    return [
        Row(f"first event, {who}: median", middle, "s"),
        Row(f"first event, {who}: p99, worst run", max(p99s), "s", FIRST_EVENT_S, holds, peers),
        Row(f"{who}: CPU of the gateway a request", spent, "CPU-ms"),
    ]


def _gateway_cpu(stack: Stack) -> float:
    """CPU seconds of the process that runs LiteLLM so far."""
    times = stack.worker().cpu_times()
    return times.user + times.system


async def _waiting(stack: Stack, plan: Plan, *, beside: str = "") -> list[Row]:
    rows = _waits(f"{READERS} readers{beside}", await _loop(stack, plan.questions))
    seconds: list[float] = []
    for _ in range(plan.rounds):
        await asyncio.gather(*(_leave(stack, number) for number in range(LEAVING)))
        answers = await asyncio.gather(*(_ask(stack, number) for number in range(READERS)))
        seconds += [_first(seen) for seen in answers]
    return rows + _waits(f"{READERS} readers behind {LEAVING} who left{beside}", seconds)


def _waits(who: str, seconds: Sequence[float]) -> list[Row]:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    peers = {"longest": round(ordered[-1], 3), "answers": float(len(ordered))}
    return [
        Row(f"first event, {who}: median", statistics.median(ordered), "s"),
        Row(f"first event, {who}: p99", p99, "s", FIRST_EVENT_S, p99 <= FIRST_EVENT_S, peers),
    ]


async def _loop(stack: Stack, questions: int, *, author: str = "ann") -> list[float]:
    async def read(number: int) -> list[float]:
        turns = (number + turn for turn in range(questions))
        return [_first(await _ask(stack, turn, author=author)) for turn in turns]

    return list(itertools.chain.from_iterable(await asyncio.gather(*map(read, range(READERS)))))


async def _storm(stack: Stack, times: int) -> list[Row]:
    """Many requests at once to an author who only quotes, so that no model holds them up."""
    answered = refused = failed = without = 0
    for _ in range(times):
        asked = (_ask(stack, number, author="cat") for number in range(AT_ONCE))
        for seen in await asyncio.gather(*asked):
            answered += seen.status == 200
            refused += seen.status == 429
            failed += seen.status not in {200, 429}
            without += seen.status == 200 and not (seen.twin or {}).get("sources")
    peers = {"answered": float(answered), "refused": float(refused), "failed": float(failed)}
    name = f"answers without passages, {AT_ONCE} requests at once"
    return [Row(name, without, "answers", 0, without == 0 and failed == 0, peers)]


def traces_of_left(stack: Stack, readers: int) -> list[Row]:
    """Answers left at their quotation that leave no trace."""
    began = datetime.now(UTC)

    async def leave() -> list[Seen]:
        return [await _leave(stack, number) for number in range(readers)]

    left = {seen.trace for seen in asyncio.run(leave()) if seen.first_s is not None}
    with LangfuseClient.from_settings(stack.settings) as client:

        def traced() -> set[str]:
            return left & {
                str(observation["traceId"]) for observation in client.observations(since=began)
            }

        ends = time.monotonic() + 20  # spans arrive about a second after their answer
        while traced() != left and time.monotonic() < ends:
            time.sleep(0.5)
        missing = len(left) - len(traced())
    peers = {"left": float(len(left))}
    return [
        Row("left at the quotation, without a trace", missing, "answers", 0, not missing, peers)
    ]


async def _leave(stack: Stack, number: int) -> Seen:
    """A reader who leaves at the first event with content, or after a second."""
    seen = Seen()
    try:
        async with asyncio.timeout(LEAVES_AFTER_S):
            await _ask(stack, number, tokens=LEFT_TOKENS, leaves=True, seen=seen)
    except TimeoutError:
        pass  # he has left
    return seen


def _first(seen: Seen) -> float:
    if seen.first_s is None:
        raise AssertionError(f"an answer without content: status {seen.status}")
    return seen.first_s


async def _ask(
    stack: Stack,
    number: int,
    *,
    author: str = "ann",
    tokens: int = 0,
    leaves: bool = False,
    seen: Seen | None = None,
) -> Seen:
    """Ask for a stream and read it, without a client library's share of the processor."""
    seen = seen or Seen()
    document: dict[str, Any] = {
        "model": f"twin/{author}",
        "messages": [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}],
        "stream": True,
    }
    if tokens:
        document |= {"max_tokens": tokens, "stop": ["never in a thousand years"]}
    body = json.dumps(document).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {stack.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", stack.settings.gateway_port, limit=2**22
    )
    try:
        writer.write(head + body)
        while line := await reader.readline():
            _take(line, seen, began)
            if leaves and seen.first_s is not None:
                break
    finally:
        writer.close()
    return seen


def _take(line: bytes, seen: Seen, began: float) -> None:
    """One line of an answer."""
    if line.startswith(b"HTTP/1.1 "):
        seen.status = int(line.split(b" ", 2)[1])
    elif line.lower().startswith(b"x-twin-trace-id:"):
        seen.trace = line.partition(b":")[2].strip().decode()
    elif line.startswith(b"data: {"):
        chunk: dict[str, Any] = json.loads(line[6:])
        choices = chunk.get("choices") or [{}]
        if seen.first_s is None and (choices[0].get("delta") or {}).get("content"):
            seen.first_s = time.monotonic() - began
        seen.twin = chunk.get("twin") or seen.twin


@contextmanager
def training_beside() -> Iterator[None]:
    """A process that computes on all cores, as a training does, and gives way as one does."""
    process = subprocess.Popen([sys.executable, "-c", BURN], start_new_session=True)
    lower_priority(process.pid)
    try:
        yield
        assert process.poll() is None, "nothing was computed beside"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    raise SystemExit(main())
