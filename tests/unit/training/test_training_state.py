"""Test the checkpoint from which a killed training run resumes."""

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
    made = folder / f"step-{step:06d}"
    made.mkdir(parents=True)
    (made / "weights.safetensors").write_bytes(b"weights")
    files = {"weights.safetensors": hashlib.sha256(b"weights").hexdigest()}
    (made / "state.json").write_text(json.dumps({"step": step, "files": files}))
    return made


@pytest.mark.parametrize("left", ["", '{"step": 6, "fil', "\0\0\0", None])
def test_a_checkpoint_with_an_incomplete_manifest_is_skipped(
    tmp_path: Path, left: str | None
) -> None:
    before = write_checkpoint(tmp_path, 3)
    newest = write_checkpoint(tmp_path, 6)
    assert find_last_complete_checkpoint(tmp_path) == (
        newest,
        json.loads((newest / "state.json").read_text()),
    )
    if left is None:
        (newest / "state.json").unlink()
    else:
        (newest / "state.json").write_text(left)
    found = find_last_complete_checkpoint(tmp_path)
    assert found is not None
    assert found[0] == before


@pytest.mark.parametrize("what", ["changed", "missing", "more"])
def test_a_checkpoint_with_unexpected_files_is_skipped(tmp_path: Path, what: str) -> None:
    newest = write_checkpoint(tmp_path, 6)
    weights = newest / "weights.safetensors"
    if what == "missing":
        weights.unlink()
    else:
        (weights if what == "changed" else newest / "more.safetensors").write_bytes(b"zeros")
    assert find_last_complete_checkpoint(tmp_path) is None


def test_json_is_flushed_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    synced: list[bool] = []
    monkeypatch.setattr("os.fsync", lambda _: synced.append(path.exists()))
    write_json(path, {"step": 1})
    assert synced == [False]
    assert json.loads(path.read_text()) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_random_generators_resume() -> None:
    device = torch.device("cpu")
    states = read_generator_states(device)
    drawn = torch.rand(5)
    assert set(states) == {"torch"}
    set_generator_states(states, device)
    assert torch.equal(torch.rand(5), drawn)
    # a checkpoint that a GPU has written
    set_generator_states(states | {"cuda": torch.zeros(16, dtype=torch.uint8)}, device)
    assert torch.equal(torch.rand(5), drawn)


# AdamW of one kernel, as on a GPU; the processor has it too. Four steps, and two that go on.
FUSED = """
import sys
from pathlib import Path
import torch
from accelerate import Accelerator
from twin_assets.training.training_state import find_last_complete_checkpoint, load_optimizer
from twin_assets.training.training_state import load_weights, save_state, torch_optimizer
accelerator, folder = Accelerator(cpu=True), Path(sys.argv[1])

def begun():
    torch.manual_seed(1)
    model = torch.nn.Linear(3, 2)
    made = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    return accelerator.prepare(model, made)

def step(model, optimizer, number):
    accelerator.backward(model(torch.full((1, 3), float(number + 1))).sin().sum())
    optimizer.step()
    optimizer.zero_grad()

model, optimizer = begun()
for number in range(4):
    step(model, optimizer, number)
    if number == 1:
        named = list(accelerator.unwrap_model(model).named_parameters())
        save_state(accelerator, named, optimizer, folder, {"step": 2})
whole = [value.detach().clone() for value in model.parameters()]
model, optimizer = begun()
named = list(accelerator.unwrap_model(model).named_parameters())
checkpoint, _ = find_last_complete_checkpoint(folder)
load_weights(named, checkpoint)
load_optimizer(accelerator, named, optimizer, checkpoint, step=2)
assert torch_optimizer(optimizer).param_groups[0]["fused"]
for number in (2, 3):
    step(model, optimizer, number)
print([torch.equal(one, other) for one, other in zip(model.parameters(), whole)])
"""


def test_a_fused_optimizer_resumes_bit_for_bit(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FUSED, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[True, True]"
