"""Test commands, environments, messages and the retry of the training launcher."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import pytest

from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import (
    LocalLauncher,
    TrainingDiedError,
    TrainingJob,
    rank_processes,
)
from twin_resources.models.training_launcher.end_reason import find_cause, find_end_reason
from twin_resources.models.training_launcher.local import forward_line
from twin_resources.models.training_launcher.rank_processes import (
    ACCELERATE_MODULE,
    FORKED_RANKS_MODULE,
    build_command,
    build_environment,
    is_owner_alive,
)
from twin_resources.settings import Settings


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    return TrainingJob(name="ann", folder=tmp_path, module="some.script", ranks=4)


def parse_flags(words: list[str]) -> dict[str, str]:
    return {word: words[index + 1] for index, word in enumerate(words[:-1]) if word[:2] == "--"}


ZERO = {"zero_optimization": {"stage": 2}}


SCRIPT = "-m some.script --job FOLDER/job.json"
FILE = "--rdzv_backend c10d --rdzv_conf store_type=file"
COMMANDS = {
    f"-m torch.distributed.run --nproc_per_node 4 --nnodes 1 {FILE} {SCRIPT}": ({}, False),
    f"-m {ACCELERATE_MODULE} --use_deepspeed --deepspeed_config_file FOLDER/deepspeed.json "
    "--num_processes 4 --num_machines 1 "
    f"--mixed_precision no --dynamo_backend no {FILE} --main_process_port 0 {SCRIPT}": (
        {"deepspeed": ZERO}, False,
    ),
    f"-m {ACCELERATE_MODULE} --multi_gpu --num_processes 4 --num_machines 1 "
    f"--mixed_precision no "
    f"--dynamo_backend no {FILE} --main_process_port 0 {SCRIPT}": ({"device": "cuda"}, True),
    f"-m {FORKED_RANKS_MODULE} --ranks 4 --module some.script --job "
    f"FOLDER/job.json": ({}, True),
    f"-m {FORKED_RANKS_MODULE} --ranks 4 --ahead some.other --module some.script "
    "--job FOLDER/job.json": ({"ahead": "some.other", "deepspeed": ZERO}, True),
}  # fmt: skip


@pytest.mark.parametrize("expected", COMMANDS)
def test_the_command_depends_on_device_deepspeed_and_forking(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch, expected: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    changes, forks = COMMANDS[expected]
    changed_job = dataclasses.replace(job, mixed_precision="fp32", **changes)
    words = build_command(changed_job, may_fork=forks)
    assert words == [sys.executable, *expected.replace("FOLDER", str(job.folder)).split()]
    if changed_job.deepspeed:
        written_config = json.loads((job.folder / "deepspeed.json").read_text())
        assert written_config == ZERO | {"bf16": {"enabled": False}}


def test_one_process_without_deepspeed_needs_no_launcher(job: TrainingJob) -> None:
    single_job = dataclasses.replace(job, ranks=1, mixed_precision="fp32")
    words = build_command(single_job)
    assert words == [sys.executable, "-m", "some.script", "--job", str(job.folder / "job.json")]
    environment = build_environment(single_job, "mark")
    assert environment["ACCELERATE_USE_CPU"] == "true"
    assert environment["ACCELERATE_MIXED_PRECISION"] == "no"
    for changes in ({"deepspeed": ZERO}, {"device": "cuda"}, {"device": "cuda", "ranks": 2}):
        launched_job = dataclasses.replace(single_job, **changes)
        words = build_command(launched_job, may_fork=False)
        assert words[words.index("--num_processes") + 1] == str(launched_job.ranks)
        assert ("--multi_gpu" in words) is (launched_job.ranks == 2)


@pytest.mark.parametrize(
    ("changes", "may_fork", "system", "forks"),
    [
        ({"deepspeed": ZERO}, True, "Linux", True),
        ({"deepspeed": ZERO, "ranks": 1}, True, "Linux", True),
        ({}, True, "Linux", True),
        ({"ranks": 1}, True, "Linux", False),  # one process without a launcher
        ({"device": "cuda", "deepspeed": ZERO}, True, "Linux", False),
        ({"deepspeed": ZERO}, True, "Darwin", False),
        ({"deepspeed": ZERO}, False, "Linux", False),
    ],
)
def test_ranks_are_forked_on_linux_without_gpus(
    job: TrainingJob,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    may_fork: bool,
    system: str,
    forks: bool,
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    changed_job = dataclasses.replace(job, mixed_precision="fp32", ahead="its.imports", **changes)

    words = build_command(changed_job, may_fork=may_fork)

    flags = parse_flags(words)
    assert (FORKED_RANKS_MODULE in words) == forks
    if forks:
        assert flags["--ranks"] == str(changed_job.ranks)
        assert (flags["--ahead"], flags["--module"]) == ("its.imports", "some.script")
    environment = build_environment(changed_job, "mark", may_fork=may_fork)
    config_path = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    assert config_path == (
        str(job.folder / "deepspeed.json") if forks and changed_job.deepspeed else None
    )


@pytest.mark.parametrize(("precision", "expected"), [("bf16", "bf16"), ("fp32", "no")])
def test_launcher_deepspeed_and_ranks_get_the_same_precision(
    job: TrainingJob, precision: str, expected: str
) -> None:
    changed_job = dataclasses.replace(job, deepspeed=ZERO, mixed_precision=precision)
    words = parse_flags(build_command(changed_job, may_fork=False))
    assert (words["--mixed_precision"], words["--num_machines"]) == (expected, "1")
    config = json.loads((job.folder / "deepspeed.json").read_text())
    assert config == ZERO | {"bf16": {"enabled": precision == "bf16"}}
    environment = build_environment(changed_job, "mark")
    assert environment["ACCELERATE_MIXED_PRECISION"] == expected


def test_a_rank_gets_its_environment(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    changed_job = dataclasses.replace(
        job, mixed_precision="fp32", environment={"HF_HUB_OFFLINE": "0"}
    )
    environment = build_environment(changed_job, "its mark")
    assert environment["TWIN_TRAINING_MARK"] == "its mark"
    assert environment["TWIN_TRAINING_RENDEZVOUS"].startswith(str(job.folder))
    assert environment["GLOO_SOCKET_IFNAME"] == "lo"
    assert is_owner_alive(environment["TWIN_TRAINING_OWNER"])
    pid = environment["TWIN_TRAINING_OWNER"].partition(":")[0]
    assert not is_owner_alive(f"{pid}:1.0"), "a reused process id counts as the owner"
    assert environment["HF_HUB_OFFLINE"] == "0", "the job's environment was overridden"
    assert environment["PYTHONPATH"].endswith(":/elsewhere")
    assert environment["PATH"].startswith(str(Path(sys.executable).parent))
    assert (environment["CUDA_VISIBLE_DEVICES"], environment["DS_ACCELERATOR"]) == ("", "cpu")
    assert environment["ACCELERATE_USE_CPU"] == "true"
    assert "ACCELERATE_USE_DEEPSPEED" not in environment
    assert environment["OPENBLAS_NUM_THREADS"] == "1", "forked ranks need one thread"
    deepspeed_environment = build_environment(dataclasses.replace(changed_job, deepspeed=ZERO), "m")
    assert (
        deepspeed_environment["ACCELERATE_USE_CPU"],
        deepspeed_environment["ACCELERATE_USE_DEEPSPEED"],
    ) == ("false", "true")
    cuda_environment = build_environment(dataclasses.replace(changed_job, device="cuda"), "m")
    assert cuda_environment["CUDA_VISIBLE_DEVICES"] == "3"
    assert "ACCELERATE_USE_CPU" not in cuda_environment
    for threads, ranks, cores, expected in ((3, 4, 8, "3"), (0, 2, 8, "4"), (0, 4, 2, "1")):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        threaded_job = dataclasses.replace(changed_job, threads_per_rank=threads, ranks=ranks)
        assert build_environment(threaded_job, "m")["OMP_NUM_THREADS"] == expected


def test_training_has_a_lower_priority(tmp_path: Path) -> None:
    (tmp_path / "idle.py").write_text("import time\ntime.sleep(60)\n", encoding="utf-8")
    job = TrainingJob(name="ann", folder=tmp_path, module="idle", ranks=1, mixed_precision="fp32")
    paths = {"PYTHONPATH": str(tmp_path)}

    with rank_processes.run_ranks(job, tmp_path / "log", environment=paths) as process:
        niceness = os.getpriority(os.PRIO_PROCESS, process.pid)
        autogroup = Path(f"/proc/{process.pid}/autogroup")
        group_niceness = autogroup.read_text("ascii").split()[-1:] if autogroup.exists() else []

    assert niceness == min(19, os.getpriority(os.PRIO_PROCESS, 0) + rank_processes.NICENESS)
    assert group_niceness in ([], [str(niceness)])  # some kernels have no autogroups


ABORTING_SCRIPT = """
import os, pathlib, sys
folder = pathlib.Path(sys.argv[2]).parent
with (folder / "attempts").open("a") as stream:
    stream.write(".")
