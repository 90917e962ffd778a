"""Define the programs of a stack, and check that each is ready.
Scope: command lines, the readiness of each service over the interface that its users
call. Out of scope: starting and stopping (`stack.py`), the services.
"""
# pyright: strict

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_resources.dagster_runs import LOCATION
from twin_resources.errors import TwinError
from twin_resources.processes.child_environment import named_models, withheld_keys
from twin_resources.processes.dagster_home import write_dagster_home
from twin_resources.processes.endpoints import urls
from twin_resources.processes.program_progress import ProgramProgress
from twin_resources.processes.stack import Stack, read_record
from twin_resources.processes.supervisor import Program, ProgramState, socket_path, tail
from twin_resources.settings import Settings, load_secrets

if TYPE_CHECKING:
    from twin_resources.processes.dagster_http import DagsterHTTP

# These programs need prepared weights; all others start at once, during the preparation.
AFTER_EMBEDDER, AFTER_BASE_MODEL = ("gateway",), ("models",)
DEFINITIONS = "twin_assets.definitions"
# Runs that a crash interrupted are marked before the daemon starts, which would wait for them.
AFTER_WEBSERVER = ("dagster-daemon",)
# A link to deploy/local/dagster.yaml in a checkout, the file itself in a wheel.
DAGSTER_YAML = Path(__file__).resolve().parent / "dagster.yaml"
WHEN_ASKED = ("chat",)  # takes 230 MB and most sessions never need it; `twin chat` starts it
LATER = (*AFTER_EMBEDDER, *AFTER_BASE_MODEL, *AFTER_WEBSERVER, *WHEN_ASKED)


class StackEnded(TwinError):
    """The supervisor of the stack died while a command waited for it."""


class StackStopped(StackEnded):
    """`twin stop` ended the stack, or another one replaced it, while a command waited for it."""


def working_folder() -> Path:
    """Return the processes' working folder: the checkout, or the environment of an installed wheel.
    `python -m` searches its working folder first. The shell's folder may contain foreign modules,
    and `site-packages` has modules that would hide the standard library's. The environment's own
    folder contains none.
    """
    root = Path(__file__).resolve().parents[2]
    return root if (root / "workspace.yaml").is_file() else Path(sys.prefix)


def stack_programs(
    settings: Settings, *, environ: Mapping[str, str] = os.environ
) -> Sequence[Program]:
    """Return every program of the stack, with the ports in `settings`, and write Dagster's home."""
    root = working_folder()
    code = code_socket(settings)
    workspace = str(write_dagster_home(settings, DAGSTER_YAML, code=code, environ=environ))
    named = named_models(settings)
    paid = (settings.paid_model,) if settings.has_paid_route else ()
    # Runs buy labels, which are answers of the paid model; without a budget they never call it.
    bought = paid if settings.label_budget_per_month is not None else ()
    offline = tuple(name for name in named if name not in paid or name in bought)

    def program(name: str, *arguments: str, calls: Sequence[str] = (), stop_s: int = 8) -> Program:
        return Program(
            name=name,
            command=(sys.executable, "-m", *arguments),
            directory=root,
            autostart=name not in LATER,
            stop_s=stop_s,
            withheld=withheld_keys(settings, needed_for=calls, environ=environ),
        )

    host = settings.host
    programs = [
        program(
            "dagster-code",
            *("dagster", "api", "grpc", "--socket", str(code), "--location-name", LOCATION),
            *("-m", DEFINITIONS, "--lazy-load-user-code"),
            calls=offline,
        ),
        program(
            "dagster-webserver",
            *("twin_resources.page.dagster_pages", "-w", workspace),
            *("-h", host, "-p", str(settings.dagster_port)),
            calls=offline,
        ),
        program(
            "dagster-daemon", "dagster._daemon", "run", "-w", workspace, calls=offline, stop_s=12
        ),
        program("models", "twin_resources.models.serving.fleet"),
        program(
            "gateway",
            *("twin_resources.gateway", "--processes", str(settings.gateways)),
            calls=paid,
        ),
        program("chat", "twin_resources.page"),
    ]
    if not settings.has_real_langfuse:
        database = str(settings.home / "traces.sqlite")
        store = (
            "twin_resources.observability.trace_store.local_store",
            "--db",
            database,
            "--host",
            host,
        )
        programs.insert(0, program("traces", *store, "--port", str(settings.traces_port)))
    programs.insert(0, program("relay", "twin_resources.observability.langfuse.relay"))
    return programs


