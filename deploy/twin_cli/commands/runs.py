"""Launch a Dagster run, or join the run in flight, and follow it to its end.

Scope: the events of a run that the user sees: steps, progress, time left and failures.
Out of scope: GraphQL (`dagster_http.py`), and the meaning of an outcome (`outcome.py`).
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twin_cli.commands.progress_display import ProgressBar, ProgressDisplay
from twin_resources.dagster_runs import ERASURE_TAG_VALUE, IN_PROGRESS_STATUSES, Event, Run
from twin_resources.errors import TwinError
from twin_resources.processes.dagster_http import PARTITION_TAG, DagsterHTTP
from twin_resources.processes.program_progress import ProgramProgress
from twin_resources.processes.programs import ensure_alive, ensure_program_works
from twin_resources.processes.stack import Stack
from twin_resources.processes.wording import format_duration
from twin_resources.wait_limits import MAX_WORKING_S

IMPORT_JOB = "import_posts"
LAUNCHED_BY_TAG, LAUNCHED_BY_COMMAND = "twin/launched_by", "command"
POLL_INTERVAL_S = 1.0
MAX_MESSAGE_CHARACTERS = 90  # of a log line, shown until the next line


@dataclass(frozen=True)
class FollowedRun:
    """A run that was followed to its end or to an awaited asset.

    Attributes:
        failures: root cause of each failed step.
        failed_checks: names of the failed asset checks.
        asset_numbers: the integers in the metadata of each materialized asset.
        is_unfinished: whether following stopped at the awaited asset, before the run's end.
        cursor: cursor of the last reported event, from which following resumes.
        step_started_at: start of each step, in seconds since the epoch.
        seconds: time from launch to the end of following.
    """

    run: Run
    failures: tuple[str, ...]
    failed_checks: tuple[str, ...]
    asset_numbers: Mapping[str, Mapping[str, int]] = field(
        default_factory=dict[str, Mapping[str, int]]
    )
    is_unfinished: bool = False
    cursor: str | None = None
    step_started_at: Mapping[str, float] = field(default_factory=dict[str, float])
    followed_at: float = field(default_factory=time.time)

    @property
    def succeeded(self) -> bool:
        return self.is_unfinished or self.run.status == "SUCCESS"

    @property
    def failure(self) -> str:
        """The root causes of the failed steps, or the run's status if no step failed."""
        return "; ".join(self.failures) or f"the run ended with the status {self.run.status}"

    @property
    def seconds(self) -> float:
        return (self.run.ended or self.followed_at) - self.run.created


@dataclass(frozen=True)
class RunInProgress:
    """A run that is queued or in progress.

    Attributes:
        step: the step in words; `queued` before the first step.
        detail: the latest progress in words.
        seconds: seconds since the run began, or since it was requested.
        left_s: shortest and longest time left in this step in seconds, or None if unknown.
    """

    run_id: str
    job: str
    author: str
    step: str
    detail: str
    seconds: float
    left_s: tuple[float, float] | None


def list_runs_in_progress(dagster: DagsterHTTP) -> list[RunInProgress]:
    """Return the runs that are queued or in progress, oldest first."""
    return [
        _describe_run(dagster, run)
        for run in reversed(dagster.list_runs(statuses=IN_PROGRESS_STATUSES))
    ]


def _describe_run(dagster: DagsterHTTP, run: Run) -> RunInProgress:
    step, detail, remaining_s, reported_at = "", "", None, 0.0
    cursor: str | None = None
    while run.status != "QUEUED":
        events, cursor = dagster.events(run.run_id, cursor=cursor)
        for event in events:
            if event.kind == "ExecutionStepStartEvent":
                step, detail, remaining_s = event.step.replace("_", " "), "", None
            elif (report := event.progress) is not None:
                detail, remaining_s = format_progress(report), parse_remaining_seconds(report)
                reported_at = event.timestamp
        if not events:
            break
    now = time.time()
    return RunInProgress(
        run.run_id,
        run.job,
        run.tags.get(PARTITION_TAG, ""),
        step or ("queued" if run.status == "QUEUED" else "starting"),
        detail,
        seconds=now - (run.started or run.created),
        left_s=None
        if remaining_s is None
        else (remaining_s[0] - (now - reported_at), remaining_s[1] - (now - reported_at)),
    )


