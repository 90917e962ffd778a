"""Start and stop llama.cpp server processes, or use an external OpenAI-compatible server.

Scope: starting a server for one model version, waiting until it answers, and stopping it.
Out of scope: the code of the process (`model_server_process.py`), choosing the versions
(`fleet.py`), prompts, routing (the gateway).

Each version has its own process, because llama.cpp reuses the key-value cache across the adapters
of a process. After an adapter had answered, 51 of 51 answers from the base model were wrong. In
addition, requests for different adapters wait for each other.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from twin_resources.errors import TwinError
from twin_resources.models.serving import adapter_routes
from twin_resources.models.serving.loaded_adapters import (
    AdapterServer,
    not_offered_error,
    peft_folder,
    served_name,
)
from twin_resources.models.serving.model_server_process import CONTEXT_TOKENS
from twin_resources.models.serving.running_server import RunningServer, authorization_headers
from twin_resources.models.serving.served_precision import (
    F16,
    PRECISION_SEPARATOR,
    external_precision,
    local_engine_name,
)
from twin_resources.processes.priority import lower_session_like_own
from twin_resources.processes.program_progress import ProgramProgress
from twin_resources.settings import Settings
from twin_resources.storage.weights.answer_model import KEY_VARIABLE, split_stored_name
from twin_resources.storage.weights.chat_model import read_gguf_quantization

if TYPE_CHECKING:
    from twin_resources.registry.moves import ModelVersion

STOP_TIMEOUT_S = 10.0
WARM_UP_TIMEOUT_S = 120.0
LOG_TAIL_LINES = 8


class ServerProcess:
    """A llama.cpp server process in its own process group.

    The process ends with its parent, so a killed parent leaves no server behind.
    """

    def __init__(
        self,
        settings: Settings,
        base_gguf: str | Path,
        adapter_gguf: str | Path | None = None,
        *,
        alias: str,
        threads: int = 0,
    ) -> None:
        """Start the process without waiting until it is ready.

        Args:
            threads: number of threads; 0 for half the number of cores.

        Raises:
            TwinError: a file of the model is missing.
        """
        import httpx

        for path in (base_gguf, adapter_gguf):
            if path is not None and not Path(path).is_file():
                raise TwinError(
                    f"start a model server for {alias}",
                    found=f"no file {path}",
                    next_step="prepare the base model, or materialize the checkpoint again",
                )
        self.alias = alias
        self._engine = local_engine_name(read_gguf_quantization(Path(base_gguf)))
        self.key = "sk-model-" + secrets.token_urlsafe(24)
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", alias)
        self.log_path = settings.logs_dir / f"model-server-{name}.log"
        folder = settings.work_dir / "model-servers"
        for directory in (settings.logs_dir, folder):
            directory.mkdir(parents=True, exist_ok=True)
        self._port_file = folder / f"{name}-{os.getpid()}-{secrets.token_hex(4)}.json"
        command = [sys.executable, "-m", "twin_resources.models.serving.model_server_process"]
        command += ["--base", str(base_gguf), "--alias", alias]
        command += ["--port-file", str(self._port_file), "--parent", str(os.getpid())]
        command += ["--prompt-cache-mib", str(settings.prompt_cache_mib)]
        if adapter_gguf is not None:
            command += ["--adapter", str(adapter_gguf)]
        if threads:
            command += ["--threads", str(threads)]
        # The key is an environment variable, because every user of the machine can read arguments.
        environment = os.environ | {"TWIN_MODEL_SERVER_KEY": self.key}
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        lower_session_like_own(self._process.pid)
        self._client = httpx.Client(timeout=5.0, trust_env=False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def running_server(self) -> RunningServer | None:
        """Return the server, or None while it is loading or does not answer.

        Raises:
            TwinError: the process has exited; the message includes the end of its log.
        """
        import httpx

        if self._process.poll() is not None:
            raise TwinError(
                f"serve {self.alias} with llama.cpp",
                found=f"its process exited with {self._process.returncode}: {self.read_log_tail()}",
                next_step=f"read {self.log_path}",
            )
        try:
            port = json.loads(self._port_file.read_text(encoding="utf-8"))["port"]
        except FileNotFoundError:
            return None
        url = f"http://127.0.0.1:{port}"
        try:
            if self._client.get(f"{url}/health").status_code != 200:
                return None
        except httpx.TransportError:
            return None
        return RunningServer(
            f"{url}/v1", self.alias, self.key, self.pid, self._engine, CONTEXT_TOKENS
        )

    def wait_until_ready(self) -> RunningServer:
        """Wait for a healthy response as long as the process makes progress.

        The caller may call this again at any time, because a busy server may miss a health check.

        Raises:
            TwinError: the process exited, made no progress, or was not ready within an hour.
        """
        progress, reason = ProgramProgress(), ""
        while not reason:
            server = self.running_server()
            if server is not None:
                return server
            time.sleep(0.05)
            reason = progress.find_stop_reason(self.pid, self.log_path)
        raise TwinError(
            f"serve {self.alias} with llama.cpp",
            found=f"{reason}: {self.read_log_tail()}",
            next_step=f"read {self.log_path}; a model larger than memory never finishes loading",
        )

    def count_active_requests(self) -> int | None:
        """Return the number of requests in progress; None if the server does not respond in time.

        Raises:
            TwinError: see `running_server`.
        """
        import httpx

        server = self.running_server()
        if server is None:
            return None
        try:
            metrics = self._client.get(
                server.url.removesuffix("/v1") + "/metrics", headers=server.headers
            )
        except httpx.TransportError:
            return None
        match = re.search(r"^llamacpp:requests_processing (\d+)", metrics.text, re.MULTILINE)
        return int(match[1]) if match else None

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def terminate(self) -> None:
        """Send SIGTERM and return at once; `stop` waits."""
        self._signal(signal.SIGTERM)

    def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop the process group with SIGTERM, and with SIGKILL if it does not exit in time."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._client.close()
        self._port_file.unlink(missing_ok=True)

    def read_log_tail(self) -> str:
        """Return the last lines of the log for an error message."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace").strip()
        return " | ".join(text.splitlines()[-LOG_TAIL_LINES:]) or "an empty log"

    def _signal(self, signal_number: int) -> None:
        if self._process.poll() is None:  # the pid of an unreaped process cannot have been reused
            os.killpg(self._process.pid, signal_number)


