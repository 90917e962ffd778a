"""Test on a GPU that a killed training resumes with the same result, and preference tuning.

A GPU adds numbers in varying order, so weights are compared within a tolerance on a GPU and bit for
bit on the CPU. The adapters' dropout is 0.1: if the random numbers after the checkpoint differed,
the losses would differ by more than the tolerance.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
import pytest
from safetensors.numpy import load_file

from tests.gpu.conftest import MakeJob
from twin_assets.checkpoints.job import read_result
from twin_assets.training.fine_tuning import TRAINING_MODULE
from twin_resources.models.training_launcher import LocalLauncher, TrainingJob
from twin_resources.models.training_launcher.rank_processes import ACCELERATE_MODULE
from twin_resources.settings import Settings

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]

TOLERANCE = {"cpu": 0.0, "cuda": 1e-3}


def find_rank_pid(job: TrainingJob) -> int:
    """Return the pid of a job's only rank; its launchers have some of the same arguments."""
    ranks = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(job.folder / "job.json") in (arguments := process.info["cmdline"] or [])
        and TRAINING_MODULE in arguments
        and ACCELERATE_MODULE not in arguments
    ]
    return max(ranks, key=psutil.Process.create_time).pid  # the youngest, if a launcher forked it


def read_weights(output: Path) -> dict[str, Any]:
    return load_file(output / "adapter" / "adapter_model.safetensors")


@pytest.mark.parametrize("variant", ["plain", "zero3"])
def test_a_killed_rank_resumes_with_the_same_losses_and_weights(
    device: str, variant: str, home: Settings, make_job: MakeJob, write_launch: Callable[..., str]
) -> None:
    make = partial(make_job, launch=write_launch(device, variant), dropout=0.1)
    uninterrupted = LocalLauncher(home).run(make("uninterrupted"))
    job = make("killed")
    killed_pids: list[int] = []

    def kill_once(message: dict[str, Any]) -> None:
        if message.get("progress", {}).get("step") == 3 and not killed_pids:
            killed_pids.append(find_rank_pid(job))
            os.kill(killed_pids[0], signal.SIGKILL)

    resumed = LocalLauncher(home).run(job, on_message=kill_once)

    actual, expected = (read_result(folder / "result.json") for folder in (resumed, uninterrupted))
    assert killed_pids
    assert actual.resumed_at[0] in {2, 4}
    losses, expected_losses = (
        [row["loss"] for row in result.history] for result in (actual, expected)
    )
    assert losses == pytest.approx(expected_losses, abs=TOLERANCE[device])
    weights, expected_weights = read_weights(resumed), read_weights(uninterrupted)
    assert weights.keys() == expected_weights.keys()
    for name, value in expected_weights.items():
        assert weights[name] == pytest.approx(value, abs=TOLERANCE[device]), name
    assert any(abs(value).max() > 0 for name, value in weights.items() if "lora_B" in name)


def test_a_preference_tuning_starts_at_ln_2_and_learns(
    device: str, home: Settings, make_job: MakeJob, write_launch: Callable[..., str]
) -> None:
    make = partial(make_job, launch=write_launch(device, "plain"))
    start = LocalLauncher(home).run(make("start")) / "adapter"
    tuned = LocalLauncher(home).run(
        make("tuned", initial_adapter=start, learning_rate=1e-3, max_epochs=4)
    )

    first, *later = read_result(tuned / "result.json").history
    # the initial adapter is its own reference
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert first["margin"] == pytest.approx(0.0, abs=1e-4)
    # Only pairs that were already seen are learned; on unseen pairs a random base need not improve.
    last_pass = later[-len(later) // 4 :]
    assert fmean(step["loss"] for step in last_pass) < first["loss"] - 0.1
    assert fmean(step["margin"] for step in last_pass) > 0