if (folder / "attempts").stat().st_size == int(os.environ["COMPLETE_AFTER"]):
    (folder / "output").mkdir()
if os.environ["FAILURE"]:
    (folder / "failure.json").write_text(os.environ["FAILURE"])
sys.exit("terminate called without an active exception")
"""


def run_aborting_job(
    folder: Path, *, complete_after: int = 0, failure: str = ""
) -> tuple[Path, list[str]]:
    """Run a job whose process always fails; return its output folder and the messages."""
    (folder / "aborting.py").write_text(ABORTING_SCRIPT, encoding="utf-8")
    job = TrainingJob(name="ann", folder=folder, module="aborting", ranks=1, mixed_precision="fp32")
    texts: list[str] = []
    variables = {"COMPLETE_AFTER": str(complete_after), "FAILURE": failure}
    output = LocalLauncher(Settings(home=folder)).run(
        job,
        on_message=lambda message: texts.append(message["text"]),
        environment={"PYTHONPATH": str(folder), **variables},
    )
    return output, texts


def count_attempts(folder: Path) -> int:
    return (folder / "attempts").stat().st_size


@pytest.mark.parametrize("complete_after", [1, 2])
def test_only_an_incomplete_training_run_is_retried(tmp_path: Path, complete_after: int) -> None:
    output, [text] = run_aborting_job(tmp_path, complete_after=complete_after)
    assert output.is_dir()
    assert count_attempts(tmp_path) == complete_after
    assert text.startswith("exit code 1")
    expected = "trying again" if complete_after == 2 else "after the training run was complete"
    assert expected in text


def test_two_failed_attempts_are_an_error_with_the_logs_last_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiedError, match="exit code 1: terminate called without"):
        run_aborting_job(tmp_path)
    assert count_attempts(tmp_path) == 2


def test_an_explained_failure_is_not_retried(tmp_path: Path) -> None:
    failure = {"tried": "train", "found": "a sample that is too long", "next_step": "shorten it"}
    with pytest.raises(TwinError, match="a sample that is too long") as error:
        run_aborting_job(tmp_path, failure=json.dumps(failure))
    assert not isinstance(error.value, TrainingDiedError)
    assert count_attempts(tmp_path) == 1


def test_a_complete_training_run_is_not_started_again(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "failure.json").write_text("{}", encoding="utf-8")  # of an earlier run
    assert run_aborting_job(tmp_path) == (tmp_path / "output", [])
    assert not (tmp_path / "attempts").exists()
    assert not (tmp_path / "failure.json").exists()


def test_printed_messages_are_forwarded() -> None:
    messages: list[dict[str, Any]] = []
    for line in (
        'progress {"step": 3}',
        "resuming after step 3 of 9",
        "starting the ranks",
        "a line about progress {",
    ):
        forward_line(line, messages.append)
    assert messages == [{"progress": {"step": 3}}, {"text": "resuming after step 3 of 9"}]


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
        ("a\nRuntimeError: gone\nb\n", "RuntimeError: gone"),
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
