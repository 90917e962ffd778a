"""Test training on a real local Ray cluster with two workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
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

from tests.live.training.conftest import ImportedProcesses, fork_trainings
from tests.live.training.machines import (
    assert_same_weights,
    find_free_ports,
    find_ranks,
    pause_in_third_step,
    read_weights,
    train_on_one_machine,
    write_two_rank_job,
)
from twin_assets.checkpoints.job import read_result
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import make_launcher
from twin_resources.processes.process_identity import end_processes
from twin_resources.settings import Settings

# a busy machine starts Ray's processes slowly
pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]

START_TIMEOUT_S = 300


@pytest.fixture(scope="module")
def expected_weights(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, imported: ImportedProcesses
) -> dict[str, Any]:
    """Return the weights that one machine trains."""
    with fork_trainings(imported):
        return train_on_one_machine(Settings(home=tmp_path_factory.mktemp("alone")), tiny_model)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a local Ray cluster of two CPUs; yield its dashboard's address."""
    folder = Path(
        tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    )  # short, because Ray's sockets have paths in it
    log = tmp_path_factory.mktemp("cluster") / "ray-start.log"
    dashboard, *ports = find_free_ports(9)
    names = ["port", "ray-client-server-port", "metrics-export-port"]
    names += ["dashboard-agent-listen-port", "dashboard-agent-grpc-port"]
    # Ray waits for ports that are not given, and not long enough on a busy machine
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
            env=os.environ | build_cluster_environment(),
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{dashboard}"
    processes: list[psutil.Process] = []
    exit_code, output = None, ""
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _is_reachable(f"{address}/api/jobs/"):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(1)
        yield address
    finally:
        exit_code, output = process.poll(), log.read_text(encoding="utf-8")
        for path in sorted(folder.glob("session_2*/logs/ray_process_exit.log")):
            output += path.read_text(encoding="utf-8")
        processes = [
            process_ for process_ in psutil.process_iter() if _belongs_to_cluster(process_, folder)
        ]
        process.terminate()
        end_processes(processes)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
    assert exit_code is None, f"the cluster ended by itself, code {exit_code}:\n{output}"


