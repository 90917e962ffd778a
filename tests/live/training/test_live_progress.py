"""Test that training progress of a real process reaches a real Dagster run.

The process prints the messages of rank 0 but trains nothing, so it needs no accelerate;
`test_checkpoint_assets.py` trains.
"""

from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from tests.live.training.reported_steps import STEP_COUNT, build_step_values
from twin_assets.checkpoints.job import Job, write_job
from twin_assets.checkpoints.recipe import load_recipe
from twin_assets.training.fine_tuning import build_training_job
from twin_assets.training.live_progress import ProgressReportingLauncher
from twin_resources.models.training_launcher import LocalLauncher, TrainingJob
from twin_resources.settings import Settings

pytestmark = pytest.mark.live


def run_asset(
    home: Settings, job: TrainingJob, *, observe_every_s: float = 0.0
) -> tuple[bool, list[str], list[dict[str, Any]]]:
    """Run an asset that trains the job; return its success, log lines and observations."""

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["ann"]))
    def trained(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        launcher = LocalLauncher(home)
        ProgressReportingLauncher(context, launcher, observe_every_s=observe_every_s).run(job)
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [trained], partition_key="ann", instance=instance, raise_on_error=False
        )
        events = instance.all_logs(result.run_id)
        observed = instance.fetch_observations(trained.key, limit=100).records
    observations = [record.asset_observation for record in reversed(observed)]
    assert all(item is not None and item.partition == "ann" for item in observations)
    lines = [
        f"{event.message} {event.dagster_event.step_failure_data.error_display_string}"
        if event.dagster_event is not None and event.dagster_event.is_step_failure
        else event.message
        for event in events
    ]
    return (
        result.success,
        lines,
        [
            {name: v.value for name, v in item.metadata.items()}
            for item in observations
            if item is not None
        ],
    )


def make_printing_job(home: Settings, name: str, **environment: str) -> TrainingJob:
    recipe = load_recipe("smollm2-135m-cpu").model_copy(update={"launch": "cpu-single"})
    job = Job(home.work_dir / name, "tiny", home.home, 1, recipe)
    write_job(job)
    module = "tests.live.training.reported_steps"
    return replace(build_training_job(job, name=name), module=module, environment=environment)


def test_each_step_is_logged_and_plotted(home: Settings) -> None:
    success, log, observations = run_asset(home, make_printing_job(home, "printing"))

    assert success, log
    # one observation per step
    assert sum(line.startswith("progress {") for line in log) == STEP_COUNT
    last = build_step_values(STEP_COUNT)
    assert [item["step"] for item in observations] == list(range(1, STEP_COUNT + 1))
    assert observations[-1] == {
        "step": STEP_COUNT,
        "steps": STEP_COUNT,
        "loss": last["loss"],
        "learning_rate": last["lr"],
        "tokens_per_second": last["tokens_per_s"],
        "memory_mb": last["rss_mb"],
        "gradient_norm": last["grad_norm"],
        "seconds_left_at_least": 0,
        "seconds_left_at_most": 0,
    }


def test_observations_are_limited_and_failures_retried(home: Settings) -> None:
    job = make_printing_job(home, "failing", STEPS_FAIL="1")
    success, log, observations = run_asset(home, job, observe_every_s=3600)

    assert not success
    assert any("exit code 5; trying again" in line for line in log)
    assert [item["step"] for item in observations] == [1, 1]  # one from each of two attempts
