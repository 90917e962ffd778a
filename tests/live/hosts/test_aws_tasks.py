"""Test the programs of `deploy/aws/twin.yaml`, each with its task definition's environment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from tests import aws_stack
from tests.free_ports import free_port
from tests.graph.s3 import KEY, REGION, make_s3_client
from tests.live.hosts.host import Host
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.settings import load_secrets

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


@pytest.fixture
def tasks(s3_endpoint: str) -> dict[str, dict[str, Any]]:
    arguments = {
        "endpoint_url": s3_endpoint, "region_name": REGION,
        "aws_access_key_id": KEY, "aws_secret_access_key": KEY,
    }  # fmt: skip
    return aws_stack.create_stack(boto3, **arguments)


@pytest.fixture
def secrets(postgresql_url: str) -> dict[str, str]:
    return {
        "TWIN_STATE_URL": postgresql_url,
        "TWIN_MODEL_SERVER_KEY": "",
        "LANGFUSE_PUBLIC_KEY": "pk-lf-test",
        "LANGFUSE_SECRET_KEY": "sk-lf-test",
    }


@pytest.fixture
def hosts(
    tasks: dict[str, dict[str, Any]], secrets: Mapping[str, str], s3_endpoint: str, tmp_path: Path
) -> Iterator[dict[str, Host]]:
    """Create a host of one home for each task; on AWS, a role provides the credentials."""
    credentials = {
        "AWS_ENDPOINT": s3_endpoint, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_ALLOW_HTTP": "true",
    }  # fmt: skip
    with ExitStack() as stack:
        hosts: dict[str, Host] = {}
        for name in ("worker", "answers"):
            task = tasks[name]
            environment = aws_stack.task_environment(task["containerDefinitions"][0], secrets)
            ports = {"TWIN_DAGSTER_PORT": str(free_port())}
            hosts[name] = Host(
                tmp_path / name, environment | credentials | ports, hosts.get("worker")
            )
            stack.callback(hosts[name].stop)
        bucket = environment["TWIN_TABLES_URI"].removeprefix("s3://").partition("/")[0]
        buckets = make_s3_client(s3_endpoint).list_buckets()["Buckets"]
        assert bucket in {existing["Name"] for existing in buckets}
        yield hosts


def daemons_are_healthy(host: Host) -> bool:
    """Return whether the webserver's instance has heartbeats of every daemon that it requires."""
    answer = httpx.post(
        f"http://127.0.0.1:{host.shared['TWIN_DAGSTER_PORT']}/graphql",
        json={"query": "{instance{daemonHealth{allDaemonStatuses{required healthy}}}}"},
        headers={"Authorization": f"Bearer {load_secrets(host.settings).gateway_master_key}"},
        trust_env=False,
        timeout=120,
    )
    health = answer.raise_for_status().json()["data"]["instance"]["daemonHealth"]
    return all(status["healthy"] for status in health["allDaemonStatuses"] if status["required"])


def test_the_tasks_start_in_an_empty_home(
    hosts: dict[str, Host], tasks: dict[str, dict[str, Any]]
) -> None:
    answers, worker = hosts["answers"], hosts["worker"]
    answers.start(*(container["name"] for container in tasks["answers"]["containerDefinitions"]))
    # Dagster's programs start in the order of the task definition.
    containers = tasks["worker"]["containerDefinitions"]
    dagster = [container for container in containers if "dagster" in container["name"]]
    assert [
        [dependency["containerName"] for dependency in container.get("dependsOn", [])]
        for container in dagster
    ] == [[], ["dagster-code"], ["dagster-webserver"]]
    worker.start("dagster-code", "dagster-webserver")
    port = worker.shared["TWIN_DAGSTER_PORT"]
    check = dagster[1]["healthCheck"]["command"]
    command = [sys.executable, *(word.replace("3000", port) for word in check[2:])]
    worker.wait(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0)
    worker.start("dagster-daemon")
    webserver = DagsterHTTP.for_home(worker.settings)
    worker.wait(webserver.is_location_loaded)
    worker.wait(lambda: daemons_are_healthy(worker))

    answers.wait(lambda: answers.readiness()[0] == 503)
    answers.wait(lambda: answers.readiness()[1]["problems"] == [])
    assert answers.readiness()[1]["status"] == "waiting for an author and a model server"
    (worker.settings.authors_dir / "ann.toml").write_text('name = "Ann Bell"\n')
    answers.wait(lambda: answers.readiness()[1]["authors"] == ["ann"])
    worker.wait(webserver.is_location_loaded)
