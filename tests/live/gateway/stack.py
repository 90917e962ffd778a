"""The processes around a gateway, all real: trace store, llama.cpp servers, the gateway itself.

Scope: starting and ending them for tests, and what several tests do with them.
Out of scope: assertions.
"""

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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import openai
import polars as pl
import psutil

from tests.free_ports import free_port
from tests.prepared_embedder import lend_weights, prepare_weights
from tests.simulated_provider.paid_provider import PaidProvider
from twin_assets.knowledge import embedding, quotable_rows, quote_calibration_rows
from twin_assets.knowledge.chunking import chunk_columns
from twin_resources.authors import Author, author_slugs, write_author
from twin_resources.authors.answer_forms import ProseRelease
from twin_resources.models.embedder.embedder import Embedder, load_embedder
from twin_resources.models.quotes import quoter
from twin_resources.models.retrieval.index import update_indexes
from twin_resources.models.serving.model_server import ServerProcess
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.policy import (
    AuthorPolicy,
    Policy,
    ServedVersion,
    write_policy,
)
from twin_resources.settings import Settings, load_secrets
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

START_S = 300.0  # on cores that others use, too: nothing but a failure waits so long
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
        settings: of that home.
        model: GGUF file of every version.
        environ: added to the environment of the gateway.
        servers: what `servers.json` lists.
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
        """The official client, without retries of its own: a lost request shall be seen."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key=key or self.key,
            max_retries=0,
            timeout=60,
            http_client=httpx.Client(trust_env=False, timeout=60),
        )

    def post(self, body: object, *, key: str = "", **headers: str) -> httpx.Response:
        return httpx.post(
            f"{self.url}/v1/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {key or self.key}", **headers},
            timeout=60,
            trust_env=False,
        )

    def start_traces(self) -> None:
        database = self.settings.home / "traces.sqlite"
        arguments = ["--port", str(self.settings.traces_port), "--db", str(database)]
        self.traces = self._start(
            "twin_resources.observability.trace_store.local_store", "traces", arguments
        )
        self.wait(lambda: self._answers(self.settings.traces_port, "/api/public/health"))

    def start_relay(self) -> None:
        """What carries spans and scores from the outbox to the trace store."""
        self.relay = self._start("twin_resources.observability.langfuse.relay", "relay", [])

    def start_model(self, name: str, process: ServerProcess | None = None) -> None:
        """A server for the version key `name`, its entry in servers.json, known to the gateway.

        Args:
            process: one that has been started before, where the start may not take its time.
        """
        alias = name.replace("/", "-")
        process = process or ServerProcess(self.settings, self.model, alias=alias)
        server = process.wait_until_ready()
        self.models[name] = process
        self.servers[name] = {"url": server.url, "alias": server.alias, "key": server.key}
        self.publish()
        self._wait_until_followed()

    def unlist(self, name: str) -> None:
        """A killed server leaves the list, and the gateway knows it.

        Whoever is sent to its old address fails, and the breaker counts that against a canary.
        """
        if self.servers.pop(name, None) is not None:
            self.publish()
            self._wait_until_followed()

    def answer_base_by(self, process: ServerProcess) -> None:
        """The base model is that server from now on, with nothing released.

        Its name was known before, so that only an answer tells whether the gateway has followed.
        """
        server, before = process.wait_until_ready(), requests_of(process)
        self.servers["base"] = {"url": server.url, "alias": server.alias, "key": server.key}
        self.reset()
        author = next(iter(author_slugs(self.settings)))
        question = [{"role": "user", "content": "?"}]
        asked = {"model": f"twin/{author}@base", "messages": question, "max_tokens": 1}
        self.wait(lambda: self.post(asked).status_code == 200 and requests_of(process) > before)

    def _wait_until_followed(self) -> None:
        if self.gateway is None or self.gateway.poll() is not None:
            return

        def knows() -> bool:
            ready = httpx.get(f"{self.url}/health/readiness", trust_env=False, timeout=60)
            return ready.json()["servers"] == sorted(self.servers)

        self.wait(knows)

    def publish(self, *, ready: Callable[[str], bool] = lambda _: True) -> None:
        """Write servers.json as the fleet does."""
        listed = {name: entry | {"ready": ready(name)} for name, entry in self.servers.items()}
        path = self.settings.servers_path
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"schema": 1, "servers": listed}), encoding="utf-8")
        partial.replace(path)

    def reset(self) -> None:
        """Nothing released, every server listed, and the gateway knows it."""
        self.publish()
        self.unrelease()
        self._wait_until_followed()

    def release(
        self,
        author: str,
        version: int,
        *,
        template: str = DEFAULT_TEMPLATE.hash,
        canary: int | None = None,
    ) -> None:
        """Write a policy in which that version is stable, and its prose released.

        Args:
            canary: a version on trial to which every question goes.
        """

        def served(number: int) -> ServedVersion:
            checkpoint, prose = f"checkpoint-{number}", ProseRelease("")
            return ServedVersion(number, checkpoint, template, "", None, "", "", prose)

        entry = AuthorPolicy(
            stable=served(version),
            canary=None if canary is None else served(canary),
            weights={"stable": 1.0} if canary is None else {"stable": 0.0, "canary": 1.0},
        )
        write_policy(self.settings.policy_path, Policy("", "", {author: entry}))

    def unrelease(self) -> None:
        """Nothing is released, and the gateway knows it."""
        write_policy(self.settings.policy_path, Policy("", "", {}))
        if self.gateway is None or self.gateway.poll() is not None:
            return

        def knows() -> bool:
            models = httpx.get(
                f"{self.url}/v1/models",
                headers={"Authorization": f"Bearer {self.key}"},
                trust_env=False,
                timeout=60,
            )
            names = [str(model["id"]) for model in models.json()["data"]]
            return not [name for name in names if name.endswith(("@stable", "@canary"))]

        self.wait(knows)

    def start_gateway(self, *, processes: int = 1) -> float:
        """Start it and wait until it is ready; returns the seconds that took."""
        started = time.monotonic()
        arguments = ["--processes", str(processes)]
        self.gateway = self._start("twin_resources.gateway", "gateway", arguments)
        port = self.settings.gateway_port
        self.wait(lambda: self._answers(port, "/health/readiness"), seconds=START_S * processes)
        return time.monotonic() - started

    def worker(self) -> psutil.Process:
        """The process that runs LiteLLM."""
        assert self.gateway is not None
        children = psutil.Process(self.gateway.pid).children()
        return max(children, key=lambda child: child.memory_info().rss)

    def wait(self, true: Callable[[], object], *, seconds: float = START_S) -> None:
        """Wait until `true()`; fails with the end of the gateway's log."""
        ends = time.monotonic() + seconds
        while not true():
            if self.gateway is not None and self.gateway.poll() is not None:
                raise AssertionError(f"the gateway ended: {self.log('gateway')}")
            if time.monotonic() > ends:
                raise AssertionError(f"not within {seconds} s; log: {self.log('gateway')}")
            time.sleep(0.05)

    def log(self, name: str) -> str:
        path = self.settings.logs_dir / f"{name}.log"
        return f"{path}: {path.read_text(encoding='utf-8', errors='replace')[-2000:]}"

    def trace(self, trace_id: str) -> dict[str, Any]:
        """The trace of an answer; spans arrive about a second after it."""
        with LangfuseClient.from_settings(self.settings) as client:
            self.wait(lambda: list(client.observations(trace_id=trace_id)))
            return client.trace(trace_id)

    def stop(self) -> None:
        for process in (self.gateway, self.relay, self.traces):
            end(process)
        for model in self.models.values():
            model.stop()

    def stop_traces(self) -> None:
        end(self.traces)

    def _answers(self, port: int, path: str) -> bool:
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


