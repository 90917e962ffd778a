"""A network without an outside: runs a command where every packet that wants out is seen and lost.

Scope: the network namespace of its own, and the list of what tried to leave it.
Out of scope: which command is run, and what a test makes of the list.

In the namespace there is the loopback and a virtual cable with the default route; IPv6 is off, and
names are asked of an address behind that cable. A packet for anywhere else is written to it,
counted, read by a raw socket for where it was going, and lost at the other end. So a look-up of an
outside name is an attempt as well. https://man7.org/linux/man-pages/man7/network_namespaces.7.html
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
ADDRESS, RESOLVER = "192.0.2.1", "192.0.2.53"  # TEST-NET-1: nobody has these
ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class ClosedRun:
    """What a command did behind the closed door.

    Attributes:
        returncode: of the command.
        attempts: packets that wanted out, by `udp 192.0.2.53:53 name example.org` or
            `tcp 203.0.113.7:443`, with their number.
        sent_packets: the same as counted by the kernel's device.
    """

    returncode: int
    attempts: Mapping[str, int]
    sent_packets: int


def namespace_command() -> list[str]:
    """`unshare …` as far as this user may; skips the test where that is not permitted."""
    if (
        not sys.platform.startswith("linux")
        or not shutil.which("unshare")
        or not shutil.which("ip")
    ):
        pytest.skip("no network namespaces: needs Linux with unshare and ip (package iproute2)")
    said = ""
    for flags in (["--net", "--mount"], ["--user", "--map-root-user", "--net", "--mount"]):
        command = ["unshare", *flags, "--"]
        probe = "mount --make-rprivate / && ip link add probe0 type veth peer name probe1"
        ran = subprocess.run(
            [*command, "sh", "-c", probe], capture_output=True, text=True, check=False
        )
        if ran.returncode == 0:
            return command
        said = ran.stderr.strip().splitlines()[-1] if ran.stderr.strip() else "refused"
    pytest.skip(f"no network namespaces: not permitted here ({said})")


def run_closed(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 600,
) -> ClosedRun:
    """Run a command in a network of its own and report what tried to leave it.

    Everything it starts is in that network too, for as long as it runs: what a background process
    tries after the command has ended is not in the report.

    Args:
        log: file for standard output and error.
    """
    prefix = namespace_command()
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as output:
        report = Path(folder) / "report.json"
        wrapped = [*prefix, sys.executable, str(Path(__file__).resolve()), str(report), *command]
        subprocess.run(
            wrapped,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(os.environ if environment is None else environment),
            cwd=cwd or ROOT,
            timeout=timeout_s,
            check=False,
        )
        if not report.exists():
            said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise AssertionError(f"the closed network could not be made: {said}")
        return ClosedRun(**json.loads(report.read_text(encoding="utf-8")))


def _make_network(folder: Path) -> None:
    """Only called inside the new namespaces."""
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
        switch = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
        if switch.exists():  # a kernel without IPv6 has nothing to switch off
            switch.write_text("1", encoding="utf-8")
    for command in (
        f"ip address add {ADDRESS}/24 dev {DEVICE}",
        f"ip link set {OTHER_END} up",
        # without ARP: nobody would answer, and the packet itself would never be seen
        f"ip link set {DEVICE} arp off up",
        f"ip route add default dev {DEVICE}",
    ):
        subprocess.run(command.split(), check=True)


def _sent_packets() -> int:
    # /proc/net is the reader's namespace; /sys may still show the one that mounted it
    for line in Path("/proc/self/net/dev").read_text(encoding="utf-8").splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == DEVICE:
            return int(counters.split()[9])
    raise OSError(f"{DEVICE} is not in /proc/self/net/dev")


def destination_of(packet: bytes) -> str:
    """Where an Ethernet frame was going; for a name look-up, which name."""
    kind = struct.unpack("!H", packet[12:14])[0]
    if kind != 0x0800:
        return f"ethernet type {kind:#06x}"
    header = packet[14:]
    size = (header[0] & 0x0F) * 4
    protocol, target = header[9], socket.inet_ntoa(header[16:20])
    if protocol not in (6, 17):
        return f"protocol {protocol} {target}"
    port = struct.unpack("!H", header[size + 2 : size + 4])[0]
    name = f"{'tcp' if protocol == 6 else 'udp'} {target}:{port}"
    if protocol == 17 and port == 53:
        return f"{name} name {_asked_name(header[size + 8 :])}"
    return name


def _asked_name(message: bytes) -> str:
    labels, place = [], 12
    while place < len(message) and 0 < message[place] < 64:
        length = message[place]
        labels.append(message[place + 1 : place + 1 + length].decode("ascii", "replace"))
        place += 1 + length
    return ".".join(labels)


def _watch(attempts: Counter[str], raw: socket.socket) -> None:
    while True:
        packet, address = raw.recvfrom(65_535)
        if address[2] == socket.PACKET_OUTGOING:
            attempts[destination_of(packet)] += 1


def _inside(report: Path, command: Sequence[str]) -> int:
    _make_network(report.parent)
    attempts: Counter[str] = Counter()
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    raw.bind((DEVICE, 0))
    threading.Thread(target=_watch, args=(attempts, raw), daemon=True).start()
    before = _sent_packets()
    returncode = subprocess.run(command, check=False).returncode
    time.sleep(0.2)  # the last packet's way through the raw socket
    found = {
        "returncode": returncode,
        "attempts": dict(attempts),
        "sent_packets": _sent_packets() - before,
    }
    report.write_text(json.dumps(found), encoding="utf-8")
    return returncode


if __name__ == "__main__":
    sys.exit(_inside(Path(sys.argv[1]), sys.argv[2:]))
