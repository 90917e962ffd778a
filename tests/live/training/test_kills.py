"""Test that a retry after `kill -9` of any process gives the weights of an undisturbed run.

`test_training.py` kills one rank. These tests kill both ranks, the launcher's process, a Dagster
step worker, and rank 0 at each point of writing a checkpoint.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from tests.live.training.conftest import (
    LONG_ENOUGH,
    ImportedProcesses,
    fork_trainings,
)
from tests.live.training.running_ranks import (
    assert_same_training,
    find_ranks,
    find_ranks_in,
    wait_for,
)
from tests.live.training.test_checkpoint_assets import RECIPE, write_dataset
from twin_assets.checkpoints.job import read_job, read_result
from twin_assets.checkpoints.manifest import read_manifest
from twin_assets.partitions import authors
from twin_assets.training import from_manifest
from twin_assets.training.checkpoints import fine_tuned_checkpoint
from twin_assets.training.training_state import PARTIAL_FOLDER, find_last_complete_checkpoint
from twin_resources import dagster_resources
from twin_resources.authors import Author
from twin_resources.models.training_launcher import OWNER_VARIABLE, LocalLauncher, TrainingJob
from twin_resources.settings import Settings

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]

CHECKPOINT_INTERVAL = 3  # in steps, as `make_job` sets it
# A rank's interpreter runs this at its start. The audit event precedes the call, so the rank is
# killed once, before the call is made.
KILL_HOOK = """
import os, signal, sys
_point, _once = os.environ.get("KILL_AT", ""), os.environ.get("KILL_ONCE", "")
_event, _, _part = _point.partition(":")
def _die_at(event, arguments):
    if event == _event and os.environ.get("RANK") == "0":
        if any(_part in str(argument) for argument in arguments):
            try:
                os.close(os.open(_once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)
if _point:
    sys.addaudithook(_die_at)
"""
LAUNCH_SCRIPT = """
import sys
from pathlib import Path
from twin_resources.settings import load_settings
from twin_resources.models.training_launcher import LocalLauncher
from twin_assets.training.fine_tuning import build_training_job
from twin_assets.checkpoints.job import read_job
LocalLauncher(load_settings()).run(build_training_job(read_job(Path(sys.argv[1])), name="launcher"))
"""


@pytest.fixture
def train_undisturbed(
    home: Settings, make_job: Callable[..., TrainingJob], imported: ImportedProcesses
) -> Callable[..., Path]:
    """Return a function that runs the same training undisturbed and returns its output folder."""

    def train(**changes: Any) -> Path:
        with fork_trainings(imported):
            return LocalLauncher(home).run(make_job("quiet", **changes))

    return train


def test_a_killed_launcher_leaves_no_rank_and_training_resumes(
    home: Settings, make_job: Callable[..., TrainingJob], train_undisturbed: Callable[..., Path]
) -> None:
    job = make_job("killed", **LONG_ENOUGH)
    state = read_job(job.folder / "job.json").state_folder
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCH_SCRIPT, str(job.folder / "job.json")])
    try:
        wait_for(lambda: find_last_complete_checkpoint(state))
        ranks = find_ranks(job)
        assert len(ranks) == job.ranks
        # a hang: neither this rank nor the waiting rank 0 can end by itself
        ranks[1].suspend()
    finally:
        launcher.kill()
        launcher.wait()
    assert not (job.folder / "output").exists(), "the training ended before the kill"

    output = LocalLauncher(home).run(job)

    assert not any(rank.is_running() for rank in ranks.values())
    (resumed_at,) = read_result(output / "result.json").resumed_at
    assert resumed_at >= CHECKPOINT_INTERVAL
    assert_same_training(output, train_undisturbed(**LONG_ENOUGH))


@pytest.mark.long
@pytest.mark.parametrize(
    ("point", "resumed"),
    [
        ("os.mkdir:partial", []),  # the first checkpoint: no earlier one exists
        ("open:exp_avg.safetensors", []),  # all tensors are written but none is in a manifest
        ("os.rename:state.json", []),
        (f"os.rename:step-{CHECKPOINT_INTERVAL:06}", []),
        (f"os.rename:step-{2 * CHECKPOINT_INTERVAL:06}", [CHECKPOINT_INTERVAL]),
        # during the removal of the older checkpoint; the newer one is complete
        ("os.remove:weights.safetensors", [2 * CHECKPOINT_INTERVAL]),
        ("os.mkdir:output.partial", [2 * CHECKPOINT_INTERVAL]),
        ("os.rename:output.partial", [2 * CHECKPOINT_INTERVAL]),
    ],
)
def test_a_run_resumes_after_rank_0_is_killed_at_any_point_of_writing(
    home: Settings,
    make_job: Callable[..., TrainingJob],
    tmp_path: Path,
    train_undisturbed: Callable[..., Path],
    point: str,
    resumed: list[int],
) -> None:
    output, resumed_at = train_with_kill(point, home, make_job, tmp_path)
    assert resumed_at == resumed
    assert_same_training(output, train_undisturbed())
    state = read_job(output.parent / "job.json").state_folder
    assert not (state / PARTIAL_FOLDER).exists()
    remaining = {path.name for path in state.glob("step-*")}
    # the remainder of the older one is deleted with the next checkpoint or the job's folder
    older_names = {f"step-{CHECKPOINT_INTERVAL:06}"} if point.startswith("os.remove") else set()
    assert remaining - older_names == {f"step-{2 * CHECKPOINT_INTERVAL:06}"}


@pytest.mark.long
@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("launch", ["cpu-ddp", "cpu-zero1", "cpu-zero2-offload", "cpu-zero3"])
def test_every_launch_configuration_resumes_bit_for_bit(
    home: Settings,
    make_job: Callable[..., TrainingJob],
    tmp_path: Path,
    train_undisturbed: Callable[..., Path],
    launch: str,
    lora: bool,
) -> None:
    changes = {"launch": launch} | ({} if lora else {"lora": None})
    point = f"os.rename:step-{2 * CHECKPOINT_INTERVAL:06}"
    output, resumed_at = train_with_kill(point, home, make_job, tmp_path, **changes)
    assert resumed_at == [CHECKPOINT_INTERVAL]
    assert_same_training(output, train_undisturbed(**changes))


def train_with_kill(
    point: str, home: Settings, make_job: Callable[..., TrainingJob], tmp_path: Path, **changes: Any
) -> tuple[Path, list[int]]:
    """Train, kill rank 0 once, and return the output folder and the steps at which it resumed."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(KILL_HOOK, encoding="utf-8")
    kill_marker = tmp_path / "killed once"
    root = Path(__file__).parents[3]
    environment = {
        "KILL_AT": point,
        "KILL_ONCE": str(kill_marker),
        "PYTHONPATH": os.pathsep.join([str(hook), str(root)]),
    }
    texts: list[str] = []
    output = LocalLauncher(home).run(
        make_job("killed", **changes),
        on_message=lambda message: texts.append(str(message.get("text", ""))),
        environment=environment,
    )
    assert kill_marker.exists(), "the point was not reached"
    (retry_message,) = [text for text in texts if "trying again" in text]
    assert "rank 0 was killed by Signal 9 (SIGKILL)" in retry_message
    return output, read_result(output / "result.json").resumed_at


@pytest.mark.long
def test_a_run_resumes_after_both_ranks_are_killed_at_once(
    home: Settings, make_job: Callable[..., TrainingJob], train_undisturbed: Callable[..., Path]
) -> None:
    job = make_job("killed")
    killed_ranks: list[int] = []

    def kill(message: dict[str, Any]) -> None:
        if message.get("progress", {}).get("step", 0) > CHECKPOINT_INTERVAL and not killed_ranks:
            ranks = find_ranks(job)
            killed_ranks.extend(ranks)
            for process in ranks.values():
                os.kill(process.pid, signal.SIGKILL)

    output = LocalLauncher(home).run(job, on_message=kill)
    assert sorted(killed_ranks) == [0, 1]
    assert read_result(output / "result.json").resumed_at[0] in {
        CHECKPOINT_INTERVAL,
        2 * CHECKPOINT_INTERVAL,
    }
    assert_same_training(output, train_undisturbed())


def training_job() -> dg.JobDefinition:
    """Return the asset as a job with step workers, for the home in TWIN_HOME."""
    return dg.Definitions(
        assets=[fine_tuned_checkpoint],
        jobs=[dg.define_asset_job("train", [fine_tuned_checkpoint], partitions_def=authors)],
        executor=dg.multiprocess_executor,
        resources={
            "settings": dagster_resources.SettingsResource(),
            "tables": dagster_resources.TablesResource(),
            "training": dagster_resources.TrainingLauncherResource(),
        },
    ).resolve_job_def("train")


@pytest.mark.long
def test_a_killed_step_worker_ends_its_ranks_and_its_retry_resumes(
    write_author_with_recipe: Callable[..., tuple[Author, Settings]], tmp_path: Path
) -> None:
    recipe = RECIPE.replace("token_budget: 8000", "token_budget: 12000")
    _, home = write_author_with_recipe(recipe, single_rank=False)
    write_dataset(home, count=60)
    ranks: list[psutil.Process] = []

    def kill_the_worker() -> None:
        (state,) = wait_for(lambda: list(home.work_dir.glob("training/ann-*/state")), limit_s=2000)
        wait_for(lambda: find_last_complete_checkpoint(state), limit_s=2000)
        ranks.extend(find_ranks_in(state.parent).values())
        worker, _, _ = ranks[0].environ()[OWNER_VARIABLE].partition(":")
        os.kill(int(worker), signal.SIGKILL)

    killer = threading.Thread(target=kill_the_worker)
    job = dg.reconstructable(training_job)
    instance_folder = tmp_path / "dagster"
    instance_folder.mkdir()
    with dg.DagsterInstance.local_temp(str(instance_folder)) as instance:
        instance.add_dynamic_partitions("authors", ["ann"])
        partition = {"dagster/partition": "ann"}
        killer.start()
        with dg.execute_job(job, instance=instance, tags=partition) as run:
            assert run.success
            retries = run.filter_events(
                lambda event: event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY
            )
            messages = [event.message for event in instance.all_logs(run.run_id)]
        killer.join()
    assert len(ranks) == 2
    assert len(retries) == 1
    assert sum(line.startswith("resuming after step ") for line in messages) == 1
    assert not any(rank.is_running() for rank in ranks)

    (manifest,) = home.checkpoints_dir.glob("ann/*/manifest.json")
    assert read_manifest(manifest.parent).metrics["resumed_at"]
    assert from_manifest.main(["--from-manifest", str(manifest)]) == 0, (
        "an undisturbed repetition differs"
    )