def end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def dragged(pid: int, *, stopped_s: float, running_s: float) -> Iterator[None]:
    """A process group that hardly gets to run; it may be killed meanwhile."""
    over = threading.Event()

    def drag() -> None:
        with suppress(ProcessLookupError):  # it was killed
            while not over.is_set():
                os.killpg(pid, signal.SIGSTOP)
                over.wait(stopped_s)
                os.killpg(pid, signal.SIGCONT)
                over.wait(running_s)

    thread = threading.Thread(target=drag)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def slow_tokens(provider: PaidProvider, token_s: float) -> Iterator[None]:
    """The provider's streams take so long for a token, whatever else the machine does meanwhile."""
    behaviour = provider.behaviour
    provider.behaviour = replace(behaviour, token_s=token_s)
    try:
        yield
    finally:
        provider.behaviour = behaviour


def requests_of(server: ServerProcess) -> int:
    """How many tokens that model server has read and written so far: more after any request."""
    counted = tokens_of(server)
    return counted["prompt"] + counted["predicted"]


def tokens_of(server: ServerProcess) -> dict[str, int]:
    """What a model server tells of itself: tokens `prompt` and `predicted` of answers that ended,
    steps of the model (`decoded`, one for the tokens of all answers under way), and requests
    `processing` and waiting (`deferred`)."""
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
    found = {
        name: re.findall(rf"^llamacpp:{told} (\d+)", metrics, re.MULTILINE)
        for name, told in names.items()
    }
    assert all(len(values) == 1 for values in found.values()), metrics
    return {name: int(values[0]) for name, values in found.items()}


