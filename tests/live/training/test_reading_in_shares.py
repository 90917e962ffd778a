"""ZeRO-3 on two real ranks: a base model of which each reads and keeps its share."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.live.training.test_training import ranks_of
from tests.live.training.test_zero_stages import SHORT
from twin_assets.checkpoints.job import read_job, read_result, write_job
from twin_assets.checkpoints.recipe import load_launch
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import LocalLauncher, TrainingJob
from twin_resources.settings import Settings

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]

IN_SHARES, WHOLE = "read the base model in shares", "every rank reads the whole base model"


def zero3_in(precision: str, folder: Path) -> str:
    import yaml

    path = folder / f"zero3-{precision}.yaml"
    launch = load_launch("cpu-zero3").model_dump() | {"mixed_precision": precision}
    path.write_text(yaml.safe_dump(launch), encoding="utf-8")
    return str(path)


def told_twice(tiny_model: Path, folder: Path) -> Path:
    """The same model, whose file holds the tied weight under both its names: it is read whole."""
    shutil.copytree(tiny_model, folder)
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    again = {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}
    save_file(weights | again, file, metadata={"format": "pt"})
    return folder


def trained(launcher: LocalLauncher, job: TrainingJob) -> tuple[dict[str, Any], Path]:
    output = launcher.run(job)
    (file,) = output.rglob("*.safetensors")
    return load_file(file), output


def log_of(home: Settings, job: TrainingJob) -> str:
    return (home.logs_dir / f"training-{job.name}.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("precision", "changes"),
    [
        pytest.param("bf16", {}, id="bf16, lora"),
    ],
)
def test_what_is_read_in_shares_trains_to_the_weights_of_what_is_read_whole_bit_for_bit(
    home: Settings,
    make_job: Callable[..., TrainingJob],
    tiny_model: Path,
    tmp_path: Path,
    precision: str,
    changes: dict[str, Any],
) -> None:
    launch = zero3_in(precision, tmp_path)
    launcher = LocalLauncher(home)
    shared = make_job("shares", launch=launch, **SHORT, **changes)
    whole = make_job("whole", launch=launch, **SHORT, **changes)
    base = told_twice(tiny_model, tmp_path / "twice")
    write_job(replace(read_job(whole.folder / "job.json"), base_folder=base))

    found, output = trained(launcher, shared)
    expected, _ = trained(launcher, whole)

    assert IN_SHARES in log_of(home, shared)
    assert WHOLE not in log_of(home, shared)
    assert f"{WHOLE}: its files have lm_head.weight, which is tied" in log_of(home, whole)
    result = read_result(output / "result.json")
    assert result.effective["zero_stage"] == 3
    assert result.history[-1]["loss"] < result.history[0]["loss"] - 0.1
    assert found.keys() <= expected.keys()
    for name, value in found.items():
        assert value.dtype == expected[name].dtype, name
        assert (value == expected[name]).all(), name


def flipped(tiny_model: Path, folder: Path, name: str) -> Path:
    """The same model with one bit of one weight turned over."""
    shutil.copytree(tiny_model, folder)
    (file,) = folder.glob("*.safetensors")
    header = int.from_bytes(file.read_bytes()[:8], "little")
    stored = json.loads(file.read_bytes()[8 : 8 + header])[name]
    content = bytearray(file.read_bytes())
    content[8 + header + stored["data_offsets"][1] - 1] ^= 1
    file.write_bytes(content)
    return folder


def test_a_flipped_bit_in_a_file_stops_both_ranks_and_names_the_weight(
    home: Settings, make_job: Callable[..., TrainingJob], tiny_model: Path, tmp_path: Path
) -> None:
    name = "model.layers.1.mlp.down_proj.weight"
    job = make_job("flipped", launch="cpu-zero3", **SHORT)
    base = flipped(tiny_model, tmp_path / "flipped", name)
    write_job(replace(read_job(job.folder / "job.json"), base_folder=base))
    texts: list[str] = []
    started = time.monotonic()

    with pytest.raises(TwinError) as caught:
        LocalLauncher(home).run(job, on_message=lambda message: texts.append(str(message)))

    assert caught.value.found == f"{name} (model.safetensors holds other bytes than were prepared)"
    assert not any("trying again" in text or "progress" in text for text in texts)
    assert not ranks_of(job)
    # both came to this end by themselves: no collective ran into its time limit
    assert log_of(home, job).count(caught.value.found) == 2
    assert time.monotonic() - started < 300