def service_is_ready(settings: Settings, service: str, *, dagster: DagsterHTTP) -> bool:
    """Return whether a service answers its users' requests.
    Args:
        service: a program's name; the daemon always counts as ready.

    Raises:
        TwinError: Dagster's code location does not load.
    """
    addresses = urls(settings)
    match service:
        case "traces":
            return _answers(f"{addresses['traces']}/api/public/health")
        case "dagster-code":
            return _listens(code_socket(settings))
        case "dagster-webserver":
            return dagster.is_up() and dagster.location_is_loaded()
        case "gateway":
            key = load_secrets(settings).gateway_key
            return _answers(f"{addresses['gateway']}/models", key=key)
        case "chat":
            return _answers(f"{addresses['chat']}/ready")
        case "models":
            return server_is_ready(settings, "base")
        case _:
            return True


def server_is_ready(settings: Settings, version: str) -> bool:
    """Return whether the fleet reports that a model server is ready.

    Args:
        version: `base`, or `<author>/v<number>`.
    """
    try:
        document: dict[str, Any] = json.loads(settings.servers_path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    server: dict[str, Any] = document.get("servers", {}).get(version) or {}
    return bool(server.get("ready"))


def wait_until(
    stack: Stack,
    is_ready: Callable[[], bool],
    *,
    program: str,
    most_idle_s: float | None = None,
    poll_s: float = 0.3,
) -> float:
    """Wait for a service of a stack; return the seconds waited.
    A program that exits by itself would exit again, so this fails at once rather than after the
    supervisor's nine attempts. The supervisor restarts a program that was killed.
    Args:
        program: the program whose state and log explain a failure.
        most_idle_s: seconds without CPU time or a log line until it counts as failed; None for
            three minutes.
    Raises:
        StackEnded: the supervisor has ended.
        TwinError: the program exited, the supervisor gave it up, it is idle, or it is not ready
            after an hour; the error shows the end of its log.
    """
    began = time.monotonic()
    first: ProgramState | None = None
    progress = ProgramProgress()
    while not is_ready():
        ensure_alive(stack)
        ensure_not_given_up(stack, program, progress, most_idle_s=most_idle_s)
        state = stack.supervisor.states().get(program)
        first = first or state
        if first and state and state.stopped != first.stopped:
            _ensure_not_exited(stack, state, waited_s=time.monotonic() - began)
        time.sleep(poll_s)
    return time.monotonic() - began


def _ensure_not_exited(stack: Stack, state: ProgramState, *, waited_s: float) -> None:
    how = stack.supervisor.last_exit(state.name)
    if not how.startswith("exit status"):
        return  # killed or stopped; the supervisor or another command starts it again
    raise TwinError(
        f"start {state.name}",
        found=f"it ended with {how} after {waited_s:.0f} s; its log ends:\n"
        + (tail(state.log, lines=6) or "an empty log"),
        next_step=f"correct the cause (the whole log is {state.log}) and run the same command "
        "again",
    )


def ensure_not_given_up(
    stack: Stack,
    program: str,
    progress: ProgramProgress | None = None,
    *,
    most_idle_s: float | None = None,
) -> None:
    """Raise an error unless the supervisor still starts or runs the program and it works.
    Args:
        progress: the program's progress, kept by the caller between calls; None to check only
            the supervisor's state.
    Raises:
        TwinError: the supervisor gave it up, it was idle for too long, or an hour has passed; the
            error shows the end of its log.
    """
    state = stack.supervisor.states().get(program)
    if state is None:
        return
    why = ""
    if progress is not None:
        why = progress.given_up(state.pid, state.log, most_idle_s=most_idle_s)
    if state.state != "FATAL" and not why:
        return
    end = tail(state.log, lines=6) or "an empty log"
    raise TwinError(
        f"start {program}",
        found=f"{state.state}{', ' if why else ''}{why}; its log ends:\n{end}",
        next_step=f"read {state.log}, then `twin stop` and `twin up`",
    )


def ensure_alive(stack: Stack) -> None:
    """Raise an error unless the stack's supervisor runs.

    Raises:
        StackStopped: another command ended it.
        StackEnded: it died.
    """
    record = read_record(stack.settings)
    if (
        record is None
        or record.instance != stack.record.instance
        or record.supervisor is None
        or record.stopping
    ):
        raise StackStopped(
            f"use the stack of {stack.settings.home}",
            found="it was stopped by `twin stop`",
            next_step="start it again with `twin up`",
        )
    if stack.is_alive():
        return
    raise StackEnded(
        f"use the stack of {stack.settings.home}",
        found=f"its supervisor (pid {stack.identity.pid}) died",
        next_step=f"read {stack.settings.logs_dir / 'supervisor.log'}; `twin up` recovers",
    )


def code_socket(settings: Settings) -> Path:
    """Return the socket of the stack's code server."""
    return socket_path(settings.home / "supervisor", "dagster-code")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        return client.connect_ex(str(path)) == 0


def _answers(url: str, *, key: str = "") -> bool:
    import httpx  # imported here, because it takes 0.1 s and `twin status` does not need it

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(url, headers=headers, timeout=3.0, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == 200