def warm_up(server: RunningServer) -> float:
    """Request one token, so that the first reader does not wait for the weights to be paged in.

    Returns:
        The duration in seconds, or `WARM_UP_TIMEOUT_S` if the server does not answer in time.

    Raises:
        TwinError: the request fails.
    """
    import httpx

    started_at = time.monotonic()
    body = {
        "model": server.alias,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 1,
    }
    try:
        response = httpx.post(
            f"{server.url}/chat/completions",
            json=body,
            headers=server.headers,
            timeout=WARM_UP_TIMEOUT_S,
            trust_env=False,
        )
        response.raise_for_status()
    except httpx.ReadTimeout:
        return WARM_UP_TIMEOUT_S
    except httpx.HTTPError as error:
        raise TwinError(
            f"warm up {server.alias} at {server.url}",
            found=str(error),
            next_step="read that server's log",
        ) from error
    return time.monotonic() - started_at


class ModelServers:
    """Servers for model versions: one process per version, or the configured external server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def base_alias(self) -> str:
        """The alias of the base model, on this home's server or the configured external server."""
        return self._settings.base_model if self._settings.model_server_url else "base"

    @property
    def engine(self) -> str:
        """Name and version of the inference engine, available before a server runs."""
        settings, url = self._settings, self._settings.model_server_url.rstrip("/")
        if url:
            return remote_engine_name(
                url, settings.model_server_key, settings.model_server_precision
            )
        return local_engine_name(settings.served_precision)

    def precision(self, version: ModelVersion) -> str:
        """Return the precision in which a version is served.

        The precision determines how far answers may differ from the reference (`precision_limits`).
        """
        if self._settings.model_server_url:
            return external_precision(self._settings.model_server_precision, version.base)
        file = Path(version.base_gguf)
        return (read_gguf_quantization(file) if file.is_file() else "") or F16

    @contextmanager
    def serve(
        self,
        base_gguf: str | Path | None,
        adapter_gguf: str | Path | None = None,
        *,
        alias: str,
        adapter: Path | None = None,
    ) -> Iterator[RunningServer]:
        """Serve one version for the duration of the context.

        Args:
            base_gguf: GGUF file of the base model; may be None with `TWIN_MODEL_SERVER_URL`.
            adapter_gguf: GGUF adapter of the version; None for the base model alone.
            alias: name of the version; the server at `TWIN_MODEL_SERVER_URL` must offer it, or load
                it from `adapter`.
            adapter: PEFT folder of the version, which an external server loads for the context;
                None if that server must already offer the alias.

        Raises:
            TwinError: the server did not start, or the external server neither offers nor loads
                the alias.
        """
        if self._settings.model_server_url:
            if adapter is None:
                yield find_remote_server(self._settings, alias)
                return
            with AdapterServer(self._settings).keep_adapter_loaded(alias, adapter):
                yield find_remote_server(self._settings, alias)
            return
        if base_gguf is None:
            raise TwinError(
                f"serve {alias}",
                found="the base model has no GGUF file",
                next_step="set TWIN_MODEL_SERVER_URL to a server that offers it",
            )
        process = ServerProcess(self._settings, base_gguf, adapter_gguf, alias=alias)
        try:
            yield process.wait_until_ready()
        finally:
            process.stop()

    def serve_version(self, version: ModelVersion) -> AbstractContextManager[RunningServer]:
        """Serve a registered version, including an external answer model; see `serve`.

        Raises:
            TwinError: the server did not start, or the external server does not offer the model.
        """
        if version.is_answer_model and split_stored_name(version.base)[0]:
            return nullcontext(find_external_server(self._settings, version.base))
        alias = f"{version.author}/v{version.version}"
        adapter = peft_folder(version.folder)
        if self._settings.model_server_url:
            alias = served_name(version.author, version.version, version.checkpoint, adapter)
        return self.serve(
            version.base_gguf or None, version.adapter_gguf, alias=alias, adapter=adapter
        )


