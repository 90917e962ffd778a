"""Choose the port of each service of the stack.

Scope: checking whether a port is free, naming the process that uses it, choosing ports.
Out of scope: the defaults (`settings.py`), the services (`stack.py`).

If the user requested a port and it is taken, the start fails. If a default port is taken, the next
free port replaces it, so that a second stack or a Grafana on port 3000 does not prevent a start.
Two stacks that start at the same time choose different ports, because each process claims its
choice.
"""
# pyright: strict

from __future__ import annotations

import socket
import sys
from collections.abc import Collection, Mapping

import psutil

from twin_resources.errors import TwinError

MAX_PORTS_TRIED = 200
_claims: dict[int, socket.socket] = {}


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen on the port now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # A server could use an address in TIME_WAIT, so this check counts it as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def is_listening(host: str, port: int) -> bool:
    """Return whether a server accepts connections on the port, even if it sends no response."""
    address = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as client:
        client.settimeout(1.0)
        return client.connect_ex((address, port)) == 0


def claim_port(port: int) -> bool:
    """Reserve a port until this process ends, so that other processes choose different ports.

    A service listens only some seconds after its port is chosen. Without a claim, a second
    `twin up` would find the port free. The claim is a socket in Linux's abstract namespace, which
    has no file; the kernel frees it when the process ends. On other systems, claims have no effect.

    Returns:
        False if another process has claimed the port.
    """
    if port in _claims or sys.platform != "linux":
        return True
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(f"\0twin-port-{port}")
    except OSError:
        lock.close()
        return False
    _claims[port] = lock
    return True


def describe_port_holder(port: int) -> str:
    """Describe the process that listens on a port: `nginx (pid 812)` or `another process`."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            is_listening = connection.status == psutil.CONN_LISTEN
            if is_listening and connection.laddr and connection.laddr[1] == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return "another process"
    return "another process"


def choose_ports(
    default_ports: Mapping[str, int],
    *,
    host: str,
    requested_services: Collection[str] = (),
    last_ports: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Choose one free port per service, and claim it unless the user requested it.

    Args:
        default_ports: ports in the settings, by service.
        host: address on which the services will listen.
        requested_services: services whose port the user requested by option or variable.
        last_ports: ports of this home's last start, by service. A free one is used again, so that
            bookmarks and `.twin/env` stay valid.

    Raises:
        TwinError: a requested port is taken, or none of the next 200 ports is free.
    """
    chosen_ports: dict[str, int] = {}
    for service, port in default_ports.items():
        if service in requested_services:
            if not is_free(host, port) or port in chosen_ports.values():
                raise TwinError(
                    f"start {service} on port {port}",
                    found=f"the port is in use by {describe_port_holder(port)}",
                    next_step=f"stop it, or choose another with --{service}-port",
                )
            chosen_ports[service] = port
            continue
        preferred_port = (last_ports or {}).get(service)
        candidates = [
            *([preferred_port] if preferred_port else []),
            *range(port, min(port + MAX_PORTS_TRIED, 65_536)),
        ]
        free_ports = (
            candidate
            for candidate in candidates
            if candidate not in chosen_ports.values()
            and is_free(host, candidate)
            and claim_port(candidate)
        )
        try:
            chosen_ports[service] = next(free_ports)
        except StopIteration:
            raise TwinError(
                f"find a free port for {service}",
                found=f"every port from {port} to {port + MAX_PORTS_TRIED - 1} is in use",
                next_step=f"choose one with --{service}-port",
            ) from None
    return chosen_ports
