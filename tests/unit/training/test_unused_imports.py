"""Test that ranks do not import unused packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import importlib.util, sys
import {first}
from twin_assets.training.ranks import UNUSED_PACKAGES, block_unused_imports
block_unused_imports()
print(*(name for name in UNUSED_PACKAGES if name in sys.modules and sys.modules[name] is None))
print({first}.__name__)
try:
    import mlflow
except ModuleNotFoundError as error:
    print(error.name)
"""

# These steps of a rank would make accelerate and DeepSpeed's accessors import DeepSpeed.
RANK_SCRIPT = """
import sys
from twin_assets.training import train
from twin_assets.training.ranks import block_unused_imports
block_unused_imports(with_deepspeed=False)
import torch
from accelerate import Accelerator
from twin_assets.training import training_state
accelerator = Accelerator(cpu=True)
model = torch.nn.Linear(2, 1)
model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
accelerator.backward(model(torch.ones(1, 2)).sum())
optimizer.step()
unwrapped_model = accelerator.unwrap_model(model)
parameters = list(unwrapped_model.named_parameters())
folder = train.Path(sys.argv[1])
training_state.save_state(accelerator, parameters, optimizer, folder, {"step": 1})
checkpoint, _ = training_state.find_last_complete_checkpoint(folder)
training_state.set_master_weights(parameters, training_state.gather_master_weights(parameters))
training_state.load_optimizer(accelerator, parameters, optimizer, checkpoint, step=1)
print(sorted(name for name in sys.modules if name.startswith("deepspeed")))
print(sys.modules["deepspeed"])
"""


def run_imports(*, first: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(first=first)],
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.split()


def test_unused_packages_appear_as_missing() -> None:
    assert run_imports(first="json") == ["mlflow", "scipy", "json", "mlflow"]


def test_imported_packages_stay_imported() -> None:
    assert run_imports(first="scipy") == ["mlflow", "scipy", "mlflow"]


@pytest.mark.long
def test_a_rank_without_deepspeed_never_imports_it(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", RANK_SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["['deepspeed']", "None"]