def find_remote_server(settings: Settings, alias: str) -> RunningServer:
    """Return the server at `settings.model_server_url` if it offers `alias`.

    Raises:
        TwinError: the server does not answer or does not offer the alias.
    """
    url, key = settings.model_server_url.rstrip("/"), settings.model_server_key
    offered_models = adapter_routes.list_models(url, key)
    if alias not in offered_models:
        raise not_offered_error(alias, url, offered_models)
    engine = remote_engine_name(url, key, settings.model_server_precision)
    return RunningServer(url, alias, key, None, engine, offered_models[alias].context)


def find_external_server(
    settings: Settings, address: str, *, timeout_s: float = 10.0
) -> RunningServer:
    """Return the server of an answer model at an address.

    Args:
        address: `https://…/v1#model`, or `https://…/v1` of a server with a single model.

    Raises:
        TwinError: the server does not answer, refuses the key, redirects, or does not offer the
            model, or offers several and none was named.
    """
    url, model = split_stored_name(address)
    models = adapter_routes.list_models(
        url,
        settings.answer_model_key,
        timeout_s=timeout_s,
        next_step=f"start that server, pass its address up to and including /v1, and export "
        f"{KEY_VARIABLE} with a key that it accepts",
    )
    name = next(iter(models)) if not model and len(models) == 1 else model
    if name not in models:
        raise TwinError(
            f"answer with {address}",
            found=f"it offers {', '.join(list(models)[:12]) or 'no model'}",
            next_step=f"name one of its models: {url}#{next(iter(models), 'ID')}",
        )
    key = settings.answer_model_key
    return RunningServer(url, name, key, None, url.removesuffix("/v1"), models[name].context)


def remote_engine_name(url: str, key: str, precision: str = "") -> str:
    """Return an external server's address, with its version if it has `/version` (vLLM).

    Args:
        url: base URL, which ends in `/v1`.
        precision: configured precision, which the name includes; may be empty.
    """
    import httpx

    server_name = url.removesuffix("/v1")
    try:
        response = httpx.get(
            f"{server_name}/version",
            headers=authorization_headers(key),
            timeout=10,
            trust_env=False,
        )
        server_name = f"{server_name} {response.raise_for_status().json()['version']}"
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        pass  # most servers lack this route, which is not part of OpenAI's API
    return f"{server_name}{PRECISION_SEPARATOR}{precision}" if precision else server_name
