"""The processes of one training: meeting, speaking, agreeing on an end, ending without an owner.

Scope: what a rank does beside training. Out of scope: the loop (`train.py`),
starting processes and watching them (`training_launcher/`).

Nothing that one rank alone has seen may end a step there: the others would wait in a collective
for ever. So what a rank finds wrong is added up over the ranks first (`stop_at_no_number`).
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
    MARK_VARIABLE,
    OWNER_VARIABLE,
    RENDEZVOUS_VARIABLE,
    owner_is_alive,
)
from twin_resources.processes.process_identity import end_processes

if TYPE_CHECKING:
    from accelerate import Accelerator

Report = Callable[[str], None]
NAMED = 8  # samples that a message names; the rest is counted


class AllRanksStop(TwinError):
    """Raised on every rank in the same place: they may still wait for each other."""


UNUSED = ("mlflow", "scipy")
"""What a rank never uses and others import where it is installed: DeepSpeed's autotuner, and the
detection losses of transformers. 1.7 of the 5.7 CPU s that the imports of a rank take."""


def leave_out_unused(*, with_deepspeed: bool = True) -> None:
    """Let the libraries of a rank take `UNUSED` for not installed; before they are imported.

    Args:
        with_deepspeed: false where the launch configuration names none: accelerate imports it
            wherever it is installed, for 1.7 CPU s more.
    """
    for name in UNUSED if with_deepspeed else (*UNUSED, "deepspeed"):
        if name not in sys.modules:
            sys.modules[name] = None  # pyright: ignore[reportArgumentType]  # as importlib says


def choose_imports(*, with_deepspeed: bool) -> None:
    """What a rank on the CPU does without, before it imports transformers and accelerate's parts.

    Args:
        with_deepspeed: as of `leave_out_unused`.
    """
    leave_out_unused(with_deepspeed=with_deepspeed)
    if with_deepspeed:
        import deepspeed.ops

        # DeepSpeed's shared-memory collectives are compiled for 22 s at first use, need gcc,
        # and leave segments behind when a rank is killed. An adapter's gradients are small:
        # gloo does.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def meet(rank: int) -> None:
    """Join the other ranks through the launcher's file; without one accelerate has its own way."""
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
    """Each rank of this machine has a GPU of its own where the launch configuration asks for one.

    Raises:
        TwinError: there are fewer. accelerate would train on the processor, or die at the second
            rank's first GPU, after it has loaded a model that no processor can train.
    """
    import torch

    wanted = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    count = torch.cuda.device_count()
    if job.launched_by.device == "cuda" and count < wanted:
        raise TwinError(
            f"train by recipe {job.recipe.name}, {wanted} ranks here with a GPU each",
            found=f"{count} GPUs",
            next_step="set TWIN_TRAIN_RANKS to the number of GPUs (of all machines); without one, "
            "name a recipe whose launch configuration is for the CPU",
        )


def stop_without_owner() -> None:
    """End this rank when the process that launched the training is gone (killed, rebooted)."""
    owner = os.environ.get(OWNER_VARIABLE, "")
    if owner and not owner_is_alive(owner):
        raise SystemExit(f"the launcher ({owner}) is gone; stopping")


def end_forerunners(job: Job) -> int:
    """End what is left here of an attempt at this job whose launcher is gone; returns how many.

    A rank that hangs, or waits for one that does, never comes to look for its owner. It would keep
    its memory, and could still write into the folder that this attempt works in.
    """
    left: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            words, variables = process.cmdline(), process.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue  # ended meanwhile, or another user's
        owner, mark = variables.get(OWNER_VARIABLE), variables.get(MARK_VARIABLE)
        if not owner or not mark or mark == os.environ.get(MARK_VARIABLE):
            continue
        jobs = {Path(word).resolve() for word in words if word.endswith(job.path.name)}
        if job.path in jobs and not owner_is_alive(owner):
            left.append(process)
    return end_processes(left)