def embed_passages(settings: Settings, author: str) -> None:
    """Fill the author's table of embeddings as the asset does."""
    embedder = load_embedder(settings)
    chunks = pl.DataFrame(
        [
            {
                "chunk_id": f"post-{number}-c{number}",
                "document_id": f"post-{number}",
                "title": title,
                "url": f"https://clocks.example/{number}",
                "published_at": None,
                "position": 0,
                "start": 0,
                "end": len(text),
                "heading": title,
                "text": text,
                "token_count": embedder.count_tokens([text])[0],
            }
            for number, (title, text) in enumerate(PASSAGES)
        ],
        schema=dict(chunk_columns()),
    )
    tables = Tables(settings.tables_base, state=State.open(settings.state_address))
    tables.sync(
        chunks,
        "embeddings",
        author=author,
        key="chunk_id",
        function=lambda changed: embedding.embed_chunks(changed, embedder),
        version="1",
        schema=embedding.embedding_columns(embedder.dimension),
        row_key="chunk_id",
    )
    update_indexes(tables, author, language="en")
    _embed_quotations(tables, embedder, author)


def _embed_quotations(tables: Tables, embedder: Embedder, author: str) -> None:
    """Fill the author's tables of quotations as the assets do, from the same posts."""
    documents = pl.DataFrame(
        [
            {
                "document_id": f"post-{number}",
                "title": title,
                "url": f"https://clocks.example/{number}",
                "published_at": None,
                "language": "en",
                "text": text,
                "kept": True,
            }
            for number, (title, text) in enumerate(PASSAGES)
        ],
        schema_overrides={"published_at": pl.Datetime("us", "UTC")},
    )
    tables.sync(
        documents,
        quoter.PASSAGES_TABLE,
        author=author,
        key="document_id",
        function=lambda changed: quotable_rows.embed_passages(changed, embedder),
        version="1",
        schema=quotable_rows.passage_columns(embedder.dimension),
        row_key="passage_id",
    )
    quoter.update_index(tables, author)
    passages = tables.read(quoter.PASSAGES_TABLE, author)
    tables.sync(
        pl.DataFrame({"author": [author]}),
        quoter.CALIBRATION_TABLE,
        author=author,
        key="author",
        function=lambda _: quote_calibration_rows.calibration_row(author, passages, embedder),
        version="1",
        schema=quote_calibration_rows.calibration_columns(embedder.dimension),
        row_key="author",
    )


@contextmanager
def new_stack(
    folder: Path, weights: Path, model: Path, *, environ: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """A home with two authors, nothing in it and nothing started yet.

    Args:
        weights: folder with the prepared embedder.
        model: GGUF file that every model server loads.
        environ: added to the environment of the gateway; may be filled until it starts.
    """
    settings = Settings(home=folder / "home", gateway_port=free_port(), traces_port=free_port())
    settings.home.mkdir(parents=True)
    lend_weights(weights, settings)
    write_author(
        settings,
        Author("ann", "Ann Bell", max_tokens=24, temperature=0.0),
    )
    write_author(settings, Author("bob", "Bob Stone", max_tokens=24, answer="voice"))
    stack = Stack(settings, model, {} if environ is None else environ)
    try:
        yield stack
    finally:
        stack.stop()


__all__ = ["PASSAGES", "Stack", "embed_passages", "new_stack", "prepare_weights", "requests_of"]
