"""Submit a training run as a Ray job and follow it: the backend `ray`.

Scope: submitting, following and stopping the job.
Out of scope: the driver in the cluster (`ray_driver.py`), the processes of a machine
(`machine.py`), the cluster (`deploy/kubernetes`, or `ray start --head`).
Method: Ray jobs, https://docs.ray.io/en/latest/cluster/running-applications/job-submission/

The cluster must have this project installed and mount the home at the same path (a shared volume).
Samples, weights and checkpoints are files in the home. Messages and metrics are lines in the job's
log. A job continues if its launcher is killed, and the next launcher for the same folder follows
it.
"""

from __future__ import annotations

import asyncio
import queue
import shlex
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from twin_resources.errors import TwinError
from twin_resources.models.training_launcher.attempt import Attempt, write_attempt
from twin_resources.models.training_launcher.machine import ranks_per_machine
from twin_resources.models.training_launcher.training_job import (
    AttemptEnd,
    Message,
    TrainingDiedError,
    TrainingJob,
    forward_line,
    ignore_message,
    run_with_retry,
)
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

Answer = TypeVar("Answer")
DRIVER_MODULE = "twin_resources.models.training_launcher.ray_driver"
FOLDER_KEY = "twin_training"  # metadata key for a job's folder
POLL_INTERVAL_S = 1.0
UNREACHABLE_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 120.0
STARTUP_TIMEOUT_S = 120.0  # for a new cluster to accept its first job
LOG_DRAIN_TIMEOUT_S = 60.0  # for the last log lines after a job ends


