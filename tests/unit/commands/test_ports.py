"""The choice of ports with real listeners."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from twin_resources.errors import TwinError
from twin_resources.processes.ports import choose_ports, is_free

CHOOSES = """
import sys
from twin_resources.processes.ports import choose_ports
print(choose_ports({"gateway": int(sys.argv[1])}, host="127.0.0.1")["gateway"], flush=True)
if sys.argv[2:]:
    sys.stdin.readline()
"""
HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def test_a_default_that_is_taken_gives_way_to_a_free_one(taken: int) -> None:
    chosen = choose_ports({"gateway": taken}, host=HOST)
    assert chosen["gateway"] > taken
    assert is_free(HOST, chosen["gateway"])


def test_a_requested_port_that_is_taken_is_refused_with_its_holder(taken: int) -> None:
    with pytest.raises(TwinError) as caught:
        choose_ports({"gateway": taken}, host=HOST, requested_services=["gateway"])
    assert str(taken) in caught.value.tried
    assert "in use by" in caught.value.found
    assert "--gateway-port" in caught.value.next_step


def test_two_services_never_get_the_same_port() -> None:
    port = free_port()
    chosen = choose_ports({"gateway": port, "dagster": port, "traces": port}, host=HOST)
    assert len(set(chosen.values())) == 3


def test_the_port_of_the_last_start_is_kept_while_it_is_free(taken: int) -> None:
    port = free_port()
    assert choose_ports({"traces": 4318}, host=HOST, last_ports={"traces": port})["traces"] == port
    chosen = choose_ports({"traces": port}, host=HOST, last_ports={"traces": taken})
    assert chosen["traces"] != taken


def test_two_processes_that_choose_at_once_get_two_ports() -> None:
    port = free_port()
    other = subprocess.run(
        [sys.executable, "-c", CHOOSES, str(port)], stdout=subprocess.PIPE, text=True, check=True
    )
    with subprocess.Popen(
        [sys.executable, "-c", CHOOSES, str(port), "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        held = int(process.stdout.readline())
        mine = choose_ports({"gateway": port}, host=HOST)["gateway"]
        process.communicate("\n")
    assert int(other.stdout) == held == port  # the port of an ended process is free
    assert mine > held
