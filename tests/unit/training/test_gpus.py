"""Test that each rank of a launch configuration for GPUs has a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from twin_assets.checkpoints.job import Job
from twin_assets.checkpoints.recipe import load_recipe
from twin_assets.training.ranks import require_gpus
from twin_resources.errors import TwinError


@pytest.mark.parametrize(
    ("gpu_count", "local_ranks", "has_enough"),
    [(0, 1, False), (1, 2, False), (1, 1, True), (8, 8, True)],
)
def test_every_rank_has_a_gpu(
    monkeypatch: pytest.MonkeyPatch, gpu_count: int, local_ranks: int, has_enough: bool
) -> None:
    def make_job(recipe: str) -> Job:
        return Job(Path("job"), "tiny", Path("tiny"), local_ranks, load_recipe(recipe))

    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpu_count)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local_ranks))
    require_gpus(make_job("smollm2-135m-cpu"))
    if has_enough:
        require_gpus(make_job("llama-3.1-8b-lora"))
        return
    with pytest.raises(TwinError, match="TWIN_TRAIN_RANKS") as error:
        require_gpus(make_job("llama-3.1-8b-lora"))
    assert error.value.found == f"{gpu_count} GPUs"
