"""Check a new GPU: run the GPU tests, then compare a shipped recipe's speed and memory with TRL.

    python -m tests.gpu --first [--device cpu] [--json FILE]

Scope: running both and printing one table. Out of scope: the tests, and TRL's training
(`tests/bench/training/peer.py`). The model has random weights, so nothing is downloaded. The share
of the matrix product's rate is the training's rate of operations, divided by the rate of a large
matrix product on the same device. A training takes four operations per weight and token, because
frozen weights have no gradient.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tests.bench.rows import MeasurementError, Row, bounded_row, missing_row, print_results
from tests.bench.training.processes import peer_command, run_timed
from tests.gpu.conftest import LAUNCHES
from tests.gpu.random_base import make_base, sample_rows
from twin_assets.checkpoints.job import Job, read_result, write_job, write_rows
from twin_assets.checkpoints.recipe import UNMODIFIED_SAMPLES, load_recipe
from twin_assets.training.fine_tuning import build_training_job
from twin_resources.models.training_launcher import LocalLauncher
from twin_resources.settings import Settings

RECIPES = {"cuda": "1b-gpu", "cpu": "smollm2-135m-cpu"}
MODEL_SIZES = {"cuda": (2048, 16), "cpu": (128, 4)}  # width, number of layers
SAMPLE_COUNTS = {"cuda": 512, "cpu": 64}
PEER = "trl-tuned"


class OutcomeCounter:
    """Pytest plugin that counts outcomes by test file."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            file = report.nodeid.partition("::")[0].rpartition("/")[2]
            self.counts.setdefault(file, Counter())[report.outcome] += 1


def run_tests(device: str) -> list[Row]:
    """Run the GPU tests; return a row per file, which holds if tests passed and none failed."""
    outcomes = OutcomeCounter()
    folder = str(Path(__file__).parent)
    options = ["--device", device, "-q", "-p", "no:cacheprovider"]
    code = pytest.main([folder, *options], plugins=[outcomes])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"the GPU tests could not be run: {code!r}")
    return [
        Row(
            f"{file}: failed",
            count["failed"],
            "",
            0.0,
            not count["failed"] and count["passed"] > 0,
            dict(count),
        )
        for file, count in outcomes.counts.items()
    ]


def measure_training(device: str, folder: Path) -> list[Row]:
    """Train one pass with the shipped recipe and with TRL if it is installed; return the rows."""
    width, layers = MODEL_SIZES[device]
    base = make_base(folder / "base", width=width, layers=layers)
    recipe = load_recipe(RECIPES[device]).model_copy(
        update=UNMODIFIED_SAMPLES
        | {"token_budget": 10**9, "max_epochs": 1, "launch": LAUNCHES[device]["plain"]}
    )
    home = Settings(home=folder / "home")
    job = Job(home.work_dir / "speed", "random", base, 1, recipe)
    write_job(job)
    write_rows(job.samples_path, sample_rows(SAMPLE_COUNTS[device]))
    result = read_result(
        LocalLauncher(home).run(build_training_job(job, name="speed")) / "result.json"
    )
    weight_count = sum(path.stat().st_size for path in base.glob("*.safetensors")) / 4  # float32
    share = result.tokens_per_second * 4 * weight_count / measure_matrix_rate(device)
    label = f"{recipe.name}, {weight_count / 1e6:,.0f} M weights, {device}"
    rows = [
        bounded_row(f"tokens/s, {label}", result.tokens_per_second, "1/s"),
        bounded_row("share of the matrix product's rate", 100 * share, "%"),
        bounded_row("peak memory", float(result.gpu_peak_mb or result.rss_mb), "MB"),
    ]
    # The CPU run's tiny model spends most of each step in the loop's overhead.
    goal = 1.0 if device == "cuda" else None
    try:
        peer = train_peer(job, device)
    except MeasurementError as error:
        return [*rows, missing_row("times TRL tuned", "×", str(error), goal=goal)]
    peer_rate = peer["tokens"] / peer["seconds"]
    peers = {"TRL tuned": peer_rate, "its peak MB": peer.get("gpu_peak_mb", 0.0)}
    speedup = result.tokens_per_second / peer_rate
    return [*rows, bounded_row("times TRL tuned", speedup, "×", at_least=goal, peers=peers)]


def train_peer(job: Job, device: str) -> dict[str, float]:
    """Train the same samples with TRL.

    Raises:
        MeasurementError: TRL is not installed, or its training failed.
    """
    if find_spec("trl") is None:
        raise MeasurementError("trl is not installed")
    command, environment = peer_command(job, PEER)
    if device == "cuda":
        environment["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    run_timed(command, environment=environment, log=job.folder / "peer.log", name=PEER)
    return json.loads((job.folder / "peer" / "figures.json").read_text(encoding="utf-8"))


def measure_matrix_rate(device: str, *, size: int = 4096, rounds: int = 5) -> float:
    """Return the operations per second when multiplying two bf16 matrices."""
    matrix = torch.randn(size, size, device=device).to(torch.bfloat16)
    product = matrix @ matrix
    started = time.perf_counter()
    for _ in range(rounds):
        product = matrix @ product
    product.sum().item()  # waits for the device
    return rounds * 2 * size**3 / (time.perf_counter() - started)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--first", action="store_true", required=True)
    parser.add_argument("--device", choices=sorted(LAUNCHES), default="cuda")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU; `--device cpu` runs the same on the CPU")
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    sys.stderr.write(f"{name}, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as folder:
        results = [*run_tests(options.device), *measure_training(options.device, Path(folder))]
    return print_results(results, options.json)


if __name__ == "__main__":
    sys.exit(main())