def find_run_in_flight(dagster: DagsterHTTP, job: str, author: str) -> Run | None:
    """Return the newest unfinished run of a job for an author, or None."""
    runs = dagster.list_runs(job=job, author=author, statuses=IN_PROGRESS_STATUSES, limit=1)
    return runs[0] if runs else None


def has_materialized(dagster: DagsterHTTP, run_id: str, asset: str) -> bool:
    """Return whether a run has materialized an asset."""
    cursor: str | None = None
    while True:
        events, cursor = dagster.events(run_id, cursor=cursor)
        if any(event.asset == asset for event in events):
            return True
        if not events:
            return False


def launch_or_join(
    dagster: DagsterHTTP, job: str, author: str, *, tags: Mapping[str, str] | None = None
) -> tuple[str, bool]:
    """Return the run's id, and whether this call launched the run instead of joining it.

    Args:
        tags: further tags of a launched run.
    """
    with dagster.launch_lock():
        active_run = find_run_in_flight(dagster, job, author)
        if active_run is not None:
            return active_run.run_id, False
        all_tags = {LAUNCHED_BY_TAG: LAUNCHED_BY_COMMAND, **(tags or {})}
        return dagster.launch(job, author, tags=all_tags), True


def follow_run(
    dagster: DagsterHTTP,
    run_id: str,
    *,
    display: ProgressDisplay,
    title: str,
    stack: Stack,
    until_asset: str = "",
    previous: FollowedRun | None = None,
) -> FollowedRun:
    """Follow a run, and its replacement if its worker dies or `twin forget` ends it.

    Args:
        previous: result of following this run earlier; its events are not repeated.
        until_asset: asset whose materialization ends the wait, or empty to wait for the run's end.
        stack: the stack, which is checked during the wait, so that a stopped stack ends the wait.

    Raises:
        TwinError: Dagster stopped responding, although the run may still be in progress, or the
            supervisor gave up on Dagster's daemon, which starts runs.
    """
    asset_numbers = dict(previous.asset_numbers) if previous else {}
    cursor = previous.cursor if previous else None
    run_id = previous.run.run_id if previous else run_id
    with display.bar(title) as bar, display.report_waits():
        reporter = _RunReporter(
            bar, display, step_started_at=previous.step_started_at if previous else {}
        )
        while True:
            ensure_alive(stack)
            run = dagster.read_run(run_id)
            events, cursor = dagster.events(run_id, cursor=cursor)
            for event in events:
                reporter.process_event(event)
                if event.asset:
                    asset_numbers[event.asset] = event.numbers
            if until_asset and until_asset in asset_numbers:
                break
            if run.is_finished and not events:
                retry_run_id = _find_retry(dagster, run, stack=stack, display=display)
                if retry_run_id is None:
                    break
                run_id, cursor = retry_run_id, None
                reporter.failures.clear()
                reporter.failed_checks.clear()
            if not events:
                if run.status == "QUEUED":
                    bar.update("queued")
                    ensure_program_works(stack, "dagster-daemon")  # the daemon starts the run
                time.sleep(POLL_INTERVAL_S)
    return FollowedRun(
        run,
        tuple(dict.fromkeys(reporter.failures)),
        tuple(dict.fromkeys(reporter.failed_checks)),
        asset_numbers=asset_numbers,
        is_unfinished=not run.is_finished,
        cursor=cursor,
        step_started_at=reporter.step_started_at,
    )


def format_progress(report: Mapping[str, Any]) -> str:
    """Return a `progress {json}` report in words: message, step, loss and speed."""
    details: list[str] = []
    if "step" in report and "steps" in report:
        details.append(f"step {report['step']}/{report['steps']}")
    if isinstance(report.get("loss"), (int, float)):
        details.append(f"loss {report['loss']:.2f}")
    if isinstance(report.get("tokens_per_s"), (int, float)):
        details.append(f"{report['tokens_per_s']:,.0f} tokens/s")
    if report.get("message"):
        details.insert(0, str(report["message"]))
    return "  ".join(details)


