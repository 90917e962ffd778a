"""One machine's share of a training: its command, its environment, watching it, ending it.

Scope: what is alike whether the share is all of it or one of several. Out of scope:
who gives the shares out (`local.py`, `ray_driver.py`).
Method: machine ranks as in accelerate's and torch's launchers, with a rendezvous in which machine 0
listens, https://docs.pytorch.org/docs/stable/elastic/run.html
"""

from __future__ import annotations

import ipaddress
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

from twin_resources.errors import TwinError
from twin_resources.models.training_launcher.reason import killed_by
from twin_resources.models.training_launcher.training_job import AttemptEnd, TrainingJob
from twin_resources.processes.process_identity import (
    ProcessIdentity,
    end_processes,
    find,
    marked_processes,
)
from twin_resources.processes.processor import bf16_is_faster

OWNER_VARIABLE = "TWIN_TRAINING_OWNER"  # pid:start time of the launcher; a rank without it stops
RENDEZVOUS_VARIABLE = "TWIN_TRAINING_RENDEZVOUS"  # file through which the ranks find each other
MARK_VARIABLE = "TWIN_TRAINING_MARK"  # in every process of one attempt, however deep
_ROOT = Path(__file__).resolve().parents[3]  # where a checkout that is not installed lies
ACCELERATE = "twin_resources.models.training_launcher.accelerate_launch"
FORKED = "twin_resources.models.training_launcher.forked_ranks"
POLL_S = 0.2
GRACE_S = 5.0
NICENESS = 10  # below the gateway and the model servers, which readers wait for


@dataclass(frozen=True)
class MachineShare:
    """What one machine runs of a training; the default: all of it.

    Attributes:
        machines: how many take part; each has the same number of ranks.
        rank: this machine's; machine 0 has rank 0 of the training.
        address, port: where machine 0 listens for the others.
        forks: whether its ranks may be forked, where they can be.
    """

    machines: int = 1
    rank: int = 0
    address: str = "127.0.0.1"
    port: int = 0
    forks: bool = True


def ranks_each(job: TrainingJob, machines: int) -> int:
    """Ranks of one machine.

    Raises:
        TwinError: they cannot be dealt evenly.
    """
    if machines < 1 or job.ranks % machines:
        raise TwinError(
            f"deal {job.ranks} ranks to {machines} machines",
            found="each machine runs the same number",
            next_step="set TWIN_TRAIN_RANKS to a multiple of TWIN_TRAIN_MACHINES",
        )
    return job.ranks // machines


def owner_is_alive(owner: str) -> bool:
    """Whether the process `pid:start time` still runs (a reused pid has another start time)."""
    pid, _, started = owner.partition(":")
    return find(ProcessIdentity(int(pid), float(started))) is not None


def computes_in_bf16(device: str) -> bool:
    """Whether bf16 is computed in hardware: then 2.6 times as fast as fp32, else slower."""
    if device == "cuda":
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bf16_is_faster()


@contextmanager
def started(
    job: TrainingJob, share: MachineShare, log: Path, *, environment: Mapping[str, str]
) -> Generator[subprocess.Popen[bytes]]:
    """Start a machine's share, its output appended to `log`; on leaving, all of it is ended."""
    mark = uuid.uuid4().hex
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command(job, share),
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment_of(job, mark, share) | dict(environment),
            start_new_session=True,
        )
    give_way(process.pid)
    try:
        yield process
    finally:  # also on KeyboardInterrupt and on a cancelled Dagster run
        # torch's launcher puts each rank into a session of its own, so the process group of the
        # command is not enough: the ranks are found by the mark in their environment.
        end_processes(marked_processes(mark, variable=MARK_VARIABLE), grace_s=GRACE_S)
        process.wait()
        _rendezvous(job, mark).unlink(missing_ok=True)


def give_way(pid: int) -> None:
    """Let other programs go first: this process and what it starts from now on.

    Linux shares the processor between sessions first where it groups them, and a training is a
    session of its own: then the group's number counts, not the process's (man 7 sched, autogroup).
    """
    niceness = min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
    # It has ended, nothing is grouped, or the kernel took another change in the last tenth second:
    # the training goes on at the priority that it has.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness), encoding="ascii")


def watch(
    process: subprocess.Popen[bytes],
    job: TrainingJob,
    log: Path,
    on_line: Callable[[str], None],
    *,
    log_start: int,
) -> AttemptEnd:
    """`follow_log`, with each line handed to `on_line`."""
    lines = follow_log(process, job, log, log_start=log_start)
    while True:
        try:
            on_line(next(lines))
        except StopIteration as end:
            return end.value


def follow_log(
    process: subprocess.Popen[bytes],
    job: TrainingJob,
    log: Path,
    *,
    log_start: int,
) -> Generator[str, None, AttemptEnd]:
    """Yield each line of a share's log, until the share ends by itself or has to.

    Args:
        log_start: where in the file its log begins, in bytes.
    """
    start = heard = time.monotonic()
    with log.open("rb") as stream:
        stream.seek(log_start)
        rest = b""
        while True:
            code = process.poll()
            if news := stream.read():
                heard = time.monotonic()
                *lines, rest = (rest + news).split(b"\n")
                for line in lines:
                    yield line.decode("utf-8", "replace")
            if code is not None:
                how = f"exit code {code}" if code >= 0 else killed_by(-code)
                return AttemptEnd(how, retry=code != 0, log_start=log_start)
            now = time.monotonic()
            if now - start > job.timeout_s:
                return AttemptEnd(f"no end within {job.timeout_s:.0f} s", False, log_start)
            if now - heard > job.silence_s:
                return AttemptEnd(f"no sign of life for {job.silence_s:.0f} s", True, log_start)
            time.sleep(POLL_S)


