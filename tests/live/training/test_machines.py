"""One training on two machines, over accelerate's machine ranks.

Both "machines" are this one; every process, address and file between them is real.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.training.conftest import Imported, forks_of
from tests.live.training.machines import (
    assert_same,
    free_ports,
    held,
    ranks_of,
    two_rank_job,
    weights_of,
    weights_of_one_machine,
)
from twin_assets.checkpoints.job import read_result
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import LocalLauncher, make_launcher
from twin_resources.models.training_launcher.local import attempt_path
from twin_resources.settings import Settings

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, imported: Imported
) -> dict[str, Any]:
    """The weights that one machine gives."""
    with forks_of(imported):
        return weights_of_one_machine(Settings(home=tmp_path_factory.mktemp("alone")), tiny_model)


@contextlib.contextmanager
def follower(home: Settings, log: Path, *, trainings: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """Machine 1, as a person starts it there."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "twin_resources.models.training_launcher.follower"),
                *("--machine-rank", "1", "--trainings", str(trainings), "--home", str(home.home)),
            ],
            env=os.environ | {"TWIN_TRAIN_MACHINES": str(home.train_machines)},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def on_two_machines(home: Settings) -> Settings:
    meeting = f"127.0.0.1:{free_ports(1)[0]}"
    return home.model_copy(update={"train_machines": 2, "train_meeting": meeting})


def test_two_machines_train_what_one_trains_bit_for_bit(
    home: Settings, tiny_model: Path, alone: dict[str, Any], process_logs: Path, tmp_path: Path
) -> None:
    home = on_two_machines(home)
    training = held(two_rank_job(home, "two-machines", tiny_model), tmp_path)
    groups: dict[int, str] = {}
    said: list[dict[str, Any]] = []

    def look() -> None:
        for rank, process in ranks_of(training.job).items():
            groups[rank] = process.environ()["GROUP_RANK"]

    log = process_logs / "follower.log"
    with follower(home, log) as machine, training.meanwhile(look):
        output = LocalLauncher(home).run(training.job, on_message=said.append)
        assert machine.wait(60) == 0

    assert groups == {0: "0", 1: "1"}  # each machine ran one rank
    assert_same(weights_of(output), alone)
    steps = [message["progress"]["step"] for message in said if "progress" in message]
    assert steps == list(range(1, read_result(output / "result.json").steps + 1))
    assert "following two-machines as machine 1 of 2" in log.read_text(encoding="utf-8")
    assert not attempt_path(home).exists()
    assert not ranks_of(training.job)


@pytest.mark.long
def test_a_rank_killed_on_the_other_machine_is_resumed_on_both(
    home: Settings, tiny_model: Path, alone: dict[str, Any], process_logs: Path, tmp_path: Path
) -> None:
    home = on_two_machines(home)
    training = held(two_rank_job(home, "killed-there", tiny_model), tmp_path)

    def kill() -> None:
        os.kill(ranks_of(training.job)[1].pid, signal.SIGKILL)

    log = process_logs / "follower.log"
    with follower(home, log) as machine, training.meanwhile(kill):
        output = LocalLauncher(home).run(training.job)
        assert machine.wait(60) == 0

    assert read_result(output / "result.json").resumed_at == [3]
    assert_same(weights_of(output), alone)
    assert log.read_text(encoding="utf-8").count("following killed-there") == 2


def test_without_a_cluster_the_reason_and_what_to_do_are_said(
    home: Settings, tiny_model: Path
) -> None:
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    settings = home.model_copy(update={"train_backend": "ray", "ray_address": address})
    with pytest.raises(TwinError, match="reach the Ray cluster") as caught:
        make_launcher("", settings).run(two_rank_job(home, "nowhere", tiny_model))
    assert "TWIN_RAY_ADDRESS" in caught.value.next_step
