"""One training on a real Ray cluster of this machine, its two workers real processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.live.training.machines import (
    assert_same,
    free_ports,
    ranks_of,
    two_rank_job,
    weights_of,
    weights_of_one_machine,
)
from twin_assets.training.job import read_result
from twin_resources.settings import Settings
from twin_resources.stack.process_identity import end_processes
from twin_resources.training_launcher import make_launcher

pytestmark = pytest.mark.live

START_S = 300


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Any]:
    """The weights that one machine gives."""
    return weights_of_one_machine(Settings(home=tmp_path_factory.mktemp("alone")), tiny_model)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray cluster of two processors on this machine; yields its dashboard's address."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # its sockets' paths must be short
    log = tmp_path_factory.mktemp("cluster") / "ray-start.log"
    dashboard, *ports = free_ports(9)
    names = ["port", "ray-client-server-port", "metrics-export-port"]
    names += ["dashboard-agent-listen-port", "dashboard-agent-grpc-port"]
    # a port that is not given is waited for, and not long enough on a busy machine
    names += ["runtime-env-agent-port", "node-manager-port", "object-manager-port"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"),
                *("--num-cpus=2", "--object-store-memory=80000000"),
                *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
                *("--disable-usage-stats", f"--temp-dir={folder}"),
                *(f"--{name}={port}" for name, port in zip(names, ports, strict=True)),
            ],
            env=os.environ | cluster_variables(),
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{dashboard}"
    started: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + START_S
        while not _answers(f"{address}/api/jobs/"):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(1)
        yield address
    finally:
        started = [process_ for process_ in psutil.process_iter() if _of_cluster(process_, folder)]
        process.terminate()
        end_processes(started)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def cluster_variables() -> dict[str, str]:
    """What a cluster on a busy machine of two cores needs; its entry point is `python`."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
        "RAY_enable_worker_prestart": "0",
        "RAY_worker_register_timeout_seconds": "300",
        "RAY_agent_register_timeout_ms": "300000",
        "RAY_health_check_initial_delay_ms": "300000",
    }


def _of_cluster(process: psutil.Process, folder: Path) -> bool:
    """Whether a process belongs to the cluster in `folder`, itself or through its parents."""
    try:
        return any(str(folder) in word for word in process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def on_ray(home: Settings, address: str) -> Settings:
    return home.model_copy(
        update={"train_backend": "ray", "train_machines": 2, "ray_address": address}
    )


def test_two_ray_workers_train_what_one_machine_trains_bit_for_bit(
    home: Settings, tiny_model: Path, alone: dict[str, Any], cluster: str
) -> None:
    home = on_ray(home, cluster)
    job = two_rank_job(home, "on-ray", tiny_model)
    said: list[dict[str, Any]] = []
    owners: set[str] = set()

    def look(message: dict[str, Any]) -> None:
        said.append(message)
        if "progress" in message and not owners:
            owners.update(each.environ()["TWIN_TRAINING_OWNER"] for each in ranks_of(job).values())

    output = make_launcher("", home).run(job, on_message=look)

    assert len(owners) == 2  # two Ray workers, one rank each
    assert_same(weights_of(output), alone)
    steps = [message["progress"]["step"] for message in said if "progress" in message]
    assert steps == list(range(1, read_result(output / "result.json").steps + 1))
    assert not ranks_of(job)
    assert "progress {" in (home.logs_dir / "training-on-ray.log").read_text(encoding="utf-8")