class RayLauncher:
    """A launcher for a Ray cluster of `Settings.train_machines` workers with equal rank counts."""

    shares_files = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(
        self,
        job: TrainingJob,
        *,
        on_message: Callable[[Message], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Path:
        report = on_message or ignore_message
        ranks_per_machine(job, self._settings.train_machines)
        client = _connect(self._settings.ray_address)
        return run_with_retry(
            job,
            self._settings,
            attempt=lambda log: self._run_attempt(client, job, log, report, environment or {}),
            report=report,
            lock_name=f"training-{job.name}.lock",
            scope=f"of {job.name}",
        )

    def _run_attempt(
        self,
        client: JobSubmissionClient,
        job: TrainingJob,
        log: Path,
        report: Callable[[Message], None],
        environment: Mapping[str, str],
    ) -> AttemptEnd:
        submission_id = _find_running_job(client, job.folder)
        if submission_id is None:
            submission_id = self._submit(client, job, environment)
            report({"text": f"Ray job {submission_id} on {self._settings.ray_address}"})
        else:
            report(
                {"text": f"following Ray job {submission_id}, still running from an earlier run"}
            )
        try:
            return _follow_job(client, submission_id, job, log, report)
        finally:  # also on KeyboardInterrupt and on a cancelled Dagster run
            _stop_job(client, submission_id)

    def _submit(
        self, client: JobSubmissionClient, job: TrainingJob, environment: Mapping[str, str]
    ) -> str:
        attempt_id = uuid.uuid4().hex
        attempt_path = job.folder / "attempt.json"
        write_attempt(
            attempt_path,
            Attempt(
                attempt_id,
                job,
                self._settings.train_machines,
                environment=environment,
                may_fork=self._settings.train_forks,
            ),
        )
        try:
            return submit_job(
                client,
                entrypoint=f"python -m {DRIVER_MODULE} --attempt {shlex.quote(str(attempt_path))}",
                name=f"training-{job.name}-{attempt_id[:12]}",
                metadata={FOLDER_KEY: str(job.folder), "name": job.name},
            )
        except (OSError, RuntimeError) as error:
            raise TwinError(
                f"submit a job to the Ray cluster at {self._settings.ray_address}",
                found=str(error),
                next_step="check the cluster's head (`ray status`, its logs)",
            ) from error


def submit_job(client: Any, *, entrypoint: str, name: str, metadata: dict[str, str]) -> str:
    """Submit a job under a unique name, and retry until a new cluster accepts jobs.

    Args:
        client: a Ray `JobSubmissionClient`.

    Raises:
        RuntimeError, OSError: the cluster does not accept the job.
    """
    deadline = time.monotonic() + STARTUP_TIMEOUT_S
    while True:
        try:
            return client.submit_job(entrypoint=entrypoint, submission_id=name, metadata=metadata)
        except (OSError, RuntimeError) as error:
            if f"{name} already exists" in str(error):
                return name  # an earlier request was accepted, but the busy head answered too late
            # A new cluster answers before its head accepts jobs.
            is_retryable = isinstance(error, OSError) or "No available agent" in str(error)
            if not is_retryable or time.monotonic() > deadline:
                raise
            time.sleep(POLL_INTERVAL_S)


def _connect(address: str) -> JobSubmissionClient:
    action = f"reach the Ray cluster at {address}"
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise TwinError(
            action,
            found="the package ray is not installed",
            next_step='pip install "llm-twin[ray]", or set TWIN_TRAIN_BACKEND=local',
        ) from error
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        raise TwinError(
            action,
            found=str(error),
            next_step="start the cluster (`ray start --head`, or deploy/kubernetes), or set "
            "TWIN_RAY_ADDRESS to its dashboard",
        ) from error


def _find_running_job(client: JobSubmissionClient, folder: Path) -> str | None:
    """Return the submission id of this folder's running job, whichever launcher submitted it."""
    for job in ask_cluster(client.list_jobs, description="its jobs"):
        is_same_folder = (job.metadata or {}).get(FOLDER_KEY) == str(folder)
        if is_same_folder and job.submission_id and not job.status.is_terminal():
            return job.submission_id
    return None


def _follow_job(
    client: JobSubmissionClient,
    submission_id: str,
    job: TrainingJob,
    log: Path,
    report: Callable[[Message], None],
) -> AttemptEnd:
    """Copy the job's log to `log` and forward the messages in it until the job has ended."""
    log_start = log.stat().st_size if log.is_file() else 0
    lines: queue.Queue[str | None] = queue.Queue()
    stop_event = threading.Event()
    threading.Thread(
        target=tail_log, args=(client, submission_id, lines, stop_event), daemon=True
    ).start()
    started_at = last_line_at = checked_at = answered_at = time.monotonic()
    attempt_end: AttemptEnd | None = None
    with ExitStack() as stack:
        stack.callback(stop_event.set)
        stream = stack.enter_context(log.open("a", encoding="utf-8"))
        while True:
            try:
                line = lines.get(timeout=POLL_INTERVAL_S)
            except queue.Empty:
                line = ""
            else:
                if line is None:  # the log is complete
                    return attempt_end or _read_job_end(client, submission_id, log_start)
                last_line_at = time.monotonic()
                stream.write(line + "\n")
                stream.flush()
                forward_line(line, report)
            now = time.monotonic()
            if attempt_end is not None:
                if now - last_line_at > LOG_DRAIN_TIMEOUT_S:
                    return attempt_end
            elif now - started_at > job.timeout_s:
                return AttemptEnd(f"not finished within {job.timeout_s:.0f} s", False, log_start)
            elif now - last_line_at > job.silence_s:
                return AttemptEnd(f"no output for {job.silence_s:.0f} s", True, log_start)
            elif now - checked_at > POLL_INTERVAL_S:
                checked_at = now
                is_terminal = _is_terminal(client, submission_id)
                answered_at = answered_at if is_terminal is None else now
                if is_terminal:
                    attempt_end = _read_job_end(client, submission_id, log_start)
                elif now - answered_at > UNREACHABLE_TIMEOUT_S:
                    return AttemptEnd(
                        f"no answer from the cluster for {UNREACHABLE_TIMEOUT_S:.0f} s",
                        True,
                        log_start,
                    )


def tail_log(
    client: Any, submission_id: str, lines: queue.Queue[str | None], stop_event: threading.Event
) -> None:
    """Put every line of the job's log into the queue, then None; stop early if `stop_event` is set.

    After a broken connection, Ray sends the log from its beginning. The lines already read are
    skipped.

    Args:
        client: a Ray `JobSubmissionClient`.
    """
    import aiohttp

    read_character_count = 0  # in complete lines only

    async def read() -> None:
        nonlocal read_character_count
        skip_count, partial_line = read_character_count, ""
        async for chunk in client.tail_job_logs(submission_id):
            new_text = chunk[skip_count:]
            skip_count = max(0, skip_count - len(chunk))
            *complete_lines, partial_line = (partial_line + new_text).split("\n")
            for line in complete_lines:
                read_character_count += len(line) + 1
                lines.put(line)
        if partial_line and client.get_job_status(submission_id).is_terminal():
            lines.put(partial_line)

    try:
        while not stop_event.is_set():
            try:
                asyncio.run(read())
                if client.get_job_status(submission_id).is_terminal():
                    return
            except (RuntimeError, OSError, aiohttp.ClientError):
                time.sleep(POLL_INTERVAL_S)  # reconnect, and continue after the last line
    finally:
        lines.put(None)


def ask_cluster(request: Callable[[], Answer], *, description: str) -> Answer:
    """Return the cluster's answer, and retry the request for up to `UNREACHABLE_TIMEOUT_S`.

    Raises:
        TrainingDiedError: the cluster does not answer.
    """
    deadline = time.monotonic() + UNREACHABLE_TIMEOUT_S
    while True:
        try:
            return request()
        except (OSError, RuntimeError) as error:
            if time.monotonic() > deadline:
                raise TrainingDiedError(
                    f"ask the Ray cluster {description}",
                    found=str(error),
                    next_step="check the cluster's head (`ray status`, its logs)",
                ) from error
            time.sleep(POLL_INTERVAL_S)


def _read_job_end(client: JobSubmissionClient, submission_id: str, log_start: int) -> AttemptEnd:
    from ray.job_submission import JobStatus

    job_info = ask_cluster(
        lambda: client.get_job_info(submission_id), description=f"how {submission_id} ended"
    )
    message = f"Ray job {submission_id} {str(job_info.status).lower()}"
    # A job that succeeded or was stopped in the dashboard is not retried.
    return AttemptEnd(
        message, should_retry=job_info.status == JobStatus.FAILED, log_start=log_start
    )


def _is_terminal(client: JobSubmissionClient, submission_id: str) -> bool | None:
    """Return whether the job has ended, or None if the cluster does not answer."""
    try:
        return client.get_job_status(submission_id).is_terminal()
    except (OSError, RuntimeError):
        return None


def _stop_job(client: JobSubmissionClient, submission_id: str) -> None:
    """Stop the job and wait until all its processes have ended.

    Raises:
        TrainingDiedError: the job cannot be stopped, so a new training run must not use its folder.
    """
    deadline, is_stop_requested = time.monotonic() + STOP_TIMEOUT_S, False
    while not (is_terminal := _is_terminal(client, submission_id)):
        if is_terminal is False and not is_stop_requested:
            with suppress(OSError, RuntimeError):  # the head may be busy; the loop retries
                is_stop_requested = bool(client.stop_job(submission_id))
        if time.monotonic() > deadline:
            raise TrainingDiedError(
                f"stop the Ray job {submission_id}",
                found=f"after {STOP_TIMEOUT_S:.0f} s, it is still running, or the cluster does not "
                "answer",
                next_step=f"stop it in Ray's dashboard, or run `ray job stop {submission_id}`",
            )
        time.sleep(POLL_INTERVAL_S)
