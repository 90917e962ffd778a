"""The backend `ray`: submit a training as a job of a Ray cluster and follow it.

Scope: submitting, following and stopping the job. Out of scope: the driver inside the
cluster (`ray_driver.py`), one machine's processes (`machine.py`), the cluster itself
(`deploy/kubernetes`, or `ray start --head`).
Method: Ray's jobs, https://docs.ray.io/en/latest/cluster/running-applications/job-submission/

The cluster has this project installed and mounts the home under the same path (a shared volume).
Samples, weights and checkpoints are files there; messages and metrics are lines of the job's log. A
job outlives a killed launcher; the next launcher for the same folder follows it to its end.
"""

from __future__ import annotations

import asyncio
import queue
import shlex
import threading
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from twin_resources.errors import TwinError
from twin_resources.models.training_launcher.attempt import Attempt, write_attempt
from twin_resources.models.training_launcher.machine import ranks_each
from twin_resources.models.training_launcher.training_job import (
    AttemptEnd,
    Message,
    TrainingDied,
    TrainingJob,
    forward_line,
    ignore_message,
    run_with_retry,
    training_lock,
)
from twin_resources.settings import Settings
from twin_resources.storage.storage_faults import told_when_full

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

Answer = TypeVar("Answer")
DRIVER = "twin_resources.models.training_launcher.ray_driver"
FOLDER_KEY = "twin_training"  # metadata of a job: the folder it trains in
POLL_S = 1.0
LOST_S = 120.0  # time that the cluster may be unreachable
STOP_S = 120.0  # time for a job to stop
YOUNG_S = 120.0  # time for a new cluster to accept its first job
LATE_S = 60.0  # delay of the last log lines after the end


class RayLauncher:
    """Trains on a Ray cluster: `Settings.train_machines` workers with equal numbers of ranks."""

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
        write_line = on_message or ignore_message
        ranks_each(job, self._settings.train_machines)
        client = _client(self._settings.ray_address)
        lock = self._settings.work_dir / f"training-{job.name}.lock"
        with (
            told_when_full(f"train {job.name}", job.folder),
            training_lock(lock, write_line, where=f"of {job.name}"),
        ):
            return run_with_retry(
                job,
                self._settings,
                attempt=lambda log: self._attempt(client, job, log, write_line, environment or {}),
                write_line=write_line,
            )

    def _attempt(
        self,
        client: JobSubmissionClient,
        job: TrainingJob,
        log: Path,
        write_line: Callable[[Message], None],
        environment: Mapping[str, str],
    ) -> AttemptEnd:
        submitted = _running(client, job.folder)
        if submitted is None:
            submitted = self._submit(client, job, environment)
            write_line({"text": f"Ray job {submitted} on {self._settings.ray_address}"})
        else:
            write_line(
                {"text": f"Ray job {submitted} of an earlier run still trains: following it"}
            )
        try:
            return _follow(client, submitted, job, log, write_line)
        finally:  # also on KeyboardInterrupt and on a cancelled Dagster run
            _stop(client, submitted)

    def _submit(
        self, client: JobSubmissionClient, job: TrainingJob, environment: Mapping[str, str]
    ) -> str:
        mark = uuid.uuid4().hex
        path = job.folder / "attempt.json"
        machines = self._settings.train_machines
        write_attempt(
            path,
            Attempt(mark, job, machines, environment=environment, forks=self._settings.train_forks),
        )
        try:
            return submit(
                client,
                entrypoint=f"python -m {DRIVER} --attempt {shlex.quote(str(path))}",
                name=f"training-{job.name}-{mark[:12]}",
                metadata={FOLDER_KEY: str(job.folder), "name": job.name},
            )
        except (OSError, RuntimeError) as error:
            raise TwinError(
                f"submit a job to the Ray cluster at {self._settings.ray_address}",
                found=str(error),
                next_step="look at the cluster's head (`ray status`, its logs)",
            ) from error


def submit(client: Any, *, entrypoint: str, name: str, metadata: dict[str, str]) -> str:
    """Submit a job under a unique name, and retry while a new cluster does not accept it yet.

    Args:
        client: a `JobSubmissionClient` of Ray.

    Raises:
        RuntimeError, OSError: the cluster does not accept the job.
    """
    deadline = time.monotonic() + YOUNG_S
    while True:
        try:
            return client.submit_job(entrypoint=entrypoint, submission_id=name, metadata=metadata)
        except (OSError, RuntimeError) as error:
            if f"{name} already exists" in str(error):
                return name  # accepted before, but the busy head answered too late
            # a new cluster answers before its head accepts jobs
            may_retry = isinstance(error, OSError) or "No available agent" in str(error)
            if not may_retry or time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)


def _client(address: str) -> JobSubmissionClient:
    tried = f"reach the Ray cluster at {address}"
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise TwinError(
            tried,
            found="the package ray is not installed",
            next_step='pip install "llm-twin[ray]", or set TWIN_TRAIN_BACKEND=local',
        ) from error
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        raise TwinError(
            tried,
            found=str(error),
            next_step="start the cluster (`ray start --head`, or deploy/kubernetes), or set "
            "TWIN_RAY_ADDRESS to its dashboard",
        ) from error


def _running(client: JobSubmissionClient, folder: Path) -> str | None:
    """Return the job that trains in this folder now, whichever launcher submitted it."""
    for job in ask_cluster(client.list_jobs, what="its jobs"):
        is_same = (job.metadata or {}).get(FOLDER_KEY) == str(folder)
        if is_same and job.submission_id and not job.status.is_terminal():
            return job.submission_id
    return None


