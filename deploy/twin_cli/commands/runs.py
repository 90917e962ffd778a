"""Launching a Dagster run, or joining the one in flight, and following it to its end.

Scope: what a run's log tells a person who waits: steps, progress, time left, what failed.
Out of scope: GraphQL (`dagster_http.py`), what the outcome means (`outcome.py`).
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twin_cli.commands.clock import StageBar, StageClock, duration
from twin_resources.dagster_runs import ERASURE, IN_PROGRESS, Event, Run
from twin_resources.errors import TwinError
from twin_resources.longest_waits import MAX_WORKING_S
from twin_resources.processes.dagster_http import PARTITION_TAG, DagsterHTTP
from twin_resources.processes.program_progress import ProgramProgress
from twin_resources.processes.programs import ensure_alive, ensure_not_given_up
from twin_resources.processes.stack import Stack

IMPORT = "import_posts"
LAUNCHED_BY_TAG, COMMAND = "twin/launched_by", "command"
POLL_S = 1.0
MAX_MESSAGE = 90  # characters of a line of the run's log, shown until the next one


@dataclass(frozen=True)
class FollowedRun:
    """A finished run.

    Attributes:
        failures: one text a failed step: its first cause.
        refused: names of the asset checks that failed.
        numbers: materialized asset → whole numbers of its metadata.
        goes_on: it was followed to what was waited for, and not to its end.
        cursor: of the last event that was told; following goes on from there.
        began: step → when it began, seconds since the epoch; the last one may go on.
        seconds: from launch to the end of following it.
    """

    run: Run
    failures: tuple[str, ...]
    refused: tuple[str, ...]
    numbers: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    goes_on: bool = False
    cursor: str | None = None
    began: Mapping[str, float] = field(default_factory=dict[str, float])
    followed_at: float = field(default_factory=time.time)

    @property
    def succeeded(self) -> bool:
        return self.goes_on or self.run.status == "SUCCESS"

    @property
    def seconds(self) -> float:
        return (self.run.ended or self.followed_at) - self.run.created


@dataclass(frozen=True)
class RunningRun:
    """A run that is queued or goes on.

    Attributes:
        step: in words; `waiting for its turn` before the first one.
        detail: its last progress in words.
        seconds: since it began, or since it was asked for.
        left_s: of this step; None: it does not say.
    """

    run_id: str
    job: str
    author: str
    step: str
    detail: str
    seconds: float
    left_s: float | None


def running_now(dagster: DagsterHTTP) -> list[RunningRun]:
    """What Dagster runs, the longest first."""
    return [_standing(dagster, run) for run in reversed(dagster.runs(statuses=IN_PROGRESS))]


def _standing(dagster: DagsterHTTP, run: Run) -> RunningRun:
    step, detail, left, at = "", "", None, 0.0
    cursor: str | None = None
    while run.status != "QUEUED":
        events, cursor = dagster.events(run.run_id, after=cursor)
        for event in events:
            if event.kind == "ExecutionStepStartEvent":
                step, detail, left = event.step.replace("_", " "), "", None
            elif (report := event.progress) is not None:
                detail, left, at = progress_line(report), left_of(report), event.timestamp
        if not events:
            break
    now = time.time()
    return RunningRun(
        run.run_id,
        run.job,
        run.tags.get(PARTITION_TAG, ""),
        step or ("waiting for its turn" if run.status == "QUEUED" else "starting"),
        detail,
        seconds=now - (run.started or run.created),
        left_s=None if left is None else max(0.0, left - (now - at)),
    )


def run_in_flight(dagster: DagsterHTTP, job: str, author: str) -> Run | None:
    """The newest unfinished run of a job for an author."""
    in_flight = dagster.runs(job=job, author=author, statuses=IN_PROGRESS, limit=1)
    return in_flight[0] if in_flight else None


def launch_or_join(dagster: DagsterHTTP, job: str, author: str) -> tuple[str, bool]:
    """Run id, and whether this call launched it (False: it was in flight already)."""
    with dagster.launch_lock():
        running = run_in_flight(dagster, job, author)
        if running is not None:
            return running.run_id, False
        return dagster.launch(job, author, tags={LAUNCHED_BY_TAG: COMMAND}), True


def follow(
    dagster: DagsterHTTP,
    run_id: str,
    *,
    clock: StageClock,
    title: str,
    stack: Stack | None = None,
    until: str = "",
    before: FollowedRun | None = None,
) -> FollowedRun:
    """Follow a run, and the one in its place when its worker dies or `twin forget` ends it.

    Args:
        before: how far it, or the one in its place, was followed already; what was told then is
            not told again.
        until: an asset after whose materialization nobody waits for the rest; empty: to the end.
        stack: checked while waiting, so that a stopped stack is not waited for.

    Raises:
        TwinError: Dagster stopped answering, and the run may still go on; or its daemon, which
            starts runs, was given up by the supervisor.
    """
    numbers = dict(before.numbers) if before else {}
    cursor = before.cursor if before else None
    run_id = before.run.run_id if before else run_id
    with clock.bar(title) as bar, clock.never_silent():
        notes = _Notes(bar, clock, began=before.began if before else {})
        while True:
            if stack is not None:
                ensure_alive(stack)
            run = dagster.run(run_id)
            events, cursor = dagster.events(run_id, after=cursor)
            for event in events:
                notes.take(event)
                if event.asset:
                    numbers[event.asset] = event.numbers
            if until and until in numbers:
                break
            if run.is_finished and not events:
                follower = _retry_of(dagster, run, stack=stack, clock=clock)
                if follower is None:
                    break
                run_id, cursor = follower, None
                notes.failures.clear()
                notes.refused.clear()
            if not events:
                if run.status == "QUEUED":
                    bar.update("waiting for its turn")
                    if stack is not None:
                        ensure_not_given_up(stack, "dagster-daemon")  # which starts it
                time.sleep(POLL_S)
        notes.flush()
    return FollowedRun(
        run,
        tuple(dict.fromkeys(notes.failures)),
        tuple(dict.fromkeys(notes.refused)),
        numbers=numbers,
        goes_on=not run.is_finished,
        cursor=cursor,
        began=notes.began,
    )


def progress_line(report: Mapping[str, Any]) -> str:
    """A `progress {json}` report in words: what is done, loss, speed."""
    parts: list[str] = []
    if "step" in report and "steps" in report:
        parts.append(f"step {report['step']}/{report['steps']}")
    if isinstance(report.get("loss"), (int, float)):
        parts.append(f"loss {report['loss']:.2f}")
    if isinstance(report.get("tokens_per_s"), (int, float)):
        parts.append(f"{report['tokens_per_s']:,.0f} tokens/s")
    if report.get("message"):
        parts.insert(0, str(report["message"]))
    return "  ".join(parts)


def left_of(report: Mapping[str, Any]) -> float | None:
    """Seconds left by a `progress {json}` report; None: it does not say."""
    left = report.get("eta_s")
    return float(left) if isinstance(left, (int, float)) else None


class _Notes:
    """What is told of a run's events: a phase for each step, and one line when that has ended."""

    def __init__(
        self, bar: StageBar, clock: StageClock, *, began: Mapping[str, float] | None = None
    ) -> None:
        self.failures: list[str] = []
        self.refused: list[str] = []
        self.began = dict(began or {})
        self._bar, self._clock = bar, clock
        self._done: list[str] = []
        self._held = self._open = 0

    def take(self, event: Event) -> None:
        """One event, in the order of the log."""
        report = event.progress
        if report is not None:
            done, total = report.get("step"), report.get("steps")
            line = progress_line(report)
            self._bar.update(line, done=done, total=total, left_s=left_of(report))
        elif event.kind == "ExecutionStepStartEvent":
            if self._done:  # checks that are steps of their own are told together
                self.flush()
            self.began[event.step] = event.timestamp
            self._bar.phase(event.step.replace("_", " "))
        elif event.kind == "LogMessageEvent":
            self._bar.update(" ".join(event.message.split())[:MAX_MESSAGE])
        elif event.asset:
            if not self._done:
                self.flush()
            took = duration(event.timestamp - self.began.get(event.step, event.timestamp))
            self._done.append(f"{event.asset.replace('_', ' ')} done in {took}")
        elif event.check and event.undecided:
            self._open += 1
        elif event.check and event.passed:
            self._held += 1
        elif event.kind in {"ExecutionStepFailureEvent", "RunFailureEvent"} and event.errors:
            self.failures.append(event.errors[-1])
        elif event.check:
            self._clock.say(f"check failed: {event.check.replace('_', ' ')}", style="yellow")
            self.refused.append(event.check)

    def flush(self) -> None:
        """In the long form: what the step that has ended has made, its checks in a few words."""
        checks = [_counted(self._held, "check holds", "checks hold")] if self._held else []
        checks += [f"{self._open} follow"] if self._open else []
        for line in self._done[:-1]:
            self._clock.detail(line)
        if report_line := ", ".join([*self._done[-1:], *checks]):
            self._clock.detail(report_line)
        self._done.clear()
        self._held = self._open = 0


