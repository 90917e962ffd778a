"""Run stage 3 of `twin up`: start or attach to a stack, and wait until its services are ready.

Quoting requires the embedder, Dagster for the import, and the gateway, so these start first. The
base model is prepared while the import runs.

Scope: the start order, preparing the models, waiting for the services, and the endpoints file.
Out of scope: processes and readiness themselves (`processes/stack.py`, `processes/programs.py`),
fetching and converting (`weights/weights.py`, `embedder/preparation.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.subprocesses import prepare_model
from twin_resources.authors import list_author_slugs
from twin_resources.dagster_runs import STATUSES_WITH_WORKER
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.connection import find_trace_store
from twin_resources.page.links import make_link
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.endpoints import Endpoints, urls, write_endpoints
from twin_resources.processes.programs import (
    AFTER_BASE_MODEL,
    AFTER_EMBEDDER,
    AFTER_WEBSERVER,
    ensure_alive,
    is_service_ready,
    prepare_programs,
    wait_until,
)
from twin_resources.processes.stack import (
    Stack,
    StackRunningError,
    find_stack,
    read_record,
    start_stack,
)
from twin_resources.settings import Settings, load_secrets

WARNING_PREFIX = "warning: "  # lines with this prefix are shown to the user
# Services needed to import posts, and further services needed to answer, in waiting order.
IMPORT_SERVICES = ("traces", "dagster-code", "dagster-webserver")
ANSWER_SERVICES = ("models", "gateway")
BASE_MODEL, EMBEDDER = "base model", "embedder"
PREPARATIONS = {
    BASE_MODEL: ("twin_resources.models.base_model", "prepare"),
    EMBEDDER: ("twin_resources.models.embedder", "prepare"),
}


def start_or_attach(
    settings: Settings, *, display: ProgressDisplay, requested_ports: Sequence[str]
) -> tuple[Stack, bool]:
    """Return this home's stack, and start it if it is not running.

    Returns:
        The stack, and whether this call started it. If so, a failure of a later stage ends it.

    Raises:
        TwinError: the running stack uses other models, a port is in use, or the supervisor did not
            start.
    """
    if find_stack(settings) is None:
        try:
            stack = start_stack(
                settings,
                programs=prepare_programs,
                requested_ports=requested_ports,
                report=display.log_detail,
            )
        except StackRunningError:
            pass  # another `twin up` has just started the stack
        else:
            display.log_detail(
                f"supervisor started (pid {stack.identity.pid}), home {settings.home}"
            )
            return stack, True
    stack = require_stack(settings)
    _ensure_same_models(settings, stack)
    display.log(f"using the stack that is already running (supervisor pid {stack.identity.pid})")
    return stack, False


def prepare_imports(stack: Stack, *, display: ProgressDisplay) -> None:
    """Prepare the embedder and wait for Dagster, so that posts can be imported.

    Raises:
        TwinError: the embedder cannot be prepared, or a service did not start.
    """
    page = make_link(stack.settings, urls(stack.settings)["chat"])
    display.log(f"your page, available once the posts can be quoted: {page}", style="bold")
    _prepare(stack, EMBEDDER, display=display)
    start_programs(stack, AFTER_EMBEDDER)
    wait_for_services(stack, IMPORT_SERVICES, display=display)


def prepare_answers(stack: Stack, *, display: ProgressDisplay) -> None:
    """Prepare the base model and wait for the services that an answer needs.

    Raises:
        TwinError: the base model cannot be prepared, or a service did not start.
    """
    _prepare(stack, BASE_MODEL, display=display)
    start_programs(stack, AFTER_BASE_MODEL)
    wait_for_services(stack, ANSWER_SERVICES, display=display)


def publish_endpoints(stack: Stack, *, first_author: str = "") -> Endpoints:
    """Write the running stack's `endpoints.json` and `env`.

    Args:
        first_author: slug of the author whose model is listed first.
    """
    settings = stack.settings
    secrets = load_secrets(settings)
    slugs = list_author_slugs(settings)
    slugs.sort(key=lambda slug: slug != first_author)
    aliases = ["", "@stable", "@base", *(["@paid"] if settings.has_paid_route else [])]
    addresses, trace_store = urls(settings), find_trace_store(settings, secrets)
    endpoints = Endpoints(
        home=str(settings.home),
        dagster=addresses["dagster"],
        gateway=addresses["gateway"],
        traces=addresses["traces"],
        gateway_key=secrets.gateway_key,
        models=tuple(f"twin/{slug}{alias}" for slug in slugs for alias in aliases),
        traces_public_key=trace_store.public_key,
        traces_secret_key=trace_store.secret_key,
        logs=str(settings.logs_dir),
        pids=stack.pids(),
    )
    write_endpoints(endpoints)
    return endpoints


def _ensure_same_models(settings: Settings, stack: Stack) -> None:
    for name in ("base_model", "embedder", "gateways"):
        requested_value, current_value = getattr(settings, name), getattr(stack.record, name)
        if requested_value != current_value:
            raise TwinError(
                f"use {requested_value} as {name.replace('_', ' ')}",
                found=f"the running stack uses {current_value}",
                next_step="run `twin stop`, then `twin up` again",
            )


def wait_for_services(stack: Stack, services: Sequence[str], *, display: ProgressDisplay) -> None:
    """Wait until the services respond; once Dagster responds, start its daemon.

    Before starting the daemon, this function marks the runs that a crash interrupted, because the
    command that started the stack may have been killed.
    """
    settings = stack.settings
    dagster = DagsterHTTP.for_home(settings)
    programs = stack.supervisor.states()
    for service in services:
        if service not in programs:
            continue  # a real Langfuse replaces the trace store
        wait_until(
            stack,
            lambda service=service: is_service_ready(settings, service, dagster=dagster),
            program=service,
        )
        display.log_detail(f"{service} ready")
        if service == "dagster-webserver":
            if not all(stack.supervisor.states()[name].is_up for name in AFTER_WEBSERVER):
                mark_lost_runs(stack, dagster, display=display)
            start_programs(stack, AFTER_WEBSERVER)


def start_programs(stack: Stack, names: Sequence[str]) -> None:
    """Start those of the programs that are not running yet."""
    states = stack.supervisor.states()
    for name in names:
        if not states[name].is_up:
            stack.supervisor.start_program(name)


def mark_lost_runs(stack: Stack, dagster: DagsterHTTP, *, display: ProgressDisplay) -> None:
    """Mark runs that a crash interrupted, which would otherwise remain "in progress"."""
    lost_runs = dagster.list_runs(
        statuses=STATUSES_WITH_WORKER, updated_before=stack.identity.started
    )
    for run in lost_runs:
        dagster.end_run(run.run_id)
        display.log(f"run {run.run_id[:8]} ({run.job}) was interrupted and is marked as canceled")


def require_stack(settings: Settings) -> Stack:
    """Return this home's running stack, or raise an error.

    Raises:
        TwinError: no stack is running; the error states whether the stack crashed.
    """
    stack = find_stack(settings)
    if stack is not None:
        return stack
    record = read_record(settings)
    has_crashed = record is not None and record.supervisor is not None
    raise TwinError(
        f"find the running stack of {settings.home}",
        found="the stack ended without `twin stop`" if has_crashed else "no stack is running",
        next_step="start it with `twin up`",
    )


def _prepare(stack: Stack, name: str, *, display: ProgressDisplay) -> None:
    """Prepare one of `PREPARATIONS` unless it is already prepared.

    Raises:
        TwinError: the preparation failed (with the message of its process), or the stack was
            stopped meanwhile.
    """
    settings = stack.settings
    if is_prepared(settings, name):
        display.log_detail(f"the {name} is already prepared")
        return
    model_name = settings.base_model if name == BASE_MODEL else settings.embedder
    try:
        prepare_model(
            settings,
            *PREPARATIONS[name],
            title=f"the {name} ({model_name})",
            instance=stack.record.instance,
            log=partial(_log_preparation_line, display, name),
        )
    except TwinError:
        ensure_alive(stack)  # `twin stop` in another terminal may be the cause
        raise


def is_prepared(settings: Settings, name: str) -> bool:
    """Return whether a model is prepared, without starting a process, which would take 2 s."""
    from twin_resources.models.embedder.embedder import find_prepared_embedder
    from twin_resources.storage.weights.weights import load_base_model

    try:
        if name == BASE_MODEL:
            load_base_model(settings)
        else:
            find_prepared_embedder(settings)
    except TwinError:
        return False  # the preparing process reports the missing parts
    return True


def _log_preparation_line(display: ProgressDisplay, name: str, line: str) -> None:
    """Print a warning, or any other line only in verbose output."""
    if line.startswith(WARNING_PREFIX):
        display.log(line, style="yellow")
    else:
        display.log_detail(f"{name}: {line}")
