"""Run the ranks of one attempt at a training run: build their command, monitor and stop them.

Scope: the processes.
Out of scope: the lock and the retry (`local.py`), forking (`forked_ranks.py`).
Method: the launchers of accelerate and torch, https://docs.pytorch.org/docs/stable/elastic/run.html
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from twin_resources.models.training_launcher.end_reason import describe_kill
from twin_resources.models.training_launcher.training_job import TrainingJob
from twin_resources.processes.process_identity import (
    ProcessIdentity,
    end_processes,
    find_marked_processes,
    find_process,
)
from twin_resources.processes.processor import count_usable_cores, is_bf16_faster

# `pid:start time` of the launcher; the ranks stop when it exits.
OWNER_VARIABLE = "TWIN_TRAINING_OWNER"
RENDEZVOUS_VARIABLE = "TWIN_TRAINING_RENDEZVOUS"  # file through which the ranks find each other
ATTEMPT_ID_VARIABLE = "TWIN_TRAINING_MARK"  # set in all processes of an attempt
_ROOT = Path(__file__).resolve().parents[3]  # root of the checkout, which may not be installed
ACCELERATE_MODULE = "accelerate.commands.launch"
FORKED_RANKS_MODULE = "twin_resources.models.training_launcher.forked_ranks"
POLL_INTERVAL_S = 0.2
GRACE_S = 5.0
NICENESS = 10  # the gateway and the model servers have priority, because readers wait for them


@dataclass(frozen=True)
class AttemptEnd:
    """The end of an attempt.

    Attributes:
        description: how the attempt ended.
        should_retry: whether to retry.
        log_start: byte offset of the attempt in the log file.
    """

    description: str
    should_retry: bool
    log_start: int


def is_owner_alive(owner: str) -> bool:
    """Return whether the process `pid:start time` is alive; a reused pid has another start time."""
    pid, _, start_time = owner.partition(":")
    return find_process(ProcessIdentity(int(pid), float(start_time))) is not None


def can_compute_in_bf16(device: str) -> bool:
    """Return whether the hardware supports bf16, which is then 2.6 times as fast as fp32."""
    if device == "cuda":
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    return is_bf16_faster()


@contextmanager
def run_ranks(
    job: TrainingJob, log: Path, *, environment: Mapping[str, str], may_fork: bool = True
) -> Generator[subprocess.Popen[bytes]]:
    """Start the ranks, append their output to `log`, and stop all their processes on exit.

    Args:
        environment: variables in addition to those of the job.
        may_fork: whether to fork the ranks if possible.
    """
    attempt_id = uuid.uuid4().hex
    with log.open("ab") as stream:
        process = subprocess.Popen(
            build_command(job, may_fork=may_fork),
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=build_environment(job, attempt_id, may_fork=may_fork) | dict(environment),
            start_new_session=True,
        )
    lower_priority(process.pid)
    try:
        yield process
    finally:  # also on KeyboardInterrupt and on a cancelled Dagster run
        # torch's launcher starts each rank in a separate session, outside the command's process
        # group. The attempt id in their environment identifies the ranks.
        end_processes(
            find_marked_processes(attempt_id, variable=ATTEMPT_ID_VARIABLE), grace_s=GRACE_S
        )
        process.wait()
        _rendezvous_file(job, attempt_id).unlink(missing_ok=True)


def lower_priority(pid: int) -> None:
    """Lower the priority of a process and of its future child processes.

    With autogroups, Linux applies the niceness of the session (man 7 sched). Each attempt has
    its own session.
    """
    niceness = min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
    # The process may have exited, there may be no autogroup, or the kernel may refuse a second
    # change within a tenth of a second. The priority then stays unchanged.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness), encoding="ascii")


def follow_log(
    process: subprocess.Popen[bytes],
    job: TrainingJob,
    log: Path,
    on_line: Callable[[str], None],
    *,
    log_start: int,
) -> AttemptEnd:
    """Pass each line of an attempt's log to `on_line` until the attempt ends or exceeds a limit.

    Args:
        log_start: byte offset in the file at which the attempt's log starts.
    """
    started_at = last_output_at = time.monotonic()
    with log.open("rb") as stream:
        stream.seek(log_start)
        partial_line = b""
        while True:
            exit_code = process.poll()
            if data := stream.read():
                last_output_at = time.monotonic()
                *lines, partial_line = (partial_line + data).split(b"\n")
                for line in lines:
                    on_line(line.decode("utf-8", "replace"))
            if exit_code is not None:
                description = (
                    f"exit code {exit_code}" if exit_code >= 0 else describe_kill(-exit_code)
                )
                return AttemptEnd(description, should_retry=exit_code != 0, log_start=log_start)
            now = time.monotonic()
            if now - started_at > job.timeout_s:
                return AttemptEnd(f"not finished within {job.timeout_s:.0f} s", False, log_start)
            if now - last_output_at > job.silence_s:
                return AttemptEnd(f"no output for {job.silence_s:.0f} s", True, log_start)
            time.sleep(POLL_INTERVAL_S)


def build_command(job: TrainingJob, *, may_fork: bool = True) -> list[str]:
    """Return the command that starts the ranks."""
    script = ["-m", job.module, "--job", str(job.folder / "job.json")]
    precision = _resolve_precision(job)
    if job.deepspeed:
        config = dict(job.deepspeed) | {"bf16": {"enabled": precision == "bf16"}}
        _deepspeed_file(job).write_text(json.dumps(config, indent=2), encoding="utf-8")
    ranks = str(job.ranks)
    if should_fork(job, may_fork=may_fork):
        ahead_flags = ["--ahead", job.ahead] if job.ahead else []
        command = [sys.executable, "-m", FORKED_RANKS_MODULE, "--ranks", ranks, *ahead_flags]
        return [*command, "--module", *script[1:]]
    # The ranks find each other in a file, because torch's TCP store listens on every interface.
    rendezvous_flags = ["--rdzv_backend", "c10d", "--rdzv_conf", "store_type=file"]
    if job.device == "cpu" and job.ranks > 1 and not job.deepspeed:
        # accelerate's launcher would start only one process.
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", ranks]
        return [*command, "--nnodes", "1", *rendezvous_flags, *script]
    if job.device == "cpu" and job.ranks == 1 and not job.deepspeed:
        # accelerate's launcher would import torch (2 CPU s) to set the same variables as
        # `build_environment`.
        return [sys.executable, *script]
    command = [sys.executable, "-m", ACCELERATE_MODULE]
    if job.deepspeed:
        command += ["--use_deepspeed", "--deepspeed_config_file", str(_deepspeed_file(job))]
    elif job.ranks > 1:
        command += ["--multi_gpu"]
    command += ["--num_processes", ranks, "--num_machines", "1"]
    command += ["--mixed_precision", "bf16" if precision == "bf16" else "no"]
    command += ["--dynamo_backend", "no", *rendezvous_flags, "--main_process_port", "0"]
    return [*command, *script]


def should_fork(job: TrainingJob, *, may_fork: bool = True) -> bool:
    """Return whether the ranks are forked from one process that has done the imports.

    Ranks are not forked on GPUs, because CUDA does not survive a fork, and not on macOS, because
    libraries start threads there. A single rank without DeepSpeed needs no fork.
    """
    needs_launcher = job.ranks > 1 or bool(job.deepspeed)
    can_fork = job.device == "cpu" and platform.system() == "Linux"
    return may_fork and can_fork and needs_launcher


def _deepspeed_file(job: TrainingJob) -> Path:
    return job.folder / "deepspeed.json"


def _resolve_precision(job: TrainingJob) -> str:
    if job.mixed_precision != "auto":
        return job.mixed_precision
    return "bf16" if can_compute_in_bf16(job.device) else "fp32"


def build_environment(
    job: TrainingJob, attempt_id: str, *, may_fork: bool = True
) -> dict[str, str]:
    """Return the environment of the ranks; `attempt_id` identifies all their processes."""
    threads = job.threads_per_rank or max(1, count_usable_cores() // job.ranks)
    this_process = psutil.Process()
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",  # all files are on disk
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
        # DeepSpeed searches PATH for ninja, which is in the interpreter's folder.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        OWNER_VARIABLE: f"{this_process.pid}:{this_process.create_time()}",
        ATTEMPT_ID_VARIABLE: attempt_id,
        RENDEZVOUS_VARIABLE: str(_rendezvous_file(job, attempt_id)),
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    if platform.system() == "Linux":
        environment |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    if job.device == "cpu":
        environment |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
        # If true, accelerate silently trains without DeepSpeed, whatever its other settings.
        environment["ACCELERATE_USE_CPU"] = "false" if job.deepspeed else "true"
        environment["ACCELERATE_MIXED_PRECISION"] = (
            "bf16" if _resolve_precision(job) == "bf16" else "no"
        )
    if should_fork(job, may_fork=may_fork):
        # numpy would start threads before the fork; the ranks do not need them.
        environment["OPENBLAS_NUM_THREADS"] = "1"
        if job.deepspeed:  # the variables that accelerate's launcher would set
            environment["ACCELERATE_USE_DEEPSPEED"] = "true"
            environment["ACCELERATE_DEEPSPEED_CONFIG_FILE"] = str(_deepspeed_file(job))
            environment["ACCELERATE_CONFIG_DS_FIELDS"] = ""
    return environment | dict(job.environment)


def _rendezvous_file(job: TrainingJob, attempt_id: str) -> Path:
    return job.folder / f"rendezvous-{attempt_id}"
