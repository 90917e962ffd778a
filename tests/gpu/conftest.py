"""Fixtures of the GPU tests: the device, and training jobs for a random base model on it.

Scope: fixtures, and the reasons to skip a test. Out of scope: the base model (`random_base.py`).

    pytest tests/gpu                 on the first GPU, at most four minutes; skipped without a GPU
    pytest tests/gpu --device cpu    the same tests on the CPU
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.gpu.random_base import make_base, pair_rows, sample_rows
from twin_assets.checkpoints.job import Job, write_job, write_rows
from twin_assets.checkpoints.recipe import UNMODIFIED_SAMPLES, load_launch, load_recipe
from twin_assets.checkpoints.samples import TokenizedSample, tokenize_samples
from twin_assets.training.fine_tuning import build_training_job
from twin_resources.models.training_launcher import TrainingJob
from twin_resources.settings import Settings

# shipped launch configurations, by device and variant
LAUNCHES = {
    "cuda": {
        "plain": "gpu-single",
        "zero2": "gpu-zero2",
        "zero3": "gpu-zero3",
        "offload": "gpu-zero3-offload",
    },
    "cpu": {
        "plain": "cpu-single",
        "zero2": "cpu-zero2",
        "zero3": "cpu-zero3",
        "offload": "cpu-zero2-offload",
    },
}
SAMPLE_COUNT = 48


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=("cuda", "cpu"), default="cuda")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """Return torch's name of the device on which the test runs."""
    import torch

    name = str(request.config.getoption("--device", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU: torch finds none; a machine with one runs these (`pytest -m gpu`)")
    return name


@pytest.fixture(scope="session")
def two_devices(device: str) -> str:
    """Return the device; skip the test if torch finds fewer than two GPUs."""
    import torch

    if device == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("no GPU: torch finds only one, and this test needs two")
    return device


@pytest.fixture(scope="session")
def random_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("gpu") / "base")


@pytest.fixture(scope="session")
def samples(random_base: Path) -> list[TokenizedSample]:
    """Return samples of the bundled posts, tokenized for the random base model."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(random_base)
    tokenized, skipped = tokenize_samples(sample_rows(SAMPLE_COUNT), tokenizer, max_length=1024)
    assert not skipped
    return tokenized


def write_training_job(home: Settings, base: Path, name: str, **changes: Any) -> TrainingJob:
    """Write a job of about six steps of eight samples, and return it.

    Args:
        changes: fields of the recipe; also `ranks`, `dropout`, and `initial_adapter`, a folder,
            which makes the job a preference tuning.
    """
    values: dict[str, Any] = {
        "samples_per_step": 8,
        "token_budget": 10**6,
        "max_epochs": 1,
        "checkpoint_every_steps": 2,
    } | changes
    ranks = values.pop("ranks", 1)
    initial_adapter = values.pop("initial_adapter", None)
    dropout = values.pop("dropout", 0.0)
    recipe = load_recipe("smollm2-135m-cpu").model_copy(update=UNMODIFIED_SAMPLES)
    assert recipe.lora is not None
    values["lora"] = recipe.lora.model_copy(update={"dropout": dropout})
    job = Job(
        folder=home.work_dir / name,
        base_name="random",
        base_folder=base,
        ranks=ranks,
        recipe=recipe.model_copy(update=values),
        stage="dpo" if initial_adapter else "sft",
        initial_adapter=initial_adapter,
    )
    write_job(job)
    write_rows(
        job.samples_path, pair_rows(SAMPLE_COUNT) if initial_adapter else sample_rows(SAMPLE_COUNT)
    )
    return build_training_job(job, name=name)


class MakeJob(Protocol):
    """`write_training_job` with a fresh home and the random base model."""

    def __call__(self, name: str, **changes: Any) -> TrainingJob: ...


@pytest.fixture
def make_job(home: Settings, random_base: Path) -> MakeJob:
    return partial(write_training_job, home, random_base)


@pytest.fixture(scope="session")
def write_launch(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return a function that writes a shipped launch configuration with another precision.

    It returns the path. The default precision is fp32, because bf16's rounding would hide the
    differences that tests look for.
    """
    import yaml

    folder = tmp_path_factory.mktemp("launch")

    def write(device: str, variant: str, precision: str = "fp32") -> str:
        name = LAUNCHES[device][variant]
        path = folder / f"{name}-{precision}.yaml"
        values = load_launch(name).model_dump() | {"mixed_precision": precision}
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return str(path)

    return write
