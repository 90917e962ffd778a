"""Stage 3 of `twin up`: a running stack, started or attached to, with every service ready.

Belongs here: the order of start, preparation of the models and waiting, and the endpoints file
that follows. Does not belong here: processes and readiness themselves (`processes/stack.py`,
`processes/programs.py`), fetching and converting (`weights/weights.py`, `embedder/preparation.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from twin_cli.commands.clock import StageClock
from twin_cli.commands.subprocesses import running_module
from twin_resources.authors import author_slugs
from twin_resources.dagster_runs import WITH_A_WORKER
from twin_resources.errors import TwinError
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.endpoints import Endpoints, write_endpoints
from twin_resources.processes.programs import (
    AFTER_PREPARATION,
    AFTER_WEBSERVER,
    SIMULATED_PROVIDER,
    ensure_alive,
    service_is_ready,
    stack_programs,
    urls,
    wait_until,
)
from twin_resources.processes.stack import Stack, find_stack, read_record, start_stack
from twin_resources.settings import Settings, load_secrets

# Seconds until a service counts as failed; measured starts on two busy cores take a third of it.
DEADLINES_S = {
    SIMULATED_PROVIDER: 180,
    "traces": 60,
    "dagster-code": 60,
    "dagster-webserver": 180,
    "models": 180,
    "gateway": 120,
}
PREPARATIONS = {
    "base model": ("twin_resources.models.base_model", "prepare"),
    "embedder": ("twin_resources.models.embedder", "prepare"),
}


def start_or_attach(
    settings: Settings, *, clock: StageClock, requested_ports: Sequence[str]
) -> tuple[Stack, bool]:
    """The running stack with base model and embedder prepared and all services ready.

    Returns:
        The stack, and whether this call started it.

    Raises:
        TwinError: it runs with other models, a port is taken, a service did not come up.
    """
    stack = find_stack(settings)
    started = stack is None
    if stack is None:
        stack = start_stack(
            settings, programs=stack_programs, requested_ports=requested_ports, report=clock.say
        )
        clock.say(f"supervisor started (pid {stack.identity.pid}), home {settings.home}")
    else:
        _ensure_same_models(settings, stack)
        clock.say(f"attached to the running stack (supervisor pid {stack.identity.pid})")
    try:
        prepare_models(stack.settings, instance=stack.record.instance, clock=clock)
    except TwinError:
        ensure_alive(stack)  # `twin stop` elsewhere ends a preparation: that is the cause then
        raise
    _start_programs(stack, AFTER_PREPARATION)
    _wait_for_services(stack, clock=clock, started=started)
    return stack, started


def publish_endpoints(stack: Stack, *, first: str = "") -> Endpoints:
    """Write `endpoints.json` and `env` of the running stack.

    Args:
        first: slug whose model is named first.
    """
    settings = stack.settings
    secrets = load_secrets(settings)
    slugs = author_slugs(settings)
    slugs.sort(key=lambda slug: slug != first)
    aliases = ["", "@stable", "@base", *(["@paid"] if settings.has_paid_route else [])]
    real = settings.has_real_langfuse
    addresses = urls(settings)
    endpoints = Endpoints(
        home=str(settings.home),
        dagster=addresses["dagster"],
        gateway=addresses["gateway"],
        traces=addresses["traces"],
        gateway_key=secrets.gateway_key,
        models=tuple(f"twin/{slug}{alias}" for slug in slugs for alias in aliases),
        traces_public_key=settings.langfuse_public_key if real else secrets.traces_public_key,
        traces_secret_key=settings.langfuse_secret_key if real else secrets.traces_secret_key,
        logs=str(settings.logs_dir),
        pids=stack.pids(),
    )
    write_endpoints(endpoints)
    return endpoints


def _ensure_same_models(settings: Settings, stack: Stack) -> None:
    for name in ("base_model", "embedder"):
        wanted, running = getattr(settings, name), getattr(stack.record, name)
        if wanted != running:
            raise TwinError(
                f"use {wanted} as {name.replace('_', ' ')}",
                found=f"the running stack uses {running}",
                next_step="`twin stop`, then `twin up` with the new one",
            )


def _wait_for_services(stack: Stack, *, clock: StageClock, started: bool) -> None:
    settings = stack.settings
    addresses = urls(settings)
    dagster = DagsterHTTP(addresses["dagster"])
    programs = stack.supervisor.states()
    for service, deadline_s in DEADLINES_S.items():
        if service not in programs:
            continue  # a real Langfuse takes the trace store's place; no provider is simulated
        wait_until(
            stack,
            lambda service=service: service_is_ready(settings, service, dagster=dagster),
            program=service,
            deadline_s=deadline_s,
        )
        clock.say(f"{service} ready")
        if service == "dagster-webserver":
            if started:
                mark_lost_runs(stack, dagster, clock=clock)
            _start_programs(stack, AFTER_WEBSERVER)


def _start_programs(stack: Stack, names: Sequence[str]) -> None:
    """Start those that do not run."""
    states = stack.supervisor.states()
    for name in names:
        if not states[name].is_up:
            stack.supervisor.start_program(name)


def mark_lost_runs(stack: Stack, dagster: DagsterHTTP, *, clock: StageClock) -> None:
    """Runs that a crash cut short would be "in progress" for ever: no worker of theirs is left."""
    lost = dagster.runs(statuses=WITH_A_WORKER, updated_before=stack.identity.started)
    for run in lost:
        dagster.end_run(run.run_id)
        clock.say(f"run {run.run_id[:8]} ({run.job}) was cut short; marked as canceled")


def stack_in_use(settings: Settings) -> Stack:
    """The running stack of this home.

    Raises:
        TwinError: none runs; tells a crashed one from one that was never started.
    """
    stack = find_stack(settings)
    if stack is not None:
        return stack
    record = read_record(settings)
    crashed = record is not None and record.supervisor is not None
    raise TwinError(
        f"find the running stack of {settings.home}",
        found="it ended without `twin stop`" if crashed else "none runs",
        next_step="start it with `twin up`",
    )


def prepare_models(settings: Settings, *, instance: str, clock: StageClock) -> None:
    """Prepare both; returns when both are ready (seconds when they were prepared before).

    Args:
        instance: marker of the stack, so that `twin stop` ends a preparation as well.

    Raises:
        TwinError: one of them failed; says what its process said.
    """

    if _both_prepared(settings):
        clock.say("base model and embedder were prepared before")
        return
    with ExitStack() as ending:
        running = {
            name: ending.enter_context(
                running_module(
                    settings, *module, instance=instance, report=partial(_say, clock, name)
                )
            )
            for name, module in PREPARATIONS.items()
        }
        ended = {name: module.wait() for name, module in running.items()}
    for name, finished in ended.items():
        if finished.code != 0:
            raise TwinError(
                f"prepare the {name} ({_named(settings, name)})",
                found=finished.errors or f"exit code {finished.code}",
                next_step="mend this and run `twin up` again; what is prepared already is kept",
            )


def _both_prepared(settings: Settings) -> bool:
    """Whether there is nothing to do; looked up here, because two processes would cost 2 s."""
    from twin_resources.models.embedder.embedder import find_prepared
    from twin_resources.storage.weights.weights import load_base_model

    try:
        load_base_model(settings)
        find_prepared(settings)
    except TwinError:
        return False  # the preparing process says what is missing
    return True


def _say(clock: StageClock, name: str, line: str) -> None:
    clock.say(f"{name}: {line}")


def _named(settings: Settings, name: str) -> str:
    return settings.base_model if name == "base model" else settings.embedder
