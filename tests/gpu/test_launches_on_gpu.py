"""Test that each launch configuration on a GPU has the loss curve of float32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gpu.conftest import MakeJob, write_training_job
from twin_assets.checkpoints.job import TrainingResult, read_result
from twin_resources.models.training_launcher import LocalLauncher
from twin_resources.settings import Settings

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]

ZERO_STAGES = {"plain": 0, "zero2": 2, "zero3": 3}
BF16_TOLERANCE = 0.005  # of the loss, relative


@pytest.fixture(scope="module")
def cpu_result(
    device: str,
    tmp_path_factory: pytest.TempPathFactory,
    random_base: Path,
    write_launch: Callable[..., str],
) -> TrainingResult:
    """Run the same training in float32 with one process on the CPU."""
    home = Settings(home=tmp_path_factory.mktemp("processor"))
    job = write_training_job(home, random_base, "processor", launch=write_launch("cpu", "plain"))
    return read_result(LocalLauncher(home).run(job) / "result.json")


def train(home: Settings, make_job: MakeJob, *, launch: str, ranks: int = 1) -> TrainingResult:
    output = LocalLauncher(home).run(make_job("device", launch=launch, ranks=ranks))
    return read_result(output / "result.json")


def require_same_curve(actual: TrainingResult, expected: TrainingResult) -> None:
    losses, expected_losses = (
        [row["loss"] for row in result.history] for result in (actual, expected)
    )
    assert len(expected_losses) >= 5
    assert expected_losses[-1] < expected_losses[0] - 0.05
    assert losses == pytest.approx(expected_losses, abs=2e-3)


@pytest.mark.parametrize("variant", ["plain", "zero2", "zero3", "offload"])
def test_one_rank_has_the_loss_curve_of_the_cpu(
    device: str,
    variant: str,
    home: Settings,
    make_job: MakeJob,
    write_launch: Callable[..., str],
    cpu_result: TrainingResult,
) -> None:
    result = train(home, make_job, launch=write_launch(device, variant))
    require_same_curve(result, cpu_result)
    assert result.effective["device"] == device
    assert result.effective["zero_stage"] == ZERO_STAGES.get(variant, 3 if device == "cuda" else 2)
    assert result.effective["offload_optimizer"] == ("cpu" if variant == "offload" else "none")
    assert result.effective["trained_weights"] == cpu_result.effective["trained_weights"]


def test_bf16_has_the_losses_of_the_cpu(
    device: str,
    home: Settings,
    make_job: MakeJob,
    write_launch: Callable[..., str],
    cpu_result: TrainingResult,
) -> None:
    result = train(home, make_job, launch=write_launch(device, "plain", "bf16"))
    assert result.precision == "bf16"
    for actual, expected in zip(result.history, cpu_result.history, strict=True):
        assert actual["loss"] == pytest.approx(expected["loss"], rel=BF16_TOLERANCE)


@pytest.mark.two_gpus
@pytest.mark.parametrize("variant", ["plain", "zero2", "zero3"])
def test_two_ranks_have_the_loss_curve_of_the_cpu(
    two_devices: str,
    variant: str,
    home: Settings,
    make_job: MakeJob,
    write_launch: Callable[..., str],
    cpu_result: TrainingResult,
) -> None:
    result = train(home, make_job, launch=write_launch(two_devices, variant), ranks=2)
    require_same_curve(result, cpu_result)
    assert (result.effective["ranks"], result.effective["zero_stage"]) == (2, ZERO_STAGES[variant])
