"""Test commands, environments, messages and retries of the training launchers."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import queue
import stat
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import (
    LocalLauncher,
    TrainingDiedError,
    TrainingJob,
    machine,
    make_launcher,
    ray_cluster,
)
from twin_resources.models.training_launcher.attempt import Attempt, read_attempt, write_attempt
from twin_resources.models.training_launcher.end_reason import find_cause, find_end_reason
from twin_resources.models.training_launcher.machine import (
    MachineShare,
    build_command,
    build_environment,
)
from twin_resources.models.training_launcher.ray_driver import (
    machine_shares,
    require_attempt,
    resource_bundle,
)
from twin_resources.models.training_launcher.training_job import (
    AttemptEnd,
    Message,
    forward_line,
    run_with_retry,
)
from twin_resources.settings import Settings


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    return TrainingJob(name="ann", folder=tmp_path, module="some.script", ranks=4)


def parse_flags(words: list[str]) -> dict[str, str]:
    return {word: words[index + 1] for index, word in enumerate(words[:-1]) if word[:2] == "--"}


ZERO = {"zero_optimization": {"stage": 2}}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"deepspeed": ZERO}, ("--machine_rank", "--main_process_ip", "--main_process_port")),
        ({"device": "cuda"}, ("--machine_rank", "--main_process_ip", "--main_process_port")),
        ({}, ("--node_rank", "--master_addr", "--master_port")),
    ],
)
def test_each_machine_gets_its_rank_and_the_address_of_machine_0(
    job: TrainingJob, changes: dict[str, Any], names: tuple[str, str, str]
) -> None:
    # bf16 would require a check of the graphics card
    job = dataclasses.replace(job, mixed_precision="fp32", **changes)

    words = build_command(
        job, MachineShare(machine_count=2, rank=1, address="10.0.0.1", port=29400)
    )

    flags = parse_flags(words)
    assert [flags[name] for name in names] == ["1", "10.0.0.1", "29400"]
    assert flags["--rdzv_backend"] == "static"
    assert ("--same_network" in words) is ("--machine_rank" in names)
    if "--machine_rank" in names:
        assert flags["-m" if "-m" in flags else "--num_machines"] == "2"
        assert flags["--num_processes"] == "4"  # on all machines
    else:
        assert (flags["--nnodes"], flags["--nproc_per_node"]) == ("2", "2")


def test_ranks_of_one_machine_use_a_file_and_the_loopback_interface(job: TrainingJob) -> None:
    for deepspeed in ({}, ZERO):
        changed_job = dataclasses.replace(job, deepspeed=deepspeed, mixed_precision="fp32")
        assert "store_type=file" in build_command(changed_job, MachineShare(may_fork=False))
        environment = build_environment(changed_job, "mark", MachineShare())
        assert environment["GLOO_SOCKET_IFNAME"] == "lo"
        assert environment["TWIN_TRAINING_RENDEZVOUS"].startswith(str(job.folder))

    remote_environment = build_environment(job, "mark", MachineShare(2, 1, "10.0.0.1", 29400))
    assert "TWIN_TRAINING_RENDEZVOUS" not in remote_environment
    assert "GLOO_SOCKET_IFNAME" not in remote_environment
    for address in ("127.0.0.1", "localhost", "::1"):
        local_environment = build_environment(job, "mark", MachineShare(2, 1, address, 29400))
        assert local_environment["GLOO_SOCKET_IFNAME"] == "lo"


SCRIPT = "-m some.script --job FOLDER/job.json"
FILE = "--rdzv_backend c10d --rdzv_conf store_type=file"
COMMANDS = {
    f"-m torch.distributed.run --nproc_per_node 4 --nnodes 1 {FILE} {SCRIPT}": ({}, False),
    f"-m {machine.ACCELERATE_MODULE} --use_deepspeed --deepspeed_config_file FOLDER/deepspeed.json "
    "--deepspeed_multinode_launcher standard --num_processes 4 --num_machines 1 "
    f"--mixed_precision no --dynamo_backend no {FILE} --main_process_port 0 {SCRIPT}": (
        {"deepspeed": ZERO}, False,
    ),
    f"-m {machine.ACCELERATE_MODULE} --multi_gpu --num_processes 4 --num_machines 1 "
    f"--mixed_precision no "
    f"--dynamo_backend no {FILE} --main_process_port 0 {SCRIPT}": ({"device": "cuda"}, True),
    f"-m {machine.FORKED_RANKS_MODULE} --ranks 4 --module some.script --job "
    f"FOLDER/job.json": ({}, True),
    f"-m {machine.FORKED_RANKS_MODULE} --ranks 4 --ahead some.other --module some.script "
    "--job FOLDER/job.json": ({"ahead": "some.other", "deepspeed": ZERO}, True),
}  # fmt: skip


@pytest.mark.parametrize("expected", COMMANDS)
def test_one_machine_runs_the_expected_command(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch, expected: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    changes, forks = COMMANDS[expected]
    changed_job = dataclasses.replace(job, mixed_precision="fp32", **changes)
    words = build_command(changed_job, MachineShare(may_fork=forks))
    assert words == [sys.executable, *expected.replace("FOLDER", str(job.folder)).split()]
    if changed_job.deepspeed:
        written_config = json.loads((job.folder / "deepspeed.json").read_text())
        assert written_config == ZERO | {"bf16": {"enabled": False}}


def test_one_process_without_deepspeed_needs_no_launcher(job: TrainingJob) -> None:
    single_job = dataclasses.replace(job, ranks=1, mixed_precision="fp32")
    words = build_command(single_job, MachineShare())
    assert words == [sys.executable, "-m", "some.script", "--job", str(job.folder / "job.json")]
    environment = build_environment(single_job, "mark", MachineShare())
    assert environment["ACCELERATE_USE_CPU"] == "true"
    assert environment["ACCELERATE_MIXED_PRECISION"] == "no"
    for changes in ({"deepspeed": ZERO}, {"device": "cuda"}, {"device": "cuda", "ranks": 2}):
        launched_job = dataclasses.replace(single_job, **changes)
        words = build_command(launched_job, MachineShare(may_fork=False))
        assert words[words.index("--num_processes") + 1] == str(launched_job.ranks)
        assert ("--multi_gpu" in words) is (launched_job.ranks == 2)


@pytest.mark.parametrize(
    ("changes", "share", "system", "forks"),
    [
        ({"deepspeed": ZERO}, MachineShare(), "Linux", True),
        ({"deepspeed": ZERO, "ranks": 1}, MachineShare(), "Linux", True),
        ({}, MachineShare(), "Linux", True),
        ({"ranks": 1}, MachineShare(), "Linux", False),  # one process without a launcher
        ({"device": "cuda", "deepspeed": ZERO}, MachineShare(), "Linux", False),
        ({"deepspeed": ZERO}, MachineShare(2, 1, "10.0.0.1", 29400), "Linux", False),
        ({"deepspeed": ZERO}, MachineShare(), "Darwin", False),
        ({"deepspeed": ZERO}, MachineShare(may_fork=False), "Linux", False),
    ],
)
def test_ranks_are_forked_on_one_machine_without_gpus(
    job: TrainingJob,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    share: MachineShare,
    system: str,
    forks: bool,
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    changed_job = dataclasses.replace(job, mixed_precision="fp32", ahead="its.imports", **changes)

    words = build_command(changed_job, share)

    flags = parse_flags(words)
    assert (machine.FORKED_RANKS_MODULE in words) == forks
    if forks:
        assert flags["--ranks"] == str(changed_job.ranks)
        assert (flags["--ahead"], flags["--module"]) == ("its.imports", "some.script")
    environment = build_environment(changed_job, "mark", share)
    config_path = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    assert config_path == (
        str(job.folder / "deepspeed.json") if forks and changed_job.deepspeed else None
    )


@pytest.mark.parametrize(("precision", "expected"), [("bf16", "bf16"), ("fp32", "no")])
def test_launcher_deepspeed_and_ranks_get_the_same_precision(
    job: TrainingJob, precision: str, expected: str
) -> None:
    changed_job = dataclasses.replace(job, deepspeed=ZERO, mixed_precision=precision)
    words = parse_flags(build_command(changed_job, MachineShare(may_fork=False)))
    assert (words["--mixed_precision"], words["--num_machines"]) == (expected, "1")
    config = json.loads((job.folder / "deepspeed.json").read_text())
    assert config == ZERO | {"bf16": {"enabled": precision == "bf16"}}
    environment = build_environment(changed_job, "mark", MachineShare())
    assert environment["ACCELERATE_MIXED_PRECISION"] == expected
    (job.folder / "deepspeed.json").unlink()
    build_command(changed_job, MachineShare(2, 1, "10.0.0.1", 29400))
    assert not (job.folder / "deepspeed.json").exists(), "only machine 0 may write the file"


def test_a_rank_gets_its_environment(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    changed_job = dataclasses.replace(
        job, mixed_precision="fp32", environment={"HF_HUB_OFFLINE": "0"}
    )
    environment = build_environment(changed_job, "its mark", MachineShare())
    assert environment["TWIN_TRAINING_MARK"] == "its mark"
    assert machine.is_owner_alive(environment["TWIN_TRAINING_OWNER"])
    pid = environment["TWIN_TRAINING_OWNER"].partition(":")[0]
    assert not machine.is_owner_alive(f"{pid}:1.0"), "a reused process id counts as the owner"
    assert environment["HF_HUB_OFFLINE"] == "0", "the job's environment was overridden"
    assert environment["PYTHONPATH"].endswith(":/elsewhere")
    assert environment["PATH"].startswith(str(Path(sys.executable).parent))
    assert (environment["CUDA_VISIBLE_DEVICES"], environment["DS_ACCELERATOR"]) == ("", "cpu")
    assert environment["ACCELERATE_USE_CPU"] == "true"
    assert "ACCELERATE_USE_DEEPSPEED" not in environment
    assert environment["OPENBLAS_NUM_THREADS"] == "1", "forked ranks need one thread"
    deepspeed_environment = build_environment(
        dataclasses.replace(changed_job, deepspeed=ZERO), "m", MachineShare()
    )
    assert (
        deepspeed_environment["ACCELERATE_USE_CPU"],
        deepspeed_environment["ACCELERATE_USE_DEEPSPEED"],
    ) == ("false", "true")
    cuda_environment = build_environment(
        dataclasses.replace(changed_job, device="cuda"), "m", MachineShare()
    )
    assert cuda_environment["CUDA_VISIBLE_DEVICES"] == "3"
    assert "ACCELERATE_USE_CPU" not in cuda_environment
    for threads, ranks, cores, expected in ((3, 4, 8, "3"), (0, 2, 8, "4"), (0, 4, 2, "1")):
        monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        threaded_job = dataclasses.replace(changed_job, threads_per_rank=threads, ranks=ranks)
        assert build_environment(threaded_job, "m", MachineShare())["OMP_NUM_THREADS"] == expected


def test_training_has_a_lower_priority(tmp_path: Path) -> None:
    (tmp_path / "idle.py").write_text("import time\ntime.sleep(60)\n", encoding="utf-8")
    job = TrainingJob(name="ann", folder=tmp_path, module="idle", ranks=1, mixed_precision="fp32")
    paths = {"PYTHONPATH": str(tmp_path)}

    with machine.run_share(job, MachineShare(), tmp_path / "log", environment=paths) as process:
        niceness = os.getpriority(os.PRIO_PROCESS, process.pid)
        autogroup = Path(f"/proc/{process.pid}/autogroup")
        group_niceness = autogroup.read_text("ascii").split()[-1:] if autogroup.exists() else []

    assert niceness == min(19, os.getpriority(os.PRIO_PROCESS, 0) + machine.NICENESS)
    assert group_niceness in ([], [str(niceness)])  # some kernels have no autogroups


def test_an_uneven_distribution_of_ranks_is_an_error(job: TrainingJob) -> None:
    with pytest.raises(TwinError, match="distribute 4 ranks over 3 machines"):
        build_command(job, MachineShare(machine_count=3, address="10.0.0.1", port=1))


def test_several_machines_require_ray(tmp_path: Path) -> None:
    with pytest.raises(TwinError, match="train on 2 machines") as error:
        LocalLauncher(Settings(home=tmp_path, train_machines=2))
    assert "TWIN_TRAIN_BACKEND=ray" in error.value.next_step


def test_an_unknown_backend_is_an_error(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, train_backend="ray", ray_address="http://127.0.0.1:1")
    assert not make_launcher("", settings).shares_files
    assert make_launcher("local", settings).shares_files
    with pytest.raises(TwinError, match="only `local` and `ray`"):
        make_launcher("cloud", settings)


def test_an_attempt_file_is_private_and_read_back_unchanged(job: TrainingJob) -> None:
    path = job.folder / "attempt.json"
    assert read_attempt(path) is None
    attempt = Attempt("mark", job, 2, {"NAME": "value"}, may_fork=False)
    write_attempt(path, attempt)
    assert read_attempt(path) == attempt
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | {"schema": 99}), encoding="utf-8")
    with pytest.raises(TwinError, match="schema 99"):
        read_attempt(path)


def test_a_machine_reserves_a_cpu_per_thread_and_a_gpu_per_rank(job: TrainingJob) -> None:
    path = job.folder / "attempt.json"
    with pytest.raises(TwinError, match="mount the home on every Ray node"):
        require_attempt(path)
    write_attempt(path, Attempt("mark", job, 2))
    assert resource_bundle(require_attempt(path)) == {"CPU": 2.0}
    cuda_job = dataclasses.replace(job, device="cuda", threads_per_rank=4)
    assert resource_bundle(Attempt("mark", cuda_job, 1)) == {"CPU": 16.0, "GPU": 4.0}


@pytest.mark.parametrize("forks", [True, False])
def test_workers_fork_ranks_as_the_launcher_requests(job: TrainingJob, forks: bool) -> None:
    path = job.folder / "attempt.json"
    write_attempt(path, Attempt("mark", job, 1, may_fork=forks))
    (share,) = machine_shares(require_attempt(path), "10.0.0.1", 29400)
    assert share.may_fork == forks
    assert len(machine_shares(Attempt("mark", job, 2), "10.0.0.1", 29400)) == 2


@pytest.mark.parametrize("complete_after", [1, 2])
def test_only_an_incomplete_training_run_is_retried(
    job: TrainingJob, tmp_path: Path, complete_after: int
) -> None:
    messages: list[Message] = []
    attempts: list[Path] = []

    def abort(log: Path) -> AttemptEnd:
        attempts.append(log)
        log.write_text("terminate called without an active exception\n", encoding="utf-8")
        if len(attempts) == complete_after:
            (job.folder / "output").mkdir()
        return AttemptEnd("exit code 1", should_retry=True, log_start=0)

    output = run_with_retry(job, Settings(home=tmp_path), attempt=abort, report=messages.append)

    assert output.is_dir()
    assert len(attempts) == complete_after
    (message,) = messages
    expected = "trying again" if complete_after == 2 else "after the training run was complete"
    assert expected in message["text"]


def test_printed_messages_are_forwarded() -> None:
    messages: list[dict[str, Any]] = []
    pipes = '{"__dagster_pipes_version": "0.1", "method": "opened"}'
    for line in (
        'progress {"step": 3}',
        "resuming after step 3 of 9",
        "waiting for 2 × {'CPU': 1.0}; the cluster has none",
        pipes,
        "starting the ranks",
        "a line about progress {",
    ):
        forward_line(line, messages.append)
    assert messages == [
        {"progress": {"step": 3}},
        {"text": "resuming after step 3 of 9"},
        {"text": "waiting for 2 × {'CPU': 1.0}; the cluster has none"},
        {"pipes": pipes},
    ]


# the format that torch's launcher prints
FAILURE_REPORT = """Failures:
[0]:
  time      : 2026-01-01_00:00:00
  host      : here
  rank      : {other} (local_rank: {other})
  exitcode  : 1 (pid: 11)
  error_file: <N/A>
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
------------------------------------------------------------
Root Cause (first observed failure):
[1]:
  time      : 2026-01-01_00:00:00
  host      : here
  rank      : {rank} (local_rank: {rank})
  exitcode  : -{number} (pid: 12) ({name})
  error_file: <N/A>
  traceback : Signal {number} ({name}) received by PID 12
