"""Check the stack for `twin doctor`: its programs, its ports and the services on them.

Scope: one check of each service, through the interface that its users call.
Out of scope: readiness while a stack starts (`processes/programs.py`), and repairs.
"""
# pyright: strict

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import PurePosixPath
from typing import Any

import psutil

from twin_cli.commands.doctor.findings import TIMEOUT_S, DoctorFinding, fail, ok, warn
from twin_resources.authors import list_author_slugs
from twin_resources.processes.endpoints import READY, read_endpoint_state, urls
from twin_resources.processes.ports import describe_port_holder, is_free, is_listening
from twin_resources.processes.process_identity import find_marked_processes
from twin_resources.processes.programs import NOT_AUTOSTARTED, ON_DEMAND
from twin_resources.processes.stack import SERVICES, Stack, read_record
from twin_resources.processes.supervisor import read_tail
from twin_resources.settings import Settings, load_secrets
from twin_resources.storage.weights.answer_model import is_remote
from twin_resources.wait_limits import MAX_IDLE_S

PROGRAM_BY_SERVICE = {"gateway": "gateway", "dagster": "dagster-webserver", "traces": "traces"}


def check_stack(settings: Settings, stack: Stack | None) -> Iterator[DoctorFinding]:
    """Check whether the stack and all programs of its supervisor are running."""
    if stack is None:
        record = read_record(settings)
        if record is not None and record.supervisor is not None:
            yield fail(
                "stack", "the stack ended without `twin stop`", "run `twin up` to recover it"
            )
        elif settings.gateway_url:
            yield ok("stack", "none on this host, which uses another host's gateway")
        else:
            yield warn("stack", f"no stack is running in {settings.home}", "run `twin up`")
        return
    yield ok("stack", f"supervisor pid {stack.identity.pid}, home {stack.settings.home}")
    running_programs: list[str] = []
    for name, state in stack.supervisor.states().items():
        if state.state == "RUNNING":
            running_programs.append(name)
        elif state.state == "STARTING" and not state.stopped_at:
            yield warn(name, "starting", "check again in a few seconds")
        elif state.state == "STOPPED" and name in ON_DEMAND:
            continue
        elif state.state == "STOPPED" and name in NOT_AUTOSTARTED:
            yield warn(name, "not started yet", "wait for `twin up`, or run it again")
        else:
            last_log_line = read_tail(state.log, lines=1)
            message = f"; last log line: {last_log_line}" if last_log_line else ""
            if last_exit := stack.supervisor.last_exit(name):
                message = f" again after {last_exit}{message}"
            remedy = f"see `twin logs {name}`, correct the cause, then `twin stop` and `twin up`"
            yield fail(name, f"{state.state}{message}", remedy)
    yield ok("programs", ", ".join(running_programs) or "none is running")


def check_ports(
    settings: Settings, stack: Stack | None, *, environ: Mapping[str, str] = os.environ
) -> Iterator[DoctorFinding]:
    """Check that the stack listens on its ports or, if no stack is running, that they are free."""
    effective_settings = stack.settings if stack is not None else settings
    leftover_ports = _find_leftover_ports(settings) if stack is None else frozenset[int]()
    port_texts: list[str] = []
    for service in SERVICES:
        if service == "traces" and settings.has_real_langfuse:
            continue
        port = int(getattr(effective_settings, f"{service}_port"))
        if stack is not None:
            if is_listening(effective_settings.host, port):
                port_texts.append(f"{service} {port}")
            elif service in PROGRAM_BY_SERVICE:
                program = PROGRAM_BY_SERVICE[service]
                remedy = f"see `twin status` and `twin logs {program}`"
                yield fail("ports", f"no program listens on {port}, the port of {program}", remedy)
        elif is_free(effective_settings.host, port):
            port_texts.append(f"{service} {port}")
        elif port in leftover_ports:
            message = f"{port} ({service}) is in use by a process of the previous stack"
            yield warn("ports", message, "none needed: `twin up` ends that process first")
        elif environ.get(f"TWIN_{service.upper()}_PORT"):
            remedy = (
                f"stop that program, or choose another port with TWIN_{service.upper()}_PORT or "
                f"--{service}-port"
            )
            yield fail(
                "ports",
                f"{port}, requested for {service}, is in use by {describe_port_holder(port)}",
                remedy,
            )
        else:
            remedy = f"none needed: `twin up` uses the next free port, or that of --{service}-port"
            yield warn(
                "ports", f"{port} ({service}) is in use by {describe_port_holder(port)}", remedy
            )
    if port_texts:
        yield ok(
            "ports", f"{'listening' if stack is not None else 'free'}: {', '.join(port_texts)}"
        )


