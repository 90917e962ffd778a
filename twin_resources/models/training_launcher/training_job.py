"""Define a training job, its messages, and the protocol of the launchers that run it.

Scope: `TrainingJob` and `TrainingLauncher`.
Out of scope: launching (`local.py`), starting processes (`rank_processes.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from twin_resources.errors import TwinError

Message = dict[str, Any]


class TrainingDiedError(TwinError):
    """The processes ended without an explained failure; a new attempt may succeed."""


@dataclass(frozen=True)
class TrainingJob:
    """The parameters that start a training run.

    Attributes:
        name: name of the job, also used for its log file.
        folder: folder with `job.json`, and with `output/` when the training run is complete.
        module: Python module that every rank runs with `--job <folder>/job.json`.
        ahead: module whose `import_ahead(<folder>/job.json)` does the ranks' imports in the process
            that forks them; empty if there is no such module.
        ranks: number of processes.
        device: `cpu` or `cuda`.
        threads_per_rank: number of threads; None for the number of cores divided by the ranks.
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


class TrainingLauncher(Protocol):
    """A launcher that runs a training job to completion."""

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
                `{"text": line}` reports a wait, a retry or a resumption.
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
