"""Each way of starting a training on a GPU: its loss curve is that of float32 on the processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gpu.conftest import MakeJob, write_training_job
from twin_assets.checkpoints.job import TrainingResult, read_result
from twin_resources.models.training_launcher import LocalLauncher
from twin_resources.settings import Settings

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]

ZERO = {"plain": 0, "zero2": 2, "zero3": 3}
BF16_WITHIN = 0.005  # of the loss, relative


@pytest.fixture(scope="module")
def on_processor(
    device: str,
    tmp_path_factory: pytest.TempPathFactory,
    random_base: Path,
    launch_on: Callable[..., str],
) -> TrainingResult:
    """The same training in float32 by one process on the processor."""
    home = Settings(home=tmp_path_factory.mktemp("processor"))
    job = write_training_job(home, random_base, "processor", launch=launch_on("cpu", "plain"))
    return read_result(LocalLauncher(home).run(job) / "result.json")


def run(home: Settings, make_job: MakeJob, *, launch: str, ranks: int = 1) -> TrainingResult:
    output = LocalLauncher(home).run(make_job("here", launch=launch, ranks=ranks))
    return read_result(output / "result.json")


def require_same_curve(ran: TrainingResult, wanted: TrainingResult) -> None:
    losses, others = ([row["loss"] for row in one.history] for one in (ran, wanted))
    assert len(others) >= 5
    assert others[-1] < others[0] - 0.05
    assert losses == pytest.approx(others, abs=2e-3)


@pytest.mark.parametrize("kind", ["plain", "zero2", "zero3", "offload"])
def test_one_rank_has_the_loss_curve_of_the_processor(
    device: str,
    kind: str,
    home: Settings,
    make_job: MakeJob,
    launch_on: Callable[..., str],
    on_processor: TrainingResult,
) -> None:
    ran = run(home, make_job, launch=launch_on(device, kind))
    require_same_curve(ran, on_processor)
    assert ran.effective["device"] == device
    assert ran.effective["zero_stage"] == ZERO.get(kind, 3 if device == "cuda" else 2)
    assert ran.effective["offload_optimizer"] == ("cpu" if kind == "offload" else "none")
    assert ran.effective["trained_weights"] == on_processor.effective["trained_weights"]


def test_in_bf16_the_loss_is_that_of_the_processor(
    device: str,
    home: Settings,
    make_job: MakeJob,
    launch_on: Callable[..., str],
    on_processor: TrainingResult,
) -> None:
    ran = run(home, make_job, launch=launch_on(device, "plain", "bf16"))
    assert ran.precision == "bf16"
    points = zip(ran.history, on_processor.history, strict=True)
    for here, there in points:
        assert here["loss"] == pytest.approx(there["loss"], rel=BF16_WITHIN)


@pytest.mark.two_gpus
@pytest.mark.parametrize("kind", ["plain", "zero2", "zero3"])
def test_two_ranks_have_it_too(
    two_of: str,
    kind: str,
    home: Settings,
    make_job: MakeJob,
    launch_on: Callable[..., str],
    on_processor: TrainingResult,
) -> None:
    ran = run(home, make_job, launch=launch_on(two_of, kind), ranks=2)
    require_same_curve(ran, on_processor)
    assert (ran.effective["ranks"], ran.effective["zero_stage"]) == (2, ZERO[kind])
