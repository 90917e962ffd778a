"""A training as a run of MLflow, when a tracking URI is set.

Belongs here: what is written there and when. Does not belong here: Dagster's own records
(`live_progress.py`), the training (its ranks know no MLflow), weights (they stay in checkpoints).
Method: MLflow's tracking client, https://mlflow.org/docs/latest/ml/tracking/

A tracking server that fails never fails a training: that is said once, and nothing more is written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints.job import Job
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

METRICS = (
    *("loss", "lr", "tokens_per_s", "rss_mb", "gpu_peak_mb", "grad_norm"),
    *("margin", "accuracy"),
)
FLUSH_EVERY_S = 10.0
# read by MLflow when it is imported; a person's own values stay
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class Tracking:
    """One training's run in MLflow; its experiment is `llm-twin/<author>`."""

    def __init__(
        self,
        uri: str,
        job: Job,
        *,
        author: str,
        tags: Mapping[str, str],
        warn: Callable[[str], Any],
    ) -> None:
        """Make the run, with every hyper-parameter as a parameter.

        Args:
            uri: of a tracking server, or `sqlite:///…`.
            warn: is told once when MLflow fails.

        Raises:
            TwinError: the package is not installed.
        """
        self._client = _client(uri)
        self._uri = uri
        self._warn = warn
        self._pending: list[Metric] = []
        self._flushed = time.monotonic()
        self._run_id = ""
        self._try(lambda: self._start(job, author, tags))

    @property
    def run_id(self) -> str:
        """Empty when MLflow did not take the run."""
        return self._run_id

    def step(self, progress: Mapping[str, float]) -> None:
        """Write a step's numbers, together with those of the last seconds."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._pending += [
            Metric(name, float(progress[name]), now, int(progress["step"]))
            for name in METRICS
            if name in progress
        ]
        if time.monotonic() - self._flushed > FLUSH_EVERY_S:
            self._try(self._flush)

    def end(self, status: str) -> None:
        """End the run as `FINISHED`, `FAILED` or `KILLED`."""
        self._try(self._flush)
        self._try(lambda: self._client.set_terminated(self._run_id, status))

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add what is known only afterwards: the checkpoint."""
        for name, value in tags.items():
            self._try(lambda name=name, value=value: self._set_tag(name, value))

    def _start(self, job: Job, author: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        name = f"llm-twin/{author}"
        existing = self._client.get_experiment_by_name(name)
        experiment = existing.experiment_id if existing else self._client.create_experiment(name)
        run = self._client.create_run(
            experiment, tags=dict(tags), run_name=f"{job.stage} {job.folder.name}"
        )
        self._run_id = run.info.run_id
        values = parameters_of(job)
        parameters = [Param(key, value) for key, value in values.items()]
        self._client.log_batch(self._run_id, params=parameters)

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        pending, self._pending = self._pending, []
        if pending:
            self._client.log_batch(self._run_id, metrics=pending)

    def _set_tag(self, name: str, value: str) -> None:
        self._client.set_tag(self._run_id, name, value)

    def _try(self, write: Callable[[], Any]) -> None:
        """Write, unless MLflow failed before or fails now."""
        from mlflow.exceptions import MlflowException

        if self._warn is _said:
            return
        try:
            write()
        except (MlflowException, OSError) as error:
            self._warn(
                f"MLflow at {self._uri} does not take this training's numbers: {error}; they are "
                "in the manifest and in Dagster all the same"
            )
            self._warn = _said


def parameters_of(job: Job) -> dict[str, str]:
    """The recipe flattened (`lora.rank`), with base, ranks and launch configuration; all text."""
    values: dict[str, str] = {}

    def flatten(prefix: str, node: Any) -> None:
        if isinstance(node, dict):
            for name, value in node.items():
                flatten(f"{prefix}.{name}" if prefix else str(name), value)
        else:
            values[prefix] = ",".join(map(str, node)) if isinstance(node, tuple) else str(node)

    flatten("", job.recipe.model_dump())
    more = {"base": job.base_name, "ranks": str(job.ranks), "stage": job.stage}
    zero = job.launched_by.deepspeed.get("zero_optimization", {})
    return values | more | {"launch": job.launched_by.name, "zero_stage": str(zero.get("stage", 0))}


def _client(uri: str) -> MlflowClient:
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    try:
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise TwinError(
            f"write this training to MLflow at {uri}",
            found="the package mlflow is not installed",
            next_step='pip install "llm-twin[mlflow]", or unset MLFLOW_TRACKING_URI',
        ) from error
    return MlflowClient(tracking_uri=uri)


def _said(_line: str) -> None:
    """Stands for a warning that was given."""
