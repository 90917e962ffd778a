"""Choose the port of each service of the stack.

Scope: checking that a port is free, naming the process that holds it, choosing ports. Out of scope:
the defaults (`settings.py`) and the services (`stack.py`).

A port that a person requested is used or refused. A default that is taken is replaced by the next
free port, so that a second stack, or a Grafana on 3000, blocks no start. Two stacks that start at
the same time choose different ports, because each process claims its choice.
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
        # As for a server, an address in TIME_WAIT counts as free; one with a listener does not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def claim_port(port: int) -> bool:
    """Reserve a port until this process ends, so that other processes choose different ports.
    A service listens only seconds after its port is chosen; until then, a second `twin up` would
    find the port free. The claim is a socket in Linux's abstract namespace, a name without a file,
    which the kernel frees when the process ends. Other systems have no claims.

    Returns:
        False if another process has claimed it.
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
    """Name the process that listens, for a message: `nginx (pid 812)` or `another process`."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.laddr and connection.laddr[1] == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return "another process"
    return "another process"


def choose_ports(
    default_ports: Mapping[str, int],
    *,
    host: str,
    requested: Collection[str] = (),
    preferred: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Choose one free port per service, and claim it unless a person requested it.

    Args:
        default_ports: service → the port in the settings.
        host: the address that the services will listen on.
        requested: the services whose port a person requested by flag or variable.
        preferred: service → the port of this home's last start, used if it is free, so that older
            bookmarks and `.twin/env` stay valid.

    Raises:
        TwinError: a requested port is taken, or none of the next 200 is free.
    """
    chosen: dict[str, int] = {}
    for service, port in default_ports.items():
        if service in requested:
            if not is_free(host, port) or port in chosen.values():
                raise TwinError(
                    f"start {service} on port {port}",
                    found=f"the port is in use by {describe_port_holder(port)}",
                    next_step=f"stop it, or choose another with --{service}-port",
                )
            chosen[service] = port
            continue
        known = (preferred or {}).get(service)
        candidates = [
            *([known] if known else []),
            *range(port, min(port + MAX_PORTS_TRIED, 65_536)),
        ]
        free = (
            candidate
            for candidate in candidates
            if candidate not in chosen.values()
            and is_free(host, candidate)
            and claim_port(candidate)
        )
        try:
            chosen[service] = next(free)
        except StopIteration:
            raise TwinError(
                f"find a free port for {service}",
                found=f"every port from {port} to {port + MAX_PORTS_TRIED - 1} is in use",
                next_step=f"choose one with --{service}-port",
            ) from None
    return chosen
