"""Provide named leases with one holder at a time; a dead holder's lease expires.

Scope: acquiring, renewing and ending a lease, and detecting whether its holder is alive.
Out of scope: the work done under a lease.
Method: Gray and Cheriton, "Leases", 1989 (https://doi.org/10.1145/74850.74870). A holder that stops
renewing loses the lease after its time to live. A dead holder on this machine loses it at once.

Processes of the same boot compare times of its monotonic clock, which changes of the wall clock do
not affect. Other machines use the store's clock. If that clock was set back, a waiting process
detects that renewals have stopped.
"""
# pyright: strict

from __future__ import annotations

import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from twin_resources.errors import TwinError
from twin_resources.storage.state.state_tables import ended_leases, leases, upsert
from twin_resources.storage.storage_faults import StorageError

if TYPE_CHECKING:
    from twin_resources.storage.state.state import State

_MIN_POLL_S, _MAX_POLL_S = 0.02, 0.25
# Holders in this process whose end was not written because the store was full or unreachable.
_abandoned_holders: set[str] = set()
# Lease name → holder and expiry of another machine's lease, and when this process first saw them.
_observed_expiries: dict[str, tuple[tuple[str, float], float]] = {}


class LeaseBusyError(TwinError):
    """The current holder did not end its lease within the waiting time."""


class LeaseLostError(TwinError):
    """This process stopped renewing its lease, and another holder acquired the lease."""


@dataclass(frozen=True)
class Lease:
    """A lease that this process holds."""

    state: State
    name: str
    holder: str
    ttl_s: float

    def compute_expiry(self, now: float) -> dict[str, float]:
        """Return the lease's new expiry time on both clocks, as columns of its row."""
        return {
            "expires_at": now + self.ttl_s,
            "expires_monotonic": time.monotonic() + self.ttl_s,
        }

    def renew(self) -> None:
        """Renew the lease. Call this directly before a write that must not overlap another's.

        Raises:
            LeaseLostError: another holder acquired the lease because this process was suspended for
                longer than `ttl_s`.
        """
        with self.state.transaction() as connection:
            renewed_count = connection.execute(
                sa.update(leases)
                .where(leases.c.name == self.name, leases.c.holder == self.holder)
                .values(**self.compute_expiry(self.state.now(connection)))
            ).rowcount
        if renewed_count != 1:
            raise LeaseLostError(
                f"write under the lease {self.name!r}",
                found="another process holds it now; this process was suspended for more than "
                f"{self.ttl_s:g} s",
                next_step="run the command again; nothing was written after the lease was lost",
            )


@contextmanager
def hold_lease(
    state: State,
    name: str,
    *,
    ttl_s: float,
    wait_s: float,
    record_end: bool = True,
) -> Generator[Lease]:
    """Hold the lease `name` during the block. A thread renews it every third of `ttl_s`.

    Args:
        ttl_s: the seconds without renewal after which a holder on another machine loses the lease.
        wait_s: the seconds to wait for the current holder.
        record_end: whether the store keeps the last holder's identity after the lease has ended.

    Raises:
        LeaseBusyError: the current holder did not end its lease within `wait_s`. The message
            identifies the holder.
    """
    lease = Lease(state, name, uuid.uuid4().hex, ttl_s)
    _acquire(lease, wait_s)
    stop_event = threading.Event()
    renewal_thread = threading.Thread(
        target=_renew_until, args=(lease, stop_event), name=f"lease {name}", daemon=True
    )
    renewal_thread.start()
    try:
        yield lease
    finally:
        stop_event.set()
        renewal_thread.join()
        try:
            with state.transaction() as connection:
                connection.execute(
                    sa.delete(leases).where(leases.c.name == name, leases.c.holder == lease.holder)
                )
                if record_end:
                    ended_lease = {"name": name, "holder": lease.holder}
                    upsert(connection, ended_leases, [ended_lease])
        except (OperationalError, StorageError):
            # The lease ends at once for this process, and by expiry for others. The caller must see
            # the error raised in the block, which may have the same cause (a full disk).
            _abandoned_holders.add(lease.holder)


def prune_leases(state: State, prefix: str) -> list[str]:
    """Delete the expired leases that begin with `prefix`; return the names of the held ones."""
    has_prefix = leases.c.name.startswith(prefix, autoescape=True)
    with state.read_transaction() as connection:
        rows = connection.execute(sa.select(leases).where(has_prefix)).all()
        now = state.now(connection) if rows else 0.0
    expired_rows = [row for row in rows if _is_expired(row, now)]
    for row in expired_rows:
        with state.transaction() as connection:  # the holder may have renewed it since the read
            is_this_row = (leases.c.holder == row.holder, leases.c.expires_at == row.expires_at)
            connection.execute(sa.delete(leases).where(*is_this_row))
    return [row.name for row in rows if row not in expired_rows]


