"""Start a gateway with a real trace store and real llama.cpp servers for tests."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil

from tests.free_ports import free_port
from tests.prepared_embedder import link_weights
from tests.simulated_provider.paid_provider import PaidProvider
from tests.stored_passages import build_passages, store_passages
from twin_resources.authors import Author, list_author_slugs, write_author
from twin_resources.authors.answer_forms import ProseRelease
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.models.serving.model_server import ServerProcess
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion, write_policy
from twin_resources.settings import Settings, load_secrets
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

START_S = 300.0  # long, because other processes may use the same cores
PASSAGES = (
    ("On oil", "A clock wants one drop of oil on each pivot, and no more than one drop."),
    ("On brass", "Old brass is cleaned with lemon and patience; polish takes the engraving away."),
    ("On winding", "Wind a clock at the same hour every week and it will keep better time."),
    ("On pendulums", "A longer pendulum swings more slowly: a metre takes about a second a side."),
)


@dataclass
class Stack:
    """One home with its processes.

    Attributes:
        settings: the settings of the home.
        model: GGUF file of every version.
        environ: additions to the gateway's environment.
        servers: the entries of `servers.json`.
        models: the running model servers, by the version's name.
    """

    settings: Settings
    model: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    servers: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[str, ServerProcess] = field(default_factory=dict)
    traces: subprocess.Popen[bytes] | None = None
    relay: subprocess.Popen[bytes] | None = None
    gateway: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.gateway_port}"

    @property
    def key(self) -> str:
        return load_secrets(self.settings).gateway_key

    def client(self, key: str = "") -> openai.OpenAI:
        """Return the official client without retries, which would hide lost requests."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key=key or self.key,
            max_retries=0,
            timeout=60,
            http_client=httpx.Client(trust_env=False, timeout=60),
        )

    def post(
        self, body: object, *, key: str = "", path: str = "chat/completions", **headers: str
    ) -> httpx.Response:
        return httpx.post(
            f"{self.url}/v1/{path}",
            json=body,
            headers={"Authorization": f"Bearer {key or self.key}", **headers},
            timeout=60,
            trust_env=False,
        )

    def stream(
        self, body: object, *, key: str = "", path: str = "chat/completions"
    ) -> AbstractContextManager[httpx.Response]:
        """Send a request, and let the caller read the response or disconnect."""
        return httpx.stream(
            "POST",
            f"{self.url}/v1/{path}",
            json=body,
            headers={"Authorization": f"Bearer {key or self.key}"},
            timeout=60,
            trust_env=False,
        )

    def start(self, *models: str) -> None:
        """Start the trace store, the relay, a server for each version, and the gateway."""
        self.start_traces()
        self.start_relay()
        for name in models:
            self.start_model(name)
        self.start_gateway()

    def start_traces(self) -> None:
        database = self.settings.home / "traces.sqlite"
        arguments = ["--port", str(self.settings.traces_port), "--db", str(database)]
        self.traces = self._start(
            "twin_resources.observability.trace_store.local_store", "traces", arguments
        )
        self.wait(lambda: self._is_ready(self.settings.traces_port, "/api/public/health"))

    def start_relay(self) -> None:
        """Start the relay, which sends spans and scores from the outbox to the trace store."""
        self.relay = self._start("twin_resources.observability.langfuse.relay", "relay", [])

    def start_model(self, name: str, process: ServerProcess | None = None) -> None:
        """Start a server for the version `name`, and wait until the gateway lists it.

        Args:
            process: a server that has already been started, or None.
        """
        alias = name.replace("/", "-")
        process = process or ServerProcess(self.settings, self.model, alias=alias)
        server = process.wait_until_ready()
        self.models[name] = process
        self.servers[name] = {"url": server.url, "alias": server.alias, "key": server.key}
        self.publish()
        self._wait_until_servers_read()

    def unlist(self, name: str) -> None:
        """Remove a killed server from the list, and wait until the gateway has reread it.

        Requests to its URL would fail, and the breaker would count them against a canary.
        """
        if self.servers.pop(name, None) is not None:
            self.publish()
            self._wait_until_servers_read()

    def serve_base_with(self, process: ServerProcess) -> None:
        """Use this server for the base model, with nothing released.

        The server's name does not change, so only an answer shows that the gateway uses it.
        """
        server, tokens_before = process.wait_until_ready(), count_processed_tokens(process)
        self.servers["base"] = {"url": server.url, "alias": server.alias, "key": server.key}
        self.reset()
        author = next(iter(list_author_slugs(self.settings)))
        question = [{"role": "user", "content": "?"}]
        body = {"model": f"twin/{author}@base", "messages": question, "max_tokens": 1}
        self.wait(
            lambda: (
                self.post(body).status_code == 200
                and count_processed_tokens(process) > tokens_before
            )
        )

    def _wait_until_servers_read(self) -> None:
        if self.gateway is None or self.gateway.poll() is not None:
            return

        def is_known() -> bool:
            ready = httpx.get(f"{self.url}/health/readiness", trust_env=False, timeout=60)
            return ready.json()["servers"] == sorted(self.servers)

        self.wait(is_known)

    def publish(self, *, ready: Callable[[str], bool] = lambda _: True) -> None:
        """Write servers.json as the fleet does; `ready` decides by name which servers are ready."""
        entries = {name: entry | {"ready": ready(name)} for name, entry in self.servers.items()}
        path = self.settings.servers_path
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"schema": 1, "servers": entries}), encoding="utf-8")
        partial.replace(path)

    def reset(self) -> None:
        """Release nothing, list every server, and wait until the gateway has read both."""
        self.publish()
        self.release_nothing()
        self._wait_until_servers_read()

    def release(
        self,
        author: str,
        version: int,
        *,
        template: str = DEFAULT_TEMPLATE.hash,
        canary: int | None = None,
    ) -> None:
        """Write a policy with this stable version, whose prose is released.

        Args:
            canary: a version that gets every question, or None.
        """

        def create_version(number: int) -> ServedVersion:
            checkpoint, prose = f"checkpoint-{number}", ProseRelease("")
            return ServedVersion(number, checkpoint, template, "", None, "", "", prose)

        entry = AuthorPolicy(
            stable=create_version(version),
            canary=None if canary is None else create_version(canary),
            weights={"stable": 1.0} if canary is None else {"stable": 0.0, "canary": 1.0},
        )
        write_policy(self.settings.policy_path, Policy("", "", {author: entry}))

    def release_nothing(self) -> None:
        """Release nothing, and wait until the gateway has read the policy."""
        write_policy(self.settings.policy_path, Policy("", "", {}))
        if self.gateway is None or self.gateway.poll() is not None:
            return

        def is_known() -> bool:
            models = httpx.get(
                f"{self.url}/v1/models",
                headers={"Authorization": f"Bearer {self.key}"},
                trust_env=False,
                timeout=60,
            )
            names = [str(model["id"]) for model in models.json()["data"]]
            return not [name for name in names if name.endswith(("@stable", "@canary"))]

        self.wait(is_known)

    def start_gateway(self, *, processes: int = 1) -> float:
        """Start the gateway, wait until it is ready, and return the seconds that this took."""
        started = time.monotonic()
        arguments = ["--processes", str(processes)]
        self.gateway = self._start("twin_resources.gateway", "gateway", arguments)
        port = self.settings.gateway_port
        self.wait(lambda: self._is_ready(port, "/health/readiness"), seconds=START_S * processes)
        return time.monotonic() - started

    def worker(self) -> psutil.Process:
        """Return the process that runs LiteLLM."""
        assert self.gateway is not None
        children = psutil.Process(self.gateway.pid).children()
        return max(children, key=lambda child: child.memory_info().rss)

    def wait(self, condition: Callable[[], object], *, seconds: float = START_S) -> None:
        """Wait until a condition is true, or fail with the end of the gateway's log."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.gateway is not None and self.gateway.poll() is not None:
                raise AssertionError(f"the gateway has ended: {self.read_log('gateway')}")
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"the condition is not met after {seconds} s; {self.read_log('gateway')}"
                )
            time.sleep(0.05)

    def read_log(self, name: str) -> str:
        """Return a log's path and its end, to be shown with a failure."""
        return f"{self._log_path(name)}: {self.read_whole_log(name)[-2000:]}"

    def read_whole_log(self, name: str) -> str:
        return self._log_path(name).read_text(encoding="utf-8", errors="replace")

    def _log_path(self, name: str) -> Path:
        return self.settings.logs_dir / f"{name}.log"

    def trace(self, trace_id: str) -> dict[str, Any]:
        """Wait for an answer's trace, which arrives about a second later, and return it."""
        with LangfuseClient.from_settings(self.settings) as client:
            self.wait(lambda: list(client.observations(trace_id=trace_id)))
            return client.trace(trace_id)

    def stop(self) -> None:
        for process in (self.gateway, self.relay, self.traces):
            stop_process(process)
        for model in self.models.values():
            model.stop()

    def stop_traces(self) -> None:
        stop_process(self.traces)

    def _is_ready(self, port: int, path: str) -> bool:
        try:
            url = f"http://127.0.0.1:{port}{path}"
            return httpx.get(url, trust_env=False, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def _start(self, module: str, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        settings = self.settings
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("TWIN_", "LANGFUSE_"))
        }
        environment |= {
            "TWIN_HOME": str(settings.home),
            "TWIN_GATEWAY_PORT": str(settings.gateway_port),
            "TWIN_TRACES_PORT": str(settings.traces_port),
            **(self.environ if name == "gateway" else {}),
        }
        settings.logs_dir.mkdir(parents=True, exist_ok=True)
        with (settings.logs_dir / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


def parse_events(text: str) -> list[dict[str, Any]]:
    """Return the JSON documents of a streamed response."""
    lines = (line for line in text.splitlines() if line.startswith("data: {"))
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def stop_process(process: subprocess.Popen[bytes] | None) -> None:
    """Terminate a process if it is running, and kill it after 15 seconds."""
    if process is not None and process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def throttle_process(pid: int, *, stopped_s: float, running_s: float) -> Iterator[None]:
    """Pause a process group repeatedly, so that it runs slowly; it may be killed meanwhile."""
    stop = threading.Event()

    def pause_repeatedly() -> None:
        with suppress(ProcessLookupError):  # it was killed
            while not stop.is_set():
                os.killpg(pid, signal.SIGSTOP)
                stop.wait(stopped_s)
                os.killpg(pid, signal.SIGCONT)
                stop.wait(running_s)

    thread = threading.Thread(target=pause_repeatedly)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def slow_down_provider(provider: PaidProvider, token_s: float) -> Iterator[None]:
    """Delay each token in the provider's streams by this many seconds."""
    behavior = provider.behavior
    provider.behavior = replace(behavior, token_s=token_s)
    try:
        yield
    finally:
        provider.behavior = behavior


def count_processed_tokens(server: ServerProcess) -> int:
    """Return the number of tokens that a model server has read and written."""
    metrics = read_server_metrics(server)
    return metrics["prompt"] + metrics["predicted"]


def read_server_metrics(server: ServerProcess) -> dict[str, int]:
    """Read the metrics of a model server.

    Returns:
        `prompt` and `predicted` (tokens of finished answers), `decoded` (steps of the model, each
        for all concurrent answers), `processing` and `deferred` (running and waiting requests).
    """
    running = server.wait_until_ready()
    metrics = httpx.get(
        running.url.removesuffix("/v1") + "/metrics",
        headers={"Authorization": f"Bearer {running.key}"},
        trust_env=False,
        timeout=60,
    ).text
    names = {
        "prompt": "prompt_tokens_total",
        "predicted": "tokens_predicted_total",
        "decoded": "n_decode_total",
        "processing": "requests_processing",
        "deferred": "requests_deferred",
    }
    values_by_name = {
        name: re.findall(rf"^llamacpp:{metric} (\d+)", metrics, re.MULTILINE)
        for name, metric in names.items()
    }
    assert all(len(values) == 1 for values in values_by_name.values()), metrics
    return {name: int(values[0]) for name, values in values_by_name.items()}


def embed_passages(settings: Settings, author: str) -> None:
    """Fill the author's table of passages as the asset does; a passage is a whole post."""
    tables = Tables(settings.tables_base, state=open_home_state(settings))
    rows = [
        {
            "chunk_id": f"post-{number}-c{number}",
            "document_id": f"post-{number}",
            "title": title,
            "url": f"https://clocks.example/{number}",
            "text": text,
        }
        for number, (title, text) in enumerate(PASSAGES)
    ]
    store_passages(tables, author, build_passages(rows, load_embedder(settings)))


@contextmanager
def new_stack(
    folder: Path, weights: Path, model: Path, *, environ: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """Create a home with two authors, without posts and without running processes.

    Args:
        weights: folder of the prepared embedder.
        model: GGUF file that every model server loads.
        environ: additions to the gateway's environment; may be changed until it starts.
    """
    settings = Settings(home=folder / "home", gateway_port=free_port(), traces_port=free_port())
    settings.home.mkdir(parents=True)
    link_weights(weights, settings)
    write_author(settings, Author("ann", "Ann Bell", max_tokens=24, temperature=0.0))
    write_author(settings, Author("bob", "Bob Stone", max_tokens=24, answer="voice"))
    stack = Stack(settings, model, {} if environ is None else environ)
    try:
        yield stack
    finally:
        stack.stop()
