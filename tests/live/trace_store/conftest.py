"""Run the trace store as a separate process, as in the stack."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.trace_store_process import start_trace_store
from twin_resources.observability.langfuse.client import LangfuseClient

PUBLIC_KEY, SECRET_KEY = "pk-lf-live", "sk-lf-live-secret"


@dataclass
class RunningStore:
    """A running store; `host` is its base URL."""

    host: str
    process: subprocess.Popen[bytes]
    log: Path

    def client(self) -> LangfuseClient:
        return LangfuseClient(self.host, public_key=PUBLIC_KEY, secret_key=SECRET_KEY)


StartStore = Callable[[], RunningStore]


@pytest.fixture
def start_store(tmp_path: Path, process_logs: Path) -> Iterator[StartStore]:
    """Return a function that starts the store; a second call restarts it on the same database."""
    stores: list[RunningStore] = []

    def start() -> RunningStore:
        log = process_logs / f"trace-store-{len(stores)}.log"
        keys = {"TWIN_TRACES_PUBLIC_KEY": PUBLIC_KEY, "TWIN_TRACES_SECRET_KEY": SECRET_KEY}
        with log.open("wb") as output:
            process, port = start_trace_store(
                tmp_path,
                tmp_path / "traces.sqlite",
                tmp_path / f"port-{len(stores)}",
                env=os.environ | keys,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        stores.append(RunningStore(f"http://127.0.0.1:{port}", process, log))
        return stores[-1]

    yield start
    for store in stores:
        store.process.terminate()
        assert store.process.wait(timeout=120) in (0, -15, -9)


@pytest.fixture
def store(start_store: StartStore) -> RunningStore:
    return start_store()
