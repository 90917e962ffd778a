"""What is launched, what is said while it runs, and the protocol of everything that launches.

Scope: `TrainingJob`, `TrainingLauncher`, and what all backends do alike: one retry, and the
words for an end. Out of scope: starting processes (`machine.py`), the backends, what a log
says of an end (`reason.py`).

A worker that dies is retried once; the script goes on from its last complete checkpoint. A failure
that the script itself explains (`failure.json` in the job's folder) is not retried, nor a training
whose output is there: it appears in one move, when everything is in it, so a rank that dies while
it takes leave of the others has nothing left to lose.
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
from twin_resources.models.training_launcher.reason import cause_in, reason_in
from twin_resources.settings import Settings

Message = dict[str, Any]


class TrainingDied(TwinError):
    """The processes ended without a reason of their own: another try may go better."""


@dataclass(frozen=True)
class TrainingJob:
    """One training, as far as starting it goes.

    Attributes:
        name: names its log file.
        folder: holds `job.json`; `output/` is there when the training is complete. Every machine
            that takes part sees it under this path.
        module: Python module that is started with `--job <folder>/job.json` on every rank.
        ahead: module whose `import_ahead(<folder>/job.json)` imports what the ranks will, in the
            process that they are forked from; empty: each imports for itself.
        ranks: number of processes.
        device: `cpu` or `cuda`.
        threads_per_rank: None: cores / ranks of a machine.
        mixed_precision: `auto`, `bf16` or `fp32`.
        environment: set for every rank.
        deepspeed: DeepSpeed's configuration; empty: accelerate alone.
        timeout_s: end it after so many seconds.
        silence_s: end it when nothing was logged for so many seconds.
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

    def as_values(self) -> dict[str, Any]:
        """For JSON; `job_of` reads it back."""
        return asdict(self) | {"folder": str(self.folder)}


def job_of(values: Mapping[str, Any]) -> TrainingJob:
    """The job that `TrainingJob.as_values` described."""
    read: dict[str, Any] = dict(values) | {"folder": Path(values["folder"])}
    return TrainingJob(**read)


class TrainingLauncher(Protocol):
    """Runs a training to its end.

    Attributes:
        shares_files: whether rank 0 can write to this process's temporary files. Otherwise it
            speaks to Dagster on its standard output, which comes back as messages.
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
        """Block until the training is complete.

        Args:
            on_message: called with `{"progress": {step, steps, loss, lr, tokens_per_s, rss_mb,
                grad_norm, eta_s}}` a step, on GPUs with gpu_peak_mb; `{"text": line}` for a
                wait, a retry, a resumption, and `{"pipes": line}` for what rank 0 says to Dagster
                Pipes on its standard output.
            environment: for every rank, e.g. the variables of Dagster Pipes.

        Returns:
            The folder `output` of the job.

        Raises:
            TrainingDied: its processes died twice; with the reason from the log, and where that is.
            TwinError: what a retry does not mend, in the script's own words.
        """
        ...


@dataclass(frozen=True)
class AttemptEnd:
    """How an attempt ended: in words, whether another may go better, where its log starts."""

    how: str
    retry: bool
    log_start: int


def run_with_retry(
    job: TrainingJob,
    settings: Settings,
    *,
    attempt: Callable[[Path], AttemptEnd],
    write_line: Callable[[Message], None],
) -> Path:
    """Take an attempt, and another when its processes died; returns the job's output.

    Args:
        attempt: is handed the log to write to.

    Raises:
        As `TrainingLauncher.run`.
    """
    output = job.folder / "output"
    failure = job.folder / "failure.json"
    failure.unlink(missing_ok=True)
    log = settings.logs_dir / f"training-{job.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if output.is_dir():
        return output
    ended = attempt(log)
    if ended.retry and not failure.is_file():
        cause = cause_in(log, ended.log_start)
        why = f"{ended.how}: {cause}" if cause else ended.how
        if output.is_dir():
            write_line({"text": f"{why}, after the training was complete"})
            return output
        write_line({"text": f"{why}; trying again from the last complete checkpoint"})
        ended = attempt(log)
    if output.is_dir():
        return output
    if failure.is_file():
        raise TwinError(**json.loads(failure.read_text(encoding="utf-8")))
    raise TrainingDied(
        f"train {job.name}",
        found=f"{ended.how}: {reason_in(log, ended.log_start)}",
        next_step=f"read {log}; a new run goes on from the last complete checkpoint",
    )


@contextmanager
def only_one(lock: Path, log: Callable[[Message], None], *, where: str) -> Generator[None]:
    """Hold a lock file; wait for another training that holds it, and say so."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log({"text": f"waiting for another training {where} to end"})
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def unheard(_message: Message) -> None:
    """Where messages go when nobody asked for them; the log has them all the same."""


def pass_on(line: str, log: Callable[[Message], None]) -> None:
    """Turn a line that a rank printed into a message, where it is one."""
    if line.startswith("progress {"):
        log({"progress": json.loads(line.removeprefix("progress "))})
    elif line.startswith(("resuming ", "waiting ")):
        log({"text": line})
    elif line.startswith('{"__dagster_pipes_version"'):
        log({"pipes": line})
