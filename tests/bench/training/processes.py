"""Run the measured processes: training jobs started by accelerate's or torch's own launcher.

Scope: commands, environment, CPU and wall time of a process with its children, and progress on
stderr. Out of scope: the training's inputs (`inputs.py`), the comparison (`speed.py`).
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.bench.rows import MeasurementError
from tests.bench.training.inputs import ROOT, TrainingInputs
from twin_assets.checkpoints.job import Job, write_job, write_rows
from twin_assets.checkpoints.recipe import Recipe
from twin_assets.training.fine_tuning import build_training_job
from twin_resources.models.training_launcher import can_compute_in_bf16
from twin_resources.processes.process_identity import end_processes

# Our launch configurations set this for our ranks; tuned peers use it too.
MALLOC_TUNABLES = "glibc.malloc.mmap_threshold=4294967295:glibc.malloc.trim_threshold=8589934592"
MAX_RUN_S = 1800.0  # for one process; a slower peer is stopped
ERROR_LINE = re.compile(r"(\[rank\d+\]:)?\s*[\w.]*(Error|Exit)\b.*:")
ONE_NODE = ["--nnodes", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]


@dataclass(frozen=True)
class Cost:
    """The seconds that a process and all its children take from start to end."""

    wall_s: float
    cpu_s: float


def run_timed(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    log: Path,
    name: str,
    timeout_s: float = MAX_RUN_S,
    report_every_s: float = 15.0,
) -> Cost:
    """Run a command to its end, with progress on stderr.

    Args:
        name: the name of the command in the progress lines.

    Raises:
        MeasurementError: the command failed, or did not end within `timeout_s`; its log is kept.
    """
    base_environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    before, started = _children_cpu_s(), time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            list(command),
            env=base_environment | dict(environment or {}),
            cwd=ROOT,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            while (code := _wait(process, report_every_s)) is None:
                elapsed_s = time.monotonic() - started
                sys.stderr.write(f"  {name}: {elapsed_s:.0f} s, {_last_line(log)[:90]}\n")
                if elapsed_s > timeout_s:
                    raise MeasurementError(f"{name}: did not end within {timeout_s:.0f} s")
        finally:
            if process.poll() is None:  # timed out or interrupted
                parent = psutil.Process(process.pid)
                end_processes([parent, *parent.children(recursive=True)])
            process.wait()
    if code:
        raise MeasurementError(f"{name}: exit code {code}, {_error_line(log)}")
    return Cost(wall_s=time.monotonic() - started, cpu_s=_children_cpu_s() - before)


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None


def _error_line(log: Path) -> str:
    """Return the first error line of a rank, or else the last line that is not blank."""
    errors = [line for line in _read_lines(log) if ERROR_LINE.match(line)]
    return (errors[0] if errors else _last_line(log))[:200]


def _last_line(log: Path) -> str:
    return next(reversed(_read_lines(log)), "no output yet")


def _read_lines(log: Path) -> list[str]:
    text = log.read_text("utf-8", "replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def thread_variables(ranks: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // ranks))}


def write_bench_job(folder: Path, inputs: TrainingInputs, recipe: Recipe, *, ranks: int) -> Job:
    """Write a job's folder and return the job."""
    job = Job(folder, "bench", inputs.base, ranks, recipe)
    write_job(job)
    write_rows(job.samples_path, inputs.train)
    return job


def bare_command(job: Job) -> tuple[list[str], dict[str, str]]:
    """Return the command and environment for our training script without our launcher."""
    script = ["-m", "twin_assets.training.train", "--job", str(job.path)]
    precision = job.effective_launch.mixed_precision
    use_bf16 = precision == "bf16" or (precision == "auto" and can_compute_in_bf16("cpu"))
    environment = {
        **thread_variables(job.ranks),
        **job.effective_launch.environment,
        "DS_ACCELERATOR": "cpu",
        "ACCELERATE_MIXED_PRECISION": "bf16" if use_bf16 else "no",
    }
    if not job.effective_launch.deepspeed:
        environment["ACCELERATE_USE_CPU"] = "true"
        processes = ["--nproc-per-node", str(job.ranks)]
        # torchrun, because accelerate's launcher starts only one process on a CPU
        torchrun = [sys.executable, "-m", "torch.distributed.run", *ONE_NODE, *processes, *script]
        return torchrun, environment
    deepspeed: dict[str, Any] = dict(build_training_job(job, name="bare").deepspeed)
    config = job.folder / "deepspeed.json"
    config.write_text(json.dumps(deepspeed | {"bf16": {"enabled": use_bf16}}), encoding="utf-8")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--use_deepspeed"]
    command += ["--deepspeed_config_file", str(config), "--num_processes", str(job.ranks)]
    command += ["--num_machines", "1", "--mixed_precision", "bf16" if use_bf16 else "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", "0"]
    return [*command, *script], environment | {"ACCELERATE_USE_CPU": "false"}


def peer_command(job: Job, kind: str) -> tuple[list[str], dict[str, str]]:
    script = ["-m", "tests.bench.training.peer", "--kind", kind, "--folder", str(job.folder)]
    environment = thread_variables(job.ranks)
    if kind != "trl-defaults":
        environment["GLIBC_TUNABLES"] = MALLOC_TUNABLES
    processes = ["--nproc-per-node", str(job.ranks)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *ONE_NODE, *processes, *script]
    return torchrun, environment
