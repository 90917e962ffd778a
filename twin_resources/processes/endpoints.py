"""Read and write the addresses of a running stack: a home's `endpoints.json` and `env`.

Scope: base URLs from the settings, and the two files, which have mode 600 because they contain
keys.
Out of scope: creating the keys (`settings.load_secrets`), choosing the ports (`ports.py`).
"""
# pyright: strict

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twin_resources.atomic_writes import replace_file
from twin_resources.errors import TwinError, check_schema
from twin_resources.processes.process_identity import ProcessIdentity
from twin_resources.settings import Settings, load_secrets
from twin_resources.wait_limits import MAX_IDLE_S

SCHEMA_VERSION = 1
READY = "ready"  # status of the gateway's readiness route


@dataclass(frozen=True)
class Endpoints:
    """The addresses and keys of a running stack.

    Attributes:
        home: absolute path of the home.
        dagster: URL of the Dagster UI.
        gateway: base URL for OpenAI clients, which ends in `/v1`.
        gateway_key: bearer token of a reader.
        models: model names for requests, `twin/<author>` first.
        traces: URL of the trace store or of the real Langfuse.
        traces_public_key, traces_secret_key: key pair of the trace store (basic authentication).
        logs: folder of the process logs.
        pids: pid and start time by program name; a process is ended only if both still match.
    """

    home: str
    dagster: str
    gateway: str
    gateway_key: str
    models: tuple[str, ...]
    traces: str
    traces_public_key: str
    traces_secret_key: str
    logs: str
    pids: Mapping[str, ProcessIdentity]
    schema: int = SCHEMA_VERSION

    def __repr__(self) -> str:
        return f"Endpoints(home={self.home!r}, …)"


def urls(settings: Settings) -> dict[str, str]:
    """Return the base URL of each service; a server on 0.0.0.0 gets a loopback URL."""
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::", ""} else settings.host
    traces = settings.langfuse_host if settings.has_real_langfuse else ""
    return {
        "dagster": f"http://{host}:{settings.dagster_port}",
        "gateway": f"http://{host}:{settings.gateway_port}/v1",
        "traces": traces or f"http://{host}:{settings.traces_port}",
        "chat": f"http://{host}:{settings.chat_port}",
    }


def endpoints_path(home: Path) -> Path:
    return home / "endpoints.json"


def env_path(home: Path) -> Path:
    return home / "env"


def write_endpoints(endpoints: Endpoints) -> Path:
    """Write both files atomically with mode 600; return the path of `endpoints.json`."""
    home = Path(endpoints.home)
    document = {"schema": endpoints.schema} | asdict(endpoints)
    document["models"] = list(endpoints.models)
    replace_file(env_path(home), render_shell_exports(endpoints))
    path = endpoints_path(home)
    replace_file(path, json.dumps(document, indent=2) + "\n")
    return path


def read_endpoints(home: Path) -> Endpoints:
    """Read the endpoints of a home's stack.

    Raises:
        TwinError: the file does not exist (no stack was started) or is not JSON, or a newer version
            wrote it.
    """
    path = endpoints_path(home)
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TwinError(
            "find the running stack", found=f"no file {path}", next_step="start it with `twin up`"
        ) from error
    except json.JSONDecodeError as error:
        raise TwinError(
            "read the addresses of the stack",
            found=f"{path} is not JSON ({error})",
            next_step="run `twin up`, which rewrites it",
        ) from error
    check_schema(
        f"read the addresses of the stack in {path}",
        document.get("schema", 0),
        SCHEMA_VERSION,
        next_step="use the newer llm-twin that started the stack",
    )
    identities: dict[str, dict[str, Any]] = document.pop("pids")
    pids = {name: ProcessIdentity(**fields) for name, fields in identities.items()}
    models = tuple(document.pop("models"))
    return Endpoints(pids=pids, models=models, **document)


def find_gateway(settings: Settings) -> tuple[str, str]:
    """Return the URL and the key of this home's stack, or of a host that shares this home.

    Raises:
        TwinError: no stack is running, and hosts do not share this home; see also `read_endpoints`.
    """
    if settings.has_shared_state and not endpoints_path(settings.home).exists():
        url = settings.gateway_url or urls(settings)["gateway"]
        return url, load_secrets(settings).gateway_key
    endpoints = read_endpoints(settings.home)
    return endpoints.gateway, endpoints.gateway_key


def read_endpoint_state(settings: Settings) -> str:
    """Return the status of the gateway at `TWIN_GATEWAY_URL`, such as `ready`; "" without a URL."""
    if not settings.gateway_url:
        return ""
    import httpx

    url = f"{settings.gateway_url.rstrip('/').removesuffix('/v1')}/health/readiness"
    try:
        response = httpx.get(url, timeout=httpx.Timeout(MAX_IDLE_S, connect=10))
    except httpx.HTTPError as error:
        return f"no answer ({type(error).__name__})"
    try:
        return str(response.json()["status"])
    except (ValueError, TypeError, KeyError):
        return f"HTTP {response.status_code}, but not from a gateway"


def remove_endpoints(home: Path) -> None:
    """Remove both files after the stack has ended."""
    endpoints_path(home).unlink(missing_ok=True)
    env_path(home).unlink(missing_ok=True)


def render_shell_exports(endpoints: Endpoints) -> str:
    """Return shell lines for `source`: variables for OpenAI clients, for Dagster, and `TWIN_…`.

    LANGFUSE_… variables are omitted. If they were set, a stack started from the same shell would
    use the local trace store as a "real" Langfuse.
    """
    values = {
        "TWIN_HOME": endpoints.home,
        "DAGSTER_HOME": f"{endpoints.home}/dagster",
        "DAGSTER_URL": endpoints.dagster,
        "OPENAI_BASE_URL": endpoints.gateway,
        "OPENAI_API_KEY": endpoints.gateway_key,
        "TWIN_MODEL": next(iter(endpoints.models), ""),
        "TWIN_TRACES_URL": endpoints.traces,
        "TWIN_TRACES_PUBLIC_KEY": endpoints.traces_public_key,
        "TWIN_TRACES_SECRET_KEY": endpoints.traces_secret_key,
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
