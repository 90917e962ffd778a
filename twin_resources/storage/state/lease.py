"""Leases: one holder at a time for a name, given up by those who die.

Scope: taking, renewing and ending a lease, and telling whether its holder still lives.
Out of scope: what is done under a lease.
Method: Gray and Cheriton, "Leases", 1989 (https://doi.org/10.1145/74850.74870): a holder that stops
renewing loses it by time; a holder on this machine that is dead loses it at once.

Within one boot time is what runs since that boot, which no setting of the clock changes. Between
machines it is the store's clock; where that went back, a waiter sees that a lease is not renewed.
"""
# pyright: strict

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import psutil
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from twin_resources.errors import TwinError
from twin_resources.storage.state.state_tables import leases
from twin_resources.storage.storage_faults import StorageFault

_POLL_S = 0.05
# Holders of this process whose end could not be written: the store was full or away.
_given_up: set[str] = set()
# Holder and end of a lease of another machine by its name, and when it was first seen so.
_seen: dict[str, tuple[tuple[str, float], float]] = {}


class LeaseBusy(TwinError):
    """Somebody else holds the lease and did not end within the wait."""


class LeaseLost(TwinError):
    """This process held the lease, stopped renewing it, and somebody else took it."""


class Transactions(Protocol):
    """The store that leases are written to: `State`."""

    def transaction(self) -> AbstractContextManager[sa.Connection]: ...

    def now(self, connection: sa.Connection) -> float: ...


@dataclass(frozen=True)
class Lease:
    """A lease that this process holds."""

    state: Transactions
    name: str
    holder: str
    ttl_s: float

    def end(self, now: float) -> dict[str, float]:
        """When it ends unless it is renewed, by both clocks."""
        return {
            "expires_at": now + self.ttl_s,
            "expires_monotonic": time.monotonic() + self.ttl_s,
        }

    def confirm(self) -> None:
        """Renew the lease now; call it right before a write that must not run beside another's.

        Raises:
            LeaseLost: another holder took it (this process was suspended for longer than `ttl_s`).
        """
        with self.state.transaction() as connection:
            renewed = connection.execute(
                sa.update(leases)
                .where(leases.c.name == self.name, leases.c.holder == self.holder)
                .values(**self.end(self.state.now(connection)))
            ).rowcount
        if renewed != 1:
            raise LeaseLost(
                f"write under the lease {self.name!r}",
                found="another process holds it now; this one was stopped for longer than "
                f"{self.ttl_s:g} s",
                next_step="run it again; nothing was written after the lease was lost",
            )


@contextmanager
def hold(state: Transactions, name: str, *, ttl_s: float, wait_s: float) -> Generator[Lease]:
    """Hold the lease `name` for the length of the block; a thread renews it every third of `ttl_s`.

    Args:
        ttl_s: seconds after which a holder on another machine that stopped renewing loses it.
        wait_s: seconds to wait for the present holder.

    Raises:
        LeaseBusy: the present holder did not end within `wait_s`; the message names it.
    """
    lease = Lease(state, name, uuid.uuid4().hex, ttl_s)
    _acquire(lease, wait_s)
    ended = threading.Event()
    renewal = threading.Thread(
        target=_renew_until, args=(lease, ended), name=f"lease {name}", daemon=True
    )
    renewal.start()
    try:
        yield lease
    finally:
        ended.set()
        renewal.join()
        try:
            with state.transaction() as connection:
                connection.execute(
                    sa.delete(leases).where(leases.c.name == name, leases.c.holder == lease.holder)
                )
        except (OperationalError, StorageFault):
            # Over for this process at once, for others by time. What went wrong within the block
            # (the same full disk, say) is what its caller must hear.
            _given_up.add(lease.holder)


def _acquire(lease: Lease, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        with lease.state.transaction() as connection:
            now = lease.state.now(connection)
            held = connection.execute(
                sa.select(leases).where(leases.c.name == lease.name)
            ).one_or_none()
            if held is None or _is_over(held, now):
                connection.execute(sa.delete(leases).where(leases.c.name == lease.name))
                connection.execute(
                    sa.insert(leases).values(
                        name=lease.name,
                        holder=lease.holder,
                        machine=machine_identity(),
                        pid=os.getpid(),
                        process_started=process_started(os.getpid()) or "",
                        acquired_at=now,
                        boot=boot_identity(),
                        ttl_s=lease.ttl_s,
                        **lease.end(now),
                    )
                )
                return
        if time.monotonic() >= deadline:
            raise LeaseBusy(
                f"take the lease {lease.name!r}",
                found=f"process {held.pid} on {held.machine.split('/')[0]} has held it for "
                f"{now - held.acquired_at:.0f} s, waited {wait_s:g} s",
                next_step="wait for that process, or end it; a dead holder is replaced by itself",
            )
        time.sleep(_POLL_S)


def _is_over(held: Any, now: float) -> bool:
    if held.holder in _given_up:
        return True
    here = held.machine == machine_identity()
    if here and process_started(held.pid) != held.process_started:
        return True
    if held.boot and held.boot == boot_identity():
        return held.expires_monotonic <= time.monotonic()
    return held.expires_at <= now or _is_not_renewed(held)


def _is_not_renewed(held: Any) -> bool:
    """Whether this process has seen the same end of a lease for longer than its holder may take.

    Seen across calls: a waiter may give up sooner than that, and come again.
    """
    end, now = (held.holder, held.expires_at), time.monotonic()
    known = _seen.get(held.name)
    if known is None or known[0] != end:
        _seen[held.name] = (end, now)
        return False
    return held.ttl_s is not None and now - known[1] > held.ttl_s


def _renew_until(lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(lease.ttl_s / 3):
        try:
            lease.confirm()
        except LeaseLost:
            return  # the writer learns it from its own `confirm` before the next write
        except (OperationalError, StorageFault):
            continue  # the store is away: a later renewal works, or the lease ends by time


@cache
def boot_identity() -> str:
    """Boot and time namespace: readings of the monotonic clock compare only within one of these.

    Empty where the system does not name its boot (macOS).
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/time")
    if not boot.exists():
        return ""
    return f"{boot.read_text().strip()}/{namespace.readlink() if namespace.exists() else ''}"


@cache
def machine_identity() -> str:
    """Machine, boot and process namespace: process numbers compare only within one of these."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    parts.append(boot.read_text().strip() if boot.exists() else str(psutil.boot_time()))
    parts.append(str(namespace.readlink()) if namespace.exists() else "")
    return "/".join(parts)


def process_started(pid: int) -> str | None:
    """When a living process started: clock ticks since boot on Linux; None when it is dead.

    A number can be given to a new process, so only number and start together name one. psutil's
    `create_time` moves with the wall clock, which the ticks do not. A zombie holds nothing: dead.
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
