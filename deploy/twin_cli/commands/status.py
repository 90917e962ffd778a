"""Show the running programs and the served versions (`twin status`), and wait for a verdict.

Scope: reading the status, which takes half a second, and `--wait`.
Out of scope: the meaning of an outcome (`outcome.py`), and the quality of an author's answers
(`author_quality.py`).
"""
# pyright: strict

from __future__ import annotations

import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

from twin_resources.authors import list_author_slugs
from twin_resources.authors.pausing import pause_path, read_pause
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.outbox import Outbox, outbox_path
from twin_resources.processes.endpoints import READY, read_endpoint_state, urls
from twin_resources.processes.process_identity import find_marked_processes
from twin_resources.processes.stack import Stack, find_stack, read_record
from twin_resources.processes.wording import format_count
from twin_resources.registry.policy import Policy, build_policy, read_policy
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from twin_cli.commands.runs import RunInProgress

NOT_RUNNING_EXIT_CODE = 1
# A program that exited within this time and runs again may soon exit again. During training, the
# chat page needs 40 s for its imports before it can fail.
RECENT_EXIT_S = 60.0
# Programs by module that a host may run without a stack (a container with one role).
PROGRAM_BY_MODULE = {
    "twin_resources.gateway": "gateway",
    "twin_resources.models.serving.fleet": "models",
    "twin_resources.observability.langfuse.relay": "relay",
    "twin_resources.observability.trace_store.local_store": "traces",
    "dagster._daemon": "dagster-daemon",
}


@dataclass(frozen=True)
class ProgramStatus:
    """One program: supervisord's state, the pid, and the seconds since its start.

    Attributes:
        state: supervisord's state, or RESTARTED if the program runs but exited recently.
        exited: how and when the program exited and where its log is; empty if it did not exit.
    """

    name: str
    state: str
    pid: int
    up_s: float | None
    exited: str = ""


@dataclass(frozen=True)
class StackStatus:
    """The object that `twin status --json` prints.

    Attributes:
        running: whether the supervisor is alive, or programs of this home run without it.
        crashed: whether a stack was started and ended without `twin stop`.
        authors: served version by slug: `v3`, `base` while no version is released, or `v1, answer
            model` and the model's name.
        outbox: numbers of items that wait for the trace store (`OutboxCounts`), or empty before the
            first start.
        endpoint: the state that `TWIN_GATEWAY_URL` reports, such as `ready`; empty without it.
        quality: lines by slug: evidence of a fall, the event that the loop waits for, and scores
            that do not count (`author_quality.py`).
        stores: lines about the trace stores that the ledger has read, if it was more than one.
        runs: Dagster runs that are queued or in progress, with their step and the time left.
        runs_unknown: why Dagster's runs are unknown, or empty if they are known.
    """

    home: str
    running: bool
    crashed: bool
    urls: dict[str, str]
    programs: tuple[ProgramStatus, ...]
    authors: dict[str, str]
    outbox: dict[str, Any]
    endpoint: str = ""
    quality: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    stores: tuple[str, ...] = ()
    runs: tuple[RunInProgress, ...] = ()
    runs_unknown: str = ""


def collect_status(settings: Settings) -> StackStatus:
    """Return the current status, from the supervisor, files and the state store."""
    stack = find_stack(settings)
    record = read_record(settings)
    runs, runs_unknown = _read_runs(stack) if stack else ((), "")
    has_crashed = stack is None and record is not None and record.supervisor is not None
    programs = (
        _read_program_statuses(stack)
        if stack
        else ()
        if has_crashed
        else _find_programs_without_stack(settings)
    )
    endpoint = "" if stack else read_endpoint_state(settings)
    return StackStatus(
        home=str(settings.home),
        running=stack is not None or bool(programs) or endpoint == READY,
        crashed=has_crashed,
        urls=urls(stack.settings) if stack else {},
        programs=programs,
        authors=_read_served_versions(settings),
        outbox=_read_outbox_counts(settings),
        endpoint=endpoint,
        quality=_quality_lines(settings),
        stores=_read_store_lines(settings),
        runs=runs,
        runs_unknown=runs_unknown,
    )


