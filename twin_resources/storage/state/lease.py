"""Named leases with one holder at a time, which end with the process that holds them.

Beside a SQLite store, a lease is a lock on a file (flock(2), which NFS and EFS support too); on
PostgreSQL, it is an advisory lock of a session. The system or the server ends it when its holder
dies, so that nothing has to expire and no clock is compared.
https://man7.org/linux/man-pages/man2/flock.2.html,
https://www.postgresql.org/docs/15/explicit-locking.html#ADVISORY-LOCKS
"""
# pyright: strict

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from twin_resources.errors import TwinError
from twin_resources.storage.storage_faults import translate_storage_errors

if TYPE_CHECKING:
    from twin_resources.storage.state.state import State

_MIN_POLL_S, _MAX_POLL_S = 0.02, 0.25


class LeaseBusyError(TwinError):
    """The current holder did not end its lease within the waiting time."""


class LeaseLostError(TwinError):
    """The lock of this process is gone, so another process may hold it."""


@dataclass(frozen=True)
class Lease:
    """A lease that this process holds.

    Attributes:
        is_held: looks whether the lock is still this process's.
    """

    state: State
    name: str
    is_held: Callable[[], bool]

    def check(self) -> None:
        """Check the lease. Call this directly before a write that must not overlap another's.

        Raises:
            LeaseLostError: the lock's file was deleted, or the server has ended the session.
        """
        if not self.is_held():
            raise LeaseLostError(
                f"write under the lease {self.name!r}",
                found="its lock is gone, so another process may be writing",
                next_step="run the command again; nothing was written after the lease was lost",
            )


@contextmanager
def hold_lease(state: State, name: str, *, wait_s: float) -> Generator[Lease]:
    """Hold the lease `name` during the block.

    Args:
        wait_s: the seconds to wait for the current holder.

    Raises:
        LeaseBusyError: the current holder did not end its lease within `wait_s`. The message
            identifies the holder.
    """
    hold = _lock_in_server if state.is_shared else _lock_file
    with hold(state, name, wait_s) as lease:
        yield lease


def is_leased(state: State, name: str) -> bool:
    """Return whether a process holds the lease `name`; nothing is written to look."""
    if not state.is_shared and not _lock_path(state, name).exists():
        return False
    try:
        with hold_lease(state, name, wait_s=0):
            return False
    except LeaseBusyError:
        return True


def _lock_path(state: State, name: str) -> Path:
    database = state.engine.url.database
    assert database, "a store in memory has no leases"
    folder = Path(database).with_name("locks")
    return folder / hashlib.sha256(name.encode()).hexdigest()[:32]


@contextmanager
def _lock_file(state: State, name: str, wait_s: float) -> Generator[Lease]:
    path = _lock_path(state, name)
    with translate_storage_errors(f"acquire the lease {name!r}", path):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def try_to_lock() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_held() -> bool:
        return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())

    try:
        _wait_for(try_to_lock, name, wait_s, lambda: os.pread(descriptor, 300, 0).decode())
        with translate_storage_errors(f"acquire the lease {name!r}", path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        try:
            yield Lease(state, name, is_held)
        finally:
            # A process that was forked meanwhile shares the lock, so closing would not end it.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


@contextmanager
def _lock_in_server(state: State, name: str, wait_s: float) -> Generator[Lease]:
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    lock = sa.select(sa.func.pg_try_advisory_lock(number))
    holder = sa.text(
        "SELECT 'process ' || pid || ' of the server for ' || coalesce(client_addr::text, 'itself')"
        " FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted"
        " AND (classid::bigint << 32 | objid::bigint) = :number"
    )
    address = state.engine.url.render_as_string(hide_password=True)
    with translate_storage_errors(f"acquire the lease {name!r}", address):
        session = state.engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def is_held() -> bool:
        try:
            return not session.invalidated and bool(session.scalar(sa.select(1)))
        except DBAPIError:
            return False

    with session:
        _wait_for(
            lambda: bool(session.scalar(lock)),
            name,
            wait_s,
            lambda: str(session.scalar(holder, {"number": number}) or ""),
        )
        try:
            yield Lease(state, name, is_held)
        finally:
            if is_held():  # the server has ended the lease of a broken session
                session.execute(sa.select(sa.func.pg_advisory_unlock(number)))


def _wait_for(
    try_to_lock: Callable[[], bool], name: str, wait_s: float, read_holder: Callable[[], str]
) -> None:
    started_at, poll_s = time.monotonic(), _MIN_POLL_S
    while not try_to_lock():
        if time.monotonic() - started_at >= wait_s:
            raise LeaseBusyError(
                f"acquire the lease {name!r}",
                found=f"{read_holder() or 'another process'} holds it; waited {wait_s:g} s for it",
                next_step="wait for that process or stop it; a dead process loses its lease",
            )
        time.sleep(poll_s * random.uniform(0.75, 1.25))
        poll_s = min(poll_s * 1.5, _MAX_POLL_S)
