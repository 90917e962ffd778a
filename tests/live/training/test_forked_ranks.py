"""Test ranks that are forked from one process after the imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.live.training.running_ranks import (
    assert_same_training,
    find_ranks,
    read_rank,
    wait_for,
)
from twin_assets.checkpoints.job import read_result
from twin_resources.models.training_launcher import LocalLauncher, TrainingDiedError, TrainingJob
from twin_resources.models.training_launcher.rank_processes import (
    build_command,
    build_environment,
    should_fork,
)
from twin_resources.settings import Settings

pytestmark = [pytest.mark.live, pytest.mark.timeout(1500)]

IMPORTING_MODULE = """
import os
imported_by = os.getpid()
def import_ahead(job):
    assert job.name == "job.json"
"""
THREAD_STARTING_MODULE = """
import os, threading
imported_by = os.getpid()
def import_ahead(job):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
PRINTING_SCRIPT = """
import os, sys
import ahead_of_it
forked = ahead_of_it.imported_by == os.getppid()
named = [os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")]
named += [os.environ[name] for name in ("MASTER_ADDR", "GROUP_RANK")]
named += [os.environ["ACCELERATE_USE_DEEPSPEED"], os.environ["ACCELERATE_DEEPSPEED_CONFIG_FILE"]]
sys.stdout.write(" ".join(["variables", str(forked), *named, *sys.argv[1:]]) + "\\n")
"""
# Rank 0 keeps running, and ignores SIGTERM if IGNORE_SIGTERM is set. Once rank 0 has started,
# rank 1 runs the code in ACTION.
FAILING_SCRIPT = """
import os, signal, sys, time
here = os.path.dirname(sys.argv[2])
if os.environ["RANK"] == "0":
    if os.environ["IGNORE_SIGTERM"]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(os.path.join(here, "there"), "w").close()
    time.sleep(600)
while not os.path.exists(os.path.join(here, "there")):
    time.sleep(0.02)
exec(os.environ["ACTION"])
"""


def write_small_job(
    folder: Path, script: str, *, ahead: str = IMPORTING_MODULE, **changes: str
) -> TrainingJob:
    """Return a job of two ranks whose module is a script."""
    (folder / "one_rank.py").write_text(script, encoding="utf-8")
    (folder / "ahead_of_it.py").write_text(ahead, encoding="utf-8")
    (folder / "job.json").write_text("{}", encoding="utf-8")
    return TrainingJob(
        name="ann",
        folder=folder,
        module="one_rank",
        ranks=2,
        ahead="ahead_of_it",
        deepspeed={"zero_optimization": {"stage": 2}},
        mixed_precision="fp32",
        environment={"PYTHONPATH": f"{folder}:{Path(__file__).parents[3]}", **changes},
    )


