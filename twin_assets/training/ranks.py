"""Coordinate the processes of one training run: rendezvous, reporting, stopping and cleaning up.

Scope: the duties of a rank other than training. Out of scope: the loop (`train.py`), starting and
monitoring processes (`training_launcher/`).

If one rank left a step because of its own error, the other ranks would wait in a collective
forever. Each rank's errors are therefore first summed over all ranks (`raise_non_finite_error`).
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import psutil

from twin_assets.checkpoints.batches import micro_batches
from twin_assets.checkpoints.job import Job, write_json
from twin_assets.checkpoints.recipe import Recipe
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import (
    ATTEMPT_ID_VARIABLE,
    OWNER_VARIABLE,
    RENDEZVOUS_VARIABLE,
    is_owner_alive,
)
from twin_resources.processes.process_identity import end_processes

if TYPE_CHECKING:
    from accelerate import Accelerator

Report = Callable[[str], None]
MAX_NAMED_SAMPLES = 8  # maximum number of samples named in a message; the others are only counted


class AllRanksStopError(TwinError):
    """Raised on every rank at the same point, so that no rank waits for one that has stopped."""


UNUSED_PACKAGES = ("mlflow", "scipy")
"""Packages that DeepSpeed's autotuner and transformers' detection losses import if installed.

A rank never uses them. Together they take 1.7 of the 5.7 CPU s of a rank's imports.
"""


def block_unused_imports(*, with_deepspeed: bool = True) -> None:
    """Make a rank's libraries treat `UNUSED_PACKAGES` as missing; call it before importing them.

    Args:
        with_deepspeed: false if the launch configuration does not use DeepSpeed. accelerate
            imports DeepSpeed whenever it is installed, which costs another 1.7 CPU s.
    """
    for name in UNUSED_PACKAGES if with_deepspeed else (*UNUSED_PACKAGES, "deepspeed"):
        if name not in sys.modules:
            # importlib documents None as the value that blocks an import
            sys.modules[name] = None  # pyright: ignore[reportArgumentType]


def disable_unused_modules(*, with_deepspeed: bool) -> None:
    """Disable modules that a CPU rank does not need, before it imports transformers and accelerate.

    Args:
        with_deepspeed: as for `block_unused_imports`.
    """
    block_unused_imports(with_deepspeed=with_deepspeed)
    if with_deepspeed:
        import deepspeed.ops

        # DeepSpeed's shared-memory collectives compile for 22 s at first use, need gcc and leave
        # segments behind when a rank is killed. An adapter's gradients are small, so gloo suffices.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def join_process_group(rank: int) -> None:
    """Join the other ranks through the launcher's file; without a file, accelerate joins them."""
    import torch

    path = os.environ.get(RENDEZVOUS_VARIABLE)
    if path and "WORLD_SIZE" in os.environ:
        torch.distributed.init_process_group(
            "nccl" if torch.cuda.is_available() else "gloo",
            init_method=f"file://{path}",
            rank=rank,
            world_size=int(os.environ["WORLD_SIZE"]),
        )


def require_gpus(job: Job) -> None:
    """Require a GPU for each rank if the launch configuration uses GPUs.

    Raises:
        TwinError: there are too few GPUs. Otherwise accelerate would train on the CPU, or the
            second rank would crash after loading a model that no CPU can train.
    """
    import torch

    required_gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    gpu_count = torch.cuda.device_count()
    if job.effective_launch.device == "cuda" and gpu_count < required_gpus:
        raise TwinError(
            f"train with recipe {job.recipe.name} on {required_gpus} ranks, one GPU each",
            found=f"{gpu_count} GPUs",
            next_step="set TWIN_TRAIN_RANKS to the number of GPUs; without a GPU, choose a recipe "
            "whose launch configuration is for the CPU",
        )


def exit_if_orphaned() -> None:
    """End this rank if the process that launched the training no longer runs."""
    owner = os.environ.get(OWNER_VARIABLE, "")
    if owner and not is_owner_alive(owner):
        raise SystemExit(f"the launcher ({owner}) is gone; stopping")


def end_orphaned_ranks(job: Job) -> int:
    """End local ranks of this job's earlier attempts whose launcher is gone; return their number.

    A rank that hangs, or waits for a hanging rank, never checks its launcher. It would keep its
    memory and could still write into the folder of this attempt.
    """
    orphans: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            words, variables = process.cmdline(), process.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue  # the process has ended, or belongs to another user
        owner, attempt_id = variables.get(OWNER_VARIABLE), variables.get(ATTEMPT_ID_VARIABLE)
        if not owner or not attempt_id or attempt_id == os.environ.get(ATTEMPT_ID_VARIABLE):
            continue
        jobs = {Path(word).resolve() for word in words if word.endswith(job.path.name)}
        if job.path in jobs and not is_owner_alive(owner):
            orphans.append(process)
    return end_processes(orphans)


