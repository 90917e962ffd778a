"""A training can be watched while it runs: a real process, a real Dagster run, a real MLflow store.

The process speaks as rank 0 does and trains nothing (accelerate is not needed for that);
`test_checkpoint_assets.py` trains.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.conftest import ROOT
from tests.live.training.spoken_steps import STEPS, values_of
from twin_assets.checkpoints.job import Job, write_job
from twin_assets.checkpoints.recipe import load_recipe
from twin_assets.training.fine_tuning import launched
from twin_assets.training.live_progress import SpeakingLauncher
from twin_resources.models.training_launcher import Message, TrainingJob
from twin_resources.models.training_launcher.machine import watch
from twin_resources.models.training_launcher.training_job import (
    AttemptEnd,
    pass_on,
    run_with_retry,
    unheard,
)
from twin_resources.settings import Settings

pytestmark = pytest.mark.live


class ScriptLauncher:
    """Starts the speaking script as one process, with the retry and the log of every backend."""

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
        say = on_message or unheard

        def attempt(log: Path) -> AttemptEnd:
            start = log.stat().st_size if log.is_file() else 0
            script = [
                "-m",
                "tests.live.training.spoken_steps",
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
                return watch(process, job, log, lambda line: pass_on(line, say), log_start=start)

        return run_with_retry(job, self._home, attempt=attempt, write_line=say)


def watched(
    home: Settings, job: TrainingJob, *, shares_files: bool = True, observe_every_s: float = 0.0
) -> tuple[bool, list[str], list[dict[str, Any]]]:
    """Success, the log's lines, and the observations of one run of an asset that trains the job."""

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["ann"]))
    def trained(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        launcher = ScriptLauncher(home, shares_files=shares_files)
        SpeakingLauncher(context, launcher, home, observe_every_s=observe_every_s).run(job)
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [trained], partition_key="ann", instance=instance, raise_on_error=False
        )
        events = instance.all_logs(result.run_id)
        observed = instance.fetch_observations(trained.key, limit=100).records
    found = [record.asset_observation for record in reversed(observed)]
    assert all(each is not None and each.partition == "ann" for each in found)
    said = [
        f"{event.message} {event.dagster_event.step_failure_data.error_display_string}"
        if event.dagster_event is not None and event.dagster_event.is_step_failure
        else event.message
        for event in events
    ]
    return (
        result.success,
        said,
        [
            {name: v.value for name, v in each.metadata.items()}
            for each in found
            if each is not None
        ],
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'store.sqlite'}"


@pytest.fixture
def tracked(home: Settings, store: str) -> Settings:
    return home.model_copy(update={"mlflow_tracking_uri": store})


def spoken(home: Settings, name: str, **environment: str) -> TrainingJob:
    recipe = load_recipe("smollm2-135m-cpu").model_copy(update={"launch": "cpu-single"})
    job = Job(home.work_dir / name, "tiny", home.home, 1, recipe)
    write_job(job)
    started = launched(job, name=name)
    return TrainingJob(**{**vars(started), "environment": environment})


def mlflow_run(store: str, name: str) -> Any:
    """The one run of a job, and the history of its loss."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("llm-twin/ann")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], f"attributes.run_name = 'sft {name}'")
    history = client.get_metric_history(run.info.run_id, "loss")
    return run, [(each.step, each.value) for each in history]


@pytest.mark.parametrize("shares_files", [True, False])
def test_each_step_is_in_the_log_in_dagsters_plots_and_in_mlflow(
    tracked: Settings, store: str, shares_files: bool
) -> None:
    name = f"spoken-{shares_files}"
    success, log, observations = watched(tracked, spoken(tracked, name), shares_files=shares_files)

    assert success, log
    # through Pipes, whether by a file or by the launcher, once a step
    assert sum(line.startswith("progress {") for line in log) == STEPS
    last = values_of(STEPS)
    assert [each["step"] for each in observations] == list(range(1, STEPS + 1))
    assert observations[-1] == {
        "step": STEPS,
        "steps": STEPS,
        "loss": last["loss"],
        "learning_rate": last["lr"],
        "tokens_per_second": last["tokens_per_s"],
        "memory_mb": last["rss_mb"],
        "gradient_norm": last["grad_norm"],
        "seconds_left": 0,
    }
    run, history = mlflow_run(store, name)
    assert history == [(step, values_of(step)["loss"]) for step in range(1, STEPS + 1)]
    assert run.info.status == "FINISHED"
    assert run.data.tags["author"] == "ann"
    assert run.data.params["lora.rank"] == "16"
    assert {"lr", "tokens_per_s", "rss_mb"} <= run.data.metrics.keys()


def test_observations_are_few_and_a_failed_training_is_a_failed_mlflow_run(
    tracked: Settings, store: str
) -> None:
    job = spoken(tracked, "failing", STEPS_FAIL="1")
    success, log, observations = watched(tracked, job, observe_every_s=3600)

    assert not success
    assert any("exit code 5; trying again" in line for line in log)
    assert [each["step"] for each in observations] == [1, 1]  # of two attempts
    run, history = mlflow_run(store, "failing")
    assert run.info.status == "FAILED"
    assert history[-1] == (6, values_of(6)["loss"])


def test_a_tracking_server_that_is_down_is_said_once_and_fails_no_training(home: Settings) -> None:
    home = home.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    success, log, observations = watched(home, spoken(home, "down"))

    assert success, log
    assert len(observations) == STEPS
    (said,) = [line for line in log if "MLflow" in line]
    assert "http://127.0.0.1:9 does not take this training's numbers" in said


def test_a_tracking_uri_without_the_package_is_refused_before_training(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    home = home.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    job = spoken(home, "without")
    success, log, observations = watched(home, job)

    assert not success
    assert not observations
    assert not (job.folder / "output").exists()
    assert any("llm-twin[mlflow]" in line for line in log)
