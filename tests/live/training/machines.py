"""One training on several machines: its job, its weights on one machine, its processes.

Scope: what the tests of machines and of a Ray cluster share. Out of scope: tests.
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

from tests.live.training.conftest import rows
from twin_assets.checkpoints.job import Job, write_job, write_rows
from twin_assets.checkpoints.recipe import UNMODIFIED_SAMPLES, load_recipe
from twin_assets.training.fine_tuning import build_training_job
from twin_resources.models.training_launcher import LocalLauncher, TrainingJob
from twin_resources.settings import Settings

# Rank 0's own interpreter reads this at its start: it waits, once, before it renames the
# checkpoint of step 3.
HOLD = """
import os, sys, time
_reached, _go_on = os.environ.get("HOLD_REACHED"), os.environ.get("HOLD_GO_ON")
def _hold(event, arguments):
    if event == "os.rename" and os.environ.get("RANK") == "0":
        if any("step-000003" in str(argument) for argument in arguments):
            try:
                os.close(os.open(_reached, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            while not os.path.exists(_go_on):
                time.sleep(0.05)
if _reached:
    sys.addaudithook(_hold)
"""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def two_rank_job(home: Settings, name: str, base: Path) -> TrainingJob:
    """A job of two ranks and a few steps under DeepSpeed, in a home."""
    changes = {"launch": "cpu-zero2", "token_budget": 2000, "checkpoint_every_steps": 1}
    recipe = load_recipe("smollm2-135m-cpu").model_copy(update=UNMODIFIED_SAMPLES | changes)
    job = Job(home.work_dir / name, "tiny", base, 2, recipe)
    write_job(job)
    write_rows(job.samples_path, rows())
    # as many threads a rank wherever it runs: their number moves sums by rounding
    return dataclasses.replace(build_training_job(job, name=name), threads_per_rank=1)


def weights_of_one_machine(home: Settings, base: Path) -> dict[str, Any]:
    return weights_of(LocalLauncher(home).run(two_rank_job(home, "alone", base)))


def weights_of(output: Path) -> dict[str, Any]:
    return load_file(output / "adapter" / "adapter_model.safetensors")


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    assert all((found[name] == expected[name]).all() for name in expected)
    assert any(abs(value).max() > 0 for name, value in found.items() if "lora_B" in name)


def ranks_of(job: TrainingJob) -> dict[int, psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if str(job.folder / "job.json") in process.cmdline():
                rank = rank_of(process)
                if rank is not None:
                    found[rank] = process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def rank_of(process: psutil.Process) -> int | None:
    """Its rank: by its variables, and a forked one's by its name; None for what starts ranks."""
    rank = process.environ().get("RANK") or process.name().partition("rank ")[2]
    return int(rank) if rank else None


def wait_for(condition: Callable[[], Any], *, seconds: float = 500.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


@dataclasses.dataclass(frozen=True)
class Held:
    """A job whose rank 0 waits in its third step of four, once, until it may go on.

    Four steps take half a second and a message about one comes later than that, on a busy machine:
    what is done because of a message finds no rank any more.
    """

    job: TrainingJob
    reached: Path
    go_on: Path

    @contextlib.contextmanager
    def meanwhile(self, act: Callable[[], None], *, then_go_on: bool = True) -> Iterator[None]:
        """While the body runs: act once rank 0 waits.

        Args:
            then_go_on: let rank 0 go on afterwards; otherwise it waits until it is ended.
        """
        done: list[bool] = []
        over = threading.Event()

        def wait_and_act() -> None:
            try:
                wait_for(lambda: over.is_set() or self.reached.exists(), seconds=2400)
                act()
                done.append(True)
            finally:
                if then_go_on or not done:
                    self.go_on.touch()

        actor = threading.Thread(target=wait_and_act)
        actor.start()
        try:
            yield
        finally:
            over.set()
            actor.join()
        assert done, "the thread says why"


def held(job: TrainingJob, folder: Path) -> Held:
    """The job of `two_rank_job`, held.

    Args:
        folder: for the hook and the signs.
    """
    hook = folder / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOLD, encoding="utf-8")
    made = Held(job, folder / "reached", folder / "go on")
    environment = {
        "HOLD_REACHED": str(made.reached),
        "HOLD_GO_ON": str(made.go_on),
        "PYTHONPATH": os.pathsep.join([str(hook), str(Path(__file__).parents[3])]),
    }
    both = dict(job.environment) | environment
    return dataclasses.replace(made, job=dataclasses.replace(job, environment=both))