@contextmanager
def open_reporter(*, is_main: bool) -> Iterator[Report]:
    """Yield a report function; on rank 0 it writes to stdout and to any listening Dagster run."""
    if not is_main:
        yield lambda _: None
        return

    def report(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    if "DAGSTER_PIPES_CONTEXT" not in os.environ:
        yield report
        return
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:

        def report_to_both(line: str) -> None:
            report(line)
            pipes.log.info(line)

        yield report_to_both


def rss_mb(accelerator: Accelerator) -> int:
    """Return the total resident memory of all ranks, in MB; every rank calls it."""
    import torch

    own_mb = torch.tensor(psutil.Process().memory_info().rss / 1e6, device=accelerator.device)
    total_mb: Any = accelerator.reduce(own_mb, reduction="sum")
    return round(total_mb.item())


def gpu_peak_mb(accelerator: Accelerator) -> int | None:
    """Return the highest peak of tensor memory on any rank's GPU, in MB, or None without GPUs.

    Every rank calls it.
    """
    import torch

    if accelerator.device.type != "cuda":
        return None
    own_peak = torch.tensor([torch.cuda.max_memory_allocated(accelerator.device)], device="cuda")
    all_peaks: Any = accelerator.gather(own_peak)
    return round(all_peaks.max().item() / 1e6)


def select_micro_batches(
    sample_indices: Sequence[int], recipe: Recipe, accelerator: Accelerator
) -> tuple[tuple[int, ...], ...]:
    """Return the micro-batches of this rank in one step."""
    rank, ranks = accelerator.process_index, accelerator.num_processes
    size = recipe.micro_batch_size
    return micro_batches(sample_indices, rank=rank, ranks=ranks, micro_batch_size=size)


def set_accumulation_steps(accelerator: Accelerator, count: int) -> int:
    """Make the next `count` micro-batches one step and return the divisor for each loss.

    Under DeepSpeed, the divisor is the configured number of accumulation steps. DeepSpeed receives
    a flag with each micro-batch that marks the last one.
    """
    accelerator.gradient_accumulation_steps = count
    accelerator.step = 0
    wrapper: Any = getattr(accelerator, "deepspeed_engine_wrapped", None)
    return count if wrapper is None else int(wrapper.engine.gradient_accumulation_steps())


def is_valid_norm(value: float) -> bool:
    """Return whether a gradient norm is valid; some DeepSpeed stages use −1 for an invalid one."""
    return math.isfinite(value) and value >= 0


def raise_non_finite_error(
    *,
    step: int,
    non_finite_ids: Sequence[str],
    step_sample_ids: Sequence[str],
) -> NoReturn:
    """Stop all ranks at a step in which any rank found a value that is not a number.

    Every rank calls it when any rank has reported an error.

    Args:
        step: step number, from 1.
        non_finite_ids: ids of this rank's samples whose micro-batch had a loss that is not a
            number.
        step_sample_ids: ids of all samples of the step.

    Raises:
        AllRanksStopError: always.
    """
    from accelerate.utils import gather_object

    failed_ids: list[str] = sorted(gather_object(list(non_finite_ids)))
    action = f"take training step {step}"
    if failed_ids:
        raise AllRanksStopError(
            action,
            found=f"a loss of NaN or inf for {_format_ids(failed_ids)}",
            next_step="check these samples, or lower learning_rate in the recipe",
        )
    # DeepSpeed uses one value for both, −1 or inf depending on version and stage
    raise AllRanksStopError(
        action,
        found=f"a gradient norm of NaN or inf for {_format_ids(sorted(step_sample_ids))}",
        next_step="lower learning_rate in the recipe, or check these samples",
    )


def _format_ids(ids: Sequence[str]) -> str:
    excess = len(ids) - MAX_NAMED_SAMPLES
    return f"{', '.join(ids[:MAX_NAMED_SAMPLES])}{f' and {excess} more' if excess > 0 else ''}"


def write_failure(job: Job, error: TwinError, *, rank: int) -> None:
    """Record the failure for the launcher, which then does not retry (`Job.failure_path`).

    The launcher ends the other ranks as soon as one rank has ended. If all ranks stop together,
    rank 0 therefore writes while the others wait. A rank that fails alone writes its own reason.
    """
    import torch

    all_ranks_stop = isinstance(error, AllRanksStopError)
    if rank == 0 or not all_ranks_stop:
        write_json(
            job.failure_path,
            {"tried": error.tried, "found": error.found, "next_step": error.next_step},
        )
    if all_ranks_stop and torch.distributed.is_initialized():
        torch.distributed.barrier()