def run_job(job: TrainingJob, *, may_fork: bool = True) -> tuple[list[str], str]:
    """Return the lines that the ranks print and the whole error output."""
    result = subprocess.run(
        build_command(job, may_fork=may_fork),
        env=build_environment(job, "mark", may_fork=may_fork),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return sorted(
        line for line in result.stdout.splitlines() if line.startswith("variables ")
    ), result.stderr


def test_a_forked_rank_has_the_launchers_environment_and_the_imports(tmp_path: Path) -> None:
    job = write_small_job(tmp_path, PRINTING_SCRIPT)
    assert should_fork(job)

    forked_lines, _ = run_job(job)
    launched_lines, _ = run_job(job, may_fork=False)

    assert [line.partition("True ")[2] for line in forked_lines] == [
        line.partition("False ")[2] for line in launched_lines
    ]
    assert forked_lines[1].split()[2:6] == ["1", "1", "2", "2"]
    assert forked_lines[1].split()[-4:] == [
        "true", str(tmp_path / "deepspeed.json"), "--job", str(tmp_path / "job.json"),
    ]  # fmt: skip


def test_with_another_thread_each_rank_does_its_own_imports(tmp_path: Path) -> None:
    job = write_small_job(tmp_path, PRINTING_SCRIPT, ahead=THREAD_STARTING_MODULE)
    lines, errors = run_job(job)
    assert [line.split()[1:3] for line in lines] == [["False", "0"], ["False", "1"]]
    assert "no fork because of the threads" in errors


@pytest.mark.parametrize(
    ("action", "ignore_sigterm", "message"),
    [
        ("sys.exit(5)", "", "exit code 5"),
        ("raise ValueError('a word')", "", "exit code 1: ValueError: a word"),
        ("os.kill(os.getpid(), 9)", "1", "rank 1 was killed by Signal 9 (SIGKILL)"),
    ],
)
def test_a_failing_rank_ends_the_other_rank(
    home: Settings, tmp_path: Path, action: str, ignore_sigterm: str, message: str
) -> None:
    job = write_small_job(tmp_path, FAILING_SCRIPT, ACTION=action, IGNORE_SIGTERM=ignore_sigterm)
    remaining: list[dict[int, psutil.Process]] = []
    started = time.monotonic()

    with pytest.raises(TrainingDiedError) as error:
        LocalLauncher(home).run(job, on_message=lambda _: remaining.append(find_ranks(job)))

    assert message in error.value.found
    assert remaining == [{}]  # no rank remains between both attempts
    assert not find_ranks(job)
    assert time.monotonic() - started < 120


def test_sigterm_ends_the_ranks_first(tmp_path: Path) -> None:
    job = write_small_job(tmp_path, FAILING_SCRIPT, ACTION="time.sleep(600)", IGNORE_SIGTERM="1")
    environment = build_environment(job, "mark")
    process = subprocess.Popen(build_command(job), env=environment)
    try:
        wait_for(lambda: (tmp_path / "there").exists() and len(find_ranks(job)) == job.ranks)
        ranks = find_ranks(job)
        assert [read_rank(psutil.Process(ranks[rank].pid)) for rank in (0, 1)] == [0, 1]
        assert read_rank(psutil.Process(process.pid)) is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert not any(rank.is_running() for rank in ranks.values())


OWNER_CODE = """
import sys
from tests.live.training.test_forked_ranks import FAILING_SCRIPT, write_small_job
from twin_resources.models.training_launcher import LocalLauncher
from twin_resources.settings import load_settings
from pathlib import Path
job = write_small_job(
    Path(sys.argv[2]), FAILING_SCRIPT, ACTION="time.sleep(600)", IGNORE_SIGTERM="1"
)
LocalLauncher(load_settings(sys.argv[1])).run(job)
"""


@pytest.mark.parametrize("killed", ["run worker", "launcher"])
def test_ranks_in_a_long_step_end_with_a_killed_parent(
    home: Settings, tmp_path: Path, killed: str
) -> None:
    """A rank that computes, or waits for one that does, cannot ask who its parent is."""
    arguments = [sys.executable, "-c", OWNER_CODE, str(home.home), str(tmp_path)]
    owner = psutil.Popen(arguments, cwd=Path(__file__).parents[3])
    try:
        wait_for(lambda: (tmp_path / "there").exists() and len(owner.children(recursive=True)) == 3)
        [launcher] = owner.children()
        children = [launcher, *launcher.children()]
        if killed == "launcher":
            owner.suspend()  # or it would begin its second attempt
            children.remove(launcher)
        (owner if killed == "run worker" else launcher).kill()
        wait_for(lambda: not any(is_computing(child) for child in children))
    finally:
        for process in (owner, *owner.children(recursive=True)):
            process.kill()
        owner.wait()


def is_computing(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


IMPORT_CHECK = """
import sys
from pathlib import Path
from twin_resources.models.training_launcher.forked_ranks import list_other_threads
from twin_assets.training.worker_preload import import_ahead
import_ahead(Path(sys.argv[1]))
print(list_other_threads(), all(name in sys.modules for name in sys.argv[2:]))
"""


def test_the_imports_start_no_thread(make_job: Callable[..., TrainingJob]) -> None:
    job = make_job("imported")
    environment = build_environment(job, "mark") | {"OMP_NUM_THREADS": "8"}
    names = ["torch", "deepspeed", "peft", "transformers.models.llama.modeling_llama"]
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_CHECK, str(job.folder / "job.json"), *names],
        env=environment | {"DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "[] True"


@pytest.mark.parametrize("launch", ["cpu-zero2", pytest.param("cpu-ddp", marks=pytest.mark.long)])
def test_forked_ranks_give_the_same_weights_in_fewer_cpu_seconds(
    home: Settings, make_job: Callable[..., TrainingJob], launch: str
) -> None:
    outputs: list[Path] = []
    seconds: list[float] = []
    for forks in (True, False):
        times_before = os.times()
        settings = home.model_copy(update={"train_forks": forks})
        job = make_job(f"forks-{forks}", launch=launch, token_budget=2000)
        outputs.append(LocalLauncher(settings).run(job))
        times_after = os.times()
        user = times_after.children_user - times_before.children_user
        seconds.append(user + times_after.children_system - times_before.children_system)

    assert_same_training(*outputs)
    histories = [read_result(output / "result.json").history for output in outputs]
    norms = [[row["grad_norm"] for row in history] for history in histories]
    assert norms[0] == norms[1]
    assert seconds[0] < 0.75 * seconds[1], seconds