def _follow(
    client: JobSubmissionClient,
    submitted: str,
    job: TrainingJob,
    log: Path,
    write_line: Callable[[Message], None],
) -> AttemptEnd:
    """Copy the job's log to `log` and forward its messages, until the job has ended."""
    log_start = log.stat().st_size if log.is_file() else 0
    lines: queue.Queue[str | None] = queue.Queue()
    given_up = threading.Event()
    threading.Thread(target=tail, args=(client, submitted, lines, given_up), daemon=True).start()
    start = heard = checked = answered = time.monotonic()
    ended: AttemptEnd | None = None
    with _set_on_exit(given_up), log.open("a", encoding="utf-8") as stream:
        while True:
            try:
                line = lines.get(timeout=POLL_S)
            except queue.Empty:
                line = ""
            else:
                if line is None:  # the log is complete
                    return ended or _job_end(client, submitted, log_start)
                heard = time.monotonic()
                stream.write(line + "\n")
                stream.flush()
                forward_line(line, write_line)
            now = time.monotonic()
            if ended is not None:
                if now - heard > LATE_S:
                    return ended
            elif now - start > job.timeout_s:
                return AttemptEnd(f"no end within {job.timeout_s:.0f} s", False, log_start)
            elif now - heard > job.silence_s:
                return AttemptEnd(f"no sign of life for {job.silence_s:.0f} s", True, log_start)
            elif now - checked > POLL_S:
                checked = now
                is_terminal = _is_terminal(client, submitted)
                answered = answered if is_terminal is None else now
                if is_terminal:
                    ended = _job_end(client, submitted, log_start)
                elif now - answered > LOST_S:
                    return AttemptEnd(
                        f"no answer of the cluster for {LOST_S:.0f} s", True, log_start
                    )


def tail(
    client: Any, submitted: str, lines: queue.Queue[str | None], given_up: threading.Event
) -> None:
    """Put every line of the job's log into the queue, then None; stop early if `given_up` is set.

    After a broken connection the log starts again from its beginning, and the lines that were read
    before are skipped.

    Args:
        client: a `JobSubmissionClient` of Ray.
    """
    import aiohttp

    seen = 0  # characters of the complete lines so far

    async def read() -> None:
        nonlocal seen
        skip, rest = seen, ""
        async for chunk in client.tail_job_logs(submitted):
            new = chunk[skip:]
            skip = max(0, skip - len(chunk))
            *whole, rest = (rest + new).split("\n")
            for line in whole:
                seen += len(line) + 1
                lines.put(line)
        if rest and client.get_job_status(submitted).is_terminal():
            lines.put(rest)

    try:
        while not given_up.is_set():
            try:
                asyncio.run(read())
                if client.get_job_status(submitted).is_terminal():
                    return
            except (RuntimeError, OSError, aiohttp.ClientError):
                time.sleep(POLL_S)  # reconnect, and continue after the last line
    finally:
        lines.put(None)


def ask_cluster(question: Callable[[], Answer], *, what: str) -> Answer:
    """Return the cluster's answer, asking again for `LOST_S` seconds.

    Raises:
        TrainingDied: the cluster does not answer.
    """
    deadline = time.monotonic() + LOST_S
    while True:
        try:
            return question()
        except (OSError, RuntimeError) as error:
            if time.monotonic() > deadline:
                raise TrainingDied(
                    f"ask the Ray cluster {what}",
                    found=str(error),
                    next_step="look at the cluster's head (`ray status`, its logs)",
                ) from error
            time.sleep(POLL_S)


def _job_end(client: JobSubmissionClient, submitted: str, log_start: int) -> AttemptEnd:
    from ray.job_submission import JobStatus

    info = ask_cluster(lambda: client.get_job_info(submitted), what=f"how {submitted} ended")
    message = f"Ray job {submitted} {str(info.status).lower()}"
    # no retry for a job that a person stopped in the dashboard, or that succeeded
    return AttemptEnd(message, retry=info.status == JobStatus.FAILED, log_start=log_start)


def _is_terminal(client: JobSubmissionClient, submitted: str) -> bool | None:
    """Return whether the job has ended, or None if the cluster does not answer."""
    try:
        return client.get_job_status(submitted).is_terminal()
    except (OSError, RuntimeError):
        return None


@contextmanager
def _set_on_exit(event: threading.Event) -> Generator[None]:
    try:
        yield
    finally:
        event.set()


def _stop(client: JobSubmissionClient, submitted: str) -> None:
    """Stop the job and wait until all its processes have ended.

    Raises:
        TrainingDied: it cannot be stopped, so its folder must not be used for another training.
    """
    deadline, asked_to = time.monotonic() + STOP_S, False
    while not (ended := _is_terminal(client, submitted)):
        if ended is False and not asked_to:
            with suppress(OSError, RuntimeError):  # the head may be busy; the loop tries again
                asked_to = bool(client.stop_job(submitted))
        if time.monotonic() > deadline:
            raise TrainingDied(
                f"stop the Ray job {submitted}",
                found=f"after {STOP_S:.0f} s it still runs, or the cluster does not answer",
                next_step=f"stop it in Ray's dashboard, or `ray job stop {submitted}`",
            )
        time.sleep(POLL_S)