def _quality_lines(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return the lines by author; without a state store, return none and import no SQL library."""
    if not settings.state_url and not (settings.home / "state.sqlite").exists():
        return {}
    from twin_cli.commands.author_quality import format_quality_lines

    return format_quality_lines(settings, list_author_slugs(settings))


def _read_store_lines(settings: Settings) -> tuple[str, ...]:
    if not settings.state_url and not (settings.home / "state.sqlite").exists():
        return ()
    from twin_cli.commands.author_quality import read_store_lines

    return read_store_lines(settings)


def run_status(
    settings: Settings,
    *,
    wait: bool,
    timeout: float | None,
    author: str,
    as_json: bool,
    console: Console,
) -> int:
    """Print the status; return 0 if the stack is running, else 1.

    Args:
        wait: whether to wait for a verdict instead; see `run_wait`.
        timeout, author: arguments of `run_wait`.
    """
    if wait:
        return run_wait(settings, author=author, timeout_s=timeout)
    status = collect_status(settings)
    if as_json:
        console.print_json(data=asdict(status))
        return 0 if status.running else NOT_RUNNING_EXIT_CODE
    if status.endpoint:
        console.print(f"{settings.gateway_url}: {status.endpoint}")
    elif not status.running:
        state = (
            "ended without `twin stop`; run `twin up` to recover it"
            if status.crashed
            else "not running"
        )
        console.print(f"{status.home}: {state}")
    elif not status.urls:
        roles = ", ".join(program.name for program in status.programs)
        console.print(f"{status.home}: no stack; this host runs only {roles}")
    for program in status.programs:
        pid = f"pid {program.pid}" if program.pid else ""
        uptime = "" if program.up_s is None else f"up {program.up_s:,.0f} s"
        line = (
            f"  {program.name:<18} {program.state.lower():<9} {pid:<12} {uptime:<11} "
            f"{program.exited}"
        )
        console.print(line.rstrip())
    for name, url in status.urls.items():
        console.print(f"  {name:<18} {url}")
    for line in format_outbox(status.outbox):
        console.print(f"  {line}")
    for line in status.stores:
        console.print(f"  traces: {line}")
    for run in status.runs:
        console.print(f"  {format_run(run)}")
    if status.runs_unknown:
        console.print(f"  runs: unknown, {status.runs_unknown}")
    for slug, version in status.authors.items():
        console.print(f"  twin/{slug:<13} {version}")
        for line in status.quality.get(slug, ()):
            console.print(f"    {line}")
    return 0 if status.running else NOT_RUNNING_EXIT_CODE


def run_wait(settings: Settings, *, author: str, timeout_s: float | None) -> int:
    """Wait for the verdict; return 0 if tuned, 3 if refused by the gate, 4 if failed.

    Raises:
        TwinError: no stack is running, or nothing is being trained.
    """
    from twin_cli.commands.outcome import wait_for_outcome
    from twin_cli.commands.progress_display import ProgressDisplay
    from twin_cli.commands.services import require_stack
    from twin_cli.commands.subject import choose_author
    from twin_cli.commands.training import plot_styles, record_finished, report_outcome

    display = ProgressDisplay()
    stack = require_stack(settings)
    chosen_author = choose_author(settings, author)
    with display.report_waits("waiting for a training run"):
        outcome = wait_for_outcome(stack, chosen_author.slug, display=display, timeout_s=timeout_s)
        report_outcome(outcome, display=display)
        plot_styles(stack.settings, outcome, display=display)
        record_finished(stack.settings, chosen_author.slug)
    return int(outcome.code)


def format_run(run: RunInProgress) -> str:
    """Return a run as a line, `retrain_twin ada: evaluation  step 20/48  running for 4:10`."""
    from twin_resources.processes.wording import format_duration, format_time_left

    timing_text = f"running for {format_duration(run.seconds)}"
    if run.left_s is not None:
        timing_text += f", {format_time_left(*run.left_s)} in this step"
    line = "  ".join(filter(None, (run.step, run.detail, timing_text)))
    return f"{' '.join(filter(None, (run.job, run.author)))}: {line}"


def _read_runs(stack: Stack) -> tuple[tuple[RunInProgress, ...], str]:
    """Return Dagster's runs, or why they are unknown, for example while Dagster starts."""
    from twin_cli.commands.runs import list_runs_in_progress
    from twin_resources.processes.dagster_http import DagsterHTTP

    try:
        return tuple(list_runs_in_progress(DagsterHTTP.for_home(stack.settings))), ""
    except TwinError as error:
        return (), error.found


def format_outbox(outbox: dict[str, Any]) -> list[str]:
    """Return lines about the outbox, or none if no item waits or was lost."""
    if not outbox:
        return []
    lines: list[str] = []
    if outbox["scores"] or outbox["traces"]:
        wait_text = (
            "" if outbox["oldest_at"] is None else f" for {time.time() - outbox['oldest_at']:.0f} s"
        )
        lines.append(
            f"outbox: waiting for the trace store{wait_text}: "
            f"{format_count(outbox['scores'], 'score')}, "
            f"{format_count(outbox['traces'], 'trace')}"
        )
    if outbox["problem"]:
        lines.append(f"outbox: {outbox['problem']}")
    if outbox["dropped_traces"]:
        lines.append(
            f"outbox: the oldest {format_count(outbox['dropped_traces'], 'trace')} dropped to free "
            "space"
        )
    if outbox["refused"]:
        lines.append(f"outbox: {outbox['refused']:,} rejected by the trace store and kept")
    return lines


def _read_outbox_counts(settings: Settings) -> dict[str, Any]:
    path = outbox_path(settings)
    if not path.exists():
        return {}
    with closing(Outbox(path)) as outbox:
        return asdict(outbox.counts())


def _read_program_statuses(stack: Stack) -> tuple[ProgramStatus, ...]:
    start_times = {name: identity.started for name, identity in stack.pids().items()}
    now = time.time()
    programs: list[ProgramStatus] = []
    for name, state in stack.supervisor.states().items():
        ended_s = now - state.stopped_at
        exit_status = stack.supervisor.last_exit(name) if ended_s < RECENT_EXIT_S else ""
        has_exited = bool(exit_status) and state.state != "STOPPED"
        programs.append(
            ProgramStatus(
                name=name,
                state="RESTARTED" if has_exited and state.is_up else state.state,
                pid=state.pid,
                up_s=round(now - start_times[name], 1) if name in start_times else None,
                exited=f"exited {ended_s:.0f} s ago ({exit_status}): {state.log}"
                if has_exited
                else "",
            )
        )
    return tuple(programs)


def _find_programs_without_stack(settings: Settings) -> tuple[ProgramStatus, ...]:
    """Return the programs of this home that run without a supervisor, found by their commands."""
    now = time.time()
    programs: list[ProgramStatus] = []
    for process in find_marked_processes(str(settings.home), variable="TWIN_HOME"):
        with suppress(psutil.NoSuchProcess):  # the process has ended
            _, _, module_command = " ".join(process.cmdline()).partition(" -m ")
            name = PROGRAM_BY_MODULE.get(module_command.partition(" ")[0])
            if name:
                up_s = round(now - process.create_time(), 1)
                programs.append(ProgramStatus(name, "RUNNING", process.pid, up_s))
    return tuple(sorted(programs, key=lambda program: program.name))


def _read_policy(settings: Settings) -> Policy | None:
    """Return the policy of a state store outside the home, if it answers, else of the file."""
    if settings.state_url:
        from twin_resources.registry.registry import Registry
        from twin_resources.storage.state.home_state import open_home_state

        with suppress(TwinError), closing(open_home_state(settings)) as state:
            registry = Registry(state, policy_path=settings.policy_path)
            return build_policy(registry, registry.routing())
    return read_policy(settings.policy_path) if settings.policy_path.exists() else None


def _read_served_versions(settings: Settings) -> dict[str, str]:
    policy = _read_policy(settings)
    versions: dict[str, str] = {}
    for slug in list_author_slugs(settings):
        entry = policy.authors.get(slug) if policy else None
        stable_version = entry.stable if entry else None
        versions[slug] = f"v{stable_version.version}" if stable_version else "base"
        if stable_version is not None and stable_version.kind == "answer_model":
            versions[slug] += f", answer model {stable_version.base}"
        if reason := read_pause(pause_path(settings, slug)):
            versions[slug] += f", paused {reason}"
    return versions
