"""The programs of a stack, and when each of them is ready.

Scope: command lines, the readiness of each service over the same interface
that its users speak. Out of scope: starting and stopping (`stack.py`), the services.
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

# They need prepared weights; everything else starts at once, while those are prepared.
AFTER_EMBEDDER, AFTER_BASE_MODEL = ("gateway",), ("models",)
DEFINITIONS = "twin_assets.definitions"
# The runs that a crash cut short are marked first: the daemon would wait for them.
AFTER_WEBSERVER = ("dagster-daemon",)
# A link to deploy/local/dagster.yaml in a checkout, the file itself in a wheel.
DAGSTER_YAML = Path(__file__).resolve().parent / "dagster.yaml"
WHEN_ASKED = ("chat",)  # 230 MB that most sessions never need: `twin chat` starts it
LATER = (*AFTER_EMBEDDER, *AFTER_BASE_MODEL, *AFTER_WEBSERVER, *WHEN_ASKED)


class StackEnded(TwinError):
    """The supervisor of the stack died while it was waited for."""


class StackStopped(StackEnded):
    """The stack was ended by `twin stop`, or replaced, while it was waited for."""


def working_folder() -> Path:
    """Where the processes run: the checkout, or the environment that a wheel was installed into.

    `python -m` looks for modules in its working folder before all others. In the shell's folder lie
    a stranger's, and in `site-packages` those that would hide the standard library's; the
    environment's own folder holds none.
    """
    root = Path(__file__).resolve().parents[2]
    return root if (root / "workspace.yaml").is_file() else Path(sys.prefix)


def stack_programs(
    settings: Settings, *, environ: Mapping[str, str] = os.environ
) -> Sequence[Program]:
    """Every program of the stack, with the ports in `settings`; writes Dagster's home as well."""
    root = working_folder()
    code = code_socket(settings)
    workspace = str(write_dagster_home(settings, DAGSTER_YAML, code=code, environ=environ))
    named = named_models(settings)
    paid = (settings.paid_model,) if settings.has_paid_route else ()
    # Labels are answers of the paid model, bought by runs; without a sum they never ask it.
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
    """Whether one service answers as its users need it.

    Args:
        service: a program's name; the daemon counts as ready when the webserver is.

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
    """Whether the fleet says that a model server is up.

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
    """Wait for a service of a stack; returns the seconds waited.

    A program that exits by itself meanwhile would exit again: that is told at once, and not when
    the supervisor has tried nine times. One that was killed is left to the supervisor.

    Args:
        program: whose state and log explain a failure.
        most_idle_s: seconds without CPU time or a line in its log until it counts as failed; None:
            three minutes.

    Raises:
        StackEnded: the supervisor is gone.
        TwinError: the program exited, was given up by the supervisor, does nothing any more, or is
            not ready after an hour; shows the end of its log.
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
        return  # killed, or asked to end: the supervisor starts it again, or another command does
    raise TwinError(
        f"start {state.name}",
        found=f"it ended with {how} after {waited_s:.0f} s; its log ends:\n"
        + (tail(state.log, lines=6) or "an empty log"),
        next_step=f"mend what it says (the whole log is {state.log}) and run the same command "
        "again",
    )


def ensure_not_given_up(
    stack: Stack,
    program: str,
    progress: ProgramProgress | None = None,
    *,
    most_idle_s: float | None = None,
) -> None:
    """Do nothing while the supervisor still starts or runs a program that works.

    Args:
        progress: of this program, kept by whoever waits, since the first look; None: it is asked
            for nothing that it could be late with.

    Raises:
        TwinError: the supervisor gave it up, it was idle for longer than it may, or it was waited
            for an hour; shows the end of its log.
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
    """Do nothing while the stack's supervisor runs.

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
    """Where the one code server of a stack listens."""
    return socket_path(settings.home / "supervisor", "dagster-code")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        return client.connect_ex(str(path)) == 0


def _answers(url: str, *, key: str = "") -> bool:
    import httpx  # here, because it costs `twin status` 0.1 s and is not needed there

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(url, headers=headers, timeout=3.0, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == 200
