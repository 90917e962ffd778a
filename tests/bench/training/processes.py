"""Starting what is measured: a job by the bare launcher of accelerate or torch, or through ours.

Belongs here: commands, environment, CPU and wall time of a process with its children. Does not
belong here: what is trained (`material.py`), the comparison (`speed.py`, `overhead.py`).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tests.bench.training.material import ROOT, Material
from twin_assets.training.fine_tuning import launched
from twin_assets.training.job import Job, write_job
from twin_assets.training.recipe import Recipe
from twin_resources.training_launcher import computes_in_bf16

# what the launch configurations set for our ranks; tuned peers get it too
MALLOC = "glibc.malloc.mmap_threshold=4294967295:glibc.malloc.trim_threshold=8589934592"
ALONE = ["--nnodes", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]


@dataclass(frozen=True)
class Cost:
    """Of one process and all its children, start to end."""

    wall_s: float
    cpu_s: float


def timed(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, log: Path
) -> Cost:
    """Run a command to its end.

    Raises:
        SystemExit: it failed; with the end of its log.
    """
    values = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    before, started = _children(), time.monotonic()
    with log.open("wb") as stream:
        done = subprocess.run(
            list(command),
            env=values | dict(environment or {}),
            cwd=ROOT,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{log.read_text('utf-8', 'replace')[-4000:]}")
    return Cost(wall_s=time.monotonic() - started, cpu_s=_children() - before)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def threads(ranks: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // ranks))}


def write(folder: Path, material: Material, recipe: Recipe, *, ranks: int) -> Job:
    """A job's folder, ready to be started."""
    job = Job(folder, "bench", material.base, ranks, recipe)
    write_job(job)
    pl.DataFrame(material.train).write_parquet(job.samples)
    return job


def bare_command(job: Job) -> tuple[list[str], dict[str, str]]:
    """What a user types who starts our script with no launcher of ours, and its environment."""
    script = ["-m", "twin_assets.training.train", "--job", str(job.path)]
    precision = job.launched_by.mixed_precision
    bf16 = precision == "bf16" or (precision == "auto" and computes_in_bf16("cpu"))
    environment = {
        **threads(job.ranks),
        **job.launched_by.environment,
        "DS_ACCELERATOR": "cpu",
        "ACCELERATE_MIXED_PRECISION": "bf16" if bf16 else "no",
    }
    if not job.launched_by.deepspeed:
        environment["ACCELERATE_USE_CPU"] = "true"
        count = ["--nproc-per-node", str(job.ranks)]
        # accelerate's own launcher starts one process on a CPU
        torchrun = [sys.executable, "-m", "torch.distributed.run", *ALONE, *count, *script]
        return torchrun, environment
    values: dict[str, Any] = dict(launched(job, name="bare").deepspeed)
    config = job.folder / "deepspeed.json"
    config.write_text(json.dumps(values | {"bf16": {"enabled": bf16}}), encoding="utf-8")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--use_deepspeed"]
    command += ["--deepspeed_config_file", str(config), "--num_processes", str(job.ranks)]
    command += ["--num_machines", "1", "--mixed_precision", "bf16" if bf16 else "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", "0"]
    return [*command, *script], environment | {"ACCELERATE_USE_CPU": "false"}


def peer_command(job: Job, kind: str) -> tuple[list[str], dict[str, str]]:
    script = ["-m", "tests.bench.training.peer", "--kind", kind, "--folder", str(job.folder)]
    environment = threads(job.ranks)
    if kind != "trl-defaults":
        environment["GLIBC_TUNABLES"] = MALLOC
    if job.ranks == 1:
        return [sys.executable, *script], environment
    count = ["--nproc-per-node", str(job.ranks)]
    return [sys.executable, "-m", "torch.distributed.run", *ALONE, *count, *script], environment
