"""Fixtures of the GPU tests: the device, and training jobs of a random base model on it.

Scope: fixtures, and the reasons to skip a test. Out of scope: the base model (`random_base.py`).

    pytest tests/gpu                 on the first GPU, at most four minutes; skipped without a GPU
    pytest tests/gpu --device cpu    the same tests on the processor
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.gpu.random_base import make_base, pair_rows, rows
from twin_assets.checkpoints.job import Job, write_job, write_rows
from twin_assets.checkpoints.recipe import UNMODIFIED_SAMPLES, load_launch, load_recipe
from twin_assets.checkpoints.samples import TokenizedSample, tokenize_samples
from twin_assets.training.fine_tuning import build_training_job
from twin_resources.models.training_launcher import TrainingJob
from twin_resources.settings import Settings

# the shipped launch configurations, by device and kind
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
SAMPLES = 48


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=("cuda", "cpu"), default="cuda")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """Return torch's name of the device on which the test runs."""
    import torch

    chosen = str(request.config.getoption("--device", "cuda"))
    if chosen == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU: torch sees none; a machine with one runs these, `pytest -m gpu`")
    return chosen


@pytest.fixture(scope="session")
def two_devices(device: str) -> str:
    """Return the device; skips the test with fewer than two GPUs."""
    import torch

    if device == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("no GPU: torch sees one, and this test needs two")
    return device


@pytest.fixture(scope="session")
def random_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("gpu") / "base")


@pytest.fixture(scope="session")
def samples(random_base: Path) -> list[TokenizedSample]:
    """Return samples of the bundled posts, tokenized for the random base model."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(random_base)
    tokenized, skipped = tokenize_samples(rows(SAMPLES), tokenizer, max_length=1024)
    assert not skipped
    return tokenized


def write_training_job(home: Settings, base: Path, name: str, **changes: Any) -> TrainingJob:
    """Write a job of about six steps of eight samples, and return it.

    Args:
        changes: fields of the recipe; also `ranks`, `dropout`, and `start`, the folder of an
            adapter, which makes the job a preference tuning.
    """
    values: dict[str, Any] = {
        "samples_per_step": 8,
        "token_budget": 10**6,
        "max_epochs": 1,
        "checkpoint_every_steps": 2,
    } | changes
    ranks = values.pop("ranks", 1)
    start = values.pop("start", None)
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
        stage="dpo" if start else "sft",
        initial_adapter=start,
    )
    write_job(job)
    write_rows(job.samples_path, pair_rows(SAMPLES) if start else rows(SAMPLES))
    return build_training_job(job, name=name)


class MakeJob(Protocol):
    """`write_training_job` with a fresh home and the random base model."""

    def __call__(self, name: str, **changes: Any) -> TrainingJob: ...


@pytest.fixture
def make_job(home: Settings, random_base: Path) -> MakeJob:
    return partial(write_training_job, home, random_base)


@pytest.fixture(scope="session")
def launch_on(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Write a shipped launch configuration in another precision and return its path.

    The default is fp32, because bf16's rounding would hide the differences that tests look for.
    """
    import yaml

    folder = tmp_path_factory.mktemp("launch")

    def write(device: str, kind: str, precision: str = "fp32") -> str:
        name = LAUNCHES[device][kind]
        path = folder / f"{name}-{precision}.yaml"
        values = load_launch(name).model_dump() | {"mixed_precision": precision}
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return str(path)

    return write
