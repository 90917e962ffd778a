"""Test loading a base model in shards on two real ranks (ZeRO-3)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.live.training import reading_rank
from tests.live.training.machines import find_ranks
from tests.live.training.test_zero_stages import SHORT
from twin_assets.checkpoints.job import read_job, read_result, write_job
from twin_assets.checkpoints.recipe import load_launch
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import RENDEZVOUS_VARIABLE, LocalLauncher, TrainingJob
from twin_resources.settings import Settings
from twin_resources.storage.weights.weight_hashes import weight_hashes

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]

FULL = {"lora": None, "learning_rate": 1e-3}
SHARDED, UNSHARDED = "loaded the base model in shards", "every rank reads the whole base model"


def write_zero3_launch(precision: str, folder: Path) -> str:
    import yaml

    path = folder / f"zero3-{precision}.yaml"
    launch = load_launch("cpu-zero3").model_dump() | {"mixed_precision": precision}
    path.write_text(yaml.safe_dump(launch), encoding="utf-8")
    return str(path)


def write_with_duplicate(tiny_model: Path, folder: Path) -> Path:
    """Write the model with its tied weight under both names, which prevents sharded loading."""
    shutil.copytree(tiny_model, folder)
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    duplicate = {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}
    save_file(weights | duplicate, file, metadata={"format": "pt"})
    return folder


def train(launcher: LocalLauncher, job: TrainingJob) -> tuple[dict[str, Any], Path]:
    output = launcher.run(job)
    (file,) = output.rglob("*.safetensors")
    return load_file(file), output


def read_log(home: Settings, job: TrainingJob) -> str:
    return (home.logs_dir / f"training-{job.name}.log").read_text(encoding="utf-8")


@pytest.mark.drawn(2, of="ways to the same weights")
@pytest.mark.parametrize(
    ("precision", "changes"),
    [
        pytest.param("bf16", {}, id="bf16, lora"),
        pytest.param("fp32", FULL, id="fp32, full", marks=pytest.mark.long),
        pytest.param("bf16", FULL, id="bf16, full", marks=pytest.mark.long),
        pytest.param("fp32", {}, id="fp32, lora", marks=pytest.mark.long),
    ],
)
@pytest.mark.usefixtures("quick_starts")
def test_sharded_loading_gives_the_same_weights(
    home: Settings,
    make_job: Callable[..., TrainingJob],
    tiny_model: Path,
    tmp_path: Path,
    precision: str,
    changes: dict[str, Any],
) -> None:
    launch = write_zero3_launch(precision, tmp_path)
    launcher = LocalLauncher(home)
    sharded_job = make_job("shards", launch=launch, **SHORT, **changes)
    unsharded_job = make_job("whole", launch=launch, **SHORT, **changes)
    base = write_with_duplicate(tiny_model, tmp_path / "twice")
    write_job(replace(read_job(unsharded_job.folder / "job.json"), base_folder=base))

    weights, output = train(launcher, sharded_job)
    expected, _ = train(launcher, unsharded_job)

    assert SHARDED in read_log(home, sharded_job)
    assert UNSHARDED not in read_log(home, sharded_job)
    assert f"{UNSHARDED}: its files have lm_head.weight, which is tied" in read_log(
        home, unsharded_job
    )
    result = read_result(output / "result.json")
    assert result.effective["zero_stage"] == 3
    assert result.history[-1]["loss"] < result.history[0]["loss"] - 0.1
    assert weights.keys() <= expected.keys()
    for name, value in weights.items():
        assert value.dtype == expected[name].dtype, name
        assert (value == expected[name]).all(), name


def write_with_flipped_bit(tiny_model: Path, folder: Path, name: str) -> Path:
    """Write the model with one flipped bit in one weight."""
    shutil.copytree(tiny_model, folder)
    (file,) = folder.glob("*.safetensors")
    header = int.from_bytes(file.read_bytes()[:8], "little")
    entry = json.loads(file.read_bytes()[8 : 8 + header])[name]
    content = bytearray(file.read_bytes())
    content[8 + header + entry["data_offsets"][1] - 1] ^= 1
    file.write_bytes(content)
    return folder


def test_a_flipped_bit_stops_both_ranks(
    home: Settings, make_job: Callable[..., TrainingJob], tiny_model: Path, tmp_path: Path
) -> None:
    name = "model.layers.1.mlp.down_proj.weight"
    job = make_job("flipped", launch="cpu-zero3", **SHORT)
    base = write_with_flipped_bit(tiny_model, tmp_path / "flipped", name)
    write_job(replace(read_job(job.folder / "job.json"), base_folder=base))
    job = replace(job, silence_s=240.0)  # a waiting collective would be silent for longer
    texts: list[str] = []

    with pytest.raises(TwinError) as error:
        LocalLauncher(home).run(job, on_message=lambda message: texts.append(str(message)))

    assert error.value.found == f"{name} (model.safetensors has changed since it was prepared)"
    assert not any("trying again" in text or "progress" in text for text in texts)
    assert not find_ranks(job)
    # both ranks ended by themselves
    assert read_log(home, job).count(error.value.found) == 2


@pytest.mark.drawn(2, of="ways to the same weights")
def test_a_rank_never_has_the_whole_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compare the peak memory of two ranks that read 200 MB of random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape: dict[str, Any] = {"hidden_size": 1024, "intermediate_size": 2816, "vocab_size": 4096}
    folders = [tmp_path / "small", tmp_path / "large"]
    for folder, layers in zip(folders, (1, 7), strict=True):
        torch.manual_seed(3)
        model: Any = LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=layers))
        model.to(torch.bfloat16).save_pretrained(folder)
        hashes = json.dumps(weight_hashes(folder))
        (folder / "weight_hashes.json").write_text(hashes, encoding="utf-8")
    del model
    (file,) = folders[-1].glob("*.safetensors")
    with safe_open(file, framework="pt") as tensors:
        largest = max(tensors.get_tensor(name).nbytes for name in tensors.keys()) / 1e6  # noqa: SIM118
    model_mb = file.stat().st_size / 1e6

    peaks = measure_peaks(folders, tmp_path)

    with capsys.disabled():  # this figure is in tests/bench/RESULTS.md
        sizes = f"whole model {model_mb:.0f} MB, largest weight {largest:.0f} MB"
        sys.stdout.write(f"\n{sizes}; peaks of the ranks {peaks}\n")
    assert model_mb > 190
    assert all(peak["peak_mb"] < model_mb for peak in peaks), (peaks, model_mb)


def measure_peaks(folders: list[Path], folder: Path) -> list[dict[str, float]]:
    config = folder / "deepspeed.json"
    settings = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": reading_rank.ZERO3}
    config.write_text(json.dumps(settings), encoding="utf-8")
    environment = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
        RENDEZVOUS_VARIABLE: str(folder / "meeting"),
        "ACCELERATE_USE_CPU": "false",
        "ACCELERATE_USE_DEEPSPEED": "true",
        "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(config),
        "ACCELERATE_MIXED_PRECISION": "bf16",
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",  # as in the launcher: a host's name may not resolve
    }
    outputs = [folder / f"rank-{rank}.json" for rank in range(2)]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", reading_rank.__name__, str(output), *map(str, folders)],
            env={**os.environ, **environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, output in enumerate(outputs)
    ]
    logs = [rank.communicate(timeout=1200)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n\n".join(logs)
    return [json.loads(output.read_text(encoding="utf-8")) for output in outputs]