def _counted(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def _retry_of(
    dagster: DagsterHTTP, run: Run, *, stack: Stack | None, clock: StageClock
) -> str | None:
    """Id of the run in place of this one, said to whoever waits; None: there is none.

    Dagster names its own some seconds after the end. One that `twin forget` ended is launched here,
    after the erasure. A training that a sensor launched is tried again by the sensor.
    """
    is_mine = run.job == IMPORT or run.tags.get(LAUNCHED_BY_TAG) == COMMAND
    if run.was_ended_by_erasure and is_mine:
        while dagster.runs(job=ERASURE, statuses=IN_PROGRESS, limit=1):
            if stack is not None:
                ensure_alive(stack)
            time.sleep(POLL_S)
        follower, _ = launch_or_join(dagster, run.job, run.tags[PARTITION_TAG])
        clock.say(f"`twin forget` ended the run; it begins again as {follower[:8]}")
        return follower
    began, progress = time.monotonic(), ProgramProgress()
    while run.will_be_retried and not run.retry_run_id:
        if stack is not None:
            ensure_alive(stack)
            ensure_not_given_up(stack, "dagster-daemon", progress)
        if time.monotonic() - began > MAX_WORKING_S:
            raise TwinError(
                f"follow the retry of the run {run.run_id[:8]}",
                found=f"Dagster announced one and did not start it within {MAX_WORKING_S:.0f} s",
                next_step="see dagster-daemon.log",
            )
        time.sleep(POLL_S)
        run = dagster.run(run.run_id)
    if run.retry_run_id:
        clock.say(f"the run's worker died; Dagster runs it again as {run.retry_run_id[:8]}")
    return run.retry_run_id or None