"""
SIGKILL_REPORT = FAILURE_REPORT.format(rank=1, other=0, number=9, name="SIGKILL")
SIGBUS_REPORT = FAILURE_REPORT.format(rank=3, other=0, number=7, name="SIGBUS")
SIGABRT_REPORT = FAILURE_REPORT.format(rank=1, other=0, number=6, name="SIGABRT")
GLOO_EXCEPTION = """terminate called after throwing an instance of 'gloo::IoException'
  what():  [pair.cc] Connection reset by peer
"""
CONNECTION_CLOSED = "RuntimeError: Connection closed by peer\n"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("a\nValueError: no\nChildFailedError: x\n", "ValueError: no"),
        ("machine 1: RuntimeError: gone\nb\n", "machine 1: RuntimeError: gone"),
        (
            CONNECTION_CLOSED + SIGKILL_REPORT,
            "rank 1 was killed by Signal 9 (SIGKILL); if nobody sent it, memory ran",
        ),
        (CONNECTION_CLOSED + SIGBUS_REPORT, "rank 3 was killed by Signal 7 (SIGBUS)"),
        (CONNECTION_CLOSED + SIGABRT_REPORT, "RuntimeError: Connection closed by peer"),
        (SIGABRT_REPORT, "rank 1 was killed by Signal 6 (SIGABRT)"),
        (GLOO_EXCEPTION + SIGABRT_REPORT, "what():  [pair.cc] Connection reset by peer"),
        (
            "subprocess.CalledProcessError: Command '[]' died with <Signals.SIGKILL: 9>.\n",
            "a rank was killed by Signal 9 (SIGKILL)",
        ),
        ("one\ntwo\n\n", "two"),
        ("", "an empty log"),
    ],
)
def test_the_end_reason_is_the_most_informative_line(tmp_path: Path, log: str, reason: str) -> None:
    path = tmp_path / "log"
    path.write_text("OldError: before\n" + log, encoding="utf-8")
    start = len("OldError: before\n")
    assert find_end_reason(path, start).startswith(reason)
    has_cause = reason not in {"two", "an empty log"}
    assert find_cause(path, start) == (find_end_reason(path, start) if has_cause else "")


class BreakingLogClient:
    """A Ray job client whose log connections return chunks or break."""

    def __init__(self, *connections: list[str | Exception]) -> None:
        self._connections = list(connections)

    async def tail_job_logs(self, _job: str) -> AsyncIterator[str]:
        for chunk in self._connections.pop(0):
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    def get_job_status(self, _job: str) -> Any:
        return SimpleNamespace(is_terminal=lambda: not self._connections)


def test_a_log_is_complete_after_broken_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "POLL_INTERVAL_S", 0.01)
    connections: list[list[str | Exception]] = [
        ["one\ntw", RuntimeError("closed")],
        ["one\nt", "wo\nthr", "ee\nfo", OSError("reset")],
        ["o", "ne\ntwo\nthree\nfour\nfive"],
    ]
    lines: queue.Queue[str | None] = queue.Queue()
    ray_cluster.tail_log(BreakingLogClient(*connections), "job", lines, threading.Event())
    received_lines = [lines.get_nowait() for _ in range(lines.qsize())]
    assert received_lines == ["one", "two", "three", "four", "five", None]


class BusyClusterClient:
    """A Ray job client whose first submissions fail."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)

    def submit_job(self, *, submission_id: str, **_others: Any) -> str:
        if self._failures:
            raise self._failures.pop(0)
        return submission_id


