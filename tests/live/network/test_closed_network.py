"""Test that the isolated network records outgoing packets and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.live.closed_network import run_closed

pytestmark = pytest.mark.live

LOOPBACK = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
client.sendall(b"hello")
print(server.accept()[0].recv(5).decode(), socket.gethostbyname("localhost"))
"""
OUTSIDE = """
import socket, subprocess, sys
try:
    socket.create_connection(("203.0.113.7", 443), timeout=0.5)
except OSError as error:
    print("refused:", error)
else:
    sys.exit("connected to nowhere")
code = "import socket; socket.gethostbyname('telemetry.example.org')"
sys.exit(subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL).returncode == 0)
"""


def test_loopback_traffic_works_and_is_not_recorded(process_logs: Path) -> None:
    log = process_logs / "loopback.log"
    run = run_closed([sys.executable, "-c", LOOPBACK], log=log)
    assert (run.returncode, log.read_text().split()) == (0, ["hello", "127.0.0.1"])
    assert (dict(run.attempts), run.sent_packets) == ({}, 0)


def test_outside_addresses_and_names_are_recorded(process_logs: Path) -> None:
    """Packets of child processes are recorded, too; the kernel's count equals the list."""
    run = run_closed([sys.executable, "-c", OUTSIDE], log=process_logs / "outside.log")
    assert run.returncode == 0
    assert run.attempts["tcp 203.0.113.7:443"] >= 1
    lookups = [name for name in run.attempts if name.endswith("name telemetry.example.org")]
    assert lookups
    assert all(name.startswith("udp 192.0.2.53:53 ") for name in lookups)
    assert run.sent_packets == sum(run.attempts.values())