def _acquire(lease: Lease, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        with lease.state.transaction() as connection:
            now = lease.state.now(connection)
            current_lease = connection.execute(
                sa.select(leases).where(leases.c.name == lease.name)
            ).one_or_none()
            if current_lease is None or _is_expired(current_lease, now):
                connection.execute(sa.delete(leases).where(leases.c.name == lease.name))
                connection.execute(
                    sa.insert(leases).values(
                        name=lease.name,
                        holder=lease.holder,
                        machine=machine_identity(),
                        pid=os.getpid(),
                        process_started=process_start_time(os.getpid()) or "",
                        acquired_at=now,
                        boot=boot_identity(),
                        ttl_s=lease.ttl_s,
                        **lease.compute_expiry(now),
                    )
                )
                return
        if time.monotonic() >= deadline:
            raise LeaseBusyError(
                f"acquire the lease {lease.name!r}",
                found=f"process {current_lease.pid} on {current_lease.machine.split('/')[0]} has "
                f"held it for {now - current_lease.acquired_at:.0f} s; waited {wait_s:g} s for it",
                next_step="wait for that process or stop it; a dead process loses its lease",
            )
        _wait_while_held(lease, current_lease.holder, deadline)


def _wait_while_held(lease: Lease, holder: str, deadline: float) -> None:
    """Wait until this holder has ended or lost the lease, or until the deadline.

    Reads never block writers, so processes that wait for a lease do not delay other writes.
    """
    poll_s = _MIN_POLL_S
    while time.monotonic() < deadline:
        time.sleep(poll_s * random.uniform(0.75, 1.25))
        poll_s = min(poll_s * 1.5, _MAX_POLL_S)
        with lease.state.read_transaction() as connection:
            row = connection.execute(
                sa.select(leases).where(leases.c.name == lease.name)
            ).one_or_none()
            if row is None or row.holder != holder or _is_expired(row, lease.state.now(connection)):
                return


def _is_expired(lease_row: Any, now: float) -> bool:
    if lease_row.holder in _abandoned_holders:
        return True
    is_same_machine = lease_row.machine == machine_identity()
    if is_same_machine and process_start_time(lease_row.pid) != lease_row.process_started:
        return True
    if lease_row.boot and lease_row.boot == boot_identity():
        return lease_row.expires_monotonic <= time.monotonic()
    return lease_row.expires_at <= now or _is_not_renewed(lease_row)


def _is_not_renewed(lease_row: Any) -> bool:
    """Return whether this process has seen the same expiry time for longer than `ttl_s`.

    The observation is stored between calls, because a waiter may give up sooner and retry.
    """
    holder_and_expiry, now = (lease_row.holder, lease_row.expires_at), time.monotonic()
    observation = _observed_expiries.get(lease_row.name)
    if observation is None or observation[0] != holder_and_expiry:
        _observed_expiries[lease_row.name] = (holder_and_expiry, now)
        return False
    return lease_row.ttl_s is not None and now - observation[1] > lease_row.ttl_s


def _renew_until(lease: Lease, stop_event: threading.Event) -> None:
    while not stop_event.wait(lease.ttl_s / 3):
        try:
            lease.renew()
        except LeaseLostError:
            return  # the writer's own `renew` raises before its next write
        except (OperationalError, StorageError):
            continue  # store unreachable: a later renewal succeeds, or the lease expires


@cache
def boot_identity() -> str:
    """Return an id of the boot and time namespace, within which monotonic times are comparable.

    The result is empty if the system does not identify its boot (macOS).
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/time")
    if not boot.exists():
        return ""
    return f"{boot.read_text().strip()}/{namespace.readlink() if namespace.exists() else ''}"


@cache
def machine_identity() -> str:
    """Return an id of the machine, boot and process namespace, in which process ids are unique."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    parts.append(boot.read_text().strip() if boot.exists() else str(psutil.boot_time()))
    parts.append(str(namespace.readlink()) if namespace.exists() else "")
    return "/".join(parts)


def process_start_time(pid: int) -> str | None:
    """Return the start time of a process (on Linux, in clock ticks since boot), or None if dead.

    Process ids are reused, so only id and start time together identify a process. psutil's
    `create_time` changes with the wall clock; the ticks do not. A zombie counts as dead.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        fields = text[text.rindex(")") + 2 :].split()
        return None if fields[0] in {"Z", "X"} else fields[19]
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    try:
        return str(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None
