"""Run `twin stop`, and handle Ctrl-C: end the runs, then every process of the stack.

Scope: the order of the shutdown and its messages.
Out of scope: finding and ending processes (`processes/stack.py`, `processes/process_identity.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from twin_resources.dagster_runs import STATUSES_WITH_WORKER
from twin_resources.errors import TwinError
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.ports import is_listening
from twin_resources.processes.stack import Stack, StopResult, announce_stop, find_stack, stop_stack
from twin_resources.processes.wording import format_count
from twin_resources.settings import Settings
from twin_resources.storage.state.known_databases import remember_databases
from twin_resources.wait_limits import MAX_IDLE_S

WEBSERVER_TIMEOUT_S = 20.0  # during training, a response takes seconds


def end_stack(settings: Settings, *, log: Callable[[str], object]) -> StopResult:
    """End this home's stack if it runs; a repeated call is harmless.

    Runs end first, so that Dagster records their end and a trainer can leave its checkpoint intact.
    Queued runs remain queued for the next start.
    """
    stack = find_stack(settings)
    if stack is not None:
        announce_stop(settings)
        _end_runs(stack, log)
    result = stop_stack(settings, report=log)
    if result.was_running:
        report_lost_databases(settings, log)
    if result.ended_count:
        log(f"ended {format_count(result.ended_count, 'leftover process', 'leftover processes')}")
    return result


def report_lost_databases(settings: Settings, log: Callable[[str], object]) -> None:
    """Remember the home's databases, and log which of those that it had are lost."""
    try:
        for lost_database in remember_databases(settings):
            log(f"{lost_database}; see `twin doctor`")
    except TwinError as error:  # the stack starts or has ended all the same
        log(f"{error.found}; see `twin doctor`")


def _end_runs(stack: Stack, log: Callable[[str], object]) -> None:
    dagster = DagsterHTTP.for_home(stack.settings, timeout_s=MAX_IDLE_S)
    if not dagster.is_up(within_s=WEBSERVER_TIMEOUT_S):
        if not is_listening(stack.settings.host, stack.settings.dagster_port):
            return  # the webserver does not listen yet, so this stack has no runs
        log("waiting for Dagster to end its runs cleanly")
    try:
        cancel_runs(dagster, log)
    except TwinError as error:
        log(
            f"the runs could not be ended cleanly ({error.found}); the next start marks them as "
            "canceled"
        )


def cancel_runs(dagster: DagsterHTTP, log: Callable[[str], object]) -> None:
    """Cancel all runs that have a worker, in parallel.

    For each run, Dagster waits up to a minute for a code server that does not respond. Canceling
    ten runs one after the other took ten minutes.

    Raises:
        TwinError: Dagster did not respond, but it has received the request to cancel each run.
    """
    runs = dagster.list_runs(statuses=STATUSES_WITH_WORKER)
    if not runs:
        return
    with ThreadPoolExecutor(len(runs)) as pool:
        run_by_future = {pool.submit(dagster.end_run, run.run_id): run for run in runs}
        for future in as_completed(run_by_future):
            run, reason = run_by_future[future], future.result()
            log(f"run {run.run_id[:8]} ({run.job}) canceled" + (f": {reason}" if reason else ""))


def run_stop(settings: Settings, *, log: Callable[[str], object]) -> int:
    """Run `twin stop`; return the exit code."""
    result = end_stack(settings, log=log)
    if result.was_running or result.ended_count:
        log(f"the stack of {settings.home} is stopped")
    else:
        log(f"no stack of {settings.home} was running")
    return 0
