"""Define the programs of a stack, and check whether each is ready.

Scope: command lines, and checking each service's readiness through its public interface.
Out of scope: starting and stopping (`stack.py`), the services.
"""
# pyright: strict

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from twin_resources.dagster_runs import CODE_LOCATION
from twin_resources.errors import TwinError
from twin_resources.processes.child_environment import list_external_models, list_withheld_variables
from twin_resources.processes.dagster_home import workspace_path, write_dagster_home
from twin_resources.processes.endpoints import urls
from twin_resources.processes.program_progress import ProgramProgress
from twin_resources.processes.stack import Stack, read_record
from twin_resources.processes.supervisor import Program, ProgramState, read_tail, socket_path
from twin_resources.settings import Settings, load_secrets

if TYPE_CHECKING:
    from twin_resources.processes.dagster_http import DagsterHTTP

# These programs need the prepared weights; all others start during the preparation.
AFTER_EMBEDDER, AFTER_BASE_MODEL = ("gateway",), ("models",)
DEFINITIONS_MODULE = "twin_assets.definitions"
# The daemon would wait for runs that a crash interrupted, so they are marked before it starts.
AFTER_WEBSERVER = ("dagster-daemon",)
# In a checkout, this is a link to deploy/local/dagster.yaml; in a wheel, it is the file.
DAGSTER_YAML = Path(__file__).resolve().parent / "dagster.yaml"
ON_DEMAND = ("chat",)  # needs 230 MB, and most sessions never use it; `twin open` starts it
POLL_INTERVAL_S = 0.3
Result = TypeVar("Result")
NOT_AUTOSTARTED = (*AFTER_EMBEDDER, *AFTER_BASE_MODEL, *AFTER_WEBSERVER, *ON_DEMAND)


class StackEndedError(TwinError):
    """The supervisor of the stack died while a command waited for it."""


class StackStoppedError(StackEndedError):
    """`twin stop` ended the stack, or a new stack replaced it, while a command waited for it."""


def find_working_folder() -> Path:
    """Return the processes' working folder: the checkout, or the environment of an installed wheel.

    `python -m` searches its working folder first. The shell's folder may contain unrelated modules,
    and `site-packages` has modules that would shadow the standard library. The environment's root
    folder contains no modules.
    """
    root = Path(__file__).resolve().parents[2]
    return root if (root / "workspace.yaml").is_file() else Path(sys.prefix)


def prepare_programs(settings: Settings, *, writes_dagster_home: bool = True) -> Sequence[Program]:
    """Return every program of the stack, with the ports in `settings`; write Dagster's home.

    Args:
        writes_dagster_home: whether to write Dagster's home, which Dagster's programs need.
    """
    root = find_working_folder()
    code_socket_path = code_socket(settings)
    workspace = str(workspace_path(settings))
    if writes_dagster_home:
        write_dagster_home(settings, DAGSTER_YAML, code_socket=code_socket_path)
    paid_models = (settings.paid_model,) if settings.has_paid_route else ()
    run_models = _list_run_models(settings)

    def make_program(
        name: str, *arguments: str, models_called: Sequence[str] = (), stop_s: int = 8
    ) -> Program:
        return Program(
            name=name,
            command=(sys.executable, "-m", *arguments),
            directory=root,
            autostart=name not in NOT_AUTOSTARTED,
            stop_s=stop_s,
            withheld_variables=list_withheld_variables(
                settings, needed_for=models_called, environ=os.environ
            ),
        )

    host = settings.host
    programs = [
        make_program(
            "dagster-code",
            *("dagster", "api", "grpc", "--socket", str(code_socket_path)),
            *("--location-name", CODE_LOCATION, "-m", DEFINITIONS_MODULE, "--lazy-load-user-code"),
            models_called=run_models,
        ),
        make_program(
            "dagster-webserver",
            *("twin_resources.page.dagster_pages", "-w", workspace),
            *("-h", host, "-p", str(settings.dagster_port)),
            models_called=run_models,
        ),
        make_program(
            "dagster-daemon",
            *("dagster._daemon", "run", "-w", workspace),
            models_called=run_models,
            stop_s=12,
        ),
        make_program("models", "twin_resources.models.serving.fleet"),
        make_program(
            "gateway",
            *("twin_resources.gateway", "--processes", str(settings.gateways)),
            models_called=paid_models,
        ),
        make_program("chat", "twin_resources.page"),
    ]
    if not settings.has_real_langfuse:
        programs.insert(0, make_program("traces", *_trace_store_arguments(settings)))
    programs.insert(0, make_program("relay", "twin_resources.observability.langfuse.relay"))
    return programs


def _list_run_models(settings: Settings) -> Sequence[str]:
    """Return the models that Dagster's runs call."""
    models = list_external_models(settings)
    # Runs buy answers of the paid model as labels; without a budget, they never call it.
    if settings.has_paid_route and settings.label_budget_per_month is None:
        return [name for name in models if name != settings.paid_model]
    return models


def _trace_store_arguments(settings: Settings) -> Sequence[str]:
    return (
        "twin_resources.observability.trace_store.local_store",
        *("--db", str(settings.home / "traces.sqlite")),
        *("--host", settings.host, "--port", str(settings.traces_port)),
    )


