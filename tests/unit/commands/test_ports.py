"""Test the choice of ports with real listeners."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from twin_resources.errors import TwinError
from twin_resources.processes.ports import choose_ports, is_free

PROGRAM = """
import sys
from twin_resources.processes.ports import choose_ports
print(choose_ports({"gateway": int(sys.argv[1])}, host="127.0.0.1")["gateway"], flush=True)
if sys.argv[2:]:
    sys.stdin.readline()
"""
HOST = "127.0.0.1"


@pytest.fixture
def occupied_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def test_each_service_gets_a_free_port_of_its_own(occupied_port: int) -> None:
    services = ("gateway", "dagster", "traces")
    ports = choose_ports(dict.fromkeys(services, occupied_port), host=HOST).values()
    assert min(ports) > occupied_port
    assert len(set(ports)) == len(services)
    assert all(is_free(HOST, port) for port in ports)


def test_a_requested_port_in_use_is_refused_and_its_holder_named(occupied_port: int) -> None:
    with pytest.raises(TwinError) as excinfo:
        choose_ports({"gateway": occupied_port}, host=HOST, requested_services=["gateway"])
    assert str(occupied_port) in excinfo.value.tried
    assert "in use by" in excinfo.value.found
    assert "--gateway-port" in excinfo.value.next_step


def test_the_port_of_the_last_start_is_kept_while_it_is_free(occupied_port: int) -> None:
    port = find_free_port()
    assert choose_ports({"traces": 4318}, host=HOST, last_ports={"traces": port})["traces"] == port
    ports = choose_ports({"traces": port}, host=HOST, last_ports={"traces": occupied_port})
    assert ports["traces"] != occupied_port


def test_two_concurrent_processes_get_different_ports() -> None:
    port = find_free_port()
    ended_process = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(port)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port), "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        held_port = int(process.stdout.readline())
        own_port = choose_ports({"gateway": port}, host=HOST)["gateway"]
        process.communicate("\n")
    assert int(ended_process.stdout) == held_port == port  # the port of an ended process is free
    assert own_port > held_port