def submit_job(*failures: Exception) -> str:
    return ray_cluster.submit_job(
        BusyClusterClient(*failures), entrypoint="true", name="one", metadata={}
    )


def test_submitting_to_a_busy_cluster_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "POLL_INTERVAL_S", 0.01)
    busy = RuntimeError("500: No available agent to submit job, please try again later.")
    assert submit_job(busy, ConnectionError("reset"), busy) == "one"
    assert submit_job(busy, RuntimeError("Job with submission_id one already exists.")) == "one"
    with pytest.raises(RuntimeError, match="no such entrypoint"):
        submit_job(busy, RuntimeError("400: no such entrypoint"))


def test_requests_to_the_cluster_are_retried_for_a_limited_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_cluster, "POLL_INTERVAL_S", 0.01)
    failures: list[Exception] = [RuntimeError("500"), ConnectionError("reset")]

    def jobs() -> list[str]:
        if failures:
            raise failures.pop()
        return ["one"]

    assert ray_cluster.ask_cluster(jobs, description="its jobs") == ["one"]
    monkeypatch.setattr(ray_cluster, "UNREACHABLE_TIMEOUT_S", 0.05)
    failures += [RuntimeError("503")] * 1000
    with pytest.raises(TrainingDiedError, match="ask the Ray cluster its jobs"):
        ray_cluster.ask_cluster(jobs, description="its jobs")
