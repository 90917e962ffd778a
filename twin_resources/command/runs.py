"""Launching a Dagster run, or joining the one in flight, and following it to its end.

Belongs here: what a run's log tells a person who waits: steps, progress, time left, what failed.
Does not belong here: GraphQL (`dagster_http.py`), what the outcome means (`outcome.py`).
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twin_resources.command.clock import Bar, StageClock, duration
from twin_resources.dagster_http import DagsterHTTP
from twin_resources.dagster_runs import IN_PROGRESS, Event, Run
from twin_resources.errors import TwinError
from twin_resources.stack.programs import ensure_alive, ensure_not_given_up
from twin_resources.stack.stack import Stack

POLL_S = 1.0


@dataclass(frozen=True)
class FollowedRun:
    """A finished run.

    Attributes:
        failures: one text a failed step: its first cause.
        refused: names of the asset checks that failed.
        numbers: materialized asset → whole numbers of its metadata.
        seconds: from launch to end.
    """

    run: Run
    failures: tuple[str, ...]
    refused: tuple[str, ...]
    numbers: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])

    @property
    def succeeded(self) -> bool:
        return self.run.status == "SUCCESS"

    @property
    def seconds(self) -> float:
        return (self.run.ended or time.time()) - self.run.created


def run_in_flight(dagster: DagsterHTTP, job: str, author: str) -> Run | None:
    """The newest unfinished run of a job for an author."""
    found = dagster.runs(job=job, author=author, statuses=IN_PROGRESS, limit=1)
    return found[0] if found else None


def launch_or_join(dagster: DagsterHTTP, job: str, author: str) -> tuple[str, bool]:
    """Run id, and whether this call launched it (False: it was in flight already)."""
    running = run_in_flight(dagster, job, author)
    if running is not None:
        return running.run_id, False
    return dagster.launch(job, author, tags={"twin/launched_by": "command"}), True


def follow(
    dagster: DagsterHTTP, run_id: str, *, clock: StageClock, title: str, stack: Stack | None = None
) -> FollowedRun:
    """Follow a run, and the retry that Dagster puts in its place when its worker dies.

    Args:
        stack: checked while waiting, so that a stopped stack is not waited for.

    Raises:
        TwinError: Dagster stopped answering, and the run may still go on; or its daemon, which
            starts runs, was given up by the supervisor.
    """
    failures: list[str] = []
    refused: list[str] = []
    numbers: dict[str, Mapping[str, int]] = {}
    cursor: str | None = None
    with clock.bar(title) as bar:
        while True:
            if stack is not None:
                ensure_alive(stack)
            run = dagster.run(run_id)
            events, cursor = dagster.events(run_id, after=cursor)
            for event in events:
                _note(event, bar, clock, failures=failures, refused=refused)
                if event.asset:
                    numbers[event.asset] = event.numbers
            if run.is_finished and not events:
                follower = _retry_of(dagster, run)
                if follower is None:
                    break
                clock.say(f"the run's worker died; Dagster runs it again as {follower[:8]}")
                run_id, cursor = follower, None
                failures.clear()
                refused.clear()
            if not events:
                if run.status == "QUEUED":
                    bar.update("waiting for its turn")
                    if stack is not None:
                        ensure_not_given_up(stack, "dagster-daemon")  # which starts it
                time.sleep(POLL_S)
    return FollowedRun(
        run, tuple(dict.fromkeys(failures)), tuple(dict.fromkeys(refused)), numbers=numbers
    )


def progress_line(report: Mapping[str, Any]) -> str:
    """A `progress {json}` report in words: what is done, loss, speed, time left."""
    parts: list[str] = []
    if "step" in report and "steps" in report:
        parts.append(f"step {report['step']}/{report['steps']}")
    if isinstance(report.get("loss"), (int, float)):
        parts.append(f"loss {report['loss']:.2f}")
    if isinstance(report.get("tokens_per_s"), (int, float)):
        parts.append(f"{report['tokens_per_s']:,.0f} tokens/s")
    left = report.get("eta_s")
    if isinstance(left, (int, float)):
        parts.append(f"{duration(left)} left")
    if report.get("message"):
        parts.insert(0, str(report["message"]))
    return "  ".join(parts)


def _note(
    event: Event, bar: Bar, clock: StageClock, *, failures: list[str], refused: list[str]
) -> None:
    report = event.progress
    if report is not None:
        bar.update(progress_line(report), done=report.get("step"), total=report.get("steps"))
    elif event.kind == "ExecutionStepStartEvent":
        bar.update(event.step.replace("_", " "))
    elif event.asset:
        clock.say(f"{event.asset.replace('_', ' ')} done")
    elif event.check and event.passed:
        clock.say(f"check holds: {event.check.replace('_', ' ')}")
    elif event.kind in {"ExecutionStepFailureEvent", "RunFailureEvent"} and event.errors:
        failures.append(event.errors[-1])
    elif event.check:
        clock.say(f"check failed: {event.check.replace('_', ' ')}", style="yellow")
        refused.append(event.check)


def _retry_of(dagster: DagsterHTTP, run: Run, *, wait_s: float = 60.0) -> str | None:
    """Id of the run that Dagster starts for this one; it is named some seconds after the end."""
    deadline = time.monotonic() + wait_s
    while run.will_be_retried and not run.retry_run_id:
        if time.monotonic() > deadline:
            raise TwinError(
                f"follow the retry of the run {run.run_id[:8]}",
                found=f"Dagster announced one and did not start it within {wait_s:.0f} s",
                next_step="see dagster-daemon.log",
            )
        time.sleep(POLL_S)
        run = dagster.run(run.run_id)
    return run.retry_run_id or None
