"""Run the background tasks of the gateway: work alongside the requests, for which none waits."""
# pyright: strict

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twin_resources.atomic_writes import replace_file
from twin_resources.gateway.config.live_config import POLL_SECONDS
from twin_resources.gateway.costs.cost import Throughput, read_throughputs
from twin_resources.gateway.front_desk.message_vectors import embed_message
from twin_resources.gateway.request_path import RequestPath
from twin_resources.gateway.runtime.gc_schedule import YOUNG_COLLECTION_INTERVAL_S, GcScheduler

THROUGHPUT_INTERVAL_S = 10.0
TOKENIZERS_INTERVAL_S = 10.0  # a new base model may have been prepared
CLEANUP_INTERVAL_S = 3600.0
WARM_UP_TIMEOUT_S = 60.0


@dataclass
class BackgroundTasks:
    """The background tasks of one gateway process.

    Attributes:
        request_path: the request path, whose snapshot and trace problem are kept current.
        trace_problem: returns the reason that answers are not traced now, or an empty string.
        throughput_path: file for the measured tokens per second, which `routing_policy` reads.
        flush: writes waiting spans and settlements when the server ends.
        delete_expired: deletes stored answers that are too old; it may block.
        gc_scheduler: schedules garbage collection.
    """

    request_path: RequestPath
    trace_problem: Callable[[], str]
    throughput_path: Path
    flush: Callable[[], None]
    delete_expired: Callable[[], None]
    gc_scheduler: GcScheduler = field(default_factory=GcScheduler)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    async def start(self) -> None:
        """Start the tasks; called after the proxy has started and before it accepts requests."""
        self._reload_files()
        self._run_every(POLL_SECONDS, self._reload_files)
        self._run_every(POLL_SECONDS, self._update_trace_problem)
        self._run_every(CLEANUP_INTERVAL_S, lambda: asyncio.to_thread(self.delete_expired))
        self._run_every(THROUGHPUT_INTERVAL_S, self._write_throughput)
        await asyncio.to_thread(self.request_path.reload_tokenizers)
        self._run_every(
            TOKENIZERS_INTERVAL_S, lambda: asyncio.to_thread(self.request_path.reload_tokenizers)
        )
        await self._warm_up()
        self.gc_scheduler.begin()
        self._run_every(YOUNG_COLLECTION_INTERVAL_S, self.gc_scheduler.collect)

    async def stop(self) -> None:
        """Stop the tasks and write waiting data; called when the server ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.gc_scheduler.end()
        self._write_throughput()
        await asyncio.to_thread(self.flush)

    def _reload_files(self) -> None:
        if self.request_path.live_config.refresh():
            snapshot = self.request_path.live_config.current
            names = sorted(name for name, server in snapshot.servers.items() if server.ready)
            problems = [*snapshot.problems, *snapshot.author_problems.values()]
            sys.stderr.write(
                f"configuration loaded: authors {sorted(snapshot.authors)}, ready {names}"
                + (f", problems {problems}" if problems else "")
                + "\n"
            )

    def _update_trace_problem(self) -> None:
        self.request_path.trace_problem = self.trace_problem()

    def _write_throughput(self) -> None:
        # Of all processes, so any of them may write last.
        if throughputs := read_throughputs(self.request_path.counts):
            write_throughput(self.throughput_path, throughputs)

    async def _warm_up(self) -> None:
        """Import and load the embedders, so that the first question takes one second less."""
        await asyncio.to_thread(embed_message, "warm up")
        author = min(self.request_path.live_config.current.authors, default="nobody")
        warm_up = asyncio.to_thread(self.request_path.passage_finder.warm_up, author)
        try:
            await asyncio.wait_for(warm_up, WARM_UP_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - the first question reports it too
            sys.stderr.write(f"warm-up of retrieval failed: {type(error).__name__}: {error}\n")

    def _run_every(self, seconds: float, task: Callable[[], Awaitable[None] | None]) -> None:
        """Repeat a task; one that is not a coroutine function must not block the event loop."""

        async def run() -> None:
            while True:
                try:
                    if (coroutine := task()) is not None:
                        await coroutine
                except Exception as error:  # noqa: BLE001 - logged; the next round retries
                    sys.stderr.write(f"background task failed: {type(error).__name__}: {error}\n")
                await asyncio.sleep(seconds)

        self._tasks.append(asyncio.create_task(run()))


def write_throughput(path: Path, throughputs: Mapping[str, Throughput]) -> None:
    """Write the measured throughput of each server as JSON.

    Each entry has the keys `tokens`, `requests`, `busy_seconds` and `tokens_per_second`.
    """
    document = {
        name: {
            "tokens": meter.tokens,
            "requests": meter.requests,
            "busy_seconds": round(meter.busy_seconds, 3),
            "tokens_per_second": round(meter.tokens_per_second, 1),
        }
        for name, meter in throughputs.items()
    }
    replace_file(path, json.dumps({"schema": 1, "servers": document}))
