"""Run a command in an isolated network that records and drops every outgoing packet.

Scope: the network namespace, and the list of outgoing packets. Out of scope: the command, and the
assertions about the list.

The namespace has the loopback device and a virtual Ethernet pair with the default route. IPv6 is
off, and the name server is an address on the other end of the pair. Every packet to an outside
address goes to that device, where it is counted and dropped; a raw socket reads its destination.
DNS queries for outside names are therefore counted as well.
https://man7.org/linux/man-pages/man7/network_namespaces.7.html
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

DEVICE, OTHER_END = "outside", "nowhere"
ADDRESS, RESOLVER = "192.0.2.1", "192.0.2.53"  # TEST-NET-1: assigned to nobody
ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class ClosedRun:
    """The result of a command in the isolated network.

    Attributes:
        returncode: the command's exit code.
        attempts: the number of outgoing packets by destination, for example
            `udp 192.0.2.53:53 name example.org` or `tcp 203.0.113.7:443`.
        sent_packets: the number of outgoing packets that the kernel counted.
    """

    returncode: int
    attempts: Mapping[str, int]
    sent_packets: int


def namespace_command() -> list[str]:
    """Return the `unshare …` command that this user may run; skip the test if there is none."""
    if (
        not sys.platform.startswith("linux")
        or not shutil.which("unshare")
        or not shutil.which("ip")
    ):
        pytest.skip("no network namespaces: needs Linux with unshare and ip (package iproute2)")
    error = ""
    for flags in (["--net", "--mount"], ["--user", "--map-root-user", "--net", "--mount"]):
        command = ["unshare", *flags, "--"]
        probe = "mount --make-rprivate / && ip link add probe0 type veth peer name probe1"
        completed = subprocess.run(
            [*command, "sh", "-c", probe], capture_output=True, text=True, check=False
        )
        if completed.returncode == 0:
            return command
        error = (completed.stderr.strip() or "refused").splitlines()[-1]
    pytest.skip(f"no network namespaces: not permitted here ({error})")


def run_closed(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 600,
) -> ClosedRun:
    """Run a command in an isolated network, and report its outgoing packets.

    All processes that it starts are in the same network. The report does not include packets that
    background processes send after the command has ended.

    Args:
        log: file for standard output and error.
    """
    prefix = namespace_command()
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as output:
        report = Path(folder) / "report.json"
        script = str(Path(__file__).resolve())
        isolated_command = [*prefix, sys.executable, script, str(report), *command]
        subprocess.run(
            isolated_command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(os.environ if environment is None else environment),
            cwd=cwd or ROOT,
            timeout=timeout_s,
            check=False,
        )
        if not report.exists():
            output_end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise AssertionError(f"the isolated network could not be created: {output_end}")
        return ClosedRun(**json.loads(report.read_text(encoding="utf-8")))


def _configure_network(folder: Path) -> None:
    """Configure the network; called only inside the new namespaces."""
    resolver = folder / "resolv.conf"
    resolver.write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n", encoding="utf-8")
    for command in (
        "mount --make-rprivate /",
        f"mount --bind {resolver} {Path('/etc/resolv.conf').resolve()}",
        "ip link set lo up",
        f"ip link add {DEVICE} type veth peer name {OTHER_END}",
    ):
        subprocess.run(command.split(), check=True)
    for name in ("all", "default", DEVICE, OTHER_END):
        ipv6_switch = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
        if ipv6_switch.exists():  # absent in a kernel without IPv6
            ipv6_switch.write_text("1", encoding="utf-8")
    for command in (
        f"ip address add {ADDRESS}/24 dev {DEVICE}",
        f"ip link set {OTHER_END} up",
        # without ARP, because without an ARP reply the packet itself would never be sent
        f"ip link set {DEVICE} arp off up",
        f"ip route add default dev {DEVICE}",
    ):
        subprocess.run(command.split(), check=True)


def _sent_packets() -> int:
    # /proc/self/net shows this namespace; /sys may still show the namespace that mounted it
    for line in Path("/proc/self/net/dev").read_text(encoding="utf-8").splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == DEVICE:
            return int(counters.split()[9])
    raise OSError(f"{DEVICE} is not in /proc/self/net/dev")


def packet_destination(packet: bytes) -> str:
    """Return the destination of an Ethernet frame, with the name of a DNS query."""
    ethernet_type = struct.unpack("!H", packet[12:14])[0]
    if ethernet_type != 0x0800:
        return f"ethernet type {ethernet_type:#06x}"
    header = packet[14:]
    header_length = (header[0] & 0x0F) * 4
    protocol, target = header[9], socket.inet_ntoa(header[16:20])
    if protocol not in (6, 17):
        return f"protocol {protocol} {target}"
    port = struct.unpack("!H", header[header_length + 2 : header_length + 4])[0]
    destination = f"{'tcp' if protocol == 6 else 'udp'} {target}:{port}"
    if protocol == 17 and port == 53:
        return f"{destination} name {_queried_name(header[header_length + 8 :])}"
    return destination


def _queried_name(message: bytes) -> str:
    labels, index = [], 12
    while index < len(message) and 0 < message[index] < 64:
        length = message[index]
        labels.append(message[index + 1 : index + 1 + length].decode("ascii", "replace"))
        index += 1 + length
    return ".".join(labels)


def _count_attempts(attempts: Counter[str], raw: socket.socket) -> None:
    while True:
        packet, address = raw.recvfrom(65_535)
        if address[2] == socket.PACKET_OUTGOING:
            attempts[packet_destination(packet)] += 1


def _run_in_namespace(report: Path, command: Sequence[str]) -> int:
    """Run the command in the new namespaces, write the report, and return the exit code."""
    _configure_network(report.parent)
    attempts: Counter[str] = Counter()
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    raw.bind((DEVICE, 0))
    threading.Thread(target=_count_attempts, args=(attempts, raw), daemon=True).start()
    before = _sent_packets()
    returncode = subprocess.run(command, check=False).returncode
    time.sleep(0.2)  # until the raw socket has read the last packet
    result = {
        "returncode": returncode,
        "attempts": dict(attempts),
        "sent_packets": _sent_packets() - before,
    }
    report.write_text(json.dumps(result), encoding="utf-8")
    return returncode


if __name__ == "__main__":
    sys.exit(_run_in_namespace(Path(sys.argv[1]), sys.argv[2:]))
