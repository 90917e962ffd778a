"""Where a training runs: starting its processes, watching them, ending all of them.

Belongs here: the protocol `TrainingLauncher` and the backend `local` (a subprocess on this
machine); another backend (many machines) is one more class. Does not belong here: the loop and the
job's contents (`twin_assets/training`), Dagster (an asset passes its Pipes variables as
`environment`).

A worker that dies is retried once; the script goes on from its last complete checkpoint. A failure
that the script itself explains (`failure.json` in the job's folder) is not retried.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from twin_resources.disk_space import told_when_full
from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.stack.process_identity import (
    ProcessIdentity,
    end_processes,
    find,
    marked_processes,
)

OWNER_VARIABLE = "TWIN_TRAINING_OWNER"  # pid:start time of the launcher; a rank without it stops
RENDEZVOUS_VARIABLE = "TWIN_TRAINING_RENDEZVOUS"  # file through which the ranks find each other
MARK_VARIABLE = "TWIN_TRAINING_MARK"  # in every process of one attempt, however deep
_ROOT = Path(__file__).resolve().parents[1]  # where a checkout that is not installed lies
POLL_S = 0.2
GRACE_S = 5.0

Message = dict[str, Any]


class TrainingDied(TwinError):
    """The processes ended without a reason of their own: another try may go better."""


@dataclass(frozen=True)
class TrainingJob:
    """One training, as far as starting it goes.

    Attributes:
        name: names its log file.
        folder: holds `job.json`; `output/` is there when the training is complete.
        module: Python module that is started with `--job <folder>/job.json` on every rank.
        ranks: number of processes.
        device: `cpu` or `cuda`.
        threads_per_rank: None: cores / ranks.
        mixed_precision: `auto`, `bf16` or `fp32`.
        environment: set for every rank.
        deepspeed: DeepSpeed's configuration; empty: accelerate alone.
        timeout_s: end it after so many seconds.
        silence_s: end it when nothing was logged for so many seconds.
    """

    name: str
    folder: Path
    module: str
    ranks: int
    device: str = "cpu"
    threads_per_rank: int | None = None
    mixed_precision: str = "auto"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    deepspeed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    timeout_s: float = 24 * 3600
    silence_s: float = 1800


class TrainingLauncher(Protocol):
    """Runs a training to its end."""

    def run(
        self,
        job: TrainingJob,
        *,
        on_message: Callable[[Message], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Path:
        """Block until the training is complete.

        Args:
            on_message: called with `{"progress": {step, steps, loss, lr, tokens_per_s, rss_mb,
                grad_norm, eta_s}}` a step, and `{"text": line}` for a wait, a retry, a resumption.
            environment: for every rank, e.g. the variables of Dagster Pipes.

        Returns:
            The folder `output` of the job.

        Raises:
            TrainingDied: its processes died twice; with the reason from the log, and where that is.
            TwinError: what a retry does not mend, in the script's own words.
        """
        ...


def make_launcher(backend: str, settings: Settings) -> TrainingLauncher:
    """The launcher of a backend: `local`."""
    if backend != "local":
        raise TwinError(
            f"launch trainings with the backend {backend!r}",
            found="only `local` exists",
            next_step="set backend to local",
        )
    return LocalLauncher(settings)


def owner_is_alive(owner: str) -> bool:
    """Whether the process `pid:start time` still runs (a reused pid has another start time)."""
    pid, _, started = owner.partition(":")
    return find(ProcessIdentity(int(pid), float(started))) is not None


def computes_in_bf16(device: str) -> bool:
    """Whether bf16 is computed in hardware: then 2.6 times as fast as fp32, else slower."""
    if device == "cuda":
        import torch

        return torch.cuda.is_bf16_supported()
    if platform.system() != "Linux":
        return False
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))


class LocalLauncher:
    """`accelerate launch` on this machine, one training at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(
        self,
        job: TrainingJob,
        *,
        on_message: Callable[[Message], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Path:
        say = on_message or (lambda _: None)
        with told_when_full(f"train {job.name}", job.folder), self._only_one(say):
            return self._run(job, say, environment or {})

    def _run(
        self, job: TrainingJob, say: Callable[[Message], None], environment: Mapping[str, str]
    ) -> Path:
        output = job.folder / "output"
        failure = job.folder / "failure.json"
        failure.unlink(missing_ok=True)
        log = self._settings.logs_dir / f"training-{job.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if output.is_dir():
            return output
        ended = self._attempt(job, log, say, environment)
        if ended.retry and not failure.is_file():
            say({"text": f"{ended.how}; trying again from the last complete checkpoint"})
            ended = self._attempt(job, log, say, environment)
        if output.is_dir():
            return output
        if failure.is_file():
            raise TwinError(**json.loads(failure.read_text(encoding="utf-8")))
        raise TrainingDied(
            f"train {job.name}",
            found=f"{ended.how}: {_reason(log, ended.log_start)}",
            next_step=f"read {log}; a new run goes on from the last complete checkpoint",
        )

    def _attempt(
        self,
        job: TrainingJob,
        log: Path,
        say: Callable[[Message], None],
        environment: Mapping[str, str],
    ) -> _Ended:
        mark = uuid.uuid4().hex
        log_start = log.stat().st_size if log.is_file() else 0
        with log.open("ab") as stream:
            process = subprocess.Popen(
                _command(job),
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=_environment(job, mark) | dict(environment),
                start_new_session=True,
            )
        try:
            return _watch(process, job, log, say, log_start=log_start)
        finally:  # also on KeyboardInterrupt and on a cancelled Dagster run
            _end(process, mark)
            _rendezvous(job, mark).unlink(missing_ok=True)

    @contextmanager
    def _only_one(self, say: Callable[[Message], None]) -> Iterator[None]:
        """Two trainings beside each other on one machine take longer than one after the other."""
        path = self._settings.work_dir / "training.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say({"text": "waiting for another training on this machine to end"})
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield


@dataclass(frozen=True)
class _Ended:
    """How an attempt ended: in words, whether another may go better, where its log starts."""

    how: str
    retry: bool
    log_start: int


def _command(job: TrainingJob) -> list[str]:
    # Ranks of one machine meet in a file: torch's own meeting point listens on every interface.
    meeting = ["--rdzv_backend", "c10d", "--rdzv_conf", "store_type=file"]
    script = ["-m", job.module, "--job", str(job.folder / "job.json")]
    precision = _precision(job)
    if job.device == "cpu" and job.ranks > 1 and not job.deepspeed:
        # accelerate's launcher starts one process then
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1"]
        return [*command, "--nproc_per_node", str(job.ranks), *meeting, *script]
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    if job.deepspeed:
        config = dict(job.deepspeed) | {"bf16": {"enabled": precision == "bf16"}}
        path = job.folder / "deepspeed.json"
        path.write_text(json.dumps(config, indent=2), encoding="utf-8")
        command += ["--use_deepspeed", "--deepspeed_config_file", str(path)]
    elif job.ranks > 1:
        command += ["--multi_gpu"]
    command += ["--num_processes", str(job.ranks), "--num_machines", "1", *meeting]
    command += ["--mixed_precision", "bf16" if precision == "bf16" else "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", "0"]
    return [*command, *script]


def _precision(job: TrainingJob) -> str:
    if job.mixed_precision != "auto":
        return job.mixed_precision
    return "bf16" if computes_in_bf16(job.device) else "fp32"


def _environment(job: TrainingJob, mark: str) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = job.threads_per_rank or max(1, (cores or 1) // job.ranks)
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
        RENDEZVOUS_VARIABLE: str(_rendezvous(job, mark)),
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    if platform.system() == "Linux":
        values |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    if job.device == "cpu":
        values |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
        # with it accelerate trains without DeepSpeed, whatever else it is told, and says nothing
        values["ACCELERATE_USE_CPU"] = "false" if job.deepspeed else "true"
        values["ACCELERATE_MIXED_PRECISION"] = "bf16" if _precision(job) == "bf16" else "no"
    return values | dict(job.environment)


def _rendezvous(job: TrainingJob, mark: str) -> Path:
    return job.folder / f"rendezvous-{mark}"


def _watch(
    process: subprocess.Popen[bytes],
    job: TrainingJob,
    log: Path,
    say: Callable[[Message], None],
    *,
    log_start: int,
) -> _Ended:
    started = heard = time.monotonic()
    with log.open("rb") as stream:
        stream.seek(log_start)
        rest = b""
        while True:
            code = process.poll()
            if news := stream.read():
                heard = time.monotonic()
                *lines, rest = (rest + news).split(b"\n")
                for line in lines:
                    _pass_on(line.decode("utf-8", "replace"), say)
            if code is not None:
                return _Ended(f"exit code {code}", retry=code != 0, log_start=log_start)
            now = time.monotonic()
            if now - started > job.timeout_s:
                return _Ended(f"no end within {job.timeout_s:.0f} s", False, log_start)
            if now - heard > job.silence_s:
                return _Ended(f"no sign of life for {job.silence_s:.0f} s", True, log_start)
            time.sleep(POLL_S)


def _pass_on(line: str, say: Callable[[Message], None]) -> None:
    if line.startswith("progress {"):
        say({"progress": json.loads(line.removeprefix("progress "))})
    elif line.startswith("resuming "):
        say({"text": line})


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """End every process of an attempt.

    torch's launcher puts each rank into a session of its own, so the process group of the command
    is not enough: the ranks are found by the mark in their environment.
    """
    end_processes(marked_processes(mark, variable=MARK_VARIABLE), grace_s=GRACE_S)
    process.wait()


def _reason(log: Path, log_start: int) -> str:
    """The line of an attempt's log that says most about why it ended."""
    with log.open("rb") as stream:
        stream.seek(log_start)
        lines = stream.read().decode("utf-8", "replace").splitlines()
    # torch's launcher only says that a child failed
    errors = [line for line in lines if re.search(r"\w(Error|Exception)\b: ", line)]
    errors = [line.strip() for line in errors if "ChildFailedError" not in line]
    if errors:
        return errors[-1]
    if any("SIGKILL" in line for line in lines):
        return "a rank was killed (SIGKILL; when nobody sent it: out of memory)"
    return next((line.strip() for line in reversed(lines) if line.strip()), "an empty log")
