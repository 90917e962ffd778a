"""Find the processes of a job's ranks, wait for a condition, and compare training runs.

Scope: functions that the tests of training share. Out of scope: tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from safetensors.numpy import load_file

from twin_assets.checkpoints.job import read_result
from twin_resources.models.training_launcher import TrainingJob


def read_weights(output: Path) -> dict[str, Any]:
    """Return the weights of the adapter or model that a training run has written."""
    (file,) = output.rglob("*.safetensors")
    return load_file(file)


def assert_same_training(actual: Path, expected: Path) -> None:
    """Check that two output folders have the same weights and losses, bit for bit."""
    weights, expected_weights = read_weights(actual), read_weights(expected)
    assert weights.keys() == expected_weights.keys()
    assert all((weights[name] == expected_weights[name]).all() for name in weights)
    # an untrained adapter has zeros in B
    assert any(abs(value).max() > 0 for name, value in weights.items() if "lora_A" not in name)
    histories = [read_result(folder / "result.json").history for folder in (actual, expected)]
    losses = [[row["loss"] for row in history] for history in histories]
    assert losses[0] == losses[1]


def find_ranks(job: TrainingJob) -> dict[int, psutil.Process]:
    """Return the processes of a job's ranks, by rank."""
    return find_ranks_in(job.folder)


def find_ranks_in(folder: Path) -> dict[int, psutil.Process]:
    """Return the processes of the ranks of the job in a folder, by rank."""
    ranks: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if str(folder / "job.json") in process.cmdline():
                rank = read_rank(process)
                if rank is not None:
                    ranks[rank] = process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return ranks


def read_rank(process: psutil.Process) -> int | None:
    """Return a process's rank from its environment or, if forked, its name; None for a launcher."""
    rank = process.environ().get("RANK") or process.name().partition("rank ")[2]
    return int(rank) if rank else None


def wait_for(condition: Callable[[], Any], *, limit_s: float = 500.0) -> Any:
    deadline = time.monotonic() + limit_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {limit_s} s"
        time.sleep(0.05)
    return result
