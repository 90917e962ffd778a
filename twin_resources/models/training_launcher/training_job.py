"""Define a training job, its messages, and the protocol of the launchers that run it.

Scope: `TrainingJob`, `TrainingLauncher`, and the code that all backends share: one retry, the lock,
and the messages.
Out of scope: starting processes (`machine.py`), the backends, parsing a log (`end_reason.py`).

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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from twin_resources.errors import TwinError
from twin_resources.models.training_launcher.end_reason import find_cause, find_end_reason
from twin_resources.models.training_launcher.shared_state import share_state
from twin_resources.settings import Settings
from twin_resources.storage.storage_faults import translate_disk_full

Message = dict[str, Any]
FAILURE_FILE = "failure.json"


class TrainingDiedError(TwinError):
    """The processes ended without an explained failure; a new attempt may succeed."""


@dataclass(frozen=True)
class TrainingJob:
    """The parameters that start a training run.

    Attributes:
        name: name of the job, also used for its log file.
        folder: folder with `job.json`, and with `output/` when the training run is complete. Every
            machine must have the folder at this path.
        module: Python module that every rank runs with `--job <folder>/job.json`.
        ahead: module whose `import_ahead(<folder>/job.json)` does the ranks' imports in the process
            that forks them; empty if there is no such module.
        ranks: number of processes.
        device: `cpu` or `cuda`.
        threads_per_rank: number of threads; None for a machine's cores divided by its ranks.
        mixed_precision: `auto`, `bf16` or `fp32`.
        environment: variables for every rank.
        deepspeed: DeepSpeed's configuration; empty for accelerate alone.
        timeout_s: time limit in seconds.
        silence_s: seconds without a log line after which the processes are stopped.
    """

    name: str
    folder: Path
    module: str
    ranks: int
    ahead: str = ""
    device: str = "cpu"
    threads_per_rank: int | None = None
    mixed_precision: str = "auto"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    deepspeed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    timeout_s: float = 24 * 3600
    silence_s: float = 1800

    def to_json_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values; `job_from_values` reads them back."""
        return asdict(self) | {"folder": str(self.folder)}


def job_from_values(values: Mapping[str, Any]) -> TrainingJob:
    """Create a job from the result of `TrainingJob.to_json_dict`."""
    fields: dict[str, Any] = dict(values) | {"folder": Path(values["folder"])}
    return TrainingJob(**fields)


class TrainingLauncher(Protocol):
    """A launcher that runs a training job to completion.

    Attributes:
        shares_files: whether rank 0 can write to this process's temporary files. If not, rank 0
            prints Dagster's events, and the launcher forwards them as messages.
    """

    @property
    def shares_files(self) -> bool: ...

    def run(
        self,
        job: TrainingJob,
        *,
        on_message: Callable[[Message], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Path:
        """Run a job and block until it is complete.

        Args:
            on_message: callback for messages. `{"progress": {step, steps, loss, lr, tokens_per_s,
                rss_mb, grad_norm, eta_s}}` reports a step; on GPUs it includes gpu_peak_mb.
                `{"text": line}` reports a wait, a retry or a resumption. `{"pipes": line}`
                contains a Dagster Pipes event that rank 0 printed.
            environment: additional variables, such as those of Dagster Pipes.

        Returns:
            The path of the job's `output` folder.

        Raises:
            TrainingDiedError: the processes died twice; the message contains the reason and the
                log's path.
            TwinError: the script reported a failure that a retry cannot solve; the message is the
                script's.
        """
        ...


@dataclass(frozen=True)
class AttemptEnd:
    """The end of an attempt.

    Attributes:
        description: how the attempt ended.
        should_retry: whether to retry.
        log_start: byte offset of the attempt in the log file.
    """

    description: str
    should_retry: bool
    log_start: int


def run_with_retry(
    job: TrainingJob,
    settings: Settings,
    *,
    attempt: Callable[[Path], AttemptEnd],
    report: Callable[[Message], None],
    lock_name: str = "training.lock",
    scope: str = "on this machine",
) -> Path:
    """Run an attempt, and retry once if its processes died; return the job's output folder.

    Args:
        attempt: function that runs an attempt and writes to the given log file.
        lock_name: file whose lock excludes concurrent training runs.
        scope: the training runs that the lock excludes, in words.

    Raises:
        TrainingDiedError, TwinError: see `TrainingLauncher.run`.
    """
    with (
        translate_disk_full(f"train {job.name}", job.folder),
        training_lock(settings.work_dir / lock_name, report, scope=scope),
    ):
        return _run_under_lock(job, settings, attempt=attempt, report=report)


def _run_under_lock(
    job: TrainingJob,
    settings: Settings,
    *,
    attempt: Callable[[Path], AttemptEnd],
    report: Callable[[Message], None],
) -> Path:
    output_folder = job.folder / "output"
    (job.folder / FAILURE_FILE).unlink(missing_ok=True)
    log = settings.logs_dir / f"training-{job.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if output_folder.is_dir():
        return output_folder
    with share_state(job.folder, settings, report):
        return _run_attempts(job, log, attempt=attempt, report=report)


def _run_attempts(
    job: TrainingJob,
    log: Path,
    *,
    attempt: Callable[[Path], AttemptEnd],
    report: Callable[[Message], None],
) -> Path:
    output_folder, failure_file = job.folder / "output", job.folder / FAILURE_FILE
    attempt_end = attempt(log)
    if attempt_end.should_retry and not failure_file.is_file():
        cause = find_cause(log, attempt_end.log_start)
        reason = f"{attempt_end.description}: {cause}" if cause else attempt_end.description
        if output_folder.is_dir():
            report({"text": f"{reason}, after the training run was complete"})
            return output_folder
        report({"text": f"{reason}; trying again from the last complete checkpoint"})
        attempt_end = attempt(log)
    if output_folder.is_dir():
        return output_folder
    if failure_file.is_file():
        raise TwinError(**json.loads(failure_file.read_text(encoding="utf-8")))
    raise TrainingDiedError(
        f"train {job.name}",
        found=f"{attempt_end.description}: {find_end_reason(log, attempt_end.log_start)}",
        next_step=f"read {log}; a new run continues from the last complete checkpoint",
    )


@contextmanager
def training_lock(
    lock: Path, on_message: Callable[[Message], None], *, scope: str
) -> Generator[None]:
    """Hold a lock file; if another training run holds the lock, report that and wait."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_message({"text": f"waiting for another training run {scope} to end"})
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def ignore_message(_message: Message) -> None:
    """Discard a message for a caller without a callback; the log also contains the message."""


def forward_line(line: str, on_message: Callable[[Message], None]) -> None:
    """Forward a printed line if it is a message."""
    if line.startswith("progress {"):
        on_message({"progress": json.loads(line.removeprefix("progress "))})
    elif line.startswith(("resuming ", "waiting ")):
        on_message({"text": line})
    elif line.startswith('{"__dagster_pipes_version"'):
        on_message({"pipes": line})
