"""Execute one training run at a time on this machine: the backend `local`.

Scope: the lock and the attempts. Out of scope: the processes of a machine (`machine.py`), several
machines (`ray_cluster.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from twin_resources.errors import TwinError
from twin_resources.models.training_launcher.machine import MachineShare, forward_log, run_share
from twin_resources.models.training_launcher.training_job import (
    AttemptEnd,
    Message,
    TrainingJob,
    forward_line,
    ignore_message,
    run_with_retry,
)
from twin_resources.settings import Settings


class LocalLauncher:
    """A launcher that trains on this machine.

    Raises:
        TwinError: the settings require several machines.
    """

    shares_files = True

    def __init__(self, settings: Settings) -> None:
        if settings.train_machines > 1:
            raise TwinError(
                f"train on {settings.train_machines} machines",
                found="TWIN_TRAIN_BACKEND=local, which trains only on this machine",
                next_step="start a Ray cluster (`ray start --head`, then `ray start --address` on "
                "the others), and set TWIN_TRAIN_BACKEND=ray and TWIN_RAY_ADDRESS",
            )
        self._settings = settings

    def run(
        self,
        job: TrainingJob,
        *,
        on_message: Callable[[Message], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Path:
        report = on_message or ignore_message
        # The lock is for the machine, because two concurrent runs take longer than two in sequence.
        return run_with_retry(
            job,
            self._settings,
            attempt=lambda log: self._run_attempt(job, log, report, environment or {}),
            report=report,
        )

    def _run_attempt(
        self,
        job: TrainingJob,
        log: Path,
        report: Callable[[Message], None],
        environment: Mapping[str, str],
    ) -> AttemptEnd:
        log_start = log.stat().st_size if log.is_file() else 0
        share = MachineShare(may_fork=self._settings.train_forks)
        with run_share(job, share, log, environment=environment) as process:
            return forward_log(
                process, job, log, lambda line: forward_line(line, report), log_start=log_start
            )