def is_service_ready(settings: Settings, service: str, *, dagster: DagsterHTTP) -> bool:
    """Return whether a service responds to requests.

    Args:
        service: program name; the daemon always counts as ready.

    Raises:
        TwinError: Dagster's code location does not load.
    """
    addresses = urls(settings)
    match service:
        case "traces":
            return _returns_ok(f"{addresses['traces']}/api/public/health")
        case "dagster-code":
            return _accepts_connections(code_socket(settings))
        case "dagster-webserver":
            return dagster.is_up() and dagster.is_location_loaded()
        case "gateway":
            key = load_secrets(settings).gateway_key
            return _returns_ok(f"{addresses['gateway']}/models", key=key)
        case "chat":
            return _returns_ok(f"{addresses['chat']}/ready")
        case "models":
            return is_server_ready(settings, "base")
        case _:
            return True


def is_server_ready(settings: Settings, version: str) -> bool:
    """Return whether the fleet reports a model server as ready.

    Args:
        version: `base` or `<author>/v<number>`.
    """
    try:
        document: dict[str, Any] = json.loads(settings.servers_path.read_text(encoding="utf-8"))
        servers: dict[str, dict[str, Any]] = document["servers"]
        return bool(servers.get(version, {}).get("ready"))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return False  # the fleet writes a missing or damaged list again


def wait_until(stack: Stack, poll: Callable[[], Result | None], *, program: str) -> Result:
    """Call `poll` until its result is true; return the result.

    A program that exits would exit again, so this function fails at once rather than after the
    supervisor's nine attempts. The supervisor restarts a program that was killed.

    Args:
        program: program on which the result depends; its state and log explain a failure.

    Raises:
        StackEndedError: the supervisor has ended.
        TwinError: the program exited, the supervisor gave up on it, it is idle, or an hour has
            passed; the error shows the end of its log.
    """
    started_at = time.monotonic()
    first_state: ProgramState | None = None
    progress = ProgramProgress()
    while not (result := poll()):
        ensure_alive(stack)
        ensure_program_works(stack, program, progress)
        state = stack.supervisor.states().get(program)
        first_state = first_state or state
        if first_state and state and state.stopped_at != first_state.stopped_at:
            _ensure_not_exited(stack, state, waited_s=time.monotonic() - started_at)
        time.sleep(POLL_INTERVAL_S)
    return result


def _ensure_not_exited(stack: Stack, state: ProgramState, *, waited_s: float) -> None:
    last_exit = stack.supervisor.last_exit(state.name)
    if not last_exit.startswith("exit status"):
        return  # killed or stopped; the supervisor or another command restarts it
    raise TwinError(
        f"start {state.name}",
        found=f"it ended with {last_exit} after {waited_s:.0f} s; its log ends:\n"
        + (read_tail(state.log, lines=6) or "an empty log"),
        next_step=f"correct the cause (the whole log is in {state.log}) and run the same command "
        "again",
    )


def ensure_program_works(
    stack: Stack, program: str, progress: ProgramProgress | None = None
) -> None:
    """Raise an error unless the program works and the supervisor has not given up on it.

    Args:
        progress: progress of the program, which the caller keeps between calls; None to check only
            the supervisor's state.

    Raises:
        TwinError: the supervisor gave up on the program, the program was idle for too long, or an
            hour has passed; the error shows the end of its log.
    """
    state = stack.supervisor.states().get(program)
    if state is None:
        return
    failure = progress.find_stop_reason(state.pid, state.log) if progress is not None else ""
    if state.state != "FATAL" and not failure:
        return
    log_tail = read_tail(state.log, lines=6) or "an empty log"
    raise TwinError(
        f"start {program}",
        found=f"{state.state}{', ' if failure else ''}{failure}; its log ends:\n{log_tail}",
        next_step=f"read {state.log}, then run `twin stop` and `twin up`",
    )


def ensure_alive(stack: Stack) -> None:
    """Raise an error unless the stack's supervisor is running.

    Raises:
        StackStoppedError: another command stopped the stack.
        StackEndedError: the supervisor died.
    """
    record = read_record(stack.settings)
    if (
        record is None
        or record.instance != stack.record.instance
        or record.supervisor is None
        or record.stopping
    ):
        raise StackStoppedError(
            f"use the stack of {stack.settings.home}",
            found="it was stopped by `twin stop`",
            next_step="start it again with `twin up`",
        )
    if stack.is_alive():
        return
    raise StackEndedError(
        f"use the stack of {stack.settings.home}",
        found=f"its supervisor (pid {stack.identity.pid}) died",
        next_step=f"read {stack.settings.logs_dir / 'supervisor.log'}, then run `twin up`",
    )


def code_socket(settings: Settings) -> Path:
    """Return the path of the code server's socket."""
    return socket_path(settings.home / "supervisor", "dagster-code")


def _accepts_connections(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        return client.connect_ex(str(path)) == 0


def _returns_ok(url: str, *, key: str = "") -> bool:
    import httpx  # imported here, because it takes 0.1 s and `twin status` does not need it

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        response = httpx.get(url, headers=headers, timeout=3.0, trust_env=False)
    except httpx.TransportError:
        return False
    return response.status_code == 200
