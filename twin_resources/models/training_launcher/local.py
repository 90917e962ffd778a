"""The backend `local`: the ranks of this machine, one training at a time.

Belongs here: its lock, and machine 0 of a training that other machines follow. Does not belong
here: what the other machines do (`follower.py`), one machine's processes (`machine.py`).
"""
# pyright: strict

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from twin_resources.errors import TwinError
from twin_resources.models.training_launcher.attempt import Attempt, write_attempt
from twin_resources.models.training_launcher.machine import MachineShare, ranks_each, started, watch
from twin_resources.models.training_launcher.training_job import (
    AttemptEnd,
    Message,
    TrainingJob,
    only_one,
    pass_on,
    run_with_retry,
    unheard,
)
from twin_resources.settings import Settings
from twin_resources.storage.storage_faults import told_when_full


class LocalLauncher:
    """Trains on this machine; with `Settings.train_machines` > 1 as machine 0 of so many.

    The others run `python -m twin_resources.models.training_launcher.follower --machine-rank N` on
    the same home, which they see under the same path.
    """

    shares_files = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._meeting = meeting_of(settings)

    def run(
        self,
        job: TrainingJob,
        *,
        on_message: Callable[[Message], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Path:
        write_line = on_message or unheard
        ranks_each(job, self._meeting.machines)
        lock = self._settings.work_dir / "training.lock"
        # two trainings beside each other on one machine take longer than one after the other
        with (
            told_when_full(f"train {job.name}", job.folder),
            only_one(lock, write_line, where="on this machine"),
        ):
            return run_with_retry(
                job,
                self._settings,
                attempt=lambda log: self._attempt(job, log, write_line, environment or {}),
                write_line=write_line,
            )

    def _attempt(
        self,
        job: TrainingJob,
        log: Path,
        write_line: Callable[[Message], None],
        environment: Mapping[str, str],
    ) -> AttemptEnd:
        log_start = log.stat().st_size if log.is_file() else 0
        share = self._meeting
        with (
            started(job, share, log, environment=environment) as process,
            self._announced(job, share, write_line),
        ):
            return watch(
                process, job, log, lambda line: pass_on(line, write_line), log_start=log_start
            )

    @contextmanager
    def _announced(
        self, job: TrainingJob, share: MachineShare, log: Callable[[Message], None]
    ) -> Generator[None]:
        """Tell the other machines, while this one trains."""
        if share.machines == 1:
            yield
            return
        path = attempt_path(self._settings)
        attempt = Attempt(uuid.uuid4().hex, job, share.machines, share.address, share.port)
        write_attempt(path, attempt)
        log({"text": f"waiting for {share.machines - 1} more machines to follow {path}"})
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def attempt_path(settings: Settings) -> Path:
    """The attempt that machine 0 is at; there is none when there is no file."""
    return settings.work_dir / "attempt.json"


def meeting_of(settings: Settings) -> MachineShare:
    """Machine 0's share, as the settings have it.

    Raises:
        TwinError: several machines without a place to meet.
    """
    machines = settings.train_machines
    if machines == 1:
        return MachineShare(forks=settings.train_forks)
    address, _, port = settings.train_meeting.rpartition(":")
    if not address or not port.isdigit():
        raise TwinError(
            f"train on {machines} machines",
            found=f"TWIN_TRAIN_MEETING={settings.train_meeting!r}",
            next_step="set it to host:port at which machine 0 is reached by the others",
        )
    return MachineShare(machines=machines, rank=0, address=address.strip("[]"), port=int(port))
