"""Compare the gateway's CPU cost with that of LiteLLM alone.

    python -m tests.bench.bench_gateway --quick | --full [--json FILE]

Scope: one stack (llama.cpp server with a generated model, gateway, trace store) and LiteLLM's proxy
in front of the same model server, with alternating requests. Out of scope: the stack
(`tests/live/gateway/stack.py`), the router (`bench_routing.py`), the guards (`bench_guards.py`).

CPU time is that of the process that runs LiteLLM, over whole rounds of requests, without the model
server. The generated model writes a token in a fraction of a millisecond, so that waiting hides no
cost. Every peer runs a round before the next round starts; figures are medians of the rounds.
"Without posts" asks an author without a table: plugin, keys, guards and trace, but no retrieval.
Retrieval and quotations have separate rows.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.bench.rows import Row, bounded_row, create_parser, print_results
from tests.free_ports import free_port
from tests.live.gateway.stack import Stack, embed_passages, new_stack, stop_process
from tests.live.gateway.tiny_gguf import write_tiny_gguf
from tests.prepared_base import base_gguf
from tests.prepared_embedder import prepare_weights

QUESTION = "How much oil does a clock need?"
TOKENS = 24
MAX_REQUEST_RATIO, MAX_STREAM_RATIO = 1.5, 1.3  # relative to LiteLLM alone
MASTER_KEY = "sk-bench-of-litellm-alone"

Ask = Callable[[bool], None]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(
        "Compare the gateway's CPU cost with LiteLLM alone.",
        quick="5 rounds of 10 requests, under a minute",
        full="15 rounds of 20 requests",
    )
    options = parser.parse_args(arguments)
    round_count, per_round = (15, 20) if options.full else (5, 10)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = prepare_weights()
        model = write_tiny_gguf(Path(folder) / "tiny.gguf", tokenizer_from=base_gguf())
        with new_stack(Path(folder), weights, model) as stack:
            embed_passages(stack.settings, "ann")
            stack.start("base")
            with litellm_alone(stack, Path(folder)) as (url, process):
                rows += cpu_rows(stack, url, process, round_count=round_count, per_round=per_round)
    return print_results(rows, options.json)


def _body(model: str, stream: bool, tokens: int) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": tokens,
        "temperature": 0,
        "stop": ["never in a thousand years"],
    }
    return body | ({"stream": True} if stream else {})


@contextmanager
def litellm_alone(stack: Stack, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run LiteLLM's proxy in front of the same model server; yield its URL and process."""
    server = stack.servers["base"]
    parameters = {
        "model": f"openai/{server['alias']}",
        "api_base": server["url"],
        "api_key": server["key"],
    }
    config = {
        "model_list": [{"model_name": "base", "litellm_params": parameters}],
        "litellm_settings": {"telemetry": False},
        "general_settings": {"master_key": MASTER_KEY},
    }
    path = folder / "alone.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("TWIN_", "LANG"))
    } | {
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
    }
    program = str(Path(sys.executable).parent / "litellm")
    with (folder / "alone.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "--config", str(path), "--port", str(port), "--host", "127.0.0.1"],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        if process.poll() is not None:
            raise AssertionError((folder / "alone.log").read_text(encoding="utf-8")[-2000:])
        try:
            health = f"{url}/health/liveliness"
            return httpx.get(health, trust_env=False, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        stack.wait(is_ready)
        yield url, psutil.Process(process.pid)
    finally:
        stop_process(process)


def cpu_rows(
    stack: Stack, alone_url: str, alone: psutil.Process, *, round_count: int, per_round: int
) -> list[Row]:
    """Return rows for the CPU time of a request and of a stream, relative to LiteLLM alone."""
    gateway, client = stack.worker(), httpx.Client(trust_env=False, timeout=60)

    def create_ask(url: str, key: str, model: str) -> Ask:
        def ask(stream: bool) -> None:
            response = client.post(
                f"{url}/v1/chat/completions",
                json=_body(model, stream, TOKENS),
                headers={"Authorization": f"Bearer {key}"},
            )
            response.raise_for_status()

        return ask

    peers: dict[str, tuple[psutil.Process, Ask]] = {
        "alone": (alone, create_ask(alone_url, MASTER_KEY, "base")),
        "without posts": (gateway, create_ask(stack.url, stack.key, "twin/bob@base")),
        "with passages": (gateway, create_ask(stack.url, stack.key, "twin/ann@base")),
        "with quotations": (gateway, create_ask(stack.url, stack.key, "twin/ann@voice")),
    }
    rows: list[Row] = []
    for stream, name, max_ratio in (
        (False, "request", MAX_REQUEST_RATIO),
        (True, f"stream of {TOKENS} pieces", MAX_STREAM_RATIO),
    ):
        costs: dict[str, list[float]] = {peer: [] for peer in peers}
        for _, ask in peers.values():
            ask(stream)  # opens the connections
        for _ in range(round_count):
            for peer, (process, ask) in peers.items():
                cpu_before_s = _cpu_seconds(process)
                for _ in range(per_round):
                    ask(stream)
                time.sleep(0.3)  # the trace is written after the answer
                costs[peer].append((_cpu_seconds(process) - cpu_before_s) / per_round * 1000)
        median = {peer: statistics.median(values) for peer, values in costs.items()}
        peer_cost = {"LiteLLM alone": median["alone"]}
        ratio = median["without posts"] / median["alone"]
        label = f"CPU of a {name}"
        rows.append(bounded_row(f"{label}, by LiteLLM alone", ratio, "x", at_most=max_ratio))
        rows.append(bounded_row(label, median["without posts"], "CPU-ms", peers=peer_cost))
        for part in ("with passages", "with quotations"):
            rows.append(bounded_row(f"{label}, {part}", median[part], "CPU-ms", peers=peer_cost))
    return rows


def _cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU seconds of a process so far; the 10 ms steps of /proc are too coarse."""
    clock = ctypes.c_int()
    error = ctypes.CDLL(None).clock_getcpuclockid(process.pid, ctypes.byref(clock))
    if error:
        raise OSError(error, "clock_getcpuclockid")
    return time.clock_gettime(clock.value)


if __name__ == "__main__":
    sys.exit(main())