def _find_leftover_ports(settings: Settings) -> frozenset[int]:
    """Return the ports on which programs of a crashed stack still listen."""
    record = read_record(settings)
    leftover_processes = find_marked_processes(record.instance) if record is not None else []
    ports: set[int] = set()
    for process in leftover_processes:
        with suppress(psutil.Error):  # the process has ended
            connections = process.net_connections()
            ports |= {
                connection.laddr.port
                for connection in connections
                if connection.status == psutil.CONN_LISTEN
            }
    return frozenset(ports)


def check_dagster(stack: Stack) -> Iterator[DoctorFinding]:
    """Check Dagster's webserver and code location."""
    from twin_resources.processes.dagster_http import DagsterHTTP

    address = urls(stack.settings)["dagster"]
    with closing(DagsterHTTP.for_home(stack.settings, timeout_s=MAX_IDLE_S)) as dagster:
        if not dagster.is_up(within_s=MAX_IDLE_S):
            yield fail("Dagster", f"{address} does not answer", "see `twin logs dagster-webserver`")
        elif not dagster.is_location_loaded():
            yield warn("Dagster", "Dagster's code is still loading", "check again in a few seconds")
        else:
            yield ok("Dagster", f"{address}, code loaded")


def check_gateway(settings: Settings, stack: Stack | None) -> Iterator[DoctorFinding]:
    """Check that the stack's or the deployment's gateway responds and accepts this home's key."""
    import httpx

    address = urls(settings)["gateway"] if stack is not None else settings.gateway_url.rstrip("/")
    if not address:
        return
    state = "" if stack is not None else read_endpoint_state(settings)
    if state not in {"", READY}:
        yield fail(
            "gateway",
            f"{address}: {state}",
            "check TWIN_GATEWAY_URL, and run `twin doctor` on the gateway's host",
        )
        return
    key = load_secrets(settings).gateway_key
    try:
        response = httpx.get(
            f"{address}/models",
            headers={"Authorization": f"Bearer {key}"},
            timeout=MAX_IDLE_S,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        message = f"{address}: {type(error).__name__}"
        yield fail("gateway", message, "see `twin logs gateway`; a gateway takes 15 s to start")
        return
    if response.status_code == 200:
        yield ok("gateway", f"{address}, {len(response.json()['data'])} models for this key")
    elif response.status_code == 401:
        remedy = "its keys differ from secrets.json; start it again with this home"
        yield fail("gateway", f"{address} refuses this home's key", remedy)
    else:
        yield fail("gateway", f"{address}: HTTP {response.status_code}", "see `twin logs gateway`")


def check_model_servers(settings: Settings, stack: Stack | None) -> Iterator[DoctorFinding]:
    """Check the stack's model servers, or the server in TWIN_MODEL_SERVER_URL."""
    if settings.model_server_url:
        yield from _check_named_server(settings)
    if stack is None or settings.model_server_url:
        return
    try:
        document = json.loads(settings.servers_path.read_text(encoding="utf-8"))
        servers: dict[str, dict[str, Any]] = dict(document.get("servers", {}))
        problems: dict[str, str] = dict(document.get("problems", {}))
    except FileNotFoundError:
        yield warn("model server", "none has started yet", "see `twin logs models`")
        return
    except (ValueError, TypeError, AttributeError):
        message = f"{settings.servers_path} cannot be read; the fleet writes it again"
        yield warn("model server", message, "check again in a minute; see `twin logs models`")
        return
    for name, problem in problems.items():
        yield fail("model server", f"{name}: {problem}", "see `twin logs models`")
    starting_names = [name for name, server in servers.items() if not server.get("ready")]
    if starting_names:
        yield warn(
            "model server", f"starting: {', '.join(starting_names)}", "check again in a minute"
        )
    ready_names: list[str] = []
    for name, server in servers.items():
        if not server.get("ready"):
            continue
        if _is_healthy(str(server["url"])):
            ready_names.append(name)
        else:
            message = f"{name} does not answer at {server['url']}"
            yield fail("model server", message, "see `twin logs models`")
    if ready_names:
        yield ok("model server", ", ".join(ready_names))


def _is_healthy(url: str) -> bool:
    import httpx

    try:
        response = httpx.get(
            f"{url.removesuffix('/v1')}/health", timeout=MAX_IDLE_S, trust_env=False
        )
    except httpx.TransportError:
        return False
    return response.status_code == 200


def _check_named_server(settings: Settings) -> Iterator[DoctorFinding]:
    from twin_resources.models.serving.adapter_routes import (
        ENABLE_ADAPTERS_STEP,
        can_load_adapters,
        find_open_routes,
        list_models,
    )

    url = settings.model_server_url.rstrip("/")
    offered_names = list_models(url, settings.model_server_key, timeout_s=TIMEOUT_S)
    names = ", ".join(sorted(offered_names)) or "no model"
    if settings.base_model in offered_names:
        yield ok("model server", f"{url} offers {names}")
    else:
        remedy = (
            f"serve the model under this name (vLLM: --served-model-name {settings.base_model})"
        )
        yield fail("model server", f"{url} offers {names}, not {settings.base_model}", remedy)
    if not can_load_adapters(url, settings.model_server_key, timeout_s=TIMEOUT_S):
        remedy = f"{ENABLE_ADAPTERS_STEP}, or load each version there manually"
        yield warn("model server", f"{url} does not load adapters on request", remedy)
    if open_routes := find_open_routes(url, timeout_s=TIMEOUT_S):
        remedy = "give it a key and put the proxy of deploy/docs/deployment.md before it"
        message = f"{url} lets anybody use {', '.join(open_routes)}, without a key"
        yield fail("model server", message, remedy)
    missing_folders = [
        f"{model.name} ({model.root})"
        for model in offered_names.values()
        if not _has_adapter_folder(settings, model.root)
    ]
    if missing_folders:
        message = f"{url} holds adapters whose folders are gone: {', '.join(missing_folders)}"
        remedy = "restart that server, because reading such a folder again ends it"
        yield fail("model server", message, remedy)
    author_count = len(list_author_slugs(settings))
    held_count = _read_local_adapter_limit(settings.base_model) if not is_remote(url) else None
    if held_count is not None and held_count < 2 * author_count:
        message = f"vLLM on this machine keeps {held_count} adapters for {author_count} authors"
        remedy = f"start it with --max-cpu-loras {2 * author_count} or more"
        yield warn("model server", message, remedy)


def _has_adapter_folder(settings: Settings, root: str) -> bool:
    """Return whether a folder exists from which the server loaded an adapter of this home."""
    server_home = settings.model_server_home or str(settings.home)
    path = PurePosixPath(root)
    if not path.is_relative_to(PurePosixPath(server_home) / settings.checkpoints_dir.name):
        return True  # a base model, or an adapter of its operator
    return (settings.home / path.relative_to(server_home)).is_dir()


def _read_local_adapter_limit(model: str) -> int | None:
    """Return how many adapters vLLM keeps in memory, if it serves the model on this machine.

    Its API does not say it. By default, it keeps as many as a batch may use.
    """
    limits: list[int] = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or ())
        if "vllm" in command and "--enable-lora" in command and model in command:
            named = [
                int(value)
                for option in ("--max-cpu-loras", "--max-loras")
                for value in re.findall(rf"{option}[ =](\d+)", command)
            ]
            limits.append(named[0] if named else 1)
    return min(limits, default=None)