def command(job: TrainingJob, share: MachineShare) -> list[str]:
    """The command that starts a machine's ranks."""
    here = ranks_each(job, share.machines)
    script = ["-m", job.module, "--job", str(job.folder / "job.json")]
    precision = _precision(job)
    if job.deepspeed and share.rank == 0:
        config = dict(job.deepspeed) | {"bf16": {"enabled": precision == "bf16"}}
        _deepspeed_file(job).write_text(json.dumps(config, indent=2), encoding="utf-8")
    if forked(job, share):
        ahead = ["--ahead", job.ahead] if job.ahead else []
        start = [sys.executable, "-m", FORKED, "--ranks", str(here), *ahead]
        return [*start, "--module", *script[1:]]
    if job.device == "cpu" and job.ranks > 1 and not job.deepspeed:
        # accelerate's launcher starts one process then
        start = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(here)]
        return [*start, "--nnodes", str(share.machines), *_meeting(share, torch=True), *script]
    if job.device == "cpu" and job.ranks == 1 and not job.deepspeed:
        # accelerate's launcher would import torch, 2 CPU s, to set what `environment_of` sets
        return [sys.executable, *script]
    start = [sys.executable, "-m", ACCELERATE]
    if job.deepspeed:
        start += ["--use_deepspeed", "--deepspeed_config_file", str(_deepspeed_file(job))]
        # each machine starts its own ranks: no key to another machine's shell is needed
        start += ["--deepspeed_multinode_launcher", "standard"]
    elif job.ranks > 1:
        start += ["--multi_gpu"]
    start += ["--num_processes", str(job.ranks), "--num_machines", str(share.machines)]
    start += ["--mixed_precision", "bf16" if precision == "bf16" else "no"]
    return [*start, "--dynamo_backend", "no", *_meeting(share, torch=False), *script]


def forked(job: TrainingJob, share: MachineShare) -> bool:
    """Whether a machine's ranks are forked from one process that has imported.

    Not for GPUs, since CUDA is lost in a fork, nor for several machines, whose launchers meet; not
    on macOS, whose own libraries start threads. A rank that needs no launcher needs no fork.
    """
    alone = job.ranks == 1 and not job.deepspeed
    here = share.machines == 1 and job.device == "cpu" and platform.system() == "Linux"
    return share.forks and here and not alone


def _deepspeed_file(job: TrainingJob) -> Path:
    return job.folder / "deepspeed.json"


def _meeting(share: MachineShare, *, torch: bool) -> list[str]:
    """How the machines find each other, in the words of torch's launcher or of accelerate's."""
    if share.machines == 1:
        # Ranks of one machine meet in a file: torch's own meeting point listens on every interface.
        file = ["--rdzv_backend", "c10d", "--rdzv_conf", "store_type=file"]
        return file if torch else [*file, "--main_process_port", "0"]
    # static: machine ranks are the ones given, so that rank 0 is where the launcher is
    names = (
        ("--node_rank", "--master_addr", "--master_port")
        if torch
        else ("--machine_rank", "--main_process_ip", "--main_process_port")
    )
    values = (str(share.rank), share.address, str(share.port))
    flags = [word for pair in zip(names, values, strict=True) for word in pair]
    same = [] if torch else ["--same_network"]
    return ["--rdzv_backend", "static", *same, *flags]


def _precision(job: TrainingJob) -> str:
    if job.mixed_precision != "auto":
        return job.mixed_precision
    return "bf16" if computes_in_bf16(job.device) else "fp32"


def environment_of(job: TrainingJob, mark: str, share: MachineShare) -> dict[str, str]:
    """The environment of a machine's ranks; `mark` is in every process of the attempt."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = job.threads_per_rank or max(1, (cores or 1) // ranks_each(job, share.machines))
    own = psutil.Process()
    values = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",  # everything is on disk; nothing is looked up
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
        # ninja, which DeepSpeed looks for, lies beside the interpreter
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        OWNER_VARIABLE: f"{own.pid}:{own.create_time()}",
        MARK_VARIABLE: mark,
    }
    if share.machines == 1:
        values |= {
            RENDEZVOUS_VARIABLE: str(_rendezvous(job, mark)),
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        }
    if platform.system() == "Linux" and _on_loopback(share):
        values |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    if job.device == "cpu":
        values |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
        # with it accelerate trains without DeepSpeed, whatever else it is told, and says nothing
        values["ACCELERATE_USE_CPU"] = "false" if job.deepspeed else "true"
        values["ACCELERATE_MIXED_PRECISION"] = "bf16" if _precision(job) == "bf16" else "no"
    if forked(job, share):
        # numpy's own threads, which a rank has no use for, would begin before the fork
        values["OPENBLAS_NUM_THREADS"] = "1"
        if job.deepspeed:  # as accelerate's launcher says it
            values["ACCELERATE_USE_DEEPSPEED"] = "true"
            values["ACCELERATE_DEEPSPEED_CONFIG_FILE"] = str(_deepspeed_file(job))
            values["ACCELERATE_CONFIG_DS_FIELDS"] = ""
    return values | dict(job.environment)


def _on_loopback(share: MachineShare) -> bool:
    """Whether all ranks reach each other without a network."""
    try:
        return ipaddress.ip_address(share.address).is_loopback
    except ValueError:  # a name
        return share.address == "localhost"


def _rendezvous(job: TrainingJob, mark: str) -> Path:
    return job.folder / f"rendezvous-{mark}"
