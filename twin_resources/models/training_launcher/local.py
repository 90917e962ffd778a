"""Execute one training run at a time on this machine.

Scope: the lock, one retry, and the messages that are forwarded from the log.
Out of scope: the processes (`rank_processes.py`), parsing a log for a cause (`end_reason.py`).

If a worker dies, the training run is retried once, and the script resumes from its last complete
checkpoint. A failure that the script explains (`failure.json` in the job's folder) is not retried.
A run whose output exists is not retried either. Complete output is renamed into place, so a rank
that dies during shutdown does no harm.
"""
# pyright: strict

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from twin_resources.errors import TwinError
from twin_resources.models.training_launcher.end_reason import find_cause, find_end_reason
from twin_resources.models.training_launcher.rank_processes import (
    AttemptEnd,
    follow_log,
    run_ranks,
)
from twin_resources.models.training_launcher.training_job import (
    Message,
    TrainingDiedError,
    TrainingJob,
)
from twin_resources.settings import Settings
from twin_resources.storage.storage_faults import DiskFullError, translate_storage_errors

FAILURE_FILE = "failure.json"


class LocalLauncher:
    """A launcher that trains on this machine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(
        self,
        job: TrainingJob,
        *,
        on_message: Callable[[Message], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Path:
        # Without a callback, the messages are only in the log.
        report: Callable[[Message], None] = on_message or (lambda _message: None)
        output_folder = job.folder / "output"
        log = self._settings.logs_dir / f"training-{job.name}.log"
        # The lock is for the machine, because two concurrent runs take longer than two in sequence.
        with (
            translate_storage_errors(f"train {job.name}", job.folder, only=DiskFullError),
            _training_lock(self._settings.work_dir / "training.lock", report),
        ):
            (job.folder / FAILURE_FILE).unlink(missing_ok=True)
            log.parent.mkdir(parents=True, exist_ok=True)
            if output_folder.is_dir():
                return output_folder
            return self._run_attempts(job, log, report, environment or {})

    def _run_attempts(
        self,
        job: TrainingJob,
        log: Path,
        report: Callable[[Message], None],
        environment: Mapping[str, str],
    ) -> Path:
        output_folder, failure_file = job.folder / "output", job.folder / FAILURE_FILE
        attempt_end = self._run_attempt(job, log, report, environment)
        if attempt_end.should_retry and not failure_file.is_file():
            cause = find_cause(log, attempt_end.log_start)
            reason = f"{attempt_end.description}: {cause}" if cause else attempt_end.description
            if output_folder.is_dir():
                report({"text": f"{reason}, after the training run was complete"})
                return output_folder
            report({"text": f"{reason}; trying again from the last complete checkpoint"})
            attempt_end = self._run_attempt(job, log, report, environment)
        if output_folder.is_dir():
            return output_folder
        if failure_file.is_file():
            raise TwinError(**json.loads(failure_file.read_text(encoding="utf-8")))
        raise TrainingDiedError(
            f"train {job.name}",
            found=f"{attempt_end.description}: {find_end_reason(log, attempt_end.log_start)}",
            next_step=f"read {log}; a new run continues from the last complete checkpoint",
        )

    def _run_attempt(
        self,
        job: TrainingJob,
        log: Path,
        report: Callable[[Message], None],
        environment: Mapping[str, str],
    ) -> AttemptEnd:
        log_start = log.stat().st_size if log.is_file() else 0
        may_fork = self._settings.train_forks
        with run_ranks(job, log, environment=environment, may_fork=may_fork) as process:
            return follow_log(
                process, job, log, lambda line: forward_line(line, report), log_start=log_start
            )


@contextmanager
def _training_lock(lock: Path, on_message: Callable[[Message], None]) -> Generator[None]:
    """Hold a lock file; if another training run holds the lock, report that and wait."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_message({"text": "waiting for another training run on this machine to end"})
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def forward_line(line: str, on_message: Callable[[Message], None]) -> None:
    """Forward a printed line if it is a message."""
    if line.startswith("progress {"):
        on_message({"progress": json.loads(line.removeprefix("progress "))})
    elif line.startswith("resuming "):
        on_message({"text": line})
