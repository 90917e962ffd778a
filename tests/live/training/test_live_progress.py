"""Test the progress of training in a real Dagster run with a real process.

The process prints the messages of rank 0 but trains nothing, so it needs no accelerate;
`test_checkpoint_assets.py` trains.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg
import pytest

from tests.conftest import ROOT
from tests.live.training.reported_steps import STEPS
from twin_assets.checkpoints.job import Job, write_job
from twin_assets.checkpoints.recipe import load_recipe
from twin_assets.training.fine_tuning import build_training_job
from twin_assets.training.live_progress import ProgressReportingLauncher
from twin_resources.models.training_launcher import Message, TrainingJob
from twin_resources.models.training_launcher.machine import forward_log
from twin_resources.models.training_launcher.training_job import (
    AttemptEnd,
    forward_line,
    ignore_message,
    run_with_retry,
)
from twin_resources.settings import Settings

pytestmark = pytest.mark.live


class ScriptLauncher:
    """A launcher that runs the printing script, with the retry and log of all backends."""

    def __init__(self, home: Settings, *, shares_files: bool) -> None:
        self._home = home
        self.shares_files = shares_files

    def run(
        self,
        job: TrainingJob,
        *,
        on_message: Callable[[Message], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Path:
        forward_message = on_message or ignore_message

        def run_attempt(log: Path) -> AttemptEnd:
            start = log.stat().st_size if log.is_file() else 0
            script = [
                "-m",
                "tests.live.training.reported_steps",
                "--job",
                str(job.folder / "job.json"),
            ]
            with (
                log.open("ab") as stream,
                subprocess.Popen(
                    [sys.executable, *script],
                    cwd=ROOT,
                    env={"PATH": "", **job.environment, **(environment or {})},
                    stdout=stream,
                    stderr=stream,
                ) as process,
            ):
                return forward_log(
                    process,
                    job,
                    log,
                    lambda line: forward_line(line, forward_message),
                    log_start=start,
                )

        return run_with_retry(job, self._home, attempt=run_attempt, report=forward_message)


def run_asset(
    home: Settings, job: TrainingJob, *, shares_files: bool = True
) -> tuple[bool, list[str]]:
    """Run an asset that trains the job; return its success and log lines."""

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["ann"]))
    def trained(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        launcher = ScriptLauncher(home, shares_files=shares_files)
        ProgressReportingLauncher(context, launcher).run(job)
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [trained], partition_key="ann", instance=instance, raise_on_error=False
        )
        events = instance.all_logs(result.run_id)
    return result.success, [event.message for event in events]


def make_printing_job(home: Settings, name: str, **environment: str) -> TrainingJob:
    recipe = load_recipe("smollm2-135m-cpu").model_copy(update={"launch": "cpu-single"})
    job = Job(home.work_dir / name, "tiny", home.home, 1, recipe)
    write_job(job)
    started = build_training_job(job, name=name)
    return TrainingJob(**{**vars(started), "environment": environment})


@pytest.mark.drawn(1)
@pytest.mark.parametrize("shares_files", [True, False])
def test_each_step_is_logged(home: Settings, shares_files: bool) -> None:
    job = make_printing_job(home, f"printing-{shares_files}")
    success, log = run_asset(home, job, shares_files=shares_files)

    assert success, log
    # one line per step through Pipes, by a file or by the launcher
    assert sum(line.startswith("progress {") for line in log) == STEPS


def test_a_failure_is_retried_and_logged(home: Settings) -> None:
    job = make_printing_job(home, "failing", STEPS_FAIL="1")
    success, log = run_asset(home, job)

    assert not success
    assert any("exit code 5; trying again" in line for line in log)