def build_cluster_environment() -> dict[str, str]:
    """Return the environment for a cluster on a busy machine of two cores."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
        "RAY_enable_worker_prestart": "0",
        "RAY_worker_register_timeout_seconds": "300",
        "RAY_agent_register_timeout_ms": "300000",
        "RAY_health_check_initial_delay_ms": "300000",
        "RAY_health_check_timeout_ms": "120000",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
        "RAY_grpc_keepalive_timeout_ms": "300000",
    }


def _belongs_to_cluster(process: psutil.Process, folder: Path) -> bool:
    """Return whether a process's command line names the cluster's folder."""
    try:
        return any(str(folder) in word for word in process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _is_reachable(address: str) -> bool:
    try:
        return httpx.get(address, timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def with_cluster(home: Settings, address: str) -> Settings:
    return home.model_copy(
        update={"train_backend": "ray", "train_machines": 2, "ray_address": address}
    )


@pytest.mark.drawn(2, of="ways to the same weights")
def test_two_ray_workers_give_the_weights_of_one_machine(
    home: Settings, tiny_model: Path, expected_weights: dict[str, Any], cluster: str, tmp_path: Path
) -> None:
    home = with_cluster(home, cluster)
    paused_job = pause_in_third_step(write_two_rank_job(home, "on-ray", tiny_model), tmp_path)
    messages: list[dict[str, Any]] = []
    owners: set[str] = set()

    def record_owners() -> None:
        owners.update(
            process.environ()["TWIN_TRAINING_OWNER"]
            for process in find_ranks(paused_job.job).values()
        )

    with paused_job.while_paused(record_owners):
        output = make_launcher("", home).run(paused_job.job, on_message=messages.append)

    assert len(owners) == 2  # two Ray workers, one rank each
    assert_same_weights(read_weights(output), expected_weights)
    steps = [message["progress"]["step"] for message in messages if "progress" in message]
    assert steps == list(range(1, read_result(output / "result.json").steps + 1))
    assert not find_ranks(paused_job.job)
    assert "progress {" in (home.logs_dir / "training-on-ray.log").read_text(encoding="utf-8")


@pytest.mark.long
def test_a_killed_ray_worker_is_retried(
    home: Settings, tiny_model: Path, expected_weights: dict[str, Any], cluster: str, tmp_path: Path
) -> None:
    home = with_cluster(home, cluster)
    paused_job = pause_in_third_step(write_two_rank_job(home, "ray-killed", tiny_model), tmp_path)
    texts: list[str] = []

    def kill() -> None:
        owner = find_ranks(paused_job.job)[1].environ()["TWIN_TRAINING_OWNER"]
        os.kill(int(owner.partition(":")[0]), signal.SIGKILL)

    with paused_job.while_paused(kill, resume=False):
        output = make_launcher("", home).run(
            paused_job.job, on_message=lambda message: texts.append(message.get("text", ""))
        )

    (retry_message,) = [
        text for text in texts if "trying again from the last complete checkpoint" in text
    ]
    assert "machine 1: " in retry_message
    assert "its worker died" in retry_message
    # the driver ended the waiting rank 0, so step 3's checkpoint was never complete
    assert read_result(output / "result.json").resumed_at == [2]
    assert_same_weights(read_weights(output), expected_weights)
    assert not find_ranks(paused_job.job)


@pytest.mark.long
def test_a_ray_job_outlives_its_launcher(
    home: Settings, tiny_model: Path, expected_weights: dict[str, Any], cluster: str, tmp_path: Path
) -> None:
    home = with_cluster(home, cluster)
    paused_job = pause_in_third_step(write_two_rank_job(home, "ray-orphan", tiny_model), tmp_path)
    values = home.home / "job-values.json"
    values.write_text(json.dumps(paused_job.job.to_json_dict()), encoding="utf-8")
    code = (
        "import json, sys\n"
        "from twin_resources.settings import load_settings\n"
        "from twin_resources.models.training_launcher import make_launcher\n"
        "from twin_resources.models.training_launcher.training_job import job_from_values\n"
        "job = job_from_values(json.load(open(sys.argv[1])))\n"
        "tell = lambda message: print(message, flush=True)\n"
        "make_launcher('ray', load_settings()).run(job, on_message=tell)\n"
    )
    environment = {"TWIN_RAY_ADDRESS": cluster, "TWIN_TRAIN_MACHINES": "2"}
    launcher_process = subprocess.Popen(
        [sys.executable, "-c", code, str(values)],
        env=os.environ | environment | {"TWIN_HOME": str(home.home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert launcher_process.stdout is not None
    for line in launcher_process.stdout:
        if "'progress'" in line:
            break
    launcher_process.kill()
    launcher_process.wait()
    texts: list[str] = []

    def continue_when_followed(message: dict[str, Any]) -> None:
        texts.append(message.get("text", ""))
        if "still running from an earlier run" in texts[-1]:
            paused_job.continue_file.touch()

    output = make_launcher("", home).run(paused_job.job, on_message=continue_when_followed)

    assert paused_job.continue_file.exists(), texts
    assert read_result(output / "result.json").resumed_at == []  # no step was repeated
    assert_same_weights(read_weights(output), expected_weights)


def test_a_missing_cluster_is_an_error(home: Settings, tiny_model: Path) -> None:
    address = f"http://127.0.0.1:{find_free_ports(1)[0]}"
    settings = home.model_copy(update={"train_backend": "ray", "ray_address": address})
    with pytest.raises(TwinError, match="reach the Ray cluster") as error:
        make_launcher("", settings).run(write_two_rank_job(home, "nowhere", tiny_model))
    assert "TWIN_RAY_ADDRESS" in error.value.next_step