def parse_remaining_seconds(report: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the shortest and longest seconds left that a `progress {json}` report states."""
    match report.get("eta_s"):
        case [int() | float() as shortest_s, int() | float() as longest_s]:
            return shortest_s, longest_s
        case _:
            return None


class _RunReporter:
    """Report a run's events: a bar phase for each step, and a line for each result."""

    def __init__(
        self,
        bar: ProgressBar,
        display: ProgressDisplay,
        *,
        step_started_at: Mapping[str, float] | None = None,
    ) -> None:
        self.failures: list[str] = []
        self.failed_checks: list[str] = []
        self.step_started_at = dict(step_started_at or {})
        self._bar, self._display = bar, display

    def process_event(self, event: Event) -> None:
        """Process the next event of the log."""
        report = event.progress
        if report is not None:
            done, total = report.get("step"), report.get("steps")
            line = format_progress(report)
            self._bar.update(
                line, done=done, total=total, remaining_s=parse_remaining_seconds(report)
            )
        elif event.kind == "ExecutionStepStartEvent":
            self.step_started_at[event.step] = event.timestamp
            self._bar.begin_phase(event.step.replace("_", " "))
        elif event.kind == "LogMessageEvent":
            self._bar.update(" ".join(event.message.split())[:MAX_MESSAGE_CHARACTERS])
        elif event.asset:
            duration_s = event.timestamp - self.step_started_at.get(event.step, event.timestamp)
            asset = event.asset.replace("_", " ")
            self._display.log_detail(f"{asset} done in {format_duration(duration_s)}")
        elif event.kind in {"ExecutionStepFailureEvent", "RunFailureEvent"} and event.errors:
            self.failures.append(event.errors[-1])
        elif event.check and not event.passed and event.is_warning:
            self._display.log_detail(f"check not met, which stops nothing: {event.check}")
        elif event.check and not event.passed:
            self._display.log(f"check failed: {event.check.replace('_', ' ')}", style="yellow")
            self.failed_checks.append(event.check)


def _find_retry(
    dagster: DagsterHTTP, run: Run, *, stack: Stack, display: ProgressDisplay
) -> str | None:
    """Report the run that replaces this run and return its id, or None if there is none.

    Dagster records its own retry some seconds after the run's end. After an erasure, this function
    relaunches the run that `twin forget` ended. The sensor retries the training runs it launched.
    """
    is_own_run = run.job == IMPORT_JOB or run.tags.get(LAUNCHED_BY_TAG) == LAUNCHED_BY_COMMAND
    if run.was_ended_by_erasure and is_own_run:
        while dagster.list_runs(job=ERASURE_TAG_VALUE, statuses=IN_PROGRESS_STATUSES, limit=1):
            ensure_alive(stack)
            time.sleep(POLL_INTERVAL_S)
        retry_run_id, _ = launch_or_join(dagster, run.job, run.tags[PARTITION_TAG])
        display.log(f"`twin forget` ended the run; it was restarted as {retry_run_id[:8]}")
        return retry_run_id
    started_at, progress = time.monotonic(), ProgramProgress()
    while run.will_be_retried and not run.retry_run_id:
        ensure_alive(stack)
        ensure_program_works(stack, "dagster-daemon", progress)
        if time.monotonic() - started_at > MAX_WORKING_S:
            raise TwinError(
                f"follow the retry of the run {run.run_id[:8]}",
                found=f"Dagster announced a retry but did not start it in {MAX_WORKING_S:.0f} s",
                next_step="see `twin logs dagster-daemon`",
            )
        time.sleep(POLL_INTERVAL_S)
        run = dagster.read_run(run.run_id)
    if run.retry_run_id:
        display.log(f"the run's worker died; Dagster retries it as {run.retry_run_id[:8]}")
    return run.retry_run_id or None
