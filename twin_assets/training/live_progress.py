"""Report the progress of training to the Dagster run.

Scope: the launcher that forwards messages. Out of scope: launching
(`twin_resources/models/training_launcher`), the assets (`checkpoints.py`).
Method: Dagster Pipes, https://docs.dagster.io/guides/build/external-pipelines

Rank 0 reports each step to the run's log through Pipes. The numbers are also recorded as
observations of the asset, which Dagster plots during the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from twin_resources.models.training_launcher import Message, TrainingJob, TrainingLauncher
from twin_resources.processes.wording import format_time_left

OBSERVE_EVERY_S = 15.0  # at most four per minute, because the event log keeps them forever
METRIC_NAMES = {  # name in a message → name in Dagster
    "step": "step",
    "steps": "steps",
    "loss": "loss",
    "lr": "learning_rate",
    "tokens_per_s": "tokens_per_second",
    "rss_mb": "memory_mb",
    "gpu_peak_mb": "gpu_peak_mb",
    "grad_norm": "gradient_norm",
    "margin": "reward_margin",
    "accuracy": "reward_accuracy",
}


class ProgressReportingLauncher:
    """A launcher that shows training progress in Dagster."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        launcher: TrainingLauncher,
        *,
        observe_every_s: float = OBSERVE_EVERY_S,
    ) -> None:
        self._context = context
        self._launcher = launcher
        self._observe_every_s = observe_every_s
        self._last_observed_s = float("-inf")

    def run(
        self,
        job: TrainingJob,
        *,
        on_message: Callable[[Message], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Path:
        def report_message(message: Message) -> None:
            text = message.get("text", "")
            if text and not text.startswith("resuming "):  # rank 0 reports this itself
                self._context.log.info(text)
            if "progress" in message:
                self._observe(message["progress"])
            if on_message is not None:
                on_message(message)

        injector, reader = dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader()
        with dg.open_pipes_session(self._context, injector, reader) as session:
            variables = {**session.get_bootstrap_env_vars(), **(environment or {})}
            return self._launcher.run(job, on_message=report_message, environment=variables)

    def _observe(self, progress: Mapping[str, Any]) -> None:
        now = time.monotonic()
        is_first_or_last = progress["step"] in {1, progress["steps"]}
        if not is_first_or_last and now - self._last_observed_s < self._observe_every_s:
            return
        self._last_observed_s = now
        metrics = {
            METRIC_NAMES[name]: value for name, value in progress.items() if name in METRIC_NAMES
        }
        if "eta_s" in progress:
            shortest_s, longest_s = progress["eta_s"]
            metrics |= {"seconds_left_at_least": shortest_s, "seconds_left_at_most": longest_s}
        self._context.log_event(
            dg.AssetObservation(
                self._context.asset_key,
                partition=self._context.partition_key,
                description=_describe_step(metrics),
                metadata=metrics,
            )
        )


def _describe_step(metrics: Mapping[str, Any]) -> str:
    """Describe a step, with the remaining time if it is known (from the second step on)."""
    longest_s = metrics.get("seconds_left_at_most")
    return (
        f"step {metrics['step']} of {metrics['steps']}: loss {metrics['loss']:.3f}, "
        f"{metrics['tokens_per_second']:.0f} tokens/s"
        + (
            ""
            if longest_s is None
            else f", {format_time_left(metrics['seconds_left_at_least'], longest_s)}"
        )
    )
