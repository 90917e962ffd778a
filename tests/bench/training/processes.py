"""The processes that are measured: a job started by accelerate's or torch's own launcher.

Scope: commands, environment, CPU and wall time of a process with its children, and progress on
stderr. Out of scope: the training's inputs (`material.py`), the comparison (`speed.py`).
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

from tests.bench.rows import NotMeasured
from tests.bench.training.material import ROOT, Material
from twin_assets.checkpoints.job import Job, write_job, write_rows
from twin_assets.checkpoints.recipe import Recipe
from twin_assets.training.fine_tuning import build_training_job
from twin_resources.models.training_launcher import can_compute_in_bf16
from twin_resources.processes.process_identity import end_processes

# The launch configurations set this for our ranks; tuned peers get it too.
MALLOC = "glibc.malloc.mmap_threshold=4294967295:glibc.malloc.trim_threshold=8589934592"
MAX_S = 1800.0  # the time limit of one process; a slower peer is stopped
ERROR = re.compile(r"(\[rank\d+\]:)?\s*[\w.]*(Error|Exit)\b.*:")
ONE_NODE = ["--nnodes", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]


@dataclass(frozen=True)
class Cost:
    """The time that a process and all its children take, from start to end, in seconds."""

    wall_s: float
    cpu_s: float


def run_timed(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    log: Path,
    name: str,
    timeout_s: float = MAX_S,
    report_every_s: float = 15.0,
) -> Cost:
    """Run a command to its end, with progress on stderr.

    Args:
        name: the name of the command in the progress lines.

    Raises:
        NotMeasured: it failed, or did not end within `timeout_s`; its log stays.
    """
    values = os.environ | {
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
            env=values | dict(environment or {}),
            cwd=ROOT,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            while (code := _wait(process, report_every_s)) is None:
                elapsed_s = time.monotonic() - started
                sys.stderr.write(f"  {name}: {elapsed_s:.0f} s, {_last_line(log)[:90]}\n")
                if elapsed_s > timeout_s:
                    raise NotMeasured(f"{name}: did not end within {timeout_s:.0f} s")
        finally:
            if process.poll() is None:  # timed out or interrupted
                family = psutil.Process(process.pid)
                end_processes([family, *family.children(recursive=True)])
            process.wait()
    if code:
        raise NotMeasured(f"{name}: exit code {code}, {_reason_in(log)}")
    return Cost(wall_s=time.monotonic() - started, cpu_s=_children_cpu_s() - before)


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None


def _reason_in(log: Path) -> str:
    """Return the first error line of a rank, else the last line that is not blank."""
    errors = [line for line in _lines(log) if ERROR.match(line)]
    return (errors[0] if errors else _last_line(log))[:200]


def _last_line(log: Path) -> str:
    return next(reversed(_lines(log)), "no output yet")


def _lines(log: Path) -> list[str]:
    text = log.read_text("utf-8", "replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def thread_variables(ranks: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // ranks))}


def write_bench_job(folder: Path, material: Material, recipe: Recipe, *, ranks: int) -> Job:
    """Write a job's folder and return the job."""
    job = Job(folder, "bench", material.base, ranks, recipe)
    write_job(job)
    write_rows(job.samples_path, material.train)
    return job


def bare_command(job: Job) -> tuple[list[str], dict[str, str]]:
    """Return the command and environment of our training script without our launcher."""
    script = ["-m", "twin_assets.training.train", "--job", str(job.path)]
    precision = job.effective_launch.mixed_precision
    bf16 = precision == "bf16" or (precision == "auto" and can_compute_in_bf16("cpu"))
    environment = {
        **thread_variables(job.ranks),
        **job.effective_launch.environment,
        "DS_ACCELERATOR": "cpu",
        "ACCELERATE_MIXED_PRECISION": "bf16" if bf16 else "no",
    }
    if not job.effective_launch.deepspeed:
        environment["ACCELERATE_USE_CPU"] = "true"
        count = ["--nproc-per-node", str(job.ranks)]
        # torchrun, because accelerate's launcher starts only one process on a CPU
        torchrun = [sys.executable, "-m", "torch.distributed.run", *ONE_NODE, *count, *script]
        return torchrun, environment
    values: dict[str, Any] = dict(build_training_job(job, name="bare").deepspeed)
    config = job.folder / "deepspeed.json"
    config.write_text(json.dumps(values | {"bf16": {"enabled": bf16}}), encoding="utf-8")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--use_deepspeed"]
    command += ["--deepspeed_config_file", str(config), "--num_processes", str(job.ranks)]
    command += ["--num_machines", "1", "--mixed_precision", "bf16" if bf16 else "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", "0"]
    return [*command, *script], environment | {"ACCELERATE_USE_CPU": "false"}


def peer_command(job: Job, kind: str) -> tuple[list[str], dict[str, str]]:
    script = ["-m", "tests.bench.training.peer", "--kind", kind, "--folder", str(job.folder)]
    environment = thread_variables(job.ranks)
    if kind != "trl-defaults":
        environment["GLIBC_TUNABLES"] = MALLOC
    count = ["--nproc-per-node", str(job.ranks)]
    return [sys.executable, "-m", "torch.distributed.run", *ONE_NODE, *count, *script], environment
