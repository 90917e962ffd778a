"""Test the training state from which a killed training run resumes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from twin_assets.checkpoints.job import write_json
from twin_assets.training.training_state import (
    find_last_complete_checkpoint,
    read_generator_states,
    set_generator_states,
)


def write_checkpoint(folder: Path, step: int) -> Path:
    checkpoint = folder / f"step-{step:06d}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights.safetensors").write_bytes(b"weights")
    files = {"weights.safetensors": hashlib.sha256(b"weights").hexdigest()}
    (checkpoint / "state.json").write_text(json.dumps({"step": step, "files": files}))
    return checkpoint


@pytest.mark.parametrize("content", ["", '{"step": 6, "fil', "\0\0\0", None])
def test_a_checkpoint_with_an_incomplete_manifest_is_skipped(
    tmp_path: Path, content: str | None
) -> None:
    older = write_checkpoint(tmp_path, 3)
    newest = write_checkpoint(tmp_path, 6)
    assert find_last_complete_checkpoint(tmp_path) == (
        newest,
        json.loads((newest / "state.json").read_text()),
    )
    if content is None:
        (newest / "state.json").unlink()
    else:
        (newest / "state.json").write_text(content)
    checkpoint = find_last_complete_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint[0] == older


@pytest.mark.parametrize("change", ["changed", "missing", "more"])
def test_a_checkpoint_with_unexpected_files_is_skipped(tmp_path: Path, change: str) -> None:
    newest = write_checkpoint(tmp_path, 6)
    weights = newest / "weights.safetensors"
    if change == "missing":
        weights.unlink()
    else:
        (weights if change == "changed" else newest / "more.safetensors").write_bytes(b"zeros")
    assert find_last_complete_checkpoint(tmp_path) is None


def test_json_is_flushed_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    existed_at_sync: list[bool] = []
    monkeypatch.setattr("os.fsync", lambda _: existed_at_sync.append(path.exists()))
    write_json(path, {"step": 1})
    assert existed_at_sync == [False]
    assert json.loads(path.read_text()) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_random_generators_resume() -> None:
    device = torch.device("cpu")
    states = read_generator_states(device)
    numbers = torch.rand(5)
    assert set(states) == {"torch"}
    set_generator_states(states, device)
    assert torch.equal(torch.rand(5), numbers)
    # a checkpoint from a GPU has a state that the CPU ignores
    set_generator_states(states | {"cuda": torch.zeros(16, dtype=torch.uint8)}, device)
    assert torch.equal(torch.rand(5), numbers)


# Fused AdamW, the variant for GPUs, also runs on a CPU. Steps 3 and 4 are repeated after a resume.
FUSED_SCRIPT = """
import sys
from pathlib import Path
import torch
from accelerate import Accelerator
from twin_assets.training.training_state import find_last_complete_checkpoint, load_optimizer
from twin_assets.training.training_state import load_weights, save_state, unwrap_optimizer
accelerator, folder = Accelerator(cpu=True), Path(sys.argv[1])

def prepare():
    torch.manual_seed(1)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    return accelerator.prepare(model, optimizer)

def step(model, optimizer, number):
    accelerator.backward(model(torch.full((1, 3), float(number + 1))).sin().sum())
    optimizer.step()
    optimizer.zero_grad()

model, optimizer = prepare()
for number in range(4):
    step(model, optimizer, number)
    if number == 1:
        parameters = list(accelerator.unwrap_model(model).named_parameters())
        save_state(accelerator, parameters, optimizer, folder, {"step": 2})
expected = [value.detach().clone() for value in model.parameters()]
model, optimizer = prepare()
parameters = list(accelerator.unwrap_model(model).named_parameters())
checkpoint, _ = find_last_complete_checkpoint(folder)
load_weights(parameters, checkpoint)
load_optimizer(accelerator, parameters, optimizer, checkpoint, step=2)
assert unwrap_optimizer(optimizer).param_groups[0]["fused"]
for number in (2, 3):
    step(model, optimizer, number)
print([torch.equal(value, other) for value, other in zip(model.parameters(), expected)])
"""


@pytest.mark.long
def test_a_fused_optimizer_resumes_bit_for_bit(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", FUSED_SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[True, True]"
