"""`python -m twin_resources.models.serving.model_server_process`: run one llama.cpp server.

Scope: the server's parameters and its process.
Out of scope: starting and monitoring it (`model_server.py`, `fleet.py`).

The HTTP server runs in native threads (https://github.com/xorbitsai/xllamacpp). This process waits
for SIGTERM, and ends with its parent.
"""
# pyright: reportAttributeAccessIssue=false
# (xllamacpp is a compiled module without type stubs)

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from twin_resources.atomic_writes import replace_file
from twin_resources.processes.parent_death import end_with_parent
from twin_resources.processes.processor import count_usable_cores

if TYPE_CHECKING:
    from xllamacpp import CommonParams

PARALLEL_REQUESTS = 2
CONTEXT_TOKENS = 4096  # per request; a prompt with passages has about 1,000 tokens


def build_server_parameters(
    base: Path,
    adapter: Path | None,
    *,
    alias: str,
    key: str,
    threads: int,
    prompt_cache_mib: int,
) -> CommonParams:
    """Return one version's parameters: the base model, at most one adapter, and an f16 cache."""
    from xllamacpp import (
        CommonAdapterLoraInfo,
        CommonParams,
        common_reasoning_format,
        ggml_type,
        llama_flash_attn_type,
    )

    parameters = CommonParams()
    parameters.model.path = str(base)
    parameters.model_alias = {alias}
    if adapter is not None:
        parameters.lora_adapters = [CommonAdapterLoraInfo(path=str(adapter), scale=1.0)]
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0  # any free port
    parameters.api_keys = [key]
    parameters.n_parallel = PARALLEL_REQUESTS
    parameters.n_ctx = PARALLEL_REQUESTS * CONTEXT_TOKENS
    parameters.cache_type_k = ggml_type.GGML_TYPE_F16
    parameters.cache_type_v = ggml_type.GGML_TYPE_F16
    # llama.cpp's default of 8 GiB would exceed the machine's memory.
    parameters.cache_ram_mib = prompt_cache_mib
    parameters.flash_attn_type = llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.fit_params = False  # memory pressure must not change the served model's parameters
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.n_threads_http = 2 * PARALLEL_REQUESTS + 2
    parameters.reasoning_format = common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    parameters.ui = False
    parameters.endpoint_slots = False  # it would reveal the prompts in progress
    parameters.endpoint_metrics = True  # number of requests in progress, for draining
    parameters.verbosity = 1
    return parameters


def main() -> int:
    """Serve until SIGTERM or SIGINT arrives; a killed parent ends this process at once."""
    parser = argparse.ArgumentParser(
        prog="python -m twin_resources.models.serving.model_server_process"
    )
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--parent", type=int, default=os.getppid())
    parser.add_argument("--prompt-cache-mib", type=int, default=64)
    parser.add_argument("--threads", type=int, default=default_thread_count())
    options = parser.parse_args()
    end_with_parent(options.parent)  # before the model is loaded: long where memory is short
    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    key = os.environ.pop("TWIN_MODEL_SERVER_KEY", "")
    if not key:
        sys.stderr.write("TWIN_MODEL_SERVER_KEY is not set; a server needs a key\n")
        return 2

    from xllamacpp import Server

    server = Server(
        build_server_parameters(
            options.base,
            options.adapter,
            alias=options.alias,
            key=key,
            threads=options.threads,
            prompt_cache_mib=options.prompt_cache_mib,
        )
    )
    address = server.listening_address
    ready = {"port": int(address.rsplit(":", 1)[1]), "pid": os.getpid()}
    replace_file(options.port_file, json.dumps(ready))
    stop.wait()
    options.port_file.unlink(missing_ok=True)
    del server  # this closes the port and joins the native threads
    return 0


def default_thread_count() -> int:
    """Return half the number of cores that this process may use, at least one.

    llama.cpp's threads wait for each other in a busy loop at every layer. During a training run on
    two cores, two threads took 38 CPU seconds (134 s) for 770 prompt tokens and 100 answer tokens.
    One thread took 6.9 CPU seconds (27 s).
    """
    return max(1, count_usable_cores() // 2)


def max_concurrent_servers() -> int:
    """Return how many servers can compute without sharing a core."""
    return max(1, count_usable_cores() // default_thread_count())


if __name__ == "__main__":
    sys.exit(main())
