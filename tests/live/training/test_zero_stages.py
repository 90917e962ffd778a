"""Test that training has the same losses under every launch configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.live.training.running_ranks import read_weights
from twin_assets.checkpoints.job import TrainingResult, read_result
from twin_assets.checkpoints.recipe import load_launch
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import LocalLauncher, TrainingJob
from twin_resources.settings import Settings

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000), pytest.mark.usefixtures("quick_starts")]

# the ZeRO stage and the optimizer offload of each configuration
ZERO_SETTINGS = {
    "cpu-ddp": (0, "none"),
    "cpu-zero1": (1, "none"),
    "cpu-zero2": (2, "none"),
    "cpu-zero2-offload": (2, "cpu"),
    "cpu-zero3": (3, "none"),
}
SHORT_RUN = {"token_budget": 2500, "checkpoint_every_steps": 100}
EIGHT_PER_STEP = {"token_budget": 5000, "samples_per_step": 8}


def write_fp32_launch(name: str, folder: Path) -> str:
    """Write a launch configuration with fp32, because bf16 rounding hides differences."""
    import yaml

    path = folder / f"{name}.yaml"
    launch = load_launch(name).model_dump() | {"mixed_precision": "fp32"}
    path.write_text(yaml.safe_dump(launch), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("lora", "names"),
    [
        pytest.param(True, ("cpu-zero1", "cpu-zero2-offload"), id="lora"),
        pytest.param(False, ("cpu-zero2", "cpu-zero3"), id="full"),
        pytest.param(
            True, ("cpu-ddp", "cpu-zero2", "cpu-zero3"), id="lora, others", marks=pytest.mark.long
        ),
        pytest.param(
            False,
            ("cpu-ddp", "cpu-zero1", "cpu-zero2-offload"),
            id="full, others",
            marks=pytest.mark.long,
        ),
    ],
)
def test_two_ranks_have_the_loss_curve_of_one_process(
    home: Settings,
    make_job: Callable[..., TrainingJob],
    tmp_path: Path,
    lora: bool,
    names: tuple[str, ...],
) -> None:
    results: dict[str, TrainingResult] = {}
    weights: dict[str, dict[str, Any]] = {}
    changes = SHORT_RUN if lora else {**SHORT_RUN, "lora": None, "learning_rate": 1e-3}
    for name, ranks in (("cpu-single", 1), *((name, 2) for name in names)):
        job = make_job(name, ranks=ranks, launch=write_fp32_launch(name, tmp_path), **changes)
        output = LocalLauncher(home).run(job)
        results[name] = read_result(output / "result.json")
        weights[name] = read_weights(output)

    expected = [row["loss"] for row in results["cpu-single"].history]
    assert len(expected) >= 4
    assert expected[-1] < expected[0] - 0.1
    for name in names:
        curve = [row["loss"] for row in results[name].history]
        assert curve == pytest.approx(expected, abs=1e-3), name
        effective = results[name].effective
        assert (effective["zero_stage"], effective["offload_optimizer"]) == ZERO_SETTINGS[name]
        assert effective["ranks"] == 2
        assert weights[name].keys() == weights["cpu-single"].keys()
        for key, value in weights["cpu-single"].items():
            assert weights[name][key] == pytest.approx(value, abs=2e-3), key
    weight_counts = {result.effective["trained_weights"] for result in results.values()}
    assert len(weight_counts) == 1


@pytest.mark.parametrize(
    "name",
    ["cpu-zero2", *(pytest.param(n, marks=pytest.mark.long) for n in ("cpu-ddp", "cpu-zero3"))],
)
def test_packed_rows_have_the_loss_curve_of_padded_rows(
    home: Settings, make_job: Callable[..., TrainingJob], tmp_path: Path, name: str
) -> None:
    changes_by_layout: dict[str, dict[str, Any]] = {
        "padded": {"ranks": 1, "launch": write_fp32_launch("cpu-single", tmp_path)},
        "packed": {
            "ranks": 2,
            "launch": write_fp32_launch(name, tmp_path),
            "packing": True,
            "micro_batch_size": 2,
        },
    }
    results = {
        layout: read_result(
            LocalLauncher(home).run(make_job(layout, **(SHORT_RUN | EIGHT_PER_STEP | changes)))
            / "result.json"
        )
        for layout, changes in changes_by_layout.items()
    }
    padded, packed = (
        [row["loss"] for row in results[layout].history] for layout in changes_by_layout
    )
    assert len(padded) >= 3
    assert packed == pytest.approx(padded, abs=1e-3)
    assert results["packed"].effective["micro_batch_size"] > 1


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param("cpu-zero3", {"lora": None, "learning_rate": 1e-3}, id="zero3, full"),
        pytest.param("cpu-zero2", {}, id="zero2, lora", marks=pytest.mark.long),
        pytest.param("cpu-ddp", {}, id="ddp, lora", marks=pytest.mark.long),
    ],
)
def test_a_chunked_loss_has_the_same_loss_curve(
    home: Settings,
    make_job: Callable[..., TrainingJob],
    tmp_path: Path,
    name: str,
    changes: dict[str, Any],
) -> None:
    """In the first case, the output layer is sharded, and gathered for each pass."""
    launch = write_fp32_launch(name, tmp_path)
    results = [
        read_result(
            LocalLauncher(home).run(
                make_job(f"chunks-{rows}", launch=launch, loss_chunk=rows, **SHORT_RUN, **changes)
            )
            / "result.json"
        )
        for rows in (0, 16)
    ]
    full_losses, chunked_losses = ([row["loss"] for row in result.history] for result in results)
    assert len(full_losses) >= 4
    assert chunked_losses == pytest.approx(full_losses, abs=1e-4)
    assert [result.effective["loss_chunk"] for result in results] == [0, 16]


def test_an_unexpected_launch_configuration_takes_no_step(
    home: Settings, make_job: Callable[..., TrainingJob]
) -> None:
    job = make_job("otherwise", launch="cpu-zero2")
    zero = {**job.deepspeed["zero_optimization"], "stage": 1}
    changed_config = {**job.deepspeed, "zero_optimization": zero, "gradient_clipping": 5.0}
    messages: list[dict[str, Any]] = []

    with pytest.raises(TwinError) as error:
        LocalLauncher(home).run(replace(job, deepspeed=changed_config), on_message=messages.append)

    assert "zero_stage is 1 and should be 2" in error.value.found
    assert "max_grad_norm is 5.0 and should be 1.0" in error.value.found
    assert not messages