@contextmanager
def reporting(*, is_main: bool) -> Iterator[Report]:
    """Rank 0 speaks: on stdout, and into the Dagster run when one is listening."""
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

        def say_twice(line: str) -> None:
            report(line)
            pipes.log.info(line)

        yield say_twice


def rss_mb(accelerator: Accelerator) -> int:
    """Resident memory of all ranks together, in MB; every rank calls it."""
    import torch

    own = torch.tensor(psutil.Process().memory_info().rss / 1e6, device=accelerator.device)
    reduced: Any = accelerator.reduce(own, reduction="sum")
    return round(reduced.item())


def gpu_peak_mb(accelerator: Accelerator) -> int | None:
    """The most memory that a rank's tensors have taken on its GPU so far, in MB, of the rank with
    the most; None without GPUs. Every rank calls it."""
    import torch

    if accelerator.device.type != "cuda":
        return None
    own = torch.tensor([torch.cuda.max_memory_allocated(accelerator.device)], device="cuda")
    gathered: Any = accelerator.gather(own)
    return round(gathered.max().item() / 1e6)


def share_of(
    chosen: Sequence[int], recipe: Recipe, accelerator: Accelerator
) -> tuple[tuple[int, ...], ...]:
    """The micro-batches of this rank in one step."""
    rank, ranks = accelerator.process_index, accelerator.num_processes
    size = recipe.micro_batch_size
    return micro_batches(chosen, rank=rank, ranks=ranks, micro_batch_size=size)


def accumulate_over(accelerator: Accelerator, count: int) -> int:
    """Let the next `count` micro-batches make one step; returns what each loss is divided by.

    That is the configured number under DeepSpeed, which is told at each micro-batch whether it is
    the last.
    """
    accelerator.gradient_accumulation_steps = count
    accelerator.step = 0
    wrapped: Any = getattr(accelerator, "deepspeed_engine_wrapped", None)
    return count if wrapped is None else int(wrapped.engine.gradient_accumulation_steps())


def is_norm(value: float) -> bool:
    """Whether a gradient's norm is a number; some of DeepSpeed's stages write −1 for none."""
    return math.isfinite(value) and value >= 0


def stop_at_no_number(
    *,
    step: int,
    broken: Sequence[str],
    chosen: Sequence[str],
) -> NoReturn:
    """Stop all ranks at a step in which any of them found what is not a number.

    Every rank calls it, once something is known to be wrong on one of them.

    Args:
        step: counted from 1.
        broken: ids of this rank's samples whose micro-batch had a loss that is not a number.
        chosen: ids of all samples of the step.

    Raises:
        AllRanksStop: always.
    """
    from accelerate.utils import gather_object

    broken_names: list[str] = sorted(gather_object(list(broken)))
    tried = f"take training step {step}"
    if broken_names:
        raise AllRanksStop(
            tried,
            found=f"a loss that is not a number on {_named(broken_names)}",
            next_step="look at these samples, or lower learning_rate in the recipe",
        )
    # DeepSpeed has one value for both: −1 or inf, by its version and stage
    raise AllRanksStop(
        tried,
        found=f"a gradient norm of inf or nan, its samples: {_named(sorted(chosen))}",
        next_step="lower learning_rate in the recipe, or look at these samples",
    )


def _named(ids: Sequence[str]) -> str:
    rest = len(ids) - NAMED
    return f"{', '.join(ids[:NAMED])}{f' and {rest} more' if rest > 0 else ''}"


def write_failure(job: Job, error: TwinError, *, rank: int) -> None:
    """Leave the reason for the launcher, which then does not retry; see `Job.failure`.

    The launcher ends the other ranks when one has ended. So where all stop together rank 0 writes
    and the others wait for that; what one rank alone met, it writes itself.
    """
    import torch

    together = isinstance(error, AllRanksStop)
    if rank == 0 or not together:
        write_json(
            job.failure,
            {"tried": error.tried, "found": error.found, "next_step": error.next_step},
        )
    if together and torch.distributed.is_initialized():
        torch.distributed.barrier()
