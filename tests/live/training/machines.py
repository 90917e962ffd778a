"""Run one training job on several machines, and find its weights and processes.

Scope: functions that the tests of machines and of a Ray cluster share. Out of scope: tests.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from safetensors.numpy import load_file

from tests.live.training.conftest import make_samples
from twin_assets.checkpoints.job import Job, write_job, write_rows
from twin_assets.checkpoints.recipe import UNMODIFIED_SAMPLES, load_recipe
from twin_assets.training.fine_tuning import build_training_job
from twin_resources.models.training_launcher import LocalLauncher, TrainingJob
from twin_resources.settings import Settings

# Rank 0's interpreter runs this at its start: it waits once before it renames the checkpoint of
# step 3.
PAUSE_HOOK = """
import os, sys, time
_reached, _go_on = os.environ.get("PAUSE_REACHED"), os.environ.get("PAUSE_CONTINUE")
def _pause(event, arguments):
    if event == "os.rename" and os.environ.get("RANK") == "0":
        if any("step-000003" in str(argument) for argument in arguments):
            try:
                os.close(os.open(_reached, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            while not os.path.exists(_go_on):
                time.sleep(0.05)
if _reached:
    sys.addaudithook(_pause)
"""


def find_free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free_socket in sockets:
            free_socket.bind(("127.0.0.1", 0))
        return [free_socket.getsockname()[1] for free_socket in sockets]


def write_two_rank_job(home: Settings, name: str, base: Path) -> TrainingJob:
    """Write a job of two ranks and a few steps with DeepSpeed into a home."""
    changes = {"launch": "cpu-zero2", "token_budget": 2000, "checkpoint_every_steps": 1}
    recipe = load_recipe("smollm2-135m-cpu").model_copy(update=UNMODIFIED_SAMPLES | changes)
    job = Job(home.work_dir / name, "tiny", base, 2, recipe)
    write_job(job)
    write_rows(job.samples_path, make_samples())
    # the number of threads changes the rounding of sums, so it is the same on every machine
    return dataclasses.replace(build_training_job(job, name=name), threads_per_rank=1)


def train_on_one_machine(home: Settings, base: Path) -> dict[str, Any]:
    return read_weights(LocalLauncher(home).run(write_two_rank_job(home, "alone", base)))


def read_weights(output: Path) -> dict[str, Any]:
    return load_file(output / "adapter" / "adapter_model.safetensors")


def assert_same_weights(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert actual.keys() == expected.keys()
    assert all((actual[name] == expected[name]).all() for name in expected)
    assert any(abs(value).max() > 0 for name, value in actual.items() if "lora_B" in name)


def find_ranks(job: TrainingJob) -> dict[int, psutil.Process]:
    """Return the processes of a job's ranks, by rank."""
    return find_ranks_in(job.folder)


def find_ranks_in(folder: Path) -> dict[int, psutil.Process]:
    """Return the processes of the ranks of the job in a folder, by rank."""
    ranks: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if str(folder / "job.json") in process.cmdline():
                rank = read_rank(process)
                if rank is not None:
                    ranks[rank] = process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return ranks


def read_rank(process: psutil.Process) -> int | None:
    """Return a process's rank from its environment or, if forked, its name; None for a launcher."""
    rank = process.environ().get("RANK") or process.name().partition("rank ")[2]
    return int(rank) if rank else None


def wait_for(condition: Callable[[], Any], *, limit_s: float = 500.0) -> Any:
    deadline = time.monotonic() + limit_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {limit_s} s"
        time.sleep(0.05)
    return result


@dataclasses.dataclass(frozen=True)
class PausedJob:
    """A job whose rank 0 pauses once, in its third step of four, until `continue_file` exists.

    Four steps take half a second. On a busy machine, messages arrive after the ranks have ended.
    """

    job: TrainingJob
    reached_file: Path
    continue_file: Path

    @contextlib.contextmanager
    def while_paused(self, act: Callable[[], None], *, resume: bool = True) -> Iterator[None]:
        """Call `act` in a thread after rank 0 has paused, while the body runs.

        Args:
            resume: whether rank 0 continues afterwards; otherwise it waits until it is killed.
        """
        done: list[bool] = []
        stop = threading.Event()

        def wait_and_act() -> None:
            try:
                wait_for(lambda: stop.is_set() or self.reached_file.exists(), limit_s=2400)
                act()
                done.append(True)
            finally:
                if resume or not done:
                    self.continue_file.touch()

        thread = threading.Thread(target=wait_and_act)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert done, "the action failed; the thread's traceback shows why"


def pause_in_third_step(job: TrainingJob, folder: Path) -> PausedJob:
    """Return the job of `write_two_rank_job` with the pause.

    Args:
        folder: folder for the hook and the two marker files.
    """
    hook = folder / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(PAUSE_HOOK, encoding="utf-8")
    paused_job = PausedJob(job, folder / "reached", folder / "go on")
    environment = {
        "PAUSE_REACHED": str(paused_job.reached_file),
        "PAUSE_CONTINUE": str(paused_job.continue_file),
        "PYTHONPATH": os.pathsep.join([str(hook), str(Path(__file__).parents[3])]),
    }
    variables = dict(job.environment) | environment
    return dataclasses.replace(paused_job, job=dataclasses.replace(job, environment=variables))
